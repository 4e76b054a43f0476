"""Saving and reading whole frames: a million rows of five dtypes, and 100,000 vectors of width 384.

"Arrow IPC by hand" is what one would write without any library: convert, write, fsync; memory-map and convert back.
"""

from __future__ import annotations

import os
import sqlite3
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa
from timing import OURS, Contender, Line, child, missing, race, skipped

import tablevault_pd as tv

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

HAND = "Arrow IPC by hand"
PARQUET = "Parquet (pandas)"
SQL = "to_sql (SQLite)"
LANCE = "LanceDB"
MLFLOW = "MLflow log_table"
AGAIN = "tablevault_pd, next version"
SAVE_TARGETS = {HAND: 1.5}
FIRST_TARGETS = {HAND: 3.0, PARQUET: 1 / 6}
LATER_TARGETS = {HAND: 1.5, PARQUET: 1 / 6}


@dataclass(frozen=True)
class Way:
    """One way to keep a frame. `fraction` of its rows are used, and the times scaled up."""

    name: str
    save: Callable[[pd.DataFrame, str], Any]
    read: Callable[[str], Any]
    fraction: float = 1.0
    rounds: int | None = None
    close: Callable[[], object] = lambda: None

    @property
    def note(self) -> str:
        return "" if self.fraction == 1 else f"{self.fraction:.0%} of the rows, time scaled"


def measure(folder: Path, scale: float) -> list[Line]:
    lines = []
    for title, frame in (
        ("1 M x 5", records(int(1_000_000 * scale))),
        ("100 k x 384 float32", vectors(int(100_000 * scale))),
    ):
        place = folder / title.replace(" ", "_")
        place.mkdir()
        lines += measure_frame(title, frame, place)
    return lines


def records(rows: int) -> pd.DataFrame:
    random = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "id": np.arange(rows, dtype="int64"),
            "value": random.standard_normal(rows),
            "text": pd.Series([f"sample {i} of the run" for i in range(rows)], dtype="str"),
            "kind": pd.Categorical.from_codes(random.integers(0, 20, rows), [f"kind {i}" for i in range(20)]),
            "time": pd.date_range("2026-01-01", periods=rows, freq="s"),
        }
    )


def vectors(rows: int) -> pd.DataFrame:
    matrix = np.random.default_rng(0).standard_normal((rows, 384), dtype="float32")
    return pd.DataFrame({"id": np.arange(rows, dtype="int64"), "vec": list(matrix)})


def measure_frame(title: str, frame: pd.DataFrame, folder: Path) -> list[Line]:
    ways = {way.name: way for way in all_ways(folder, "vec" in frame)}
    left_out = [(name, missing(package)) for name, package in ((LANCE, "lancedb"), (MLFLOW, "mlflow"))]
    parts = {name: frame.head(int(len(frame) * way.fraction)) for name, way in ways.items()}
    changed = frame.copy()
    changed.loc[len(changed) - 1, "id"] = -1

    def saving(way: Way) -> Contender:
        return Contender(
            way.name, lambda n: way.save(parts[way.name], f"r{n}"), way.rounds, 1 / way.fraction, way.note
        )

    def next_version(number: int) -> None:
        ways[OURS].save(changed if number % 2 == 0 else frame, "r0")

    contenders = [saving(way) for way in ways.values()]
    contenders.insert(1, Contender(AGAIN, next_version, note="compared with the rows that are there"))
    lines = race(f"save {title}", contenders, targets=SAVE_TARGETS)

    ours_now = ways[OURS].read("r1")
    assert ours_now.equals(frame.set_index(ours_now.index)), "what is measured must also be right"
    # In a process of its own each; one tiny frame is read before, so that modules are loaded.
    frame.head(10).pipe(lambda few: [way.save(few, "tiny") for way in ways.values()])
    firsts = [
        Contender(name, fresh(name, folder, "vec" in frame), None, 1 / ways[name].fraction, ways[name].note)
        for name in (OURS, HAND, PARQUET, LANCE)
        if name in ways
    ]
    lines += race(f"first read in a process, {title}", firsts, targets=FIRST_TARGETS)
    laters = [
        Contender(way.name, lambda _, way=way: keep(way.read("r1")), way.rounds, 1 / way.fraction, way.note)
        for way in ways.values()
    ]
    lines += race(f"later reads, {title}", laters, targets=LATER_TARGETS)
    for way in ways.values():
        way.close()
    _kept.clear()
    return lines + [skipped(f"save {title}", name, why) for name, why in left_out if why is not None]


def keep(frame: Any) -> None:
    """Take the frame, so that freeing the one before is not part of its time."""
    _kept[:] = [frame]


_kept: list[Any] = []


def fresh(name: str, folder: Path, vectors: bool) -> Callable[[int], float]:
    return lambda _: child(FRESH, name, str(folder), str(int(vectors)))


FRESH = """
import sys
from pathlib import Path
from time import perf_counter
from save_read import all_ways

name, folder, vectors = sys.argv[1:]
way = next(way for way in all_ways(Path(folder), vectors == "1", only=name))
way.read("tiny")
start = perf_counter()
frame = way.read("r1")
print(perf_counter() - start)
"""


