"""Positions of the boxes and arrows of a graph: lists in layers, parents to the left of what was made from them.

An arrow to the next layer runs in the gap between the two. A longer arrow crosses each layer in between in a lane of its own,
which is arranged with the boxes of that layer. So no arrow passes through the box of another list.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from tablevault_pd.errors import MissingDependency
from tablevault_pd.imports import for_own_use

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

Pair = tuple[str, str]  #: parent, child
Point = tuple[float, float]
Lane = tuple[Pair, int]  #: an arrow, and the layer that it crosses
Node = str | Lane  #: what takes a place in a layer: a list's box, or a lane

# In points, as text is measured; y grows downwards.
BOX_HEIGHT, LANE_HEIGHT = 24.0, 8.0
SPACE_X, SPACE_Y = 48.0, 12.0
SWEEPS = 8  # over all layers, each of which moves nodes nearer to their neighbours


@dataclass(frozen=True, slots=True)
class Box:
    """The box of one list, by its edges."""

    left: float
    top: float
    right: float
    bottom: float


@dataclass(frozen=True, slots=True)
class GraphLayout:
    """Boxes by name, and for each pair of lists the points of its arrow: from the parent, through lanes, to the child.

    Between two points an arrow either runs level, or bends through the gap between two layers.
    """

    boxes: Mapping[str, Box]
    arrows: Mapping[Pair, Sequence[Point]]
    width: float
    height: float


def layout(pairs: Sequence[Pair], widths: Mapping[str, float]) -> GraphLayout:
    """Lay the graph out; `widths` are those of the boxes. A list that was made from itself has no arrow.

    A pair that would close a circle has its arrow point to the left. Raises MissingDependency.
    """
    pairs = [(parent, child) for parent, child in dict.fromkeys(pairs) if parent != child]
    layer_of, backward = _layers(pairs, widths)
    paths = {pair: _Path.of(pair, layer_of, backward=pair in backward) for pair in pairs}
    columns = _columns(widths, layer_of, paths)
    before, after = _neighbours(paths)
    _reorder(columns, before, after)
    y_of = _place(columns, before, after)
    left = np.cumsum([0.0, *(_column_width(column, widths) + SPACE_X for column in columns)])
    top = min((y - _height(node) / 2 for node, y in y_of.items()), default=0.0)
    boxes = {}
    for name, layer in layer_of.items():
        middle = left[layer] + _column_width(columns[layer], widths) / 2
        y = y_of[name] - top
        half = widths[name] / 2
        boxes[name] = Box(middle - half, y - BOX_HEIGHT / 2, middle + half, y + BOX_HEIGHT / 2)
    spans = [
        (float(left[number]), float(left[number]) + _column_width(column, widths))
        for number, column in enumerate(columns)
    ]
    ports = _ports(paths, y_of)
    y_of = {node: y - top for node, y in y_of.items()}
    arrows = {}
    for pair, path in paths.items():
        points = _points(path, boxes, spans, layer_of, y_of, ports[pair])
        arrows[pair] = points[::-1] if pair in backward else points
    bottom = max((y + _height(node) / 2 for node, y in y_of.items()), default=0.0)
    return GraphLayout(boxes, arrows, float(left[-1]) - SPACE_X if columns else 0.0, bottom)


def _layers(pairs: Sequence[Pair], names: Iterable[str]) -> tuple[dict[str, int], set[Pair]]:
    """The layer of each list, and the pairs that point to the left, because they would close a circle."""
    try:
        with for_own_use():
            import networkx
    except ImportError as error:
        raise MissingDependency.for_extra("networkx", "plot", "A picture of the graph") from error
    graph: Any = networkx.DiGraph()
    graph.add_nodes_from(names)
    backward = set()
    for parent, child in pairs:
        if networkx.has_path(graph, child, parent):
            backward.add((parent, child))
        else:
            graph.add_edge(parent, child)
    layers = networkx.topological_generations(graph)
    return {name: number for number, layer in enumerate(layers) for name in layer}, backward


@dataclass(frozen=True, slots=True)
class _Path:
    """An arrow from left to right: the box it leaves, its lanes, the box it enters."""

    first: str
    lanes: tuple[Lane, ...]
    last: str

    @classmethod
    def of(cls, pair: Pair, layer_of: Mapping[str, int], *, backward: bool) -> _Path:
        first, last = pair[::-1] if backward else pair
        lanes = tuple((pair, layer) for layer in range(layer_of[first] + 1, layer_of[last]))
        return cls(first, lanes, last)

    @property
    def nodes(self) -> list[Node]:
        return [self.first, *self.lanes, self.last]


def _columns(
    names: Iterable[str], layer_of: Mapping[str, int], paths: Mapping[Pair, _Path]
) -> list[list[Node]]:
    """The nodes of each layer, from top to bottom."""
    columns: list[list[Node]] = [[] for _ in range(max(layer_of.values(), default=-1) + 1)]
    for name in names:
        columns[layer_of[name]].append(name)
    for path in paths.values():
        for lane in path.lanes:
            columns[lane[1]].append(lane)
    return columns


def _neighbours(paths: Mapping[Pair, _Path]) -> tuple[dict[Node, list[Node]], dict[Node, list[Node]]]:
    """The nodes to the left and to the right that each node has an arrow from or to."""
    before: dict[Node, list[Node]] = {}
    after: dict[Node, list[Node]] = {}
    for path in paths.values():
        for left, right in pairwise(path.nodes):
            after.setdefault(left, []).append(right)
            before.setdefault(right, []).append(left)
    return before, after


def _reorder(
    columns: list[list[Node]], before: Mapping[Node, Sequence[Node]], after: Mapping[Node, Sequence[Node]]
) -> None:
    """Sort each layer by the mean place of its neighbours, to and fro, so that fewer arrows cross."""
    for sweep in range(SWEEPS):
        place = {node: float(number) for column in columns for number, node in enumerate(column)}
        forth = sweep % 2 == 0
        for column in columns if forth else columns[::-1]:
            column.sort(key=_mean(before if forth else after, place))
            place.update({node: float(number) for number, node in enumerate(column)})


def _mean(neighbours: Mapping[Node, Sequence[Node]], place: Mapping[Node, float]) -> Callable[[Node], float]:
    """The mean place of a node's neighbours; its own if it has none."""

    def mean(node: Node) -> float:
        places = [place[other] for other in neighbours.get(node, ())]
        return sum(places) / len(places) if places else place[node]

    return mean


