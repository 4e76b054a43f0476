"""``text.db``, the index of rows' texts: whatever becomes of the file, searches find what the vault holds, and it is made anew."""

from __future__ import annotations

import os
import shutil
import sqlite3
import zipfile
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
import pytest
from stores import index_texts
from torture.harness import run

import tablevault_pd as tv
from tablevault_pd.store.embedded import tables
from tablevault_pd.store.embedded import text as text_module

if TYPE_CHECKING:
    from collections.abc import Callable

WORDS = ["apple", "pear", "plum", "fig"]


@pytest.fixture(autouse=True)
def _nothing_is_indexed_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_module, "IDLE_S", 600.0)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A vault with an index of its texts."""
    with opened(tmp_path / "v") as vault:
        vault.save("fruit", pd.DataFrame({"text": [f"{word} tree" for word in WORDS]}))
        index_texts(vault.store)
        assert state(vault) == "complete"
    return tmp_path / "v"


def opened(place: Path, mode: str = "rw") -> tv.Vault:
    return tv.connect(place, mode=mode, session=False, capture="none")


def state(vault: tv.Vault) -> str:
    return str(vault.indexes().set_index("kind").loc["text", "state"])


def require_right(vault: tv.Vault, words: list[str]) -> None:
    assert vault.search("tree")["position"].tolist() == list(range(len(words)))
    for number, word in enumerate(words):
        assert vault.search(word)["position"].tolist() == [number]


def execute(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path)) as db, db:
        for statement in statements:
            db.execute(statement)


def of_another_vault(path: Path) -> None:
    with opened(path.parent.parent / "other") as vault:
        vault.save("x", pd.DataFrame({"text": [f"{word} bush" for word in reversed(WORDS)]}))
        index_texts(vault.store)
    shutil.copy(path.parent.parent / "other" / "text.db", path)


DAMAGES: dict[str, Callable[[Path], object]] = {
    "missing": Path.unlink,
    "empty": lambda path: path.write_bytes(b""),
    "no database": lambda path: path.write_bytes(b"hello" * 5000),
    "cut": lambda path: os.truncate(path, path.stat().st_size // 2),
    "pages of nothing": lambda path: path.write_bytes(path.read_bytes()[:4096] + bytes(path.stat().st_size - 4096)),
    "without its structure": lambda path: execute(path, "DELETE FROM prose_data", "DELETE FROM plain_data"),
    "a trigger more": lambda path: execute(
        path, "CREATE TRIGGER t AFTER INSERT ON text_upto BEGIN DELETE FROM text_runs; END"
    ),
    "words for numbers": lambda path: execute(path, "UPDATE text_runs SET items = 'x', start = 'y'"),
    "rows to come": lambda path: execute(path, "UPDATE text_upto SET upto = upto + 100"),
    "a token of no commit": lambda path: execute(path, "UPDATE text_upto SET token = 'x'"),
    "another vault's": of_another_vault,
}  # fmt: skip


@pytest.mark.parametrize("with_more", [False, True])
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_not_used_and_made_anew(
    place: Path, damage: str, with_more: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    DAMAGES[damage](place / "text.db")
    with opened(place, "r") as reader:
        require_right(reader, WORDS)
    with opened(place) as vault:
        require_right(vault, WORDS)
        if with_more:
            vault.append("fruit", pd.DataFrame({"text": ["lime tree"]}))
        words = [*WORDS, "lime"] if with_more else WORDS
        require_right(vault, words)
        index_texts(vault.store)
        assert state(vault) == "complete"
        monkeypatch.setattr(text_module.Tail, "counted", None)  # nothing is scanned
        require_right(vault, words)
        assert vault.check().empty


@pytest.mark.parametrize("damage", ["missing", "no database"])
def test_a_file_that_is_lost_while_it_is_open_is_made_anew(place: Path, damage: str) -> None:
    with opened(place) as vault, opened(place, "r") as reader:
        require_right(vault, WORDS)
        require_right(reader, WORDS)
        (place / "text.db").unlink()
        if damage != "missing":
            DAMAGES[damage](place / "text.db")
        require_right(vault, WORDS)
        require_right(reader, WORDS)
        index_texts(vault.store)
        assert state(vault) == state(reader) == "complete"
        require_right(vault, WORDS)
        require_right(reader, WORDS)


@pytest.mark.parametrize("begun", [b"", b"database"])
def test_a_file_whose_maker_was_killed_is_no_damage(place: Path, begun: bytes) -> None:
    (place / "text.db").write_bytes(b"")
    if begun:
        execute(place / "text.db", "PRAGMA journal_mode = WAL", "CREATE TABLE t (a)", "DROP TABLE t")
    with opened(place) as vault:
        assert vault.check().empty
        require_right(vault, WORDS)
        index_texts(vault.store)
        assert state(vault) == "complete"


def test_a_reader_makes_no_file(place: Path) -> None:
    (place / "text.db").unlink()
    with opened(place, "r") as reader:
        require_right(reader, WORDS)
        assert state(reader) == "behind"
    assert not (place / "text.db").exists()


def test_an_index_of_commits_that_were_lost_is_not_believed(place: Path) -> None:
    """The catalogue of a moment before is put back, and other rows come in the place of those that were indexed."""
    shutil.copy(place / "catalog.db", place.parent / "before")
    with opened(place) as vault:
        vault.append("fruit", pd.DataFrame({"text": ["lime tree"]}))
        index_texts(vault.store)
    shutil.copy(place.parent / "before", place / "catalog.db")
    with opened(place) as vault:
        vault.check(fix=True)
        vault.append("fruit", pd.DataFrame({"text": ["kiwi tree"]}))
        require_right(vault, [*WORDS, "kiwi"])
        assert vault.search("lime").empty
        index_texts(vault.store)
        require_right(vault, [*WORDS, "kiwi"])
        assert vault.search("lime").empty


def test_erased_words_are_gone_from_the_file(place: Path) -> None:
    with opened(place) as vault:
        vault.append("fruit", pd.DataFrame({"text": ["qzxjkvw tree"]}))
        index_texts(vault.store)
    assert b"qzxjkvw" in (place / "text.db").read_bytes()
    with opened(place) as vault:
        vault.erase("fruit", rows=[4])
        for path in place.glob("text.db*"):
            assert b"qzxjkvw" not in path.read_bytes()
        require_right(vault, WORDS)
        index_texts(vault.store)
        require_right(vault, WORDS)


def of_a_newer_release(path: Path) -> None:
    execute(path, "PRAGMA user_version = 2")


def with_something_in_its_place(path: Path) -> None:
    path.unlink()
    path.mkdir()


def gone_but_for_its_log(path: Path) -> None:
    path.with_name("text.db-wal").write_bytes(path.read_bytes())  # as a process that was killed leaves it
    path.unlink()


@pytest.mark.parametrize("state", [of_a_newer_release, with_something_in_its_place, gone_but_for_its_log])
def test_a_file_that_this_release_does_not_use_stops_no_call(
    place: Path, state: Callable[[Path], None]
) -> None:
    with opened(place) as vault:
        vault.append("fruit", pd.DataFrame({"text": ["qzxjkvw tree"]}))
        index_texts(vault.store)
    with opened(place) as vault:
        state(place / "text.db")
        assert vault.search("tree")["position"].tolist() == list(range(5))
        assert vault.check().empty == (state is not with_something_in_its_place)
        vault.save("old", pd.DataFrame({"text": ["a"]}))
        vault.save("old", pd.DataFrame({"text": ["b"]}))
        remains = vault.erase("fruit", rows=[4])
        assert "text.db" not in str(remains["detail"].tolist())
        for path in place.glob("text.db*"):
            assert b"qzxjkvw" not in path.read_bytes()
        assert not vault.vacuum(dry_run=False).empty
        require_right(vault, WORDS)


def test_what_is_in_the_place_of_the_file_and_cannot_be_removed_is_told(place: Path) -> None:
    with opened(place) as vault:
        with_something_in_its_place(place / "text.db")
        (place / "text.db" / "notes").touch()
        assert "index of texts" in str(vault.erase("fruit", rows=[3])["detail"].tolist())
        require_right(vault, WORDS[:3])


def test_a_forked_child_does_not_wait_for_the_lock_of_a_thread_that_it_does_not_have(place: Path) -> None:
    with opened(place) as vault:
        answer = run(HELD, place)
        assert answer.strip() == "1 0", answer
        require_right(vault, WORDS)


HELD = """
import os, sys, threading
import tablevault_pd as tv
from tablevault_pd.store.embedded import text
text.IDLE_S = 600.0
vault = tv.connect(sys.argv[1], session=False, capture="none")
held, done = threading.Event(), threading.Event()
def hold():  # as while it opens the file
    with vault.store.text._file._turn():
        held.set()
        done.wait()
