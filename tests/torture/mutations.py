"""Bytes of a vault that change by themselves, in every kind of its files; each is read in a child of its own.

A child may not crash, hang, or return wrong rows. What was saved stands in this module, and not in the vault.
"""

from __future__ import annotations

import contextlib
import hashlib
import random
import shutil
import sqlite3
import warnings
from collections import Counter
from functools import cache, partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

import tablevault_pd as tv
from tablevault_pd.keys import key_index
from tablevault_pd.store.embedded import segments
from torture.crashes import in_child
from torture.harness import warm_up

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

LARGE = 20_000  # rows that make a file of their own
NOTE = "a kept note\n" * 50

#: Damage that must be told: by the read of what is damaged, and by a check.
PAYLOADS = ("segment", "inline payload", "kept file")
KINDS = (*PAYLOADS, "catalogue", "log", "marks of commits", "digests of keys")


def numbered(number: int, rows: int = LARGE) -> pd.DataFrame:
    return pd.DataFrame({"n": number, "x": np.arange(rows) * 1.5 + number})


@cache
def expected() -> dict[str, list[pd.DataFrame]]:
    """What each version of each list shows."""
    words = pd.DataFrame({"word": [f"zebra{n} and so on" for n in range(50)]})
    colours = pd.DataFrame({"colour": pd.Categorical(["red", "blue", "red"]), "n": [1, 2, 3]})
    keyed = pd.DataFrame({"id": range(20), "value": range(0, 200, 10)})
    changed = pd.DataFrame({"id": [3, 25], "value": [-3, -25]})
    upserted = keyed.copy()
    upserted.loc[3, "value"] = -3
    parts = [numbered(number, 3) for number in range(4)]
    cold = [numbered(number) for number in range(3)]
    return {
        "file": [numbered(0), numbered(1)],
        "cold": [*(pd.concat(cold[: count + 1]) for count in range(3)), numbered(9, 5)],
        "inline": [pd.concat(parts[: count + 1]) for count in range(4)],
        "colours": [colours],
        "words": [words],
        "child": [words.head(3)],
        "keyed": [keyed, pd.concat([upserted, changed[1:]])],
    }


def make_world(place: Path) -> None:
    """A vault with every kind of payload, and a log that is not in the catalogue yet."""
    note = place.parent / "note.txt"
    note.write_text(NOTE)
    versions = expected()
    in_child(partial(_fill, place, note, versions))
    in_child(partial(_leave_a_log, place))


def _fill(place: Path, note: Path, versions: dict[str, list[pd.DataFrame]]) -> dict[str, Any]:
    key_index._LACKING_ROWS = 1  # so that the digests of a few keys are kept in a file
    with tv.connect(place, capture="none", session=False) as vault:
        for frame in versions["file"]:
            vault.save("file", frame)
        for number in range(3):
            vault.append("cold", numbered(number))
        vault.save("cold", versions["cold"][-1])
        vault.compact("cold")
        vault.save("colours", versions["colours"][0])
        vault.save("words", versions["words"][0])
        vault.save("keyed", versions["keyed"][0], key="id")
        vault.upsert("keyed", pd.DataFrame({"id": [3, 25], "value": [-3, -25]}), key="id")
        vault.save("kept", pd.DataFrame({"path": [str(note)]}), files="path", copy=True)
        vault.save("child", vault.read("words").head(3))
        vault.append("inline", numbered(0, 3))
    return {}


def _leave_a_log(place: Path) -> dict[str, Any]:
    vault = tv.connect(place, capture="none", session=False)
    for number in range(1, 4):
        vault.append("inline", numbered(number, 3))
    return {}  # nobody closes, so the log stays


def mutated(data: bytes, draw: random.Random) -> bytes:
    """The same with a change: a bit, a byte, eight bytes, zeros, extremes, a swap; cut, or with more at its end."""
    changed, at = bytearray(data), draw.randrange(len(data))
    kind = draw.randrange(9)
    if kind == 0:
        changed[at] ^= 1 << draw.randrange(8)
    elif kind == 1:
        changed[at] = draw.randrange(256)
    elif kind == 2:
        changed[at : at + 8] = draw.randbytes(len(changed[at : at + 8]))
    elif kind == 3:
        changed[at : at + 64] = bytes(len(changed[at : at + 64]))
    elif kind == 4:
        extreme = draw.choice([b"\xff\xff\xff\x7f", b"\x00\x00\x00\x80", b"\xff\xff\xff\xff"])
        changed[at : at + 4] = extreme[: len(changed[at : at + 4])]
    elif kind == 5:
        other = draw.randrange(len(data))
        changed[at], changed[other] = changed[other], changed[at]
    elif kind == 6:
        del changed[at:]
    elif kind == 7:
        changed += draw.randbytes(draw.randrange(1, 64))
    else:
        for _ in range(20):
            changed[draw.randrange(len(data))] = draw.randrange(256)
    return bytes(changed)


def mutate(place: Path, kind: str, draw: random.Random) -> bool:
    """Change a vault that nobody has open. Whether a byte is another one now."""
    if kind == "inline payload":
        return _mutate_inline(place, draw)
    patterns = {
        "segment": "segments/*", "kept file": "files/*/*", "catalogue": "catalog.db", "log": "catalog.db-wal",
        "marks of commits": "commits.log", "digests of keys": "keys/*",
    }  # fmt: skip
    path = draw.choice(sorted(place.glob(patterns[kind])))
    before = path.read_bytes()
    after = mutated(before, draw)
    path.write_bytes(after)
    if kind == "log":
        path.with_name("catalog.db-shm").unlink(missing_ok=True)
    return after != before


