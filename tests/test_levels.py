"""Slices along the functions that were under way at a commit: random programs run by Python, and real scripts."""

from __future__ import annotations

import ast
import itertools
import linecache
import sys
import textwrap
from contextlib import suppress
from types import ModuleType
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torture.harness import times
from warm import script

import tablevault_pd as tv
from tablevault_pd.capture import cell_place, position
from tablevault_pd.code import Piece, Slicer
from tablevault_pd.code.bodies import body_named
from tablevault_pd.code.edited import added, is_edited
from tablevault_pd.code.statements import cut, text_of
from tablevault_pd.session.executed import CodeRecorder

SCRIPT, MODULE = "/nowhere/train.py", "/nowhere/mod.py"


class Tagged:
    """A value that knows the statements that it was computed from."""

    def __init__(self, tag: int, *others: Tagged) -> None:
        self.tags: set[int] = {tag}.union(*(other.tags for other in others))

    def update(self, tag: int, *others: Tagged) -> None:
        self.tags |= {tag}.union(*(other.tags for other in others))


Saved = tuple[int | None, tuple[position.StackLevel, ...], frozenset[int]]


def run(script: str, module: str, whole: str | None = None) -> list[Saved]:
    """Run a script and its module as ``__main__``: from where and on what way each value was saved, and its tags."""
    saved: list[Saved] = []

    def save(tag: Any, value: Tagged | None = None) -> None:
        place, levels = position.way_of_main()
        saved.append((place, levels, frozenset() if value is None else frozenset({tag} | value.tags)))

    shared = {"Tagged": Tagged, "save": save, "deco": lambda function: lambda *given: function(*given)}
    main, mod = ModuleType("__main__"), ModuleType("mod")
    vars(main).update(shared), vars(mod).update(shared)
    before, source = sys.modules["__main__"], position._source
    try:
        sys.modules.update({"__main__": main, "mod": mod})
        position._source = lambda _: whole or script
        exec(compile(module, MODULE, "exec"), vars(mod))
        with suppress(Exception):  # what follows on the commit that a slice is of is not in it, and may fail
            exec(compile(script, SCRIPT, "exec"), vars(main))
    finally:
        sys.modules["__main__"], position._source = before, source
        del sys.modules["mod"]
    return saved


def slice_of(script: str, module: str, saved: Saved) -> Any:
    """The slice of what was saved."""
    pieces = [Piece(script, "train.py", 1, 0, until=saved[0])]
    return Slicer(pieces, [Piece(module, "mod.py", module="mod")]).of_place(saved[0], saved[1])


def only(text: str, parts: Any, path: str | None) -> str:
    """A text with nothing but the lines of a slice, each where it was."""
    inside = {
        line
        for part in parts
        if part.path == path
        for line in range(position.line_of(part.line), position.line_of(part.end) + 1)
    }
    lines = [line if number in inside else "" for number, line in enumerate(text.splitlines(), 1)]
    for number, line in enumerate(lines):
        if line.endswith(":"):
            lines[number] = f"{line} pass" if not _has_body(lines, number) else line
    return "\n".join(lines)


def _has_body(lines: list[str], number: int) -> bool:
    indent = len(lines[number]) - len(lines[number].lstrip())
    behind = next((line for line in lines[number + 1 :] if line), "")
    return len(behind) - len(behind.lstrip()) > indent


