"""Writers, a reader and a cleaner of one vault, killed at random moments. What they were told stands outside of the vault.

Each writer has a file of notes: a line before each call and one after it. A writer that takes the place of one that was killed
reads these notes first: the last call of the other was made, or not; the vault says which. Everything else must be as noted.
The decisions are drawn from a seed; the moments of the kills are the machine's.
"""

from __future__ import annotations

import contextlib
import gc
import hashlib
import json
import os
import random
import shutil
import signal
import sqlite3
import time
import traceback
import tracemalloc
import warnings
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa

import tablevault_pd as tv
from torture.harness import Broken, demand, warm_up

if TYPE_CHECKING:
    from collections.abc import Callable

JOBS = 2_000
LARGE = 20_000  # rows that make a file of their own
LEFT = 2000  # bytes that a call may leave in its process: what is known of the versions of a list is kept


#: Calls that put something into what all writers share.
SHARED = ("log", "kept", "text", "values", "map")


class Notes:
    """What one writer was about to do, and what it was told, one line for each by one write."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def write(self, *entry: Any) -> None:
        os.write(self._file, (json.dumps(entry) + "\n").encode())


@dataclass
class Expected:
    """What a writer's notes say that the vault must show: of its own list, and of what it put into those that all share."""

    number: int = 0  #: of the last call
    open: list[Any] | None = None  #: the last call, if it is not known how it ended
    rows: dict[str, int] = field(default_factory=dict)  #: of the own list, by id
    states: dict[int, dict[str, int]] = field(default_factory=dict)  #: by version, without what was erased
    acked: Counter[str] = field(default_factory=Counter)  #: calls by their kind
    shared: dict[str, set[int]] = field(default_factory=lambda: {kind: set() for kind in SHARED})
    maybe: dict[str, set[int]] = field(default_factory=lambda: {kind: set() for kind in SHARED})
    text: list[int | None] = field(default_factory=lambda: [None])  #: what the description may be
    slowest_s: float = 0.0

    @classmethod
    def of(cls, path: Path) -> Expected:
        """Read the notes; a last line that was cut by a kill has not been written."""
        expected = cls()
        for line in path.read_bytes().splitlines() if path.exists() else []:
            expected.take(json.loads(line))
        return expected

    def take(self, entry: list[Any]) -> None:
        """Follow one line."""
        what, number, *rest = entry
        if what == "do":
            self.leave_open()
            self.number, self.open = number, rest
            return
        if what == "refused":
            self.leave_open()
            return
        call = self.open
        assert call is not None
        self.open = None
        if what in ("ok", "was made"):
            self.made(call, version=rest[0])
        if what == "ok":
            self.acked[call[0]] += 1
            self.slowest_s = max(self.slowest_s, rest[1])

    def leave_open(self) -> None:
        """Nobody knows how the last call ended, where it did not change the own list: that is settled first."""
        if self.open is None:
            return
        kind = self.open[0]
        if kind in self.maybe:
            self.maybe[kind].add(self.number)
        elif kind == "describe":
            self.text.append(self.number)
        self.open = None

    def made(self, call: list[Any], version: int | None) -> None:
        """Follow a call that was made."""
        kind, *arguments = call
        if kind in self.shared:
            self.shared[kind].add(self.number)
        elif kind == "describe":
            self.text = [self.number]
        elif kind in CHANGES:
            self.rows = self.changed(kind, arguments)
            if kind == "erase":
                for state in self.states.values():
                    for key in arguments[0]:
                        state.pop(key, None)
            if version is not None:
                self.states[version] = dict(self.rows)

    def changed(self, kind: str, arguments: list[Any]) -> dict[str, int]:
        """The rows of the own list after a call."""
        if kind == "save":
            return dict(arguments[0])
        if kind in ("append", "upsert"):
            return self.rows | arguments[0]
        if kind in ("delete_rows", "erase"):
            return {key: value for key, value in self.rows.items() if key not in arguments[0]}
        return dict(self.states[arguments[0]])

    def after_open(self) -> dict[str, int] | None:
        """The rows of the own list if the open call was made; None where it does not change them."""
        if self.open is None or self.open[0] not in CHANGES:
            return None
        return self.changed(self.open[0], self.open[1:])


