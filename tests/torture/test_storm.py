"""Writers over every call, killed at random moments beside a reader and a cleaner: nothing that was acknowledged is lost."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from stores import BOTH, new_place

from torture.harness import COUNTS, LONG, PROCESSES, SEED, times
from torture.storm import Storm, run_storm

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


@pytest.mark.parametrize("number", range(times(2, ordinary=1)))
@pytest.mark.parametrize("kind", BOTH)
def test_no_kill_loses_or_doubles_anything(tmp_path: Path, kind: str, number: int) -> None:
    """Of rows, kept files, claims, logged values, descriptions; no reader sees half of a batch."""
    seed = SEED + number
    print(f"repeat it with TABLEVAULT_SEED={seed}")
    with new_place(kind, tmp_path) as place:
        if kind == "embedded":
            storm = Storm(tmp_path, place.address, seed, kills=40 if LONG else 5, calls=50 if LONG else 6)
        else:
            storm = Storm(tmp_path, place.address, seed, 10 if LONG else 3, writers=2, calls=6, local=False)
        here, there = PROCESSES.Pipe(duplex=False)
        process = PROCESSES.Process(target=run_storm, args=(storm, there))
        process.start()
        there.close()
        counted, failure = here.recv()
        process.join()
    COUNTS.update(counted)
    assert not failure, f"repeat it with TABLEVAULT_SEED={seed}\n{failure}"


@pytest.mark.skipif(not LONG, reason="takes minutes: TABLEVAULT_TORTURE, or TABLEVAULT_SOAK_MINUTES")
@pytest.mark.skipif(
    not os.path.exists("/proc/self/statm"), reason="the system does not tell what a process holds"
)
def test_a_soak(tmp_path: Path) -> None:
    """Eight processes for some minutes: memory and open files of those that stay are steady."""
    minutes = float(os.environ.get("TABLEVAULT_SOAK_MINUTES", times(1) / 4))
    storm = Storm(tmp_path, str(tmp_path / "v"), SEED, kills=0, writers=6, calls=400)
    here, there = PROCESSES.Pipe(duplex=False)
    process = PROCESSES.Process(target=run_storm, args=(storm, there, minutes))
    process.start()
    there.close()
    counted, failure = here.recv()
    process.join()
    COUNTS.update(counted)
    assert not failure, f"repeat it with TABLEVAULT_SEED={SEED}\n{failure}"