def all_ways(folder: Path, vectors: bool, only: str | None = None) -> Iterator[Way]:
    """Every way that is installed; `only` the one of that name."""
    makers = {OURS: ours, HAND: by_hand, PARQUET: parquet, SQL: sql}
    makers |= {
        name: maker for name, maker, package in PEERS if missing_or_unwanted(name, package, only) is None
    }
    for name, maker in makers.items():
        if only in (None, name):
            yield maker(folder, vectors)


def missing_or_unwanted(name: str, package: str, only: str | None) -> str | None:
    return "not asked for" if only not in (None, name) else missing(package)


def ours(folder: Path, vectors: bool) -> Way:
    vault = tv.connect(folder / "vault", session="benchmark")
    return Way(OURS, lambda frame, name: vault.save(name, frame), vault.read, close=vault.close)


def by_hand(folder: Path, vectors: bool) -> Way:
    def save(frame: pd.DataFrame, name: str) -> None:
        table = as_arrow(frame)
        with open(folder / f"{name}.arrow", "wb") as file:
            with pa.ipc.new_file(file, table.schema) as writer:
                writer.write_table(table)
            file.flush()
            os.fsync(file.fileno())

    def read(name: str) -> pd.DataFrame:
        table = pa.ipc.open_file(pa.memory_map(str(folder / f"{name}.arrow"))).read_all()
        if not vectors:
            return table.to_pandas()
        column = table["vec"].combine_chunks()
        frame = table.drop(["vec"]).to_pandas()
        cells = np.empty(len(frame), object)
        cells[:] = list(column.values.to_numpy().reshape(len(frame), -1))
        frame["vec"] = cells
        return frame

    return Way(HAND, save, read)


def as_arrow(frame: pd.DataFrame) -> pa.Table:
    """The frame in Arrow; vectors as one matrix, since nobody would write a million little lists."""
    if "vec" not in frame:
        return pa.Table.from_pandas(frame, preserve_index=False)
    matrix = np.stack(frame["vec"].tolist())
    column = pa.FixedSizeListArray.from_arrays(pa.array(matrix.reshape(-1)), matrix.shape[1])
    return pa.Table.from_pandas(frame.drop(columns="vec"), preserve_index=False).append_column("vec", column)


def parquet(folder: Path, vectors: bool) -> Way:
    def save(frame: pd.DataFrame, name: str) -> None:
        with open(folder / f"{name}.parquet", "wb") as file:
            frame.to_parquet(file)
            file.flush()
            os.fsync(file.fileno())

    return Way(PARQUET, save, lambda name: pd.read_parquet(folder / f"{name}.parquet"))


def sql(folder: Path, vectors: bool) -> Way:
    """Vectors as blobs, and decoded again: SQLite has no type for them."""
    database = sqlite3.connect(folder / "frames.db")

    def save(frame: pd.DataFrame, name: str) -> None:
        plain = frame.assign(vec=[cell.tobytes() for cell in frame["vec"]]) if vectors else frame
        plain.to_sql(name, database, index=False, if_exists="replace")
        database.commit()

    def read(name: str) -> pd.DataFrame:
        frame = pd.read_sql_query(
            f"SELECT * FROM {name}", database, parse_dates=None if vectors else ["time"]
        )
        return (
            frame.assign(vec=[np.frombuffer(cell, "float32") for cell in frame["vec"]]) if vectors else frame
        )

    return Way(SQL, save, read, fraction=0.1, rounds=3)


def lance(folder: Path, vectors: bool) -> Way:
    import lancedb

    database = lancedb.connect(str(folder / "lance"))

    def save(frame: pd.DataFrame, name: str) -> None:
        database.create_table(name, as_arrow(frame), mode="overwrite")

    return Way(LANCE, save, lambda name: database.open_table(name).to_pandas())


def mlflow_table(folder: Path, vectors: bool) -> Way:
    import mlflow

    mlflow.set_tracking_uri(f"sqlite:///{folder}/mlflow.db")
    if mlflow.get_experiment_by_name("benchmark") is None:
        mlflow.create_experiment("benchmark", artifact_location=(folder / "mlflow").as_uri())
    mlflow.set_experiment("benchmark")
    runs: dict[str, str] = {}

    def save(frame: pd.DataFrame, name: str) -> None:
        # A table of a run is added to when saved again, so each is a run of its own.
        plain = frame.assign(vec=[cell.tolist() for cell in frame["vec"]]) if vectors else frame
        with mlflow.start_run() as run:
            mlflow.log_table(plain, f"{name}.json")
        runs[name] = run.info.run_id

    def read(name: str) -> pd.DataFrame:
        return mlflow.load_table(f"{name}.json", run_ids=[runs[name]])

    return Way(MLFLOW, save, read, fraction=0.01 if vectors else 0.1, rounds=3)


PEERS = ((LANCE, lance, "lancedb"), (MLFLOW, mlflow_table, "mlflow"))
