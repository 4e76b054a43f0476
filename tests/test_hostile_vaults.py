"""Vaults that somebody made on purpose run no code, lead nowhere, take little memory, and end: by answers, or errors of ours."""

from __future__ import annotations

import json
import os
import random
import shutil
import struct
from hashlib import sha256
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pytest
import xxhash
from torture import hostile
from torture.harness import COUNTS, LONG, PROCESSES, SEED, times

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
SECRET = "what lies beside the vault"
Craft = "Callable[[Path], object]"


def segment(place: Path) -> Path:
    with hostile.changing(place) as db:
        [(name,)] = db.execute(
            "SELECT file FROM segments g JOIN lists l ON l.id = g.list WHERE l.name = 'big'"
        )
    return place / "segments" / f"{name}.arrow"


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
        path = segment(place) if what == "segment" else next(place.glob(what))
        moved = place.parent / f"moved {path.name}"
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


def edited(name: str, edit: Callable[[bytearray], object]) -> Craft:
    """The stored rows of a list with other bytes, and a checksum that is right."""

    def craft(place: Path) -> None:
        with hostile.changing(place) as db:
            [(key, schema, data, file)] = db.execute(
                "SELECT g.id, s.data, g.data, g.file FROM segments g JOIN schemas s ON s.id = g.schema "
                "JOIN lists l ON l.id = g.list AND l.name = ?",
                (name,),
            )
            path = place / "segments" / f"{file}.arrow"
            content = bytearray(path.read_bytes() if data is None else data)
            edit(content)
            checksum = np.uint64(xxhash.xxh3_64_intdigest(content, xxhash.xxh3_64_intdigest(schema)))
            if data is None:
                path.write_bytes(content)
            db.execute(
                "UPDATE segments SET data = ?, size = ?, checksum = ? WHERE id = ?",
                (None if data is None else bytes(content), len(content), int(checksum.astype(np.int64)), key),
            )

    return craft


def put(numbers: np.ndarray, at: int, new: list[int]) -> Callable[[bytearray], object]:
    """Write other numbers from the place `at` on into the array that begins with these."""

    def edit(content: bytearray) -> None:
        start = content.index(numbers.tobytes()) + at * numbers.itemsize
        fresh = np.array(new, numbers.dtype).tobytes()
        content[start : start + len(fresh)] = fresh

    return edit


def swap(old: bytes, new: bytes) -> Callable[[bytearray], object]:
    """Other bytes in the first place where these are."""

    def edit(content: bytearray) -> None:
        start = content.index(old)
        content[start : start + len(new)] = new

    return edit


def swap_all(old: int, new: int) -> Callable[[bytearray], object]:
    """Another number wherever this one is, as 64 bits: lengths of a message stand so in its head."""

    def edit(content: bytearray) -> None:
        content[:] = content.replace(struct.pack("<q", old), struct.pack("<q", new))

    return edit


def noise(seed: str) -> Callable[[bytearray], object]:
    """Some bytes anywhere."""

    def edit(content: bytearray) -> None:
        draw = random.Random(f"{SEED} {seed}")
        for _ in range(draw.randrange(1, 4)):
            at = draw.randrange(len(content))
            extreme = draw.choice([b"\xff\xff\xff\x7f", b"\x00\x00\x00\x80", b"\xff", draw.randbytes(3)])
            content[at : at + len(extreme)] = extreme[: len(content) - at]

    return edit


SEVENS = np.arange(0, 70, 7)  #: the ends of texts of seven letters
CODES = np.array([1, 0] * 5, "i4")
LISTS = np.arange(0, 20, 2, dtype="i4")  #: the ends of lists of two
CELLS = b"[3,1]" * 40


def deep_json(content: bytearray) -> None:
    """One cell with the text of many, which opens lists and closes none."""
    count = content.count(b"[3,1]")
    swap(b"[3,1]" * count, b"[" * 5 * count)(content)
    put(np.arange(0, 50, 5), 1, [5 * count] * (count - 1))(content)


#: What is wrong with stored cells, though their checksum is right.
FORGED = {
    "ends that lead out": put(SEVENS, 1, [2**50] * 9),
    "ends below zero": put(SEVENS, 1, [-7]),
    "ends that fall": put(SEVENS, 3, [2]),
    "lists that lead out": put(LISTS, 4, [2**31 - 1]),
    "lists that fall": put(LISTS, 4, [1]),
    "codes of no category": put(CODES, 2, [100]),
    "codes below zero": put(CODES, 2, [-100]),
    "no UTF-8": swap(b"lettersletters", b"\xff\xfe\xed\xa0\x80le"),
    "a text that is cut": swap(b"lettersletters", b"letter\xf0"),
    "too many digits": swap((77770001).to_bytes(16, "little"), b"\xff" * 15 + b"\x7f"),
    "cells that are no JSON": swap(CELLS, b"{\xff]]]" * 40),
    "a deep cell": deep_json,
}


