"""Looking after a vault while others use it: kept files, messages, check, compact and vacuum."""

from __future__ import annotations

import errno
import hashlib
import multiprocessing
import os
import sqlite3
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import tablevault_pd as tv
from tablevault_pd.store import Batch
from tablevault_pd.store.embedded import EmbeddedStore, segments, strays
from tablevault_pd.store.embedded import fsio as io

if TYPE_CHECKING:
    from collections.abc import Callable

SPAWN = multiprocessing.get_context("spawn")
LARGE = pd.DataFrame({"x": np.arange(40_000.0)})  # a segment of its own


def flip(path: Path) -> None:
    """Change one bit in the middle, leaving the times as they are: as a disk does, not as a program does."""
    status = path.stat()
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def kept_file(vault: tv.Vault, content: bytes) -> Path:
    return Path(vault.place) / "files" / digest(content)[:2] / digest(content)


def save_file(vault: tv.Vault, name: str, path: Path) -> None:
    vault.save(name, pd.DataFrame({"p": [str(path)]}), files="p", copy=True)


def fail_to_save_file(vault: tv.Vault, path: Path) -> None:
    """Keep the file with a first chunk; the second one is refused."""
    frames = (pd.DataFrame({"p": [str(path)], "x": [x]}) for x in (1, object()))
    with pytest.raises(tv.UnsupportedColumn):
        vault.save("refused", frames, files="p", copy=True)


# -- kept files


@pytest.fixture
def note(tmp_path: Path) -> Path:
    path = tmp_path / "note.bin"
    path.write_bytes(b"note " * 100)
    return path


@pytest.mark.parametrize("moment", ["renaming", "renamed", "rows-in"])
@pytest.mark.parametrize("known", [False, True], ids=["new", "known"])
def test_content_in_the_making_is_never_swept(folder_vault, note, monkeypatch, moment, known):
    """Another handle cleans at each moment of a save: nothing of it is a stray, be the content new or kept already."""
    vault = folder_vault
    if known:  # kept by a list that goes away just now
        save_file(vault, "before", note)
        vault.delete("before")
    cleaner = EmbeddedStore(vault.place)
    found = []

    def clean(name: str) -> None:
        if name == moment:
            monkeypatch.setattr(io, "failpoint", lambda name: None)
            if moment != "rows-in":  # the writer holds the lock of the catalogue then
                found.extend(cleaner.check(fix=True))
                found.extend(each for each in cleaner.vacuum(dry_run=False) if each.what == "stray")
            else:
                found.extend(strays.strays(cleaner, remove=True))

    monkeypatch.setattr(io, "failpoint", clean)
    save_file(vault, "a", note)
    cleaner.close()
    assert found == []
    with vault.open_file(digest(note.read_bytes())) as file:
        assert file.read() == note.read_bytes()
    assert vault.check().empty


def keep_many(place: str, folder: str, worker: int) -> int:
    """In a process of its own: save lists with kept files, some of whose content others keep, drop, or fail to save."""
    with tv.connect(place, session=f"keeper {worker}", durability="fast", capture="none") as vault:
        for number in range(12):
            path = Path(folder) / f"{worker}-{number}"
            path.write_bytes(b"content %d" % (number % 4 if number % 2 else number + 100 * worker))
            fail_to_save_file(vault, path)
            save_file(vault, f"files {worker}", path)
            with vault.open_file(digest(path.read_bytes())) as file:
                assert file.read() == path.read_bytes()
    return worker


@pytest.mark.ci
def test_processes_that_keep_files_beside_one_that_cleans(tmp_path):
    place = str(tmp_path / "v")
    with tv.connect(place, capture="none", durability="fast") as vault, SPAWN.Pool(2) as pool:
        keepers = [pool.apply_async(keep_many, (place, str(tmp_path), worker)) for worker in (1, 2)]
        while not all(keeper.ready() for keeper in keepers):
            problems = vault.check(fix=True)
            assert not (problems["severity"] == "damage").any(), problems.to_string()
            vault.vacuum(dry_run=False)
        assert [keeper.get() for keeper in keepers] == [1, 2]
        assert vault.check().empty


