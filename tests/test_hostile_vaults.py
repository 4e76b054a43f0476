"""Vaults that somebody made on purpose run no code, lead nowhere, take little memory, and end: by answers, or errors of ours."""

from __future__ import annotations

import os
import random
import shutil
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pytest
import xxhash
from torture import hostile
from torture.harness import COUNTS, PROCESSES, SEED, times

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
SECRET = "what lies beside the vault"
Craft = "Callable[[Path], object]"


def segment(place: Path) -> Path:
    return next((place / "segments").glob("*.arrow"))


def sql(*statements: str) -> Craft:
    def craft(place: Path) -> None:
        with hostile.changing(place) as db:
            for statement in statements:
                db.execute(statement)

    return craft


def schema_entry(kind: str, name: str, table: str, statement: str) -> Craft:
    """Put an entry into the schema that SQLite's own statements would refuse."""

    def craft(place: Path) -> None:
        with hostile.changing(place) as db:
            db.execute("INSERT INTO sqlite_master VALUES (?, ?, ?, 0, ?)", (kind, name, table, statement))

    return craft


def in_place_of(what: str, make: Callable[[Path, Path], object]) -> Craft:
    """Put something else into the place of a file or folder, which is moved out of the vault."""

    def craft(place: Path) -> None:
        path = next(place.glob(what))
        moved = place.parent / "moved"
        path.rename(moved)
        make(path, moved)

    return craft


def link(path: Path, target: Path) -> None:
    path.symlink_to(target)


def forged(payload: bytes, codec: str = "stream", rows: int = 50) -> Craft:
    """Rows of the list "vectors" as other bytes, with a checksum that is right."""

    def craft(place: Path) -> None:
        with hostile.changing(place) as db:
            (key, schema), *_ = db.execute(
                "SELECT g.id, s.data FROM segments g JOIN schemas s ON s.id = g.schema JOIN lists l ON l.id = g.list AND l.name = 'vectors'"
            )
            checksum = xxhash.xxh3_64_intdigest(payload, xxhash.xxh3_64_intdigest(schema))
            db.execute(
                "UPDATE segments SET data = ?, file = NULL, codec = ?, size = ?, rows = ?, checksum = ? WHERE id = ?",
                (
                    payload,
                    codec,
                    len(payload),
                    rows,
                    checksum - (1 << 64) if checksum >> 63 else checksum,
                    key,
                ),
            )

    return craft


def other_schema(data: bytes) -> Craft:
    """The schema of every list as other bytes, with a digest that is right."""

    def craft(place: Path) -> None:
        with hostile.changing(place) as db:
            db.execute("UPDATE schemas SET data = ?, digest = ? WHERE id = 1", (data, sha256(data).digest()))

    return craft


def stream(table: pa.Table, compression: str | None = None) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(
        sink, table.schema, options=pa.ipc.IpcWriteOptions(compression=compression)
    ) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()


def bomb() -> bytes:
    """Some kilobytes that become gigabytes."""
    part = stream(pa.table({"vec": pa.array(np.zeros(1 << 22))}), "zstd")
    schema = stream(pa.table({"vec": pa.array(np.zeros(0))}), "zstd")[:-8]
    return schema + part[len(schema) : -8] * 240 + part[-8:]


def bad_offsets() -> bytes:
    """Texts whose ends lie outside of what there is."""
    good = np.arange(0, 255, 5, dtype="<i4")
    bad = good.copy()
    bad[1:] = 2**30
    return stream(pa.table({"vec": ["hello"] * 50})).replace(good.tobytes(), bad.tobytes())


def pickled_type() -> bytes:
    """A field whose metadata name a type that Arrow would load from a pickle."""
    marks = {
        "ARROW:extension:name": "arrow.py_extension_type",
        "ARROW:extension:metadata": b"cos\nsystem\n(S'touch pwned'\ntR.",
    }
    return stream(
        pa.table([pa.array(range(50))], schema=pa.schema([pa.field("vec", pa.int64(), metadata=marks)]))
    )


def deep_type() -> bytes:
    kind = pa.int8()
    for _ in range(60):
        kind = pa.list_(kind)
    return pa.schema([pa.field("n", kind)]).serialize().to_pybytes()


def odd_pandas() -> bytes:
    return (
        pa.schema([pa.field("n", pa.int64())], metadata={"pandas": b"[" * 50_000, "tablevault": b'{"a": [[['})
        .serialize()
        .to_pybytes()
    )


def big_log(place: Path) -> None:
    with (place / "commits.log").open("ab") as file:
        file.truncate(1 << 30)