def index_file(edit: Callable[[dict[str, int], list[np.ndarray]], object]) -> Craft:
    """The approximate index with other numbers, and a checksum that is right."""

    def craft(place: Path) -> None:
        path = next((place / "indexes").iterdir())
        magic, head, body = path.read_bytes().split(b"\n", 2)
        numbers = json.loads(head)
        sizes = [4 * numbers["cells"] * numbers["dim"], 8 * (numbers["cells"] + 1), 8 * numbers["rows"]]
        ends = np.cumsum([0, *sizes]).tolist()
        arrays = [
            np.frombuffer(body[low:high], kind).copy()
            for low, high, kind in zip(ends, ends[1:], ("<f4", "<i8", "<i8"), strict=False)
        ]
        edit(numbers, arrays)
        content = b"\n".join(
            [magic, json.dumps(numbers).encode(), b"".join(each.tobytes() for each in arrays)]
        )
        path.write_bytes(content + xxhash.xxh3_64(content).digest())

    return craft


def key_file(edit: Callable[[dict[str, object], bytearray], object]) -> Craft:
    """The digests of keys with other numbers, and a checksum that is right."""

    def craft(place: Path) -> None:
        for path in (place / "keys").iterdir():
            data = path.read_bytes()
            start = 8 + struct.unpack_from("<Q", data)[0]
            header, body = json.loads(data[8:start]), bytearray(data[start:])
            edit(header, body)
            header["checksum"] = xxhash.xxh3_64_intdigest(body)
            head = json.dumps(header).encode()
            path.write_bytes(struct.pack("<Q", len(head)) + head + body)

    return craft


def marks(*bodies: bytes) -> Craft:
    """Lines in the log of commits with a checksum that is right."""

    def craft(place: Path) -> None:
        with (place / "commits.log").open("ab") as file:
            file.writelines(b"\n%s %s" % (xxhash.xxh3_64_hexdigest(body).encode(), body) for body in bodies)

    return craft


def layout_of(width: int, count: int, body: bytes) -> bytes:
    part = struct.pack("<BBqqQ", 0, width, count, 0, xxhash.xxh3_64_intdigest(body)) + body
    return struct.pack("<III", len(part), len(part), len(part)) + part * 3


def layouts(data: bytes) -> Craft:
    """What a version of changed rows says where its rows lie."""

    def craft(place: Path) -> None:
        with hostile.changing(place) as db:
            for table, column in (("layouts", "pieces"), ("erased", "pieces")):
                db.execute(f"UPDATE {table} SET {column} = ?", (data,))

    return craft


