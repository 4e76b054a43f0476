"""What is out of date: made of something that has since changed, at any depth, and nothing else."""

from __future__ import annotations

import os
from pathlib import Path

import pandas as pd
import pytest
from kernels import kernel
from warm import script

import tablevault_pd as tv

ROOT = Path(__file__).resolve().parents[1]


def lines(vault: tv.Vault, name: str | None = None, *columns: str) -> list[list[object]]:
    found = vault.stale(name)
    return found[list(columns or ("list", "position", "reason", "of", "depth"))].to_numpy().tolist()


def stale(folder: Path, *columns: str) -> list[list[object]]:
    with tv.connect(folder / "v", mode="r") as vault:
        return lines(vault, None, *columns)


# -- parents


def test_what_is_made_from_changed_rows_is_stale_to_any_depth_in_order_of_making(vault):
    vault.save("docs", pd.DataFrame({"n": [1, 2, 3]}))
    vault.save("a chunks", vault.read("docs") + 1)
    vault.save("0 emb", vault.read("a chunks").iloc[1:])
    assert vault.stale().empty
    assert vault.stale().columns.tolist() == ["list", "position", "reason", "of", "depth", "session", "cell"]
    vault.save("docs", pd.DataFrame({"n": [1, 2, 4]}), inputs=False)
    assert lines(vault) == [
        ["a chunks", 2, "parent", "docs@1[2]", 1],
        ["0 emb", 1, "parent", "docs@1[2]", 2],
    ]
    assert lines(vault, "0 emb") == [["0 emb", 1, "parent", "docs@1[2]", 2]]
    vault.delete("docs")
    assert vault.stale()["list"].tolist() == ["a chunks"] * 3 + ["0 emb"] * 2
    with pytest.raises(LookupError):
        vault.stale("nowhere")


def test_a_list_made_from_a_whole_list_is_stale_when_that_changes(vault):
    vault.save("docs", pd.DataFrame({"n": [1, 2]}))
    vault.save("sum", {"n": 3}, inputs="docs")
    vault.append("docs", {"n": 3})
    assert lines(vault) == [["sum", 0, "parent", "docs@1", 1]]


# -- scripts

MAKE = """
import sys
import helper
import tablevault_pd as tv
import pandas as pd
vault = tv.connect("v")
RATE = 1
def make():
    # a comment
    return pd.DataFrame({"a": [helper.clean(RATE)]})
if "early" in sys.argv:
    sys.exit(3)
vault.save("out", make())
vault.save("below", vault.read("out") * 2)
"""


@pytest.fixture
def made(tmp_path):
    """A folder with a script that ran, its module, and its vault."""
    (tmp_path / "helper.py").write_text("OTHER = 1\ndef clean(x):\n    return x\ndef unused(): pass\n")
    script(tmp_path, MAKE)
    return tmp_path


def test_a_run_that_makes_the_same_again_leaves_nothing_stale(made):
    assert stale(made) == []
    script(made, MAKE)
    assert stale(made) == []
    script(made, MAKE.replace("# a comment", "'''A docstring.'''") + "\n# the end\n")
    assert stale(made) == []
    with tv.connect(made / "v", mode="r") as vault:
        versions = vault.versions("out")
        assert len(versions) == 1
        assert versions["confirmed"][0] > versions["time"][0]
        assert vault.versions("below")["confirmed"].notna().tolist() == [True]


def test_rows_that_came_out_the_same_of_other_code_are_confirmed(made):
    script(made, MAKE.replace("helper.clean(RATE)", "helper.clean(RATE) + 0"))
    assert stale(made) == []
    script(made, MAKE)
    assert stale(made) == []


BY_KEY = """
import sys
import pandas as pd
import tablevault_pd as tv
vault = tv.connect("v")
def make(ids):
    return pd.DataFrame({"id": ids, "size": [abs(number) for number in ids]})
vault.append("kept", make([int(text) for text in sys.argv[1:]]), key="id", inputs=False)
vault.upsert("sizes", make([int(text) for text in sys.argv[1:]]), key="id", inputs=False)
"""


