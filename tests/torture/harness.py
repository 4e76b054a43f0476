"""What torture tests share: scaling, writers in real processes, and a log of what was acknowledged, kept outside of the vault.

``TABLEVAULT_TORTURE=20`` repeats everything twenty times as often; 1 is what every run of the tests has time for. What was
counted stands in one line at the end of a run (tests/conftest.py).
"""

from __future__ import annotations

import multiprocessing
import os
import secrets
import subprocess
import sys
from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    import tablevault_pd as tv

#: Processes forked from one that has imported everything: starting one takes milliseconds and not a second.
PROCESSES = multiprocessing.get_context("forkserver" if hasattr(os, "fork") else "spawn")
if hasattr(os, "fork"):
    PROCESSES.set_forkserver_preload(
        [
            "numpy",
            "pandas",
            "pyarrow",
            "tablevault_pd.vault",
            "tablevault_pd.saving.write",
            "tablevault_pd.reading.read",
            "tablevault_pd.store.embedded",
            "tablevault_pd.search",
            "pytest",
        ]
    )

FACTOR = float(os.environ.get("TABLEVAULT_TORTURE", "1"))
#: Whether this is a long run: it does more, and random tests draw what they did not draw before.
LONG = FACTOR != 1
#: Whether all is checked that a change must pass; what runs elsewhere is the part that ends within minutes.
CI = bool(os.environ.get("CI"))
#: What storms and mutations draw from: the same in every run, another one in each long run, which prints it.
SEED = int(os.environ.setdefault("TABLEVAULT_SEED", str(secrets.randbits(32) if LONG else 20_240_917)))


#: What was done and found by the test that runs: kills, interrupts, acknowledged rows, lost rows, rows found twice …
COUNTS: Counter[str] = Counter()


def times(count: int, *, ordinary: int | None = None) -> int:
    """How often to do what is done `count` times by default; `ordinary` times where nothing asks for more, half of that outside of CI."""
    if ordinary and not LONG:
        return ordinary if CI else min(ordinary, max(2, ordinary // 2))
    return max(1, round(count * FACTOR))


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
    COUNTS.update({"acknowledged rows": len(acknowledged), "lost rows": len(lost)})
    assert not lost, f"{len(lost)} of {len(acknowledged)} acknowledged rows are lost: {lost[:10]}"
    twice = sorted(number for number, count in found.items() if count > 1)
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
