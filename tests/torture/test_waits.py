"""How long the others wait when a writer is killed: reported, not judged, since the machine has its part in it."""

from __future__ import annotations

import os
import random
import time
from itertools import count
from typing import TYPE_CHECKING

import pytest
from test_forks import wait_until

import tablevault_pd as tv
from torture.harness import COUNTS, PROCESSES, SEED, check_rows, check_sound, parts

if TYPE_CHECKING:
    from pathlib import Path

WRITERS = 4


def append_for_ever(place: str, log: str) -> None:
    """Append one row after the other. A line for each that was acknowledged: its number, and how long it took in µs."""
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    with tv.connect(place, capture="none", session=False, timeout_s=60) as vault:
        for number in count():
            row = {"n": os.getpid() << 32 | number}
            began = time.monotonic()
            vault.append("rows", row)
            took = time.monotonic() - began
            os.write(file, f"{row['n']} {took * 1e6:.0f}\n".encode())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize(("number", "kills"), list(enumerate(parts(30, 60, ordinary=5))))
def test_a_writer_that_is_killed_holds_up_no_other(tmp_path: Path, number: int, kills: int) -> None:
    """Of the writers, one is killed and replaced again and again; the longest append of all is printed with the counts."""
    draw = random.Random(SEED + number)
    place, log = tmp_path / "v", tmp_path / "log"
    log.touch()
    tv.connect(place, session=False).close()

    def started():
        process = PROCESSES.Process(target=append_for_ever, args=(str(place), str(log)), daemon=True)
        process.start()
        return process

    def acknowledged(pid: int) -> int:
        return sum(int(line.split()[0]) >> 32 == pid for line in log.read_text().splitlines())

    writers = [started() for _ in range(WRITERS)]
    try:
        for _ in range(kills):
            victim = writers.pop(draw.randrange(WRITERS))
            wait_until(lambda victim=victim: acknowledged(victim.pid) >= 3)
            victim.kill()
            victim.join()
            before = {writer.pid: acknowledged(writer.pid) for writer in writers}
            wait_until(lambda before=before: all(acknowledged(pid) > done for pid, done in before.items()))
            writers.append(started())
    finally:
        for writer in writers:
            writer.kill()
            writer.join()
    lines = [tuple(map(int, line.split())) for line in log.read_text().splitlines()]
    worst = max(took for _, took in lines)
    COUNTS["longest append beside killed writers, in ms"] = -(-worst // 1000)
    COUNTS["kills"] += kills + WRITERS
    with tv.connect(place, session=False) as vault:
        check_rows(vault, "rows", [number for number, _ in lines])
        assert len(vault.read("rows")) <= len(lines) + kills + WRITERS
        check_sound(vault)