@st.composite
def programs(draw) -> tuple[str, str]:
    """A script and a module whose functions call each other; each statement that computes has a tag of its own."""
    tags = iter(range(100, 1000))
    pick = lambda options: draw(st.sampled_from(options))  # noqa: E731

    def block(
        depth: int, names: list[str], others: list[str], functions: list[str], inside: bool
    ) -> list[str]:
        body: list[str] = []
        for _ in range(draw(st.integers(1, 3))):
            kinds = ["assign", "alias", "put", "put", "save", "call", "call", "result", "if", "for"]
            kind = pick([*kinds, "return"] if inside else kinds)
            name, other = pick(names), pick([*names, *others])
            call = (
                f"{pick(functions)}({pick([*names, *others])}, b={other})"
                if functions
                else f"save({next(tags)}, {name})"
            )
            line = {
                "assign": f"{name} = Tagged({next(tags)}, {other})",
                "alias": f"{name} = {other}",
                "put": f"{pick([*names, *others])}.update({next(tags)}, {other})",
                "save": f"save({next(tags)}, {other})",
                "call": call,
                "result": f"{name} = Tagged({next(tags)}, {call})" if functions else f"{name} = {other}",
                "return": f"if {draw(st.integers(0, 1))}: return {other}",
            }.get(kind)
            if line is not None or depth == 2:
                body.append(line or call)
                continue
            head = (
                f"if {draw(st.integers(0, 1))}:"
                if kind == "if"
                else f"for _ in range({draw(st.integers(0, 2))}):"
            )
            body += [head, *(f"    {inner}" for inner in block(depth + 1, names, others, functions, inside))]
        return body

    def function(name: str, variables: list[str], functions: list[str]) -> list[str]:
        is_global = draw(st.booleans())
        head = [f"    global {variables[0]}"] if is_global else []
        names = ["a", "b", *(variables[:1] if is_global else [])]
        body = block(0, names, variables, functions, inside=True)
        return [f"def {name}(a, b):", *head, *(f"    {line}" for line in body), f"    return {pick(names)}"]

    module = [f"k = Tagged({next(tags)})", *function("g", ["k"], []), *function("h", ["k"], ["g"])]
    script = ["import mod", "from mod import h", *(f"{name} = Tagged({next(tags)})" for name in "xyz")]
    script += function("f", ["x", "y"], ["mod.g", "h"])
    script += function("e", ["x", "y"], ["f", "h"])
    script += block(0, ["x", "y", "z"], ["mod.k"], ["e", "f", "mod.g", "h"], inside=False)
    return "\n".join(
        [*script, "e(x, y)", f"save({next(tags)}, {pick(['x', 'y', 'z', 'mod.k'])})"]
    ), "\n".join(module)


def saves_the_same(program: tuple[str, str], ran: list[Saved], number: int, levels: Any) -> list[str] | None:
    """Nothing if the slice of what was saved, run alone, saves it; else the slice."""
    (script, module), saved = program, ran[number]
    parts = slice_of(script, module, (saved[0], levels, saved[2])).parts
    alone = run(only(script, parts, "train.py"), only(module, parts, "mod.py"), script)
    before, same = (
        [tags for *way, tags in some if tuple(way) == saved[:2]] for some in (ran[: number + 1], alone)
    )
    return None if same[: len(before)][-1:] == before[-1:] else [part.text for part in parts]


@settings(max_examples=times(400, ordinary=60), deadline=None)
@given(programs())
@example(
    (
        "import mod\nz = mod.k\nmod.g(mod.k, b=z)",  # two names of what a module has
        "k = Tagged(100)\ndef g(a, b):\n    a.update(103, a)\n    a = Tagged(106, b)\n    save(112, a)",
    )
)
@example(
    (
        "from mod import k, g\nz = k\ng(k, z)",
        "k = Tagged(100)\ndef g(a, b):\n    a.update(103, a)\n    a = Tagged(106, b)\n    save(112, a)",
    )
)
def test_a_slice_along_the_stack_has_what_that_of_whole_functions_has(program):
    ran = run(*program)
    for number, (_, levels, _) in enumerate(ran[:30]):
        if levels and saves_the_same(program, ran, number, ()) is None:
            assert saves_the_same(program, ran, number, levels) is None, ran[number]


