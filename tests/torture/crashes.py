"""Calls that are stopped at each durable step: the process ends, the disk is full or fails, Ctrl-C comes.

Each call meets its failpoints in a child of its own, on a copy of the same vault. What the vault must show after it is written
down here, in plain values: as before the call or as after it, and after it where the call returned.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import threading
import traceback
import warnings
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

import tablevault_pd as tv
from tablevault_pd.store.embedded import fsio as io
from torture.harness import warm_up

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

LARGE = 40_000  # rows that make a file of their own
ACTIONS = ["exit", "ENOSPC", "EIO", "interrupt"]
#: Points at which the system has no error to give: what has been done stands.
ONLY_STOPS = {"before-return"}

State = dict[str, Any]


def large(number: int, rows: int = LARGE) -> pd.DataFrame:
    return pd.DataFrame({"n": number, "x": np.arange(rows)})


def make_world(place: Path) -> None:
    """A vault with lists for each call."""
    note = place.parent / "note.txt"
    note.write_text("first note")
    with tv.connect(place, capture="none", session=False) as vault:
        vault.save("small", pd.DataFrame({"n": range(5), "t": [f"word{n}" for n in range(5)]}))
        vault.save("large", large(0))
        vault.save("keyed", pd.DataFrame({"id": range(6), "value": range(0, 60, 10)}), key="id")
        vault.upsert("keyed", pd.DataFrame({"id": [0], "value": [1]}), key="id")
        for number in range(3):
            vault.append("parts", pd.DataFrame({"n": [number]}))
        for number in range(3):
            vault.append("files", large(number))
        for number in range(2):
            vault.save("old", large(number))
        vault.save("jobs", pd.DataFrame({"word": ["a", "bb", "ccc"]}))
        vault.save("words", pd.DataFrame({"word": ["a", "bb", "ccc"]}))
        vault.save("kept", pd.DataFrame({"path": [str(note)]}), files="path", copy=True)
        vault.save("prose", pd.DataFrame({"text": [f"zebra{n} " + 30 * "and so on " for n in range(1_000)]}))


def state(vault: tv.Vault) -> State:
    """What the vault shows, as plain values."""
    vault._flush()
    found: State = {}
    for name in ("small", "parts", "answers", "done", "renamed", "new"):
        found[name] = vault.read(name).iloc[:, 0].tolist() if name in vault else None
    for name in ("large", "files", "old"):
        frame = vault.read(name) if name in vault else None
        found[name] = None if frame is None else [len(frame), int(frame["n"].sum()), int(frame["x"].sum())]
    rows = vault.read("keyed")
    assert rows["id"].is_unique
    found["keyed"] = [len(rows), dict(zip(map(str, rows["id"][:8]), rows["value"][:8].tolist(), strict=True))]
    versions = vault.versions()
    found["versions"] = versions.groupby("list").size().to_dict()
    found["jobs done"] = int((vault.claims("jobs")["state"] == "done").sum())
    found["texts"] = sorted(vault.descriptions()["text"])
    found["snapshots"] = sorted(set(vault.snapshots()["name"]))
    named = any("best" in names for names in vault.versions("small")["tags"])
    found["named"] = vault.read("small@best")["n"].tolist() if named else None
    files = vault.files("kept")
    found["kept"] = []
    for sha256 in files["sha256"]:
        with vault.open_file(sha256) as file:
            found["kept"].append(file.read().decode())
    found["logged"] = vault.store.measures(metrics=["loss"])["value"].to_pylist()
    return found


BEFORE: State = {
    "small": [0, 1, 2, 3, 4],
    "parts": [0, 1, 2],
    "answers": None,
    "done": None,
    "renamed": None,
    "new": None,
    "large": [LARGE, 0, LARGE * (LARGE - 1) // 2],
    "files": [3 * LARGE, 3 * LARGE, 3 * LARGE * (LARGE - 1) // 2],
    "old": [LARGE, LARGE, LARGE * (LARGE - 1) // 2],
    "keyed": [6, {"0": 1, "1": 10, "2": 20, "3": 30, "4": 40, "5": 50}],
    "versions": {"small": 1, "large": 1, "keyed": 2, "parts": 3, "files": 3, "old": 2, "jobs": 1, "words": 1, "kept": 1, "prose": 1},
    "jobs done": 0,
    "texts": [],
    "snapshots": [],
    "named": None,
    "kept": ["first note"],
    "logged": [],
}  # fmt: skip


def _map(vault: tv.Vault, folder: Path) -> None:
    vault.map("answers", lambda row: {"length": len(row.word)}, "words", version="1")


def _claim(vault: tv.Vault, folder: Path) -> None:
    mine = vault.claim("jobs", k=2)
    vault.append("done", pd.DataFrame({"word": mine["word"].to_numpy()}), inputs=tv.rows(mine), finish=True)


def _keep(vault: tv.Vault, folder: Path) -> None:
    (folder / "second.txt").write_text("second note")
    vault.append("kept", pd.DataFrame({"path": [str(folder / "second.txt")]}), files="path", copy=True)


def _log(vault: tv.Vault, folder: Path) -> None:
    with vault.session("logging") as session:
        for step in range(4):
            session.log(step=step, loss=step / 2)


def _copy(vault: tv.Vault, folder: Path) -> None:
    tv.copy(vault, folder / "copied")


def _back_up(vault: tv.Vault, folder: Path) -> None:
    assert set(vault.backup(folder / "backup")["severity"]) <= {"unchecked"}  # of a disk that fails


def _backed_up(folder: Path, returned: bool) -> str | None:
    """A backup is there as a whole, or not at all."""
    if (folder / "backup").exists() or returned:
        return _like_before(folder / "backup")
    return None


def _copied(folder: Path, returned: bool) -> str | None:
    """A copy that was stopped goes on when it is asked for again."""
    if not returned:
        tv.copy(folder / "v", folder / "copied", list(BEFORE["versions"]))
    return _like_before(folder / "copied")


def _like_before(place: Path) -> str | None:
    with tv.connect(place, capture="none", session=False) as vault:
        found = state(vault)
        found["versions"].pop("goes on", None)
        problems = vault.check(fix=True)
    if not set(problems["severity"]) <= {"stray"}:
        return problems.to_string()
    return None if found == BEFORE else f"in {place.name} there is {_differing(found, BEFORE)}"


def _search(vault: tv.Vault, folder: Path) -> None:
    assert vault.search("zebra7", lists="prose")["position"].tolist() == [7]


@dataclass(frozen=True)
class Operation:
    """A call, and what is different after it."""

    call: Callable[[tv.Vault, Path], Any]
    after: State = field(default_factory=dict)
    versions: dict[str, int] = field(default_factory=dict)  #: how many more each list has
    session: bool = False  #: whether the vault has a session of its own
    #: What else is wrong after it, in that folder, and whether the call had returned.
    wrong: Callable[[Path, bool], str | None] = lambda folder, returned: None
    #: States on the way, of calls that commit more than once.
    between: Callable[[State], bool] = lambda state: False

    def allowed(self, returned: bool, found: State) -> bool:
        """Whether the vault may show that."""
        after = BEFORE | self.after
        after["versions"] = BEFORE["versions"] | {
            name: BEFORE["versions"].get(name, 0) + more for name, more in self.versions.items()
        }
        after["versions"] = {name: count for name, count in after["versions"].items() if count}
        return found == after or (not returned and (found == BEFORE or self.between(found)))


def _only(name: str, holds: Callable[[Any], bool]) -> Callable[[State], bool]:
    """Whether a state differs from the one before by one entry alone, and by the versions of lists that this makes."""

    def judged(found: State) -> bool:
        same = {key: value for key, value in found.items() if key not in (name, "versions")}
        return same == {key: BEFORE[key] for key in same} and holds(found[name])

    return judged


OPERATIONS: dict[str, Operation] = {
    "save": Operation(
        lambda vault, folder: vault.save("small", pd.DataFrame({"n": [7, 8], "t": ["x", "y"]})),
        {"small": [7, 8]},
        {"small": 1},
    ),
    "save a file": Operation(
        lambda vault, folder: vault.save("large", large(1)),
        {"large": [LARGE, LARGE, LARGE * (LARGE - 1) // 2]},
        {"large": 1},
    ),
    "save a new list": Operation(
        lambda vault, folder: vault.save("new", pd.DataFrame({"n": [1]})), {"new": [1]}, {"new": 1}
    ),
    "append": Operation(
        lambda vault, folder: vault.append("parts", {"n": 3}), {"parts": [0, 1, 2, 3]}, {"parts": 1}
    ),
    "append a file": Operation(
        lambda vault, folder: vault.append("files", large(3)),
        {"files": [4 * LARGE, 6 * LARGE, 4 * LARGE * (LARGE - 1) // 2]},
        {"files": 1},
    ),
    "upsert": Operation(
        lambda vault, folder: vault.upsert(
            "keyed", pd.DataFrame({"id": [1, 9], "value": [-1, -9]}), key="id"
        ),
        {"keyed": [7, {"0": 1, "1": -1, "2": 20, "3": 30, "4": 40, "5": 50, "9": -9}]},
        {"keyed": 1},
    ),
    "upsert a file": Operation(
        lambda vault, folder: vault.upsert(
            "keyed", pd.DataFrame({"id": np.arange(1, LARGE), "value": 5}), key="id"
        ),
        {"keyed": [LARGE, {"0": 1, "1": 5, "2": 5, "3": 5, "4": 5, "5": 5, "6": 5, "7": 5}]},
        {"keyed": 1},
    ),
    "delete rows": Operation(
        lambda vault, folder: vault.delete_rows("keyed", filters="id in [2, 3]"),
        {"keyed": [4, {"0": 1, "1": 10, "4": 40, "5": 50}]},
        {"keyed": 1},
    ),
    "erase": Operation(
        lambda vault, folder: vault.erase("small", filters="n < 2"), {"small": [2, 3, 4]}, {"small": 1}
    ),
    "erase in a file": Operation(
        lambda vault, folder: vault.erase("large", filters="x < 2"),
        {"large": [LARGE - 2, 0, LARGE * (LARGE - 1) // 2 - 1]},
        {"large": 1},
    ),
    "restore": Operation(
        lambda vault, folder: vault.restore("old", version=1),
        {"old": [LARGE, 0, LARGE * (LARGE - 1) // 2]},
        {"old": 1},
    ),
    "delete": Operation(lambda vault, folder: vault.delete("old"), {"old": None}, {"old": 1}),
    "describe": Operation(
        lambda vault, folder: vault.describe("small", "some words"), {"texts": ["some words"]}
    ),
    "name a version": Operation(
        lambda vault, folder: vault.tag("small@1", "best"), {"named": BEFORE["small"]}
    ),
    "snapshot": Operation(lambda vault, folder: vault.snapshot("paper"), {"snapshots": ["paper"]}),
    "rename": Operation(
        lambda vault, folder: vault.rename("parts", "renamed"),
        {"parts": None, "renamed": [0, 1, 2]},
        {"renamed": 3, "parts": -3},
    ),
    "map": Operation(
        _map,
        {"answers": [1, 2, 3]},
        {"answers": 1, "answers/map": 1},
        session=True,
        between=lambda found: found["answers"] in (None, [1, 2, 3]),
    ),
    "claim and finish": Operation(_claim, {"done": ["a", "bb"], "jobs done": 2}, {"done": 1}, session=True),
    "keep a file": Operation(_keep, {"kept": ["first note", "second note"]}, {"kept": 1}),
    "log in a session": Operation(
        _log,
        {"logged": [0.0, 0.5, 1.0, 1.5]},
        between=_only("logged", lambda values: [0.0, 0.5, 1.0, 1.5][: len(values)] == values),
    ),
    "compact": Operation(lambda vault, folder: vault.compact()),
    "vacuum": Operation(lambda vault, folder: vault.vacuum(dry_run=False)),
    "check": Operation(lambda vault, folder: vault.check(fix=True)),
    "back up": Operation(_back_up, wrong=_backed_up),
    "copy": Operation(_copy, wrong=_copied),
    "search": Operation(_search),
}


class Stop:
    """Counts the failpoints that a call meets, and does something at one of them."""

    def __init__(self, at: int | None, action: str) -> None:
        self.at, self.action = at, action
        self.met: list[str] = []
        self.own: list[bool] = []  #: whether the calling thread met it, and not one in the background

    def __call__(self, name: str) -> None:
        own = threading.current_thread() is threading.main_thread()
        self.met.append(name)
        self.own.append(own)
        if len(self.met) - 1 != self.at or (self.action == "interrupt" and not own):
            return
        if name not in ONLY_STOPS or self.action in ("exit", "interrupt"):
            io.fail(self.action)


def run_case(name: str, place: Path, at: int | None, action: str) -> State:
    """In a process of its own: make the call, stopped at the point of that number. What happened, and what is there then."""
    operation, stop, raised = OPERATIONS[name], Stop(at, action), None
    folder = place.parent
    vault = tv.connect(place, capture="none", session="worker" if operation.session else False, timeout_s=20)
    real, io.failpoint = io.failpoint, stop
    try:
        operation.call(vault, folder)
    except (tv.VaultError, OSError, KeyboardInterrupt) as error:
        raised = f"{type(error).__name__}: {error}"
    finally:
        io.failpoint = real
    found = state(vault)
    problems = vault.check()
    sound = set(problems["severity"]) <= {"stray"}
    vault.append("goes on", {"n": 1})  # the same process works on
    assert vault.read("goes on")["n"].tolist() == [1]
    vault.close()
    return {
        "raised": raised,
        "state": found,
        "met": stop.met,
        "own": stop.own,
        "sound": sound or problems.to_string(),
    }


def judge(name: str, place: Path, case: State | None) -> str | None:
    """What is wrong with a vault after a case, told by one that opens it anew; `case` is None where the process ended."""
    operation = OPERATIONS[name]
    returned = case is not None and case["raised"] is None
    with tv.connect(place, capture="none", session=False, timeout_s=20) as vault:
        found = state(vault)
        seen = found["versions"].pop("goes on", None)
        problems = vault.check(fix=True)
        left = vault.check()
    if case is not None:
        if seen != 1:
            return "the process could not go on"
        if case["state"] != found:
            return f"the process saw {_differing(case['state'], found)}"
        if case["sound"] is not True:
            return f"while it was open: {case['sound']}"
    if not operation.allowed(returned, found):
        return f"{'returned' if returned else 'not returned'}, and there is {_differing(found, BEFORE)}"
    if not set(problems["severity"]) <= {"stray"}:
        return problems.to_string()
    if not left.empty:
        return f"left after a fix: {left.to_string()}"
    return operation.wrong(place.parent, returned)


def _differing(found: State, other: State) -> State:
    return {key: (value, other.get(key)) for key, value in found.items() if value != other.get(key)}


def in_child(work: Callable[[], State]) -> tuple[int, State | None]:
    """Do it in a forked child. Its exit code, negative for a signal, and what it returned."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            os.close(reading)
            signal.alarm(120)  # nothing hangs for ever
            warnings.simplefilter("ignore")
            answer = json.dumps(work())
            with os.fdopen(writing, "w") as file:
                file.write(answer)
            code = 0
        except BaseException:  # noqa: BLE001  # the other process tells it
            with contextlib.suppress(OSError), os.fdopen(writing, "w") as file:
                file.write(json.dumps({"failed": traceback.format_exc()}))
        finally:
            os._exit(code)
    os.close(writing)
    with os.fdopen(reading) as file:
        text = file.read()
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return code, json.loads(text) if text else None


