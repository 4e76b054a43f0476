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


@pytest.mark.parametrize("number", range(times(3, ordinary=1)))
@pytest.mark.parametrize("kind", BOTH)
def test_no_kill_loses_or_doubles_anything(tmp_path: Path, kind: str, number: int) -> None:
    """Of rows, kept files, claims, logged values, descriptions; no reader sees half of a batch."""
    seed = SEED + number
    print(f"repeat it with TABLEVAULT_SEED={seed}")
    with new_place(kind, tmp_path) as place:
        if kind == "embedded":
            storm = Storm(tmp_path, place.address, seed, kills=40 if LONG else 8, calls=50 if LONG else 8)
        else:
            storm = Storm(tmp_path, place.address, seed, 10 if LONG else 3, writers=2, calls=6, local=False)
        here, there = PROCESSES.Pipe(duplex=False)
        process = PROCESSES.Process(target=run_storm, args=(storm, there))
        process.start()
        there.close()
        counted, failure = here.recv()
        process.join()
    assert not failure, f"repeat it with TABLEVAULT_SEED={seed}\n{failure}"
    COUNTS.update(counted)
