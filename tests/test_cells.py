"""Slices in a notebook: of each statement of a cell, also below magics, in functions of cells and modules, and in threads."""

from __future__ import annotations

import os

import pytest
from kernels import kernel
from shells import shell

import tablevault_pd as tv

MODULE = """
RATE = 2

def work(vault, n):
    a = n * RATE
    b = 7
    vault.save("module a", {"a": a})
    vault.save("module b", {"b": b})
"""
FUNCTION = """
def f(v):
    a = v
    vault.save("function a", {"a": a})
    b = y
    vault.save("function b", {"b": b})
"""
# (cell, for each list that it writes the statements of cells that are in its slice, besides the first two)
CELLS = [
    (
        "x = 1\ny = 2\nvault.save('x', {'a': x})\nvault.save('y', {'a': y})",
        {"x": ["x = 1", "vault.save('x', {'a': x})"], "y": ["y = 2", "vault.save('y', {'a': y})"]},
    ),
    (
        "\n\n%matplotlib inline\n!true\nz = 3\n%time w = z + x\nvault.save('w', {'a': w})\nz = vault.save('z', {'a': z})",
        {
            "w": ["x = 1", "z = 3", "%time w = z + x", "vault.save('w', {'a': w})"],
            "z": ["z = 3", "z = vault.save('z', {'a': z})"],
        },
    ),
    ("%%time\n\nq = 1\np = 2\nvault.save('p', {'a': p})", {"p": ["p = 2", "vault.save('p', {'a': p})"]}),
    ("%%capture\nq = 1\nr = 2\nvault.save('r', {'a': r})", {"r": ["r = 2", "vault.save('r', {'a': r})"]}),
    ("%time vault.save('timed', {'a': x})", {"timed": ["x = 1", "%time vault.save('timed', {'a': x})"]}),
    (
        "\n%precision 3" + FUNCTION + "f(x)",
        {
            "function a": [
                "x = 1", "f(x)", "def f(v):", "a = v", 'vault.save("function a", {"a": a})'
            ],
            "function b": [
                "x = 1", "y = 2", "f(x)", "def f(v):", "b = y", 'vault.save("function b", {"b": b})'
            ],
        },
    ),
    (
        "unused = 1\nmod.work(vault, x)",
        {
            "module a": [
                "import mod", "x = 1", "mod.work(vault, x)", "def work(vault, n):", "RATE = 2", "a = n * RATE",
                'vault.save("module a", {"a": a})',
            ],
            "module b": [
                "import mod", "x = 1", "mod.work(vault, x)", "def work(vault, n):", "b = 7",
                'vault.save("module b", {"b": b})',
            ],
        },
    ),
    (
        "import asyncio\nawait asyncio.sleep(0)\nk = 1\nif (n := k + 1) > 1:\n    vault.save('n', {'a': n})",
        {"n": ["k = 1", "if (n := k + 1) > 1:", "vault.save('n', {'a': n})"]},
    ),
    ("%%time\nm = 9\n1 / 0\nm = 8", {}),
    ("vault.save('m', {'a': m})", {"m": ["m = 9", "vault.save('m', {'a': m})"]}),
    (
        "from threading import Thread\ndef g():\n    vault.save('thread', {'a': x})\nt = Thread(target=g)\nt.start()\nt.join()",
        {
            "thread": [
                "x = 1", "from threading import Thread", "def g():\n    vault.save('thread', {'a': x})", "t = Thread(target=g)",
                "t.start()", "t.join()",
            ]
        },
    ),
]  # fmt: skip


def test_the_slice_of_rows_of_a_notebook_is_the_statement_that_wrote_them_and_what_it_needs(tmp_path):
    (tmp_path / "mod.py").write_text(MODULE)
    with kernel(tmp_path) as running:
        running.run(
            "import pandas as pd\nimport tablevault_pd as tv\nimport mod\npd.set_option('display.width', 100)\n"
            "vault = tv.connect('v', session='nb')"
        )
        for cell, _ in CELLS:
            printed = running.send(cell)
            assert printed.endswith("Error") == ("1 / 0" in cell), (cell, printed)
    first = ["import tablevault_pd as tv", "vault = tv.connect('v', session='nb')"]
    with tv.connect(tmp_path / "v", mode="r") as vault:
        for _, needed in CELLS:
            for name, texts in needed.items():
                code = vault.read(name).vault.code(whole=True)
                found = [text.strip() for text in code["text"]]
                assert [text for text in found if text not in first] == texts, name
                assert set(first) <= set(found)


