"""``vault.compare``: the rows of two or more versions side by side, and which of them changed."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from tablevault_pd.analysis.alignment import Alignment, align
from tablevault_pd.analysis.answers import mark
from tablevault_pd.analysis.cells import equal_cells, equal_vectors
from tablevault_pd.analysis.comparison import Comparison
from tablevault_pd.analysis.context import Context
from tablevault_pd.analysis.measures import Measure, MissingColumn, as_floats, is_truth
from tablevault_pd.analysis.summary import Layout, Measured
from tablevault_pd.errors import InvalidInput, short_repr

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Sequence

    from tablevault_pd.analysis.sides import Side
    from tablevault_pd.store import Store

STATUS = ("same", "changed", "added", "removed")
TRUTH_FLIPS = ("fixed", "broken", "same_right", "same_wrong")
NUMBER_FLIPS = ("up", "down", "same")
MOST_SIDES = 26  #: a letter each


@dataclass(frozen=True, slots=True)
class Asked:
    """The arguments of :meth:`Vault.compare`, checked."""

    on: Any
    measures: tuple[Measure, ...]
    by: tuple[Hashable, ...]
    ignore: frozenset[Hashable]
    rtol: float
    atol: float
    margin: float | None


def compare(store: Store, sides: Sequence[Side], options: Asked, flush: Callable[[], None]) -> Comparison:
    """Align the rows of all sides with those of the first, and compare their cells."""
    if len(sides) > MOST_SIDES:
        raise InvalidInput(
            f"{len(sides)} versions are compared at once, and {MOST_SIDES} is the limit. For a trend: vault.trend(…)."
        )
    aligned = align(store, sides, options.on)
    layout = _layout(sides, aligned, options)
    table = _Table(sides, aligned, layout)
    values = {measured.prefix: _values(sides, measured.measure) for measured in layout.measured}
    layout = replace(
        layout,
        measured=tuple(
            replace(measured, whole=any(isinstance(value, float) for value in values[measured.prefix]))
            for measured in layout.measured
        ),
    )
    columns: dict[str, Any] = {}
    for side in range(1, len(sides)):
        columns[f"status{layout.suffix(side)}"] = None  # in front: the cells that tell are compared below
        for measured in layout.measured:
            if not measured.whole:
                columns[_flip_name(layout, measured, side)] = _flips(
                    table, values[measured.prefix], side, options
                )
    for measured in layout.measured:
        if not measured.whole and measured.prefix not in layout.data:
            for side in range(len(sides)):
                side_values: Any = values[measured.prefix][side]
                columns[f"{measured.prefix}_{layout.letter(side)}"] = table.take(side_values, side)
    equal = [table.pairs(side) for side in range(len(sides))]
    vectors = frozenset.intersection(*(side.vectors(store) for side in sides))
    for prefix, label in layout.data.items():
        columns |= _cells(table, prefix, label, equal, vector=label in vectors, options=options)
    for side in range(1, len(sides)):
        columns[f"status{layout.suffix(side)}"] = table.status(side, equal[side])
    frame = pd.DataFrame(columns, index=aligned.keys, copy=False)
    context = Context.of(store, sides, aligned, layout, flush)
    comparison = Comparison(frame)._about(context)
    mark(comparison, "compare")
    return comparison


# -- the columns


def _layout(sides: Sequence[Side], aligned: Alignment, options: Asked) -> Layout:
    names = tuple(side.name for side in sides)
    labels: dict[Hashable, None] = dict.fromkeys(label for side in sides for label in side.frame.columns)
    data: dict[str, Hashable] = {}
    for label in labels:
        if label not in aligned.columns:
            other = data.setdefault(str(label), label)
            if other is not label and other != label:
                raise InvalidInput(
                    f"The columns {short_repr(other)} and {short_repr(label)} have the same text as their name. Rename one of them."
                )
    measured = tuple(Measured(measure, _prefix(sides, measure, data)) for measure in options.measures)
    layout = Layout(names, aligned.columns, data, measured, options.by, options.margin)
    _check_by(aligned, layout)
    _check_names(layout)
    _check_ignored(labels, options.ignore)
    return layout


def _prefix(sides: Sequence[Side], measure: Measure, data: dict[str, Hashable]) -> str:
    """A measure that is a column and nothing more has its values there already."""
    for side in sides:
        try:
            label = measure.column(side.frame)
        except MissingColumn:
            continue
        if label is not None and str(label) in data and (not measure.named or measure.name == str(label)):
            return str(label)
    return measure.prefix


def _check_by(aligned: Alignment, layout: Layout) -> None:
    labels = [*layout.data.values(), *aligned.keys.names]
    unknown = [label for label in layout.by if label not in labels]
    if unknown:
        raise InvalidInput(
            f"by= names {', '.join(map(short_repr, unknown))}, which none of {', '.join(layout.names)} has. "
            f"There are {', '.join(map(short_repr, labels[:20]))}."
        )


def _check_ignored(labels: dict[Hashable, None], ignore: frozenset[Hashable]) -> None:
    unknown = [label for label in ignore if label not in labels]
    if unknown:
        raise InvalidInput(
            f"ignore= names {', '.join(map(short_repr, unknown))}, which none of the versions has. "
            f"There are {', '.join(map(short_repr, list(labels)[:20]))}."
        )


def _check_names(layout: Layout) -> None:
    """A column of the rows may not be called as one of the comparison's own, nor two measures alike."""
    ends = [layout.letter(side) for side in range(len(layout.names))]
    own = {f"status{layout.suffix(side)}" for side in range(1, len(ends))}
    own |= {
        _flip_name(layout, measured, side) for measured in layout.measured for side in range(1, len(ends))
    }
    taken = {f"{prefix}_{end}": prefix for prefix in layout.data for end in ends}
    extra = [measured.prefix for measured in layout.measured if measured.prefix not in layout.data]
    own |= {f"{prefix}_{end}" for prefix in extra for end in ends}
    twice = sorted(own & taken.keys())
    if twice or len({measured.prefix for measured in layout.measured}) < len(layout.measured):
        names = ", ".join(dict.fromkeys(repr(taken[name]) for name in twice)) or "two measures"
        raise InvalidInput(
            f"The comparison has columns of its own called {', '.join(twice) or 'alike'}: rename {names}, or give the measure "
            "another name: measure={'accuracy': …}."
        )


