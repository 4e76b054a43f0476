"""Every public name says in numpydoc what it takes, returns and raises, with an example that pytest runs."""

from __future__ import annotations

import builtins
import doctest
import inspect
import re
import sys
from typing import TYPE_CHECKING

import pandas as pd
import pytest
from docstrings import Documented, public_names, target

import tablevault_pd as tv

if TYPE_CHECKING:
    from collections.abc import Iterator

NAMES = list(public_names())
CALLS = [each for each in NAMES if each.is_call]
FULL = [each for each in CALLS if each.forward is None]
CLASSES = [
    each for each in NAMES if inspect.isclass(each.thing) and not issubclass(each.thing, BaseException)
]

each_name = pytest.mark.parametrize("name", NAMES, ids=lambda name: name.label)
each_call = pytest.mark.parametrize("call", FULL, ids=lambda call: call.label)


@each_name
def test_the_first_line_stands_alone(name):
    first, *rest = name.text.splitlines()
    assert first.rstrip('"').endswith("."), first
    assert not rest or not rest[0], "the second line is empty"
    assert len(first) <= 130


@each_call
def test_the_parameters_are_those_of_the_signature(call):
    assert call.entries("Parameters") == call.parameters


@each_call
def test_what_it_returns_is_said(call):
    assert call.returns == bool(call.sections.get("Returns")), (
        "a section Returns where, and only where, it returns something"
    )


@each_call
def test_what_it_raises_is_said(call):
    if call.parameters:  # a call without any raises what any call may: see Vault
        assert call.entries("Raises")


@pytest.mark.parametrize("call", CALLS, ids=lambda call: call.label)
def test_the_errors_it_names_are_there(call):
    for name in call.entries("Raises"):
        error = getattr(tv, name, None) or getattr(builtins, name)
        assert issubclass(error, BaseException)


@pytest.mark.parametrize("call", [each for each in CALLS if each.forward], ids=lambda call: call.label)
def test_a_call_that_points_on_points_at_a_call_that_says_the_rest(call):
    assert target(call.forward).forward is None


@pytest.mark.parametrize("name", [*FULL, *CLASSES], ids=lambda name: name.label)
def test_it_has_an_example(name):
    assert name.has_example


def _collected() -> Iterator[str]:
    """Yield the names of all docstrings with examples that doctest finds in the modules of public names."""
    for module in {name.thing.__module__ for name in [*CALLS, *CLASSES]}:
        for test in doctest.DocTestFinder(exclude_empty=True).find(sys.modules[module]):
            yield test.name


def test_every_example_is_run():
    found = set(_collected())
    for name in [*CALLS, *CLASSES]:
        if name.has_example:
            assert f"{name.thing.__module__}.{name.thing.__qualname__}" in found


# -- columns and dtypes of frames

DTYPE = r"(str|bool|Int64|int64|float64|vault_ref|object|label|list of \w+|datetime64\[us, UTC\])"
COLUMNS = re.compile(rf"((?:\w+, )*\w+(?: and \w+)?) \({DTYPE}")
OBJECTS = re.compile(r"list of \w+|label")


def documented_columns(call: Documented) -> dict[str, str]:
    """Return the dtype that a docstring names for each column: ``rows and total (Int64), gone (bool)``."""
    text = " ".join(call.sections["Returns"].split())
    found = {}
    for names, dtype in COLUMNS.findall(text):
        for name in re.split(", | and ", names):
            found[name] = OBJECTS.sub("object", dtype)
    return found


@pytest.fixture
def answers(folder_vault, tmp_path) -> dict[str, pd.DataFrame]:
    """An answer of every call whose columns are settled."""
    vault = folder_vault
    (tmp_path / "notes.txt").write_text("hello")
    with vault.session("train", params={"lr": 0.1}, tags="demo") as run:
        run.log(step=1, loss=0.5)
        vault.save(
            "words", pd.DataFrame({"word": ["storm", "sun"], "path": "notes.txt"}), files="path", copy=True
        )
        vault.save(
            "sizes", vault.read("words").assign(size=5), description="lengths", tags="gold", message="first"
        )
        stopped = vault.stop("train")
    vault.save("words", ["storm"])
    for _ in range(2):
        vault.append("steps", {"step": 1})
    info = vault.run("train")
    return {
        "Vault.lists": vault.lists(),
        "Vault.versions": vault.versions(),
        "Vault.descriptions": vault.descriptions(),
        "Vault.files": vault.files(),
        "Vault.check": vault.check(),
        "Vault.vacuum": vault.vacuum(),
        "Vault.snapshot": vault.snapshot("paper"),
        "Vault.snapshots": vault.snapshots(),
        "Vault.compact": vault.compact(),
        "Vault.backup": vault.backup(tmp_path / "backup"),
        "Vault.export": vault.export(tmp_path / "export"),
        "Vault.sessions": vault.sessions().drop(columns=["params.lr", "metrics.loss"]),
        "Vault.cells": vault.cells(),
        "Vault.sources": vault.sources("*"),
        "Vault.erase": vault.erase("steps", rows=[0]),
        "Vault.stop": stopped,
        "Vault.tag": vault.tag("train", "paper"),
        "Vault.graph": vault.graph(),
        "Vault.lineage": vault.lineage("sizes"),
        "Vault.stale": vault.stale("sizes"),
        "Vault.search": vault.search("storm"),
        "List.export": vault["words"].export(tmp_path / "words.csv"),
        "List.offsets": vault["words"].offsets(),
        "RunInfo.curve": info.curve(),
        "RunInfo.read": info.read(),
    }


@pytest.mark.skipif(pd.__version__ < "3", reason="texts are str from pandas 3 on")
def test_frames_have_the_columns_and_dtypes_that_are_documented(answers):
    for label, frame in answers.items():
        assert documented_columns(target(label)) == frame.dtypes.astype(str).to_dict(), label