def test_content_removed_and_kept_anew_during_a_check_is_sound(folder_vault, note, monkeypatch):
    """Another handle removes unused content just before a check looks at it, and a save keeps it again just after."""
    save_file(folder_vault, "before", note)
    folder_vault.delete("before")
    checker = EmbeddedStore(folder_vault.place)
    real, looks = io.require_regular, []

    def look(path: str | Path) -> os.stat_result:
        if Path(path).name != digest(note.read_bytes()) or looks:
            return real(path)
        looks.append(path)
        folder_vault.vacuum(deleted=True, dry_run=False)
        try:
            return real(path)
        finally:
            save_file(folder_vault, "after", note)

    monkeypatch.setattr(io, "require_regular", look)
    assert checker.check() == []
    assert looks
    checker.close()


def test_a_child_forked_during_a_save_does_not_hold_its_lock(folder_vault, note):
    if not hasattr(os, "fork"):
        pytest.skip("this system does not fork")
    store = EmbeddedStore(folder_vault.place)
    ready, go = os.pipe(), os.pipe()
    with store.keeping() as keeping:
        keeping(note, digest(note.read_bytes()))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of a fork beside other threads
            child = os.fork()
        if child == 0:
            os.write(ready[1], b"x")
            os.read(go[0], 1)  # live on
            os._exit(0)
        os.read(ready[0], 1)
        during = strays.strays(store, remove=True)
    after = strays.strays(store, remove=True)
    os.write(go[1], b"x")
    os.waitpid(child, 0)
    store.close()
    assert during == []
    assert [stray.removed for stray in after] == [True]


def test_strays_are_removed_when_a_read_that_is_under_way_ends(folder_vault, note, monkeypatch):
    save_file(folder_vault, "a", note)
    stray = Path(folder_vault.place) / "files" / "00" / ("0" * 64)
    stray.parent.mkdir()
    stray.write_bytes(b"of no commit")
    read = sqlite3.connect(Path(folder_vault.place) / "catalog.db", isolation_level=None)
    read.execute("BEGIN")
    read.execute("SELECT count(*) FROM lists").fetchall()
    folder_vault.save("b", pd.DataFrame({"x": [1]}))  # in the log alone, as long as the read goes on
    monkeypatch.setattr(strays.time, "sleep", lambda _: read.close())
    assert folder_vault.check(fix=True)["fixed"].tolist() == [True]
    assert not stray.exists()


def test_damaged_kept_content_is_named_and_kept_again(folder_vault, note):
    vault, content = folder_vault, note.read_bytes()
    save_file(vault, "a", note)
    for damage in (flip, os.unlink, lambda path: os.truncate(path, 3)):
        damage(kept_file(vault, content))
        with pytest.raises(tv.VaultCorrupt, match=r"a\[0\] .*note\.bin"):
            vault.open_file(digest(content))
        assert vault.check()[["severity", "list", "version"]].to_numpy().tolist() == [["damage", "a", 1]]
        save_file(vault, "a", note)  # the same rows: no version, and yet
        with vault.open_file(digest(content)) as file:
            assert file.read() == content
        assert vault.check().empty


def test_vacuum_frees_kept_files_that_no_version_uses(folder_vault, tmp_path):
    vault = folder_vault
    contents = [b"both", b"old", b"deleted"]
    paths = [tmp_path / content.decode() for content in contents]
    for path, content in zip(paths, contents, strict=True):
        path.write_bytes(content)
    frame = pd.DataFrame({"p": [str(path) for path in paths[:2]]})
    vault.save("a", frame, files="p", copy=True)
    vault.append("a", frame.head(1), files="p", copy=True)
    vault.save("a", frame.head(1), files="p", copy=True)
    save_file(vault, "b", paths[2])
    vault.delete("b")
    told = vault.vacuum(deleted=True)
    freed = vault.vacuum(deleted=True, dry_run=False)
    sizes = {digest(content): len(content) for content in contents[1:]}
    for answer in (told, freed):
        lines = answer[answer["what"] == "kept file"]
        assert {
            path.rpartition("/")[2]: size for path, size in zip(lines["path"], lines["bytes"], strict=True)
        } == sizes
    assert not kept_file(vault, b"old").exists()
    assert not kept_file(vault, b"deleted").exists()
    with vault.open_file(digest(b"both")) as file:
        assert file.read() == b"both"
    with pytest.raises(tv.FileMissing):
        vault.open_file(digest(b"old"))
    assert vault.check().empty
    assert "kept file" not in vault.vacuum()["what"].tolist()