#: Calls that change the own list.
CHANGES = {"save", "append", "upsert", "delete_rows", "erase", "restore"}


def checksum(key: str, value: int) -> int:
    """Of a row: it shows that its cells belong together."""
    return hash((int(key), value)) & 0xFFFFFFFF


def own_frame(rows: dict[str, int]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "id": [int(key) for key in rows],
            "value": list(rows.values()),
            "sum": [checksum(key, value) for key, value in rows.items()],
        }
    )


def own_rows(vault: tv.Vault, name: str) -> dict[str, int]:
    """The rows of an own list; what does not belong together is an error."""
    if name not in vault:
        return {}
    frame = vault.read(name)
    demand(frame["id"][frame["id"].duplicated()], "writes made twice", f"{name} has a key twice")
    rows = dict(zip(map(str, frame["id"]), map(int, frame["value"]), strict=True))
    sums = [checksum(key, value) for key, value in rows.items()]
    made_up = frame[frame["sum"] != sums]
    demand(made_up, "wrong values", f"{name} has a row that nobody wrote")
    return rows


def doubled(row: Any) -> dict[str, int]:
    """What is mapped over rows."""
    return {"writer": row.writer, "number": row.number, "twice": 2 * row.number}


class Writer:
    """One life of a writer: it takes over where the notes of its place end, and goes on until it is killed."""

    def __init__(self, storm: Storm, place: int, seed: int) -> None:
        self.storm, self.place, self.draw = storm, place, random.Random(seed)
        path = storm.notes(place)
        self.expected = Expected.of(path)
        self.file = Notes(path)
        self.name = f"own{place}"
        self.session = self.draw.random() < 0.4
        self.vault = storm.connect(session=f"writer{place}" if self.session else False)
        self.settle()

    def settle(self) -> None:
        """Find out whether the last call was made, and that all is as noted."""
        found = own_rows(self.vault, self.name)
        after = self.expected.after_open()
        if after is not None and found == after != self.expected.rows:
            self.note("was made", self.expected.number, self.vault[self.name].version)
        elif after is not None:
            self.note("was not made", self.expected.number)
        elif self.expected.open is not None:
            self.expected.leave_open()
        assert found == self.expected.rows, self.storm.differing(self.name, found, self.expected.rows)

    def note(self, *entry: Any) -> None:
        self.file.write(*entry)
        self.expected.take(list(entry))

    def live(self) -> None:
        """Call after call. A life in ten ends by itself."""
        calls = self.draw.choices([10_000, self.draw.randrange(5, 60)], [9, 1])[0]
        for _ in range(calls):
            self.one()
        self.vault.close()

    def stay(self) -> None:
        """Call after call until the storm ends, and note what this process holds of memory and of open files."""
        stays = Notes(self.storm.folder / f"stays{self.place}")
        tracemalloc.start()
        while True:
            for _ in range(10):
                self.one()
            stays.write(self.expected.number, *held())

    def one(self) -> None:
        """One call, noted before and after."""
        number = self.expected.number + 1
        call, work = self.draw_call(number)
        self.note("do", number, *call)
        start = time.monotonic()
        try:
            version = work()
        except (tv.VersionNotFound, tv.ClaimLost):  # a vacuum took the version; the session counted as lost
            self.note("refused", number)
        else:
            self.note("ok", number, version, round(time.monotonic() - start, 4))

    def draw_call(self, number: int) -> tuple[list[Any], Callable[[], int | None]]:
        """What to do next: as it is noted, and to be called. It returns the version of the own list."""
        draw, vault, name = self.draw, self.vault, self.name
        keys = list(self.expected.rows)
        kinds = (
            ["log"] * 60 + ["append"] * 14 + ["save"] * 2 + ["text"] * 2 + ["kept"] * self.storm.keeps_files
        )
        if keys:
            kinds += ["upsert"] * 8 + ["delete_rows"] * 3 + ["restore"] * 2 + ["describe"] * 2
            # An erase looks through all versions of the list.
            kinds += ["erase"] if len(self.expected.states) < 40 else []
        if self.session:
            kinds += ["claim"] * 10 + ["values"] * 10 + ["map"]
        kind = draw.choice(kinds)
        fresh = {str(1000 * number + extra): number for extra in range(draw.randrange(1, 4))}
        if kind == "log":
            return [kind], lambda: self.append(number)
        if kind == "describe":
            return [kind], lambda: vault.describe(name, str(number))
        if kind == "kept":
            return [kind], lambda: self.keep(number)
        if kind == "text":
            return [kind], lambda: self.write_text(number)
        if kind == "claim":
            return [kind], self.claim
        if kind == "map":
            return [kind], lambda: self.map(number)
        if kind == "values":
            return [kind], lambda: self.log(number)
        if kind == "save":
            return [kind, fresh], lambda: vault.save(name, own_frame(fresh), key="id").version
        if kind == "append":
            return [kind, fresh], lambda: vault.append(name, own_frame(fresh), key="id").version
        if kind == "upsert":
            rows = fresh | dict.fromkeys(draw.sample(keys, min(3, len(keys))), number)
            return [kind, rows], lambda: vault.upsert(name, own_frame(rows), key="id").version
        if kind == "restore":
            version = draw.choice(sorted(self.expected.states)[-3:])
            return [kind, version], lambda: vault.restore(name, version).version
        gone = draw.sample(keys, min(2, len(keys)))
        filters = f"id in [{', '.join(gone)}]"
        if kind == "erase":
            return [kind, gone], lambda: (vault.erase(name, filters=filters), vault[name].version)[1]
        return [kind, gone], lambda: vault.delete_rows(name, filters=filters).version

    def append(self, number: int) -> None:
        size = LARGE if self.draw.random() < 0.01 else self.draw.randrange(1, 6)
        frame = pd.DataFrame({"writer": self.place, "number": number, "size": size, "row": np.arange(size)})
        self.vault.append("log", frame)

    def write_text(self, number: int) -> None:
        frame = pd.DataFrame({"writer": self.place, "number": number, "text": [f"call{number} of all"]})
        self.vault.append("texts", frame)

    def keep(self, number: int) -> None:
        path = self.storm.folder / f"kept-{self.place}-{number}"
        path.write_text(f"{self.place} {number}")
        frame = pd.DataFrame({"path": [str(path)], "writer": self.place, "number": number})
        self.vault.append("kept", frame, files="path", copy=True)
        path.unlink()

    def claim(self) -> None:
        mine = self.vault.claim("jobs", k=3)
        if len(mine):
            done = pd.DataFrame({"job": mine["job"].to_numpy(), "writer": self.place})
            self.vault.append("results", done, inputs=tv.rows(mine), finish=True)

    def map(self, number: int) -> None:
        self.vault.append("sources", {"writer": self.place, "number": number})
        self.vault.map("mapped", doubled, "sources", version="1")

    def log(self, number: int) -> None:
        tv.log({f"loss{self.place}": number}, step=number)
        self.vault._flush()