threading.Thread(target=hold).start()
held.wait()
child = os.fork()
if child == 0:
    import signal
    signal.alarm(20)
    print(len(vault.indexes()), end=" ", flush=True)
    os._exit(0)
print(os.waitpid(child, 0)[1])
done.set()
"""


def test_words_erased_in_a_vault_with_the_index_in_its_catalogue_are_gone_from_it(tmp_path: Path) -> None:
    with opened(tmp_path / "v") as vault:
        vault.save("fruit", pd.DataFrame({"text": [*(f"{word} tree" for word in WORDS), "qzxjkvw tree"]}))
    catalogue = tmp_path / "v" / "catalog.db"
    execute(
        catalogue,
        *tables.FORMER_TABLES.strip().rstrip(";").split(";\n"),
        *(f"INSERT INTO {name} (rowid, text) VALUES (5, 'qzxjkvw')" for name in ("prose", "plain")),
    )
    assert b"qzxjkvw" in catalogue.read_bytes()
    with opened(tmp_path / "v") as vault:
        vault.erase("fruit", rows=[4])
        for path in (tmp_path / "v").glob("*.db*"):
            assert b"qzxjkvw" not in path.read_bytes()
        require_right(vault, WORDS)


def test_what_is_erased_while_it_is_indexed_does_not_come_back(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(place) as vault, opened(place) as other:
        vault.append("fruit", pd.DataFrame({"text": ["qzxjkvw tree"]}))
        portions = text_module.portions

        def erased_once_read(*what: object) -> object:
            for start, tables in portions(*what):
                if other.read("fruit").shape[0] == 5:
                    other.erase("fruit", rows=[4])
                yield start, tables

        with monkeypatch.context() as patched:
            patched.setattr(text_module, "portions", erased_once_read)
            index_texts(vault.store)
        index_texts(vault.store)
        require_right(vault, WORDS)
    for path in place.glob("text.db*"):
        assert b"qzxjkvw" not in path.read_bytes()


def test_rows_that_a_vacuum_takes_go_from_the_index(place: Path) -> None:
    with opened(place) as vault:
        vault.save("fruit", pd.DataFrame({"text": ["lime tree"]}))
        index_texts(vault.store)
        vault.vacuum(dry_run=False)
        assert vault.store.text.upto() == {}
        require_right(vault, ["lime"])
        index_texts(vault.store)
        assert state(vault) == "complete"
        require_right(vault, ["lime"])


def test_a_backup_is_without_it(place: Path) -> None:
    with opened(place) as vault:
        assert vault.backup(place.parent / "copy").empty
    assert not (place.parent / "copy" / "text.db").exists()
    with opened(place.parent / "copy") as vault:
        require_right(vault, WORDS)


KILLED = """
import os, sys
import tablevault_pd as tv
from tablevault_pd.store.embedded import text

