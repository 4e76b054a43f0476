"""Pictures of the graph: no arrow passes through the box of a list that it does not belong to, and every name can be read."""

from __future__ import annotations

import subprocess
import sys
import xml.etree.ElementTree as ET
from itertools import combinations, pairwise

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torture.harness import times

import tablevault_pd as tv

pytest.importorskip("networkx")
pytest.importorskip("matplotlib")

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from tablevault_pd.lineage import drawing
from tablevault_pd.lineage.graph import LineageGraph
from tablevault_pd.lineage.layout import layout

pytestmark = pytest.mark.ci

NAMES = [f"list {number}" for number in range(30)]
PAIR = st.tuples(st.sampled_from(NAMES), st.sampled_from(NAMES))
DAG = st.lists(
    PAIR.filter(lambda pair: pair[0] != pair[1]).map(lambda p: tuple(sorted(p, key=NAMES.index))), max_size=60
)
ANY_GRAPH = st.lists(PAIR, max_size=60)


def curve(points, steps=24):
    """Points all along an arrow: level parts, and bends that leave and arrive level, between the points that are given."""
    parts = []
    t = np.linspace(0, 1, steps)[:, None]
    for start, end in pairwise(np.asarray(points, float)):
        half = (start[0] + end[0]) / 2
        a, b = np.array([half, start[1]]), np.array([half, end[1]])
        parts.append((1 - t) ** 3 * start + 3 * (1 - t) ** 2 * t * a + 3 * (1 - t) * t**2 * b + t**3 * end)
    return np.concatenate(parts)


def inside(points, box, slack=1e-6):
    x, y = points.T
    return (x > box.left + slack) & (x < box.right - slack) & (y > box.top + slack) & (y < box.bottom - slack)


def check(pairs, widths):
    place = layout(pairs, widths)
    assert set(place.boxes) == set(widths)
    arrows = {pair for pair in pairs if pair[0] != pair[1]}
    assert set(place.arrows) == arrows  # none is left out
    for a, b in combinations(place.boxes.values(), 2):
        assert a.right <= b.left or b.right <= a.left or a.bottom <= b.top or b.bottom <= a.top
    drawn = {pair: curve(points) for pair, points in place.arrows.items()}
    for pair, points in drawn.items():
        for name, box in place.boxes.items():
            assert not inside(points, box).any(), (pair, name)
        for end, name in ((points[0], pair[0]), (points[-1], pair[1])):  # each arrow meets its own two boxes
            box = place.boxes[name]
            assert min(abs(end[0] - box.left), abs(end[0] - box.right)) < 1e-6
            assert box.top < end[1] < box.bottom
        assert points[:, 0].min() >= -1e-6
        assert points[:, 0].max() <= place.width + 1e-6
    either_way = [min(points, points[::-1]) for points in (tuple(arrow) for arrow in place.arrows.values())]
    assert len(set(either_way)) == len(either_way)  # none lies upon another


@settings(max_examples=times(60))
@given(DAG, st.data())
def test_no_arrow_passes_through_a_box(pairs, data):
    widths = {
        name: data.draw(st.floats(20, 200), label=name) for name in dict.fromkeys(e for p in pairs for e in p)
    }
    check(pairs, widths)


@settings(max_examples=times(40))
@given(ANY_GRAPH)
def test_lists_that_were_made_from_each_other_are_drawn_too(pairs):
    check(pairs, dict.fromkeys((end for pair in pairs for end in pair), 60.0))


def graph_of(pairs, basis="stated"):
    rows = [(a, 1, b, 1, 1, basis, None, None) for a, b in pairs]
    columns = [
        "parent_list",
        "parent_version",
        "child_list",
        "child_version",
        "rows",
        "basis",
        "session",
        "cell",
    ]
    return LineageGraph(pd.DataFrame(rows, columns=columns))


