"""Find stale rows: a parent was changed or removed since they were made, or the code that made them changed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from itertools import count, pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from tablevault_pd.code.newer import Newer, Place, name_of
from tablevault_pd.lineage.makers import runs_of
from tablevault_pd.lineage.of_rows import rows_to_trace
from tablevault_pd.lineage.passages import rows_of_passages
from tablevault_pd.lineage.report import lines
from tablevault_pd.lineage.same import same_rows, unchanged_rows
from tablevault_pd.reading import reports
from tablevault_pd.reading.read import list_not_found

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tablevault_pd.lineage.makers import RowsMade
    from tablevault_pd.store import Store, Version, WrittenCode

COLUMNS = {
    "list": "str",
    "position": "Int64",
    "reason": "str",
    "of": "str",
    "depth": "Int64",
    "session": "str",
    "cell": "Int64",
}


@dataclass(frozen=True, slots=True, eq=False)
class RowsOfMap:
    """How the rows of a mapped list stand to the rows that it is made from."""

    source: Version  #: the newest version of the list that is mapped over
    inputs: np.ndarray  #: int64: where the input of each row is in it now; -1 if it has changed or is gone
    code: np.ndarray  #: object: what has changed in the code that made each row, or None
    knows_code: bool  #: whether nothing else counts as the code of these rows
    new: np.ndarray  #: int64: positions of inputs that have no row yet


#: How the newest version of a list stands to its inputs; None if it is not made by map.
MapOf = Callable[["Version"], RowsOfMap | None]


def stale(store: Store, version: Version | None = None, map_of: MapOf = lambda _: None) -> pd.DataFrame:
    """The rows of `version` that are stale, or those of all lists, in order of making."""
    heads = [state.head for state in store.lists() if not state.head.deleted]
    maps = _Maps(heads, map_of)
    code = CodeInForce(store, heads if version is None else [*_others(heads, version), version], maps)
    walk = _AncestorWalk(store, code, maps)
    chosen = heads if version is None else [version]
    parts = [part for head in chosen for part in walk.lines_of(head)]
    if not parts:
        return _empty()
    rank = walk.order_of_making(chosen)
    table = pd.concat(parts, ignore_index=True).assign(rank=lambda frame: frame["list"].map(rank))
    table = table.sort_values(
        ["rank", "list", "position", "depth", "reason"], kind="stable", ignore_index=True
    )
    return table.drop_duplicates(ignore_index=True)[list(COLUMNS)].astype(COLUMNS)


class _Maps:
    """How mapped lists stand to their inputs. Each is looked at once, and only if it is met."""

    def __init__(self, heads: Sequence[Version], map_of: MapOf) -> None:
        self._newest = {head.list_id: head.version for head in heads}
        self._map_of = map_of
        self._states: dict[int, RowsOfMap | None] = {}

    def get(self, version: Version) -> RowsOfMap | None:
        """The state of a version; None if it is not the newest one of a mapped list."""
        if self._newest.get(version.list_id) != version.version:
            return None
        if version.list_id not in self._states:
            self._states[version.list_id] = self._map_of(version)
        return self._states[version.list_id]


def _others(heads: Sequence[Version], version: Version) -> list[Version]:
    return [head for head in heads if head.list_id != version.list_id]


def _empty() -> pd.DataFrame:
    return pd.DataFrame({name: pd.Series(dtype=dtype) for name, dtype in COLUMNS.items()})


# -- the code in force


@dataclass(frozen=True, slots=True)
class MadeRows:
    """Rows of a version that one place made, or confirmed last."""

    start: int
    stop: int
    place: Place
    of: str | None = None  #: what has changed in the code since
    reason: str = "code"  #: "unknown" where it only may have


class CodeInForce:
    """Which code made the rows of some versions, and whether it has changed since: by confirmations, else by commits."""

    def __init__(self, store: Store, heads: Sequence[Version], maps: _Maps) -> None:
        self._store, self._maps = store, maps
        self._heads = {head.list_id: head for head in heads}
        self._changed: dict[tuple[int, Place], tuple[str | None, str]] = {}

    def pieces(self, head: Version) -> list[MadeRows]:
        """The rows of a list by the code that made them, in order of position."""
        pieces = self._pieces.get(head.list_id, [])
        state = self._maps.get(head)
        if state is not None:
            return [part for piece in pieces for part in self._of_map(head, state, piece)]
        return [
            MadeRows(piece.start, piece.stop, piece.place, *self._of(head, piece.place)) for piece in pieces
        ]

    def _of_map(self, head: Version, state: RowsOfMap, piece: MadeRows) -> Iterator[MadeRows]:
        """A piece of a mapped list, cut where the function that made its rows is another one."""
        of = state.code[piece.start : piece.stop]
        bounds = [0, *(np.flatnonzero(of[1:] != of[:-1]) + 1).tolist(), len(of)]
        for start, stop in pairwise(bounds):
            changed = (
                (of[start], "code")
                if of[start] is not None or state.knows_code
                else self._of(head, piece.place)
            )
            yield MadeRows(piece.start + start, piece.start + stop, piece.place, *changed)

    @cached_property
    def _runs(self) -> dict[int, list[RowsMade]]:
        heads = list(self._heads.values())
        return {head.list_id: runs for head, runs in zip(heads, runs_of(self._store, heads), strict=True)}

    @cached_property
    def _pieces(self) -> dict[int, list[MadeRows]]:
        return {
            list_id: [MadeRows(run.start, run.stop, run.last) for run in runs]
            for list_id, runs in self._runs.items()
        }

    def made_from(self, version: Version) -> dict[str, np.ndarray]:
        """For each list that rows were made from again, and came out equal: the newest version of it, by row; -1 for none."""
        if self._heads.get(version.list_id) != version:
            return {}
        newest: dict[str, np.ndarray] = {}
        for run in self._runs[version.list_id]:
            for list_id, number in run.made_from.items():
                if list_id in self._heads:
                    name = self._heads[list_id].list
                    by_row = newest.setdefault(name, np.full(version.total, -1))
                    by_row[run.start : run.stop] = number
        return newest

    @cached_property
    def _slices(self) -> dict[Place, WrittenCode]:
        places = {piece.place for pieces in self._pieces.values() for piece in pieces if piece.place[1] >= 0}
        return {
            (code.session_id, code.cell, code.line): code for code in self._store.written_code(sorted(places))
        }

    @cached_property
    def _newer(self) -> Newer:
        return Newer(self._store, self._store.versions())

    def _of(self, head: Version, place: Place) -> tuple[str | None, str]:
        """What has changed, and the reason that it gives."""
        key = (head.list_id, place)
        if key not in self._changed:
            code = self._slices.get(place)
            self._changed[key] = (None, "") if code is None else self._what_changed(head, code)
        return self._changed[key]

    def _what_changed(self, head: Version, code: WrittenCode) -> tuple[str | None, str]:
        others = [
            self._slices[piece.place]
            for list_id, pieces in self._pieces.items()
            for piece in pieces
            if list_id != head.list_id and piece.place in self._slices
        ]
        changed = self._newer.changed(code, others) or self._grown(head, code)
        if changed:
            return ", ".join(changed), "code"
        same_list = [self._slices[p.place] for p in self._pieces[head.list_id] if p.place in self._slices]
        return ", ".join(self._newer.doubtful(code, others + same_list)) or None, "unknown"

    def _grown(self, head: Version, code: WrittenCode) -> list[str]:
        """What the same statement needs in a later run that added rows to the same list, and did not need then."""
        later = [
            self._slices[piece.place]
            for piece in self._pieces[head.list_id]
            if piece.place in self._slices and piece.place[0] > code.session_id
        ]
        for other in sorted(later, key=lambda other: -other.session_id):
            if self._newer.is_same_place(code, other):
                trees = {part.tree for part in code.parts}
                new = [part for part in other.parts if part.tree not in trees]
                in_order = not any(self._newer.had_run(part, code) for part in new)
                return [name_of(part) for part in new[:1] if in_order]
        return []


# -- parents

_PLACES = ["position", "parent_position", "parent_start", "parent_stop"]
_STEP = [*_PLACES, "parent_list", "parent_version"]
_PARENT = ["parent_list", "parent_version", "own", "of_map"]
UNKNOWN = -2  # where the input of a row is now, if map did not make the row


@dataclass(slots=True)
class _AncestorWalk:
    """Goes from the rows of a list to all of their ancestors, as they are now."""

    store: Store
    code: CodeInForce
    maps: _Maps
    made_from: dict[str, set[str]] = field(default_factory=dict)
    heads: dict[str, Version | None] = field(default_factory=dict)
    versions: dict[tuple[str, int], Version | None] = field(default_factory=dict)

    def lines_of(self, version: Version) -> Iterator[pd.DataFrame]:
        """One line for each row of a list and each thing that makes it stale."""
        writers = self._writers(version)
        state = self.maps.get(version)
        if state is not None and len(state.new):
            yield _new_lines(version, state)
        own = self._of_code(version, np.arange(version.total))
        if own is not None:
            yield _lines(version, own["position"], own["reason"], own["of"], 0, writers)
        at = np.arange(version.total)
        rows = pd.DataFrame({"root": at, "list": version.list, "version": version.version, "position": at})
        visited = rows
        for depth in count(1):
            parents = self._parents(rows)
            if parents.empty:
                return
            judged = [self._judged(key, group) for key, group in parents.groupby(_PARENT, sort=False)]
            steps = pd.concat(judged, ignore_index=True)
            bad = steps[steps["of"].notna()]
            if len(bad):
                yield _lines(version, bad["root"], bad["reason"].to_numpy(), bad["of"], depth, writers)
            on = steps.loc[steps["followed"], ["root", "parent_list", "newest_version", "now"]]
            on = on.set_axis(rows.columns, axis=1).drop_duplicates()
            again = on.merge(visited, how="left", indicator=True)["_merge"].to_numpy() == "both"
            rows = on[~again]
            visited = pd.concat([visited, rows], ignore_index=True)

    def order_of_making(self, versions: Sequence[Version]) -> dict[str, int]:
        """A number for each list, above those of all lists that it is made from."""
        ranks: dict[str, int] = {}

        def rank(name: str, path: frozenset[str]) -> int:
            if name not in ranks:
                parents = self.made_from.get(name, set()) - path - {name}
                ranks[name] = 1 + max((rank(parent, path | {name}) for parent in sorted(parents)), default=-1)
            return ranks[name]

        return {version.list: rank(version.list, frozenset()) for version in versions}

    def _writers(self, version: Version) -> pd.DataFrame:
        pieces = self.code.pieces(version)
        labels = reports.labels_of(self.store, [piece.place[0] for piece in pieces])
        return pd.DataFrame(
            {
                "start": [piece.start for piece in pieces],
                "session": pd.array([labels.get(piece.place[0]) for piece in pieces], dtype="str"),
                "cell": pd.array(
                    [piece.place[1] if piece.place[1] >= 0 else None for piece in pieces], dtype="Int64"
                ),
            }
        )

    def _of_code(self, version: Version, positions: np.ndarray) -> pd.DataFrame | None:
        """Of these rows those whose own code has changed, with what has."""
        parts = [
            pd.DataFrame({"position": inside, "of": piece.of, "reason": piece.reason})
            for piece in self.code.pieces(version)
            if piece.of is not None
            and len(inside := positions[(positions >= piece.start) & (positions < piece.stop)])
        ]
        return pd.concat(parts, ignore_index=True) if parts else None

    def _parents(self, rows: pd.DataFrame) -> pd.DataFrame:
        """One line per row of `rows` and direct parent, -1 for the position of a whole list."""
        parts = []
        key: Any  # (list, version)
        for key, group in rows.groupby(["list", "version"], sort=False):
            name, number = key
            version = self._version(name, int(number))
            if version is None:  # renamed meanwhile
                raise list_not_found(self.store, name)
            at = np.unique(group["position"])
            steps = lines(self.store, rows_to_trace(version, at), depth=1)[_STEP]
            places = {column: steps[column].fillna(-1).astype(np.int64) for column in _PLACES}
            steps = steps.assign(**places, own=(steps["parent_list"] == name).astype(bool))
            steps = self._as_made_again(version, steps)
            state = self.maps.get(version)
            of_map = (steps["parent_list"] == ("" if state is None else state.source.list)).to_numpy(bool)
            steps = steps.assign(of_map=of_map, input=UNKNOWN)
            if state is not None:
                steps.loc[of_map, "input"] = state.inputs[steps["position"].to_numpy()[of_map]]
            self.made_from.setdefault(name, set()).update(steps["parent_list"].unique())
            parts.append(group[["root", "position"]].merge(steps, on="position"))
        return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=_PARENT)

    def _as_made_again(self, version: Version, steps: pd.DataFrame) -> pd.DataFrame:
        """The steps, those of rows that were made again to the version that they were made from then.

        A parent is the same row there by its key; one that is not there any more is left as it is.
        """
        for name, newest in self.code.made_from(version).items():
            again = newest[steps["position"].to_numpy()]
            later = (steps["parent_list"] == name).to_numpy(bool) & (
                again > steps["parent_version"].to_numpy()
            )
            pairs = pd.DataFrame({"old": steps["parent_version"].to_numpy()[later], "new": again[later]})
            key: Any  # (version of before, that of then)
            for key, numbers in pairs.groupby(["old", "new"]).indices.items():
                before, then = map(int, key)
                rows = np.flatnonzero(later)[numbers]
                at = steps["parent_position"].to_numpy()[rows]
                now = self._rows_then(name, before, then, at)
                there = rows[(now >= 0) | (at < 0)]
                columns = ["parent_version", "parent_position", "parent_start", "parent_stop"]
                values = [np.full(len(rows), then), now, np.full(len(rows), -1), np.full(len(rows), -1)]
                moved = np.stack(values, axis=1)[(now >= 0) | (at < 0)]
                steps.loc[steps.index[there], columns] = moved
        return steps

    def _rows_then(self, name: str, before: int, then: int, at: np.ndarray) -> np.ndarray:
        """The positions of these rows of one version in another, -1 where they are not there."""
        old, new = self._version(name, before), self._version(name, then)
        rows = np.flatnonzero(at >= 0)
        now = np.full(len(at), -1)
        if old is not None and new is not None and not (old.gone or new.gone):
            now[rows] = same_rows(self.store, old, new, at[rows])
        return now

    def _judged(self, key: Any, group: pd.DataFrame) -> pd.DataFrame:
        """What became of parents in one version: why they make stale and `of` what, and where they are `now`."""
        name, number, own, of_map = key
        head, old = self._head(name), self._version(name, int(number))
        assert head is not None
        assert old is not None
        at = group["parent_position"].to_numpy(np.int64)
        if of_map:
            now, newest = group["input"].to_numpy(np.int64), head
            fate = np.full(len(at), None, dtype=object)
            fate[now < 0] = "parent"
        elif (
            own or head.version == old.version
        ):  # a list that is made from its own rows is not stale because of itself
            fate, now, newest = np.full(len(at), None, dtype=object), at, old
        else:
            fate, now = _fate(self.store, old, head, at)
            newest = head
            group, fate, now = self._with_passages(group, fate, now, old, head)
            at = group["parent_position"].to_numpy(np.int64)
        of = np.full(len(at), None, dtype=object)
        lost = np.flatnonzero(fate == "parent")
        of[lost] = [
            f"{name}@{number}" if position < 0 else f"{name}@{number}[{position}]"
            for position in at[lost].tolist()
        ]
        of[fate == "unknown"] = f"{name}@{number}"
        unchanged = np.flatnonzero(pd.isna(fate))
        if not own and not newest.deleted:
            of[unchanged], fate[unchanged] = self._recoded(newest, now[unchanged])
        followed = np.zeros(len(at), bool)
        followed[unchanged] = True
        return group.assign(reason=fate, of=of, followed=followed, newest_version=newest.version, now=now)

    def _with_passages(
        self, group: pd.DataFrame, fate: np.ndarray, now: np.ndarray, old: Version, head: Version
    ) -> tuple[pd.DataFrame, np.ndarray, np.ndarray]:
        """The lines, with what became of them, where a row has changed and the passage that was cited of it still stands."""
        spans = group[["parent_start", "parent_stop"]].to_numpy(np.int64)
        lost = np.flatnonzero((fate == "parent") & (spans[:, 0] >= 0))
        if head.deleted or not len(lost):
            return group, fate, now
        at = group["parent_position"].to_numpy(np.int64)[lost]
        rows = rows_of_passages(self.store, old, head, at, spans[lost])
        standing = [number for number, there in enumerate(rows) if len(there)]
        counts = np.ones(len(group), np.int64)
        counts[lost[standing]] = [len(rows[number]) for number in standing]
        line = np.repeat(np.arange(len(group)), counts)
        fate[lost[standing]] = None
        now = now[line]
        moved = np.isin(line, lost[standing])
        now[moved] = np.concatenate([now[:0], *(rows[number] for number in standing)])
        return group.iloc[line], fate[line], now

    def _recoded(self, head: Version, now: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """What has changed in the code that made each of these rows, and the reason that it gives; for a whole list any of its code."""
        of, reasons = np.full(len(now), None, dtype=object), np.full(len(now), None, dtype=object)
        for piece in self.code.pieces(head):
            if piece.of is not None:
                made = (now < 0) | ((now >= piece.start) & (now < piece.stop))
                of[made], reasons[made] = piece.of, "parent" if piece.reason == "code" else piece.reason
        return of, reasons

    def _head(self, name: str) -> Version | None:
        if name not in self.heads:
            self.heads[name] = self.store.head(name)
        return self.heads[name]

    def _version(self, name: str, number: int) -> Version | None:
        if (name, number) not in self.versions:
            self.versions[name, number] = self.store.version(name, number)
        return self.versions[name, number]


def _lines(
    version: Version, positions: Any, reason: Any, of: Any, depth: int, writers: pd.DataFrame
) -> pd.DataFrame:
    at = np.asarray(positions, np.int64)
    by = writers.iloc[np.searchsorted(writers["start"].to_numpy(), at, side="right") - 1]
    return pd.DataFrame(
        {
            "list": version.list,
            "position": at,
            "reason": reason,
            "of": np.asarray(of, object),
            "depth": depth,
            "session": by["session"].array,
            "cell": by["cell"].array,
        }
    )


def _new_lines(version: Version, state: RowsOfMap) -> pd.DataFrame:
    """Lines for the inputs of a mapped list that have no row yet."""
    source = state.source.label
    return pd.DataFrame(
        {
            "list": version.list,
            "position": None,
            "reason": "new",
            "of": [f"{source}[{position}]" for position in state.new.tolist()],
            "depth": 1,
            "session": None,
            "cell": None,
        }
    ).astype(COLUMNS)


def _fate(store: Store, old: Version, head: Version, at: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(what makes stale, position in `head`) of each of these rows of `old`; None if it is in `head` as it was."""
    if head.deleted:
        return np.full(len(at), "parent", dtype=object), at
    shown, newest = store.pieces([old, head])
    fate, now = np.full(len(at), None, dtype=object), at.copy()
    fate[(at < 0) & (shown != newest)] = "parent"
    rows = np.flatnonzero(at >= 0)
    now[rows] = newest.positions(*shown.addresses(at[rows]))
    moved = rows[now[rows] < 0]  # the others are the very same ones
    if len(moved) and old.gone:
        fate[moved] = "unknown"
    elif len(moved):
        now[moved] = unchanged_rows(store, old, head, at[moved])
        fate[moved[now[moved] < 0]] = "parent"
    return fate, now