def test_an_upsert_of_some_rows_that_changes_nothing_confirms_these_and_says_nothing_of_the_others(tmp_path):
    newer = BY_KEY.replace("abs(number)", "max(number, -number)")
    script(tmp_path, BY_KEY, "1", "2", "-3")
    script(tmp_path, newer, "1")
    others = [
        [name, position, "code", "train.py: make", 0] for name in ("kept", "sizes") for position in (1, 2)
    ]
    assert stale(tmp_path) == others
    script(tmp_path, newer, "-3", "2")  # those that were left, and none is another
    assert stale(tmp_path) == []
    with tv.connect(tmp_path / "v", mode="r") as vault:
        assert vault.versions("sizes")["confirmed"].isna().all()  # no run made all rows again


def test_a_function_of_a_module_that_a_later_run_imports_otherwise_makes_stale(made):
    (made / "helper.py").write_text(
        "OTHER = 2\ndef clean(x):\n    # why\n    return x\ndef unused(): return 1\n"
    )
    script(made, MAKE, "early", fails=True)
    assert stale(made) == []  # nothing that the rows need has changed
    (made / "helper.py").write_text("OTHER = 2\ndef clean(x):\n    return x + 1\n")
    assert stale(made) == []  # nobody has captured it
    script(made, MAKE, "early", fails=True)
    assert stale(made) == [
        ["out", 0, "code", "helper.py: clean", 0],
        ["below", 0, "parent", "helper.py: clean", 1],
    ]
    assert stale(made, "session", "cell") == [["train#1", 0], ["train#1", 0]]
    script(made, MAKE)
    assert stale(made) == []


PROJECT = {
    "model.py": """
from dataclasses import dataclass, field
SCALE, UNUSED = 2, 0
def default(): return [1]
@dataclass
class Point:
    x: int
    ys: list = field(default_factory=default)
    def total(self): return self.x * SCALE + sum(self.ys)
""",
    "fn.py": """
import functools
@functools.singledispatch
def show(x): return 0
@show.register
def _(x: int): return 1
@functools.lru_cache(maxsize=None)
def cached(x): return base(x)
def base(x): return x
def unused(): return 0
""",
    "pkg/__init__.py": "from .sub import api\nUNUSED = 0\n",
    "pkg/sub/__init__.py": "",
    "pkg/sub/api.py": """
from ..core import Base
from .. import consts as c
class Leaf(Base): k = c.LIMIT
def make(): return Leaf().go()
""",
    "pkg/core.py": "from .mixin import Mixin\nclass Base(Mixin):\n    def go(self): return self.mixed() + self.k\n",
    "pkg/mixin.py": "class Mixin:\n    def mixed(self): return 1\n",
    "pkg/consts.py": "LIMIT, UNUSED = 3, 0\n",
    "deco.py": "DEPTH = 1\ndef add(n):\n    def wrap(f): return lambda *a: f(*a) + n + DEPTH\n    return wrap\n",
    "conf.py": "RATE = 1\ndef configure(value):\n    global RATE\n    RATE = value\ndef rate(): return RATE\nUNUSED = 0\n",
    "fast.py": "def go(): return 1\n",
    "slow.py": "def go(): return 1\n",
}
USING = """
import asyncio, functools, importlib, sys
import conf, fn, pkg
import tablevault_pd as tv
from deco import add
from model import Point
try:
    import missing_one as either
except ImportError:
    import fast as either
vault = tv.connect("v", session="train")
N, TIMES, SLEEP = 1, 2, 0
def f(x, g=lambda v: v + N): return g(x)
async def inner(x):
    await asyncio.sleep(SLEEP)
    return x
async def outer(): return [await inner(x) for x in range(2)]
part = functools.partial(fn.cached, 3)
@add(TIMES)
def more(x): return x
importlib.reload(conf)
conf.configure(5)
if "early" in sys.argv:
    sys.exit(3)
vault.save("async", [{"a": asyncio.run(outer())}])
vault.save("default", {"a": f(1)})
vault.save("data", {"a": Point(1).total()})
vault.save("funcs", {"a": part() + fn.show(1)})
vault.save("tree", {"a": pkg.api.make()})
vault.save("deco", {"a": more(1)})
vault.save("conf", {"a": conf.rate()})
vault.save("either", {"a": either.go()})
"""
EDITS = [
    ("train.py", "return x\nasync def outer", "return x + 0\nasync def outer", {"async"}),
    (
        "train.py",
        "SLEEP = 1, 2, 0",
        "SLEEP = 1, 2, 0.0",
        {"async", "default", "deco"},
    ),  # one statement binds them
    ("train.py", "v + N", "v + N + 0", {"default"}),
    ("model.py", "return [1]", "return [2]", {"data"}),
    ("model.py", "sum(self.ys)", "max(self.ys)", {"data"}),
    ("fn.py", "def base(x): return x", "def base(x): return x + 0", {"funcs"}),
    ("fn.py", "(x: int): return 1", "(x: int): return 2", {"funcs"}),
    ("fn.py", "unused(): return 0", "unused(): return 1", set()),
    ("pkg/mixin.py", "return 1", "return 2", {"tree"}),
    ("pkg/consts.py", "3, 0", "4, 0", {"tree"}),
    ("pkg/__init__.py", "UNUSED = 0", "UNUSED = 1", set()),
    ("deco.py", "DEPTH = 1", "DEPTH = 2", {"deco"}),
    ("train.py", "configure(5)", "configure(6)", {"conf"}),
    ("conf.py", "UNUSED = 0", "UNUSED = 1", set()),
    ("fast.py", "return 1", "return 2", {"either"}),
    ("slow.py", "return 1", "return 2", set()),
]


