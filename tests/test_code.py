"""Statements with the names they define and use, and slices: which code made a row."""

from __future__ import annotations

import importlib
import os
import random
import re
import shutil
import subprocess
import sys
import textwrap
from contextlib import nullcontext
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torture.harness import times
from warm import script

import tablevault_pd as tv
from tablevault_pd.capture.entry import entry_of
from tablevault_pd.code import Piece, Slicer, cut, namespaces

ROOT = Path(__file__).resolve().parents[1]


def trees(text):
    return [statement.tree for statement in cut(text)]


def lines(slicer: Slicer, line: int | None = None) -> list[str]:
    """The texts of a slice."""
    return [part.text for part in slicer.of_place(line).parts]


def cells(*texts: str) -> list[Piece]:
    return [Piece(textwrap.dedent(text).strip("\n"), None, 1, number) for number, text in enumerate(texts)]


# -- one statement


@pytest.mark.parametrize(
    ("text", "names", "uses", "later"),
    [
        ("a = b + c.d.e", {"a"}, {"b", "c.d.e"}, set()),
        ("def f(x, y=d) -> r:\n    return x + g + [z for z in x if z in h]", {"f"}, {"d", "r"}, {"g", "h"}),
        (
            "@deco(1)\nclass C(Base):\n    k = one\n    def m(self): return k",
            {"C"},
            {"deco", "Base", "one"},
            {"k"},
        ),
        ("df['a'] = f(df)", {"df"}, {"df", "f"}, set()),
        ("x.y.z = 1", {"x"}, {"x.y"}, set()),
        ("n += 1", {"n"}, {"n"}, set()),
        ("for i in xs:\n    if i: break\n    total = total + i", {"i", "total"}, {"xs", "total"}, set()),
        ("with open(p) as f: t = f.read()", {"f", "t"}, {"open", "p"}, set()),
        ("a, (b, *c) = d", {"a", "b", "c"}, {"d"}, set()),
        ("f = lambda v: v + w", {"f"}, set(), {"w"}),
        ("y = [v for v in v]", {"y"}, {"v"}, set()),
        ("if (n := size()) > 3: pass", {"n"}, {"size"}, set()),
        ("any((last := v) for v in vs)", {"last"}, {"any", "vs"}, set()),
        ("import a.b, c as d", {"a", "d"}, set(), set()),
        ("def f():\n    import helper\n    return helper.clean(t)", {"f"}, set(), {"helper:clean", "t"}),
        (
            "def f():\n    def g():\n        return outer + inner\n    inner = 1\n    return g",
            {"f"},
            set(),
            {"outer"},
        ),
        ("def f():\n    global n\n    n = 1", {"f"}, set(), set()),
        ("match v:\n    case {'a': x, **rest}:\n        pass", {"x", "rest"}, {"v"}, set()),
        ("try:\n    pass\nexcept E as error:\n    print(error)", {"error"}, {"E", "print"}, set()),
    ],
)
def test_the_names_that_a_statement_defines_and_uses(text, names, uses, later):
    [statement] = cut(text)
    assert set(statement.names) == names
    assert set(statement.uses) == uses
    assert set(statement.later) == later


def test_magics_are_no_obstacle_and_other_languages_are_one_statement():
    text = "%matplotlib inline\nx = 1\nfiles = !ls\n!pip list\nfiles?\n%run prep.py --fast\ny = x"
    found = cut(text)
    assert [each.kind for each in found] == ["magic", "assign", "assign", "magic", "magic", "run", "assign"]
    assert found[5].imports == (("*", "%run prep.py", "*"),)
    assert [each.kind for each in cut("%%bash\nls")] == ["magic"]
    assert [each.names for each in cut("%%time\nz = 1")] == [("z",)]
    assert cut("this is no python") == ()


def test_a_statement_has_the_comments_above_it():
    from tablevault_pd.code.statements import text_of

    text = "x = 1\n\n# why\n# and how\ny = 2  # here\n"
    assert [text_of(text, each) for each in cut(text)] == ["x = 1", "# why\n# and how\ny = 2  # here"]


@pytest.mark.parametrize("deep", ["x = " + "+".join(["a"] * 3000), "x = a" + ".b()" * 800])
def test_what_is_nested_too_deeply_counts_with_every_word_in_it(deep):
    statement = cut(f"b = 1\n{deep}")[-1]
    assert {"x", "a"} <= set(statement.names)
    assert {"a"} <= set(statement.uses)
    assert lines(Slicer(cells("a = 1\nunused = 2", deep, "save(x)")))[0] == "a = 1"


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("x=1", "x  =  (1) # one", True),
        ("def f():\n    '''doc'''\n    return 1", "# f\ndef f():\n\n    return 1", True),
        ("x = 1", "x = True", False),
        ("x = 1", "x = 1.0", False),
        ("x = 'a'", 'x = "a"', True),
        ("x = 'a'", "x = b'a'", False),
        ("def f(): return 1", "async def f(): return 1", False),
        ("f(a, *b)", "f(*a, b)", False),
        ("x = None", "x = ...", False),
    ],
)
def test_trees_are_equal_where_only_comments_layout_and_docstrings_differ(one, other, same):
    assert (trees(one) == trees(other)) == same


# -- slices


def test_a_slice_goes_through_cells_redefinitions_and_changes_in_place():
    program = cells(
        "import pandas as pd\nunused = 1",
        "def f(x): return g(x)",
        "def g(x): return x",
        "df = pd.DataFrame()",
        "df['a'] = f(1)",
        "df.head()",
        "other = df.copy()",
        "def g(x): return -x",
        "rows = []",
        "rows.append(df)",
        "save(rows)",
    )
    assert lines(Slicer(program)) == [
        "import pandas as pd",
        "def f(x): return g(x)",
        "def g(x): return x",  # that one was in force when f ran
        "df = pd.DataFrame()",
        "df['a'] = f(1)",
        "rows = []",
        "rows.append(df)",
        "save(rows)",
    ]


def test_what_a_function_changes_in_its_argument_or_in_a_global_name_counts():
    program = cells(
        "def add(frame):\n    frame['x'] = 1",
        "def show(frame):\n    print(frame)",
        "count = 0\ndef step():\n    global count\n    count += 1",
        "df = load()",
        "add(df)",
        "show(df)",
        "step()",
        "save(df, count)",
    )
    found = lines(Slicer(program))
    assert "add(df)" in found
    assert "step()" in found
    assert "show(df)" not in found


SEEN = [
    # what random numbers are drawn from, wherever it is set, but not where nothing is drawn
    ("import numpy as np\nnp.random.seed(1)\nx = np.random.rand(3)\nsave(x)", "np.random.seed(1)", True),
    ("import numpy as np\nnp.random.seed(1)\nx = np.zeros(3)\nsave(x)", "np.random.seed(1)", False),
    (
        "import random\nrandom.seed(1)\nrandom.seed(2)\nx = f()\ndef f(): pass\nsave(random.random())",
        "random.seed(1)",
        False,
    ),
    ("import random\ndef all(n):\n    random.seed(n)\nall(1)\ndf = df.sample(9)\nsave(df)", "all(1)", True),
    ("import helper\nhelper.seed_all(1)\nsave(helper.draw())", "helper.seed_all(1)", True),
    ("import random\nrandom.seed(1)\nx = df.sample(9, random_state=3)\nsave(x)", "random.seed(1)", False),
    # methods that change their arguments, called on whatever object
    (
        "class C:\n    def fix(self, df):\n        df['a'] = 1\nc = C()\ndf = load()\nc.fix(df)\nsave(df)",
        "c.fix(df)",
        True,
    ),
    (
        "class C:\n    def look(self, df):\n        return df\nc = C()\ndf = load()\nc.look(df)\nsave(df)",
        "c.look(df)",
        False,
    ),
    ("import helper\nc = helper.make()\ndf = load()\nc.mend(1, df)\nsave(df)", "c.mend(1, df)", True),
    # variables of functions that made functions
    (
        "def make():\n    n = 0\n    def add():\n        nonlocal n\n        n += 1\n        return n\n    return add\n"
        "count = make()\nprint(count())\nsave(count())",
        "print(count())",
        True,
    ),
    (
        "def make():\n    kept = []\n    def add(x):\n        kept.append(x)\n        return kept\n    return add\n"
        "add = make()\nadd(1)\nsave(add(2))",
        "add(1)",
        True,
    ),
    # functions that are kept now and called later look their names up later
    (
        "from functools import partial\ndef f(x): return x + k\ng = partial(f, 1)\nk = 5\nsave(g())",
        "k = 5",
        True,
    ),
    ("def f(x): return x + k\nway = {'a': f}\nk = 5\nsave(way['a'](1))", "k = 5", True),
    ("def f(x): return x + k\nk = 1\ny = f(1)\nk = 5\nsave(y)", "k = 5", False),
    # a base class that is changed after classes were made of it
    ("class A: pass\nclass B(A): pass\nA.n = 1\nsave(B().n)", "A.n = 1", True),
    ("class A: pass\nclass B(A): pass\nclass A: pass\nA.n = 1\nsave(B())", "A.n = 1", False),
]