def _flip_name(layout: Layout, measured: Measured, side: int) -> str:
    name = "flip" if len(layout.measured) == 1 else f"flip_{measured.prefix}"
    return f"{name}{layout.suffix(side)}"


@dataclass(frozen=True, slots=True, eq=False)
class _Table:
    """The sides, and how their rows become rows of the comparison."""

    sides: Sequence[Side]
    aligned: Alignment
    layout: Layout

    def pairs(self, side: int) -> np.ndarray:
        """Which rows both the reference and this side have."""
        return np.asarray((self.aligned.rows[0] >= 0) & (self.aligned.rows[side] >= 0))

    def take(self, column: Any, side: int) -> Any:
        """A column of a side, a cell for each row of the comparison; missing where the side has no such row.

        Integers and truth values become nullable where a row is missing.
        """
        rows = self.aligned.rows[side]
        values = column.to_numpy() if isinstance(column.dtype, np.dtype) else column.array
        if len(rows) == len(values) and (rows == np.arange(len(rows))).all():
            return values.copy()  # a frame that was given stays as it is, whatever is done to the comparison
        if (rows >= 0).all():
            return values.take(rows)
        if isinstance(column.dtype, np.dtype) and column.dtype.kind in "iub":
            values = column.astype(_nullable(column.dtype)).array
        return pd.api.extensions.take(values, rows, allow_fill=True)

    def both(self, label: Hashable, side: int, rows: np.ndarray) -> tuple[Any, Any]:
        """The cells of a column in these rows of the comparison, of the reference and of a side."""
        a, b = (
            self.sides[number].frame[label].iloc[self.aligned.rows[number][rows]].reset_index(drop=True)
            for number in (0, side)
        )
        return a, b

    def status(self, side: int, equal: np.ndarray) -> Any:
        """What became of each row."""
        a, b = (self.aligned.rows[number] >= 0 for number in (0, side))
        return _categories(np.select([a & b & equal, a & b, b, a], range(4), default=-1), STATUS)