def test_a_folder_in_the_place_of_a_file_is_called_one(folder_vault, tmp_path):
    frame = pd.DataFrame({"path": [str(tmp_path)]})
    with pytest.raises(
        tv.FileMissing, match=r"1 path without a file there \(row 0: .*, a folder\)\. Nothing"
    ):
        folder_vault.save("files", frame, files="path")


def test_a_save_that_fails_keeps_no_file(folder_vault, note):
    vault = folder_vault
    fail_to_save_file(vault, note)
    with pytest.raises(tv.FileMissing):
        vault.open_file(digest(note.read_bytes()))
    assert vault.check().empty
    assert not kept_file(vault, note.read_bytes()).exists()


class Meeting(type(Path())):
    """A file whose first reader meets somebody: a store looks whether it has the content before it opens the file."""

    meanwhile: Callable[[], object]

    def open(self, *options: Any, **more: Any) -> Any:
        met, self.meanwhile = self.meanwhile, lambda: None
        met()
        return super().open(*options, **more)


@pytest.mark.parametrize("moment", ["before", "during", "after", "never"])
def test_a_save_that_fails_leaves_what_another_one_keeps(place, note, moment):
    """Another handle keeps the same content before, while or after a save does that fails, and is committed later."""
    content, sha256 = note.read_bytes(), digest(note.read_bytes())
    failing, other = place.open(), place.open()
    with other.keeping() as others:
        path = Meeting(note)
        path.meanwhile = lambda: others(note, sha256) if moment == "during" else None
        if moment == "before":
            others(note, sha256)
        with pytest.raises(KeyError), failing.keeping() as keeping:
            keeping(path, sha256)
            if moment == "after":
                others(note, sha256)
            raise KeyError
        if moment != "never":
            table = pa.table({"sha256": [sha256]})
            with other.stage() as stage:
                stage.write(table)
                other.commit(Batch("t", "a", "save", schema=table.schema, files=others.files), stage)
    if moment == "never" and place.opener is not EmbeddedStore:
        with pytest.raises(tv.FileMissing):
            other.open_file(sha256)
    elif moment != "never":
        with other.open_file(sha256) as file:
            assert file.read() == content
    assert [problem for problem in failing.check() if problem.severity == "damage"] == []
    failing.close()
    other.close()


# -- texts about versions


def test_versions_have_messages_and_say_what_is_gone(vault):
    vault.save("a", {"x": 1}, message="first try")
    vault.append("a", {"x": 2})
    vault.save("a", {"x": 3}, message="cleaned")
    assert vault.save("a", {"x": 3}).version == 3
    assert vault.save("a", {"x": 3}, message="cleaned").version == 3
    assert vault.save("a", {"x": 3}, message="cleaned again").version == 4
    vault.delete("a", message="not needed")
    vault.restore("a", 4, message="needed after all")
    messages = vault.versions("a")["message"]
    assert [None if pd.isna(text) else text for text in messages] == [
        "first try", None, "cleaned", "cleaned again", "not needed", "needed after all",
    ]  # fmt: skip
    assert not vault.versions("a")["gone"].any()
    vault.vacuum(dry_run=False)
    assert vault.versions("a")["gone"].tolist() == [True, True, True, False, False, False]
    with pytest.raises(tv.VersionNotFound, match="gone"):
        vault.read("a", version=1)
    for wrong in (5, "", " "):
        with pytest.raises(tv.InvalidInput, match="message="):
            vault.save("a", {"x": 9}, message=wrong)


def test_every_description_is_kept_with_its_time(vault):
    vault.save("a", {"x": 1}, description="one")
    vault.save("a", {"x": 2}, description="two")
    assert vault.descriptions()["text"].tolist() == ["two"]
    history = vault.descriptions(history=True)
    assert history["text"].tolist() == ["one", "two"]
    assert history["time"].is_monotonic_increasing
    assert history["list"].tolist() == ["a", "a"]


# -- check beside others


def test_check_beside_compact_and_vacuum_raises_no_false_alarm(folder_vault):
    vault = folder_vault
    for _ in range(4):
        vault.append("x", LARGE)
        vault.append("x", LARGE.head(1))
    vault.save("y", LARGE)
    vault.save("y", LARGE + 1)
    other = EmbeddedStore(vault.place)
    work = [
        lambda: vault.compact(),
        lambda: vault.append("x", LARGE),
        lambda: vault.vacuum(dry_run=False),
        lambda: vault.compact(),
    ]

    def progress(steps: int) -> None:
        if work:
            work.pop(0)()

    assert other.check(progress=progress) == []
    assert work == []
    assert other.check() == []
    other.close()