def run_cells(cells: list[str], module: str, plain: list[str] | None = None) -> list[Saved]:
    """As :func:`run`, the cells of a notebook: the number of the cell stands for the place in the script.

    `plain` is what IPython has made of them.
    """
    saved: list[Saved] = []

    begun: list[str] = []

    def save(tag: Any, value: Tagged | None = None) -> None:
        _, levels = cell_place.way_of_cell(begun[-1])
        saved.append(
            (len(begun) - 1, levels, frozenset() if value is None else frozenset({tag} | value.tags))
        )

    shared = {"Tagged": Tagged, "save": save, "get_ipython": list}
    main, mod = ModuleType("__main__"), ModuleType("mod")
    vars(main).update(shared), vars(mod).update(shared)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "__main__", main), patch.setitem(sys.modules, "mod", mod)
        patch.setattr(position.script, "in_ipython", lambda: True)
        exec(compile(module, MODULE, "exec", dont_inherit=True), vars(mod))
        with suppress(Exception):
            for text, typed in zip(plain or cells, cells, strict=True):
                begun.append(typed)
                file = f"<cell {next(FILES)}>"
                patch.setitem(linecache.cache, file, (1, None, text.splitlines(keepends=True), file))
                exec(compile(text, file, "exec"), vars(main))
    return saved


FILES = itertools.count()


def cells_save_the_same(
    cells: list[str], module: str, ran: list[Saved], number: int, levels: Any
) -> list[str] | None:
    """As :func:`saves_the_same`, of a notebook."""
    saved = ran[number]
    pieces = [Piece(text, None, 1, cell) for cell, text in enumerate(cells[: (saved[0] or 0) + 1])]
    parts = Slicer(pieces, [Piece(module, "mod.py", module="mod")]).of_place(0, levels).parts
    texts = [
        only(text, [part for part in parts if part.cell == cell], None) for cell, text in enumerate(cells)
    ]
    alone = run_cells(texts, only(module, parts, "mod.py"))
    before, same = (
        [tags for cell, way, tags in some if (cell, _places(way)) == (saved[0], _places(saved[1]))]
        for some in (ran[: number + 1], alone)
    )
    return None if same[: len(before)][-1:] == before[-1:] else [part.text for part in parts]


def _places(way: Any) -> list[Any]:
    return [level._replace(text=None, code=None) for level in way]


@st.composite
def notebooks(draw) -> tuple[list[str], str]:
    """Top-level statements are cells, or share one; some definitions run again, and some are replaced by others first."""
    script, module = draw(programs())
    cells = [ast.get_source_segment(script, node) or "" for node in ast.parse(script).body]
    again = draw(st.lists(st.sampled_from([5, 6]), max_size=2))
    cells[7:7] = [cells[number] for number in again]
    joined = [cells[0]]
    for cell in cells[1:]:
        if draw(st.integers(0, 3)):
            joined.append(cell)
        else:
            joined[-1] += f"\n{cell}"
    return joined, module


@settings(max_examples=times(300, ordinary=30), deadline=None)
@given(notebooks())
@example(
    (
        [
            "from mod import h\nx = Tagged(125)\ny = Tagged(126)\n"
            "def f(a, b):\n    a = Tagged(132, y)\n    save(138, a)\n    return a\n"
            "def e(a, b):\n    b = Tagged(143, h(b, b=a))\n    f(a, b=a)",  # it changes what `b` stood for
            "e(x, y)",
        ],
        "def h(a, b):\n    a.update(118, a)\n    return a",
    )
)
def test_a_slice_along_the_functions_of_a_notebook_has_what_that_of_whole_functions_has(notebook):
    joined, module = notebook
    ran = run_cells(joined, module)
    for number, (_, levels, _) in enumerate(ran[:30]):
        if levels and cells_save_the_same(joined, module, ran, number, ()) is None:
            assert cells_save_the_same(joined, module, ran, number, levels) is None, ran[number]