def hostile_noise(*statements: str) -> Craft:
    """Statements that may call ``noise(bytes)``."""

    def craft(place: Path) -> None:
        with hostile.changing(place) as db:
            db.create_function("noise", 1, random.Random(SEED).randbytes)
            for statement in statements:
                db.execute(statement)

    return craft


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
#: What is refused when the vault is opened, or what concerns all of it.
ALONE: dict[str, Craft] = {
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
    "segments are a link": in_place_of("segments", link),
    "files are a link": in_place_of("files", link),
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
    "negative sizes": sql("UPDATE segments SET size = -1, rows = -5"),
    "huge sizes": sql(
        "UPDATE segments SET size = 1 << 50", "UPDATE batches SET rows = 1 << 50, total = 1 << 50"
    ),
    "huge totals": sql("UPDATE batches SET total = 1 << 40"),
}
#: The file of a list, and its schema.
BIG: dict[str, Craft] = {
    "segment is a link": in_place_of("segment", link),
    "segment is a link to zeros": in_place_of("segment", lambda path, _: link(path, Path("/dev/zero"))),
    "segment is a pipe": in_place_of("segment", lambda path, _: os.mkfifo(path)),
    "segment is a folder": in_place_of("segment", lambda path, _: path.mkdir()),
    "segment is huge": lambda place: os.truncate(segment(place), 1 << 40),
    "file that lies outside": sql(
        "UPDATE OR IGNORE segments SET file = '../../../../../../etc/passwd' WHERE file IS NOT NULL"
    ),
    "file with an absolute name": sql(
        "UPDATE OR IGNORE segments SET file = '/etc/passwd' WHERE file IS NOT NULL"
    ),
    "long name": sql("UPDATE OR IGNORE segments SET file = hex(zeroblob(500000)) WHERE file IS NOT NULL"),
    "schema that is deep": other_schema(deep_type()),
    "schema with odd metadata": other_schema(odd_pandas()),
    "schema that is none": other_schema(b"\xff\xff\xff\xff\x00\x00\x00\x7f" * 9),
}
#: A kept file; lineage.
KEPT: dict[str, Craft] = {
    "kept file is a link": in_place_of("files/*/*", link),
    "kept file is a pipe": in_place_of("files/*/*", lambda path, _: os.mkfifo(path)),
    "kept file that lies outside": sql(
        "UPDATE files SET sha256 = '../../../secret'", "UPDATE file_uses SET sha256 = '../../../secret'"
    ),
    "list that is its own parent": sql(
        "UPDATE edges SET parent_list = list, parent_version = version, parent_generation = generation"
    ),
}
#: The index of texts.
TEXTS: dict[str, Craft] = {
    "hostile text index": hostile_noise(
        "UPDATE prose_data SET block = noise(length(block))", "UPDATE plain_data SET block = zeroblob(9)"
    ),
    "text index without end": hostile_noise("UPDATE prose_data SET block = noise(100000)"),
    "text index that wants all memory": sql(
        "UPDATE prose_data SET block = X'7fffffff7fffffff7fffffff7fffffff'"
    ),
}
#: Rows in the catalogue.
INLINE: dict[str, Craft] = {
    **{f"forged: {what}": edited("forms", edit) for what, edit in FORGED.items()},
    "forged: a length below zero": edited("forms", swap_all(50, -1)),
    "forged: a length beyond all": edited("forms", swap_all(50, 1 << 60)),
}
#: Rows in a file.
FILE: dict[str, Craft] = {
    **{f"forged in a file: {what}": edited("many forms", edit) for what, edit in FORGED.items()},
    "forged in a file: a length below zero": edited("many forms", swap_all(hostile.LARGE // 4, -1)),
    "forged in a file: a length beyond all": edited("many forms", swap_all(hostile.LARGE // 4, 1 << 60)),
}
#: An approximate index, and its vectors.
INDEXES: dict[str, Craft] = {
    "vectors of no row": index_file(lambda _, arrays: arrays[2].__setitem__(0, 1 << 40)),
    "an index of all rows there may be": index_file(
        lambda numbers, arrays: (numbers.update(upto=1 << 47), arrays[2].__setitem__(0, 1 << 46))
    ),
    "one row in all places of an index": index_file(lambda _, arrays: arrays[2].fill(1)),
    "cells that fall": index_file(lambda _, arrays: arrays[1].__setitem__(1, 1 << 40)),
    "centres that are no numbers": index_file(lambda _, arrays: arrays[0].fill(np.nan)),
    "an index that visits all there is": index_file(lambda numbers, _: numbers.update(probes=1 << 47)),
    "an index of vectors that are longer": index_file(lambda numbers, _: numbers.update(dim=1 << 40)),
    "an index with a deep head": lambda place: next((place / "indexes").iterdir()).write_bytes(
        b"tablevault cells 1\n" + b"[" * 990 + b"\n"
    ),
    "an index is a folder": in_place_of("indexes/*", lambda path, _: path.mkdir()),
    "an index is a pipe": in_place_of("indexes/*", lambda path, _: os.mkfifo(path)),
    "Arrow bomb": forged(bomb(), rows=240 << 22),
    "bomb that is said to be small": forged(bomb()),
    "columns of another list": forged(stream(pa.table({"vec": ["hello"] * 50}))),
    "type that is a pickle": forged(pickled_type()),
}
#: Digests of keys.
KEYS: dict[str, Craft] = {
    "keys are a folder": in_place_of("keys/*", lambda path, _: path.mkdir()),
    "keys are a pipe": in_place_of("keys/*", lambda path, _: os.mkfifo(path)),
    "keys of more rows": key_file(lambda header, _: header.update(rows=1 << 40)),
    "keys without rows": key_file(lambda header, body: (header.update(rows=0), body.clear())),
    "keys of a version to come": key_file(
        lambda header, _: header.update(version=1 << 62, time="x" * 10_000)
    ),
    "keys of no version": key_file(lambda header, _: header.update(version=[], time={})),
    "keys that are all alike": key_file(
        lambda header, body: body.__setitem__(slice(16 * header["rows"]), bytes(16 * header["rows"]))
    ),
    "keys with a deep head": lambda place: [
        path.write_bytes(struct.pack("<Q", 100_000) + b"[" * 100_000) for path in (place / "keys").iterdir()
    ],
}
#: Where the rows of a version lie.
LAYOUTS: dict[str, Craft] = {
    "a layout of odd numbers": layouts(layout_of(3, 4, bytes(12))),
    "a layout of a negative count": layouts(layout_of(1, -1, bytes(12))),
    "a layout without end": layouts(layout_of(8, 1, b"\xff" * 7 + b"\x7f")),
}
#: The marks of commits.
MARKS: dict[str, Craft] = {
    "marks are huge": big_log,
    "marks of no list": marks(
        b'["\\ud800", 9, "t", 1, []]',
        b'["big", 99999999999999999999999, "t", 1, []]',
        b'["big", -4, "t", -1, []]',
        b"[" * 100_000,
        b'["big", true, "t", 1, []]',
        b'["big", 9, "\\ud800", 1, []]',
        b'["x\\u0000", 9, "t", 1, []]',
        b"9" * 10_000,
        b"{}",
    ),
    "marks of versions without number": marks(
        *(json.dumps([f"list {number}", 1 << 40, "t", 1, []]).encode() for number in range(20))
    ),
}
APART = [MARKS, BIG, KEPT, TEXTS, INLINE, FILE, INDEXES, KEYS, LAYOUTS]
CRAFTED = {name: craft for kind in (ALONE, *APART) for name, craft in kind.items()}


def together() -> list[tuple[str, ...]]:
    """The crafts of each vault: each alone in a long run, else one of every part that others do not touch."""
    if LONG:
        return [(name,) for name in CRAFTED]
    several = [tuple(filter(None, names)) for names in zip_longest(*APART)]
    return [*((name,) for name in ALONE), *several]


def run(world: Path, folder: Path, names: tuple[str, ...]) -> list[str]:
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(world, folder)
    secret = folder / "secret"
    secret.write_text(SECRET)
    place = folder / "v"
    name = ", ".join(names)
    for one in names:
        if one in CRAFTED:
            CRAFTED[one](place)
            continue
        if one.startswith("noise"):
            for rows in ("forms", "many forms"):
                edited(rows, noise(f"{one} {rows}"))(place)
            continue
        draw = random.Random(f"{SEED} {name}")
        poison = draw.choice(hostile.columns_of(place)), draw.choice(hostile.VALUES), draw.choice([0, -1])
        (table, column), value, row = poison
        hostile.poison(place, table, column, value, row)
        name = f"{name}: {table}.{column} = {value!r:.40}, row {row}"
    wrong = hostile.judge(place)
    if not secret.exists() or secret.read_text() != SECRET:
        wrong.append("a file outside was changed")
    return [f"{name}: {each}" for each in wrong]


def run_all(folder: Path, names: list[tuple[str, ...]], answer) -> None:
    hostile.make_world(folder / "world" / "v")
    answer.send([each for some in names for each in run(folder / "world", folder / "case", some)])


def in_a_process(folder: Path, names: list[tuple[str, ...]]) -> list[str]:
    here, there = PROCESSES.Pipe(duplex=False)
    process = PROCESSES.Process(target=run_all, args=(folder, names, there))
    process.start()
    there.close()
    wrong = here.recv()
    process.join()
    COUNTS["hostile vaults"] += sum(map(len, names))
    return wrong


@pytest.mark.ci
def test_a_crafted_vault_does_nothing_and_ends(tmp_path):
    (tmp_path / "world").mkdir()
    wrong = in_a_process(tmp_path, together())
    assert not wrong, "\n".join(wrong)


def test_any_bytes_with_a_right_checksum_are_rows_or_an_error(tmp_path):
    """Bytes of payloads and of their heads, changed at random: no crash, and no memory that is not theirs."""
    (tmp_path / "world").mkdir()
    wrong = in_a_process(tmp_path, [(f"noise {number}",) for number in range(times(100, ordinary=4))])
    assert not wrong, "\n".join(wrong)


def test_any_value_in_any_column_is_an_error_or_nothing(tmp_path):
    print(f"repeat it with TABLEVAULT_SEED={SEED}")
    (tmp_path / "world").mkdir()
    wrong = in_a_process(tmp_path, [(f"poison {number}",) for number in range(times(200, ordinary=6))])
    assert not wrong, "\n".join(wrong)
