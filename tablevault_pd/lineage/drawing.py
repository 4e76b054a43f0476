"""Pictures of the graph of lists, with Matplotlib."""

from __future__ import annotations

import io
import warnings
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from tablevault_pd.errors import MissingDependency
from tablevault_pd.imports import for_own_use
from tablevault_pd.lineage.layout import GraphLayout, Pair, Point, layout

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from matplotlib.axes import Axes
    from matplotlib.path import Path

FONT, FONT_SIZE = "DejaVu Sans", 9.0  # the font that comes with Matplotlib; the size in points
PADDING, MARGIN = 10.0, 12.0  # beside the text in a box, around the picture
HEAD = 6.0  # length of an arrow's head
LONGEST = 32  # characters of a name that are shown
BOX, EDGE, ARROW, TEXT = "#eef3fb", "#4c72b0", "#666666", "#222222"
_ROUNDED: Any = {"boxstyle": "round,pad=0,rounding_size=4", "facecolor": BOX, "edgecolor": EDGE}
_CENTRED: Any = {"ha": "center", "va": "center", "fontfamily": FONT, "color": TEXT, "parse_math": False}


def svg(names: Sequence[str], pairs: Sequence[Pair], dashed: Collection[Pair] = ()) -> str:
    """The picture as SVG text; the arrows of the pairs in `dashed` have dashes. Raises MissingDependency."""
    try:
        with for_own_use():
            import matplotlib
            from matplotlib.backends.backend_svg import FigureCanvasSVG
            from matplotlib.figure import Figure
    except ImportError as error:
        raise _missing() from error
    place = place_boxes(names, pairs)
    figure = Figure(figsize=_inches(place))
    FigureCanvasSVG(figure)
    _draw(figure.add_axes((0, 0, 1, 1)), place, box_texts(names, pairs), dashed)
    out = io.StringIO()
    # Texts stay texts: the program that shows the picture may have letters that the font lacks.
    with (
        matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "tablevault"}),
        warnings.catch_warnings(),
    ):
        warnings.filterwarnings("ignore", "Glyph .* missing")
        figure.savefig(out, format="svg", transparent=True, metadata={"Date": None})
    text = out.getvalue()
    return text[text.index("<svg") :]


def draw(names: Sequence[str], pairs: Sequence[Pair], ax: Axes | None, dashed: Collection[Pair] = ()) -> Axes:
    """The picture on Matplotlib axes; those of a new figure if there are none. Raises MissingDependency."""
    place = place_boxes(names, pairs)
    if ax is None:
        with for_own_use():
            from matplotlib import pyplot

        ax = pyplot.figure(figsize=_inches(place)).add_axes((0, 0, 1, 1))
    _draw(ax, place, box_texts(names, pairs), dashed)
    return ax


def _missing() -> MissingDependency:
    return MissingDependency.for_extra("matplotlib", "plot", "A picture of the graph")


def place_boxes(names: Sequence[str], pairs: Sequence[Pair]) -> GraphLayout:
    """Return where the boxes and arrows of a graph lie, in points. Raises MissingDependency."""
    texts = box_texts(names, pairs)
    return layout(pairs, {name: _text_width(text) + 2 * PADDING for name, text in texts.items()})


def box_texts(names: Sequence[str], pairs: Sequence[Pair]) -> dict[str, str]:
    """What stands in each box: the name, long ones without their middle, and a mark if the list was made from itself."""
    short = {
        name: name if len(name) <= LONGEST else f"{name[: LONGEST // 2]}…{name[-LONGEST // 2 + 1 :]}"
        for name in names
    }
    return {name: f"{text} ↻" if (name, name) in pairs else text for name, text in short.items()}


def _text_width(text: str) -> float:
    """In points; letters that the font lacks count as wide as high."""
    try:
        from matplotlib.font_manager import findfont, get_font
    except ImportError as error:
        raise _missing() from error
    font = get_font(findfont(FONT))
    font.set_size(FONT_SIZE, 72)
    present = "".join(letter for letter in text if font.get_char_index(ord(letter)))
    font.set_text(present)
    width = font.get_width_height()[0] / 64
    return float(width + FONT_SIZE * (len(text) - len(present)))


def _inches(place: GraphLayout) -> tuple[float, float]:
    return (place.width + 2 * MARGIN) / 72, (place.height + 2 * MARGIN) / 72


def _draw(ax: Axes, place: GraphLayout, texts: Mapping[str, str], dashed: Collection[Pair]) -> None:
    """Draw in points: on axes of another size everything, texts included, is scaled alike."""
    from matplotlib.patches import FancyBboxPatch, PathPatch, Polygon

    ax.set_xlim(-MARGIN, place.width + MARGIN)
    ax.set_ylim(place.height + MARGIN, -MARGIN)
    ax.set_aspect("equal")
    ax.set_axis_off()
    for pair, points in place.arrows.items():
        style = (0, (4, 3)) if pair in dashed else "solid"
        ax.add_patch(PathPatch(arrow_path(points), fill=False, edgecolor=ARROW, linestyle=style))
        ax.add_patch(Polygon(_head(points), facecolor=ARROW, edgecolor="none"))
    size = FONT_SIZE * _scale(ax, place)
    for name, box in place.boxes.items():
        width, height = box.right - box.left, box.bottom - box.top
        ax.add_patch(FancyBboxPatch((box.left, box.top), width, height, **_ROUNDED))
        middle = (box.left + box.right) / 2, (box.top + box.bottom) / 2
        ax.text(*middle, texts[name], fontsize=size, **_CENTRED)


def _scale(ax: Axes, place: GraphLayout) -> float:
    """How many points a unit of the axes is long."""
    figure: Any = ax.get_figure()
    window: Any = ax.get_window_extent()
    width, height = place.width + 2 * MARGIN, place.height + 2 * MARGIN
    return float(min(window.width / width, window.height / height) * 72 / figure.dpi)


def arrow_path(points: Sequence[Point]) -> Path:
    """Level parts as lines, the bends between layers as curves that leave and arrive level."""
    from matplotlib.path import Path

    vertices, codes = [points[0]], [Path.MOVETO]
    for (x, y), (next_x, next_y) in pairwise(points):
        if y == next_y:
            vertices.append((next_x, next_y))
            codes.append(Path.LINETO)
        else:
            half = (x + next_x) / 2
            vertices += [(half, y), (half, next_y), (next_x, next_y)]
            codes += [Path.CURVE4] * 3
    return Path(vertices, codes)


def _head(points: Sequence[Point]) -> list[Point]:
    (x, _), (tip_x, tip_y) = points[0], points[-1]
    back = tip_x - HEAD if tip_x > x else tip_x + HEAD
    return [(tip_x, tip_y), (back, tip_y - HEAD / 2), (back, tip_y + HEAD / 2)]
