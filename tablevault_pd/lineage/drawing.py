"""Pictures of the graph of lists: lists in columns, parents to the left of what was made of them."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from tablevault_pd.errors import MissingDependency

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from matplotlib.axes import Axes

Pair = tuple[str, str]
WIDTH, HEIGHT, GAP_X, GAP_Y, MARGIN = 140, 32, 60, 18, 10
SHOWN = 18  # characters of a name


def layers(pairs: Sequence[Pair]) -> dict[str, tuple[int, int]]:
    """(column, row) of each list. Later pairs that would close a circle do not push their child further right."""
    names = list(dict.fromkeys(end for pair in pairs for end in pair))
    kept = _without_circles(pairs)
    column = dict.fromkeys(names, 0)
    for _ in names:  # the longest path has no more steps than there are lists
        moved = False
        for parent, child in kept:
            if column[child] <= column[parent]:
                column[child] = column[parent] + 1
                moved = True
        if not moved:
            break
    rows: dict[int, int] = {}
    places = {}
    for name in names:
        places[name] = (column[name], rows.get(column[name], 0))
        rows[column[name]] = rows.get(column[name], 0) + 1
    return places


def _without_circles(pairs: Sequence[Pair]) -> list[Pair]:
    kept: list[Pair] = []
    children: dict[str, set[str]] = {}
    for parent, child in pairs:
        if parent == child or _leads(children, child, parent):
            continue
        children.setdefault(parent, set()).add(child)
        kept.append((parent, child))
    return kept


def _leads(children: dict[str, set[str]], start: str, target: str) -> bool:
    seen: set[str] = set()
    waiting = [start]
    while waiting:
        here = waiting.pop()
        if here == target:
            return True
        if here not in seen:
            seen.add(here)
            waiting += children.get(here, ())
    return False


def _short(name: str) -> str:
    return name if len(name) <= SHOWN else name[: SHOWN - 1] + "…"


def svg(pairs: Sequence[Pair], dashed: Collection[Pair] = ()) -> str:
    """The picture as SVG text; the arrows of the pairs in `dashed` have dashes."""
    places = layers(pairs)
    corner = {
        name: (MARGIN + column * (WIDTH + GAP_X), MARGIN + row * (HEIGHT + GAP_Y))
        for name, (column, row) in places.items()
    }
    width = max((x for x, _ in corner.values()), default=0) + WIDTH + MARGIN
    height = max((y for _, y in corner.values()), default=0) + HEIGHT + MARGIN
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
        'font-family="sans-serif" font-size="12" role="img">',
        '<defs><marker id="tv-arrow" markerWidth="8" markerHeight="8" refX="7" refY="4" orient="auto">'
        '<path d="M0,0 L8,4 L0,8 z" fill="#777"/></marker></defs>',
    ]
    for parent, child in pairs:
        if parent != child:
            parts.append(_arrow(*corner[parent], *corner[child], dashed=(parent, child) in dashed))
    for name, (x, y) in corner.items():
        again = " ↻" if (name, name) in pairs else ""
        parts.append(
            f'<g><title>{escape(name)}</title><rect x="{x}" y="{y}" width="{WIDTH}" height="{HEIGHT}" rx="6" fill="#eef3fb" '
            f'stroke="#4c72b0"/><text x="{x + WIDTH // 2}" y="{y + HEIGHT // 2 + 4}" text-anchor="middle" fill="#222">'
            f"{escape(_short(name))}{again}</text></g>"
        )
    return "".join([*parts, "</svg>"])


def _arrow(x: int, y: int, to_x: int, to_y: int, *, dashed: bool) -> str:
    start, end = (x + WIDTH, y + HEIGHT // 2), (to_x, to_y + HEIGHT // 2)
    middle = (start[0] + end[0]) // 2
    path = f"M{start[0]},{start[1]} C{middle},{start[1]} {middle},{end[1]} {end[0]},{end[1]}"
    dashes = ' stroke-dasharray="5 4"' if dashed else ""
    return f'<path d="{path}" fill="none" stroke="#777"{dashes} marker-end="url(#tv-arrow)"/>'


def draw(pairs: Sequence[Pair], ax: Axes | None, dashed: Collection[Pair] = ()) -> Axes:
    """The picture on Matplotlib axes."""
    if ax is None:
        try:
            from matplotlib import pyplot
        except ImportError as error:
            raise MissingDependency.for_extra("matplotlib", "plot", "vault.graph().draw()") from error
        ax = pyplot.subplots()[1]
    places = layers(pairs)
    box = {"boxstyle": "round,pad=0.4", "facecolor": "#eef3fb", "edgecolor": "#4c72b0"}
    for parent, child in pairs:
        if parent != child:
            (x, y), (to_x, to_y) = places[parent], places[child]
            line = "--" if (parent, child) in dashed else "-"
            style = {"linestyle": line, "arrowstyle": "->", "color": "#777", "shrinkA": 28, "shrinkB": 28}
            ax.annotate("", xy=(to_x, -to_y), xytext=(x, -y), arrowprops=style)
    for name, (x, y) in places.items():
        ax.text(x, -y, _short(name).replace("$", r"\$"), ha="center", va="center", bbox=box)
    ax.set_xlim(-0.6, max((x for x, _ in places.values()), default=0) + 0.6)
    ax.set_ylim(-max((y for _, y in places.values()), default=0) - 0.6, 0.6)
    ax.set_axis_off()
    return ax
