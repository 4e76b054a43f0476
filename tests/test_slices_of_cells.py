"""Random notebooks, whose cells run again in other orders and are edited between: each slice, run alone, makes what was made there."""

from __future__ import annotations

import itertools
import re
import sys
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_levels import only
from test_slices import HEAD, NAMES, statements
from torture.harness import LONG, times

from tablevault_pd.code import Piece, Slicer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tablevault_pd.store import Part

#: Iterators that are used up, and numbers or lists, nobody knows which.
_OUT_OF_SIGHT = re.compile(r"\bit\b|\*= |ctxs")
_LARGEST = 200  #: of what a notebook makes: cells that run again double lists, and more


@st.composite
def notebooks(draw: Any) -> list[str]:
    """The cells of a notebook as they ran, each with what it was then, and a call of ``out`` behind each."""
    numbers = itertools.count(10)

    def cell() -> str:
        lines = [statements(draw, numbers) for _ in range(draw(st.integers(1, 3)))]
        return "\n".join(line for line in lines if not _OUT_OF_SIGHT.search(line)) or "pass"

    cells = [cell() for _ in range(draw(st.integers(2, 4)))]
    runs = [*cells]
    for _ in range(draw(st.integers(1, 5))):
        number = draw(st.integers(0, len(cells) - 1))
        if draw(st.integers(0, 2)) == 0:
            cells[number] = cell()
        runs.append(cells[number])
    return [text for run in runs for text in (run, f"out({draw(st.sampled_from(NAMES[:-1]))})")]


class Notebook:
    """Runs cells as a kernel does: one that fails has come to a line, and the next one runs."""

    def __init__(self) -> None:
        self.values: list[str] = []
        self._names: dict[str, Any] = {"__name__": "__main__", "out": self._out}

    def _out(self, value: Any) -> None:
        self.values.append(repr(value))

    def run(self, text: str) -> int | None:
        """The line at which it failed."""
        try:
            exec(compile(text, "<cell>", "exec", dont_inherit=True), self._names)
        except Exception as error:  # noqa: BLE001
            return _line(error)
        return None

    def is_large(self) -> bool:
        return any(_size(self._names.get(name), 3) > _LARGEST for name in (*"abcd", "D", "K", "o"))


def _line(error: Exception) -> int:
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_filename != "<cell>":
        trace = trace.tb_next
    return 0 if trace is None else trace.tb_lineno


def _size(value: Any, depth: int) -> int:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else ()
    return 1 + sum(_size(one, depth - 1) if depth else _LARGEST for one in inner)


def alone(texts: Sequence[str], parts: Sequence[Part]) -> list[str]:
    """What the parts of cells give to ``out``."""
    notebook = Notebook()
    for number, text in enumerate(texts):
        of_cell = [part for part in parts if part.cell == number]
        if of_cell:
            notebook.run(only(text, of_cell, None))
    return notebook.values


def check(cells: Sequence[str], *, alone_too: bool = True) -> None:
    """Compare what each call of ``out`` was given with what its slice gives, run alone."""
    notebook, slicer, pieces = Notebook(), Slicer([]), []
    for number, text in enumerate([HEAD, *cells]):
        before = len(notebook.values)
        until = notebook.run(text)
        if notebook.is_large() or (until is not None and text.splitlines()[until - 1][:1].isspace()):
            return
        pieces = [*pieces, Piece(text, None, 1, number, until=until)]
        if len(notebook.values) == before or "0x" in notebook.values[-1]:
            continue
        if not slicer.continued(pieces, ()):
            slicer = Slicer(pieces)
        parts = slicer.of_place(1).parts
        texts = [piece.text for piece in pieces]
        if alone_too:
            assert alone(texts, parts)[-1:] == notebook.values[-1:], "\n--\n".join(texts)
        assert parts == Slicer(pieces).of_place(1).parts


@settings(max_examples=times(500, ordinary=100))
@given(notebooks())
def test_a_slice_of_a_notebook_is_the_same_by_a_slicer_that_went_on_and_by_a_new_one(cells):
    """In a long run it also makes what was made: one notebook in a hundred has what docs/code.md says is not seen."""
    check(cells, alone_too=LONG)


NOTEBOOKS = {
    "a statement that failed has bound nothing": ["a = [10]\na = nobody", "out(a)"],
    "an argument that the call binds": ["d = same(a := [10])", "a.append(11)", "out(d)"],
    "a walrus in a comprehension": ["any((d := b) for _ in range(1))", "del b[:1]", "out(d)"],
    "a walrus of an element": ["any((d := v) for v in [b])", "d.append(10)", "out(b)"],
    "a method that a block binds and calls": ["try:\n    p = b.append\n    p(10)\nfinally:\n    pass", "out(b)"],
    "a function that changes what its result is bound to": [
        "a = b", "def f():\n    a.append(10)\n    return [11]\na = f()", "out(b)",
    ],
    "what several names of one line hold": [
        "with ctx(c) as v, ctx(a) as w: v.append(w)", "a.append(10)", "out(c)",
    ],
    "an attribute that a function changes": ["a = K.rows", "add(a)", "out(K.rows)"],
    "an attribute that getattr returns": ['a = getattr(o, "v")', "a.append(10)", "out(o.v)"],
    "an attribute that setattr binds": ['setattr(o, "v", a)', "a.append(10)", "out(o.v)"],
    "an argument that an object keeps": ["o.keep(a)", "a.append(10)", "out(o.v)"],
    "a list that is added to": ['a = D["k"]', "a += [10]", "out(D)"],
    "a list that is added to, by its first name": ["a = (c := [10]) and c", "c += [11]", "c += [12]", "out(a)"],
    "the default of a function": ["h = lambda v=a: v", "a.append(10)", "a = [11]", "out(h())"],
    "what a function returns in a list": ["def f():\n    z = a\n    return [z]", "d = f()", "a.append(10)", "out(d)"],
    "arguments that a function returns in a dict": ["def f(v): return {'i': v}", "d = f(a)", "a.append(10)", "out(d)"],
    "a parameter that is bound to a global name": [
        "def u(v=None):\n    v = c\n    v.append(10)\n    return v", "a = u(a)", "out(c)",
    ],
    "what a function returns that it keeps": [
        "def make():\n    z = [10]\n    def up():\n        nonlocal z\n        z = z[:]\n        return z\n    return up\nu = make()",
        "a = u()", "a.append(11)", "out(u())",
    ],
    "the branch before a test": [
        "a = c = []", "a = [10]", "if n > 9:\n    a = [11]\nelif (a := a):\n    a = [12]\nelse:\n    c = [13]", "out(c)",
    ],
}  # fmt: skip


@pytest.mark.parametrize("cells", NOTEBOOKS.values(), ids=NOTEBOOKS)
def test_a_slice_has_what_changes_an_object_under_another_name(cells):
    check(cells)


def test_a_loop_that_runs_again_and_again_is_worked_through_in_steps_that_grow_with_its_square_at_most():
    cell = "for i in r:\n    rows.append(i)\n    x = rows[i]\n    x.append(rows)"

    def calls(times_run: int) -> int:
        pieces = [
            Piece(text, None, 1, number) for number, text in enumerate(["rows = []", *[cell] * times_run])
        ]
        slicer, counted = Slicer([*pieces, Piece("save(rows)", None, 1, len(pieces))]), itertools.count()
        sys.setprofile(lambda *_: next(counted))
        try:
            slicer.of_place(1)
        finally:
            sys.setprofile(None)
        return next(counted)

    calls(1)
    assert calls(24) < 6 * calls(12)