def test_a_read_counts_for_the_statements_of_its_cell_that_need_it(tmp_path):
    with kernel(tmp_path) as running:
        running.run("import tablevault_pd as tv, pandas as pd\nvault = tv.connect('v', session='nb')")
        running.run("for name in 'ab':\n    vault.save(name, pd.DataFrame({'n': [1]}), inputs=False)")
        running.send(
            "\n\nn = len(vault.read('a')); vault.save('one', pd.DataFrame({'n': [n]}))\n"
            "m = len(vault.read('b'))\nvault.save('two', pd.DataFrame({'n': [m]}))"
        )
    with tv.connect(tmp_path / "v", mode="r") as vault:
        for name, parent in (("one", "a"), ("two", "b")):
            assert vault.lineage(name, basis="read", depth=1)["parent_list"].tolist() == [parent]


def test_a_function_of_a_module_that_was_loaded_anew_in_part_is_taken_whole(tmp_path):
    """The notebook's `work` is that of before the reload, and what is captured of the module is not."""
    (tmp_path / "mod.py").write_text(MODULE)
    with kernel(tmp_path) as running:
        running.run("import tablevault_pd as tv, mod, importlib\nvault = tv.connect('v', session='nb')")
        running.run("from mod import work\nx = 1")
        (tmp_path / "mod.py").write_text(MODULE.replace("    b = 7\n", "    b = 78\n"))
        running.run("importlib.reload(mod)")
        running.run("work(vault, x)")
        running.run("mod.work(vault, x)\nmod.work(vault, 3)")
    with tv.connect(tmp_path / "v", mode="r") as vault:
        texts = ["\n".join(vault.read(f"module b@{n}").vault.code(whole=True)["text"]) for n in (1, 2)]
    assert "b = 78" in texts[0]
    assert "a = n * RATE" in texts[0]
    assert "b = 78" in texts[1]
    assert "a = n * RATE" not in texts[1]


NOTEBOOK = {
    "connect": "import pandas as pd\nimport tablevault_pd as tv\nvault = tv.connect('v', session='nb')",
    "prompt": "PROMPT = 'good'",
    "twice": "TWICE = 2",
    "ask": "def ask(row):\n    return {'answer': PROMPT * TWICE + row.text}",
    "data": "vault.save('texts', pd.DataFrame({'text': ['a', 'b']}))",
    "map": "answers = vault.map('answers', ask, 'texts')",
    "read": "rows = vault.read('answers')",
    "save": "rows['n'] = rows['answer'].str.len()\nvault.save('lengths', rows)",
}
STATE = "vault['answers'].version, len(vault.stale()), vault['lengths'].version"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the notebook is a forked process")
def test_cells_that_are_run_again_without_an_edit_in_any_order_change_nothing(tmp_path):
    with tv.connect(tmp_path / "v", session=False), shell(tmp_path) as running:
        for id, text in NOTEBOOK.items():
            running.run(id, text)
        for id in ("ask", "twice", "prompt", "connect", "map", "read", "save"):
            running.run(id, NOTEBOOK[id])
        assert running.ask(STATE) == [1, 0, 1]
        running.run("prompt", "PROMPT = 'nice'")
        assert running.ask("vault.stale('answers')['reason'].tolist()") == ["code", "code"]
        for id in ("map", "read", "save"):
            running.run(id, NOTEBOOK[id])
        assert running.ask(STATE) == [2, 0, 2]
        diff = running.ask("vault.code_diff('answers@1', 'answers@2')")
        lines = [line for line in diff.splitlines()[2:] if line[0] in "+-"]
        assert lines == ["-PROMPT = 'good'", "+PROMPT = 'nice'"], diff


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the notebook is a forked process")
def test_a_constant_that_was_edited_is_the_only_cause_where_the_cell_that_stores_a_column_ran_again(tmp_path):
    cells = {
        "src": "pd.DataFrame({'k': list('ab'), 'x': [2, 3]}).set_index('k').vault.save('src')",
        "limit": "LIMIT = 2",
        "read": "df = tv.read('src')",
        "pred": "df['pred'] = (df['x'] > LIMIT).astype(int)",
        "save": "df.vault.save('out')",
    }
    with tv.connect(tmp_path / "v", session=False), shell(tmp_path) as running:
        for id, text in {"connect": NOTEBOOK["connect"], **cells}.items():
            running.run(id, text)
        running.run("limit", "LIMIT = 3")
        for id in ("pred", "save"):
            running.run(id, cells[id])
        why = "vault.compare('out@1', 'out@2', measure='pred').why()[['what', 'a', 'b', 'evidence']].values.tolist()"
        assert running.ask(why) == [["code", "LIMIT = 2", "LIMIT = 3", "the only difference"]]
        diff = running.ask("vault.code_diff('out@1', 'out@2')")
        assert [line for line in diff.splitlines()[2:] if line[0] in "+-"] == ["-LIMIT = 2", "+LIMIT = 3"], (
            diff
        )
