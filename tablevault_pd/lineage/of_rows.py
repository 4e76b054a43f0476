"""Look up the rows of a frame in the vault: their lineage, references, writers and code."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from tablevault_pd.code.reading import frame_of, joined, slice_of_rows, slice_of_session, slice_of_version
from tablevault_pd.errors import InvalidInput, ListNotFound, SessionNotFound
from tablevault_pd.lineage.edges import groups
from tablevault_pd.lineage.resolve_rows import RowSelection, origin_version, reference_columns, resolve_rows
from tablevault_pd.names import parse_address
from tablevault_pd.reading import read as reading
from tablevault_pd.reading import reports as answers
from tablevault_pd.refs import RefArray, Source, is_refs
from tablevault_pd.session.lookup import resolve_session

if TYPE_CHECKING:
    from tablevault_pd.code import Slice
    from tablevault_pd.lineage.report import RowsToTrace
    from tablevault_pd.store import Store, Version


def rows_to_trace(version: Version, positions: np.ndarray) -> RowsToTrace:
    """These rows of one version, to walk from; position -1 is the version as a whole."""
    size = len(positions)
    from tablevault_pd.lineage.report import RowsToTrace

    return RowsToTrace(np.full(size, version.list_id), np.full(size, version.version), positions, (version,))


def known_rows(store: Store, frame: pd.DataFrame | pd.Series) -> list[RowSelection]:
    """The rows of the vault that a frame's rows are. Raises InvalidInput if it was not read from there."""
    selections = resolve_rows(store, frame)
    if not selections:
        raise InvalidInput(
            f"This frame was not read from the vault {store.place}, so it is not known what its rows are. "
            "Read it with tablevault_pd.read, or ask vault.lineage(name) for a list."
        )
    return selections


def frame_lines(store: Store, frame: pd.DataFrame | pd.Series, **options: Any) -> pd.DataFrame:
    """The walk from the rows of a frame."""
    parts = []
    for selection in known_rows(store, frame):
        positions = (
            np.array([-1]) if selection.positions is None else selection.positions[selection.positions >= 0]
        )
        parts.append(rows_to_trace(selection.version, positions))
    from tablevault_pd.lineage.report import joined_rows, lines

    return lines(store, joined_rows(parts), **options)


def frame_refs(store: Store, frame: pd.DataFrame | pd.Series) -> pd.Series | pd.DataFrame:
    """References to what the rows of a frame are."""
    if isinstance(frame, pd.Series) and is_refs(frame.dtype):
        return frame
    if isinstance(frame, pd.DataFrame):
        columns = reference_columns(frame)
        if columns:
            return frame.iloc[:, columns[0]] if len(columns) == 1 else frame.iloc[:, columns]
    (selection,) = known_rows(store, frame)
    version = selection.version
    source = Source(store.vault_id, version.list_id, version.version, version.list)
    positions = np.full(len(frame), -1) if selection.positions is None else selection.positions
    return pd.Series(RefArray.of(source, positions), index=frame.index, name="ref")


def frame_origin(store: Store, frame: pd.DataFrame | pd.Series) -> str | None:
    """``news@3``: what a frame was read from; None if it was not read from this vault."""
    origin = origin_version(store, frame)
    return None if origin is None else origin[1].label


def frame_writers(store: Store, frame: pd.DataFrame | pd.Series) -> list[tuple[int, int]]:
    """(session id, cell) of every commit that wrote one of the rows of a frame, -1 for none."""
    writers: dict[tuple[int, int], None] = {}
    parts: list[tuple[int, int, np.ndarray]] = []  # (list, generation, addresses there)
    rows = known_rows(store, frame)
    for named, pieces in zip(rows, store.pieces([named.version for named in rows]), strict=True):
        positions = np.arange(pieces.total) if named.positions is None else np.unique(named.positions)
        generations, addresses = pieces.addresses(positions[(positions >= 0) & (positions < pieces.total)])
        for (generation,), at in groups(generations[:, None]):
            parts.append((named.version.list_id, generation, np.sort(addresses[at])))
    places = [(list_id, generation, int(at[0]), int(at[-1]) + 1) for list_id, generation, at in parts]
    for (_, _, addresses), by in zip(parts, store.writers(places), strict=True):
        at = np.unique(np.searchsorted(by.start, addresses, side="right") - 1)
        writers |= dict.fromkeys(zip(by.session_id[at].tolist(), by.cell[at].tolist(), strict=True))
    return list(writers)


def frame_code(store: Store, frame: pd.DataFrame | pd.Series) -> pd.DataFrame:
    """The cells that wrote the rows of a frame."""
    written = [pair for pair in frame_writers(store, frame) if pair[0] >= 0]
    sessions = store.sessions(sorted({session for session, _ in written}))
    labels = {session.id: session.label for session in sessions}
    cells = answers.cells(store, sessions)
    pairs_written = {(labels[session], cell) for session, cell in written if cell >= 0}
    pairs = zip(cells["session"], cells["cell"], strict=True)
    return cells[[pair in pairs_written for pair in pairs]].reset_index(drop=True)


def slice_of_frame(store: Store, frame: pd.DataFrame | pd.Series) -> Slice:
    """All the code that made the rows of a frame."""
    return joined(
        [slice_of_rows(store, named.version, _kept(named.positions)) for named in known_rows(store, frame)]
    )


def _kept(positions: np.ndarray | None) -> np.ndarray | None:
    return None if positions is None else positions[positions >= 0]


def frame_slice(store: Store, frame: pd.DataFrame | pd.Series) -> pd.DataFrame:
    """The statements that made the rows of a frame."""
    code = slice_of_frame(store, frame)
    labels = answers.labels_of(store, [part.session_id for part in code.parts])
    return frame_of(code.parts, labels, code.unresolved)


def slice_named(store: Store, which: Any) -> tuple[Slice, str]:
    """The slice of rows, of a version or of a session, and what that is called."""
    if isinstance(which, (pd.DataFrame, pd.Series)) and not {"session", "state"} <= set(
        getattr(which, "columns", ())
    ):
        rows = known_rows(store, which)
        return slice_of_frame(store, which), ", ".join(selection.version.label for selection in rows)
    version = getattr(which, "_version", None)
    if callable(version):
        named = version()
    else:
        named = _version_named(store, which)
    if named is not None:
        wrote = named.operation in ("save", "append")
        return (slice_of_version if wrote else slice_of_rows)(store, named), named.label
    session = resolve_session(store, which)
    return slice_of_session(store, session.id), session.label


def _version_named(store: Store, which: Any) -> Version | None:
    """The version that a text names; None if it names no list, and so perhaps a session."""
    if not isinstance(which, str):
        return None
    address = parse_address(which)
    if not address.pinned and store.head(address.name) is None:
        try:
            resolve_session(store, which)
        except SessionNotFound as error:
            raise ListNotFound(f"{reading.list_not_found(store, which)} {error}") from None
        return None
    return reading.resolve(store, which)


def frame_sessions(store: Store, frame: pd.DataFrame | pd.Series) -> pd.DataFrame:
    """The sessions that wrote the rows of a frame."""
    ids = sorted({session for session, _ in frame_writers(store, frame) if session >= 0})
    return answers.sessions(store, store.sessions(ids))
