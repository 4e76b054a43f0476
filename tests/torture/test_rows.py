"""Writers of the same keys in processes of their own, some of which are killed: no key twice, none lost."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pandas as pd
import pytest
from stores import BOTH, new_place
from test_forks import wait_until

import tablevault_pd as tv
from torture.harness import COUNTS, PROCESSES, Acks, check_sound, times

if TYPE_CHECKING:
    from pathlib import Path

WRITERS = 8
ROUNDS = 5
SHARED = range(12)


def upsert(place: str, number: int, rounds: int) -> None:
    """Rounds of one key of one's own, and of some that others write, too."""
    draw = random.Random(number)
    with tv.connect(place, session=False, timeout_s=60) as vault:
        for round_ in range(rounds):
            keys = [*draw.sample(SHARED, 4), 1000 * (number + 1) + round_]
            vault.upsert("rows", pd.DataFrame({"id": keys, "writer": number, "round": round_}), key="id")


@pytest.mark.parametrize("kind", BOTH)
def test_eight_processes_upsert_overlapping_keys(kind: str, tmp_path: Path) -> None:
    rounds = times(ROUNDS, ordinary=2) if kind == "embedded" else times(2)
    with new_place(kind, tmp_path) as place:
        writers = [
            PROCESSES.Process(target=upsert, args=(place.address, number, rounds))
            for number in range(WRITERS)
        ]
        for writer in writers:
            writer.start()
        for writer in writers:
            writer.join()
        assert [writer.exitcode for writer in writers] == [0] * WRITERS
        with tv.connect(place.address, session=False) as vault:
            rows = vault.read("rows")
            own = {1000 * (number + 1) + round_ for number in range(WRITERS) for round_ in range(rounds)}
            assert rows["id"].is_unique
            assert own <= set(rows["id"]) <= own | set(SHARED)
            shown = vault.versions("rows")
            assert len(shown) == WRITERS * rounds
            assert shown["added"].sum() == len(rows)
            assert (shown["added"] + shown["changed"] == 5).all()
            for key in rows["id"][:3]:  # each state of a shared row is of the version that says it changed it
                states = vault.history("rows", key=key)
                assert states["version"].is_unique
            assert vault.check().empty
        COUNTS.update({"rows upserted by processes": 5 * WRITERS * rounds})


def count_up(place: str, acks: Path, from_: int) -> None:
    """Bring the same twenty rows to one number after the other, until killed."""
    log = Acks(acks)
    with tv.connect(place, session=False) as vault:
        number = from_
        while True:
            rows = pd.DataFrame(
                {"id": [*range(20), 100 + number], "number": number, "text": "x" * (number % 3 * 20_000)}
            )
            vault.upsert("rows", rows, key="id")
            log.add(number)
            number += 1


def test_killed_writers_leave_each_version_whole(tmp_path: Path) -> None:
    place, acks = tmp_path / "v", tmp_path / "acks"
    Acks(acks)
    draw = random.Random(5)
    for _ in range(times(3, ordinary=2)):
        done = Acks(acks).all()
        writer = PROCESSES.Process(target=count_up, args=(str(place), acks, len(done)))
        writer.start()
        enough = len(done) + draw.randint(2, 8)
        try:
            wait_until(lambda enough=enough: len(Acks(acks).all()) >= enough)
        finally:
            writer.kill()
            writer.join()
        done = Acks(acks).all()
        COUNTS.update({"kills": 1})
        with tv.connect(place, session=False) as vault:
            rows = vault.read("rows")
            newest = rows["number"].max()
            assert newest in (
                done[-1],
                done[-1] + 1,
            )  # what was acknowledged, or one that could not be any more
            assert rows["id"].is_unique
            assert (rows["number"][rows["id"] < 20] == newest).all()
            assert set(rows["id"] - 100) >= set(done)
            check_sound(vault)
            if newest not in done:
                Acks(acks).add(int(newest))