add_rows = text.add_rows
def killed(*what):
    add_rows(*what)
    os._exit(0)
text.add_rows = killed
vault = tv.connect(sys.argv[1], session=False, capture="none")
vault.append("fruit", {"text": "lime tree"})
vault.store.text._complete()
"""
INDEXED = """
import sys
import tablevault_pd as tv
vault = tv.connect(sys.argv[1], session=False, capture="none")
vault.store.text._complete()
"""


def test_a_process_that_is_killed_and_another_one_that_goes_on(place: Path) -> None:
    with opened(place) as vault:
        require_right(vault, WORDS)
        run(KILLED, place)
        assert state(vault) == "behind"
        require_right(vault, [*WORDS, "lime"])
        run(INDEXED, place)
        assert state(vault) == "complete"
        require_right(vault, [*WORDS, "lime"])


def test_a_vault_with_the_index_in_its_catalogue_is_searched_and_moved(tmp_path: Path) -> None:
    with zipfile.ZipFile(Path(__file__).parent / "golden" / "folder-1.zip") as archive:
        archive.extractall(tmp_path)
    [place] = [path.parent for path in tmp_path.rglob("catalog.db")]
    assert not (place / "text.db").exists()
    with opened(place, "r") as reader:
        before = reader.search("solar", k=3)
        assert len(before) == 3
    with opened(place) as vault:
        index_texts(vault.store)
        pd.testing.assert_frame_equal(vault.search("solar", k=3), before)
    with closing(sqlite3.connect(place / "catalog.db")) as db:
        assert not db.execute("SELECT name FROM sqlite_master WHERE name LIKE 'text_%'").fetchall()
    with opened(place) as vault:
        pd.testing.assert_frame_equal(vault.search("solar", k=3), before)
        assert vault.check().empty


def test_scores_are_by_all_texts_of_the_vault_before_and_after_they_are_indexed(tmp_path: Path) -> None:
    """Whatever is searched, and whatever else was lost or is damaged."""
    with opened(tmp_path / "v") as vault:
        vault.save("fruit", pd.DataFrame({"text": [f"{word} tree" for word in WORDS]}))
        for number in range(3):
            vault.save("trees", pd.DataFrame({"text": [f"tall apple tree {number}"] * 4}))
        before = vault.search("apple OR tree", lists="fruit")
        index_texts(vault.store)
        assert len(vault.store.text.upto()) == 4  # generations that no list shows any more have their share
        after = vault.search("apple OR tree", lists="fruit")
        pd.testing.assert_frame_equal(before, after)
        (tmp_path / "v" / "text.db").unlink()
        pd.testing.assert_frame_equal(vault.search("apple OR tree", lists="fruit"), after)
        index_texts(vault.store)
        assert len(vault.store.text.upto()) == 4
        for number in range(70):  # more lists than one, and none of them searched
            vault.save(f"wood/{number}", pd.DataFrame({"text": ["apple wood"] * 2}))
        before = vault.search("apple OR tree", lists="fruit")
        index_texts(vault.store)
        pd.testing.assert_frame_equal(before, vault.search("apple OR tree", lists="fruit"))