@pytest.mark.parametrize(("text", "line", "is_in"), SEEN)
def test_what_no_name_in_the_text_stands_for_is_in_the_slice(text, line, is_in):
    helper = """
        import numpy as np
        def seed_all(n):
            np.random.seed(n)
        def draw():
            return np.random.rand()
        class C:
            def mend(self, n, df):
                self.put(df)
            def put(self, df):
                df.loc[0] = 1
        def make():
            return C()
    """
    modules = [Piece(textwrap.dedent(helper), "helper.py", module="helper")]
    slicer = Slicer([Piece(text, "train.py", 1, 0)], modules)
    assert (line in lines(slicer, text.count("\n") + 1)) == is_in


def test_of_a_project_only_the_modules_that_a_slice_needs_are_parsed(monkeypatch):
    parsed = []
    monkeypatch.setattr(namespaces, "cut", lambda text, **how: parsed.append(text) or cut(text, **how))
    modules = [
        Piece(
            f"import m{number + 1}\ndef f(): return m{number + 1}.g()\ndef g(): return {number}",
            f"m{number}.py",
            module=f"m{number}",
        )
        for number in range(40)
    ]
    slicer = Slicer([Piece("import m3\ndf = m3.f()\ndf.fix(df)\nsave(df)", "train.py", 1, 0)], modules)
    assert [part.text for part in slicer.of_place(4).parts if part.path != "train.py"] == [
        "import m4",
        "def f(): return m4.g()",
        "def g(): return 4",
    ]
    assert parsed == ["import m3\ndf = m3.f()\ndf.fix(df)\nsave(df)", modules[3].text, modules[4].text]


def test_a_decorator_that_belongs_to_an_object_adds_the_function_to_it():
    program = cells(
        "import functools\napp = App()",
        "@app.cell\ndef one(): return helper()",
        "@functools.cache\ndef helper(): return 1\n@functools.cache\ndef unused(): pass",
        "app.run()",
    )
    assert lines(Slicer(program)) == [
        "import functools",
        "app = App()",
        "@app.cell\ndef one(): return helper()",
        "@functools.cache\ndef helper(): return 1",
        "app.run()",
    ]


def test_conditional_definitions_leave_the_older_one_in_force_too():
    program = cells("x = 1", "x = 2", "if flag:\n    x = 3", "save(x)")
    assert lines(Slicer(program)) == ["x = 2", "if flag:", "    x = 3", "save(x)"]


@pytest.mark.parametrize(
    ("text", "needed"),
    [
        # (a script; the lines of it that its last line needs, from 1)
        ("with open(p) as f:\n    x = f.read()\n    y = 2\nsave(x)", [1, 2, 4]),
        ("x = 1\nwith a() as b, c() as d:\n    x = 2\n    y = x\nsave(x)", [2, 3, 5]),
        (
            "if one:\n    x = 1\n    z = 1\nelif two:\n    x = 2\nelse:\n    x = 3\nsave(x)",
            [1, 2, 4, 5, 6, 7, 8],
        ),
        ("if one:\n    z = 1\nelif two:\n    y = 2\nelse:\n    x = 3\nsave(x)", [1, 3, 5, 6, 7]),
        ("if one:\n    x = 1\nelse:\n    y = 2\nif two:\n    y = 3\n    save(y)", [5, 6, 7]),
        ("y = 1\nif two:\n    y = 3\n    save(y)", [2, 3, 4]),  # in its own block a binding is sure
        ("y = 1\nif two: y = 3\nsave(y)", [1, 2, 3]),
        ("i = 9\nfor i in xs:\n    n = 1\n    save(i)", [2, 4]),
        ("x = 0\nfor i in xs:\n    y = x\n    x = i\n    z = 1\n    save(y)", [1, 2, 3, 4, 6]),
        ("x = 0\nfor i in xs:\n    x = i\n    save(x)", [2, 3, 4]),
        ("while go(x):\n    y = 1\n    x = step()\n    save(y)", [1, 2, 3, 4]),
        ("for i in xs:\n    for j in ys:\n        a = b\n    b = i\n    c = 1\nsave(a)", [1, 2, 3, 4, 6]),
        (
            "for i in xs:\n    if i: continue\n    x = 1\n    y = 2\nsave(x)",
            [1, 2, 3, 4, 5],
        ),  # decides about others
        ("try:\n    x = a()\n    y = 1\nexcept E:\n    x = 2\nsave(x)", [1, 2, 3, 4, 5, 6]),
        ("with a:\n    # why\n\n    x = 1\n    with b:\n        y = x\nz = 1\nsave(y)", [1, 4, 5, 6, 8]),
        ("if a:\n    if b:\n        x = 1\n    else:\n        elsewhere = 1\n    save(x)", [1, 2, 3, 6]),
        ("with (\n    a() as b\n):\n    c = 1\n    save(b)", [1, 2, 3, 5]),
    ],
)
def test_a_block_is_cut_into_its_header_and_the_statements_of_its_body(text, needed):
    last = text.count("\n") + 1
    slice_of_last = Slicer([Piece(text, "train.py", 1, 0, until=last)]).of_place(last)
    numbers = {line for part in slice_of_last.parts for line in range(part.line, part.end + 1)}
    written = text.splitlines()
    numbers -= {number for number in numbers if not written[number - 1].strip() or "#" in written[number - 1]}
    assert sorted(numbers) == needed


def test_a_name_that_a_branch_binds_anew_may_still_stand_for_the_object_of_before():
    text = "df = load()\nclean = df\nif x:\n    clean = df.copy()\nclean.loc[0] = 1\nsave(df)"
    assert lines(Slicer([Piece(text, "train.py", 1, 0)]), 6) == text.splitlines()
    text = text.replace("if x:", "with x:")
    assert lines(Slicer([Piece(text, "train.py", 1, 0)]), 6) == ["df = load()", "save(df)"]


@pytest.mark.parametrize(
    ("text", "needed"),
    [
        # (a script; the lines of it that the one that saves needs, from 1)
        ("def main():\n    x = f()\n    y = 1\n    save(x)\ndef f(): return 1\nmain()", [1, 2, 4, 5, 6]),
        (
            "import sys\ndef main(n=1):\n    save(n)\n    y = 1\nif one:\n    sys.exit(main())",
            [1, 2, 3, 5, 6],
        ),
        ("def main(key=lambda v: v):\n    x = 1\n    save(x)\nmain()", [1, 2, 3, 4]),
        ("def main(a, *b):\n    'Text.'\n    # why\n    save(b)\nc = 1\nd = 2\nmain(c)", [1, 4, 5, 7]),
        (
            "def main():\n    for i in xs:\n        y = i\n        save(y)\n    return 0\nmain()",
            [1, 2, 3, 4, 6],
        ),
        # it stays one statement: called twice, given away, left early, a generator, with names of the script's own
        ("def main():\n    y = 1\n    save(x)\nmain()\nmain()", [1, 2, 3, 4]),
        ("def main():\n    y = 1\n    save(x)\nmain()\nrun(main)", [1, 2, 3, 4]),
        ("def main():\n    if x: return\n    y = 1\n    save(x)\nmain()", [1, 2, 3, 4, 5]),
        ("def main():\n    y = 1\n    save(x)\n    yield\nmain()", [1, 2, 3, 4, 5]),
        ("def main():\n    y = 1\n    save(x)\nmain()\ny = 2", [1, 2, 3, 4]),
        ("@deco\ndef main():\n    y = 1\n    save(x)\nmain()", [1, 2, 3, 4, 5]),
    ],
)
def test_the_body_of_the_function_that_a_script_runs_is_cut_into_its_statements(text, needed):
    written = text.splitlines()
    runs = next(
        at for at, line in enumerate(written, 1) if line.strip().endswith(("main()", "main())", "main(c)"))
    )
    saves = next(at for at, line in enumerate(written, 1) if "save(" in line)
    at = runs if entry_of(text) is None else saves
    parts = Slicer([Piece(text, "train.py", 1, 0, until=at)]).of_place(at).parts
    numbers = {number for part in parts for number in range(part.line, part.end + 1)}
    assert (
        sorted(number for number in numbers if written[number - 1].strip() not in ("# why", "'Text.'"))
        == needed
    )
    as_module = Slicer([Piece("from m import main\nmain()", "t.py", 1, 0)], [Piece(text, "m.py", module="m")])
    whole = [part.text for part in as_module.of_place(2).parts]
    assert any("def main(" in part and "save(" in part for part in whole)  # others may call it, too


def test_what_a_script_saves_in_its_main_function_has_slices_of_its_own(tmp_path):
    text = """
        import pandas as pd
        import tablevault_pd as tv
        def main():
            vault = tv.connect("v", session="train")
            vault.save("data", [{"n": 1}, {"n": 2}])
            df = vault.read("data")
            scored = score(df)
            vault.save("scores", scored)
        def score(df): return df.assign(s=df["n"] * 2)
        if __name__ == "__main__":
            main()
    """
    script(tmp_path, text)
    script(tmp_path, text.replace("* 2", "* 3").replace('"scores", scored', '"other", scored'))
    with tv.connect(tmp_path / "v", mode="r") as vault:
        assert vault.stale()[["list", "reason"]].drop_duplicates().to_numpy().tolist() == [["scores", "code"]]
        code = vault.read("data").vault.code(whole=True).text.tolist()
        assert [line.strip() for line in code] == [
            "import tablevault_pd as tv", 'if __name__ == "__main__":', "main()", "def main():",
            'vault = tv.connect("v", session="train")', 'vault.save("data", [{"n": 1}, {"n": 2}])',
        ]  # fmt: skip
        assert set(vault.search(code="def score")["list"]) == {"scores", "other"}


