"""Pictures of pages: curves to zoom into with Bokeh, the graph of lists as SVG with links, others with Matplotlib."""

from __future__ import annotations

import base64
import io
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from markupsafe import Markup

from tablevault_pd.analysis.plots.draw import thinned
from tablevault_pd.explore import html
from tablevault_pd.explore.page import to
from tablevault_pd.lineage.drawing import MARGIN, box_texts, place_boxes

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import pandas as pd

    from tablevault_pd.lineage.graph import LineageGraph
    from tablevault_pd.lineage.layout import Box, Point

COLOURS = (
    "#4c72b0",
    "#dd8452",
    "#55a868",
    "#c44e52",
    "#8172b3",
    "#937860",
    "#da8bc3",
    "#8c8c8c",
    "#ccb974",
    "#64b5cd",
)
NAMED = len(COLOURS)  #: so many curves have a colour and a name each; more are grey
PIXELS = 900  #: across a picture of curves
GREY = "#808080"
SCALE = 4 / 3  #: pixels in a point


def curves(frame: pd.DataFrame, metric: str, bands: pd.DataFrame | None = None, x: str = "step") -> Any:
    """Return a Bokeh figure of one metric, a line for each session; with `bands`, their mean and range on top.

    `frame` has session, step or x, and value, as ``vault.metrics`` returns them.
    """
    from bokeh.models import HoverTool
    from bokeh.plotting import figure

    plot = figure(
        height=320,
        sizing_mode="stretch_width",
        title=metric,
        x_axis_label=x,
        x_axis_type="datetime" if x == "time" else "auto",
        tools="pan,xwheel_zoom,box_zoom,reset",
    )
    plot.toolbar.logo = None
    by_session = list(frame.groupby("session", sort=False))
    faint = bands is not None or len(by_session) > NAMED
    for number, (label, values) in enumerate(by_session):
        across, up = _points(values)
        style: dict[str, Any] = {"color": "#999999", "alpha": 0.4} if faint else {"color": COLOURS[number]}
        named: dict[str, Any] = {} if faint else {"legend_label": str(label)}
        line = plot.line(across, up, name=str(label), line_width=1.5, **style, **named)
        if len(across) == 1:
            plot.scatter(across, up, size=6, **style)
        plot.add_tools(HoverTool(renderers=[line], tooltips=[("", "$name"), (x, "@x"), (metric, "@y")]))
    if bands is not None:
        _bands(plot, bands)
    if plot.legend:
        plot.legend.click_policy = "hide"
        plot.legend.label_text_font_size = "11px"
    _on_any_ground(plot)
    return plot


def _on_any_ground(plot: Any) -> None:
    """Let the page show through, and draw all but the curves in a grey that can be read on white and on black."""
    plot.background_fill_color = plot.border_fill_color = None
    plot.outline_line_color, plot.title.text_color = GREY, GREY
    plot.grid.grid_line_color, plot.grid.grid_line_alpha = GREY, 0.25
    for part in ("axis_line", "major_tick_line", "minor_tick_line", "axis_label_text", "major_label_text"):
        setattr(plot.axis, f"{part}_color", GREY)
    if plot.legend:
        plot.legend.background_fill_alpha = 0
        plot.legend.border_line_color, plot.legend.label_text_color = None, GREY


