"""What it costs to look back: the curves of a thousand runs, one rare metric among ten million points, a table of two columns.

MLflow logs a part of the runs, in an SQLite file of its own, and its times are scaled up by as much.
"""

from __future__ import annotations

import tracemalloc
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from timing import OURS, Contender, Line, compare, missing, race, skipped

import tablevault_pd as tv
from tablevault_pd.store import Beat, Measures, Session

if TYPE_CHECKING:
    from pathlib import Path

LIMIT = "the design's limit"
RUNS, STEPS = 1000, 1000
WIDE_RUNS, WIDE_METRICS, POINTS = 1000, 200, 50  # ten million points
RARE_POINTS = 26
TABLE_RUNS, TABLE_METRICS = 10_000, 300
MLFLOW_RUNS = 20


def measure(folder: Path, scale: float) -> list[Line]:
    return curves(folder, scale) + rare(folder, scale) + table(folder, scale)


def open_vault(place: Path) -> tv.Vault:
    return tv.connect(place, session=False, capture="none")


def new_session(vault: tv.Vault, number: int) -> Session:
    now = datetime.now(UTC)
    return vault.store.open_session(
        Session("sweep", "ann", "node", 1, now, params={"lr": 0.1, "seed": number})
    )


def logged(session: Session, metric: str, values: np.ndarray) -> Measures:
    steps = np.arange(len(values))
    times = int(session.started.timestamp() * 1e6) + steps * 1000
    return Measures(session.id, metric, steps, times, values)


def curves(folder: Path, scale: float) -> list[Line]:
    """One metric of many runs, long, against the same table in an Arrow file."""
    runs, rng = max(int(RUNS * scale), MLFLOW_RUNS), np.random.default_rng(0)
    with open_vault(folder / "curves") as vault:
        for number in range(runs):
            session = new_session(vault, number)
            loss = logged(session, "loss", rng.normal(size=STEPS))
            vault.store.beat([Beat(session.id, 1, measures=(loss,), outcome="finished")])
        answer = pa.Table.from_pandas(vault.metrics("loss"), preserve_index=False)
        with (
            pa.OSFile(str(folder / "curves.arrow"), "wb") as sink,
            pa.ipc.new_file(sink, answer.schema) as file,
        ):
            file.write_table(answer)

        def mapped(_: int) -> object:
            with pa.memory_map(str(folder / "curves.arrow")) as source:
                return pa.ipc.open_file(source).read_all().to_pandas()

        def read(_: int) -> object:
            with pa.OSFile(str(folder / "curves.arrow")) as source:
                return pa.ipc.open_file(source).read_all().to_pandas()

        work = f"metrics of {runs:,} runs x {STEPS:,} steps, long"
        contenders = [
            Contender(OURS, lambda _: vault.metrics("loss")),
            Contender("Arrow file, read", read),
            Contender("Arrow file, mapped", mapped),
        ]
        reason = missing("mlflow")
        if reason is None:
            history = mlflow_history(folder, rng)
            note = f"{MLFLOW_RUNS} of the runs, time scaled"
            contenders.append(Contender("MLflow get_metric_history", history, 2, runs / MLFLOW_RUNS, note))
        lines = race(work, contenders, targets={"Arrow file, read": 3.0})
        if reason is not None:
            lines.append(skipped(work, "MLflow get_metric_history", reason))
        others = [
            Contender(OURS, lambda _: vault.metrics("loss", agg=["min", "last"])),
            Contender("best", lambda _: vault.best("loss", "min")),
            Contender("bands, quartiles", lambda _: vault.bands("loss", band="iqr")),
        ]
        return lines + race(f"aggregates of {runs:,} runs x {STEPS:,} steps", others, rounds=5)