@dataclass
class Storm:
    """One storm: a vault, those who use it, and their notes in a folder outside of it."""

    folder: Path
    address: str  #: of the vault
    seed: int
    kills: int
    writers: int = 4
    calls: int = 50  #: that are acknowledged between two kills, on average
    local: bool = True  #: a folder, and not a server

    @property
    def keeps_files(self) -> int:
        return int(self.local)

    def notes(self, place: int) -> Path:
        return self.folder / f"notes{place}"

    def connect(self, **options: Any) -> tv.Vault:
        if self.local:
            options["durability"] = "fast"
        return tv.connect(self.address, capture="none", timeout_s=60, **options)

    def differing(self, name: str, found: dict[str, int], noted: dict[str, int]) -> str:
        both = {key: (found.get(key), noted.get(key)) for key in found.keys() | noted.keys()}
        wrong = {key: values for key, values in both.items() if values[0] != values[1]}
        return f"{name}: there and noted differ by {dict(list(wrong.items())[:10])}"

    # -- what runs in processes of its own

    def prepare(self) -> None:
        with self.connect(session=False) as vault:
            vault.save("jobs", pd.DataFrame({"job": range(JOBS)}))
            vault.append("log", {"writer": -1, "number": 0, "size": 1, "row": 0})

    def write(self, place: int, seed: int) -> None:
        Writer(self, place, seed).live()

    def stay(self, place: int, seed: int) -> None:
        Writer(self, place, seed).stay()

    def read(self) -> None:
        """Read again and again: batches are whole, each read is a prefix of the next, what was noted before is there."""
        before = np.empty((0, 2), np.int64)
        snapshots = 0
        with self.connect(session=False) as vault:
            while True:
                noted = {place: Expected.of(self.notes(place)).shared["log"] for place in range(self.writers)}
                before = self.check_log(vault, before, noted)
                for place in range(self.writers):
                    own_rows(vault, f"own{place}")
                if "results" in vault:
                    assert vault.read("results")["job"].is_unique, "a job was done twice"
                if "texts" in vault:
                    check_search(vault)
                snapshots += 1
                self.wait_for_calls(30)
                (self.folder / "snapshots").write_text(str(snapshots))

    def check_log(self, vault: tv.Vault, before: np.ndarray, noted: dict[int, set[int]]) -> np.ndarray:
        """One read of the list that all append to."""
        frame = vault.read("log", columns=["writer", "number", "size"])
        rows = frame[["writer", "number"]].to_numpy()
        assert (rows[: len(before)] == before).all(), "a read is no prefix of the next one"
        check_batches(frame)
        there = set(map(tuple, np.unique(rows, axis=0).tolist()))
        lost = {(place, number) for place, numbers in noted.items() for number in numbers} - there
        demand(lost, "acknowledged writes lost", f"acknowledged, and not read: {sorted(lost)[:5]}")
        return rows

    def clean(self, seed: int) -> None:
        """Compact, vacuum, check and copy, again and again, while the others write."""
        draw = random.Random(seed)
        with self.connect(session=False) as vault:
            while True:
                what = draw.choice(["compact", "vacuum", "check", "backup"][: 4 if self.local else 3])
                if what == "compact":
                    assert not vault.compact()["damaged"].any()
                elif what == "vacuum":
                    vault.vacuum(dry_run=False, keep=4)
                elif what == "check":
                    assert_sound(vault.check(fix=draw.random() < 0.5))
                else:
                    self.back_up(vault)
                self.wait_for_calls(60)

    def back_up(self, vault: tv.Vault) -> None:
        copy = self.folder / f"backup{os.getpid()}"
        shutil.rmtree(copy, ignore_errors=True)
        assert_sound(vault.backup(copy))
        with tv.connect(copy, mode="r", session=False) as other:
            check_batches(other.read("log", columns=["writer", "number", "size"]))
        shutil.rmtree(copy)

    # -- the storm

    def run(self) -> dict[str, int]:
        """Run it, in a process that has no vault open and no thread. What was counted; raises what anybody found."""
        warm_up()
        self.wait_for(self.start("prepare"))
        draw = random.Random(self.seed)
        places = {self.start("write", place, draw.getrandbits(32)): place for place in range(self.writers)}
        reader, cleaner = self.start("read"), self.start("clean", draw.getrandbits(32))
        killed = 0
        try:
            while killed < self.kills:
                self.wait_for_calls(draw.randrange(2 * self.calls))
                time.sleep(draw.uniform(0, 0.005))
                if draw.random() < 0.1:
                    self.kill(cleaner)
                    cleaner = self.start("clean", draw.getrandbits(32))
                else:
                    victim = draw.choice(sorted(places, key=places.__getitem__))
                    place = places.pop(victim)
                    self.kill(victim)
                    places[self.start("write", place, draw.getrandbits(32))] = place
                killed += 1
                for pid in (*places, reader, cleaner):
                    self.look_at(pid, places, draw)
        finally:
            for pid in (*places, reader, cleaner):
                with contextlib.suppress(ProcessLookupError, ChildProcessError):
                    self.kill(pid)
        counts = Counter({"kills": killed + len(places) + 2})
        counts.update(self.judge())
        return dict(counts)

    def soak(self, minutes: float) -> dict[str, int]:
        """Run for so long: half of the writers stay, and each few seconds another one is killed. What was counted.

        Those that stay hold as much memory and as many files at the end as they did after the first third.
        """
        warm_up()
        self.wait_for(self.start("prepare"))
        draw = random.Random(self.seed)
        staying = [self.start("stay", place, draw.getrandbits(32)) for place in range(0, self.writers, 2)]
        places = {
            self.start("write", place, draw.getrandbits(32)): place for place in range(1, self.writers, 2)
        }
        reader, cleaner = self.start("read"), self.start("clean", draw.getrandbits(32))
        end, killed = time.monotonic() + 60 * minutes, 0
        try:
            while time.monotonic() < end:
                self.wait_for_calls(draw.randrange(2 * self.calls))
                place = places.pop(victim := draw.choice(sorted(places)))
                self.kill(victim)
                places[self.start("write", place, draw.getrandbits(32))] = place
                killed += 1
                for pid in (*places, *staying, reader, cleaner):
                    self.look_at(pid, places, draw)
        finally:
            for pid in (*places, *staying, reader, cleaner):
                with contextlib.suppress(ProcessLookupError, ChildProcessError):
                    self.kill(pid)
        counts = Counter({"kills": killed, "minutes of soak": round(minutes)})
        counts.update(self.judge())
        self.compare_held()
        return dict(counts)

    def compare_held(self) -> None:
        """What those that stayed held in the middle of the soak, and at its end."""
        for path in sorted(self.folder.glob("stays*")):
            held_then = np.array([json.loads(line) for line in path.read_text().splitlines()])
            assert len(held_then) >= 9, f"{path.name} has {len(held_then)} samples: the soak is too short"
            early, late = (np.median(part, axis=0) for part in np.array_split(held_then, 3)[1:])
            calls = late[0] - early[0]
            left = (late[1] - early[1]) / calls
            print(
                f"{path.name}: {left:.0f} bytes left by each of {calls:.0f} calls, "
                f"{early[2]:.0f} MB and {early[3]:.0f} files, then {late[2]:.0f} MB and {late[3]:.0f} files"
            )
            assert left < LEFT, f"each of {calls:.0f} calls leaves {left:.0f} bytes"
            assert late[2] < 1.3 * early[2] + 20, f"memory grew from {early[2]} to {late[2]} MB"
            assert late[3] <= early[3] + 4, f"open files grew from {early[3]} to {late[3]}"

    def wait_for_calls(self, more: int) -> None:
        """Wait until so many more calls were noted, or for some seconds."""
        deadline = time.monotonic() + 5
        size = self.size_of_notes() + 60 * more  # the two lines of a call have some sixty bytes
        while self.size_of_notes() < size and time.monotonic() < deadline:
            time.sleep(0.002)

    def size_of_notes(self) -> int:
        return sum(path.stat().st_size for path in map(self.notes, range(self.writers)) if path.exists())

    def start(self, method: str, *arguments: Any) -> int:
        """Fork a process that calls a method of this. Its number."""
        pid = os.fork()
        if pid:
            return pid
        code = 1
        try:
            warnings.simplefilter("ignore")
            getattr(self, method)(*arguments)
            code = 0
        except BaseException as error:  # noqa: BLE001  # the one that started it tells it
            text = f"{method}{arguments}: {traceback.format_exc()}"
            (self.folder / f"failed-{os.getpid()}").write_text(text)
            if isinstance(error, Broken):
                (self.folder / f"broken-{os.getpid()}").write_text(json.dumps(error.counts))
        finally:
            os._exit(code)

    def look_at(self, pid: int, places: dict[int, int], draw: random.Random) -> None:
        """Replace a writer that has come to its end; whoever failed ends the storm."""
        done, status = os.waitpid(pid, os.WNOHANG)
        if not done:
            return
        place = places.pop(pid, None)
        if status or place is None:
            raise AssertionError(self.failures() or f"a process ended with {status}")
        places[self.start("write", place, draw.getrandbits(32))] = place

    def wait_for(self, pid: int) -> None:
        if os.waitpid(pid, 0)[1]:
            raise AssertionError(self.failures())

    def kill(self, pid: int) -> None:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)

    def failures(self) -> str:
        return "\n".join(path.read_text() for path in sorted(self.folder.glob("failed-*")))

    # -- what is there afterwards

    def judge(self) -> dict[str, int]:
        """Compare the vault with all notes, told by a process that opens it anew."""
        self.wait_for(self.start("compare"))
        assert not self.failures(), self.failures()
        return json.loads((self.folder / "counts").read_text())

    def compare(self) -> None:
        counts: Counter[str] = Counter()
        with self.connect(session="judge") as vault:
            assert_sound(vault.check(fix=True))
            left = vault.check()
            assert_sound(left)
            # On a server, rows of a save that may still run on another machine stay for a while.
            assert left.empty or not self.local, left.to_string()
            log = vault.read("log", columns=["writer", "number", "size"])
            check_batches(log)
            for place in range(self.writers):
                expected = Expected.of(self.notes(place))
                counts["acknowledged writes"] += expected.acked.total()
                numbers = log.loc[log["writer"] == place, "number"].drop_duplicates().tolist()
                self.compare_shared(expected, "log", numbers)
                assert numbers == sorted(numbers), f"calls of writer {place} are out of order"
                self.compare_own(vault, place, expected)
                for kind, name in (("kept", "kept"), ("text", "texts"), ("map", "sources")):
                    if name in vault:
                        rows = vault.read(name, columns=["writer", "number"])
                        self.compare_shared(expected, kind, rows["number"][rows["writer"] == place].tolist())
                values = vault.store.measures(metrics=[f"loss{place}"])["value"].to_pylist()
                self.compare_shared(expected, "values", [int(value) for value in values])
            self.compare_kept(vault)
            self.compare_mapped(vault)
            states = vault.sessions().query("name != 'judge'")["state"]
            assert set(states) <= {"finished", "lost"}, f"sessions of processes that are dead: {set(states)}"
            if "texts" in vault:
                assert check_search(vault) == len(vault.read("texts"))
            self.compare_jobs(vault)
            vault.append("log", {"writer": -1, "number": 1, "size": 1, "row": 0})  # it goes on
        if self.local:
            check_catalogue(Path(self.address))
        snapshots = self.folder / "snapshots"
        counts["reads beside writers"] = int(snapshots.read_text() or 0) if snapshots.exists() else 0
        (self.folder / "counts").write_text(json.dumps(counts))

    def compare_shared(self, expected: Expected, kind: str, there: list[int]) -> None:
        """All that was acknowledged is there once, and nothing that was never asked for."""
        expected.leave_open()
        twice = [number for number, count in Counter(there).items() if count > 1]
        demand(twice, "writes made twice", f"{kind}: something is there twice: {twice[:5]}")
        lost = expected.shared[kind] - set(there)
        demand(lost, "acknowledged writes lost", f"{kind}: acknowledged calls are lost: {sorted(lost)[:5]}")
        more = set(there) - expected.shared[kind] - expected.maybe[kind]
        demand(more, "wrong values", f"{kind}: calls that nobody made: {sorted(more)[:5]}")

    def compare_own(self, vault: tv.Vault, place: int, expected: Expected) -> None:
        expected = Expected.of(self.notes(place))
        found = own_rows(vault, f"own{place}")
        allowed = [expected.rows, expected.after_open()]
        assert found in allowed, self.differing(f"own{place}", found, expected.rows)
        expected.leave_open()
        texts = vault.descriptions()
        texts = texts[texts["list"] == f"own{place}"]["text"].tolist()
        assert [int(text) for text in texts] in [[] if text is None else [text] for text in expected.text]

    def compare_kept(self, vault: tv.Vault) -> None:
        if "kept" not in vault:
            return
        kept, files = vault.read("kept"), vault.files("kept")
        assert files["stored"].all()
        contents = set()
        for sha256 in files["sha256"]:
            with vault.open_file(sha256) as file:
                contents.add(file.read().decode())
        assert contents >= {f"{row.writer} {row.number}" for row in kept.itertuples()}

    def compare_mapped(self, vault: tv.Vault) -> None:
        """Each row has one result, once the last call has come to its end."""
        if "sources" not in vault:
            return
        sources = vault.read("sources")
        mapped = vault.map("mapped", doubled, "sources", version="1").read()
        assert (mapped["twice"] == 2 * mapped["number"]).all()
        pairs = [
            sorted(frame[["writer", "number"]].itertuples(index=False, name=None))
            for frame in (sources, mapped)
        ]
        assert pairs[0] == pairs[1], "rows without a result, or with two"

    def compare_jobs(self, vault: tv.Vault) -> None:
        """A job that is done has one result, and the other way round."""
        claims = vault.claims("jobs")
        done = set(claims["position"][claims["state"] == "done"])
        results = vault.read("results")["job"].tolist() if "results" in vault else []
        assert len(results) == len(set(results)), "a job was done twice"
        assert set(results) == done, (
            f"results without a claim, or claims without a result: {set(results) ^ done}"
        )