def _points(values: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    x = values["x" if "x" in values else "step"]
    if x.dtype.kind == "M":
        across = x.dt.tz_localize(None).to_numpy().astype("datetime64[ms]")
        places = across.astype("int64").astype("float64")
    else:
        across = places = x.to_numpy(dtype="float64", na_value=np.nan)
    if len(places) and np.isnan(places).all():  # logged without steps: in their order
        across = places = np.arange(len(values), dtype="float64")
    up = values["value"].to_numpy(dtype="float64", na_value=np.nan)
    order = np.argsort(places, kind="stable")
    if not len(up):
        return across, up
    low, high = float(np.nanmin(places)), float(np.nanmax(places))
    keep = thinned(places[order], up[order], low, high, PIXELS)
    return across[order][keep], up[order][keep]


def _bands(plot: Any, bands: pd.DataFrame) -> None:
    groups = [name for name in bands.columns if name.startswith("params.")]
    parts: Any = bands.groupby(groups, sort=False, dropna=False) if groups else [("all", bands)]
    for number, (key, part) in enumerate(parts):
        values = key if isinstance(key, tuple) else (key,)
        names = [name.removeprefix("params.") for name in groups]
        label = (
            ", ".join(f"{name}={html.value_text(value)}" for name, value in zip(names, values, strict=False))
            or "all"
        )
        colour = COLOURS[number % NAMED]
        across = part["x"].to_numpy(dtype="float64", na_value=np.nan)
        low, mid, high = (
            part[name].to_numpy(dtype="float64", na_value=np.nan) for name in ("lo", "mid", "hi")
        )
        plot.varea(
            across,
            np.where(np.isnan(low), mid, low),
            np.where(np.isnan(high), mid, high),
            color=colour,
            alpha=0.2,
        )
        plot.line(across, mid, color=colour, line_width=2.5, legend_label=label)


def graph(frame: LineageGraph) -> Markup:
    """Return the graph of lists as SVG in which every box leads to its list."""
    names, pairs, dashed = frame._names(), frame._pairs(), frame._dashed()
    place, texts = place_boxes(names, pairs), box_texts(names, pairs)
    arrows = [
        Markup('<path d="{}" class="arrow{}" marker-end="url(#tip)"/>').format(
            _path(points), " read" if pair in dashed else ""
        )
        for pair, points in place.arrows.items()
    ]
    boxes = [_box(name, texts[name], box) for name, box in place.boxes.items()]
    width, height = place.width + 2 * MARGIN, place.height + 2 * MARGIN
    tip = Markup(
        '<defs><marker id="tip" viewBox="0 0 6 6" refX="6" refY="3" markerWidth="6" markerHeight="6" orient="auto">'
        '<path d="M0,0 L6,3 L0,6 z"/></marker></defs>'
    )
    size = f"{width * SCALE:.0f}", f"{height * SCALE:.0f}", f"{-MARGIN} {-MARGIN} {width:.1f} {height:.1f}"
    start = Markup('<svg width="{}" height="{}" viewBox="{}">').format(*size)
    return html.tag("div", start, tip, *arrows, *boxes, Markup("</svg>"), class_="graph")


def _box(name: str, text: str, box: Box) -> Markup:
    where = to("list", name=name).query
    return Markup(
        '<a href="{0}" data-go="{0}"><title>{1}</title><rect x="{2}" y="{3}" width="{4}" height="{5}" rx="4"/>'
        '<text x="{6}" y="{7}">{8}</text></a>'
    ).format(
        where, name, box.left, box.top, box.right - box.left, box.bottom - box.top,
        (box.left + box.right) / 2, (box.top + box.bottom) / 2, text,
    )  # fmt: skip


def _path(points: Sequence[Point]) -> str:
    """Level parts as lines, the bends between layers as curves that leave and arrive level."""
    text = f"M{points[0][0]:.1f},{points[0][1]:.1f}"
    for (x, y), (next_x, next_y) in pairwise(points):
        half = (x + next_x) / 2
        text += f" C{half:.1f},{y:.1f} {half:.1f},{next_y:.1f} {next_x:.1f},{next_y:.1f}"
    return text


def picture(draw: Callable[[], Any]) -> Markup:
    """Return what `draw` draws with Matplotlib, as a picture."""
    from matplotlib import pyplot

    axes = np.atleast_1d(np.asarray(draw(), dtype=object)).ravel()
    figure = axes[0].get_figure()
    out = io.BytesIO()
    try:
        figure.savefig(out, format="svg", bbox_inches="tight")
    finally:
        pyplot.close(figure)
    data = base64.b64encode(out.getvalue()).decode("ascii")
    return Markup('<img class="picture" alt="" src="data:image/svg+xml;base64,{}">').format(data)