def cases_of(name: str, world: Path, folder: Path) -> list[tuple[int, str]]:
    """Each point that the call meets, by its number, with each action."""
    _, case = in_child(lambda: run_case(name, fresh(world, folder), None, ""))
    assert case is not None
    assert "failed" not in case, case
    assert case["raised"] is None, case
    wrong = judge(name, folder / "v", case)
    assert wrong is None, wrong
    return [(at, action) for at in range(len(case["met"])) for action in ACTIONS]


def fresh(world: Path, folder: Path) -> Path:
    """A copy of the world in an empty folder."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(world, folder)
    return folder / "v"


def run_cases(
    name: str, world: Path, folder: Path, some: Sequence[tuple[int, str]] | None, answer: Any
) -> None:
    """In a process of its own: all cases of a call, or some; counts and what is wrong go into the pipe `answer`."""
    wrong: list[str] = []
    done: dict[str, int] = {}
    warm_up()
    try:
        for at, action in cases_of(name, world, folder) if some is None else some:
            place = fresh(world, folder)
            code, case = in_child(partial(run_case, name, place, at, action))
            if case is not None and "failed" in case:
                verdict = case["failed"]
            elif code not in (0, 137):
                verdict = f"ended with {code}"
            else:
                verdict = judge(name, place, case)
            key = "processes ended at a failpoint" if code == 137 else "errors and interrupts at a failpoint"
            done[key] = done.get(key, 0) + 1
            if verdict:
                wrong.append(f"{name!r}, at its point {at}, {action}: {verdict}")
    except Exception:  # noqa: BLE001  # the other process tells it
        wrong.append(f"{name!r}: {traceback.format_exc()}")
    answer.send((done, wrong))
