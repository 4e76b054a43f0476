"""Slices of projects whose modules import each other in long chains and in circles, and of functions that call each other in such."""

from __future__ import annotations

import pytest

from tablevault_pd.code import Piece, Slice, Slicer

SCRIPT = "from m0 import f0\nrows, unused = [], []\nf0(rows)\nout = rows\n"
LONG = 400  # far more calls inside of each other than Python allows, if each needs several


def module(name: str, text: str) -> Piece:
    return Piece(text, f"{name}.py", module=name)


def chain(length: int, last: str) -> list[Piece]:
    """Modules each of which imports the next one and calls its function, and one that changes what it is given."""
    return [
        *[
            module(
                f"m{number}",
                f"from m{number + 1} import f{number + 1}\n"
                f"def f{number}(rows): f{number + 1}(rows)\n"
                f"UNUSED = f{number + 1}([])\n",
            )
            for number in range(length)
        ],
        module(f"m{length}", last),
    ]


def of_last(script: str, modules: list[Piece]) -> Slice:
    """The slice of the last line of a script."""
    return Slicer([Piece(script, "train.py", 1, 0)], modules).of_place(script.count("\n"))


def lines(code: Slice) -> list[tuple[str | None, int]]:
    return [(part.path, part.line) for part in code.parts]


@pytest.mark.parametrize("circle", ["", f"from m{LONG // 2} import UNUSED\n"])
def test_a_chain_of_hundreds_of_modules_is_followed_to_its_end(circle):
    last = f"{circle}COUNT = []\ndef f{LONG}(rows):\n    COUNT.append(1)\n    rows.append(1)\n"
    code = of_last(SCRIPT, chain(LONG, last))
    at = last.split("\n").index("COUNT = []") + 1
    expected = {(f"m{number}.py", line) for number in range(LONG) for line in (1, 2)}
    expected |= {("train.py", line) for line in (1, 2, 3, 4)} | {(f"m{LONG}.py", at), (f"m{LONG}.py", at + 1)}
    assert set(lines(code)) == expected
    assert not code.unresolved


def test_what_the_last_module_of_a_long_chain_does_not_change_has_no_call_in_its_slice():
    code = of_last(SCRIPT, chain(LONG, f"def f{LONG}(rows): return rows.copy()\n"))
    assert lines(code) == [("train.py", 2), ("train.py", 4)]


def test_a_global_name_that_the_end_of_a_long_chain_changes_is_changed_by_its_call():
    last = f"COUNT = []\ndef f{LONG}(rows): COUNT.append(1)\n"
    script = f"from m0 import f0\nimport m{LONG}\nf0(1)\nout = len(m{LONG}.COUNT)\n"
    assert ("train.py", 3) in lines(of_last(script, chain(LONG, last)))


def test_a_thousand_functions_that_call_each_other_are_followed_to_the_last():
    text = "".join(f"def f{number}(rows): f{number + 1}(rows)\n" for number in range(1000))
    code = of_last(SCRIPT, [module("m0", text + "def f1000(rows): rows.append(1)\n")])
    of_script = [("train.py", line) for line in (1, 2, 3, 4)]
    assert lines(code) == [*(("m0.py", line) for line in range(1, 1002)), *of_script]


def test_a_name_that_two_modules_import_from_each_other_ends():
    modules = [module("a", "from b import f\n"), module("b", "from a import f\n")]
    code = of_last("from a import f\nrows = []\nf(rows)\nout = rows\n", modules)
    assert [line for line in lines(code) if line[0] == "train.py"] == [("train.py", 2), ("train.py", 4)]


def test_an_import_of_everything_brings_what_the_module_imports_so_itself():
    modules = [
        module("a", "from b import *\n"),
        module("b", "from c import *\n"),
        module("c", "def fill(rows): rows.append(1)\n"),
    ]
    code = of_last("from a import *\nrows = []\nfill(rows)\nout = rows\n", modules)
    assert ("train.py", 3) in lines(code)


def test_equal_modules_of_two_packages_are_told_apart():
    text = "from .low import change\ndef fill(rows): change(rows)\n"
    modules = [
        Piece("", "p/__init__.py", module="p"),
        Piece(text, "p/top.py", module="p.top"),
        Piece("def change(rows): return rows\n", "p/low.py", module="p.low"),
        Piece("", "q/__init__.py", module="q"),
        Piece(text, "q/top.py", module="q.top"),
        Piece("def change(rows): rows.append(1)\n", "q/low.py", module="q.low"),
    ]
    script = "import p.top, q.top\na, b = [], []\np.top.fill(a)\nq.top.fill(b)\nout = b, a\n"
    assert [line for path, line in lines(of_last(script, modules)) if path == "train.py"] == [1, 2, 4, 5]


def test_a_function_that_is_defined_anew_counts_as_it_was_at_each_call():
    script = (
        "def change(rows): return rows\n"
        "def fill(rows): change(rows)\n"
        "a = []\n"
        "fill(a)\n"
        "def change(rows): rows.append(1)\n"
        "b = []\n"
        "fill(b)\n"
        "out = a, b\n"
    )
    found = [line for _, line in lines(of_last(script, []))]
    assert 4 not in found
    assert {5, 6, 7, 8} <= {*found}