def test_a_slice_along_the_functions_of_a_notebook_has_what_the_statement_in_them_needs():
    cells = [
        "K = 1\nL = 2",
        "def f(a, b):\n    x = a + K\n    y = b + L\n    save(x)\n    save(y)",
        "def main(n):\n    f(n, 2)\n    z = n\n    save(z)",
        "def f(a, b):\n    x = a - K\n    y = b - L\n    save(x)\n    save(y)",
        "main(1)",
    ]
    needed = [
        {(0, 1), (2, 1), (2, 2), (3, 1), (3, 2), (3, 4), (4, 1)},
        {(0, 2), (2, 1), (2, 2), (3, 1), (3, 3), (3, 5), (4, 1)},
        {(2, 1), (2, 3), (2, 4), (4, 1)},
    ]
    pieces = [Piece(text, None, 1, cell) for cell, text in enumerate(cells)]
    for (_, levels, _), lines in zip(run_cells(cells, ""), needed, strict=True):
        parts = Slicer(pieces).of_place(0, levels).parts
        places = {
            (part.cell, line)
            for part in parts
            for line in range(position.line_of(part.line), position.line_of(part.end) + 1)
        }
        assert places - {(0, 1), (0, 2)} == lines - {(0, 1), (0, 2)}
        assert (0, 1) in places or (0, 1) not in lines
    moved = ["K = 1\nL = 2", "\n%precision 3\n" + cells[1], "\n\nf(1, 2)"]
    plain = [text.replace("%precision 3", "get_ipython()").lstrip() for text in moved]  # as IPython runs it
    pieces = [Piece(text, None, 1, cell) for cell, text in enumerate(moved)]
    for (_, levels, _), line in zip(run_cells(moved, "", plain), (4, 5), strict=True):
        parts = Slicer(pieces).of_place(0, levels).parts
        inside = [(part.cell, position.line_of(part.line)) for part in parts]
        assert inside == [(0, 1 if line == 4 else 2), (2, 3), (1, 3), (1, line), (1, line + 2)]


ALONG = [
    # (a script, the lines of it that what is saved first needs; those of a function that stays whole are all there)
    ("x = 1\ny = 2\ndef f(a, b):\n    c = a\n    d = b\n    save(c)\n    save(d)\nf(x, 3)", [1, 3, 4, 6, 8]),
    ("def f(a):\n    b = a\n    if not b:\n        return g(b)\n    c = g(b)\n    save(b)\n    return c\n"
     "def g(x): return x\nr = f(1)", [1, 2, 3, 4, 6, 9]),
    ("K = 1\nL = 2\ndef f(a=K, *, b=L):\n    save(a)\nf()", [1, 2, 3, 4, 5]),
    ("def g(r):\n    r.append(1)\ndef f(a):\n    rows = []\n    other = []\n    g(rows)\n    g(other)\n"
     "    save(rows)\nf(1)", [1, 2, 3, 4, 6, 8, 9]),
    ("def f(a):\n    rows = a\n    rows.append(1)\n    save(a)\nx = []\nf(x)", [1, 2, 3, 4, 5, 6]),
    ("def f(*a, **b):\n    y = 1\n    b['k'].append(1)\n    save(x)\nx = []\nf(1, k=x)", [1, 3, 4, 5, 6]),
    ("def f(a):\n    h(a)\n    z = 1\ndef h(b):\n    y = b\n    save(b)\nf(1)", [1, 2, 4, 6, 7]),
    ("def f(n):\n    if n:\n        y = n\n        f(n - 1)\n    else:\n        save(n)\nf(1)", [1, 2, 4, 5, 6, 7]),
    ("def f(a):\n    try:\n        save(a)\n    except ValueError:\n        b = 1\n    c = 1\nf(1)", [1, 2, 3, 4, 5, 7]),
    ("def f(a):\n    b = [v for v in a]\n    c = a\n    add = lambda v: b.append(v)\n    add(1)\n    save(b)\nf([])", [1, 2, 4, 5, 6, 7]),
    # a ``return`` that is under way has begun
    ("def f(a):\n    b = a\n    c = 1\n    return g(b)\ndef g(x):\n    y = x\n    z = 1\n    return save(y)\nr = f(1)",
     [1, 2, 4, 5, 6, 8, 9]),
    # in a loop, what the turns before did counts
    ("n = []\ndef f(a):\n    save(a)\n    x = 1\n    a.append(x)\n    y = 1\nfor i in range(2):\n    f(n)", [1, 2, 3, 4, 5, 7, 8]),
    ("n = 1\ndef f(a):\n    save(a)\n    b = a + 1\n    c = 1\n    return b\nfor i in range(2):\n    n = f(n)", [1, 2, 3, 4, 6, 7, 8]),
    # a function stays whole: a decorator, a generator, a default that is kept, a mention of it beside, another call of it
    ("@deco\ndef f(a):\n    y = 1\n    save(a)\nf(1)", [1, 2, 3, 4, 5]),
    ("def f(a):\n    y = 1\n    save(a)\n    yield\nlist(f(1))", [1, 2, 3, 4, 5]),
    ("def f(a, seen=[]):\n    y = 1\n    save(a)\ng = f\nf(1)", [1, 2, 3, 5]),
    ("def f(a):\n    y = 1\n    save(a)\nf(1) or f(2)", [1, 2, 3, 4]),
    ("def f(a):\n    y = 1\n    save(locals())\nf(1)", [1, 2, 3, 4]),
    ("def f(a):\n    y = 1\n    save(a)\nf = deco(f)\nf(1)", [1, 2, 3, 4, 5]),
    ("def f(a):\n    y = 1\n    save(a)\nx = [f(1) for _ in 'a']", [1, 2, 3, 4]),
    ("def f(a):\n    y = 1\n    def g():\n        nonlocal y\n        y = 2\n    g()\n    save(y)\nf(1)", [1, 2, 3, 4, 5, 6, 7, 8]),
    ("def f(a):\n    y = 1\n    save(a)\ndef g(h): h(1)\ng(f)", [1, 2, 3, 4, 5]),
    ("def f(a):\n    y = 1\n    save(a)\nfor i in [1, 2]:\n    f(1)\n    if i: break", [1, 2, 3, 4, 5, 6]),
    ("def f(a):\n    y = 1\n    save(a)\nlist(map(f, [1]))", [1, 2, 3, 4]),
]  # fmt: skip