class Tagged:
    """A value that knows the statements that it was computed from."""

    def __init__(self, tag: int, *others: Tagged) -> None:
        self.tags: set[int] = {tag}.union(*(other.tags for other in others))

    def put(self, tag: int, *others: Tagged) -> None:
        self.tags |= {tag}.union(*(other.tags for other in others))


@st.composite
def nested_programs(draw) -> str:
    """A script with blocks in blocks; each statement has a tag of its own, and the last ones save."""
    tags = iter(range(100, 1000))
    names = ["a", "b", "c"]
    written = [f"{name} = Tagged({next(tags)})" for name in names]

    def block(depth: int) -> list[str]:
        body: list[str] = []
        for _ in range(draw(st.integers(1, 3))):
            kind = draw(st.sampled_from(["assign", "assign", "put", "save", "with", "if", "for"]))
            name, other = draw(st.sampled_from(names)), draw(st.sampled_from(names))
            if kind in ("assign", "put", "save") or depth == 3:
                call = {"put": f"{name}.put(", "save": "save("}.get(kind, f"{name} = Tagged(")
                body.append(f"{call}{next(tags)}, {other})")
                continue
            head = {
                "with": "with nullcontext():",
                "if": f"if {draw(st.integers(0, 1))}:",
                "for": f"for _ in range({draw(st.integers(0, 3))}):",
            }[kind]
            body += [head, *(f"    {line}" for line in block(depth + 1))]
            if kind == "if" and draw(st.booleans()):
                body += ["else:", *(f"    {line}" for line in block(depth + 1))]
            if kind == "for" and draw(st.integers(0, 3)) == 0:
                body.append("    if draw(): continue")
        return body

    return "\n".join([*written, *block(0), f"save({next(tags)}, {draw(st.sampled_from(names))})"])


@settings(max_examples=times(400, ordinary=120))
@given(nested_programs())
def test_slices_of_nested_blocks_have_all_that_running_them_says(text):
    saved: list[tuple[int, set[int], int]] = []

    def save(tag: int, value: Tagged) -> None:
        saved.append((sys._getframe(1).f_lineno, {tag} | value.tags, tag))

    exec(
        compile(text, "train.py", "exec"),
        {"Tagged": Tagged, "save": save, "nullcontext": nullcontext, "draw": int},
    )
    in_main = "\n".join(["def main():", *(f"    {line}" for line in text.splitlines()), "", "main()"])
    for line, tags, _ in saved:
        slicer = Slicer([Piece(text, "train.py", 1, 0, until=line)])
        parts = [part.text for part in slicer.of_place(line).parts]
        slicer = Slicer([Piece(in_main, "train.py", 1, 0, until=line + 1)])
        of_main = [textwrap.dedent(part.text) for part in slicer.of_place(line + 1).parts]
        assert of_main == ["main()", "def main():", *map(textwrap.dedent, parts)]
        assert tags <= {int(tag) for part in parts for tag in re.findall(r"\d{3}", part)}
        if "if" not in text and "for" not in text:
            assert tags == {int(tag) for part in parts for tag in re.findall(r"\d{3}", part)}


def test_of_a_cell_that_failed_only_what_it_had_begun_is_in_force():
    program = cells("def f(): return 1", "def f(): return 2\n1 / 0\ndef f(): return 3", "save(f())")
    program[1] = Piece(program[1].text, None, 1, 1, until=2)
    assert lines(Slicer(program)) == ["def f(): return 2", "save(f())"]


HELPER = """
import math
from .low import deep as deeper
PROMPT = "a prompt"
UNUSED = 1
def unused(): return UNUSED
def clean(text):
    return deeper(text + PROMPT)
class Model:
    def fit(self): return math.pi
"""


@pytest.mark.parametrize(
    "how",
    [
        "import pkg.helper\nsave(pkg.helper.clean(1))",
        "import pkg.helper as h\nsave(h.clean(1))",
        "from pkg.helper import clean\nsave(clean(1))",
        "from pkg import helper\nsave(helper.clean(1))",
        "from pkg.helper import clean as c\nsave(list(map(c, xs)))",
        "from pkg.helper import *\nsave(clean(1))",
        "from pkg import clean\nsave(clean(1))",
        "def f():\n    from pkg.helper import clean\n    return clean(1)\nsave(f())",
        "def f():\n    import pkg.helper\n    return pkg.helper.clean(1)\nsave(f())",
    ],
)
def test_a_slice_goes_into_modules_however_they_are_imported(how):
    modules = [
        Piece("from .helper import clean", "pkg/__init__.py", module="pkg"),
        Piece(HELPER, "pkg/helper.py", module="pkg.helper"),
        Piece("def deep(x): return x\ndef other(): pass", "pkg/low.py", module="pkg.low"),
    ]
    program = Slicer([Piece(how, "main.py", 1, 0)], modules)
    last = how.count("\n") + 1
    found = program.of_place(last)
    inside = [
        (part.path, part.names) for part in found.parts if part.path not in ("main.py", "pkg/__init__.py")
    ]
    assert sorted(inside) == [
        ("pkg/helper.py", ("PROMPT",)),
        ("pkg/helper.py", ("clean",)),
        ("pkg/helper.py", ("deeper",)),
        ("pkg/low.py", ("deep",)),
    ]
    assert set(found.unresolved) <= {"save", "xs"}


def test_a_module_that_is_handed_around_counts_whole():
    modules = [Piece("A = 1\ndef f(): pass", "helper.py", module="helper")]
    found = Slicer(cells("import helper\nsave(helper)"), modules).of_place(None)
    assert [part.names for part in found.parts if part.path] == [("A",), ("f",)]