def test_a_file_named_by_a_relative_path_is_looked_for_where_it_was_saved(vault, tmp_path, monkeypatch):
    project, elsewhere = tmp_path / "project", tmp_path / "elsewhere"
    project.mkdir()
    elsewhere.mkdir()
    monkeypatch.chdir(project)
    (project / "data.csv").write_text("1")
    vault.save("a", pd.DataFrame({"p": ["data.csv"]}), files="p")
    monkeypatch.chdir(elsewhere)
    assert vault.check().empty
    (elsewhere / "data.csv").write_text("another")
    assert vault.check().empty
    (project / "data.csv").write_text("2+")
    assert vault.check()["severity"].tolist() == ["damage"]
    assert vault.files()["folder"].tolist() == [str(project)]
    project.rename(tmp_path / "moved")
    problems = vault.check()
    assert problems["severity"].tolist() == ["unchecked"]
    assert "cannot be checked from here" in problems["detail"][0]
    vault.delete("a")


def test_a_version_that_is_vacuumed_under_a_reader_is_said_to_be_gone(folder_vault):
    vault = folder_vault
    for rows in (LARGE, LARGE + 1):
        vault.save("x", rows)
    vault.save("y", [{"n": 1}])
    vault.save("y", [{"n": 2}])
    for name in ("x", "y"):
        old = vault.store.version(name, 1)
        vault.vacuum(dry_run=False)
        with pytest.raises(tv.VersionNotFound, match="vacuum"):
            list(vault.store.scan(old))


def test_who_asks_for_the_newest_version_gets_it_whatever_vacuum_does(folder_vault, monkeypatch):
    vault = folder_vault
    vault.save("x", LARGE)
    real, done = vault.store.scan, []

    def scan(version, **options):
        if not done:
            done.append(version)
            vault.save("x", LARGE + 1)
            vault.vacuum(dry_run=False)
        return real(version, **options)

    monkeypatch.setattr(vault.store, "scan", scan)
    assert vault.read("x")["x"].tolist() == (LARGE + 1)["x"].tolist()
    with pytest.raises(tv.VersionNotFound):
        vault.read("x", version=1)


def test_compact_leaves_damaged_parts_as_they_are(tmp_path):
    """Even those that this process has read before, when they were whole."""
    vault = tv.connect(tmp_path / "v")
    for number in range(6):
        vault.append("x", LARGE + number)
    vault.read("x")
    paths = {path.name for path in Path(vault.place, "segments").iterdir()}
    db = sqlite3.connect(Path(vault.place) / "catalog.db")
    damaged = db.execute("SELECT file FROM segments ORDER BY start LIMIT 1 OFFSET 2").fetchone()[0] + ".arrow"
    db.close()
    flip(Path(vault.place, "segments", damaged))
    answer = vault.compact()
    assert answer[["parts_before", "parts_after", "damaged"]].to_numpy().tolist() == [[6, 3, 1]]
    assert {path.name for path in Path(vault.place, "segments").iterdir()} & paths == {damaged}
    assert vault.check()[["what", "list", "path"]].to_numpy().tolist() == [
        ["damaged segment", "x", f"segments/{damaged}"]
    ]
    kept_rows = vault.read("x", start=3 * len(LARGE))
    assert kept_rows["x"].tolist() == pd.concat([LARGE + number for number in (3, 4, 5)])["x"].tolist()
    vault.close()


def test_vacuum_shrinks_the_catalogue(folder_vault):
    vault = folder_vault
    rows = np.random.default_rng(0).integers(0, 1 << 60, 25_000)
    for number in range(20):
        vault.save("x", pd.DataFrame({"n": rows + number}))
    vault.save("x", {"n": 1})
    path = Path(vault.place) / "catalog.db"
    vault.vacuum()
    before = path.stat().st_size
    assert before > 3 << 20
    assert "catalogue" in vault.vacuum(dry_run=False)["what"].tolist()
    assert path.stat().st_size < 1 << 20
    assert vault.read("x")["n"].tolist() == [1]
    assert vault.check().empty