def test_each_kind_of_code_makes_what_it_is_used_for_stale_and_nothing_else(tmp_path):
    texts = PROJECT | {"train.py": USING}
    for name, text in texts.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    script(tmp_path, USING)
    for name, old, new, lists in EDITS:
        assert texts[name].count(old) == 1
        edited = texts | {name: texts[name].replace(old, new)}
        (tmp_path / name).write_text(edited[name])
        script(tmp_path, edited["train.py"], "early", fails=True)
        assert {line[0] for line in stale(tmp_path, "list")} == lists, (name, new)
        (tmp_path / name).write_text(texts[name])


def test_a_statement_that_only_changes_an_object_counts(tmp_path):
    (tmp_path / "table.py").write_text("T = {}\nT.update(k=1)\ndef get(): return T['k']\n")
    make = """
    import pandas as pd, sys, tablevault_pd as tv
    import table
    vault = tv.connect("v", session="train")
    own = {}
    own.update(a=1)
    if "early" in sys.argv: sys.exit(3)
    vault.save("out", pd.DataFrame({"x": [table.get() + own["a"]]}), inputs=False)
    """
    script(tmp_path, make)
    script(
        tmp_path,
        make.replace("own = {}", "own = {}\n    other = {}\n    other.update(a=5)"),
        "early",
        fails=True,
    )
    assert stale(tmp_path) == []
    script(
        tmp_path,
        make.replace("(a=1)", "(a=2)").replace("sys.exit(3)", "raise RuntimeError"),
        "early",
        fails=True,
    )
    assert stale(tmp_path) == [["out", 0, "code", "train.py: own.update(a=1)", 0]]
    script(tmp_path, make)
    (tmp_path / "table.py").write_text("T = {}\nT.update(k=2)\ndef get(): return T['k']\n")
    script(tmp_path, make, "early", fails=True)
    assert stale(tmp_path) == [["out", 0, "code", "table.py: T.update(k=1)", 0]]