@pytest.mark.parametrize(
    "program",
    [
        ["import pandas as pd", "least = 1", "df = pd.DataFrame({'a': [1, 2]})", "out(df.query('a > @least').a.tolist())"],
        ["def add(frame, *, column): frame[column] = 1", "d = {}", "add(column='z', frame=d)", "out(d)"],
        ["def inner(x): x['a'] = 1", "def outer(y, n):\n  if n: outer(y, n - 1)\n  inner(y)", "d = {}", "outer(d, 2)", "out(d)"],
        ["add = lambda rows: rows.append(1)", "d = []", "add(d)", "out(d)"],
        ["def add(rows): rows.append(1)", "d = []", "b = d", "b = [add(b)]", "out(d)"],
        ["d = [1]", "b = d", "b = b.pop()", "out(d)"],
        ["df = {'a': 1}", "clean = df", "clean['b'] = 2", "clean = {}", "clean['c'] = 3", "out(df)"],
        ["it = iter([1, 2, 3])", "first = next(it)", "out(next(it))"],
        ["class A: k = 1", "setattr(A, 'k', 5)", "out(A.k)"],
        ["import heapq", "h = [3, 1]", "heapq.heapify(h)", "heapq.heappush(h, 0)", "out(h)"],
        ["import numpy as np", "a = np.zeros(2)", "np.add(a, 1, out=a)", "out(a.tolist())"],
        ["N = []", "class A:\n  def m(self): N.append(1)", "a = A()", "a.m()", "out(N)"],
        ["N = []", "class A:\n  def __init__(self): N.append(1)", "A()", "out(N)"],
        ["k = 3", "class A:\n  k = 2\n  l = [k for _ in range(1)]", "out(A.l)"],
        ["REG = {}", "def reg(f):\n  REG[f.__name__] = f\n  return f", "@reg\ndef two(): return V", "V = 3", "out(REG['two']())"],
        ["from functools import singledispatch as by", "@by\ndef f(x): return 0", "@f.register\ndef _(x: int): return 1", "out(f(1))"],
        ["def f(): return 1", "g = f", "def f(): return g() + 1", "out(f())"],
        ["x = 1", "class A:\n  x = 2\n  def m(self): return x", "out(A().m())"],
        ["rows = []", "add = rows.append", "add(1)", "x = list(map(add, [2]))", "out(rows)"],
        ["class A:\n  def fix(self, d): d['a'] = K", "K = 2", "a = A()", "f = a.fix", "g = f", "d = {}", "g(d)", "out(d)"],
        ["class A:\n  n = 0\n  def up(self): self.n += 1", "a = A()", "up = a.up", "x = a.up()", "y = up()", "out(a.n)"],
        ["class A:\n  n = 0\n  def up(self): self.n += 1", "class B(A): pass", "b = B()", "x = [b.up() for _ in range(2)]", "out(b.n)"],
        ["class A: pass", "a = A()", "a.rows = []", "rows = a.rows", "rows.append(1)", "out(a.rows)"],
        ["def f(x, seen=[]):\n  seen.append(x)\n  return list(seen)", "a = f(1)", "out(f(2))"],
        ["K = 1", "def f(): return K", "out(eval('K + f()'))"],
        ["def eval(x): return x + K", "K = 1", "out(eval(1 + 1))"],
        ["def make():\n  n = []\n  def up():\n    n.append(1)\n    return [*n]\n  return up", "u = make()", "a = u()", "out(u())"],
        ["def gen(k=3):\n  k += 1\n  yield from range(k)", "it = gen()", "next(it)", "out(next(it))"],
        ["class A: pass", "a = A()", "a.rows = []", "rows = a.rows", "a.rows.append(1)", "out(rows)"],
        ["class A: pass", "a = A()", "b = []", "a.rows = b", "a.rows.append(1)", "out(b)"],
        ["class A: pass", "a = A()", "b = []", "a.rows = b", "r = a.rows", "r[0:] = [1]", "out(b)"],
        ["class A: pass", "a = A()", "a.b = A()", "a.b.d = {}", "d = a.b.d", "a.b.d['x'] = 1", "out(d)"],
        ["class A: pass", "def f(p):\n  r = p.rows\n  r.append(1)", "a = A()", "a.rows = []", "f(a)", "out(a.rows)"],
        ["class A: pass", "def f(p): return p.rows", "a = A()", "a.rows = []", "r = f(a)", "r.append(1)", "out(a.rows)"],
        ["def add(r): r.append(1)", "rows = [[]]", "list(map(add, rows))", "out(rows)"],
        ["d = {'x': []}", "r = next(iter(d.values()))", "r.append(1)", "out(d)"],
        ["d = [[1], [2]]", "r = max(d)", "r.append(1)", "out(d)"],
        ["import contextlib", "@contextlib.contextmanager\ndef ctx(x): yield x", "a = []", "with ctx(a) as c:\n  c.append(1)", "out(a)"],
        # items, loops, displays and captures share objects
        ["d = {'x': []}", "rows = d['x']", "rows.append(1)", "out(d)"],
        ["d = {'x': {'y': []}}", "rows = d['x']['y']", "rows.append(1)", "out(d)"],
        ["d = {}", "rows = d.setdefault('x', [])", "more = rows", "more.append(1)", "out(d)"],
        ["d = {'x': {}}", "row = d['x']", "row['y'] = 1", "again = d['x']", "out(again)"],
        ["a = [1]", "d = {'x': a}", "a.append(2)", "out(d)"],
        ["a = [1]", "d = {'x': a}", "d['x'].append(2)", "out(a)"],
        ["a = [1]", "d = {'x': [0, a]}", "l = d['x']", "l[1].append(3)", "out(a)"],
        ["a = {}", "rows = []", "rows.append(a)", "a['x'] = 1", "out(rows)"],
        ["a = {}", "d = {}", "d['k'] = a", "a['x'] = 1", "out(d)"],
        ["a = [[]]", "d = {'k': a}", "e = [a]", "d['k'][0].append(1); a.append(2)", "out(e)"],
        ["a = []", "b = a", *["b = {'in': b}"] * 1200, "a.append(1)", "out(repr(a) if b else b)"],
        ["d = {'x': [1], 'y': [2]}", "for key, rows in d.items():\n  rows.append(3)", "out(d)"],
        ["l = [[1], [2]]", "for i, row in enumerate(l):\n  row[0] = i", "out(l)"],
        ["l = [[1]]", "m = [[3]]", "for a, b in zip(l, m):\n  a.extend(b)", "out(l)"],
        ["l = [[1], [2]]", "a, b = l", "a.append(3)", "out(l)"],
        ["l = [[1], [2]]", "[r.append(0) for r in l]", "out(l)"],
        ["p = {'a': [1]}", "match p:\n  case {'a': rows}:\n    rows.append(2)", "out(p)"],
        ["import numpy as np", "a = np.zeros(3)", "b = a[1:]", "b[0] = 1", "out(a.tolist())"],
        ["a = [1]", "b = a", "b += [2]", "out(a)"],
        ["a = b = []", "a.append(1)", "out(b)"],
        ["a = []", "b, c = a, 1", "b.append(1)", "out(a)"],
        ["a = []", "b = a if True else None", "b.append(1)", "out(a)"],
        ["a = []", "b = (c := a)", "(d := b).append(2)", "out(a)"],
        ["import io, contextlib", "f = io.StringIO()", "with contextlib.redirect_stdout(f):\n  print('x')", "out(f.getvalue())"],
        ["import io", "f = io.StringIO()", "n = f.write('x')", "out(f.getvalue())"],
        ["import io", "f = io.StringIO()", "with f as g:\n  g.write('x')\n  text = g.getvalue()", "out(text)"],
        # what one turn of a loop binds, the next one changes
        ["a = {}", "c = {}", "for i in range(2):\n  c['x'] = 1\n  c = a", "out(a)"],
        ["a = []", "last = []", "for row in [1, 2]:\n  last.append(row)\n  if row:\n    last = a", "out(a)"],
        ["a, c, n = [], [], 0", "while n < 2:\n  c.append(n)\n  c = a\n  n += 1", "out(a)"],
        # what a block has set, read or left early counts for what stands behind in it
        ["import decimal", "with decimal.localcontext() as c:\n  c.prec = 3\n  a = decimal.Decimal(1) / 3", "out(str(a))"],
        ["import io", "with io.StringIO('a\\nb') as f:\n  head = f.readline()\n  text = f.read()", "out(text)"],
        ["import contextlib", "x = 0", "y = 0", "with contextlib.suppress(ZeroDivisionError):\n  1 / y\n  x = 1", "out(x)"],
        ["import contextlib", "a = []", "with contextlib.nullcontext(a) as b:\n  b.append(1)", "out(a)"],
        ["import contextlib as m", "a = []", "with m.ExitStack() as s:\n  b = s.enter_context(m.nullcontext(a))\n  b.append(1)", "out(a)"],
        # so they do inside of functions, and what functions return
        ["def add(d, k):\n  r = d[k]\n  r.append(1)", "d = {'x': []}", "add(d, 'x')", "out(d)"],
        ["def add(d):\n  for r in d:\n    r.append(1)", "d = [[]]", "add(d)", "out(d)"],
        ["def add(d):\n  e = d\n  e['x'] = 1", "d = {}", "add(d)", "out(d)"],
        ["def add(*ds):\n  for d in ds: d.append(1)", "d = []", "add(d, d)", "out(d)"],
        ["def add(**ds):\n  ds['a'].append(1)", "d = []", "add(a=d)", "out(d)"],
        ["def get(d): return d['x']", "d = {'x': []}", "rows = get(d)", "rows.append(1)", "out(d)"],
        ["def same(d, k):\n  d['k'] = k\n  return d", "d = {}", "e = same(d, 1)", "e['l'] = 2", "out(d)"],
        ["def add(d): d.append(1)", "ds = [[], []]", "for d in ds: add(d)", "out(ds)"],
        ["def add(d): d.append(1)", "d = []", "x = [add(d) for _ in range(2)]", "out(d)"],
        ["class A:\n  def __enter__(self):\n    self.n = 1\n  def __exit__(self, *a): self.n = 2", "a = A()", "with a: pass", "out(a.n)"],
        ["class A:\n  n = 0\n  def __call__(self): self.n += 1", "a = A()", "x = a()", "out(a.n)"],
        ["class A:\n  n = 0\n  @classmethod\n  def up(cls): cls.n += 1", "x = A.up()", "out(A.n)"],
    ],
    ids=lambda program: program[-2][:30],
)  # fmt: skip
def test_a_slice_that_runs_alone_makes_what_the_program_made(program):
    def made(texts: list[str]) -> list[object]:
        found: list[object] = []
        namespace: dict[str, object] = {"out": found.append, "__name__": "__main__"}
        exec("\n".join(texts), namespace)  # the oracle is Python itself
        return found

    aside = ["unused = 1", "def nobody(): return unused"]
    slice_ = lines(Slicer(cells(*aside, *program)))
    assert made(slice_) == made(program)
    assert not set(aside) & set(slice_)