def _mutate_inline(place: Path, draw: random.Random) -> bool:
    with contextlib.closing(sqlite3.connect(place / "catalog.db")) as db, db:
        rows = db.execute("SELECT id, data FROM segments WHERE data IS NOT NULL ORDER BY id").fetchall()
        key, before = draw.choice(rows)
        after = mutated(before, draw)
        db.execute("UPDATE segments SET data = ? WHERE id = ?", (after, key))
    return after != before


def examine(place: Path, kind: str = "") -> dict[str, Any]:
    """In a process of its own: read all of it. What was told, and what was read wrong without a word."""
    told: list[str] = []
    wrong: list[str] = []

    def ask(what: str, call: Callable[[], bool]) -> None:
        try:
            if not call():
                wrong.append(what)
        except tv.VaultError as error:
            told.append(f"{what}: {type(error).__name__}")

    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        try:
            vault = tv.connect(place, capture="none", session=False, timeout_s=5)
        except tv.VaultError as error:
            return {"told": [f"connect: {type(error).__name__}"], "wrong": [], "checked": True}
        for name, versions in expected().items():
            for number, frame in enumerate(versions, 1):
                ask(f"{name}@{number}", partial(_reads, vault, name, number, frame))
            # A log that was cut has lost the newest versions, which is told.
            ask(name, partial(_reads, vault, name, None, *(versions if kind == "log" else versions[-1:])))
        ask("filter", lambda: vault.read("file", filters="x >= 29990")["x"].tolist() == _filtered())
        ask("upserted", lambda: vault.read("keyed", filters="id == 25")["value"].tolist() == [-25])
        ask("search", lambda: vault.search("zebra7", lists="words")["position"].tolist() == [7])
        ask("kept", lambda: _kept(vault) == NOTE and len(vault.read("kept")) == 1)
        if kind == "digests of keys":  # which say whether a key is there
            ask("upsert", lambda: _upserts(vault))
        ask("parents", lambda: _parents(vault) == [0, 1, 2])
        checked = False
        try:
            problems = vault.check()
            checked = bool(len(problems))
            told += [f"check: {what}" for what in problems["what"]]
        except tv.VaultError as error:
            checked = True
            told.append(f"check: {type(error).__name__}")
        vault.close()
    told += [f"warned: {str(each.message)[:60]}" for each in warned]
    return {"told": told, "wrong": wrong, "checked": checked}


def _filtered() -> list[float]:
    return [x for x in expected()["file"][-1]["x"].tolist() if x >= 29990]


def _reads(vault: tv.Vault, name: str, version: int | None, *frames: pd.DataFrame) -> bool:
    found = vault.read(name, version=version).reset_index(drop=True)
    return any(found.equals(frame.reset_index(drop=True)) for frame in frames)


def _kept(vault: tv.Vault) -> str:
    with vault.open_file(hashlib.sha256(NOTE.encode()).hexdigest()) as file:
        return file.read().decode()


def _upserts(vault: tv.Vault) -> bool:
    vault.upsert("keyed", pd.DataFrame({"id": [3, 25, 26], "value": [1, 2, 3]}), key="id")
    rows = vault.read("keyed").set_index("id")["value"]
    expected_rows = expected()["keyed"][-1].set_index("id")["value"].to_dict() | {3: 1, 25: 2, 26: 3}
    return rows.index.is_unique and rows.to_dict() == expected_rows


def _parents(vault: tv.Vault) -> list[int]:
    return sorted(vault.read("child").vault.parents()["position"].tolist())


def verdict(place: Path, kind: str, draw: random.Random) -> tuple[str, str]:
    """Change a vault and have it read. One word, and what there is to say of it."""
    changed = mutate(place, kind, draw)
    code, answer = in_child(partial(examine, place, kind))
    if answer is None or code:
        return "crashes", f"ended with {code}: {str(answer)[-1500:]}"
    if "failed" in answer:
        return "crashes", answer["failed"][-1500:]
    if answer["wrong"]:
        return "wrong values", f"{answer['wrong']}, told: {answer['told']}"
    lost = kind == "log" and any("NotFound" in told for told in answer["told"])
    untold = [
        told
        for told in ("check", "warned" if lost else ":")
        if not any(told in each for each in answer["told"])
    ]
    if ((kind in PAYLOADS and changed) or lost) and untold:
        return "damages that were not told", str(answer["told"])
    return ("damages told" if answer["told"] else "changes without effect"), str(answer["told"])


def run_mutations(world: Path, folder: Path, kind: str, seed: int, count: int, answer: Any) -> None:
    """In a process of its own: so many changes of one kind; counts and what is wrong go into the pipe `answer`."""
    counts: Counter[str] = Counter()
    wrong: list[str] = []
    warm(world, folder)
    for number in range(count):
        place = folder / "v"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(world / "v", place)
        what, detail = verdict(place, kind, random.Random(f"{seed} {kind} {number}"))
        counts[what] += 1
        if what in ("crashes", "wrong values", "damages that were not told"):
            wrong.append(f"{kind}, number {number} of seed {seed}: {what}: {detail}")
    answer.send((dict(counts) | {"mutations tried": count}, wrong))


def warm(world: Path, folder: Path) -> None:
    """Examine a vault that nobody changed, so that children forked from this process import and compile nothing."""
    warm_up()
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(world / "v", folder)
    answer = examine(folder)
    assert answer == {"told": [], "wrong": [], "checked": False}, answer
    segments._verified.clear()  # a child looks at every payload itself