def test_a_later_run_that_has_not_come_to_the_place_proves_nothing(made):
    changed = MAKE.replace("RATE = 1", "sys.exit(3)\nRATE = 2")
    script(made, changed, fails=True)
    assert stale(made) == []
    reached = MAKE.replace("RATE = 1", "RATE = 2").replace("sys.exit(3)", "raise RuntimeError")
    script(made, reached, "early", fails=True)
    assert stale(made, "list", "reason", "of") == [
        ["out", "code", "train.py: RATE"],
        ["below", "parent", "train.py: RATE"],
    ]


@pytest.mark.parametrize("leave", ["sys.exit(3)", "raise SystemExit"])
def test_a_run_that_leaves_before_it_writes_has_executed_what_came_before(tmp_path, leave):
    make = """
import sys
import tablevault_pd as tv
vault = tv.connect("v", session="train")
RATE = 1
if "early" in sys.argv:
    LEAVE
DEPTH = 1
vault.save("out", {"a": RATE + DEPTH})
""".replace("LEAVE", leave)
    script(tmp_path, make)
    script(tmp_path, make.replace("DEPTH = 1", "DEPTH = 2"), "early", fails="3" in leave)
    assert stale(tmp_path) == []  # it did not come to that
    script(tmp_path, make.replace("RATE = 1", "RATE = 2"), "early", fails="3" in leave)
    assert stale(tmp_path) == [["out", 0, "code", "train.py: RATE", 0]]


def test_a_session_that_is_left_by_an_exit_has_not_executed_what_follows(tmp_path):
    make = """
import sys
import tablevault_pd as tv
with tv.connect("v", session="train") as vault:
    RATE = 1
    if "early" in sys.argv:
        sys.exit(0)
DEPTH = 1
with tv.connect("v", session="train") as vault:
    vault.save("out", {"a": RATE + DEPTH})
"""
    script(tmp_path, make)
    script(tmp_path, make.replace("DEPTH = 1", "DEPTH = 2"), "early")
    assert stale(tmp_path) == []


def test_rows_saved_after_a_question_for_what_is_stale_have_their_own_slice(tmp_path):
    script(
        tmp_path,
        """
import tablevault_pd as tv
vault = tv.connect("v", session="train")
vault.save("out", {"a": 1})
vault.stale()
NEXT = 2
vault.save("out", {"a": NEXT})
""",
    )
    with tv.connect(tmp_path / "v", mode="r") as vault:
        code = vault.read("out").vault.code(whole=True)["text"].tolist()
    assert code[-2:] == ["NEXT = 2", 'vault.save("out", {"a": NEXT})']
    assert "vault.stale()" not in code


def test_rows_appended_by_older_code_are_stale_and_those_of_the_newest_are_not(tmp_path):
    text = "import tablevault_pd as tv\nvault = tv.connect('v')\nn = 1\nvault.append('log', {'a': n})\n"
    script(tmp_path, text)
    script(tmp_path, text)
    assert stale(tmp_path) == []
    script(tmp_path, text.replace("n = 1", "n = 2"))
    assert stale(tmp_path, "position", "reason", "of", "session") == [
        [0, "code", "train.py: n", "train#1"],
        [1, "code", "train.py: n", "train#2"],
    ]


def test_another_script_or_another_session_name_proves_nothing(made):
    script(
        made,
        MAKE.replace("RATE = 1", "RATE = 2").replace('"out"', '"out2"').replace('"below"', '"below2"'),
        name="b.py",
    )
    assert stale(made) == []


# -- notebooks


def check(running, name: str = "") -> str:
    return running.run(
        f"print(vault.stale({name})[['list', 'position', 'reason', 'of']].to_numpy().tolist())"
    ).strip()