def test_a_slice_of_what_a_script_runs_has_what_makes_the_names_global_that_it_binds():
    text = """G, K = 0, 0
def show():
    save(G)
def main():
    global G
    global K
    x = 1
    if x:
        G = 5
    K = 3
    {}
G = 2
main()
"""
    for last, lines in (
        ("save(G)", {4, 5, 7, 8, 9, 11, 12, 13}),
        ("show()", {2, 3, 4, 5, 7, 8, 9, 11, 12, 13}),
    ):
        parts = Slicer([Piece(text.format(last), "train.py", 1, 0)]).of_place(11).parts
        assert {
            line
            for part in parts
            for line in range(position.line_of(part.line), position.line_of(part.end) + 1)
        } == lines


@pytest.mark.parametrize(("text", "needed"), ALONG, ids=lambda value: repr(value)[-25:])
def test_a_slice_has_of_the_functions_under_way_what_the_statement_in_them_needs(text, needed):
    saved = run(text, "")[-1 if "append(x)" in text or "return b" in text else 0]
    parts = slice_of(text, "", saved).parts
    assert (
        sorted(
            {
                line
                for part in parts
                for line in range(position.line_of(part.line), position.line_of(part.end) + 1)
            }
        )
        == needed
    )


def test_a_statement_with_too_many_ways_to_commits_has_one_slice_for_the_others():
    recorder = CodeRecorder(capture="imported", mask=str)
    level = position.StackLevel(None, "f", 1, (9, 4), 2)
    ways = [(level,) * depth for depth in range(1, 40)]
    lines = [recorder.numbered(0, 9, way) for way in (*ways, *ways)]
    assert lines[:39] == lines[39:]
    assert [position.place_of(line) for line, _ in lines] == [9] * 78
    assert len({line for line, way in lines if way}) == position.LAST_WAY
    assert {line for line, way in lines if not way} == {9} == {recorder.numbered(0, 9, ())[0]}
    assert max(line for line, _ in lines) < 2**53  # a server counts no further exactly


