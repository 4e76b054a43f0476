"""What a call costs whatever it is about: statements, syncs and files opened. Counted, not timed."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
import threading
import time
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import tablevault_pd as tv
from tablevault_pd import frames
from tablevault_pd.capture import environment, returned, script
from tablevault_pd.code import Slicer, slice_of_session
from tablevault_pd.frames import schemas
from tablevault_pd.lineage.edges import CHUNK
from tablevault_pd.reading.reports import labels_of
from tablevault_pd.saving.commit import new_token
from tablevault_pd.session import environment as session_environment
from tablevault_pd.session import executed, heartbeat, recorder
from tablevault_pd.session.environment import EnvironmentCapture
from tablevault_pd.session.heartbeat import EXIT_S
from tablevault_pd.store import Batch, Session
from tablevault_pd.store.embedded import fsio, journal
from tablevault_pd.store.embedded.lockfile import LockFile
from tablevault_pd.store.embedded.store import EmbeddedStore
from tablevault_pd.store.engine import int_codec

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterator
    from types import FrameType

    from tablevault_pd.store import Version


@pytest.fixture
def vault(tmp_path: Path) -> Iterator[tv.Vault]:
    """A vault in a folder, without a session, so that nothing goes on in the background."""
    with tv.connect(tmp_path / "vault", session=False, durability="fast") as vault:
        yield vault


@contextmanager
def statements(vault: tv.Vault) -> Iterator[list[str]]:
    """The statements that a block has SQLite run in this thread, by their first two words."""
    seen: list[str] = []

    def note(statement: str) -> None:
        if not statement.startswith("--"):  # of FTS5, within a statement
            seen.append(" ".join(statement.split()[:2]))

    catalog = vault.store.catalog
    with catalog.reading() as connection:
        connection.set_trace_callback(note)
    try:
        yield seen
    finally:
        with catalog.reading() as connection:
            connection.set_trace_callback(None)


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The calls of what opens a file or waits for the disk, outside of SQLite."""
    calls: list[str] = []
    for module, name in (
        (fsio, "sync"),
        (fsio, "sync_folder"),
        (fsio, "load_private"),
        (fsio, "append"),
        (LockFile, "opened"),
    ):
        original = getattr(module, name)

        def counted(*args: object, _name: str = name, _original: object = original, **more: object) -> object:
            calls.append(_name)
            return _original(*args, **more)

        monkeypatch.setattr(module, name, counted)
    return calls


APPEND = [
    "SELECT b.list,",
    "BEGIN IMMEDIATE",
    "SELECT b.list,",
    "INSERT INTO",
    "INSERT INTO",
    "COMMIT",
]


def test_an_append_is_six_statements_in_one_transaction(vault: tv.Vault, opened: list[str]) -> None:
    for step in range(3):
        vault.append("losses", {"step": step, "loss": 0.5})
    opened.clear()
    with statements(vault) as seen:
        vault.append("losses", {"step": 3, "loss": 0.5})
    assert seen == APPEND
    # One transaction is one sync, of SQLite's log; the write lock and the journal are opened.
    assert opened == ["opened", "append"]


def newest(folder: Path, name: str) -> Version | None:
    """The newest version of a list, as a store reads it that remembers nothing."""
    with closing(EmbeddedStore(folder)) as store:
        return store.head(name)


def test_the_newest_version_is_that_of_the_catalogue_whoever_changed_it(tmp_path: Path) -> None:
    folder = tmp_path / "vault"
    with tv.connect(folder, session=False) as vault, closing(EmbeddedStore(folder)) as beside:
        changes: list[Callable[[], object]] = [
            lambda: vault.append("a", [{"n": 1}, {"n": 2}]),
            lambda: vault.append("a", {"n": 3}, tags="first"),
            lambda: vault.store.change_tags(versions=[(1, 2)], add=["second"]),
            lambda: vault.erase("a", [0]),
            lambda: vault.rename("a", "b"),
            lambda: vault.save("a", {"n": 4}, expect=0),
            lambda: vault.rename("a", "c"),
            lambda: vault.rename("b", "a"),
            lambda: vault.delete("a"),
        ]
        for change in changes:
            change()
            for name in "abc":
                assert beside.head(name) == vault.store.head(name) == newest(folder, name)


