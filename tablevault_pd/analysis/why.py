"""``Comparison.why``: for each row that flipped, what it was made from that changed, and the code and parameters that made it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from tablevault_pd.analysis.ancestors import same_rows_by_key
from tablevault_pd.analysis.arguments import ARGUMENT
from tablevault_pd.analysis.cells import equal_cells
from tablevault_pd.analysis.differences import differences
from tablevault_pd.analysis.elsewhere import Elsewhere
from tablevault_pd.analysis.evidence import CAUSES, CODE, Evidence, Records
from tablevault_pd.analysis.facts import PARAMETER, READ
from tablevault_pd.analysis.makings import Making
from tablevault_pd.analysis.ruled_out import first_of
from tablevault_pd.errors import InvalidInput
from tablevault_pd.frames import columns as columns_of
from tablevault_pd.keys.mapped import functions_at
from tablevault_pd.lineage.makers import numbers_at, runs_of
from tablevault_pd.lineage.of_rows import rows_to_trace
from tablevault_pd.lineage.report import lines as lineage_lines
from tablevault_pd.lineage.same import stored_rows, unchanged_rows
from tablevault_pd.reading import read as reading
from tablevault_pd.reading.reports import typed

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tablevault_pd.analysis.contents import Contents
    from tablevault_pd.analysis.context import Context
    from tablevault_pd.analysis.evidence import Makers, MakersDiffer
    from tablevault_pd.analysis.sides import Side
    from tablevault_pd.code.reading import Place
    from tablevault_pd.store import Store, Version

MOVED = ("fixed", "broken", "up", "down")
NOTHING = "nothing recorded"
COLUMNS = ("flip", "what", "name", "a", "b", "depth", "list", "row_a", "row_b", "evidence")
_MADE_OF_IT = "the row was made from it"
_ORDER = ("row changed", "row removed", "row added", "input", CODE, *CAUSES, NOTHING)
_STEPS = ["row", "list", "version", "position", "depth"]


@dataclass(frozen=True, slots=True, eq=False)
class _Pairs:
    """Rows of two versions of one list that belong together: for each the number of the flipped row that it is above of."""

    a: Version
    b: Version
    row: np.ndarray
    position_a: np.ndarray
    position_b: np.ndarray
    depth: np.ndarray
    places: tuple[Place | None, Place | None] = (None, None)  #: of the sessions that the sides stand for
    by_row: bool = False  #: whether columns that are compared tell the rows apart

    def __len__(self) -> int:
        return len(self.row)


@dataclass(frozen=True, slots=True, eq=False)
class _OtherVersions:
    """Two versions of a list that flipped rows were made from, not row by row, or that those read who made them."""

    a: Version
    b: Version
    rows: np.ndarray
    depth: int  #: of the list


def why(comparison: pd.DataFrame, context: Context, side: int) -> pd.DataFrame:
    """One line per flipped row and difference in what made it."""
    store = context.vault()
    flipped = _flipped(comparison, context.layout.suffix(side))
    versions = [context.sides[number].version for number in (0, side)]
    if versions[0] is None or versions[1] is None:
        raise InvalidInput(
            "why() needs versions of the vault, and one side is a frame that was not read from it."
        )
    positions = [context.positions(flipped.index, number) for number in (0, side)]
    rows_of_both = np.flatnonzero((positions[0] >= 0) & (positions[1] >= 0))
    own = _Pairs(
        versions[0],
        versions[1],
        rows_of_both,
        positions[0][rows_of_both],
        positions[1][rows_of_both],
        np.zeros(len(rows_of_both), np.int64),
        (_place_of(context.sides[0]), _place_of(context.sides[side])),
        bool(context.layout.keys),
    )
    records = Records(store)
    parts, pairs, linked, others = _above(store, records.contents, own)
    explained = {row for part in parts for row in part["row"].tolist()}
    linked |= {own.a.list, own.b.list}
    for pair in [own, *pairs]:
        parts += _made_by(store, records, pair, linked, explained, others)
    return _frame(flipped, [*parts, *_behind(store, records.contents, others)])


def _place_of(side: Side) -> Place | None:
    return None if side.making is None else side.making.place


def _flipped(comparison: pd.DataFrame, suffix: str) -> pd.Series[Any]:
    """The rows that flipped in any measure, and how; without a measure those that changed."""
    flips = [
        name
        for name in comparison.columns
        if isinstance(name, str)
        and (name == f"flip{suffix}" or (name.startswith("flip_") and name.endswith(suffix)))
    ]
    if flips:
        values = comparison[flips].astype(object)
        moved = values.where(values.isin(MOVED)).bfill(axis=1).iloc[:, 0]
        return pd.Series(moved, index=comparison.index)[moved.notna().to_numpy()]
    status = comparison[f"status{suffix}"].astype(object)
    return status[(status == "changed").to_numpy()]


# -- what the rows were made from


def _above(
    store: Store, contents: Contents, own: _Pairs
) -> tuple[list[pd.DataFrame], list[_Pairs], set[str], list[_OtherVersions]]:
    """What stands above rows.

    (lines about ancestors that are not the same on both sides, pairs of those that changed, all lists above, the versions of
    lists of which a row has other rows, or all)
    """
    walks = [
        _steps(store, version, positions, own.row)
        for version, positions in ((own.a, own.position_a), (own.b, own.position_b))
    ]
    parts: list[pd.DataFrame] = []
    pairs: list[_Pairs] = []
    others: list[_OtherVersions] = []
    lists = dict.fromkeys([*walks[0]["list"], *walks[1]["list"]])
    for name in lists:
        a, b = (_nearest(walk[walk["list"] == name]) for walk in walks)
        whole = _whole_lists(store, contents, a[a["position"] < 0], b[b["position"] < 0])
        gone, come, changed = _matched(store, name, a[a["position"] >= 0], b[b["position"] >= 0])
        if name == own.a.list:
            gone = _without_itself(store, gone, own.row, own.a, own.position_a)
        if name == own.b.list:
            come = _without_itself(store, come, own.row, own.b, own.position_b)
        parts += [*whole, _lone(gone, "row removed"), _lone(come, "row added")]
        rows = {row for part in (*whole, gone, come) for row in part["row"].tolist()}
        others += _other_versions(store, name, a, b, rows)
        for pair in changed:
            parts.append(_cells(store, pair))
            pairs.append(pair)
    return parts, pairs, set(lists), others


def _without_itself(
    store: Store, lone: pd.DataFrame, rows: np.ndarray, version: Version, positions: np.ndarray
) -> pd.DataFrame:
    """Ancestors of rows of a version, without those that are the same row in an earlier version, as an upsert changes it."""
    if lone.empty:
        return lone
    now = np.full(len(lone), -1, np.int64)
    numbers = sorted(set(lone["version"].tolist()))
    for earlier in reading.versions_numbered(store, version.list, numbers):
        of_version = np.flatnonzero(lone["version"] == earlier.version)
        at = lone["position"].to_numpy(np.int64)[of_version]
        now[of_version] = same_rows_by_key(store, earlier, version, at)
    own = pd.Series(positions, index=rows)
    others: pd.DataFrame = lone[now != own[lone["row"]].to_numpy(np.int64)]
    return others


def _other_versions(
    store: Store, name: str, a: pd.DataFrame, b: pd.DataFrame, rows: set[int]
) -> Iterator[_OtherVersions]:
    """The newest version of a list that stands above each of these rows, on both sides."""
    newest = [steps[steps["row"].isin(rows)].groupby("row")[["version", "depth"]].max() for steps in (a, b)]
    both = newest[0].merge(newest[1], left_index=True, right_index=True, suffixes=("_a", "_b"))
    key: Any  # (version of a, version of b, depth)
    for key, of_versions in both.groupby(["version_a", "version_b", "depth_a"]):
        one, two = reading.versions_numbered(store, name, key[:2])
        yield _OtherVersions(one, two, of_versions.index.to_numpy(np.int64), int(key[2]))


def _behind(store: Store, contents: Contents, others: Sequence[_OtherVersions]) -> Iterator[pd.DataFrame]:
    """Lines about the code, parameters and packages that made a list come out otherwise which rows were made from."""
    upstream: dict[tuple[Version, Version], pd.DataFrame] = {}
    for other in others:
        key = (other.a, other.b)
        if other.a.gone or other.b.gone or contents.is_same(*key):
            continue
        if key not in upstream:
            upstream[key] = differences(store, Making(other.a), Making(other.b))
        lines = upstream[key]
        for line in lines[~lines["ruled_out"] & lines["what"].isin([CODE, *CAUSES])].to_dict("records"):
            part = pd.DataFrame({"row": other.rows, "depth": other.depth + line["depth"]})
            a, b = (pd.Series([line[side]] * len(part), dtype=object) for side in ("a", "b"))
            same = {name: line[name] for name in ("what", "name", "list", "evidence")}
            yield part.assign(**same, a=a, b=b)


def _nearest(above: pd.DataFrame) -> pd.DataFrame:
    """Of the ancestors of each row in one list, the nearest: further up stand the rows that these were made from."""
    return above[above["depth"] == above.groupby("row")["depth"].transform("min")]


def _steps(store: Store, version: Version, positions: np.ndarray, rows: np.ndarray) -> pd.DataFrame:
    """All ancestors of each row: row, list, version, position (-1: the whole list), depth."""
    walked = lineage_lines(store, rows_to_trace(version, np.unique(positions)))
    above = pd.DataFrame(
        {
            "own": walked["position"].to_numpy(np.int64),
            "list": walked["parent_list"].astype(object),
            "version": walked["parent_version"].to_numpy(np.int64),
            "position": walked["parent_position"].to_numpy(dtype=np.int64, na_value=-1),
            "depth": walked["depth"].to_numpy(np.int64),
        }
    )
    return pd.DataFrame({"row": rows, "own": positions}).merge(above, on="own")[_STEPS]


def _whole_lists(store: Store, contents: Contents, a: pd.DataFrame, b: pd.DataFrame) -> list[pd.DataFrame]:
    """Lists that stand as a whole above a row, in versions of other content on the two sides."""
    if a.empty and b.empty:
        return []
    first = _first_of_content(store, contents, pd.concat([a, b]))
    keys = ["row", "list", "content"]
    one, two = (
        steps.assign(content=steps["version"].map(first)).drop_duplicates(keys)[[*keys, "version", "depth"]]
        for steps in (a, b)
    )
    joined = one.merge(two, on=keys, how="outer", suffixes=("_a", "_b"), indicator=True)
    other = joined[joined["_merge"] != "both"]
    if other.empty:
        return []
    versions = other["version_a"].fillna(other["version_b"]).astype(np.int64)
    shown = other["list"] + "@" + versions.astype(str)
    left = (other["_merge"] == "left_only").to_numpy()
    lines = pd.DataFrame(
        {
            "row": other["row"],
            "what": "input",
            "name": other["list"],
            "a": shown.where(left),
            "b": shown.where(~left),
            "depth": other["depth_a"].fillna(other["depth_b"]).astype(np.int64),
            "list": other["list"],
            "evidence": _MADE_OF_IT,
        }
    )
    return [lines.groupby(["row", "what", "name", "list"], as_index=False, sort=False).first()]


def _first_of_content(store: Store, contents: Contents, steps: pd.DataFrame) -> dict[int, int]:
    """For each version of the one list of these steps the first among them that shows the same."""
    name = steps["list"].iloc[0]
    versions = reading.versions_numbered(store, name, sorted(set(steps["version"].tolist())))
    return {
        version.version: next(one.version for one in versions if contents.is_same(one, version))
        for version in versions
    }


def _matched(
    store: Store, name: str, a: pd.DataFrame, b: pd.DataFrame
) -> tuple[pd.DataFrame, pd.DataFrame, list[_Pairs]]:
    """(rows above side a alone, above side b alone, pairs that changed); rows of equal content are left out, erased or not."""
    numbers = sorted({*a["version"].tolist(), *b["version"].tolist()})
    versions = dict(zip(numbers, reading.versions_numbered(store, name, numbers), strict=True))
    changed: list[_Pairs] = []
    for match in (stored_rows, unchanged_rows, same_rows_by_key, None):
        for one in sorted(set(a["version"].tolist())):
            for two in sorted(set(b["version"].tolist())):
                here = a[a["version"] == one]
                if match is None:
                    pairs = _only_ones(here, b[b["version"] == two])
                else:
                    now = match(store, versions[one], versions[two], here["position"].to_numpy(np.int64))
                    there = here.assign(now=now).reset_index()
                    other = b[b["version"] == two].reset_index()
                    pairs = there.merge(
                        other, left_on=["row", "now"], right_on=["row", "position"], suffixes=("_a", "_b")
                    )
                a, b = a.drop(index=list(pairs["index_a"])), b.drop(index=list(pairs["index_b"]))
                if match not in (stored_rows, unchanged_rows) and len(pairs):
                    changed.append(_pairs(versions[one], versions[two], pairs))
    return a, b, changed


def _only_ones(a: pd.DataFrame, b: pd.DataFrame) -> pd.DataFrame:
    """Where one row alone is left on each side, it is the one that changed."""
    single = [part[~part["row"].duplicated(keep=False)].reset_index() for part in (a, b)]
    return single[0].merge(single[1], on="row", suffixes=("_a", "_b"))


def _pairs(a: Version, b: Version, pairs: pd.DataFrame) -> _Pairs:
    row, at_a, at_b, depth = (
        pairs[name].to_numpy(np.int64) for name in ("row", "position_a", "position_b", "depth_a")
    )
    return _Pairs(a, b, row, at_a, at_b, depth)


def _place(versions: pd.Series[Any] | Version, positions: Any) -> Any:
    if isinstance(versions, pd.Series):
        return versions.astype(str) + "[" + positions.astype(str) + "]"
    return [f"{versions.label}[{position}]" for position in positions]


def _lone(rows: pd.DataFrame, what: str) -> pd.DataFrame:
    """Rows that only one side was made from."""
    place = _place(rows["list"] + "@" + rows["version"].astype(str), rows["position"]).astype(object)
    empty = pd.Series([None] * len(rows), index=rows.index, dtype=object)
    a, b = (place, empty) if what == "row removed" else (empty, place)
    lines = rows[["row", "depth", "list"]].assign(what=what, name=rows["list"])
    return lines.assign(a=a, b=b, row_a=a, row_b=b, evidence=_MADE_OF_IT)


def _cells(store: Store, pairs: _Pairs) -> pd.DataFrame:
    """One line for each cell in which rows that belong together differ."""
    labels = [column.label for column in columns_of(store.schema(pairs.a.schema_id))]
    theirs = {column.label for column in columns_of(store.schema(pairs.b.schema_id))}
    shared = [label for label in labels if label in theirs]
    if pairs.a.gone or pairs.b.gone or not shared:
        return _line(pairs, np.arange(len(pairs)), pairs.a.list, None, None)
    one, two = reading.take(store, [(pairs.a, pairs.position_a, shared), (pairs.b, pairs.position_b, shared)])
    parts, has_line = [], np.zeros(len(pairs), bool)
    for label in shared:
        rows = np.flatnonzero(~equal_cells(one[label], two[label]))
        has_line[rows] = True
        if len(rows):
            a, b = (frame[label].iloc[rows].astype(object).tolist() for frame in (one, two))
            parts.append(_line(pairs, rows, str(label), a, b))
    rest = np.flatnonzero(~has_line)  # a column came or went, or the label alone is another
    return pd.concat([*parts, _line(pairs, rest, pairs.a.list, None, None)], ignore_index=True)


def _line(
    pairs: _Pairs, rows: np.ndarray, name: str, a: list[Any] | None, b: list[Any] | None
) -> pd.DataFrame:
    places = (_place(pairs.a, pairs.position_a[rows]), _place(pairs.b, pairs.position_b[rows]))
    return pd.DataFrame(
        {
            "row": pairs.row[rows],
            "what": "row changed",
            "name": name,
            "a": pd.Series(places[0] if a is None else a, dtype=object),
            "b": pd.Series(places[1] if b is None else b, dtype=object),
            "depth": pairs.depth[rows],
            "list": pairs.a.list,
            "row_a": pd.Series(places[0], dtype=object),
            "row_b": pd.Series(places[1], dtype=object),
            "evidence": _MADE_OF_IT,
        }
    )


# -- the code and the parameters that made them


def _made_by(
    store: Store,
    records: Records,
    pairs: _Pairs,
    linked: set[str],
    explained: set[int],
    others: list[_OtherVersions],
) -> list[pd.DataFrame]:
    """Lines about those who made rows that belong together, where these differ.

    Lists that their sessions read count where no row of them is linked: `linked` are the others. Of the flipped rows some are
    `explained` by what they were made from. Versions of lists that were read join the `others`.
    """
    if not len(pairs):
        return []
    runs = runs_of(store, [pairs.a, pairs.b])
    functions = [
        functions_at(store, version, positions)
        for version, positions in ((pairs.a, pairs.position_a), (pairs.b, pairs.position_b))
    ]
    by = pd.DataFrame(
        {
            "a": numbers_at(runs[0], pairs.position_a),
            "b": numbers_at(runs[1], pairs.position_b),
            "explained": [row in explained for row in pairs.row.tolist()],
            "function_a": 0 if functions[0] is None else functions[0],
            "function_b": 0 if functions[1] is None else functions[1],
        }
    )
    elsewhere = Elsewhere(store, records.contents, (pairs.a, pairs.b), by_row=pairs.by_row)
    parts = []
    key: Any  # (run of a, run of b, whether it is explained, function of map for a, and for b)
    for key, rows in by.groupby([*by.columns], sort=False).indices.items():
        makers = [
            first_of(runs_of_side[number], place)
            for runs_of_side, number, place in zip(runs, key[:2], pairs.places, strict=True)
        ]
        is_mapped = functions[0] is not None and functions[1] is not None
        arguments = records.arguments.of_functions(pairs.a, key[3:4], pairs.b, key[4:]) if is_mapped else []
        own = Evidence(records, makers[:1], makers[1:], linked, arguments)
        positions = (pairs.position_a[rows], pairs.position_b[rows])
        for some, evidence in elsewhere.by_rows(own, positions):
            causes = evidence.causes(explained=bool(key[2]))
            parts += [_cause(pairs, np.asarray(rows)[some], cause) for cause in causes]
            flipped = np.asarray(rows)[some]
            depth = int(pairs.depth[flipped].max(initial=0)) + 1
            others += [
                _OtherVersions(*versions, pairs.row[flipped], depth)
                for versions in (*evidence.own_lists(), *_read_versions(records, makers, causes))
            ]
    return parts


def _read_versions(
    records: Records, makers: Sequence[Makers], causes: Sequence[MakersDiffer]
) -> Iterator[tuple[Version, Version]]:
    """The newest version of both sides of each list among the causes that both read."""
    for cause in causes:
        if cause.key[0] == READ:
            a, b = (getattr(records.value(of_side[0], cause.key), "newest", None) for of_side in makers)
            if a is not None and b is not None:
                yield a, b


def _cause(pairs: _Pairs, rows: np.ndarray, cause: MakersDiffer) -> pd.DataFrame:
    part = pd.DataFrame({"row": pairs.row[rows], "depth": pairs.depth[rows]})
    a, b = (pd.Series([value] * len(part), dtype=object) for value in (cause.a, cause.b))
    return part.assign(
        what=PARAMETER if cause.key[0] == ARGUMENT else cause.key[0],
        name=cause.name,
        list=pairs.a.list,
        a=a,
        b=b,
        evidence=cause.evidence,
    )


# -- the answer


def _told_nearer(lines: pd.DataFrame) -> np.ndarray:
    """Code and parameters that a nearer list of the same row has told of already."""
    keys = lines[["row", "what", "name"]].assign(a=lines["a"].map(repr), b=lines["b"].map(repr))
    return np.asarray(keys.duplicated() & lines["row_a"].isna() & lines["row_b"].isna())


def _frame(flipped: pd.Series[Any], parts: list[pd.DataFrame]) -> pd.DataFrame:
    lines = [part for part in parts if len(part)]
    explained = {row for part in lines for row in part["row"].tolist()}
    rest = [row for row in range(len(flipped)) if row not in explained]
    if rest:
        lines.append(pd.DataFrame({"row": rest, "what": NOTHING, "name": "", "depth": 0, "list": None}))
    columns = ["row", *COLUMNS[1:]]
    answer_lines = (
        pd.concat([part.reindex(columns=columns).astype(object) for part in lines])
        if lines
        else pd.DataFrame(columns=columns)
    )
    rank = answer_lines["what"].map({what: number for number, what in enumerate(_ORDER)})
    answer_lines = answer_lines.assign(rank=rank).sort_values(["row", "depth", "rank"], kind="stable")
    answer_lines = answer_lines[~_told_nearer(answer_lines)]
    row = answer_lines["row"].to_numpy(np.int64)
    answer: dict[str, Any] = {"flip": typed("flip", flipped.iloc[row].astype(object).tolist())}
    for name in COLUMNS[1:]:
        values = [
            None if pd.api.types.is_scalar(cell) and pd.isna(cell) else cell for cell in answer_lines[name]
        ]
        if name == "depth":
            answer[name] = pd.array(values, dtype="Int64")
        else:
            answer[name] = pd.Series(values, dtype=object) if name in ("a", "b") else typed(name, values)
    frame = pd.DataFrame(answer)
    return frame.set_axis(flipped.index.take(row), axis=0)