# (program, what of it changes a copy or something else: it is not in the slice of the last line)
ASIDE = [
    ("df = load()\nsub = df[df.x > 1]\nsub['y'] = 2\nsave(df)", "sub['y'] = 2"),
    ("df = load()\ncol = df['a']\ncol[0] = 2\nsave(df)", "col[0] = 2"),
    ("df = load()\nsub = df[['a', 'b']]\nsub.loc[0] = 2\nsave(df)", "sub.loc[0] = 2"),
    (
        "df = load()\nfor name, group in df.groupby('a'):\n    group['y'] = 2\nsave(df)",
        "for name, group in df.groupby('a'):\n    group['y'] = 2",
    ),
    (
        "df = load()\nfor i, row in df.iterrows():\n    row['y'] = 2\nsave(df)",
        "for i, row in df.iterrows():\n    row['y'] = 2",
    ),
    (
        "def clean(df):\n    df = df.copy()\n    df['y'] = 1\n    return df\ndf = load()\nx = clean(df)\nsave(df)",
        "x = clean(df)",
    ),
    (
        "def clean(df):\n    df = df[df.x > 0]\n    df['y'] = 1\n    return df\ndf = load()\nx = clean(df)\nsave(df)",
        "x = clean(df)",
    ),
    (
        "def clean(df):\n    sub = df[df.x > 0]\n    sub['y'] = 1\n    return sub\ndf = load()\nx = clean(df)\nsave(df)",
        "x = clean(df)",
    ),
    ("total = 0\nn = total\nn += 1\nsave(total)", "n += 1"),
    (
        "d = {'x': [], 'y': []}\nrows = d['y']\nrows.append(1)\nsave(d)\nother = d['x']\nmore = d['y']\nmore.append(1)\nsave(other)",
        "more.append(1)",
    ),
    ("preds = load()\ndf = load()\ndf['pred'] = preds\npreds[0] = 1\nsave(df)", "preds[0] = 1"),
    ("a = [1]\nd = {'x': a}\na = [2]\na.append(3)\nsave(d)", "a.append(3)"),
    ("rows = []\nrow = {'a': 1}\nrows.append(row)\nrow = {'b': 1}\nrow['c'] = 1\nsave(rows)", "row['c'] = 1"),
    ("df = load()\nax = df.plot()\nax.set_title('x')\nsave(df)", "ax.set_title('x')"),
    ("fig, axes = subplots()\nax = axes[0]\nax.plot(df)\nsave(df)", "ax.plot(df)"),
    ("df = load()\nmodel = Model(df)\nmodel.fit()\nsave(df)", "model.fit()"),
    ("df = load()\nconfig = {'df': df, 'lr': 1}\nconfig['lr'] = 2\nsave(df)", "config['lr'] = 2"),
    ("df = load()\nframes = [df]\nframes.append(load())\nsave(df)", "frames.append(load())"),
    ("words = ['a']\nfor w in words:\n    counts[w] = 1\nsave(words)", "for w in words:\n    counts[w] = 1"),
    ("import numpy as np\na = np.zeros(3)\nb = a[a > 1]\nb[0] = 1\nsave(a)", "b[0] = 1"),
    ("a = [1, 2]\nb = a[1:]\nb[0] = 5\nsave(a)", "b[0] = 5"),
    ("def f(x):\n    x = list(x)\n    x.append(1)\n    return x\na = [1]\nb = f(a)\nsave(a)", "b = f(a)"),
    (
        "def f(x):\n    y = [v for v in x]\n    y.append(1)\n    return y\na = [1]\nb = f(a)\nsave(a)",
        "b = f(a)",
    ),
    ("params = {'lr': 1}\ncopy = dict(params)\ncopy['lr'] = 2\nsave(params)", "copy['lr'] = 2"),
    ("params = {'lr': 1}\ncopy = {**params}\ncopy['lr'] = 2\nsave(params)", "copy['lr'] = 2"),
    (
        "import tablevault_pd as tv\nvault = tv.connect('x')\nruns = vault['runs']\nruns.append({'a': 1})\nvault.save('b', 1)",
        "runs.append({'a': 1})",
    ),
    (
        "import tablevault_pd as tv\nvault = tv.connect('x')\ndef note(n): vault.append('a', n)\nnote(1)\nvault.save('b', 1)",
        "note(1)",
    ),
    (
        "import tablevault_pd as tv\nvault = tv.connect('x')\ndef note(v): v.append('a', 1)\nnote(vault)\nvault.save('b', 1)",
        "note(vault)",
    ),
    ("lr = cfg['lr']\nlr += 1\nsave(cfg)", "lr += 1"),
    ("a = 1\nb = a if a else 2\nb += 1\nsave(a)", "b += 1"),
    ("box = Box()\nrows = box.rows\nbox.other.append(1)\nsave(rows)", "box.other.append(1)"),
    ("box = Box()\nrows = box.rows\nbox.rows = []\nsave(rows)", "box.rows = []"),
    ("df = load()\nx = df['x']\ndf.loc[0] = 1\nsave(x)", "df.loc[0] = 1"),
]


@pytest.mark.parametrize(("text", "line"), ASIDE)
def test_what_changes_a_copy_is_not_in_the_slice(text, line):
    assert line in text
    assert line not in lines(Slicer([Piece(text, "train.py", 1, 0)]), text.count("\n") + 1)


CONF = """
RATE, LIMITS, CONFIG = 1, [1], {'lr': 1}
WORDS = {'bug': [1]}
UNUSED = 0
class Settings: rate = 1
def configure(value):
    global RATE
    RATE = value
def register(f):
    LIMITS.append(f)
    return f
def rate(): return RATE
def limits(): return len(LIMITS)
def words(): return WORDS['bug'][1:]
def run(): return CONFIG['lr'] + Settings.rate
"""
NAMES = ["CONFIG as C", "LIMITS", "Settings", "WORDS", "configure", "limits", "run", "words"]
MIDDLE = (
    "".join(f"from sliced_conf import {name}\n" for name in NAMES)
    + "import sliced_conf as conf\nUNUSED = 0\n"
)
FURTHER = "import sliced_middle\ndef start(n):\n    sliced_middle.configure(n)\n    return n and start(n - 1)\nUNUSED = 0\n"
COUNTED = (
    "class Counter:\n    n = 0\n    def up(self):\n        self.n += 1\n        return self.n\nUNUSED = 0\n"
)


@pytest.mark.parametrize(
    "program",
    [
        ["import sliced_conf as conf", "conf.configure(5)", "conf.EXTRA = 2", "out(conf.rate() + conf.EXTRA)"],
        ["import sliced_conf", "def setup(): sliced_conf.configure(5)", "setup()", "out(sliced_conf.rate())"],
        ["from sliced_middle import C, run", "C['lr'] = 3", "out(run())"],
        ["from sliced_conf import *", "CONFIG.update(lr=3)", "out(run())"],
        ["import sliced_middle as m", "m.conf.LIMITS.append(4)", "m.LIMITS[0] = 2", "out(m.limits())"],
        ["from sliced_middle import Settings, run", "Settings.rate = 6", "out(run())"],
        ["import sliced_middle", "@sliced_middle.conf.register\ndef one(): return 1", "out(sliced_middle.limits())"],
        ["from sliced_further import start", "from sliced_conf import rate", "x = start(3)", "out(rate())"],
        ["import sliced_conf as conf", "conf.WORDS['bug'].append(2)", "out(conf.words())"],
        ["import sliced_conf as conf", "conf.WORDS['bug'][:] = [1, 3]", "out(conf.words())"],
        ["import sliced_middle as m", "m.conf.WORDS.get('bug').append(2)", "out(m.words())"],
        ["import sliced_conf as conf", "for x in conf.WORDS.values(): x.append(2)", "out(conf.words())"],
        ["import sliced_conf as conf", "x = conf.WORDS['bug']", "x += [2]", "out(conf.words())"],
        ["from sliced_conf import WORDS as W, words", "for _, x in W.items(): x.append(2)", "out(words())"],
        ["import sliced_conf as conf", "box = {'x': conf.WORDS}", "box['x']['bug'].append(2)", "out(conf.words())"],
        [
            "import sliced_conf, os.path", "def add(x): x.append(2)", "add(sliced_conf.WORDS['bug'])",
            "out(sliced_conf.words())",
        ],
        [
            "import sliced_conf", "def some(): return sliced_conf.WORDS['bug']", "x = some()", "x.append(2)",
            "out(sliced_conf.words())",
        ],
        [
            "import sliced_conf", "def add():\n    for x in sliced_conf.WORDS.values(): x.append(2)", "add()",
            "out(sliced_conf.words())",
        ],
        ["import sliced_counted", "c = sliced_counted.Counter()", "a = c.up()", "out(c.up())"],
    ],
    ids=lambda program: program[-2][:30],
)  # fmt: skip
def test_what_a_program_changes_of_its_modules_is_in_the_slice(program, tmp_path, monkeypatch):
    """Run alone, a slice with its parts of modules makes what the program made; of the modules nothing else is in it."""
    texts = {"conf": CONF, "middle": MIDDLE, "further": FURTHER, "counted": COUNTED}
    texts = {f"sliced_{name}": text for name, text in texts.items()}
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def made(statements: list[str], modules: dict[str, str]) -> list[object]:
        for name, text in modules.items():
            (tmp_path / f"{name}.py").write_text(text)
            sys.modules.pop(name, None)
        importlib.invalidate_caches()
        found: list[object] = []
        namespace: dict[str, object] = {"out": found.append}
        for text in statements:
            exec(text, namespace)  # the oracle is Python itself
        return found

    pieces = [Piece(text, name, module=name) for name, text in texts.items()]
    parts = Slicer(cells("unused = 1", *program), pieces).of_place(None).parts
    needed = {name: "\n".join(part.text for part in parts if part.path == name) for name in texts}
    assert made([part.text for part in parts if part.path is None], needed) == made(program, texts)
    assert not any("UNUSED" in text for text in needed.values())


def test_a_loop_behind_what_wrote_rows_is_not_in_their_slice():
    text = "K = [1]\ndef f(): return K[0]\nsave(f())\nfor x in [2]:\n    K[0] = x\nsave(f())"
    for place in (3, 6):
        assert ("for x in [2]:" in lines(Slicer([Piece(text, "train.py", 1, 0)]), place)) == (place == 6)