def held() -> tuple[int, int, int]:
    """Bytes that this process holds, without what the storm itself notes, its pages of memory in MB, and its open files.

    Pages come and go with what other calls took at once: a leak of a few kilobytes a call is seen by the bytes alone.
    """
    gc.collect()
    ours = [tracemalloc.Filter(False, pattern) for pattern in (__file__, "*json*", tracemalloc.__file__)]
    traces = tracemalloc.take_snapshot().filter_traces(ours).traces
    size = sum(trace.size for trace in traces) + pa.total_allocated_bytes()
    fields = Path("/proc/self/statm").read_text().split()
    pages = int(fields[1]) * os.sysconf("SC_PAGE_SIZE") // 10**6
    return size, pages, len(os.listdir("/proc/self/fd"))


def assert_sound(problems: pd.DataFrame) -> None:
    assert set(problems["severity"]) <= {"stray"}, problems.to_string()


def check_batches(frame: pd.DataFrame) -> None:
    """Every batch has as many rows as it says."""
    sizes = frame.groupby(["writer", "number"])["size"].agg(["size", "min", "max"])
    whole = (sizes["size"] == sizes["min"]) & (sizes["min"] == sizes["max"])
    demand(
        sizes[~whole],
        "half batches seen",
        f"half batches, or some that are there twice: {sizes[~whole].head()}",
    )


