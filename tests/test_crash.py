"""Writers that die: at named points of a commit, and at random moments. What was acknowledged stays; nothing is half there."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

import tablevault_pd as tv
from tablevault_pd.store.embedded.fsio import FAULT_VARIABLE

POINTS = [
    "created",
    "half-written",
    "synced",
    "folder-synced",
    "gate-taken",
    "rows-in",
    "before-commit",
    "after-commit",
]

WRITER = """
import sys
import numpy as np, pandas as pd
import tablevault_pd as tv
from tablevault_pd.store.embedded import fsio as io
place, acks, size = sys.argv[1], sys.argv[2], int(sys.argv[3])
armed, io._fault_name = io._fault_name, ""  # the point is armed for the second batch, not for the session
vault = tv.connect(place)
log = open(acks, "a")
def put(number):
    vault.append("a", pd.DataFrame({"number": number, "x": np.arange(size)}))
    log.write(f"{number}\\n"); log.flush()
put(0)
vault._run.end()  # so that nobody but this thread writes, and meets the point
io._fault_name = armed
failed = False
try:
    put(1)
except (tv.VaultError, OSError) as error:
    failed = True
    print(type(error).__name__)
io._fault_name = ""
put(2)
"""


def check_vault(place: Path, acks: Path, size: int, extra: int) -> None:
    """Every acknowledged batch is there, whole, once, and at most `extra` more."""
    acked = [int(line) for line in acks.read_text().split()]
    with tv.connect(place) as vault:
        df = vault.read("a") if "a" in vault else pd.DataFrame({"number": [], "x": []})
        numbers = df["number"].drop_duplicates().tolist()
        assert set(acked) <= set(numbers)
        assert len(set(numbers) - set(acked)) <= extra
        assert (df.groupby("number").size() == size).all()
        problems = vault.check(fix=True)
        assert set(problems["severity"]) <= {"stray"}
        assert vault.check().empty
        vault.append("a", pd.DataFrame({"number": 99, "x": range(size)}))
        assert len(vault.read("a")) == len(df) + size


CASES = [(point, 60_000) for point in POINTS] + [
    (point, 5) for point in POINTS[4:]
]  # a small batch makes no file


@pytest.mark.parametrize("action", ["exit", "ENOSPC", "EIO"])
@pytest.mark.parametrize(("point", "size"), CASES)
def test_a_crash_at_every_point(tmp_path, point, action, size):
    place, acks = tmp_path / "v", tmp_path / "acks"
    run = subprocess.run(
        [sys.executable, "-c", WRITER, str(place), str(acks), str(size)],
        env=os.environ | {FAULT_VARIABLE: f"{point}={action}"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert run.returncode == (137 if action == "exit" else 0), run.stderr
    if action == "ENOSPC" and point in POINTS[:4]:
        assert run.stdout == "StorageFull\n"
    check_vault(place, acks, size, extra=1)


LOOP = """
import sys
import numpy as np, pandas as pd
import tablevault_pd as tv
vault = tv.connect(sys.argv[1], durability=sys.argv[3])
log = open(sys.argv[2], "a")
number = int(sys.argv[4])
rng = np.random.default_rng(number)
while True:
    size = 40_000 if rng.random() < 0.3 else 3
    vault.append("a", pd.DataFrame({"number": number, "size": size, "x": np.arange(size)}))
    log.write(f"{number}\\n"); log.flush()
    number += 1
"""


@pytest.mark.parametrize("durability", ["full", "fast"])
def test_kill_at_random_moments(tmp_path, durability):
    r = random.Random(durability)
    place, number = tmp_path / "v", 0
    acked: set[int] = set()
    for round_ in range(4):
        acks = tmp_path / f"acks{round_}"
        number += 1_000_000
        writers = [
            subprocess.Popen(
                [sys.executable, "-c", LOOP, str(place), f"{acks}.{w}", durability, str(number + w * 500_000)]
            )
            for w in range(2)
        ]
        deadline = time.monotonic() + 60
        while not all(Path(f"{acks}.{w}").exists() and Path(f"{acks}.{w}").stat().st_size for w in range(2)):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        time.sleep(r.uniform(0, 0.12))
        for writer in writers:
            writer.send_signal(signal.SIGKILL)
            writer.wait()
        for w in range(2):
            acked |= {int(line) for line in Path(f"{acks}.{w}").read_text().splitlines() if line}
        with tv.connect(place) as vault:
            df = vault.read("a", columns=["number", "size"])
            assert acked <= set(df["number"])
            assert len(set(df["number"]) - acked) <= 2 * (round_ + 1)
            sizes = df.groupby("number")["size"].agg(["size", "first"])
            assert (sizes["size"] == sizes["first"]).all()
            assert set(vault.check(fix=True)["severity"]) <= {"stray"}
            assert vault.check().empty