def test_what_functions_of_a_project_save_is_stale_by_what_it_needs_alone(tmp_path):
    model = """
        import tablevault_pd as tv
        from other import count, grow
        def score(df, k):
            return df.assign(s=df["n"] * k)
        def fill(vault):
            if "data" not in vault:
                rows = [{"n": 1}, {"n": 2}]
                vault.save("data", rows, inputs=False)
        def evaluate(vault, k):
            df = vault.read("data")
            scored = score(df, k)
            scored.vault.save("scores")
            total = scored["s"].sum()
            vault.save("total", {"total": total})
    """
    train = """
        import tablevault_pd as tv
        from model import evaluate, fill
        def main(k):
            if not k:
                return
            vault = tv.connect("v", session="train")
            fill(vault)
            evaluate(vault, k)
        if __name__ == "__main__":
            main(2)
    """
    edits = [
        ("* k)", "* k + 1)", []),  # the data and what this run has made are as they were
        ("sum()", "mean()", []),
        ('vault.save("data"', 'n = count(rows)\n                vault.save("data"', []),
        ("n = count(rows)", "n = grow(rows)", ["data"]),  # of another module, which changes them
        ("n = grow(rows)", "n = 1", []),
        ('{"n": 2}]', '{"n": 22}]', ["data"]),
        ('{"n": 22}]', '{"n": 2}]\n                rows = rows[:2]', ["data"]),
    ]
    (tmp_path / "other.py").write_text(
        "def count(rows): return len(rows)\ndef grow(rows): return rows.append(3)\n"
    )
    (tmp_path / "model.py").write_text(textwrap.dedent(model))
    script(tmp_path, train)
    for old, new, stale in edits:
        model = model.replace(old, new)
        (tmp_path / "model.py").write_text(textwrap.dedent(model))
        script(tmp_path, train)
        with tv.connect(tmp_path / "v", mode="r") as vault:
            alarms = vault.stale()
            assert alarms[alarms["reason"] == "code"]["list"].unique().tolist() == stale
    assert alarms["of"].unique().tolist()[:1] == ["model.py: fill"]
    with tv.connect(tmp_path / "v", mode="r") as vault:
        assert set(vault.search(code="def score")["list"]) == {"scores", "total"}
        assert set(vault.search(code="mean()")["list"]) == {"total"}
        assert [part.strip() for part in vault.read("data").vault.code(whole=True).text if "vault" in part][-4:] == [
            "fill(vault)", "def fill(vault):", 'if "data" not in vault:', 'vault.save("data", rows, inputs=False)',
        ]  # fmt: skip
        why = vault.compare("scores@1", "scores@2").why()
        assert why["name"].unique().tolist() == ["model.py: score"]
        assert "-    total = scored" in vault.code_diff("total@2", "total@3")
        assert vault.code_diff("total@2", "total@3").count("\n-") == 1


EDITED = """import random
import mod
from mod import theirs, theirs_second
from other import clean
def fix(rows): rows.append(1)
def fix_second(n, rows): fix(rows)
def show(rows): print(rows)
def f(rows, v):
    out = rows
    n = 1
    v.save("a", out)
"""
THEIRS = """
def theirs(rows, others=()): rows.append(1); return 1
def theirs_second(n, rows): return theirs(rows)
def shows(rows): return len(rows)
"""
ADDED = {
    "rows.append(1)": True, "m = rows.pop()": True, "for r in rows: r['x'] = 1": True, "for r in rows: print(r)": False,
    "z = rows[0]; z.append(1)": True, "z = rows.copy(); z.append(1)": False, "fix(rows)": True, "fix_second(1, rows)": True,
    "fix_second(rows, 1)": False, "y = fix(rows)": True, "show(rows)": False, "clean(rows)": True, "y = clean(rows)": False,
    "log.append(rows)": False, "log.append(rows); log[0].append(1)": True, "y = theirs(rows)": True, "y = theirs(n, rows)": False,
    "y = theirs_second(1, rows)": True, "y = unknown(rows)": False, "y = mod.theirs(rows)": True, "mod.shows(rows)": False,
    "log = {'a': rows}; log.clear()": False, "log = [rows]; log[0].pop()": True,
    "random.shuffle(rows)": True, "v.append('b', rows)": False, "print(len(rows))": False, "if v: return": True,
}  # fmt: skip


