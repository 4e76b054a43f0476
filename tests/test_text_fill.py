"""A search adds the few rows that the index of texts lacks, unless another writer is at work; its hits are the same either way."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest
from stores import index_texts
from test_text_file import WORDS, opened, require_right, state

from tablevault_pd.store.embedded import text as text_module
from tablevault_pd.store.embedded.text_file import LOCK
from tablevault_pd.store.embedded.write_lock import WriteLock

if TYPE_CHECKING:
    from pathlib import Path

MORE = [*WORDS, "lime"]


@pytest.fixture(autouse=True)
def _nothing_is_indexed_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_module, "IDLE_S", 600.0)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A vault with an index of its texts, which lacks the last row."""
    with opened(tmp_path / "v") as vault:
        vault.save("fruit", pd.DataFrame({"text": [f"{word} tree" for word in WORDS]}))
        index_texts(vault.store)
        vault.append("fruit", {"text": "lime tree"})
        assert state(vault) == "behind"
    return tmp_path / "v"


def scores(vault: Any) -> list[float]:
    return vault.search("lime OR tree")["score"].tolist()


def test_a_few_rows_are_indexed_by_the_search_that_needs_them(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(place, "r") as reader, opened(place) as vault:
        scanned = scores(reader)
        assert state(reader) == "behind"
        require_right(vault, MORE)
        assert state(vault) == state(reader) == "complete"
        monkeypatch.setattr(text_module.Tail, "counted", None)  # nothing is scanned
        require_right(reader, MORE)
        assert scores(vault) == scores(reader) == pytest.approx(scanned)
        vault.upsert("fruit", pd.DataFrame({"text": ["kiwi tree"]}), key="text")
        require_right(vault, [*MORE, "kiwi"])
        assert state(vault) == "complete"
        assert vault.check().empty


def test_beside_another_writer_or_with_many_rows_they_are_scanned(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(place) as vault:
        with WriteLock(place, LOCK).take(1.0):
            require_right(vault, MORE)
        assert state(vault) == "behind"
        with monkeypatch.context() as patched:
            patched.setattr(text_module, "ROWS_FILLED", 0)
            require_right(vault, MORE)
        assert state(vault) == "behind"
        require_right(vault, MORE)
        assert state(vault) == "complete"


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
def test_an_interrupt_in_it_leaves_the_index_as_it_was(
    place: Path, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
) -> None:
    add = text_module._Portion.add

    def interrupted(*what: Any) -> int:
        add(*what)
        raise error

    with opened(place) as vault:
        with monkeypatch.context() as patched:
            patched.setattr(text_module._Portion, "add", interrupted)
            if error is KeyboardInterrupt:
                with pytest.raises(KeyboardInterrupt):
                    vault.search("lime")
            else:
                require_right(vault, MORE)
        assert state(vault) == "behind"
        require_right(vault, MORE)
        assert state(vault) == "complete"
        assert vault.check().empty


def test_rows_erased_meanwhile_are_not_indexed(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    portions = text_module.portions
    with opened(place) as vault, opened(place) as other:

        def erased_once_read(*what: Any) -> Any:
            for start, tables in portions(*what):
                if other.read("fruit").shape[0] == 5:
                    other.erase("fruit", rows=[4])
                yield start, tables

        monkeypatch.setattr(text_module, "portions", erased_once_read)
        vault.search("lime")
        monkeypatch.undo()
        monkeypatch.setattr(text_module, "IDLE_S", 600.0)
        require_right(vault, WORDS)
    for path in place.glob("text.db*"):
        assert b"lime" not in path.read_bytes()


def test_a_forked_child_and_its_parent_both_search(place: Path) -> None:
    with opened(place) as vault:
        require_right(vault, MORE)
        vault.append("fruit", {"text": "kiwi tree"})
        child = os.fork()
        if child == 0:
            code = 1
            try:
                require_right(vault, [*MORE, "kiwi"])
                code = 0
            finally:
                os._exit(code)
        require_right(vault, [*MORE, "kiwi"])
        assert os.waitpid(child, 0)[1] == 0
        assert state(vault) == "complete"


def test_what_waits_in_other_lists_is_looked_up_once(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that only searches has the rest indexed, and asks no more while nothing is committed."""
    with opened(place) as vault:
        vault.save("many", pd.DataFrame({"text": ["bush"] * 600}))
        index_texts(vault.store)
        vault.save("other", pd.DataFrame({"text": ["moss"]}))
    with opened(place) as vault:
        require_right(vault, MORE)
        assert not vault.store.text._indexing.is_done
        monkeypatch.setattr(vault.store.text, "_ends_behind", None)  # nothing is looked up
        require_right(vault, MORE)


def test_words_are_weighed_by_all_texts_however_far_the_index_has_come(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What waits in a list that is not searched counts each time, also where the rows that are searched were just indexed."""
    with opened(tmp_path / "v") as vault:
        vault.save("fruit", pd.DataFrame({"text": ["apple tree", "pear tree"]}))
        index_texts(vault.store)
        text = vault.store.text

        def found() -> list[float]:
            return vault.search("apple OR pear", lists="fruit")["score"].tolist()

        def indexed() -> int:
            return sum(text.upto().values())

        vault.save("other", pd.DataFrame({"text": ["apple"] * 5}))
        vault.append("fruit", {"text": "plum tree"})
        filled = found()  # by the search
        assert indexed() == 3
        vault.append("fruit", {"text": "lime tree"})
        real = text._ends_behind

        def another_is_faster(*what: Any) -> Any:
            """Another process indexes the row once this one has seen that it waits."""
            ends = real(*what)
            monkeypatch.setattr(text, "_ends_behind", real)
            assert text._fill([gap for gap in text._lacking(text.upto()) if gap.version.list == "fruit"])
            return ends

        monkeypatch.setattr(text, "_ends_behind", another_is_faster)
        beside = found()
        assert indexed() == 4
        index_texts(vault.store)
        assert indexed() == 9
        assert beside == found()
        assert filled != beside
    with opened(tmp_path / "again") as vault:
        vault.save("fruit", pd.DataFrame({"text": ["apple tree", "pear tree", "plum tree"]}))
        vault.save("other", pd.DataFrame({"text": ["apple"] * 5}))
        index_texts(vault.store)
        assert vault.search("apple OR pear", lists="fruit")["score"].tolist() == filled