def test_cells_of_a_notebook(tmp_path):
    with kernel(tmp_path) as running:
        for _ in range(2):  # the second time after a restart's worth of the same cells: nothing is stale
            running.run(
                "import tablevault_pd as tv, pandas as pd\nvault = tv.connect('v', session='nb')", "A"
            )
            running.run("def f(x):\n    return g(x)", "B")
            running.run("def g(x):\n    return x + 1", "C")
            running.run("df = pd.DataFrame({'a': [f(1)]})", "D")
            running.run("vault.save('out', df);", "E")
            running.run("df = pd.DataFrame({'a': [7]})\nvault.save('other', df);", "F")
            assert check(running) == "[]"
        running.run("def g(x):\n    return x + 2", "C")
        assert check(running) == "[['out', 0, 'code', 'In[10]: g']]"
        running.run("df = pd.DataFrame({'a': [f(1)]})", "D")
        running.run("vault.save('out', df);", "E")
        assert check(running) == "[]"
        # the writing cell with another tree, and a cell that fails before it comes to the definition
        running.run("1 / 0\ndef g(x):\n    return 0", "C")
        assert check(running) == "[]"
        running.run("df = pd.DataFrame({'a': [f(1), 2]})", "D")
        assert ": df" in check(running)
        # a cell that only changes an object, and a statement that is timed
        running.run("table = {}", "G")
        running.run("table.update(k=1)", "H")
        running.run("%time rate = 1", "I")
        running.run("vault.save('late', pd.DataFrame({'a': [table['k'] + rate]}));", "J")
        running.run("table.update(k=1)  # the same", "H")
        running.run("rate = 1", "I")
        assert "'late'" not in check(running)
        running.run("table.update(k=2)", "H")
        assert ": table.update(k=1)" in check(running)
        running.run("%time rate = 2", "I")
        assert ": rate" in check(running)
        # a conditional definition leaves the older one in force, too, but is its newer form
        for value in (1, 2):
            running.run(f"if __name__ == '__main__':\n    top = {value}\nelse:\n    top = 0", "K")
            assert ("'top'" in check(running)) == (value == 2)
            running.run("vault.save('top', {'a': top});", "L")
            assert "'top'" not in check(running)
        # what a cell has executed is seen by the next call in the same cell
        seen = running.run("def f(x):\n    return 0\nprint('f' in ' '.join(vault.stale()['of']))", "B")
        assert seen.strip() == "True"


def write(file: Path, text: str) -> None:
    """Write a module as an editor does: its time tells that it is another one."""
    later = file.stat().st_mtime + 2 if file.exists() else 1
    file.write_text(text)
    os.utime(file, (later, later))


def test_modules_that_autoreload_takes_over_and_scripts_that_run_are_the_code_of_later_rows(tmp_path):
    with kernel(tmp_path) as running:
        running.run("import tablevault_pd as tv\nvault = tv.connect('v', session='nb')")
        running.run("%load_ext autoreload")
        for mode in "23":  # in place, and by a reload
            helper = tmp_path / f"helper{mode}.py"
            write(helper, "def f():\n    return 1\n")
            running.run(f"%autoreload {mode}")
            running.run(f"import helper{mode} as helper")
            running.run(f"vault.save('old{mode}', {{'a': helper.f()}});")
            write(helper, "def f():\n    return 2\n")
            running.run(f"vault.save('new{mode}', {{'a': helper.f()}});")
            code = f"print(tv.read('new{mode}').vault.code(whole=True)['text'].tolist())"
            assert "return 2" in running.run(code)
            assert check(running, f"'old{mode}'") == f"[['old{mode}', 0, 'code', 'helper{mode}.py: f']]"
            write(helper, "def f(:\n    return 3\n")  # autoreload refuses it, and goes on with what it has
            running.run(f"vault.save('new{mode}', {{'a': -helper.f()}});")
            assert "return 2" in running.run(code)
        text = "unused = 1\ndef clean(x):\n    return x + 1\n"
        write(tmp_path / "clean.py", text)
        running.run("%run clean.py", "R")
        running.run("vault.save('ran', {'a': clean(1)});", "S")
        write(tmp_path / "clean.py", text.replace("unused = 1", "unused = 2"))
        assert check(running, "'ran'") == "[]"
        running.run("%run clean.py", "R")
        assert check(running, "'ran'") == "[]"
        write(tmp_path / "clean.py", text.replace("x + 1", "x + 2"))
        assert check(running, "'ran'") == "[]"  # nobody has run it
        running.run("%run clean.py", "R")
        assert check(running, "'ran'") == "[['ran', 0, 'code', 'clean.py: clean']]"
        running.run("vault.save('ran', {'a': clean(1)});", "S")
        assert check(running, "'ran'") == "[]"
        write(tmp_path / "make.py", "made = {'a': clean(1)}\nvault.save('made', made)\n")
        running.run("%run -i make.py", "T")
        assert check(running, "'made'") == "[]"
        write(tmp_path / "make.py", "made = {'a': clean(2)}\nvault.save('made', made)\n")
        running.run("%run -i make.py", "T")
        assert check(running, "'made'") == "[]"
        write(tmp_path / "clean.py", text.replace("x + 1", "x + 3"))
        running.run("%run clean.py", "R")
        assert check(running, "'made'") == "[['made', 0, 'code', 'clean.py: clean']]"