@pytest.mark.parametrize("line", ADDED)
def test_a_line_that_was_added_counts_where_it_changes_what_the_slice_uses(line):
    body = body_named(EDITED, "f")
    assert body is not None
    trees = {statement.tree for statement in body.statements if "n" not in statement.names}
    newer = EDITED.replace("    n = 1\n", "    n = 1\n    " + line.replace("; ", "\n    ") + "\n")
    assert is_edited("f", trees, EDITED, newer, [Piece(THEIRS, "mod.py", module="mod")]) == ADDED[line]


EDITED_SCRIPT = """import sys
import tablevault_pd as tv
vault = tv.connect("v")
K = 1
def double(n): return 2 * n * K
rows = [1]
other = rows
if len(sys.argv) > 1:
    sys.exit(3)
rows = [double(n) for n in rows]
vault.save("a", rows)
rows = [5]
vault.save("b", rows)
"""
#: A line added behind another one, and the lists whose slices it changes something in.
ADDED_TO_SCRIPT = [
    ("rows = [1]", "rows.append(2)", "a"), ("rows = [1]", "rows = rows[1:]", "a"), ("rows = [1]", "print(rows)", ""),
    ("other = rows", "other.append(3)", "a"), ("other = rows", "rows = 2", "a"), ("other = rows", "more = rows[0]", ""),
    ("other = rows", "log.append(rows)", ""),
    ("other = rows", "K = 5", "a"), ("other = rows", "def double(n): return n", "a"), ("other = rows", "def triple(n): return n", ""),
    ('save("a", rows)', "rows.append(7)", ""), ('save("a", rows)', "rows = [8]", ""), ('save("b", rows)', "rows = []", ""),
    ("rows = [5]", "rows.append(7)", "b"), ("rows = [5]", 'vault.save("c", rows)', ""), ("rows = [5]", "if K: rows = []", "b"),
    ("K = 1", "import random", ""), ("K = 1", "random.seed(1)", ""), ("rows = [5]", "for n in rows: print(n)", ""),
    ("rows = [5]", "for n in range(3): rows.append(n)", "b"), ("K = 1", "rows = []", ""),
]  # fmt: skip


@pytest.mark.parametrize("in_main", [False, True])
@pytest.mark.parametrize(("behind", "line", "lists"), ADDED_TO_SCRIPT)
def test_a_line_that_was_added_to_a_script_counts_where_it_changes_what_a_slice_uses(
    behind, line, lists, in_main
):
    def text_with(line):
        head, _, body = EDITED_SCRIPT.replace(behind, f"{behind}\n{line}" if line else behind).partition(
            "K = 1\n"
        )
        body = "K = 1\n" + body
        return head + (f"def main():\n{textwrap.indent(body, '    ')}main()\n" if in_main else body)

    before, after = text_with(""), text_with(line)
    executed = {statement.line for statement in cut(after, script=True)}
    for name in "ab":
        writer = next(one for one in cut(before, script=True) if f'save("{name}"' in text_of(before, one))
        parts = slice_of(before, "", (writer.line, (), frozenset())).parts
        statement = added({part.line for part in parts}, before, after, executed)
        assert (statement is not None) == (name in lists), name


def test_what_was_put_around_lines_of_a_script_counts_if_it_decides_whether_they_run():
    before = 'K = 1\nrows = [1]\nsave("a", rows)\n'
    for header, counts in (("if K:", True), ("for n in range(2):", True), ("with open(K) as file:", False)):
        after = f'K = 1\n{header}\n    rows = [1]\nsave("a", rows)\n'
        executed = {statement.line for statement in cut(after, script=True)}
        assert (added({1, 2, 3}, before, after, executed) is not None) == counts, header
