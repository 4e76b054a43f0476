"""Appending one row, durable: against a bare SQLite commit of the same bytes, and MLflow's ``log_metric``."""

from __future__ import annotations

import os
import sqlite3
import uuid
from time import perf_counter, thread_time
from typing import TYPE_CHECKING

import pandas as pd
from timing import OURS, Contender, Line, missing, race, skipped

import tablevault_pd as tv

if TYPE_CHECKING:
    from pathlib import Path

WORK = "append one row, durable"
PROCESSOR = "append one row, durable: processor time of the thread"
ROWS_PER_ROUND = 100
SQLITE = "SQLite commit (WAL, FULL)"
MLFLOW = "MLflow log_metric"
LONG = "append one row to a list of many versions"
VERSIONS = 200_000, 1_000


def measure(folder: Path, scale: float) -> list[Line]:
    vault = tv.connect(folder / "vault", session="benchmark")
    vault.append("metrics", row(0))
    size = int(vault.lists()["bytes"].iloc[0])  # what one row takes in the catalogue
    bare = sqlite3.connect(folder / "bare.db", isolation_level=None)
    bare.executescript(
        "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; CREATE TABLE rows (id INTEGER PRIMARY KEY, data BLOB)"
    )
    data = os.urandom(size)

    def sqlite_commit() -> None:
        bare.execute("BEGIN IMMEDIATE")
        bare.execute("INSERT INTO rows (data) VALUES (?)", (data,))
        bare.execute("COMMIT")

    contenders = [
        Contender(OURS, repeated(lambda step: vault.append("metrics", row(step)))),
        Contender(
            "tablevault_pd, DataFrame",
            repeated(lambda step: vault.append("frames", pd.DataFrame([row(step)]))),
        ),
        Contender(SQLITE, repeated(lambda _: sqlite_commit()), note=f"{size} bytes"),
    ]
    reason = missing("mlflow")
    if reason is None:
        contenders.append(Contender(MLFLOW, repeated(mlflow_append(folder))))
    lines = race(WORK, contenders, rounds=7, targets={SQLITE: 3.0})
    lines += processor_time(vault, sqlite_commit)
    lines += long_lists(vault)
    vault.close()
    bare.close()
    if reason is None:
        import mlflow

        mlflow.end_run()
    return lines if reason is None else [*lines, skipped(WORK, MLFLOW, reason)]


def processor_time(vault: tv.Vault, sqlite_commit) -> list[Line]:
    """Without waiting for the disk, and for others on the machine."""
    contenders = [
        Contender(OURS, repeated(lambda step: vault.append("metrics", row(step)), thread_time)),
        Contender(
            "tablevault_pd, DataFrame",
            repeated(lambda step: vault.append("frames", pd.DataFrame([row(step)])), thread_time),
        ),
        Contender(SQLITE, repeated(lambda _: sqlite_commit(), thread_time)),
    ]
    return race(PROCESSOR, contenders, rounds=7)


def long_lists(vault: tv.Vault) -> list[Line]:
    """Appending takes as long however many versions a list has."""
    names = [f"a list of {count:,} versions" for count in VERSIONS]
    for name, count in zip(names, VERSIONS, strict=True):
        vault.append(name, row(0))
        vault.store.catalog.write(lengthen, name, count)
    many, few = (repeated(lambda step, name=name: vault.append(name, row(step))) for name in names)
    return race(
        LONG,
        [Contender(OURS, many, note=names[0]), Contender(names[1], few)],
        rounds=7,
        targets={names[1]: 1.5},
    )


def lengthen(db: sqlite3.Connection, name: str, count: int) -> None:
    """Copy the only batch of a list, and its rows, until there are `count`: appending would take minutes."""
    (key,) = db.execute("SELECT id FROM lists WHERE name = ?", (name,)).fetchone()
    first = {"batches": "version = 1", "segments": "generation = 1 AND start = 0"}
    for table, change in (("batches", COPY_BATCH), ("segments", COPY_SEGMENT)):
        columns = [column for _, column, *_ in db.execute(f"PRAGMA table_info({table})")]
        values = ", ".join(change.get(column, column) for column in columns)
        db.executemany(
            f"INSERT INTO {table} ({', '.join(columns)}) SELECT {values} FROM {table} WHERE list = :list AND {first[table]}",
            ({"list": key, "n": number, "token": uuid.uuid4().hex} for number in range(1, count)),
        )


COPY_BATCH = {"version": ":n + 1", "start": ":n", "total": ":n + 1", "token": ":token"}
COPY_SEGMENT = {"id": "NULL", "start": ":n"}


def row(step: int) -> dict[str, float]:
    return {"step": step, "loss": 1 / (step + 1), "accuracy": 0.5}


def repeated(append, clock=perf_counter):
    """The time of one append, from many in a row."""

    def run(number: int) -> float:
        start = clock()
        for step in range(number * ROWS_PER_ROUND, (number + 1) * ROWS_PER_ROUND):
            append(step)
        return (clock() - start) / ROWS_PER_ROUND

    return run


def mlflow_append(folder: Path):
    import mlflow

    mlflow.set_tracking_uri(f"sqlite:///{folder}/mlflow.db")
    mlflow.set_experiment("benchmark")
    run = mlflow.start_run().info.run_id
    return lambda step: mlflow.log_metric("loss", 1 / (step + 1), step=step, run_id=run)