def thirty_lists():
    rng = np.random.default_rng(7)
    return [
        (f"runs/{min(a, b)}/result", f"runs/{max(a, b)}/result")
        for a, b in rng.integers(0, 30, (55, 2))
        if a != b
    ]


@pytest.mark.parametrize("scale", [1.0, 0.6])
def test_names_lie_in_their_boxes_and_not_upon_each_other(scale):
    """As the renderer of Matplotlib draws them, on a figure of its own and on one that is small."""
    pairs = [
        *thirty_lists(),
        ("MMMMMMMMMMMM", "runs/1/result"),
        ("$a_b$ " * 9, "runs/2/result"),
        ("α é 首都", "runs/2/result"),
    ]
    names = list(dict.fromkeys(end for pair in pairs for end in pair))
    place = drawing.place_boxes(names, pairs)
    width, height = drawing._inches(place)
    figure = Figure(figsize=(width * scale, height * scale), dpi=200)
    canvas = FigureCanvasAgg(figure)
    ax = graph_of(pairs).draw(figure.add_axes((0, 0, 1, 1)))
    with pytest.warns(UserWarning, match="Glyph"):
        canvas.draw()
    renderer = canvas.get_renderer()
    boxes = [
        patch.get_window_extent(renderer) for patch in ax.patches if type(patch).__name__ == "FancyBboxPatch"
    ]
    texts = [text.get_window_extent(renderer) for text in ax.texts]
    assert len(texts) == len(boxes) == len(names)
    for text, box in zip(texts, boxes, strict=True):
        assert box.x0 < text.x0
        assert text.x1 < box.x1
        assert box.y0 - 1 < text.y0
        assert text.y1 < box.y1 + 1
    assert not any(a.overlaps(b) for a, b in combinations(texts, 2))


def test_the_picture_shows_every_edge_and_name():
    pairs = [*thirty_lists(), ('a <b> & "c"', "runs/1/result"), ("itself", "itself")]
    text = graph_of(pairs).to_svg()
    ET.fromstring(text)  # of our own making
    assert "&lt;b&gt;" in text
    assert "itself ↻" in text
    assert "<script" not in text
    assert graph_of(pairs).to_svg() == text  # the same picture each time
    assert graph_of(pairs, "read").to_svg().count("stroke-dasharray") == len(set(pairs)) - 1


def test_without_the_packages_a_notebook_gets_mermaid_and_text(tmp_path):
    code = f"""
import sys
sys.modules["matplotlib"] = sys.modules["networkx"] = None
import pandas as pd, tablevault_pd as tv
with tv.connect({str(tmp_path / "v")!r}) as vault:
    vault.save("words", ["storm"])
    vault.save("sizes", [{{"size": 5}}], inputs="words")
    graph = vault.graph()
    assert graph._repr_html_() is None
    assert graph._repr_svg_() is None
    assert 'n0["words"] --> n1["sizes"]' in graph._repr_mimebundle_()["text/vnd.mermaid"]
    assert "words" in repr(graph)
    for call in (graph.to_svg, graph.draw):
        try:
            call()
        except tv.MissingDependency as error:
            assert "plot" in str(error)
        else:
            raise AssertionError(call)
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_a_notebook_shows_the_picture_and_the_frame(vault):
    vault.save("words", ["storm"])
    vault.save("sizes", [{"size": 5}], inputs="words")
    html = vault.graph()._repr_html_()
    assert html.index("<svg") < html.index("<table")
    assert isinstance(tv.MissingDependency, type)


def test_drawing_needs_no_pyplot(tmp_path):
    """A picture in a notebook leaves the figures and the backend of its user alone."""
    code = f"""
import sys, tablevault_pd as tv
with tv.connect({str(tmp_path / "v")!r}) as vault:
    vault.save("words", ["storm"])
    vault.save("sizes", [{{"size": 5}}], inputs="words")
    assert "<svg" in vault.graph()._repr_html_()
assert "matplotlib.pyplot" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