def check_search(vault: tv.Vault) -> int:
    """A search finds rows that are there, and all that were committed before it. How many."""
    before = len(vault.read("texts"))
    found = vault.search("all", lists="texts", k=100_000, columns=["number", "text"])
    assert (found["text"] == "call" + found["number"].astype(str) + " of all").all()
    assert len(found) >= before, f"{before} rows were there, and {len(found)} were found"
    return len(found)


def check_catalogue(place: Path) -> None:
    """The catalogue, by SQLite alone, and that every file that it names is there with its size."""
    with contextlib.closing(sqlite3.connect(place / "catalog.db")) as db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert db.execute("PRAGMA foreign_key_check").fetchall() == []
        for name, size in db.execute("SELECT file, size FROM segments WHERE file IS NOT NULL"):
            assert (place / "segments" / f"{name}.arrow").stat().st_size == size
        for sha256, size in db.execute("SELECT sha256, size FROM files"):
            content = (place / "files" / sha256[:2] / sha256).read_bytes()
            assert (len(content), hashlib.sha256(content).hexdigest()) == (size, sha256)
        gaps = "SELECT list FROM batches GROUP BY list HAVING count(*) <> max(version)"
        assert db.execute(gaps).fetchall() == []


def run_storm(storm: Storm, answer: Any, minutes: float = 0.0) -> None:
    """In a process of its own: run a storm, or soak for some minutes, and send what it counted, or what went wrong."""
    try:
        answer.send((storm.soak(minutes) if minutes else storm.run(), ""))
    except BaseException as error:  # noqa: BLE001  # the other process tells it
        counts: Counter[str] = Counter()
        for path in storm.folder.glob("broken-*"):
            counts.update(json.loads(path.read_text()))
        answer.send((dict(counts), f"{error}\n{traceback.format_exc()}"))
