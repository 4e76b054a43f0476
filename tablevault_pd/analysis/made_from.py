"""What flipped rows were made from that is not the same on both sides: row by row, or counted where it is above many alike."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from tablevault_pd.analysis.ancestors import same_rows_by_key
from tablevault_pd.analysis.cells import equal_cells
from tablevault_pd.analysis.rows_changed import named_rows
from tablevault_pd.frames import columns as columns_of
from tablevault_pd.lineage.makers import tells_rows_apart
from tablevault_pd.lineage.of_rows import rows_to_trace
from tablevault_pd.lineage.report import lines_up
from tablevault_pd.lineage.same import stored_rows, unchanged_rows
from tablevault_pd.reading import read as reading

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from tablevault_pd.analysis.contents import Contents
    from tablevault_pd.code.reading import Place
    from tablevault_pd.store import Store, Version

COUNTED = ("rows changed", "rows removed", "rows added")  #: of what stands above many flipped rows alike
_MADE_OF_IT = "the row was made from it"
_STEPS = ["row", "list", "version", "position", "depth"]
_STEP_DTYPES = {"list": object, "version": np.int64, "position": np.int64, "depth": np.int64}


@dataclass(frozen=True, slots=True, eq=False)
class Pairs:
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
class OtherVersions:
    """Two versions of a list that flipped rows were made from, not row by row, or that those read who made them."""

    a: Version
    b: Version
    rows: np.ndarray
    depth: int  #: of the list


def above(
    store: Store,
    contents: Contents,
    own: Pairs,
    above_a: pd.DataFrame,
    above_b: pd.DataFrame,
    *,
    of_many: bool = False,
) -> tuple[list[pd.DataFrame], list[Pairs], set[str], list[OtherVersions]]:
    """What stands above rows.

    (lines about ancestors that are not the same on both sides, pairs of those that changed, all lists above, the versions of
    lists of which a row has other rows, or all). Of what stands above many rows alike (`of_many`) the lines say how many rows
    changed, and not each of them.
    """
    walks = (above_a, above_b)
    parts: list[pd.DataFrame] = []
    pairs: list[Pairs] = []
    others: list[OtherVersions] = []
    lists = dict.fromkeys([*walks[0]["list"], *walks[1]["list"]])
    for name in lists:
        a, b = (_nearest(walk[walk["list"] == name]) for walk in walks)
        whole = _whole_lists(store, contents, a[a["position"] < 0], b[b["position"] < 0])
        rows_a, rows_b = (steps[steps["position"] >= 0] for steps in (a, b))
        gone, come, changed = _matched(store, name, rows_a, rows_b, _same_place if of_many else _only_ones)
        if name == own.a.list:
            gone = _without_itself(store, gone, own.row, own.a, own.position_a)
        if name == own.b.list:
            come = _without_itself(store, come, own.row, own.b, own.position_b)
        parts += whole
        if of_many:
            parts += _counted(store, gone, come, changed)
        else:
            parts += [_lone(gone, "row removed"), _lone(come, "row added")]
            parts += [_cells(store, pair) for pair in changed]
        pairs += changed
        rows = {row for part in (*whole, gone, come) for row in part["row"].tolist()}
        others += _other_versions(store, name, a, b, rows)
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
    apart: pd.DataFrame = lone[now != own[lone["row"]].to_numpy(np.int64)]
    return apart


def _other_versions(
    store: Store, name: str, a: pd.DataFrame, b: pd.DataFrame, rows: set[int]
) -> Iterator[OtherVersions]:
    """The newest version of a list that stands above each of these rows, on both sides."""
    newest = [steps[steps["row"].isin(rows)].groupby("row")[["version", "depth"]].max() for steps in (a, b)]
    both = newest[0].merge(newest[1], left_index=True, right_index=True, suffixes=("_a", "_b"))
    key: Any  # (version of a, version of b, depth)
    for key, of_versions in both.groupby(["version_a", "version_b", "depth_a"]):
        one, two = reading.versions_numbered(store, name, key[:2])
        yield OtherVersions(one, two, of_versions.index.to_numpy(np.int64), int(key[2]))


def _nearest(above: pd.DataFrame) -> pd.DataFrame:
    """Of the ancestors of each row in one list, the nearest: further up stand the rows that these were made from."""
    return above[above["depth"] == above.groupby("row")["depth"].transform("min")]


def walk_up(
    store: Store, pairs: Pairs
) -> tuple[list[pd.DataFrame], list[tuple[np.ndarray, list[pd.DataFrame]]]]:
    """What stands above rows on each side, and apart from these (rows, what is above all of them, under the first of them).

    The columns are row, list, version, position (-1: the whole list), depth. A list counts as above many rows alike where it is
    on both sides.
    """
    own: list[list[pd.DataFrame]] = []
    common: list[list[tuple[np.ndarray, pd.DataFrame]]] = []
    for version, positions in ((pairs.a, pairs.position_a), (pairs.b, pairs.position_b)):
        walked, of_many = lines_up(store, rows_to_trace(version, np.unique(positions)))
        rows = pd.DataFrame({"row": pairs.row, "own": positions})
        own.append([rows.merge(_ancestors(walked), on="own")[_STEPS]])
        common.append([(np.isin(positions, below), _ancestors(lines)) for below, lines in of_many])
    alike = []
    for members, has in _alike(pairs.row, common):
        both = [
            _nearest_of_each([lines for (_, lines), is_above in zip(of_side, flags, strict=True) if is_above])
            for of_side, flags in zip(common, has, strict=True)
        ]
        of_both = set(both[0]["list"]) & set(both[1]["list"])
        for of_side, steps in zip(own, both, strict=True):
            alone = steps[~steps["list"].isin(of_both)]
            if len(alone):
                of_side.append(for_all(members, alone)[_STEPS])
        if of_both:
            shared = [steps[steps["list"].isin(of_both)].assign(row=members[0])[_STEPS] for steps in both]
            alike.append((members, shared))
    return [_nearest_of_each(of_side, each_row=True) for of_side in own], alike


def _alike(
    rows: np.ndarray, common: Sequence[Sequence[tuple[np.ndarray, pd.DataFrame]]]
) -> Iterator[tuple[np.ndarray, list[list[bool]]]]:
    """The rows that have the same above them of what many have, and for each side which of it that is."""
    below = [is_below for of_side in common for is_below, _ in of_side]
    if not below:
        return
    flags, of_row = np.unique(np.stack(below, axis=1), axis=0, return_inverse=True)
    for number, has in enumerate(flags.tolist()):
        yield rows[of_row.ravel() == number], [has[: len(common[0])], has[len(common[0]) :]]


def _nearest_of_each(parts: Sequence[pd.DataFrame], *, each_row: bool = False) -> pd.DataFrame:
    """All of these ancestors, each once, where it is nearest."""
    if each_row and len(parts) == 1:
        return parts[0]
    columns = _STEPS if each_row else _STEPS[1:]
    steps = pd.concat(parts)[columns] if parts else pd.DataFrame(columns=columns).astype(_STEP_DTYPES)
    return steps.sort_values("depth", kind="stable").drop_duplicates(columns[:-1]).reset_index(drop=True)


def _ancestors(walked: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "own": walked["position"].to_numpy(np.int64),
            "list": walked["parent_list"].astype(object),
            "version": walked["parent_version"].to_numpy(np.int64),
            "position": walked["parent_position"].to_numpy(dtype=np.int64, na_value=-1),
            "depth": walked["depth"].to_numpy(np.int64),
        }
    )


def for_all(rows: np.ndarray, lines: pd.DataFrame) -> pd.DataFrame:
    """The same lines for each of these rows."""
    return pd.DataFrame({"row": rows}).merge(lines.drop(columns="row", errors="ignore"), how="cross")


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
    store: Store,
    name: str,
    a: pd.DataFrame,
    b: pd.DataFrame,
    rest: Callable[[pd.DataFrame, pd.DataFrame], pd.DataFrame],
) -> tuple[pd.DataFrame, pd.DataFrame, list[Pairs]]:
    """(rows above side a alone, above side b alone, pairs that changed); rows of equal content are left out, erased or not.

    Of what neither content nor key or index tells, `rest` says what belongs together.
    """
    numbers = sorted({*a["version"].tolist(), *b["version"].tolist()})
    versions = dict(zip(numbers, reading.versions_numbered(store, name, numbers), strict=True))
    changed: list[Pairs] = []
    has_keys = all(tells_rows_apart(store.schema(version.schema_id)) for version in versions.values())
    last = () if rest is _same_place and has_keys else (None,)
    for match in (stored_rows, unchanged_rows, same_rows_by_key, *last):
        for one in sorted(set(a["version"].tolist())):
            for two in sorted(set(b["version"].tolist())):
                here = a[a["version"] == one]
                if match is None:
                    pairs = rest(here, b[b["version"] == two])
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


def _same_place(a: pd.DataFrame, b: pd.DataFrame) -> pd.DataFrame:
    """Where no key tells rows above many others apart, those in the same place are the ones that changed."""
    keys = ["row", "position"]
    pairs = a.reset_index().merge(b.reset_index(), on=keys, suffixes=("_a", "_b"))
    return pairs.assign(position_a=pairs["position"], position_b=pairs["position"])


def _pairs(a: Version, b: Version, pairs: pd.DataFrame) -> Pairs:
    row, at_a, at_b, depth = (
        pairs[name].to_numpy(np.int64) for name in ("row", "position_a", "position_b", "depth_a")
    )
    return Pairs(a, b, row, at_a, at_b, depth)


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


def _counted(
    store: Store, gone: pd.DataFrame, come: pd.DataFrame, changed: Sequence[Pairs]
) -> list[pd.DataFrame]:
    """One line for each column in which rows above many others differ, and for the rows that only one side was made from."""
    lines: list[tuple[Any, ...]] = []
    for what, side, rows in (("rows removed", 0, gone), ("rows added", 1, come)):
        key: Any  # (list, version)
        for key, of_version in rows.groupby(["list", "version"]):
            [version] = reading.versions_numbered(store, key[0], [key[1]])
            shown = _named(store, version, of_version["position"].to_numpy(np.int64))
            a, b = (shown, None) if side == 0 else (None, shown)
            lines.append((what, key[0], a, b, of_version["depth"].min(), key[0], of_version["row"].iloc[0]))
    for pairs in changed:
        for at, name, *_ in _cells_apart(store, pairs):
            a = _named(store, pairs.a, pairs.position_a[at])
            b = _named(store, pairs.b, pairs.position_b[at])
            lines.append(("rows changed", name, a, b, pairs.depth[at].min(), pairs.a.list, pairs.row[0]))
    frame = pd.DataFrame(lines, columns=["what", "name", "a", "b", "depth", "list", "row"])
    return [frame.assign(evidence=_MADE_OF_IT)] if lines else []


def _named(store: Store, version: Version, positions: np.ndarray) -> str | None:
    return str(len(positions)) if version.gone else named_rows(store, version, np.sort(positions))


def _cells(store: Store, pairs: Pairs) -> pd.DataFrame:
    """One line for each cell in which rows that belong together differ."""
    return pd.concat([_line(pairs, *part) for part in _cells_apart(store, pairs)], ignore_index=True)


def _cells_apart(
    store: Store, pairs: Pairs
) -> Iterator[tuple[np.ndarray, str, list[Any] | None, list[Any] | None]]:
    """(which of the pairs, column, values of both sides) where rows that belong together differ; the list, where no cell does."""
    labels = [column.label for column in columns_of(store.schema(pairs.a.schema_id))]
    theirs = {column.label for column in columns_of(store.schema(pairs.b.schema_id))}
    shared = [label for label in labels if label in theirs]
    if pairs.a.gone or pairs.b.gone or not shared:
        yield np.arange(len(pairs)), pairs.a.list, None, None
        return
    one, two = reading.take(store, [(pairs.a, pairs.position_a, shared), (pairs.b, pairs.position_b, shared)])
    has_line = np.zeros(len(pairs), bool)
    for label in shared:
        rows = np.flatnonzero(~equal_cells(one[label], two[label]))
        has_line[rows] = True
        if len(rows):
            a, b = (frame[label].iloc[rows].astype(object).tolist() for frame in (one, two))
            yield rows, str(label), a, b
    rest = np.flatnonzero(~has_line)  # a column came or went, or the label alone is another
    if len(rest):
        yield rest, pairs.a.list, None, None


def _line(
    pairs: Pairs, rows: np.ndarray, name: str, a: list[Any] | None, b: list[Any] | None
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