# -- disks


def test_missing_folders_are_made_again(tmp_path, note):
    place = tmp_path / "v"
    with tv.connect(place) as vault:
        vault.save("small", {"x": 1})
    (place / "segments").rmdir()
    (place / "files").rmdir()
    with tv.connect(place, mode="r") as vault:
        assert vault.check().empty
    with tv.connect(place) as vault:
        (place / "segments").rmdir()  # while it is open, too
        (place / "files").rmdir()
        vault.save("large", LARGE)
        save_file(vault, "kept", note)
        assert vault.check().empty


# Not those inside of a transaction, where a failure is SQLite's to tell.
POINTS = {
    "created", "half-written", "synced", "folder-synced", "read", "list", "folder-sync", "folder-made", "renaming", "renamed",
    "remove",
}  # fmt: skip
READING = {"read", "list"}
CALLS = {
    "save": lambda vault, note: vault.save("new", LARGE + 1),
    "keep": lambda vault, note: save_file(vault, "kept", note),
    "read": lambda vault, note: vault.read("x"),
    "search": lambda vault, note: vault.search("zebra", lists="words"),
    "open_file": lambda vault, note: vault.open_file(vault.files("kept")["sha256"][0]).close(),
    "compact": lambda vault, note: vault.compact("x"),
    "vacuum": lambda vault, note: vault.vacuum(dry_run=False),
    "check": lambda vault, note: vault.check(fix=True),
}


@pytest.mark.parametrize("call", CALLS)
def test_failures_of_the_system_are_told_by_their_names(tmp_path, call):
    """At each of its points: our error or none, damage never, a full disk only when it is, and a sound vault after it."""
    note = tmp_path / "note.txt"
    rows = pd.concat([LARGE + number for number in range(3)])
    with tv.connect(tmp_path / "v", capture="none", durability="fast") as vault:
        vault._run.end()  # so that nobody but this thread meets a point

        def prepare(content: str) -> None:
            note.write_text(content)
            segments._verified.clear()
            if call in ("open_file", "vacuum"):
                save_file(vault, "kept", note)
            if call in ("compact", "vacuum", "check", "read", "search"):
                vault.save("words", {"t": "zebra"})
                vault.save("x", (LARGE + number for number in range(3)))
                for number in range(3):
                    vault.append("x", LARGE + number)
                stray = Path(vault.place, "segments", "0" * 32 + ".arrow")
                stray.write_bytes(b"stray")

        prepare("first")
        met: dict[str, None] = {}
        _failing(CALLS[call], vault, note, None, 0, met)
        for point in POINTS & met.keys():
            for code in (errno.EIO, errno.EMFILE, errno.ENOSPC, errno.EACCES):
                prepare(f"{point} {code}")
                error = _failing(CALLS[call], vault, note, point, code, met)
                told = (point, errno.errorcode[code], error)
                assert error is None or isinstance(error, tv.VaultError), told
                assert not isinstance(error, tv.VaultCorrupt), told
                full = error is not None and code == errno.ENOSPC and point not in READING
                assert isinstance(error, tv.StorageFull) == full, told
                problems = vault.check(fix=True)
                assert set(problems["severity"]) <= {"stray"}, told
                assert problems["fixed"].all()
        if "x" in vault:
            assert vault.read("x", stop=len(rows))["x"].tolist() == rows["x"].tolist()


def _failing(call, vault, note, point, code, met):
    def fail(name: str) -> None:
        met[name] = None
        if name == point:
            raise OSError(code, os.strerror(code))

    real, io.failpoint = io.failpoint, fail
    try:
        call(vault, note)
    except (tv.VaultError, OSError) as error:
        return error
    finally:
        io.failpoint = real
    return None


def test_a_segment_that_cannot_be_read_is_no_damage(tmp_path, monkeypatch):
    vault = tv.connect(tmp_path / "v")
    vault.save("x", LARGE)

    def fail(name: str) -> None:
        if name == "read":
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(io, "failpoint", fail)
    with pytest.raises(tv.StorageError, match="EIO") as failed:
        vault.read("x")
    assert failed.value.errno == errno.EIO
    assert vault.check()[["severity", "list"]].to_numpy().tolist() == [["unchecked", "x"]]
    monkeypatch.undo()
    vault.close()
