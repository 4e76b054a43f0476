"""What the tab key offers at an IPython prompt: calls of users, and names of lists and sessions inside of a call."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

import pytest

import tablevault_pd as tv
from tablevault_pd.vault import completion

pytest.importorskip("IPython")

from shells import Shell, shell

if TYPE_CHECKING:
    from collections.abc import Iterator

CELL = """
import warnings
import tablevault_pd as tv
warnings.simplefilter("ignore")  # IPython calls its own way to ask for completions provisional
vault = tv.connect("a.vault", session="train")
saved = vault.save("news/2026 may", {"n": 1})
vault.save("preds", {"n": 2})
other = tv.connect("b.vault", session=False)
other.save("pages", {"n": 3})
vault = tv.connect("a.vault")
frame = vault.read("preds")

def complete(text):
    return [(c.text, c.start, c.end) for c in get_ipython().Completer.completions(text, len(text))]
"""


@pytest.fixture(scope="module")
def prompt(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    with shell(tmp_path_factory.mktemp("prompt")) as running:
        running.run("a", CELL)
        yield running


OFFERED = {
    "a read": ('vault.read("', ["news/2026 may", "preds"]),
    "the part after a slash and a space": ("vault.read('news/2026 m", ["news/2026 may"]),
    "inside of another call": ('print(tv.read("pr', ["preds"]),
    "the last line of a cell": ('x = 1\ny = vault.trend( "', ["news/2026 may", "preds"]),
    "an item": ('vault["p', ["preds"]),
    "another vault than the current one": ('other.read("', ["pages"]),
    "a write of a frame": ('frame.vault.append("n', ["news/2026 may"]),
    "sessions": ('vault.run("', ["train"]),
}


@pytest.mark.parametrize("what", OFFERED)
def test_names_are_offered_inside_of_calls(prompt: Shell, what: str) -> None:
    text, names = OFFERED[what]
    typed = max(text.rfind('"'), text.rfind("'")) + 1
    assert prompt.ask(f"complete({text!r})") == [[name, typed, len(text)] for name in names]


@pytest.mark.parametrize(
    "text", ['open("', 'vault.search("', 'vault.vault.read("', 'none.read("', 'vault.read("x", "', 'tv.run("']
)
def test_elsewhere_no_name_is_offered(prompt: Shell, text: str) -> None:
    assert not {"news/2026 may", "preds", "train"} & {
        name for name, _, _ in prompt.ask(f"complete({text!r})")
    }


def test_a_vault_that_is_closed_offers_nothing_and_says_nothing(prompt: Shell) -> None:
    prompt.run("b", "gone = tv.connect('c.vault', session=False)\ngone.save('lost', {'n': 1})\ngone.close()")
    assert "lost" not in {name for name, _, _ in prompt.ask("""complete('gone.read("')""")}
    assert prompt.ask("gone._ipython_key_completions_()") == []  # for gone["; IPython prints what it raises


def test_names_with_quotes_and_backslashes_are_offered_as_they_are_written(prompt: Shell) -> None:
    prompt.run(
        "d",
        """odd = tv.connect('d.vault', session=False)\nodd.save("o'brien", {'n': 1})\nodd.save('a\\\\b"c', {'n': 1})""",
    )
    for text in (
        "odd.read('",
        'odd.read("',
        "odd.read('o",
        'odd.read("o',
        "odd.read(\"o'b",
        "odd.read('o\\'b",
        "odd.read('a\\\\",
    ):
        for name, start, _ in prompt.ask(f"complete({text!r})"):
            assert ast.literal_eval(text[start - 1] + name + text[start - 1]) in ("o'brien", 'a\\b"c')
        assert prompt.ask(f"complete({text!r})")


def test_only_what_is_for_users_is_offered(prompt: Shell) -> None:
    offered = {name for name, _, _ in prompt.ask('complete("vault.s")')}
    assert {"save", "search", "sessions", "stop"} <= offered
    assert "store" not in offered
    assert [name for name, _, _ in prompt.ask('complete("saved.c")')] == ["columns"]


def test_calls_of_which_names_are_offered_are_there() -> None:
    assert {*completion._OF_LISTS, *completion._OF_SESSIONS} <= set(dir(tv.Vault))
