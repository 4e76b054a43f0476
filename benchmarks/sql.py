"""SQL over lists beside DuckDB's own over Parquet files of the same rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import duckdb
import numpy as np
import pandas as pd
from timing import OURS, Contender, Line, race

import tablevault_pd as tv

if TYPE_CHECKING:
    from pathlib import Path

BARE = "DuckDB on Parquet"
ROWS = 1_000_000
QUERIES = {
    "groups": "SELECT topic, count(*) AS n, avg(score) AS score FROM rows GROUP BY topic ORDER BY topic",
    "filter, 0.1 %": "SELECT id, score FROM rows WHERE score > 0.999",
    "join": "SELECT t.name, sum(r.score) AS s FROM rows r JOIN topics t USING (topic) GROUP BY t.name ORDER BY t.name",
    "all rows of two columns": "SELECT id, score FROM rows",
}


def measure(folder: Path, scale: float) -> list[Line]:
    count = max(int(ROWS * scale), 100)
    rng = np.random.default_rng(0)
    rows = pd.DataFrame(
        {
            "id": np.arange(count),
            "topic": rng.integers(0, 50, count),
            "score": rng.random(count),
            "text": np.char.add("text ", rng.integers(0, 10**6, count).astype(str)),
        }
    )
    topics = pd.DataFrame({"topic": range(50), "name": [f"topic {number}" for number in range(50)]})
    with tv.connect(folder / "sql", session=False, capture="none") as vault:
        bare = duckdb.connect()
        for name, frame in (("rows", rows), ("topics", topics)):
            vault.save(name, frame)
            frame.to_parquet(folder / f"{name}.parquet")
            bare.read_parquet(str(folder / f"{name}.parquet")).create_view(name)
        lines: list[Line] = []
        for what, query in QUERIES.items():
            contenders = [
                Contender(OURS, lambda _, query=query: vault.sql(query)),
                Contender(BARE, lambda _, query=query: bare.sql(query).df()),
            ]
            lines += race(f"SQL, {what}, {count:,} rows", contenders, rounds=7, targets={BARE: 1.3})
        bare.close()
    return lines