def test_cells_without_ids_are_the_same_by_what_they_do(tmp_path):
    with kernel(tmp_path) as running:
        running.run("import tablevault_pd as tv\nvault = tv.connect('v', session='nb')")
        running.run("x = 1")
        running.run("vault.save('one', {'a': x});")
        running.run("x = 5")
        running.run("vault.save('two', {'a': x});")
        assert check(running) == "[]"
        running.run("x = x + 1")
        assert check(running) == "[]"
        running.run("x = 9")
        assert "'two', 0, 'code'" in check(running)


def test_a_cell_without_an_id_that_binds_no_name_may_have_another_form(tmp_path):
    with kernel(tmp_path) as running:
        running.run("import tablevault_pd as tv\nvault = tv.connect('v', session='nb')\nrows = []")
        running.run("rows.append(1)")
        running.run("vault.save('one', {'a': sum(rows)}, inputs=False);")
        running.run("vault.save('below', vault.read('one') * 2);")
        running.run("rows.append(1)  # the same\nlen(rows)\nprint(rows)")
        assert check(running) == "[]"
        running.run("rows.append(2)")  # another form of it, or the next step?
        assert check(running) == (
            "[['one', 0, 'unknown', 'In[2]: rows.append(1)'], ['below', 0, 'unknown', 'In[2]: rows.append(1)']]"
        )
        running.run("vault.save('two', {'a': sum(rows)}, inputs=False);")  # the next step
        assert check(running) == "[]"


@pytest.mark.ci
def test_a_restarted_kernel_makes_nothing_stale_until_it_comes_to_other_code(tmp_path):
    cells = ["import tablevault_pd as tv\nvault = tv.connect('v', session='nb')", "%run rates.py"]
    cells += ["def f(x):\n    return x + rate", "n = 3", "vault.save('out', {'a': f(n)});"]
    write(tmp_path / "rates.py", "rate = 1\n")
    with kernel(tmp_path) as running:
        for number, text in enumerate(cells):
            running.run(text, str(number))
    write(tmp_path / "rates.py", "rate = 2\n")
    with kernel(tmp_path) as running:
        running.run(cells[0], "0")
        assert check(running) == "[]"
        running.run(cells[2], "2")
        assert check(running) == "[]"
        running.run(cells[1], "1")
        assert check(running) == "[['out', 0, 'code', 'rates.py: rate']]"
        write(tmp_path / "rates.py", "rate = 1  # as before\n")
        running.run(cells[1], "1")
        assert check(running) == "[]"
        running.run("n = 4", "3")
        assert ": n" in check(running)
        running.run("n = 3", "3")
        assert check(running) == "[]"
        running.run(cells[4], "4")
        assert check(running) == "[]"
        assert running.run("print(vault.versions('out')['confirmed'].notna().tolist())").strip() == "[True]"


