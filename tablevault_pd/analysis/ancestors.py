"""Rows that have the same ancestor: the rows of one list, across its versions, that rows of other lists came from.

Two rows of different versions of a list are the same row by the list's key; where it has none, by a named index without
duplicates, or else by their content, matched in order (see :mod:`~tablevault_pd.lineage.same`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from tablevault_pd.frames import index_names
from tablevault_pd.keys.key import key_labels
from tablevault_pd.lineage.of_rows import rows_to_trace
from tablevault_pd.lineage.report import lines
from tablevault_pd.lineage.same import same_rows
from tablevault_pd.reading import read as reading
from tablevault_pd.refs import POSITION_BITS, RefArray, Source

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tablevault_pd.analysis.sides import Side
    from tablevault_pd.store import Store, Version

_POSITION = (1 << POSITION_BITS) - 1


@dataclass(frozen=True, slots=True, eq=False)
class Ancestors:
    """For each side the ancestor of each of its rows in one list, as a number; a row without one stands for itself."""

    list: str
    versions: tuple[Version, ...]  #: those that the numbers are of: of the list, then of the sides
    keys: tuple[pd.Index, ...]
    depth: int

    @property
    def matched(self) -> int:
        """How many rows of the first side are met by a row of another one."""
        others = self.keys[1].append(list(self.keys[2:]))
        return int(self.keys[0].isin(others).sum())

    @property
    def unique(self) -> bool:
        """Whether no two rows of a side have the same ancestor."""
        return all(key.is_unique for key in self.keys)

    def text(self, key: int) -> str:
        """``articles@2[12]``."""
        version = self.versions[key >> POSITION_BITS]
        return f"{version.label}[{key & _POSITION}]"

    def references(self, vault_id: str, keys: pd.Index) -> pd.Index:
        """The same keys as references to the ancestors."""
        numbers = keys.to_numpy(np.int64)
        sources = [
            Source(vault_id, version.list_id, version.version, version.list) for version in self.versions
        ]
        made = RefArray.joined(sources, numbers >> POSITION_BITS, numbers & _POSITION)
        return pd.Index(made, name="ancestor")


def common_ancestors(store: Store, sides: Sequence[Side]) -> Ancestors | None:
    """The list in which the most rows of all sides meet, the nearest of these. None where no rows meet in any.

    The rows of one side may be the ancestors of the others'. Where all sides are versions of one list, that their rows are
    equal says nothing: only what did not change would meet.
    """
    walks = [_ancestors(store, side) for side in sides]
    shared = set.intersection(*(set(walk["list"]) for walk in walks))
    own = [(side.version.list, at) for at, side in enumerate(sides) if side.version is not None]
    ways = [*((name, None) for name in sorted(shared)), *own]
    candidates = [_in_list(store, sides, _from_above(walks, at), name) for name, at in ways]
    usable = [
        candidate
        for candidate in candidates
        if candidate is not None and (candidate.matched or not min(len(side.frame) for side in sides))
    ]
    best = sorted(
        usable,
        key=lambda candidate: (not candidate.unique, -candidate.matched, candidate.depth, candidate.list),
    )
    return best[0] if best else None


def _from_above(walks: Sequence[pd.DataFrame], itself: int | None) -> list[pd.DataFrame]:
    """The ancestors alone; of one side the rows themselves."""
    return [walk[(walk["depth"] == 0) == (at == itself)] for at, walk in enumerate(walks)]


def _ancestors(store: Store, side: Side) -> pd.DataFrame:
    """One line per row of the side and ancestor row: row, list, version, position, depth. The row itself has depth 0.

    What gives each row many parents, such as a training set, tells none apart: it is not walked through, however large.
    """
    assert side.version is not None
    assert side.positions is not None
    own = pd.DataFrame(
        {
            "row": np.arange(len(side.positions)),
            "list": side.version.list,
            "version": side.version.version,
            "position": side.positions,
            "depth": 0,
        }
    )
    walked = lines(store, rows_to_trace(side.version, np.unique(side.positions)), single=True)
    walked = walked[walked["parent_position"].notna()]
    above = pd.DataFrame(
        {
            "own": walked["position"].to_numpy(np.int64),
            "list": walked["parent_list"].astype(object),
            "version": walked["parent_version"].to_numpy(np.int64),
            "position": walked["parent_position"].to_numpy(np.int64),
            "depth": walked["depth"].to_numpy(np.int64),
        }
    )
    above = own[["row", "position"]].rename(columns={"position": "own"}).merge(above, on="own")
    return pd.concat([own.astype({"list": object}), above.drop(columns="own")], ignore_index=True)


def _in_list(
    store: Store, sides: Sequence[Side], walks: Sequence[pd.DataFrame], name: str
) -> Ancestors | None:
    """What the rows have in one list; None if one of them has several rows of it."""
    parts = [walk[walk["list"] == name] for walk in walks]
    nearest = [_own(part[part["depth"] == part.groupby("row")["depth"].transform("min")]) for part in parts]
    if any(part["row"].duplicated().any() for part in nearest):
        return None
    numbers = sorted({number for part in nearest for number in part["version"].unique()})
    versions = reading.versions_numbered(store, name, numbers)
    keys = []
    for number, (side, part) in enumerate(zip(sides, nearest, strict=True)):
        assert side.positions is not None
        key = ((len(versions) + number) << POSITION_BITS) | side.positions
        key[part["row"].to_numpy()] = _numbers(store, part, versions)
        keys.append(pd.Index(key, name="ancestor"))
    depth = max((int(part["depth"].max()) for part in nearest if len(part)), default=0)
    own = [side.version for side in sides if side.version is not None]
    return Ancestors(name, (*versions, *own), tuple(keys), depth)


def _own(part: pd.DataFrame) -> pd.DataFrame:
    """Without what all rows came from, such as a training set: it tells none apart. As it is, if a row had nothing else."""
    if not part["row"].duplicated().any():
        return part
    rows = part.groupby(["version", "position"])["row"].transform("nunique")
    own = part[rows < part["row"].nunique()]
    return own if own["row"].nunique() == part["row"].nunique() else part


def _numbers(store: Store, part: pd.DataFrame, versions: Sequence[Version]) -> np.ndarray:
    """Each row as it is in the newest of the versions that has it; one that was erased as it was where it was read."""
    position = part["position"].to_numpy(np.int64)
    version = part["version"].to_numpy(np.int64)
    numbers = np.empty(len(part), np.int64)
    for at, old in enumerate(versions):
        rows = np.flatnonzero(version == old.version)
        numbers[rows] = (at << POSITION_BITS) | position[rows]
        for newer in range(len(versions) - 1, at, -1):
            now = same_rows_by_key(store, old, versions[newer], position[rows])
            numbers[rows[now >= 0]] = (newer << POSITION_BITS) | now[now >= 0]
            rows = rows[now < 0]
    return numbers


def same_rows_by_key(store: Store, one: Version, other: Version, positions: np.ndarray) -> np.ndarray:
    """The positions in `other` of these rows of `one`, -1 where they are not there.

    By the key of the newer one; without that by a named index, else by content.
    """
    if one.version == other.version or one.gone or other.gone:
        return same_rows(store, one, other, positions)
    newer = max(one, other, key=lambda version: version.version)
    if key_labels(store.schema(newer.schema_id)):
        return same_rows(store, one, other, positions)
    names = index_names(store.schema(one.schema_id))
    if None in names or names == ("position",) or names != index_names(store.schema(other.schema_id)):
        return same_rows(store, one, other, positions)
    before, after = (reading.read(store, version, columns=[]).index for version in (one, other))
    if not (before.is_unique and after.is_unique):
        return same_rows(store, one, other, positions)
    shown = [reading.positions_shown(store, version) for version in (one, other)]
    rows = _inverse(shown[0], one.total)[positions]
    positions_there = np.where(rows < 0, -1, after.get_indexer(before[np.maximum(rows, 0)]))
    return np.where(positions_there < 0, -1, np.append(shown[1], -1)[positions_there]).astype(np.int64)


def _inverse(there: np.ndarray, total: int) -> np.ndarray:
    """For each of so many places the number that leads there, -1 where none does."""
    back = np.full(total, -1, np.int64)
    rows = np.flatnonzero(there >= 0)
    back[there[rows]] = rows
    return back