def _place(
    columns: Sequence[Sequence[Node]],
    before: Mapping[Node, Sequence[Node]],
    after: Mapping[Node, Sequence[Node]],
) -> dict[Node, float]:
    """The height of each node's middle: near the mean of its neighbours', apart from others of its layer."""
    y_of: dict[Node, float] = {}
    for column in columns:
        y_of |= _apart(column, np.zeros(len(column)))
    for sweep in range(SWEEPS):
        forth = sweep % 2 == 0
        for column in columns if forth else columns[::-1]:
            mean = _mean(before if forth else after, y_of)
            y_of |= _apart(column, np.array([mean(node) for node in column]))
    return y_of


def _apart(column: Sequence[Node], wished: np.ndarray) -> dict[Node, float]:
    """The heights nearest to those wished for, in the sum of squares, that keep the order and do not overlap."""
    heights = np.array([_height(node) for node in column])
    least = np.r_[0.0, np.cumsum((heights[1:] + heights[:-1]) / 2 + SPACE_Y)][: len(column)]
    blocks: list[tuple[float, int]] = []  # isotonic regression: means of neighbours that would overlap
    for value in (wished - least).tolist():
        mean, size = value, 1
        while blocks and blocks[-1][0] > mean:
            other, count = blocks.pop()
            mean, size = (other * count + mean * size) / (count + size), count + size
        blocks.append((mean, size))
    levels = np.repeat([mean for mean, _ in blocks], [size for _, size in blocks])
    return dict(zip(column, (levels + least).tolist(), strict=True))


def _height(node: Node) -> float:
    return BOX_HEIGHT if isinstance(node, str) else LANE_HEIGHT


def _column_width(column: Sequence[Node], widths: Mapping[str, float]) -> float:
    return max((widths[node] for node in column if isinstance(node, str)), default=0.0)


def _ports(paths: Mapping[Pair, _Path], y_of: Mapping[Node, float]) -> dict[Pair, tuple[float, float]]:
    """Where each arrow leaves and enters its boxes, above or below their middles.

    Arrows at one side of a box lie apart, in the order of their other ends.
    """
    sides: dict[tuple[str, int], list[tuple[float, Pair]]] = {}
    for pair, path in paths.items():
        nodes = path.nodes
        sides.setdefault((path.first, 0), []).append((y_of[nodes[1]], pair))
        sides.setdefault((path.last, 1), []).append((y_of[nodes[-2]], pair))
    ports = {pair: [0.0, 0.0] for pair in paths}
    for (_, side), ends in sides.items():
        for number, (_, pair) in enumerate(sorted(ends)):
            ports[pair][side] = BOX_HEIGHT * ((number + 1) / (len(ends) + 1) - 0.5)
    return {pair: (out, into) for pair, (out, into) in ports.items()}


def _points(
    path: _Path,
    boxes: Mapping[str, Box],
    spans: Sequence[tuple[float, float]],
    layer_of: Mapping[str, int],
    y_of: Mapping[Node, float],
    ports: tuple[float, float],
) -> list[Point]:
    """From left to right: out of a box, level to the end of its layer, through the lanes, into a box."""
    start, end = y_of[path.first] + ports[0], y_of[path.last] + ports[1]
    points = [(boxes[path.first].right, start), (spans[layer_of[path.first]][1], start)]
    for lane in path.lanes:
        left, right = spans[lane[1]]
        points += [(left, y_of[lane]), (right, y_of[lane])]
    return [*points, (spans[layer_of[path.last]][0], end), (boxes[path.last].left, end)]