def test_a_text_that_nobody_knows_is_out_of_reach():
    for call in ("eval(text)", "exec(text)", "eval(f'{text}')"):
        slice_ = Slicer(cells("text = 'K'", f"save({call})")).of_place(None)
        assert slice_.unresolved == (f"{call[:4]}(…)", "save")
    assert Slicer(cells("save = model.eval(text)", "save(df.eval('a + b'))")).of_place(None).unresolved == (
        "df", "model", "text",
    )  # fmt: skip


def test_a_second_name_of_a_vault_or_module_leaves_both_as_they_are():
    program = cells(
        "import tablevault_pd as tv\nimport logging",
        "vault = tv.connect('x')\nv = vault\nlog = logging",
        "v.save('other', {})\nlog.info('x')",
        "vault.save('out', logging)",
    )
    assert "v.save('other', {})" not in lines(Slicer(program))
    assert "log.info('x')" not in lines(Slicer(program))


def test_a_module_imported_by_a_call_counts_like_one_that_is_imported():
    modules = [Piece("def f(): return 1\ndef g(): pass", "helper.py", module="helper")]
    program = cells("import importlib", "m = importlib.import_module('helper')", "m.f()", "save(m.f())")
    found = lines(Slicer(program, modules))
    assert "def f(): return 1" in found
    assert "def g(): pass" not in found
    assert "m.f()" not in found


def test_a_script_has_the_encoding_that_it_states(tmp_path):
    text = (
        "# -*- coding: latin-1 -*-\nimport tablevault_pd as tv\nvault = tv.connect('v.vault')\n"
        "word = 'caf\xe9'\nvault.save('out', {'a': word})\n"
    )
    (tmp_path / "train.py").write_bytes(text.encode("latin-1"))
    done = subprocess.run(
        [sys.executable, "train.py"], cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=False
    )
    assert done.returncode == 0
    with tv.connect(tmp_path / "v.vault", session=False) as vault:
        assert "word = 'caf\xe9'" in vault.read("out").vault.code(whole=True)["text"].tolist()


def test_results_that_only_the_notebook_remembers_are_out_of_reach():
    assert Slicer(cells("1 + 1", "save(_, Out[1])")).of_place(None).unresolved == ("Out", "_", "save")
    assert Slicer(cells("_ = 1", "print([_ for _ in range(3)])", "print(_)")).of_place(None).unresolved == ()


def test_what_a_shell_or_magic_is_asked_is_part_of_the_statement():
    assert trees("files = !ls one") == trees("files =   !ls one")
    assert trees("files = !ls one") != trees("files = !ls two")
    assert trees("here = %pwd") != trees("here = %env HOME")
    assert cut("files = !ls one")[0].names == ("files",)


def test_names_made_by_exec_are_said_to_be_out_of_reach():
    found = Slicer(cells("exec('made = 1')", "save(made, len([]))\nprint(__name__)")).of_place(None)
    assert found.unresolved == ("made", "save")


# -- random programs, whose true dependencies come from running them


class Value:
    """What a statement computed, with the statements that it depends on."""

    def __init__(self, ids: frozenset[int]) -> None:
        self.ids = ids


@settings(max_examples=times(150, ordinary=60))
@given(st.integers(0, 10**9))
def test_slices_of_random_programs_hold_what_the_rows_depend_on_and_nothing_else(seed):
    rnd = random.Random(seed)
    names, functions = ["a", "b", "c", "d"], ["f", "g", "h"]
    texts: list[str] = []
    made: set[str] = set()
    defined: list[str] = []
    for number in range(rnd.randint(3, 14)):
        me = f"V({{{number}}}"
        kind = rnd.choice(["assign", "assign", "def", "call", "change"])
        known = sorted(made)
        if kind == "def":
            name = rnd.choice(functions)
            called = [
                each for each in defined if each != name and functions.index(each) < functions.index(name)
            ]
            used = rnd.sample(known, min(len(known), rnd.randint(0, 2)))
            body = [*used, *(f"{each}()" for each in rnd.sample(called, min(len(called), 1)))]
            texts.append(f"def {name}():\n    return {', '.join([me, *body])})")
            defined = list(dict.fromkeys([*defined, name]))
        elif kind == "call" and defined:
            target = rnd.choice(names)
            texts.append(f"{target} = {me}, {rnd.choice(defined)}())")
            made.add(target)
        elif kind == "change" and known:
            target = rnd.choice(known)
            texts.append(f"{target} = {me}, {', '.join([target, *rnd.sample(known, 1)])})")
        else:
            target = rnd.choice(names)
            used = rnd.sample(known, min(len(known), rnd.randint(0, 2)))
            texts.append(f"{target} = {', '.join([me, *used])})")
            made.add(target)
    used = rnd.sample(sorted(made), min(len(made), 2))
    texts.append(f"result = {', '.join([f'V({{{len(texts)}}}', *used])})")

    def V(ids, *others):  # noqa: N802  # as the programs write it
        return Value(frozenset(ids).union(*(each.ids for each in others)))

    space: dict[str, object] = {"V": V}
    for text in texts:
        exec(text, space)  # the oracle runs the program
    truth = space["result"].ids
    at = sorted(rnd.sample(range(1, len(texts)), min(len(texts) - 1, rnd.randint(0, 4))))
    groups = ["\n".join(texts[low:high]) for low, high in zip([0, *at], [*at, len(texts)], strict=True)]
    groups[-1:] = ["\n".join(texts[at[-1] if at else 0 : -1]), texts[-1]]
    found = Slicer([Piece(text, None, 1, number) for number, text in enumerate(groups)]).of_place(None)
    numbers = {int(part.text.partition("V({")[2].partition("}")[0]) for part in found.parts}
    assert numbers == truth, "\n".join(texts)
    assert set(found.unresolved) <= {"V"}


# -- real scripts


def test_the_slice_of_rows_of_a_script_is_the_statement_that_wrote_them_and_what_it_needs(tmp_path):
    (tmp_path / "helper.py").write_text(
        "import re\nPROMPT = 'a'\ndef unused(): return 1\ndef clean(t):\n    return re.sub(PROMPT, '', t)\n"
    )
    script(
        tmp_path,
        """
        import helper
        import tablevault_pd as tv
        vault = tv.connect("v")
        SEED, OTHER = 3, 4
        def main():
            return [{"t": helper.clean("abc"), "n": SEED}]
        def elsewhere(): pass
        if __name__ == "__main__":
            vault.save("out", main())
        plain = {"a": 1}
        for n in range(2):
            vault.append("log", plain)
        """,
    )
    with tv.connect(tmp_path / "v", mode="r") as vault:
        code = vault.read("out").vault.code(whole=True)
        assert code.names.tolist() == [
            ["re"], ["PROMPT"], ["clean"], ["helper"], ["tv"], ["vault"], ["SEED", "OTHER"], ["main"], [], [],
        ]  # fmt: skip
        assert code.path.tolist() == ["helper.py"] * 3 + ["train.py"] * 7
        assert code.session.dropna().unique().tolist() == ["train#1"]
        assert code.line.tolist()[:3] == [1, 2, 4]
        log = vault.read("log").vault.code(whole=True)
        assert log.text.tolist()[-3:] == [
            'plain = {"a": 1}',
            "for n in range(2):",
            '    vault.append("log", plain)',
        ]
        assert "helper.py" not in log.path.tolist()
        assert vault.read("out").vault.code().columns.tolist() == vault.cells().columns.tolist()


def test_statements_that_share_a_line_are_places_of_their_own(tmp_path):
    body = """
        import tablevault_pd as tv
        vault = tv.connect("v")
        ä = 1; b = 2; vault.save("ä", {"n": ä}); vault.save("b", {"n": b})  # both
        vault.save("c", [{"n":
            ä}]); kept = vault.read("b"); other = vault.read("c"); vault.save("d", kept.describe())
    """
    script(tmp_path, body)
    with tv.connect(tmp_path / "v", mode="r") as vault:
        texts = {name: vault.read(name).vault.code(whole=True)["text"].tolist()[2:] for name in "äbcd"}
        assert texts == {
            "ä": ["ä = 1", 'vault.save("ä", {"n": ä})'],
            "b": ["b = 2", 'vault.save("b", {"n": b})  # both'],
            "c": ["ä = 1", 'vault.save("c", [{"n":\n    ä}])'],
            "d": ['kept = vault.read("b")', 'vault.save("d", kept.describe())'],
        }
        assert by_reads(vault, "d") == {"b"}
        assert vault.read("b").vault.code(whole=True)["line"].tolist()[2:] == [4, 4]
        assert '+vault.save("b"' in vault.code_diff("ä", "b")
        hits = {text: set(vault.search(code=text)["list"]) for text in ("ä", "b")}
        assert hits == {"ä": {"ä", "c"}, "b": {"b", "d"}}
    script(tmp_path, body.replace("b = 2", "b = 3"))
    with tv.connect(tmp_path / "v", mode="r") as vault:
        assert vault.stale().empty


