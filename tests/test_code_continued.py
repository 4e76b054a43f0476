"""A slicer that goes on with a program finds what one that begins anew finds, and works through each statement once."""

from __future__ import annotations

import random
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tablevault_pd.code import Piece, Slicer, cut, slice_of_session
from tablevault_pd.code.objects import Objects
from tablevault_pd.session import executed, recorder

if TYPE_CHECKING:
    import tablevault_pd as tv

ROOT = Path(__file__).resolve().parents[1]
FILES = sorted([*ROOT.glob("examples/*.py"), *ROOT.glob("benchmarks/*s.py")])
CHANGED_LATER = """
import helper
rows, kept = [], []
box = helper.make(rows)
box.fix(rows)
for turn in range(3):
    kept.append(rows)
    if turn:
        rows = sorted(kept)
class Own:
    def fix(self, rows):
        rows.append(1)
own = Own()
own.fix(kept)
helper.RATE = 2
with open("x") as file:
    text = file.read()
    rows += text
print(rows, kept, helper.RATE)
"""
HELPER_TEXT = """
RATE = 1
class Box:
    def keep(self, rows): rows.append(2)
def make(rows): return Box()
"""
HELPER = Piece(HELPER_TEXT, "helper.py", module="helper")


@pytest.fixture(autouse=True)
def _nothing_before():
    executed._slicers.clear()
    yield
    executed._slicers.clear()


@pytest.fixture
def worked(monkeypatch) -> list[str]:
    """The first name of each statement that is worked through, or its text."""
    seen: list[str] = []
    bind = Objects.bind

    def counted(self, statement, *args):
        seen.append(statement.tree)
        return bind(self, statement, *args)

    monkeypatch.setattr(Objects, "bind", counted)
    return seen


TEXTS = [CHANGED_LATER, *(file.read_text() for file in FILES)]


@pytest.mark.parametrize("text", TEXTS, ids=["changed_later", *(file.stem for file in FILES)])
@pytest.mark.parametrize("whole", [True, False])
def test_a_script_that_goes_on_has_the_slices_that_it_has_anew(text, whole):
    statements = cut(text, script=not whole)
    some = random.Random(0).sample(range(len(statements)), min(len(statements), 8))
    numbers = [*sorted(some), *some[:2]]  # … and back again, as the body of a loop goes
    begin = None
    for number in numbers:
        until = statements[number].line
        pieces = [Piece(text, "train.py", 1, 0, until=until, whole=whole)]
        for take in (lambda slicer, at=begin: slicer.of_everything(begin=at), Slicer.of_place):
            args = () if take is not Slicer.of_place else (until,)
            found = executed._sliced("ends", pieces, [HELPER], lambda slicer: take(slicer, *args))  # noqa: B023
            anew = take(Slicer(pieces, [HELPER]), *args)
            assert (found.parts, found.unresolved) == (anew.parts, anew.unresolved)
        begin = until


@pytest.mark.parametrize("text", TEXTS[:6])
def test_a_notebook_that_goes_on_has_the_slices_that_it_has_anew(text):
    statements = cut(text)
    lines = text.split("\n")
    begins = [statement.line - 1 for statement in statements if statement.header is None]
    edges = [0, *sorted(random.Random(1).sample(begins[1:], min(len(begins) - 1, 6))), len(lines)]
    cells = ["\n".join(lines[first:end]) for first, end in pairwise(edges)]
    for session in (1, 2):  # the same cells have other numbers in another session
        for count in range(1, len(cells) + 1):
            pieces = [Piece(cell, None, session, number) for number, cell in enumerate(cells[:count])]
            for take in (Slicer.of_everything, lambda slicer: slicer.of_place(None)):
                found = executed._sliced("commits", pieces, [HELPER], take)
                anew = take(Slicer(pieces, [HELPER]))
                assert (found.parts, found.unresolved) == (anew.parts, anew.unresolved)


def test_what_a_slice_failed_at_begins_anew():
    pieces = [Piece("a = 1\nb = a", "train.py", 1, 0)]
    executed._sliced("ends", pieces, [], Slicer.of_everything)

    def fails(slicer):
        slicer.of_everything()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        executed._sliced("ends", pieces, [], fails)
    assert not executed._slicers
    assert len(executed._sliced("ends", pieces, [], Slicer.of_everything).parts) == 2


def test_sessions_at_many_places_of_a_script_work_through_each_statement_once(
    folder_vault: tv.Vault, monkeypatch, worked
) -> None:
    script = "".join(f"x{number} = {number}\n" for number in range(200))
    here = [0]
    monkeypatch.setattr("tablevault_pd.capture.script.main_source", lambda: script)
    monkeypatch.setattr("tablevault_pd.capture.script.main_path", lambda folder: "train.py")
    for module in (executed, recorder):  # the script of the process that runs the tests is another one
        monkeypatch.setattr(module, "place_of_main", lambda: here[0])
    executed._of_script.cache_clear()
    for number in range(10, 200, 10):
        here[0] = number
        with folder_vault.session("at a place") as run:
            here[0] = number + 5
        code = slice_of_session(folder_vault.store, run.id)
        assert [part.text for part in code.parts] == [f"x{n} = {n}" for n in range(number - 1, number + 5)]
    assert len(worked) == len(set(worked)) == 195