def test_a_lambda_that_another_cell_defines_otherwise_makes_stale(tmp_path):
    with kernel(tmp_path) as running:
        running.run("import tablevault_pd as tv\nvault = tv.connect('v', session='nb')", "A")
        running.run("from functools import partial\nf = lambda x: x + 1\ng = partial(pow, 2)", "B")
        running.run("vault.save('one', {'a': f(1)});", "C")
        running.run("vault.save('two', {'a': g(1)});", "D")
        running.run("f = lambda x: x + 1  # the same", "E")
        assert check(running) == "[]"
        running.run("f = lambda x: x + 2", "F")
        assert check(running) == "[['one', 0, 'code', 'In[2]: f']]"
        running.run("def g(n):\n    return n", "G")
        assert check(running, "'two'") == "[['two', 0, 'code', 'In[2]: g']]"


def test_what_a_function_of_a_notebook_saves_is_stale_by_what_it_needs_alone(tmp_path):
    """An edit of what only the second list needs leaves the first as it is, through two functions; a cell may run again."""
    text = """def evaluate(k):
    rows = [{{'n': k}}]{}
    vault.save('one', rows)
    total = sum(row['n'] for row in rows){}
    vault.save('two', {{'total': total}})"""
    with kernel(tmp_path) as running:
        running.run("import tablevault_pd as tv\nvault = tv.connect('v', session='nb')", "A")
        running.run(text.format("", ""), "B")
        running.run("def main():\n    evaluate(2)", "C")
        running.run("main()", "D")
        running.run(text.format("", ""), "B")
        assert check(running) == "[]"
        running.run(text.format("", " + 1"), "B")
        assert check(running) == "[['two', 0, 'code', 'In[2]: evaluate']]"
        running.run("main()", "D")
        assert check(running) == "[]"
        running.run(text.format("\n    rows.append({'n': 1})", " + 1"), "B")  # an added line
        assert check(running) == (
            "[['one', 0, 'code', 'In[7]: evaluate'], ['two', 0, 'code', 'In[7]: evaluate']]"
        )
        running.run("def main():\n    evaluate(3)", "C")
        running.run("main()", "D")
        assert check(running) == "[]"
        code = "print(*vault.read('one').vault.code(whole=True)['text'].str.strip(), sep='\\n')"
        assert running.run(code).splitlines()[-5:] == [
            "evaluate(3)", "def evaluate(k):", "rows = [{'n': k}]", "rows.append({'n': 1})", "vault.save('one', rows)",
        ]  # fmt: skip


def test_names_that_a_module_makes_itself_change_with_what_makes_them(tmp_path):
    make = """
    import helper, sys, tablevault_pd as tv
    vault = tv.connect("v", session="train")
    if "early" in sys.argv: sys.exit(3)
    vault.save("out", {"a": helper.anything})
    """
    module = "PLAIN = 1\nSIZES = {'anything': 1}\ndef __getattr__(name):\n    return SIZES[name]\n"
    (tmp_path / "helper.py").write_text(module)
    script(tmp_path, make)
    (tmp_path / "helper.py").write_text(module.replace("PLAIN = 1", "PLAIN = 12"))
    script(tmp_path, make, "early", fails=True)
    assert stale(tmp_path) == []
    (tmp_path / "helper.py").write_text(module.replace("SIZES[name]", "-SIZES[name]"))
    script(tmp_path, make, "early", fails=True)
    assert stale(tmp_path) == [["out", 0, "code", "helper.py: __getattr__", 0]]
    (tmp_path / "helper.py").write_text(module.replace("'anything': 1", "'anything': 123"))
    script(tmp_path, make, "early", fails=True)
    assert stale(tmp_path) == [["out", 0, "code", "helper.py: SIZES", 0]]


def test_names_made_by_exec_make_nothing_stale(tmp_path):
    text = "import tablevault_pd as tv\nvault = tv.connect('v')\nexec('n = {n}')\nvault.append('out', {{'a': 1 + 0 * n}})\n"
    script(tmp_path, text.format(n=1))
    script(tmp_path, text.format(n=2))
    assert stale(tmp_path) == []