def _nullable(dtype: np.dtype) -> str:
    if dtype.kind == "b":
        return "boolean"
    return f"{'U' if dtype.kind == 'u' else ''}Int{dtype.itemsize * 8}"


def _cells(
    table: _Table, prefix: str, label: Hashable, equal: list[np.ndarray], *, vector: bool, options: Asked
) -> dict[str, Any]:
    """The columns of one column of the rows. Where its cells differ, `equal` becomes false."""
    layout = table.layout
    columns = {
        f"{prefix}_{layout.letter(side)}": table.take(one_side.frame[label], side)
        for side, one_side in enumerate(table.sides)
        if label in one_side.frame.columns
    }
    if len(columns) < len(table.sides) and label not in table.sides[0].frame.columns:
        return columns  # a column that came is one line of schema_diff, and changes no row
    for side in range(1, len(table.sides)):
        if label not in table.sides[side].frame.columns:
            continue
        rows = np.flatnonzero(table.pairs(side))
        a, b = table.both(label, side, rows)
        if vector:
            same, near = equal_vectors(a, b, atol=options.atol)
            distances = np.full(len(table.aligned.keys), np.nan)
            distances[rows] = near
            columns[f"{prefix}_distance{layout.suffix(side)}"] = distances
        elif label not in options.ignore:
            same = equal_cells(a, b, rtol=options.rtol, atol=options.atol)
        if label not in options.ignore:
            equal[side][rows] &= same
    return columns


# -- measures


def _values(sides: Sequence[Side], measure: Measure) -> list[Any]:
    """The measure's values for the rows of each side; where a side lacks a column that it looks at, missing ones."""
    values: list[Any] = []
    lacking: list[MissingColumn] = []
    for side in sides:
        try:
            values.append(_measured(side, measure))
        except MissingColumn as error:
            lacking.append(error)
            values.append(pd.Series(np.full(len(side.frame), np.nan)))
    if len(lacking) == len(sides):
        raise lacking[0]
    for lack in lacking:
        warnings.warn(f"{lack} Its values are missing there.", UserWarning, stacklevel=2)
    kinds = {isinstance(side_values, float) for side_values in values}
    if len(kinds) > 1 and not lacking:
        raise InvalidInput(
            f"The measure {short_repr(measure.name)} gives one number for some versions and one for each row for others."
        )
    return values


def _measured(side: Side, measure: Measure) -> Any:
    try:
        return measure.values(side.frame)
    except KeyError as error:
        if error.args and error.args[0] not in side.frame.columns:
            raise MissingColumn(
                f"The measure {short_repr(measure.name)} needs the column {short_repr(error.args[0])}, which {side.name} has not."
            ) from error
        raise
    except InvalidInput:
        raise
    except Exception as error:
        raise InvalidInput(
            f"The measure {short_repr(measure.name)} fails on {side.name}: {type(error).__name__}: {error}"
        ) from error


def _flips(table: _Table, values: Sequence[Any], side: int, options: Asked) -> Any:
    """Which way each row's value moved; missing where a value is."""
    rows = np.flatnonzero(table.pairs(side))
    a, b = (values[number].iloc[table.aligned.rows[number][rows]] for number in (0, side))
    is_known = (a.notna().to_numpy()) & (b.notna().to_numpy())
    x, y = as_floats(a)[is_known], as_floats(b)[is_known]
    if is_truth(a) and is_truth(b):
        codes = np.select([y > x, y < x, y > 0], range(3), default=3)
        names: tuple[str, ...] = TRUTH_FLIPS
    else:
        one, other = (column[is_known].reset_index(drop=True) for column in (a, b))
        same = equal_cells(one, other, rtol=options.rtol, atol=options.atol)
        codes = np.select([same, (other > one).to_numpy(bool)], [2, 0], default=1)
        names = NUMBER_FLIPS
    flip_codes = np.full(len(table.aligned.keys), -1, np.int8)
    flip_codes[rows[is_known]] = codes
    return _categories(flip_codes, names)


def _categories(codes: np.ndarray, names: Sequence[str]) -> Any:
    return pd.Categorical.from_codes(codes.astype(np.int8), categories=pd.Index(list(names)))
