"""The algebra of edges: rows are carried along many edges, all at once.

Nothing here knows a store or pandas. :func:`up` and :func:`down` carry rows over many edges in a handful of NumPy calls.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from tablevault_pd.errors import InvalidInput
from tablevault_pd.store.edges import EdgeForm, EdgeTable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

CHUNK = 1 << 14  # pairs in one edge: a look-up of one row unpacks no more than these
MAX_LINES = 200_000_000


def spans_of(positions: np.ndarray, *, gap: int = 64) -> list[tuple[int, int]]:
    """Runs that cover all these positions; nearer neighbours than `gap` share one."""
    if not len(positions):
        return []
    low, high = int(positions.min()), int(positions.max())
    if high - low <= gap or len(positions) > CHUNK:
        return [(low, high + 1)]
    distinct = np.unique(positions)
    breaks = np.flatnonzero(np.diff(distinct) > gap)
    starts, ends = distinct[np.r_[0, breaks + 1]], distinct[np.r_[breaks, len(distinct) - 1]] + 1
    return list(zip(starts.tolist(), ends.tolist(), strict=True))


def consecutive(values: np.ndarray) -> bool:
    """Return whether each value is the one before plus 1."""
    return bool(values[-1] - values[0] == len(values) - 1) and bool((np.diff(values) == 1).all())


# -- carrying rows along edges


@dataclass(frozen=True, slots=True, eq=False)
class RowStep:
    """Rows that one step leads to: row ``source[i]`` of those carried leads to ``position[i]``."""

    list: int
    generation: int  #: -1 at list level
    source: np.ndarray | None  #: None: each of those carried, in order
    position: np.ndarray | None  #: None: the whole list
    version: np.ndarray
    basis: np.ndarray
    chars: np.ndarray | None = None  #: shape (n, 2): which characters of the parent; None: no edge says


def up(table: EdgeTable, positions: np.ndarray) -> Iterator[RowStep]:
    """From rows of one generation to their parents."""
    for (list_id, generation, form), part in _by_place(table, table.parent_list, table.parent_generation):
        generation = -1 if form == EdgeForm.WHOLE else generation
        yield _step(list_id, generation, part, part.parent_version, _UP[form](part, positions))


def down(table: EdgeTable, positions: np.ndarray) -> Iterator[RowStep]:
    """From rows of one generation to their children."""
    for (list_id, generation, form), part in _by_place(table, table.list, table.generation):
        yield _step(list_id, generation, part, part.version, _DOWN[form](part, positions))


def _by_place(
    table: EdgeTable, lists: np.ndarray, generations: np.ndarray
) -> Iterator[tuple[tuple[int, ...], EdgeTable]]:
    """((list, generation, form), edges) of edges that lead to one place and are carried in one way."""
    for place, rows in groups(np.stack([lists, generations, table.form], axis=1)):
        yield place, table if len(rows) == len(table) else table.take(rows)


def groups(keys: np.ndarray) -> Iterator[tuple[tuple[int, ...], np.ndarray]]:
    """(row, its numbers) for each distinct row of `keys`."""
    if not len(keys):
        return
    if len(keys) == 1 or (keys == keys[0]).all():
        yield tuple(keys[0].tolist()), np.arange(len(keys))
        return
    distinct, which = np.unique(keys, axis=0, return_inverse=True)
    which = which.reshape(-1)
    order = np.argsort(which, kind="stable")
    ends = np.searchsorted(which[order], np.arange(len(distinct)), side="right")
    for key, rows in zip(distinct.tolist(), np.split(order, ends[:-1]), strict=True):
        yield tuple(key), rows


def interval_join(starts: np.ndarray, ends: np.ndarray, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(interval, point): every pair of an interval and a point inside it, by their numbers."""
    if len(starts) == 1:
        inside = (points >= starts[0]) & (points < ends[0])
        numbers = np.arange(len(points)) if inside.all() else np.flatnonzero(inside)
        return np.zeros(len(numbers), np.intp), numbers
    if (starts[1:] >= ends[:-1]).all():  # one after the other: each point lies in one at most
        which = np.searchsorted(starts, points, side="right") - 1
        numbers = np.flatnonzero((which >= 0) & (points < ends[which]))
        return which[numbers], numbers
    order = np.argsort(points, kind="stable")
    ordered = points[order]
    low, high = np.searchsorted(ordered, starts), np.searchsorted(ordered, ends)
    which, number = expand(low, np.maximum(high - low, 0))
    return which, order[number]


