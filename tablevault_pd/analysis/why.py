"""``Comparison.why``: for each row that flipped, what it was made from that changed, and the code and parameters that made it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from tablevault_pd.analysis.arguments import ARGUMENT
from tablevault_pd.analysis.differences import differences
from tablevault_pd.analysis.elsewhere import Elsewhere
from tablevault_pd.analysis.evidence import CAUSES, CODE, Evidence, Records
from tablevault_pd.analysis.facts import PARAMETER, READ
from tablevault_pd.analysis.made_from import (
    COUNTED,
    OtherVersions,
    Pairs,
    above,
    for_all,
    walk_up,
)
from tablevault_pd.analysis.makings import Making
from tablevault_pd.analysis.ruled_out import first_of
from tablevault_pd.errors import InvalidInput
from tablevault_pd.keys.mapped import functions_at
from tablevault_pd.lineage.makers import numbers_at, runs_of
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
_ORDER = ("row changed", "row removed", "row added", *COUNTED, "input", CODE, *CAUSES, NOTHING)


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
    own = Pairs(
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
    steps, of_many = walk_up(store, own)
    parts, pairs, linked, others = above(store, records.contents, own, *steps)
    pairs_of_many = []
    for rows, steps in of_many:
        lines, changed, lists, versions_read = above(store, records.contents, own, *steps, of_many=True)
        parts += [for_all(rows, line) for line in lines]
        others += [replace(other, rows=rows) for other in versions_read]
        pairs_of_many += [(rows, pair) for pair in changed]
        linked |= lists
    explained = {row for part in parts for row in part["row"].tolist()}
    linked |= {own.a.list, own.b.list}
    for pair in [own, *pairs]:
        parts += _made_by(store, records, pair, linked, explained, others)
    for rows, pair in pairs_of_many:
        versions_read = []
        causes = _made_by(store, records, pair, linked, explained, versions_read)
        parts += [for_all(rows, cause.head(1)) for cause in causes]
        others += [replace(other, rows=rows) for other in versions_read]
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


# -- the code and the parameters that made them


def _behind(store: Store, contents: Contents, others: Sequence[OtherVersions]) -> Iterator[pd.DataFrame]:
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


def _made_by(
    store: Store,
    records: Records,
    pairs: Pairs,
    linked: set[str],
    explained: set[int],
    others: list[OtherVersions],
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
                OtherVersions(*versions, pairs.row[flipped], depth)
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


def _cause(pairs: Pairs, rows: np.ndarray, cause: MakersDiffer) -> pd.DataFrame:
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
    return np.asarray(
        keys.duplicated() & ~lines["what"].isin(COUNTED) & lines["row_a"].isna() & lines["row_b"].isna()
    )


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
