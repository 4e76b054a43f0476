"""Rows by lineage: ``parents_of=`` and ``children_of=`` as masks over the versions that are searched."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from tablevault_pd.errors import InvalidInput, InvalidType, short_repr
from tablevault_pd.lineage.of_rows import rows_to_trace
from tablevault_pd.lineage.report import RowsToTrace, joined_rows, relatives
from tablevault_pd.lineage.resolve_rows import resolve_rows
from tablevault_pd.lineage.same import same_rows
from tablevault_pd.reading import read as reading
from tablevault_pd.refs import Ref, RefArray

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tablevault_pd.store import Store, Version

_PRINTED_REF = re.compile(r"(.+)\[(\d+)\]")


def masks_of_relatives(
    store: Store, versions: Sequence[Version], of: Any, direction: Literal["up", "down"]
) -> list[np.ndarray] | None:
    """Which rows of each version `of` was made from (up), or was made into (down), however many steps away.

    None where `of` is None. A relative in another version of a list stands for the same row in the version that is searched.
    """
    if of is None:
        return None
    start = joined_rows(_all_rows_to_trace(store, of, "parents_of" if direction == "up" else "children_of"))
    positions = _positions_of_relatives(store, start, direction)
    related = store.describe_lists(versions=list(positions)).versions
    masks = [np.zeros(version.total, bool) for version in versions]
    for key, rows in positions.items():
        for version, mask in zip(versions, masks, strict=True):
            if version.list_id == key[0]:
                _mark(store, related[key], version, mask, rows)
    return masks


def _positions_of_relatives(
    store: Store, start: RowsToTrace, direction: Literal["up", "down"]
) -> dict[tuple[int, int], np.ndarray | None]:
    """The positions of all relatives, by (list id, version); None for a whole version."""
    parts: dict[tuple[int, int], list[np.ndarray] | None] = {}
    for step in relatives(store, start, direction):
        for number in np.unique(step.rows.version).tolist():
            key = (step.list, number)
            positions = parts.setdefault(key, [])
            if step.generation < 0:
                parts[key] = None
            elif positions is not None:
                positions.append(step.rows.position[step.rows.version == number])
    return {key: None if rows is None else np.unique(np.concatenate(rows)) for key, rows in parts.items()}


def _mark(
    store: Store, relative: Version, searched: Version, mask: np.ndarray, positions: np.ndarray | None
) -> None:
    """Mark the rows of `searched` that are the rows at `positions` (or all) of `relative`, a version of the same list."""
    if positions is None:
        positions = np.arange(relative.total)
    there = same_rows(store, relative, searched, positions)
    mask[there[there >= 0]] = True


def _all_rows_to_trace(store: Store, of: Any, option: str) -> list[RowsToTrace]:
    """The rows meant: those of a frame or of references, of a whole list, or of several of these."""
    if isinstance(of, Ref):
        of = [of]
    if isinstance(of, (list, tuple)) and of and all(isinstance(member, Ref) for member in of):
        of = RefArray._from_sequence(of)
    if isinstance(of, (RefArray, pd.Index)):
        of = pd.Series(of)
    if isinstance(of, (list, tuple)):
        return [rows for member in of for rows in _all_rows_to_trace(store, member, option)]
    if isinstance(of, (pd.DataFrame, pd.Series)):
        selections = resolve_rows(store, of)
        if not selections and len(of):
            raise InvalidInput(f"{option}= has a frame that was not read from this vault.")
        return [rows_to_trace(selection.version, _distinct(selection.positions)) for selection in selections]
    version = _version_of(store, of, option)
    return [rows_to_trace(version, np.arange(version.total))]


def _distinct(positions: np.ndarray | None) -> np.ndarray:
    """Each of the positions once; -1, the version as a whole, where there are none."""
    return np.array([-1]) if positions is None else np.unique(positions[positions >= -1])


def _version_of(store: Store, of: Any, option: str) -> Version:
    """The version that a name or handle stands for."""
    address = of if isinstance(of, str) else getattr(of, "_text", None)
    if not isinstance(address, str):
        raise InvalidType(
            f"{option}= is a frame that was read, a reference, a list's name or handle, or a list of these, not "
            f"{type(of).__name__}: {short_repr(of)}"
        )
    printed = _PRINTED_REF.fullmatch(address)
    if printed is not None and store.head(address) is None:
        raise InvalidInput(
            f"{option}={address!r} is how a reference prints. Give the reference itself, or the row as a frame: "
            f"read({printed[1]!r}).iloc[[{printed[2]}]]."
        )
    return reading.resolve(store, address)