def expand(starts: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(i, ``starts[i] + 0 … counts[i] - 1``) for every i, one after the other."""
    total = int(counts.sum())
    if total > MAX_LINES:
        raise InvalidInput(
            f"This walk has more than {MAX_LINES:,} lines. Ask for fewer rows (rows=), a smaller depth, or one list (to=)."
        )
    which = np.repeat(np.arange(len(starts)), counts)
    before = np.cumsum(counts) - counts
    return which, np.arange(total) - np.repeat(before - starts, counts)


# -- one function for each form of edges


class _Carried(NamedTuple):
    """What rows are carried to: row ``source[i]`` of them to ``position[i]`` by the edge ``edge[line[i]]``."""

    edge: np.ndarray
    line: np.ndarray | None  #: None: each of `edge`, in order
    source: np.ndarray | None
    position: np.ndarray | None
    chars: np.ndarray | None = None


def _step(
    list_id: int, generation: int, table: EdgeTable, versions: np.ndarray, carried: _Carried
) -> RowStep:
    edge, line, source, position, chars = carried
    count = len(edge if line is None else line)
    if len(table) and (versions == versions[0]).all() and (table.basis == table.basis[0]).all():
        version, basis = np.full(count, versions[0]), np.full(count, table.basis[0])
    else:
        edge = edge if line is None else edge[line]
        version, basis = versions[edge], table.basis[edge]
    return RowStep(list_id, generation, source, position, version, basis, chars)


def _up_affine(table: EdgeTable, points: np.ndarray) -> _Carried:
    edge, source = interval_join(table.start, table.start + table.rows, points)
    first = np.where(table.step < 0, table.parent + table.span - 1, table.parent)
    return _Carried(edge, None, source, first[edge] + (points[source] - table.start[edge]) * table.step[edge])


def _up_span(table: EdgeTable, points: np.ndarray) -> _Carried:
    edge, source = interval_join(table.start, table.start + table.rows, points)
    line, position = expand(table.parent[edge], table.span[edge])
    return _Carried(edge, line, source[line], position)


def _up_whole(table: EdgeTable, points: np.ndarray) -> _Carried:
    edge, source = interval_join(table.start, table.start + table.rows, points)
    return _Carried(edge, None, source, None)


def _up_pairs(table: EdgeTable, points: np.ndarray) -> _Carried:
    edge, children, parents = flat(table)
    line, source = _lookup(children, points)
    return _Carried(edge, line, source, parents[line])


def _up_each(table: EdgeTable, points: np.ndarray) -> _Carried:
    edge, source = interval_join(table.start, table.start + table.rows, points)
    sizes, parents = _sets(table)
    line, number = expand((np.cumsum(sizes) - sizes)[edge], sizes[edge])
    return _Carried(edge, line, source[line], parents[number])


def _up_chars(table: EdgeTable, points: np.ndarray) -> _Carried:
    edge, children, parents, chars = _cited_lines(table)
    line, source = _lookup(children, points)
    return _Carried(edge, line, source, parents[line], chars[line])


def _down_affine(table: EdgeTable, points: np.ndarray) -> _Carried:
    edge, source = interval_join(table.parent, table.parent + table.span, points)
    step = table.step[edge]
    first = np.where(step < 0, table.parent[edge] + table.span[edge] - 1, table.parent[edge])
    ahead = points[source] - first
    hit = (step == 0) | (ahead % np.where(step == 0, 1, step) == 0)
    if not hit.all():
        edge, source, step, ahead = edge[hit], source[hit], step[hit], ahead[hit]
    child = table.start[edge] + np.where(step == 0, 0, ahead // np.where(step == 0, 1, step))
    if not (step == 0).any():
        return _Carried(edge, None, source, child)
    line, child = expand(child, np.where(step == 0, table.rows[edge], 1))  # one parent of all
    return _Carried(edge, line, source[line], child)


def _down_span(table: EdgeTable, points: np.ndarray) -> _Carried:
    edge, source = interval_join(table.parent, table.parent + table.span, points)
    line, position = expand(table.start[edge], table.rows[edge])
    return _Carried(edge, line, source[line], position)


def _down_pairs(table: EdgeTable, points: np.ndarray) -> _Carried:
    edge, children, parents = flat(table)
    order = _sorted_near(parents, points)
    line, source = _lookup(parents[order], points)
    line = order[line]
    return _Carried(edge, line, source, children[line])


def _down_each(table: EdgeTable, points: np.ndarray) -> _Carried:
    sizes, parents = _sets(table)
    order = _sorted_near(parents, points)
    number, source = _lookup(parents[order], points)
    edge = np.repeat(np.arange(len(table)), sizes)[order[number]]
    line, position = expand(table.start[edge], table.rows[edge])
    return _Carried(edge, line, line if source is None else source[line], position)


def _down_chars(table: EdgeTable, points: np.ndarray) -> _Carried:
    edge, children, parents, chars = _cited_lines(table)
    order = _order(parents)
    line, source = _lookup(parents[order], points)
    line = order[line]
    return _Carried(edge, line, source, children[line], chars[line])


def _cited_lines(table: EdgeTable) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """(edge, child, parent, characters) of every line of edges of the form CHARS, in order of child."""
    thirds = [parts.reshape(3, -1) for parts in table.parents if parts is not None]
    pairs = replace(table, parents=[parents for parents, _, _ in thirds])
    lines = np.concatenate([np.stack([begin, end], axis=1) for _, begin, end in thirds])
    edge, children, parents = flat(pairs, in_order=False)
    order = np.argsort(children, kind="stable")
    return edge[order], children[order], parents[order], lines[order]


def _sets(table: EdgeTable) -> tuple[np.ndarray, np.ndarray]:
    """How many parents each edge of the form EACH has, and all of them."""
    sizes = np.array([len(offsets) for offsets in table.parents if offsets is not None])
    parents = np.concatenate([offsets for offsets in table.parents if offsets is not None])
    return sizes, parents + np.repeat(table.parent, sizes)


_UP: dict[int, Callable[[EdgeTable, np.ndarray], _Carried]] = {
    EdgeForm.AFFINE: _up_affine,
    EdgeForm.SPAN: _up_span,
    EdgeForm.WHOLE: _up_whole,
    EdgeForm.PAIRS: _up_pairs,
    EdgeForm.EACH: _up_each,
    EdgeForm.CHARS: _up_chars,
}
_DOWN: dict[int, Callable[[EdgeTable, np.ndarray], _Carried]] = {
    EdgeForm.AFFINE: _down_affine,
    EdgeForm.SPAN: _down_span,
    EdgeForm.PAIRS: _down_pairs,
    EdgeForm.EACH: _down_each,
    EdgeForm.CHARS: _down_chars,
}


def flat(table: EdgeTable, *, in_order: bool = True) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(edge, child, parent) of every pair of edges of the form PAIRS, in order of child, or else of the edges."""
    sizes = np.array([len(parents) for parents in table.parents if parents is not None])
    edge = np.repeat(np.arange(len(table)), sizes)
    offsets = [
        np.arange(size) if children is None else children
        for children, size in zip(table.children, sizes.tolist(), strict=True)
    ]
    children = np.concatenate(offsets) + table.start[edge]
    parents = (
        np.concatenate([parents for parents in table.parents if parents is not None]) + table.parent[edge]
    )
    if in_order and len(children) > 1 and not (np.diff(children) >= 0).all():
        order = np.argsort(children, kind="stable")
        edge, children, parents = edge[order], children[order], parents[order]
    return edge, children, parents


def _sorted_near(values: np.ndarray, points: np.ndarray) -> np.ndarray:
    """The numbers of the values in order, without most of those that are none of the points: sorting is dear."""
    if len(points) * 16 > len(values):
        return _order(values)
    near = np.flatnonzero((values >= points.min()) & (values <= points.max())) if len(points) else points
    if len(points) * 16 <= len(near):
        near = near[np.isin(values[near], points)]
    return np.asarray(near[_order(values[near])])


def _order(values: np.ndarray) -> np.ndarray:
    """As ``argsort(kind="stable")``; where values lie close and none is there twice, by writing each to its place."""
    if len(values):
        lowest = values.min()
        span = int(values.max() - lowest) + 1
        if span <= 4 * len(values):
            numbers = np.full(span, -1, np.int64)
            numbers[values - lowest] = np.arange(len(values))
            order = numbers[numbers >= 0]
            if len(order) == len(values):
                return np.asarray(order)
    return np.asarray(np.argsort(values, kind="stable"))


def _lookup(keys: np.ndarray, points: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    """(key, point): every pair of equal ones, by their numbers; None for all points in order. `keys` are sorted."""
    if len(keys) and consecutive(keys):  # then a key's number is its value
        numbers = points - keys[0]
        inside = (numbers >= 0) & (numbers < len(keys))
        if inside.all():
            return numbers, None
        return numbers[inside], np.flatnonzero(inside)
    low, high = np.searchsorted(keys, points, side="left"), np.searchsorted(keys, points, side="right")
    source, line = expand(low, high - low)
    return line, source