def mlflow_history(folder: Path, rng: np.random.Generator):
    import mlflow
    from mlflow.entities import Metric

    client = mlflow.MlflowClient(f"sqlite:///{folder / 'curves.db'}")
    experiment = client.create_experiment("curves")
    keys = [client.create_run(experiment).info.run_id for _ in range(MLFLOW_RUNS)]
    for key in keys:
        values = rng.normal(size=STEPS)
        client.log_batch(key, [Metric("loss", float(value), 0, step) for step, value in enumerate(values)])

    def run(_: int) -> object:
        return [client.get_metric_history(key, "loss") for key in keys]

    return run


def rare(folder: Path, scale: float) -> list[Line]:
    """One metric of few points in a vault of many."""
    runs, rng = max(int(WIDE_RUNS * scale), 2), np.random.default_rng(1)
    with open_vault(folder / "wide") as vault:
        for number in range(runs):
            session = new_session(vault, number)
            measures = [logged(session, f"m{at}", rng.normal(size=POINTS)) for at in range(WIDE_METRICS)]
            if number == runs // 2:
                measures.append(logged(session, "rare", rng.normal(size=RARE_POINTS)))
            vault.store.beat([Beat(session.id, 1, measures=tuple(measures), outcome="finished")])
        work = f"a metric of {RARE_POINTS} points among {runs * WIDE_METRICS * POINTS:,}"
        lines = race(work, [Contender(OURS, lambda _: vault.metrics("rare"))])
        assert len(vault.metrics("rare")) == RARE_POINTS
        return [*lines, compare(work, {OURS: lines[0].seconds, LIMIT: 0.02}, {LIMIT: 1.0})[1]]


def table(folder: Path, scale: float) -> list[Line]:
    """Two columns of a table of sessions."""
    count = max(int(TABLE_RUNS * scale), MLFLOW_RUNS)
    now = int(datetime.now(UTC).timestamp() * 1e6)

    def insert(db, count: int) -> None:
        db.executemany(
            "INSERT INTO sessions (name, run, user, host, pid, started, ended, heartbeat, outcome, params)"
            " VALUES ('sweep', ?, 'ann', 'node', 1, ?, ?, ?, 'finished', ?)",
            [(run + 1, now, now, now, f'{{"lr": {run / 1e4}, "seed": {run}}}') for run in range(count)],
        )
        for number in range(TABLE_METRICS):
            db.execute("INSERT INTO latest SELECT id, ?, 1, ?, id / 10.0 FROM sessions", (f"m{number}", now))

    columns = ["session", "metrics.m7"]
    with open_vault(folder / "table") as vault:
        vault.store.catalog.write(insert, count)
        assert len(vault.sessions(columns=columns)) == count
        tracemalloc.start()
        vault.sessions(columns=columns)
        peak_mb = tracemalloc.get_traced_memory()[1] / 1e6
        tracemalloc.stop()
        work = f"two columns of {count:,} sessions x {TABLE_METRICS} metrics"
        note = f"{peak_mb:.1f} MB at most; the design's limit is 10"
        contenders = [Contender(OURS, lambda _: vault.sessions(columns=columns), note=note)]
        reason = missing("mlflow")
        if reason is None:
            note = f"{MLFLOW_RUNS} of the runs, all columns, time scaled"
            contenders.append(
                Contender("MLflow search_runs", mlflow_table(folder), 3, count / MLFLOW_RUNS, note)
            )
        lines = race(work, contenders, rounds=5)
        if reason is not None:
            lines.append(skipped(work, "MLflow search_runs", reason))
        return [*lines, compare(work, {OURS: lines[0].seconds, LIMIT: 0.1}, {LIMIT: 1.0})[1]]


def mlflow_table(folder: Path):
    import mlflow
    from mlflow.entities import Metric, Param

    mlflow.set_tracking_uri(f"sqlite:///{folder / 'table.db'}")
    client = mlflow.MlflowClient()
    experiment = client.create_experiment("table")
    for number in range(MLFLOW_RUNS):
        key = client.create_run(experiment).info.run_id
        metrics = [Metric(f"m{at}", number / 10, 0, 1) for at in range(TABLE_METRICS)]
        client.log_batch(key, metrics, [Param("lr", "0.1"), Param("seed", str(number))])
    return lambda _: mlflow.search_runs([experiment])