EVIL = "CREATE TRIGGER {} AFTER INSERT ON batches BEGIN DELETE FROM segments; END"
ENDLESS = (
    "CREATE VIEW {} AS WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT max(x) FROM n"
)
CRAFTED: dict[str, Craft] = {
    "trigger": sql(EVIL.format("evil")),
    "trigger named like a table of SQLite": schema_entry(
        "trigger", "sqlite_evil", "batches", EVIL.format("sqlite_evil")
    ),
    "trigger named like a table of a text index": schema_entry(
        "trigger", "prose_data", "batches", EVIL.format("prose_data")
    ),
    "view in place of a table": sql(
        "DROP TABLE reads", "CREATE VIEW reads AS SELECT 1 AS session, 1 AS list, 1 AS version"
    ),
    "endless view": sql("DROP TABLE cells", ENDLESS.format("cells")),
    "endless view named like a table of SQLite": schema_entry(
        "view", "sqlite_endless", "sqlite_endless", ENDLESS.format("sqlite_endless")
    ),
    "application id": sql("PRAGMA application_id = 1"),
    "newer format": sql("PRAGMA user_version = 7"),
    "zero bytes": lambda place: (place / "catalog.db").write_bytes(bytes(1 << 16)),
    "random bytes": lambda place: (place / "catalog.db").write_bytes(random.Random(1).randbytes(1 << 16)),
    "header and zeros": lambda place: (place / "catalog.db").write_bytes(
        (place / "catalog.db").read_bytes()[:100] + bytes(1 << 16)
    ),
    "catalogue is a link": in_place_of("catalog.db", link),
    "log is a link": lambda place: link(place / "catalog.db-wal", place.parent / "secret"),
    "log is a pipe": lambda place: os.mkfifo(place / "catalog.db-wal"),
    "segment is a link": in_place_of("segments/*.arrow", link),
    "segment is a link to zeros": in_place_of(
        "segments/*.arrow", lambda path, _: link(path, Path("/dev/zero"))
    ),
    "segment is a pipe": in_place_of("segments/*.arrow", lambda path, _: os.mkfifo(path)),
    "segment is a folder": in_place_of("segments/*.arrow", lambda path, _: path.mkdir()),
    "segment is huge": lambda place: os.truncate(segment(place), 1 << 40),
    "segments are a link": in_place_of("segments", link),
    "files are a link": in_place_of("files", link),
    "kept file is a link": in_place_of("files/*/*", link),
    "kept file is a pipe": in_place_of("files/*/*", lambda path, _: os.mkfifo(path)),
    "keys are a link": lambda place: (
        shutil.rmtree(place / "keys", ignore_errors=True),
        link(place / "keys", place.parent),
    ),
    "indexes are a link": lambda place: (
        shutil.rmtree(place / "indexes", ignore_errors=True),
        link(place / "indexes", place.parent),
    ),
    "lock is a link": in_place_of("write.lock", link),
    "lock is a pipe": in_place_of("write.lock", lambda path, _: os.mkfifo(path)),
    "marks are a link": in_place_of("commits.log", link),
    "marks are a pipe": in_place_of("commits.log", lambda path, _: os.mkfifo(path)),
    "marks are huge": big_log,
    "file that lies outside": sql(
        "UPDATE segments SET file = '../../../../../../etc/passwd' WHERE file IS NOT NULL"
    ),
    "file with an absolute name": sql("UPDATE segments SET file = '/etc/passwd' WHERE file IS NOT NULL"),
    "long name": sql("UPDATE segments SET file = hex(zeroblob(500000)) WHERE file IS NOT NULL"),
    "kept file that lies outside": sql(
        "UPDATE files SET sha256 = '../../../secret'", "UPDATE file_uses SET sha256 = '../../../secret'"
    ),
    "negative sizes": sql("UPDATE segments SET size = -1, rows = -5"),
    "huge sizes": sql(
        "UPDATE segments SET size = 1 << 50", "UPDATE batches SET rows = 1 << 50, total = 1 << 50"
    ),
    "huge totals": sql("UPDATE batches SET total = 1 << 40"),
    "list that is its own parent": sql(
        "UPDATE edges SET parent_list = list, parent_version = version, parent_generation = generation"
    ),
    "hostile text index": sql(
        "UPDATE prose_data SET block = randomblob(length(block))", "UPDATE plain_data SET block = zeroblob(9)"
    ),
    "text index without end": sql("UPDATE prose_data SET block = randomblob(100000)"),
    "Arrow bomb": forged(bomb(), rows=240 << 22),
    "bomb that is said to be small": forged(bomb()),
    "offsets that lead out": forged(bad_offsets()),
    "type that is a pickle": forged(pickled_type()),
    "schema that is deep": other_schema(deep_type()),
    "schema with odd metadata": other_schema(odd_pandas()),
    "schema that is none": other_schema(b"\xff\xff\xff\xff\x00\x00\x00\x7f" * 9),
}


def run(world: Path, folder: Path, name: str) -> list[str]:
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(world, folder)
    secret = folder / "secret"
    secret.write_text(SECRET)
    place = folder / "v"
    if name in CRAFTED:
        CRAFTED[name](place)
    else:
        draw = random.Random(f"{SEED} {name}")
        poison = draw.choice(hostile.columns_of(place)), draw.choice(hostile.VALUES), draw.choice([0, -1])
        (table, column), value, row = poison
        hostile.poison(place, table, column, value, row)
        name = f"{name}: {table}.{column} = {value!r:.40}, row {row}"
    wrong = hostile.judge(place)
    if not secret.exists() or secret.read_text() != SECRET:
        wrong.append("a file outside was changed")
    return [f"{name}: {each}" for each in wrong]


def run_all(folder: Path, names: list[str], answer) -> None:
    hostile.make_world(folder / "world" / "v")
    answer.send([each for name in names for each in run(folder / "world", folder / "case", name)])


def in_a_process(folder: Path, names: list[str]) -> list[str]:
    here, there = PROCESSES.Pipe(duplex=False)
    process = PROCESSES.Process(target=run_all, args=(folder, names, there))
    process.start()
    there.close()
    wrong = here.recv()
    process.join()
    COUNTS["hostile vaults"] += len(names)
    return wrong


@pytest.mark.ci
def test_a_crafted_vault_does_nothing_and_ends(tmp_path):
    (tmp_path / "world").mkdir()
    wrong = in_a_process(tmp_path, list(CRAFTED))
    assert not wrong, "\n".join(wrong)


def test_any_value_in_any_column_is_an_error_or_nothing(tmp_path):
    print(f"repeat it with TABLEVAULT_SEED={SEED}")
    (tmp_path / "world").mkdir()
    wrong = in_a_process(tmp_path, [f"poison {number}" for number in range(times(200, ordinary=6))])
    assert not wrong, "\n".join(wrong)
