"""What torture tests share: scaling, writers in real processes, and a log of what was acknowledged, kept outside of the vault.

``TABLEVAULT_TORTURE=20`` repeats everything twenty times as often; 1 is what every run of the tests has time for. What was
counted stands in one table at the end of a run (tests/conftest.py).
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import multiprocessing
import os
import secrets
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import tablevault_pd as tv

PACKAGE = Path(__file__).parents[2] / "tablevault_pd"
#: Rooms that calls import when they need them.
ROOMS = ["keys", "lineage", "mapping", "reading", "saving", "search", "session", "store", "vault", "work"]
#: Their modules, but those of a server.
MODULES = [
    ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")
    for room in ROOMS
    for path in sorted((PACKAGE / room).rglob("*.py"))
    if "arango" not in path.parts
] + ["tablevault_pd.api", "tablevault_pd.transfer"]

#: Processes forked from one that has imported everything: starting one takes milliseconds and not a second.
PROCESSES = multiprocessing.get_context("forkserver" if hasattr(os, "fork") else "spawn")
if hasattr(os, "fork"):
    PROCESSES.set_forkserver_preload(["numpy", "pandas", "pyarrow", "pytest", *MODULES])

FACTOR = float(os.environ.get("TABLEVAULT_TORTURE", "1"))
#: Whether this is a long run: it does more, and random tests draw what they did not draw before.
LONG = FACTOR != 1
#: Whether all is checked that a change must pass; what runs elsewhere is the part that ends within minutes.
CI = bool(os.environ.get("CI"))
#: What storms and mutations draw from: the same in every run, another one in each long run, which prints it.
SEED = int(os.environ.setdefault("TABLEVAULT_SEED", str(secrets.randbits(32) if LONG else 20_240_917)))


#: What was done and found by the test that runs.
COUNTS: Counter[str] = Counter()
#: What the table at the end of a run always names, in this order; other counts follow.
FIGURES = [
    "kills",
    "interrupts",
    "acknowledged writes",
    "acknowledged writes lost",
    "writes made twice",
    "half batches seen",
    "mutations tried",
    "crashes",
    "wrong values",
]


class Broken(AssertionError):
    """A promise was broken; `counts` has how often, by what the closing table calls it."""

    def __init__(self, message: str, counts: dict[str, int] | None = None) -> None:
        super().__init__(message)
        self.counts = counts or {}


def demand(wrong: Any, what: str, message: str) -> None:
    """Fail where `wrong` is not empty: that many of `what` were found."""
    if len(wrong):
        raise Broken(message, {what: len(wrong)})


def warm_up() -> None:
    """Import all that a call may need, so that children forked from this process need not."""
    for module in MODULES:
        importlib.import_module(module)
    gc.freeze()


def times(count: int, *, ordinary: int | None = None) -> int:
    """How often to do what is done `count` times by default.

    `ordinary` times where nothing asks for more: two thirds of that in CI, one third elsewhere.
    """
    if LONG:
        return max(1, round(count * FACTOR))
    often = ordinary or count
    return min(often, max(2, often * (2 if CI else 1) // 3))


def parts(count: int, of: int, *, ordinary: int) -> list[int]:
    """What `times` says, in parts of at most `of`: each has a vault of its own, and workers of xdist share them."""
    whole = times(count, ordinary=ordinary)
    return [min(of, whole - done) for done in range(0, whole, of)]


def run(code: str, *arguments: object, timeout_s: float = 300.0, **variables: str) -> str:
    """Run `code` in a process of its own; what it printed. Fails with its traceback if it fails, or hangs."""
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "PYTHONUNBUFFERED": "1"} | variables,
        capture_output=True,
        text=True,
        check=False,
        timeout=timeout_s * max(1.0, FACTOR),
    )
    assert done.returncode == 0, f"exit code {done.returncode}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    return done.stdout


class Acks:
    """Numbers that were acknowledged, in a file: a line is appended by one write once the call has returned."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND)
        self._path = path

    def add(self, number: int) -> None:
        """The row with this number was acknowledged."""
        os.write(self._file, f"{number}\n".encode())

    def all(self) -> list[int]:
        """Every number, in order."""
        return [int(line) for line in self._path.read_text().split()]


def check_rows(vault: tv.Vault, name: str, acknowledged: list[int], column: str = "n") -> None:
    """Every acknowledged number is in the list exactly once, and none twice."""
    found = Counter(vault.read(name)[column].tolist()) if name in vault else Counter()
    lost = sorted(set(acknowledged) - set(found))
    twice = sorted(number for number, count in found.items() if count > 1)
    COUNTS.update(
        {
            "acknowledged writes": len(acknowledged),
            "acknowledged writes lost": len(lost),
            "writes made twice": len(twice),
        }
    )
    assert not lost, f"{len(lost)} of {len(acknowledged)} acknowledged rows are lost: {lost[:10]}"
    assert not twice, f"rows that are there more than once: {twice[:10]}"


def check_sound(vault: tv.Vault) -> None:
    """Nothing is damaged. Files of writers that were killed may lie about, and can be removed."""
    problems = vault.check(fix=True)
    assert set(problems["severity"]) <= {"stray"}, problems.to_string()
    assert vault.check().empty


def check_goes_on(place: Path, name: str) -> None:
    """Another process can write to the vault at once."""
    run(
        "import sys, tablevault_pd as tv\n"
        "with tv.connect(sys.argv[1], session='another', timeout_s=10) as vault: vault.append(sys.argv[2], {'n': -1})",
        place,
        name,
    )


def suspend(vault: tv.Vault, pid: int) -> None:
    """Suspend a process, but not while it holds the lock of a folder, which it would hold until it goes on."""
    is_folder = not vault.place.startswith("arangodb:")
    with vault.store.catalog.lock() if is_folder else contextlib.nullcontext():
        os.kill(pid, signal.SIGSTOP)
        state = Path(f"/proc/{pid}/stat")
        while state.exists() and state.read_text().rpartition(") ")[2][0] != "T":
            time.sleep(0.001)