def test_a_version_that_was_not_committed_is_not_remembered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "vault"
    with tv.connect(folder, session=False) as vault:
        vault.append("a", {"n": 1})
        monkeypatch.setattr(fsio, "_fault_name", "before-commit")
        monkeypatch.setattr(fsio, "_fault_action", "EIO")
        with pytest.raises(tv.StorageError):
            vault.append("a", {"n": 2})
        monkeypatch.setattr(fsio, "_fault_name", "")
        assert vault.store.head("a") == newest(folder, "a")
        with closing(EmbeddedStore(folder)) as beside:  # whose commit takes the same number
            row = frames.encode_row({"n": 3})
            with beside.stage() as staging:
                staging.write(row)
                head = beside.head("a")
                beside.commit(Batch(new_token(), "a", "append", row.schema, base=head.schema_id), staging)
        assert vault.store.head("a") == newest(folder, "a")
        assert vault.append("a", {"n": 4}).version == 3
        assert vault.read("a")["n"].tolist() == [1, 3, 4]


READ = ["SELECT b.list,", "SELECT start,"]


def test_a_read_of_a_small_list_is_two_statements(vault: tv.Vault, opened: list[str]) -> None:
    vault.save("small", pd.DataFrame({"a": range(10), "b": [f"row {n}" for n in range(10)]}))
    vault.read("small")
    opened.clear()
    with statements(vault) as seen:
        vault.read("small")
    assert seen == READ
    assert opened == []


def test_who_wrote_the_rows_of_a_version_is_asked_once(vault: tv.Vault) -> None:
    def search() -> tuple[int, list[str]]:
        with statements(vault) as seen:
            found = vault.search(filters="a == 1", lists="small", k=9)
        return seen.count("SELECT version,"), found["session"].tolist()

    with vault.session("first"):
        vault.save("small", {"a": 1})
    assert [search(), search()] == [(1, ["first#1"]), (0, ["first#1"])]
    with vault.session("second"):
        vault.append("small", {"a": 1})
    assert [search(), search()] == [(1, ["first#1", "second#1"]), (0, ["first#1", "second#1"])]
    with vault.session("third"):
        vault.save("small", {"a": 1})
    assert vault.search(filters="a == 1", lists="small@2")["session"].tolist() == ["first#1", "second#1"]
    assert [search(), search()] == [(1, ["third#1"]), (0, ["third#1"])]


@pytest.mark.parametrize("versions", [1, 50])
def test_parents_of_one_row_are_as_many_statements_at_any_number_of_versions(
    vault: tv.Vault, versions: int
) -> None:
    vault.save("small", pd.DataFrame({"a": range(10), "b": [f"row {n}" for n in range(10)]}))
    vault.save("child", vault.read("small").query("a % 2 == 0"))
    for number in range(versions):
        vault.append("small", {"a": number, "b": "more"})
    row = vault.read("child").iloc[[3]]
    row.vault.parents()
    with statements(vault) as seen:
        parents = row.vault.parents()
    assert parents[["parent_list", "parent_position"]].to_numpy().tolist() == [["small", 6]]
    assert len(seen) <= 9
    assert row.vault.parents()["session"].isna().all()


