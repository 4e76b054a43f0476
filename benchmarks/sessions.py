"""What being tracked costs: a checkpoint, a logged row, and ``sessions()`` over 10 000 of them.

Where the design names a limit and no peer, the limit itself stands in the table as one: a ratio below 1 keeps it.
"""

from __future__ import annotations

import json
import sqlite3
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from time import perf_counter

import pandas as pd
from timing import OURS, Contender, Line, compare, missing, race, skipped

import tablevault_pd as tv

LIMIT = "the design's limit"
CHECKPOINTS = 1_000_000
ROWS = 200_000
SESSIONS = 10_000


def measure(folder: Path, scale: float) -> list[Line]:
    with tv.connect(folder / "vault", session="benchmark") as vault:
        return checkpoints(vault) + logging(vault, folder, scale) + overview(vault, scale)


def checkpoints(vault: tv.Vault) -> list[Line]:
    with vault.session("checkpoints") as s:
        times = {
            OURS: median(_each(s.checkpoint) for _ in range(5)),
            LIMIT: 1e-6,
            "a function that does nothing": _each(_nothing),
        }
        times["tv.checkpoint"] = median(_each(tv.checkpoint) for _ in range(5))
    return compare("checkpoint(), nothing asked", times, {LIMIT: 1.0})


def _each(function) -> float:
    start = perf_counter()
    for _ in range(CHECKPOINTS):
        function()
    return (perf_counter() - start) / CHECKPOINTS


def _nothing() -> None:
    return None


def logging(vault: tv.Vault, folder: Path, scale: float) -> list[Line]:
    """Rows of two values, from the first call until the last one is on the disk."""
    rows = int(ROWS * scale)

    def ours(_: int) -> float:
        start = perf_counter()
        with vault.session("log") as s:
            for step in range(rows):
                s.log(step=step, loss=0.5, acc=0.25)
        return (perf_counter() - start) / rows

    work = "log one row, buffered, till on disk"
    reason = missing("mlflow")
    contenders = [Contender(OURS, ours)]
    if reason is None:
        contenders.append(Contender("MLflow log_metrics", _mlflow(folder)))
    lines = race(work, contenders, rounds=5)
    lines.append(compare(work, {OURS: lines[0].seconds, LIMIT: 1e-5}, {LIMIT: 1.0})[1])
    if reason is not None:
        return [*lines, skipped(work, "MLflow log_metrics", reason)]
    import mlflow

    mlflow.end_run()  # or no other topic could begin one
    return lines


def _mlflow(folder: Path):
    import mlflow

    mlflow.set_tracking_uri(f"sqlite:///{folder / 'mlflow.db'}")
    mlflow.set_experiment("sessions")
    mlflow.start_run()

    def run(number: int) -> float:
        start = perf_counter()
        for step in range(20):
            mlflow.log_metrics({"loss": 0.5, "acc": 0.25}, step=number * 20 + step)
        return (perf_counter() - start) / 20

    return run


def insert_sessions(db: sqlite3.Connection, count: int) -> None:
    """Insert finished sessions with five parameters and five metrics each."""
    now = int(datetime.now(UTC).timestamp() * 1e6)
    params = '{"a": 1, "b": 0.5, "c": "x", "d": true, "e": null}'
    db.executemany(
        "INSERT INTO sessions (name, run, user, host, pid, started, ended, heartbeat, outcome, params, info)"
        " VALUES (?, 1, 'ann', 'node', 1, ?, ?, ?, 'finished', ?, ?)",
        [(f"sweep-{n}", now, now, now, params, json.dumps({"packages": "x" * 4000})) for n in range(count)],
    )
    for metric in "abcde":
        db.execute("INSERT OR IGNORE INTO latest SELECT id, ?, 1, ?, id / 10.0 FROM sessions", (metric, now))


def overview(vault: tv.Vault, scale: float) -> list[Line]:
    """``sessions()`` with five parameters and five metrics of each, against the bare query for the same rows."""
    count = int(SESSIONS * scale)
    vault.store.catalog.write(insert_sessions, count)
    bare = sqlite3.connect(Path(vault.place, "catalog.db"))

    def query(_: int) -> None:
        columns = "id, name, run, user, host, pid, started, ended, heartbeat, outcome, params"
        pd.DataFrame(bare.execute(f"SELECT {columns} FROM sessions").fetchall(), columns=columns.split(", "))
        pd.DataFrame(bare.execute("SELECT session, metric, value FROM latest").fetchall()).pivot(
            index=0, columns=1, values=2
        )

    contenders = [
        Contender(OURS, lambda _: vault.sessions()),
        Contender("bare query and pivot, params unread", query),
    ]
    work = f"sessions() over {count:,}"
    lines = race(work, contenders, rounds=5)
    bare.close()
    return [*lines, compare(work, {OURS: lines[0].seconds, LIMIT: 1.0}, {LIMIT: 1.0})[1]]
