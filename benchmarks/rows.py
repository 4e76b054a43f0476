"""Rows by key: a thousand of a million, and one document of 25 000 chunks with vectors, beside LanceDB's ``merge_insert``; and what a
claim and a row of ``map`` cost, of which nothing else does the work."""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pyarrow as pa
from timing import OURS, Contender, Line, missing, race, skipped

import tablevault_pd as tv

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

LANCE = "LanceDB merge_insert"
THOUSAND = "upsert 1,000 of 1,000,000 rows"
DOCUMENT = "upsert one document of 25,000 chunks, 384-d"
AGAIN = "append a row that is there, to 1,000,000 rows"
CLAIM = "claim one of 100,000 rows"
MAP = "map a row, in batches of 32, by a function that does nothing"
CHUNKS_PER_DOCUMENT, DIM = 25, 384


def measure(folder: Path, scale: float) -> list[Line]:
    with tv.connect(folder / "vault", session=False) as vault:
        lines = [*_thousand(vault, folder, scale), *_again(vault), *_document(vault, folder, scale)]
    with tv.connect(folder / "work", capture="none") as vault:
        return [*lines, *_claims(vault, scale), *_map(vault, scale)]


def _thousand(vault: tv.Vault, folder: Path, scale: float) -> list[Line]:
    rng = np.random.default_rng(1)
    total = int(1_000_000 * scale)
    rows = pd.DataFrame(
        {"id": [f"row {number}" for number in range(total)], "x": rng.random(total), "n": np.arange(total)}
    )
    vault.save("rows", rows, key="id")
    changes = [rows.sample(1000, random_state=number).assign(x=float(number)) for number in range(9)]
    ours = Contender(OURS, lambda number: vault.upsert("rows", changes[number]))
    return _race(THOUSAND, ours, lambda: _merge_insert(folder / "rows.lance", rows, ["id"], changes))


def _again(vault: tv.Vault) -> list[Line]:
    row = vault.read("rows", start=7, stop=8)
    return race(AGAIN, [Contender(OURS, lambda _: vault.append("rows", row))], rounds=7)


def _document(vault: tv.Vault, folder: Path, scale: float) -> list[Line]:
    rng = np.random.default_rng(2)
    total = int(25_000 * scale)
    chunks = pd.DataFrame(
        {
            "doc": [f"document {number // CHUNKS_PER_DOCUMENT}" for number in range(total)],
            "n": np.arange(total) % CHUNKS_PER_DOCUMENT,
            "text": [f"chunk {number} of a text about rows" for number in range(total)],
            "vec": list(rng.random((total, DIM), np.float32)),
        }
    )
    vault.save("chunks", chunks, key=["doc", "n"], documents="text")
    changes = []
    for number in range(9):
        document = chunks[chunks["doc"] == f"document {number}"].head(CHUNKS_PER_DOCUMENT - 1)
        changes.append(document.assign(text=[f"new text {n}" for n in range(len(document))]))
    ours = Contender(
        OURS, lambda number: vault.upsert("chunks", changes[number], documents="text", drop_missing="doc")
    )
    return _race(
        DOCUMENT, ours, lambda: _merge_insert(folder / "chunks.lance", chunks, ["doc", "n"], changes)
    )


def _claims(vault: tv.Vault, scale: float) -> list[Line]:
    vault.save("jobs", _texts(int(100_000 * scale)))
    count = 200

    def claims(_: int) -> float:
        start = perf_counter()
        for _ in range(count):
            vault.claim("jobs")
        return (perf_counter() - start) / count

    return race(CLAIM, [Contender(OURS, claims)], rounds=5)


def _map(vault: tv.Vault, scale: float) -> list[Line]:
    total = max(int(10_000 * scale), 320)
    vault.save("texts", _texts(total))

    def mapped(number: int) -> float:
        start = perf_counter()
        vault.map(f"results {number}", lambda frame: frame, "texts", batch=32, version="1")
        return (perf_counter() - start) / total

    return race(MAP, [Contender(OURS, mapped)], rounds=3)


def _texts(total: int) -> pd.DataFrame:
    return pd.DataFrame({"text": [f"text number {number} of some words" for number in range(total)]})


def _race(work: str, ours: Contender, other: Callable[[], Contender]) -> list[Line]:
    reason = missing("lancedb")
    contenders = [ours] if reason else [ours, other()]
    lines = race(work, contenders, rounds=7)
    return [*lines, skipped(work, LANCE, reason)] if reason else lines


def _merge_insert(place: Path, rows: pd.DataFrame, key: list[str], changes: list[pd.DataFrame]) -> Contender:
    import lancedb

    table = lancedb.connect(place).create_table("rows", _arrow(rows))
    tables = [_arrow(change) for change in changes]

    def merge(number: int) -> None:
        found = table.merge_insert(key).when_matched_update_all().when_not_matched_insert_all()
        if "doc" in key:
            found = found.when_not_matched_by_source_delete(f"doc = 'document {number}'")
        found.execute(tables[number])

    return Contender(LANCE, merge)


def _arrow(frame: pd.DataFrame) -> pa.Table:
    """As LanceDB takes it: vectors as lists of one length."""
    if "vec" not in frame:
        return pa.Table.from_pandas(frame, preserve_index=False)
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(np.concatenate(frame["vec"].to_list())), DIM)
    plain = pa.Table.from_pandas(frame.drop(columns="vec"), preserve_index=False)
    return plain.append_column("vec", vectors)