def test_a_program_on_one_line_has_the_slices_of_its_statements(tmp_path):
    line = "import tablevault_pd as tv; v = tv.connect('v', session='c'); a = 1; b = 2; v.save('a', {'n': a}); v.save('b', {'n': b})"
    for options, names in (([], [["tv"], ["v"], ["a"], []]), (["-X", "no_debug_ranges"], None)):
        done = subprocess.run(
            [sys.executable, *options, "-c", line], cwd=tmp_path, check=False, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        with tv.connect(tmp_path / "v", mode="r") as vault:
            found = vault.read("a").vault.code(whole=True)["names"].tolist()
            assert found == (names or [["tv"], ["v"], ["a"], ["b"], [], []])  # without columns the whole line
        vault.close()
        shutil.rmtree(tmp_path / "v")


def test_what_python_warns_of_in_a_script_is_said_once(tmp_path):
    text = "import tablevault_pd as tv\nvault = tv.connect('v')\nvault.save('a', {'n': 1 if 1 is 1 else 2})\n"
    (tmp_path / "train.py").write_text(text)
    done = subprocess.run(
        [sys.executable, "train.py"], cwd=tmp_path, check=True, capture_output=True, text=True
    )
    assert done.stderr.count("SyntaxWarning") == 1, done.stderr
    with tv.connect(tmp_path / "v", mode="r") as vault:
        assert len(vault.read("a").vault.code(whole=True)) == 3


def test_of_a_line_that_failed_only_what_it_had_begun_is_in_force(tmp_path):
    body = """
        import tablevault_pd as tv
        vault = tv.connect("v", session="train")
        RATE = 1; DEPTH = 1; vault.save("out", {"n": RATE + DEPTH})
    """
    script(tmp_path, body)
    early = body.replace("DEPTH = 1", "DEPTH = 2").replace("RATE = 1;", "RATE = 1; LEAVE;")
    script(tmp_path, early.replace("LEAVE", "raise SystemExit(3)"), fails=True)
    with tv.connect(tmp_path / "v", mode="r") as vault:
        assert vault.stale().empty
    script(
        tmp_path, early.replace("; LEAVE", "").replace("; vault", "; raise SystemExit(3); vault"), fails=True
    )
    with tv.connect(tmp_path / "v", mode="r") as vault:
        assert vault.stale()["of"].tolist() == ["train.py: DEPTH"]


def test_modules_are_kept_once_and_masked_and_those_of_others_are_not(tmp_path):
    (tmp_path / "helper.py").write_text("password = 'hunter22'\ndef f(): return password\n")
    body = "import helper, json\nimport tablevault_pd as tv\nvault = tv.connect('v')\nvault.append('x', {'a': len(helper.f())})\n"
    script(tmp_path, body)
    script(tmp_path, body)
    with tv.connect(tmp_path / "v", mode="r") as vault:
        sources = vault.sources("train")
        assert sources.path.tolist() == ["helper.py", "helper.py"]
        assert "hunter22" not in "".join(sources.text)
        code = vault.read("x").vault.code(whole=True)
        assert "hunter22" not in "".join(code.text)
        assert code.path.tolist().count("helper.py") == 2
    script(tmp_path, body.replace("connect('v'", "connect('w', capture='none'"))
    with tv.connect(tmp_path / "w", mode="r") as vault:
        assert vault.read("x").vault.code(whole=True).empty
        assert vault.sources("train").empty


def test_modules_of_the_project_are_found_wherever_in_it_the_script_lies(tmp_path):
    """Beside scripts/ in src/, and nothing of a folder around the project or of an installed package."""
    project = tmp_path / "around" / "project"
    for folder in ("scripts", "src/spam", ".venv/lib/site-packages"):
        (project / folder).mkdir(parents=True)
    (project / "pyproject.toml").write_text("[project]\nname = 'spam'\n")
    (project / "src/spam/__init__.py").write_text("")
    (project / "src/spam/text.py").write_text("def clean(text):\n    return text.strip()\n")
    (project / ".venv/lib/site-packages/installed.py").write_text("def f(): pass\n")
    (tmp_path / "around" / "elsewhere.py").write_text("def g(): pass\n")
    body = f"""
        import sys
        sys.path += [{str(project / "src")!r}, {str(project / ".venv/lib/site-packages")!r}, {str(tmp_path / "around")!r}]
        import elsewhere, installed
        from spam.text import clean
        import tablevault_pd as tv
        vault = tv.connect({str(tmp_path / "v")!r}, session="train")
        vault.save("texts", [{{"text": clean(" a")}}, {{"text": installed.f()}}, {{"text": elsewhere.g()}}])
    """
    script(project / "scripts", body)
    with tv.connect(tmp_path / "v", mode="r") as vault:
        code = vault.read("texts").vault.code(whole=True)
        assert dict.fromkeys(code["path"]) == dict.fromkeys(["scripts/train.py", "src/spam/text.py"])
        assert code.loc[code["path"] == "src/spam/text.py", "names"].tolist() == [["clean"]]
        assert vault.sources("train#1")["path"].tolist() == ["src/spam/__init__.py", "src/spam/text.py"]


def test_a_notebook_has_the_name_that_the_program_which_executes_it_was_given(tmp_path):
    from tablevault_pd.capture.script import _notebook_of

    if not Path("/proc/self/cmdline").exists():
        pytest.skip("the command line of another process is read from /proc")
    for words, name in ((["nbclient", "dir/train.ipynb"], "train"), (["notebook", "train.ipynb"], None)):
        command = [sys.executable, "-c", "print(flush=True); input()", *words]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
            process.stdout.readline()  # it runs
            assert _notebook_of(str(process.pid)) == name
            process.communicate(b"\n")
    assert _notebook_of("0") is None


def test_a_thread_writes_from_the_statement_where_the_main_thread_is(tmp_path):
    script(
        tmp_path,
        """
        import threading
        import tablevault_pd as tv
        vault = tv.connect("v")
        def work(): vault.save("out", {"a": 1})
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        """,
    )
    with tv.connect(tmp_path / "v", mode="r") as vault:
        found = vault.read("out").vault.code(whole=True)
        assert ["work"] in found.names.tolist()


def test_a_slice_says_which_names_are_out_of_reach(tmp_path):
    script(
        tmp_path,
        "import tablevault_pd as tv\nvault = tv.connect('v')\nexec('made = 1')\nvault.save('out', {'a': made})\n",
    )
    with tv.connect(tmp_path / "v", mode="r") as vault:
        code = vault.read("out").vault.code(whole=True)
        assert code.names.tolist()[-1] == ["made"]
        assert pd.isna(code.text.iloc[-1])


READS = """
import pandas as pd
import tablevault_pd as tv
vault = tv.connect("v", session="reads")
for name in ("docs", "users", "others"):
    vault.save(name, pd.DataFrame({"id": [1, 2], name: [3, 4]}), inputs=False)
def load(name):
    return vault.read(name)
docs = load("docs")
users = load("users")
others = load("others")
print(others.describe())
vault.save("out", docs.merge(users, on="id"))
vault.save("lost", pd.DataFrame({"docs": [1]}))
exec("made = others.merge(docs, on='id')")
vault.save("by_exec", made)
"""


def by_reads(vault: tv.Vault, name: str) -> set[str]:
    return set(vault.lineage(name, basis="read", depth=1)["parent_list"])


def test_only_what_the_slice_has_read_stands_in_for_parents(tmp_path):
    script(tmp_path, READS)
    with tv.connect(tmp_path / "v", mode="r") as vault:
        assert by_reads(vault, "out") == {"docs", "users"}
        assert by_reads(vault, "lost") == set()
        assert by_reads(vault, "by_exec") == {"docs", "users", "others"}  # nobody knows its code


def test_only_what_the_cells_of_the_slice_have_read_stands_in_for_parents(tmp_path):
    from kernels import kernel

    with kernel(tmp_path) as running:
        running.run("import tablevault_pd as tv, pandas as pd\nvault = tv.connect('v', session='nb')")
        running.run(
            "for name in ('docs', 'users', 'others'):\n    vault.save(name, pd.DataFrame({'id': [1], name: [2]}), inputs=False)"
        )
        running.run("docs = vault.read('docs')\nothers = vault.read('others')")
        running.run("users = vault.read('users')")
        running.run("vault.save('out', docs.merge(users, on='id'));")
        running.run("vault.save('here', docs.merge(vault.read('others'), on='id'));")
    with tv.connect(tmp_path / "v", mode="r") as vault:
        assert by_reads(vault, "out") == {"docs", "users"}
        assert by_reads(vault, "here") == {"docs", "others"}


# -- differences


FIRST = """
import helper
import tablevault_pd as tv
vault = tv.connect("v")
def make():
    return {"a": helper.clean("x")}
vault.save("out", make())
"""
SECOND = """
# another comment
import helper
import tablevault_pd as tv
vault = tv.connect("v")

def make():
    '''A docstring.'''
    return {"a": helper.clean("x")}
unrelated = 1
vault.save("out", make())
"""


@pytest.fixture(scope="module")
def three_runs(tmp_path_factory):
    """A script, the same with other comments, and with another module."""
    folder = tmp_path_factory.mktemp("runs")
    (folder / "helper.py").write_text("def clean(t):\n    return t + '<b>'\ndef unused(): pass\n")
    script(folder, FIRST)
    script(folder, SECOND.replace("out", "again"))
    (folder / "helper.py").write_text("def clean(t):\n    return t.upper() + '<b>'\ndef unused(): return 1\n")
    script(folder, FIRST)
    with tv.connect(folder / "v", mode="r") as vault:
        yield vault


def test_the_difference_of_slices_is_that_of_their_trees(three_runs):
    vault = three_runs
    diff = vault.code_diff("out@1", "out@2")
    assert diff.splitlines()[:2] == ["--- out@1", "+++ out@2"]
    changed = [line for line in diff.splitlines()[2:] if line[0] in "+-"]
    assert changed == ["-    return t + '<b>'", "+    return t.upper() + '<b>'"]
    assert vault.code_diff("out@1", "out@1") == ""
    same = vault.code_diff("out@1", "again@1")
    assert [line for line in same.splitlines()[2:] if line[0] in "+-"] == [
        '-vault.save("out", make())', '+vault.save("again", make())',
    ]  # fmt: skip
    rows = vault.code_diff(vault.read("out", version=1), vault.read("out"))
    assert rows == diff
    assert isinstance(diff, str)
    assert "t.upper()" in vault.code_diff("train#1", "train#3")
    assert "t.upper()" in vault.code_diff("train#1", "train")


def test_a_difference_shows_itself_side_by_side_and_escaped(three_runs):
    shown = three_runs.code_diff("out@1", "out@2")._repr_html_()
    assert "&lt;b&gt;" in shown
    assert "<b>" not in shown
    assert shown.count("<tr>") >= 3
    assert three_runs.code_diff("out@1", "out@1")._repr_html_() == "<p>The code is the same.</p>"


def test_sessions_of_one_script_are_what_each_has_executed(tmp_path):
    body = """
        import tablevault_pd as tv
        vault = tv.connect("v", session=False)
        unused = 1
        def fit(rate):
            with vault.session("fit") as run:
                run.log(loss=rate)
                if rate < 5:
                    vault.save("out", {"a": rate})
        fit(1)
        rate = 2
        fit(rate)
        fit(rate); fit(5)
        after = 1
    """
    script(tmp_path, body)
    with tv.connect(tmp_path / "v", mode="r") as vault:
        changed = {
            run: [line for line in vault.code_diff("fit#1", run).splitlines()[2:] if line[0] in "+-"]
            for run in ("fit#1", "fit#2", "fit#4")
        }
        assert changed == {
            "fit#1": [],
            "fit#2": ["-fit(1)", "+rate = 2", "+fit(rate)"],
            "fit#4": ["-fit(1)", "+fit(5)"],
        }
        written = vault.compare("fit#1", "fit#2", on="position").code_diff
        assert [line for line in written.splitlines()[2:] if line[0] in "+-"] == changed["fit#2"]
        assert "run.log" not in written  # it is no part of what made the rows


def test_a_difference_of_nothing_known_is_an_error(three_runs):
    with pytest.raises(LookupError):
        three_runs.code_diff("nowhere", "out")
    with pytest.raises(tv.InvalidInput):
        three_runs.code_diff(pd.DataFrame({"a": [1]}), "out")


# -- search


def test_code_is_searched_in_the_slice_in_the_cell_or_in_the_session(three_runs):
    vault = three_runs

    def rows(code: str, **options: str) -> list[str]:
        return sorted(set(vault.search(code=code, **options)["list"]))

    def runs(code: str, **options: str) -> list[str]:
        return vault.sessions(code=code, **options)["session"].tolist()

    assert rows("clean") == ["again", "out"]
    assert rows("upper") == ["out"]
    assert rows("unused") == []
    assert rows("unused", code_in="session") == ["again", "out"]
    assert rows("upper", code_in="cell") == []
    assert rows("helper", code_in="cell") == ["again", "out"]
    assert rows("unrelated") == []
    assert rows("unrelated", code_in="cell") == ["again"]
    assert runs("upper") == ["train#3"]
    assert runs("unused") == []
    assert runs("unused", code_in="session") == ["train#1", "train#2", "train#3"]
    assert runs("unrelated", code_in="cell") == ["train#2"]
    with pytest.raises(tv.InvalidInput):
        vault.search(code="x", code_in="module")
    with pytest.raises(tv.InvalidInput):
        vault.sessions(code="x", code_in="module")
    for call in (vault.search, vault.sessions):
        with pytest.raises(tv.InvalidInput, match="code_in='session' says where code= is looked for"):
            call("train", code_in="session")


def test_the_environments_of_two_sessions_differ_in_what_they_differ_in(three_runs):
    from tablevault_pd.analysis.facts import different

    for pair in (("train#1", "train#2"), ("out@1", "again@1")):
        found = three_runs.environment_diff(*pair)
        assert found.columns.tolist() == ["what", "name", "a", "b", "ruled_out"]
        assert found.empty
    ran = three_runs.run("train#1").environment
    assert ran["argv"] == ["train.py"]
    assert "pandas" in ran["packages"]
    facts = different(
        [
            {("package", "pandas"): "2.2", ("argv", "command line"): "a.py", ("parameter", "lr"): 1},
            {("package", "pandas"): "1.0", ("package", "extra"): "2", ("argv", "command line"): "b.py"},
        ]
    )
    assert facts == [
        ("parameter", "lr"), ("package", "pandas"), ("argv", "command line"), ("package", "extra"),
    ]  # fmt: skip
    with pytest.raises(LookupError):
        three_runs.environment_diff("train#1", "nowhere")


CONSTANT = 1


def _used(value):
    return value + CONSTANT


def test_the_key_of_a_function_follows_what_it_uses_and_not_its_file(monkeypatch, tmp_path):
    from tablevault_pd.code import function_key

    def measure(frame):
        return _used(frame)

    before = function_key(measure)
    assert before is not None
    monkeypatch.setattr(sys.modules[__name__], "CONSTANT", 2)
    assert function_key(measure) != before
    unknown = object()
    assert function_key(lambda frame: (frame, unknown)) is None
    # the file of a function may have changed since it was imported
    (tmp_path / "measures.py").write_text("def measure(frame):\n    return 1\n")
    space: dict[str, object] = {"__name__": "measures"}
    text = "def measure(frame):\n    return 2\n"
    exec(compile(text, str(tmp_path / "measures.py"), "exec"), space)
    other: dict[str, object] = {"__name__": "measures"}
    exec(compile(text.replace("2", "1"), str(tmp_path / "measures.py"), "exec"), other)
    assert function_key(space["measure"]) != function_key(other["measure"])


MARIMO = """
import marimo
app = marimo.App()

@app.cell
def _():
    import tablevault_pd as tv
    vault = tv.connect("v")
    return (vault,)

@app.cell
def _():
    def clean(text):
        return text.strip()
    return (clean,)

@app.cell
def _(vault, clean):
    vault.save("out", {"a": clean(" x ")})
    return

if __name__ == "__main__":
    app.run()
"""


def test_the_cells_of_a_marimo_notebook_that_runs_as_a_script_are_in_the_slice(tmp_path):
    pytest.importorskip("marimo", reason="marimo is not installed")
    script(tmp_path, MARIMO, "book.py")
    with tv.connect(tmp_path / "v", mode="r") as vault:
        text = "\n".join(vault.read("out").vault.code(whole=True).text)
        assert "text.strip()" in text
        assert "app = marimo.App()" in text
        assert vault.search(code="clean")["list"].tolist() == ["out"]


def test_cells_that_marimos_own_kernel_runs_are_cells(tmp_path):
    pytest.importorskip("marimo", reason="marimo is not installed")
    broken = "@app.cell\ndef _(vault):\n    vault.lists()\n    1 / 0\n    return"
    failing = MARIMO.replace("    return (clean,)", f"    return (clean,)\n\n{broken}").replace(
        'clean(" x ")})',
        'clean(" x ")})\n    vault.cells()',  # waits until all is written: marimo kills its kernel
    )
    for text in (failing, failing.replace("text.strip()", "text.strip() + ''")):
        (tmp_path / "book.py").write_text(text)
        subprocess.run(
            [sys.executable, "-m", "marimo", "export", "html", "book.py", "-o", "out.html", "--force"],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])},
            capture_output=True,
            check=False,
        )
    with tv.connect(tmp_path / "v", mode="r") as vault:
        cells = vault.cells("book#1")
        assert "def clean(text):\n    return text.strip()" in cells["text"].tolist()
        assert cells["text"].str.contains("import marimo").sum() == 0  # no cell is the file
        assert cells["outcome"].tolist()[:3] == ["ok", "ok", "error"]
        assert len(cells) == 4
        assert cells.set_index("outcome")["error"]["error"] == "ZeroDivisionError: division by zero"
        code = vault.read("out").vault.code(whole=True)
        assert "def clean(text):\n    return text.strip()" in code["text"].tolist()
        assert "1 / 0" not in "\n".join(code["text"])
        assert vault.search(code="strip", code_in="cell").empty
        assert vault.search(code="strip")["list"].tolist() == ["out"]
        assert vault.stale().empty  # the second run has confirmed the rows
        assert len(vault.versions("out")) == 1
