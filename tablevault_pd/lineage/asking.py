"""What a vault answers about lineage; the part of :class:`Vault` that asks, and what ``df.vault`` asks for a frame."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from tablevault_pd.errors import InvalidInput, shown
from tablevault_pd.lineage.edges import runs_of
from tablevault_pd.lineage.resolve_rows import Named, identity, origin_version, reference_columns
from tablevault_pd.reading import read as reading
from tablevault_pd.reading import reports as answers
from tablevault_pd.refs import RefArray, Source, is_refs
from tablevault_pd.store import Store, Version
from tablevault_pd.vault.lists import List

if TYPE_CHECKING:
    from tablevault_pd.lineage.graph import LineageGraph
    from tablevault_pd.lineage.report import Asked
    from tablevault_pd.vault.vault import Vault


class Lineage:
    """The questions about lineage that a :class:`Vault` answers."""

    if TYPE_CHECKING:

        @property
        def store(self) -> Store:
            """The store below."""

    def lineage(
        self,
        name: str | List,
        rows: Any = None,
        *,
        depth: int | None = None,
        direction: Literal["up", "down"] = "up",
        to: str | None = None,
        read: bool = False,
        columns: Sequence[Hashable] | None = None,
        basis: Literal["stated", "inferred", "read"] = "inferred",
    ) -> pd.DataFrame:
        """Where rows of a list came from, or what was made of them, however many steps away.

        Parameters
        ----------
        name : str or List
            A list, perhaps at a version: ``"answers@2"``.
        rows : int, slice or sequence of int, optional
            Positions of the rows asked for. Default: every row.
        depth : int, optional
            How many steps to go. Default: all the way.
        direction : {"up", "down"}
            To parents, or to children: also to those made from the same row, its content unchanged, in another version.
        to : str, optional
            Show only relatives in this list.
        read : bool
            Join the relatives' own values on.
        columns : list of column names, optional
            Join only these.
        basis : {"inferred", "stated", "read"}
            The weakest steps to follow: by default those that were stated or that pandas code kept; ``"stated"`` for the
            first alone; ``"read"`` also to the lists that a session had read before it saved a frame of unknown origin.

        Returns
        -------
        DataFrame
            One line for each row asked for and relative: list, position, depth, parent_list, parent_position (missing: the
            whole list), parent_version (that was read), basis (of the weakest step), session and cell that wrote the parent,
            ref, gone (its data was vacuumed). Down, ``child_`` in place of ``parent_``.

        Raises
        ------
        ListNotFound, VersionNotFound, InvalidInput

        Examples
        --------
        >>> words = vault.save("words", pd.DataFrame({"word": ["storm", "sun", "rain"]}))
        >>> wet = vault.read("words").query("word != 'sun'")
        >>> saved = vault.save("wet", wet.assign(size=wet.word.str.len()))
        >>> vault.lineage("wet")[["position", "depth", "parent_list", "parent_position", "basis"]]
           position  depth parent_list  parent_position     basis
        0         0      1       words                0  inferred
        1         1      1       words                2  inferred
        """
        version = name._version() if isinstance(name, List) else reading.resolve(self.store, name)
        positions = _positions(version, rows)
        asked = _asked(version, positions)
        from tablevault_pd.lineage.report import lines

        return lines(
            self.store,
            asked,
            direction=direction,
            depth=depth,
            to=to,
            read=read,
            columns=columns,
            basis=basis,
        )

    def graph(self, name: str | None = None) -> LineageGraph:
        """Which lists were made from which, as a frame that can draw itself.

        Parameters
        ----------
        name : str, optional
            Only this list, with all that it came from and all that was made of it.

        Returns
        -------
        LineageGraph
            A DataFrame with one line per batch and version it came from: parent_list, parent_version, child_list,
            child_version, rows (of the batch), basis, session, cell. Also ``.to_networkx()``, ``.draw()``, ``.to_svg()``,
            ``.to_mermaid()``, ``.to_openlineage()``; a notebook shows it as a picture.

        Examples
        --------
        >>> words = vault.save("words", ["storm", "sun"])
        >>> sizes = vault.save("sizes", [{"size": 5}, {"size": 3}], inputs="words")
        >>> vault.graph()[["parent_list", "parent_version", "child_list", "child_version", "basis"]]
          parent_list  parent_version child_list  child_version   basis
        0       words               1      sizes              1  stated
        """
        if name is not None:
            name = reading.resolve(self.store, name).list
        from tablevault_pd.lineage.graph import graph

        return graph(self.store, name)

    def stale(self, name: str) -> pd.DataFrame:
        """Rows of a list that an ancestor of has since changed or vanished, or whose own code has since changed.

        A row is the same where its content is unchanged, matched in order. One that the newest version does not have any more has
        changed if there is another under its label (or, without an index of the list's own, at its position), else vanished.
        A parent that is still there is followed as it is now: what was made anew, and came out the same, makes nothing stale.
        Nor does a list that was made from its own earlier rows.

        Returns
        -------
        DataFrame
            One line per row and reason: list, position, reason (changed, vanished, code, unknown if the old data was
            vacuumed), parent_list, parent_position (missing: the whole list), parent_version, newest_version, depth (steps to that
            ancestor; missing for code).

        Examples
        --------
        >>> words = vault.save("words", pd.DataFrame({"word": ["storm", "sun"]}))
        >>> sizes = vault.save("sizes", vault.read("words").assign(size=lambda df: df.word.str.len()))
        >>> marks = vault.save("marks", vault.read("sizes")[["size"]] * 2)
        >>> words = vault.save("words", pd.DataFrame({"word": ["storm", "rain"]}))
        >>> vault.stale("marks")[["position", "reason", "parent_list", "parent_position", "depth"]]
           position   reason parent_list  parent_position  depth
        0         1  changed       words                1      2
        """
        from tablevault_pd.lineage.stale import stale

        return stale(self.store, reading.resolve(self.store, name))


def _positions(version: Version, rows: Any) -> np.ndarray:
    if rows is None:
        return np.arange(version.total)
    if isinstance(rows, slice):
        return np.arange(version.total)[rows]
    try:
        found = np.atleast_1d(np.asarray(rows))
    except ValueError:
        found = np.empty(0, object)
    if found.ndim != 1 or (found.dtype.kind not in "iu" and len(found)):
        raise InvalidInput(f"rows= is a position, a slice or a list of positions, not {shown(rows)}.")
    found = found.astype(np.int64)
    bad = found[(found < 0) | (found >= version.total)]
    if len(bad):
        raise InvalidInput(
            f"rows= names the position {bad[0]}, and {version.list}@{version.version} has {version.total} rows."
        )
    return found


def _asked(version: Version, positions: np.ndarray) -> Asked:
    size = len(positions)
    from tablevault_pd.lineage.report import Asked

    return Asked(np.full(size, version.list_id), np.full(size, version.version), positions, (version,))


# -- for df.vault


def known_rows(vault: Vault, frame: pd.DataFrame | pd.Series) -> list[Named]:
    """The rows of the vault that a frame's rows are. Raises InvalidInput if it was not read from there."""
    found = identity(vault.store, frame)
    if not found:
        raise InvalidInput(
            f"This frame was not read from the vault {vault.place}, so it is not known what its rows are. "
            "Read it with tablevault_pd.read, or ask vault.lineage(name) for a list."
        )
    return found


def frame_lines(vault: Vault, frame: pd.DataFrame | pd.Series, **options: Any) -> pd.DataFrame:
    """The walk from the rows of a frame."""
    parts = []
    for named in known_rows(vault, frame):
        positions = np.array([-1]) if named.positions is None else named.positions[named.positions >= 0]
        parts.append(_asked(named.version, positions))
    from tablevault_pd.lineage.report import asked_of, lines

    return lines(vault.store, asked_of(parts), **options)


def frame_refs(vault: Vault, frame: pd.DataFrame | pd.Series) -> pd.Series | pd.DataFrame:
    """References to what the rows of a frame are."""
    if isinstance(frame, pd.Series) and is_refs(frame.dtype):
        return frame
    if isinstance(frame, pd.DataFrame):
        columns = reference_columns(frame)
        if columns:
            return frame.iloc[:, columns[0]] if len(columns) == 1 else frame.iloc[:, columns]
    (named,) = known_rows(vault, frame)
    version = named.version
    source = Source(vault.store.vault_id, version.list_id, version.version, version.list)
    positions = np.full(len(frame), -1) if named.positions is None else named.positions
    return pd.Series(RefArray.of(source, positions), index=frame.index, name="ref")


def frame_origin(vault: Vault, frame: pd.DataFrame | pd.Series) -> str | None:
    """``news@3``: what a frame was read from; None if it was not read from this vault."""
    found = origin_version(vault.store, frame)
    return None if found is None else f"{found[1].list}@{found[1].version}"


def frame_writers(vault: Vault, frame: pd.DataFrame | pd.Series) -> list[tuple[int, int]]:
    """(session id, cell) of every commit that wrote one of the rows of a frame, -1 for none."""
    store = vault.store
    found: dict[tuple[int, int], None] = {}
    parts: list[tuple[int, int, np.ndarray]] = []  # (list, generation, positions there)
    rows = known_rows(vault, frame)
    lists = store.facts(sorted({named.version.list_id for named in rows})).lists
    for named in rows:
        version = named.version
        for generation, low, high in runs_of(version.generation, version.total, lists[version.list_id].bases):
            positions = np.arange(low, high) if named.positions is None else named.positions
            positions = np.unique(positions[(positions >= low) & (positions < high)])
            if len(positions):
                parts.append((version.list_id, generation, positions))
    places = [(list_id, generation, int(at[0]), int(at[-1]) + 1) for list_id, generation, at in parts]
    for (_, _, positions), by in zip(parts, store.writers(places), strict=True):
        at = np.unique(np.searchsorted(by.start, positions, side="right") - 1)
        found |= dict.fromkeys(zip(by.session_id[at].tolist(), by.cell[at].tolist(), strict=True))
    return list(found)


def frame_code(vault: Vault, frame: pd.DataFrame | pd.Series) -> pd.DataFrame:
    """The cells that wrote the rows of a frame."""
    written = [pair for pair in frame_writers(vault, frame) if pair[0] >= 0]
    sessions = vault.store.sessions(sorted({session for session, _ in written}))
    labels = {session.id: session.label for session in sessions}
    cells = answers.cells(vault.store, sessions)
    wanted = {(labels[session], cell) for session, cell in written if cell >= 0}
    pairs = zip(cells["session"], cells["cell"], strict=True)
    return cells[[pair in wanted for pair in pairs]].reset_index(drop=True)


def frame_sessions(vault: Vault, frame: pd.DataFrame | pd.Series) -> pd.DataFrame:
    """The sessions that wrote the rows of a frame."""
    wanted = sorted({session for session, _ in frame_writers(vault, frame) if session >= 0})
    return answers.sessions(vault.store, vault.store.sessions(wanted))