def test_a_walk_from_one_row_unpacks_the_positions_of_its_own_edge_alone(
    vault: tv.Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = 3 * CHUNK
    parents = np.random.default_rng(0).permutation(rows)
    vault.save("rows", pd.DataFrame({"a": range(rows)}), inputs=False)
    vault.save("shuffled", pd.DataFrame({"a": range(rows)}), inputs={"rows": parents})
    sizes: list[int] = []
    unpack = int_codec.unpack
    monkeypatch.setattr(
        int_codec, "unpack", lambda *given: [sizes.append(len(unpack(*given))), unpack(*given)][1]
    )
    for row in (0, CHUNK - 1, CHUNK, rows - 1):
        walked = vault.lineage("shuffled", rows=row)
        assert walked["parent_position"].tolist() == [parents[row]]
    assert sizes == [CHUNK] * 4


def test_small_segments_stay_decoded_by_their_content_alone(vault: tv.Vault) -> None:
    """What is in the catalogue now is read, however often it was read before; and frames do not share their memory."""
    kinds = {"ints": np.arange(4), "floats": np.arange(4).view(np.float64)}  # of the same bytes
    for name, values in kinds.items():
        vault.save(name, pd.DataFrame({"a": values}))
    first = vault.read("ints")
    first.loc[0, "a"] = 7
    for name, values in kinds.items():
        assert vault.read(name)["a"].tolist() == values.tolist()
        assert vault.read(name)["a"].dtype == values.dtype
    catalog = vault.store.catalog
    with catalog.reading() as db:
        list_id, data = db.execute("SELECT list, data FROM segments ORDER BY id LIMIT 1").fetchone()
    for replaced in (data[:-1] + bytes([data[-1] ^ 1]), data[:-8]):
        catalog.write(
            lambda db, data=replaced: db.execute(
                "UPDATE segments SET data = ? WHERE list = ?", (data, list_id)
            )
        )
        with pytest.raises(tv.VaultCorrupt, match="ints@1"):
            vault.read("ints")
    assert vault.read("floats")["a"].tolist() == kinds["floats"].tolist()


def test_the_label_of_a_session_is_looked_up_once_and_not_before_it_is_there(
    vault: tv.Vault, tmp_path: Path
) -> None:
    now = datetime.now(UTC)
    with closing(EmbeddedStore(tmp_path / "vault")) as other:
        first = other.open_session(Session("s", "u", "h", 1, now)).id
        assert labels_of(vault.store, [first, first + 1, None]) == {first: "s#1"}
        other.open_session(Session("s", "u", "h", 1, now))
        assert labels_of(vault.store, [first, first + 1]) == {first: "s#1", first + 1: "s#2"}
    with statements(vault) as seen:
        assert labels_of(vault.store, [first + 1, first]) == {first: "s#1", first + 1: "s#2"}
    assert seen == []


# -- what is worked out once for each schema


def test_frames_of_one_list_do_not_share_the_names_of_their_columns(vault: tv.Vault) -> None:
    vault.save("small", pd.DataFrame({"a": [1]}))
    first = vault.read("small")
    first.columns.name = "mine"
    assert vault.read("small").columns.name is None


def test_schemas_that_differ_in_the_kind_of_a_column_alone_are_told_apart() -> None:
    frame = pd.DataFrame({"a": ["text"]})
    schemas = [frames.encode(frame, documents=documents).schema for documents in ((), ("a",))]
    assert schemas[0] == schemas[1]  # for Arrow
    assert [frames.columns(schema)[0].kind for schema in schemas] == ["record", "document"]
    assert [frames.text_columns(schema)[0].kind for schema in schemas] == ["record", "document"]


def test_what_is_known_of_a_schema_is_known_by_object_and_goes_with_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Another schema may get the id of one that is gone."""
    calls: list[str] = []
    first_name = schemas.once_for_each_schema(lambda schema: calls.append(schema.names[0]) or schema.names[0])
    monkeypatch.setattr(schemas, "OBJECTS", 4)
    for number in range(50):
        schema = pa.schema([pa.field(f"f{number}", pa.int64())])
        assert [first_name(schema), first_name(schema)] == [f"f{number}"] * 2
    assert len(calls) == 50
    equal = [pa.schema([pa.field("f", pa.int64(), metadata={b"kind": kind})]) for kind in (b"a", b"b")]
    kinds = schemas.once_for_each_schema(lambda schema: schema.field(0).metadata[b"kind"])
    assert equal[0] == equal[1]
    assert [kinds(schema) for schema in (*equal, *equal)] == [b"a", b"b", b"a", b"b"]


def test_rows_are_encoded_as_pandas_takes_texts_at_that_moment() -> None:
    row = {"step": 1, "note": "slow"}
    for storage in ("python", "pyarrow", "python"):
        with pd.option_context("mode.string_storage", storage):
            table = frames.encode_row(row)
            assert table is not None
            assert table.equals(frames.encode(pd.DataFrame([row])), check_metadata=True)


# -- commits


def test_a_batch_that_is_committed_twice_makes_one_version(vault: tv.Vault) -> None:
    store = vault.store
    table = frames.encode(pd.DataFrame({"a": [1, 2]}))
    versions = []
    for expect in (0, 0):
        with store.stage() as staging:
            staging.write(table)
            batch = Batch("token", "news", "save", table.schema, base=0, expect=expect)
            versions.append(store.commit(batch, staging))
    assert versions[0] == versions[1]
    vault.append("news", {"a": 3})
    batch = Batch("token", "news", "append", table.schema, base=versions[0].schema_id)
    with store.stage() as staging:
        staging.write(table)
        assert store.commit(batch, staging) == versions[0]
    assert vault.read("news")["a"].tolist() == [1, 2, 3]
    assert store.check() == []


def test_tokens_of_commits_are_in_the_order_of_time() -> None:
    tokens = [new_token() for _ in range(100)]
    assert [token[:16] for token in tokens] == sorted(token[:16] for token in tokens)
    assert len(set(tokens)) == 100
    assert {len(token) for token in tokens} == {32}


# -- the repr of a vault


def test_the_repr_of_a_vault_says_what_lists_says(vault: tv.Vault, tmp_path: Path) -> None:
    for number in range(25):
        vault.save(f"list {number:02}", pd.DataFrame({"a": range(number), "b": 0}), inputs=False)
    vault.append("list 03", {"a": 7, "b": 1})
    vault.delete("list 04")
    vault.erase("list 07", filters="a == 3")
    frame = vault.lists()
    lines = repr(vault).splitlines()
    assert lines[0] == f"<Vault {tmp_path / 'vault'}: 24 lists, {frame['rows'].sum():,} rows>"
    assert lines[-1] == "  … and 4 more: vault.lists()"
    assert lines[4] == "  list 03  version 2, 4 rows, a, b"
    shown = [line.split("  ")[1] for line in lines[1:-1]]
    assert shown == frame["name"].head(20).tolist()
    assert "… and 4 more" in vault._repr_html_()
    with tv.connect(tmp_path / "vault", at=frame["updated"].min(), mode="r") as then:
        assert repr(then).splitlines()[1:] == ["  list 00  version 1, 0 rows, a, b"]


def test_the_repr_of_a_vault_is_as_many_statements_at_any_size(vault: tv.Vault) -> None:
    counts = []
    for number in range(30):
        vault.save(f"list {number}", {"a": number}, inputs=False)
        repr(vault)
        with statements(vault) as seen:
            repr(vault)
        counts.append(len(seen))
    assert set(counts) == {4}  # two queries, in a transaction


# -- the git state of a session


def git(folder: Path, *arguments: str) -> str:
    """Run git with a user of its own."""
    identity = ("-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "init.defaultBranch=main")
    done = subprocess.run(
        ["git", *identity, *arguments], cwd=folder, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def test_the_git_state_takes_two_processes_and_none_outside_of_a_repository(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository = tmp_path / "repository"
    (repository / "src").mkdir(parents=True)
    assert environment.git_state(repository) is None
    git(repository, "init")
    assert environment.git_state(repository) == {"recorded": False}  # without a commit
    file = repository / "src" / "train.py"
    file.write_text("a = 1\n")
    git(repository, "add", ".")
    git(repository, "commit", "-m", "one")
    clean = {"commit": git(repository, "rev-parse", "HEAD"), "branch": "main", "dirty": False}
    started: list[object] = []
    original = subprocess.Popen
    monkeypatch.setattr(
        environment.subprocess, "Popen", lambda *args, **more: started.append(args) or original(*args, **more)
    )
    assert environment.git_state(file.parent) == clean
    assert len(started) == 2
    (repository / "notes.txt").write_text("not tracked\n")
    assert environment.git_state(file.parent) == clean
    os.utime(file, ns=(1, 1))  # the same content
    assert environment.git_state(file.parent) == clean
    file.write_text("b = 1\nc = 2\n")
    size = {"changed_files": 1, "lines_added": 2, "lines_removed": 1}
    assert environment.git_state(file.parent) == clean | {"dirty": True} | size
    git(repository, "add", "notes.txt", "src")
    size = {"changed_files": 2, "lines_added": 3, "lines_removed": 1}
    assert environment.git_state(file.parent) == clean | {"dirty": True} | size
    git(repository, "reset", "--hard")
    git(repository, "checkout", "--detach")
    assert environment.git_state(file.parent) == clean | {"branch": "HEAD"}
    started.clear()
    assert environment.git_state(tmp_path) is None
    assert started == []


# -- many small commits


def append_many(vault: tv.Vault) -> pd.DataFrame:
    """Append one to three rows at a time to the list ``long``, 300 times, and return what it holds; a column comes half-way."""
    rows: list[dict[str, object]] = []
    random = np.random.default_rng(3)
    for number in range(300):
        some: list[dict[str, object]] = [
            {"step": len(rows) + n, "loss": number / 8, "note": None if number % 5 else f"at {number}"}
            for n in range(int(random.integers(1, 4)))
        ]
        if number >= 280:
            some = [{**row, "more": number} for row in some]
        vault.append("long", pd.DataFrame(some).astype({"note": "str"}))
        rows += some
    return pd.DataFrame(rows).astype({"note": "str", "more": "Int64"})


def test_many_small_commits_are_read_at_once_and_as_they_are(vault: tv.Vault) -> None:
    appended = append_many(vault)
    vault.read("long")
    with statements(vault) as seen:
        read = vault.read("long")
    assert seen == ["SELECT b.list,", "SELECT start,", "SELECT start,"]  # 256 segments a page
    assert list(read.columns) == list(appended.columns)
    for column in appended:
        assert read[column].isna().tolist() == appended[column].isna().tolist()
        assert read[column].dropna().tolist() == appended[column].dropna().tolist()
    random = np.random.default_rng(4)
    for _ in range(20):
        start, stop = sorted(random.integers(0, len(appended) + 1, 2).tolist())
        part = vault.read("long", start=start, stop=stop, columns=["loss"])
        assert part["loss"].tolist() == appended["loss"][start:stop].tolist()
        assert part.index.tolist() == list(range(start, stop))
    found = vault.read("long", filters="step % 10 == 3", columns=["step"])
    assert found["step"].tolist() == list(range(3, len(appended), 10))
    read.loc[0, "loss"] = 7.0  # the memory is the frame's own
    assert vault.read("long")["loss"].tolist() == appended["loss"].tolist()
    damage_one_of_many(vault, appended)


def damage_one_of_many(vault: tv.Vault, appended: pd.DataFrame) -> None:
    """Damage in one of many small commits is noticed, and what comes before it stays readable."""
    catalog = vault.store.catalog
    with catalog.reading() as db:
        start, data = db.execute("SELECT start, data FROM segments ORDER BY id LIMIT 1 OFFSET 150").fetchone()

    def replace(db: sqlite3.Connection, data: bytes) -> None:
        db.execute("UPDATE segments SET data = ? WHERE start = ?", (data, start))

    for damaged in (data[:-1] + bytes([data[-1] ^ 1]), data[:-8], data + bytes(8), b""):
        catalog.write(replace, damaged)
        with pytest.raises(tv.VaultCorrupt, match="long@300"):
            vault.read("long")
        assert vault.read("long", stop=start)["step"].tolist() == list(range(start))
    catalog.write(replace, data)
    assert len(vault.read("long")) == len(appended)


# -- many small lists


def test_a_search_by_value_over_many_lists_finds_what_reads_of_each_find(vault: tv.Vault) -> None:
    random = np.random.default_rng(5)
    names = [f"list {number:03}" for number in range(150)]
    for number, name in enumerate(names):
        count = int(random.integers(0, 6))
        frame = pd.DataFrame({"a": random.integers(0, 4, count), "b": range(count)})
        match number % 10:
            case 0:
                frame["kind"] = pd.Categorical(["x", "y", "x", "y", "x"][:count])
            case 1:
                frame = pd.concat([frame] * 2000, ignore_index=True)
            case 2:
                frame["more"] = "text"
        vault.save(name, frame, inputs=False)
        for _ in range(number % 3):
            vault.append(name, frame.head(1), inputs=False)
        if number % 10 == 3 and count:
            vault.delete_rows(name, filters="b == 0")
        if number % 10 == 4 and count:
            vault.erase(name, filters="b == 1")
        if number % 10 == 5:
            vault.restore(name, 1)
    vault.delete("list 007")
    kept = [name for name in names if name != "list 007"]
    frames_read = {name: vault.read(name) for name in kept}
    expected = {
        (name, int(row)) for name, frame in frames_read.items() for row in frame.index[frame["a"] == 2]
    }
    found = vault.search(filters="a == 2", k=100_000)
    assert set(zip(found["list"], found["position"], strict=True)) == expected
    assert len(found) == len(expected) > 1000


def test_a_search_by_value_is_one_statement_for_many_lists(vault: tv.Vault) -> None:
    counts = []
    for number in range(60):
        vault.save(f"list {number}", {"a": number}, inputs=False)
        if number in (29, 59):
            vault.search(filters="a == 3")
            with statements(vault) as seen:
                found = vault.search(filters="a == 3")
            assert found["list"].tolist() == ["list 3"]
            counts.append(len(seen))
    assert counts[0] == counts[1] < 15


def test_damage_in_one_of_many_small_lists_is_told_by_its_name(vault: tv.Vault) -> None:
    for number in range(5):
        vault.save(f"list {number}", {"a": number}, inputs=False)
    catalog = vault.store.catalog
    catalog.write(lambda db: db.execute("UPDATE segments SET data = x'00' WHERE id = 4"))
    with pytest.warns(UserWarning, match="rows of list 3@1 are damaged"):
        found = vault.search(filters="a >= 2")
    assert found["list"].tolist() == ["list 2", "list 4"]
    assert vault.read("list 2")["a"].tolist() == [2]


# -- the packages of a session


def test_the_modules_of_every_installed_distribution_are_those_that_its_record_names() -> None:
    line = re.compile(r"(?m)^\"?([^/,\"\n]+?)(?:/|\.py,|\.[^/,\n]*(?:so|pyd),)")
    for distribution in metadata.distributions():
        stated = set((distribution.read_text("top_level.txt") or "").split())
        expected = stated or set(line.findall(distribution.read_text("RECORD") or ""))
        assert environment._modules_of(distribution) == expected


def test_others_run_between_packages_unless_somebody_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "_versions_by_modules", {})
    calls: list[int] = []
    versions = environment.package_versions(lambda: calls.append(1))
    assert len(calls) == len(list(metadata.distributions()))
    assert environment.package_versions(lambda: calls.append(1)) == versions  # kept
    assert len(calls) == len(list(metadata.distributions()))
    capture = EnvironmentCapture()
    pauses: list[float] = []
    clock = SimpleNamespace(sleep=pauses.append, monotonic=time.monotonic)
    monkeypatch.setattr(session_environment, "time", clock)
    capture._let_others_run()
    assert pauses == [session_environment.PAUSE_S]
    capture.wait(0.0)
    capture._let_others_run()
    assert pauses == [session_environment.PAUSE_S]


def test_a_vault_that_is_connected_reads_the_newest_mark_alone(
    vault: tv.Vault, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(20):
        vault.append("numbers", {"n": number})
    entries: list[journal.Entry | None] = []
    read = journal._entry

    def entry(line: bytes) -> journal.Entry | None:
        entries.append(read(line))
        return entries[-1]

    monkeypatch.setattr(journal, "_entry", entry)
    vault.close()
    with tv.connect(tmp_path / "vault", session=False):
        assert [(mark.list, mark.version) for mark in entries if mark] == [("numbers", 20)]


def test_a_script_that_raises_nothing_is_not_taken_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    frames_of: list[FrameType] = []
    exec("frames_of.append(sys._getframe())", {"frames_of": frames_of, "sys": sys})
    monkeypatch.setattr(returned, "dis", None)
    assert returned.running_calls(frames_of) == []


def in_repository(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have sessions of this process ask git about a folder."""
    (folder / ".git").mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setattr(script, "main_file", lambda: None)


def test_git_is_asked_once_and_while_a_session_begins(
    vault: tv.Vault, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_repository(here, monkeypatch)
    folders: list[Path] = []
    asked, opened = threading.Event(), vault.store.open_session

    def git_state(folder: Path, no_fork: object) -> dict[str, str]:
        folders.append(folder)
        asked.set()
        return {"commit": "abc"}

    def open_session(row: Session) -> Session:
        assert asked.wait(60)
        return opened(row)

    monkeypatch.setattr(environment, "git_state", git_state)
    monkeypatch.setattr(vault.store, "open_session", open_session)
    with vault.session("short"):
        pass
    assert vault.run("short").environment["git_commit"] == "abc"
    assert len(folders) == 1


def test_sessions_in_a_loop_work_through_the_script_once_and_each_has_a_slice_of_its_own(
    folder_vault: tv.Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = "for _ in range(3):\n    pass\n"
    monkeypatch.setattr("tablevault_pd.capture.script.main_source", lambda: script)
    monkeypatch.setattr("tablevault_pd.capture.script.main_path", lambda folder: "train.py")
    for module in (executed, recorder):  # the script of the process that runs the tests is another one
        monkeypatch.setattr(module, "place_of_main", lambda: None)
    executed._of_script.cache_clear()
    executed._slicers.clear()
    slicers: list[object] = []
    monkeypatch.setattr(executed, "Slicer", lambda *pieces: slicers.append(pieces) or Slicer(*pieces))
    for _ in range(3):
        with folder_vault.session("loop"):
            pass
    assert len(slicers) == 1
    ids = folder_vault.store.session_ids()[-3:]
    slices = [slice_of_session(folder_vault.store, key) for key in ids]
    assert [{part.session_id for part in one.parts} for one in slices] == [{key} for key in ids]
    assert [one.text for one in slices] == [f"# train.py\n{script}"] * 3
    script += "print(1)\n"
    with folder_vault.session("loop") as last:
        pass
    assert slice_of_session(folder_vault.store, last.id).text == f"# train.py\n{script}"


def test_a_short_session_is_told_to_the_store_by_one_beat(
    vault: tv.Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heartbeat, "WATCH_S", 60.0)
    vault.sessions(info=True)  # from here on the thread sleeps until it is woken
    beats: list[int] = []
    beat = vault.store.beat
    monkeypatch.setattr(
        vault.store, "beat", lambda some: beats.extend(one.session_id for one in some) or beat(some)
    )
    with vault.session("short") as short:
        pass
    assert beats.count(short.id) == 1


def test_a_git_that_does_not_answer_costs_no_session_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a server's folder that hangs, so that git cannot even be killed: what is waited for is less than a session waits."""
    (tmp_path / ".git").mkdir()
    clock, waited = [0.0], []

    class Git:
        returncode = None

        def __init__(self, *_: object, **__: object) -> None:
            self.stdout = io.StringIO()
            started.append(self)

        def communicate(self, timeout: float) -> None:
            self.wait(timeout)

        def wait(self, timeout: float) -> None:
            waited.append(timeout)
            clock[0] += timeout
            raise subprocess.TimeoutExpired("git", timeout)

        def kill(self) -> None:
            pass

    started: list[Git] = []

    monkeypatch.setattr(environment, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    monkeypatch.setattr(environment.subprocess, "Popen", Git)
    assert environment.git_state(tmp_path) == {"recorded": False}
    assert len(waited) == 4
    assert sum(waited) <= EXIT_S - 1
    assert all(git.stdout.closed for git in started)


def test_a_git_that_cannot_be_asked_is_told_once(
    vault: tv.Vault, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_repository(here, monkeypatch)

    def git_state(folder: Path, no_fork: object) -> None:
        raise RuntimeError("no git today")

    monkeypatch.setattr(environment, "git_state", git_state)
    with (
        pytest.warns(RuntimeWarning, match="cannot record the environment of short#1: no git today") as told,
    ):
        with vault.session("short"):
            pass
        assert vault.run("short").environment["git_recorded"] is False
    assert len(told) == 1
    assert vault.sessions()["outcome"].tolist() == ["finished"]


# -- memory

ONE_COLUMN = """
import re, sys
from pathlib import Path
import tablevault_pd as tv

def own_kilobytes():
    return int(re.search(r"RssAnon:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])

with tv.connect(sys.argv[1], mode="r") as vault:
    vault.read("small")  # modules, buffers and connections are there
    before = own_kilobytes()
    column = vault.read("wide", columns=["c3"])
    assert column["c3"].sum() == 3 * len(column)
    few = vault.read("wide", filters="c5 == 5", columns=["c0"], stop=10)
    print(own_kilobytes() - before)
"""


@pytest.mark.skipif(
    not Path("/proc/self/status").exists(), reason="Linux says how much memory is a process's own"
)
def test_reading_one_column_takes_the_memory_of_that_column(vault: tv.Vault, tmp_path: Path) -> None:
    rows, columns = 1 << 20, 8
    wide = pd.DataFrame({f"c{number}": np.full(rows, float(number)) for number in range(columns)})
    vault.save("wide", wide, inputs=False)
    vault.save("small", pd.DataFrame({"a": [1.0]}), inputs=False)
    command = [sys.executable, "-c", ONE_COLUMN, str(tmp_path / "vault")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    column_kb = rows * 8 >> 10
    assert int(done.stdout) < 2.5 * column_kb  # all of it are eight
