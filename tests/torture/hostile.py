"""Vaults that somebody made on purpose: each is opened, read, searched and checked in a child with little memory.

A child opens nothing outside of the vault, runs nothing, does not crash or hang, and meets errors of ours only.
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import sqlite3
import sys
import sysconfig
import warnings
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa

import tablevault_pd as tv
from tablevault_pd.keys import key_index
from tablevault_pd.store.embedded import journal
from tablevault_pd.store.engine import ann_index, cells
from torture.crashes import in_child
from torture.harness import LONG

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MEMORY = 3 << 30  #: address space of a child, with what the libraries map
SECONDS = 20
LARGE = 20_000

#: What is written into any column of any row.
VALUES: list[Any] = [
    None, -1, 0, 1, 7, 2**31, 2**63 - 1, -(2**63), 1.5, float("inf"), "", "x", "../../etc/passwd", "\0",
    "a\0b", b"", b"\xff\xfe\x00", b"\x00" * 64,
    "[" * 100_000, "9" * 5000, "{}", "[]", "null", '{"a": 1e999}', "[[1, 2]]", '[{"a": []}]', '"\\ud800"',
    "NaN", "e" * 10_000_000, b"\xff" * 10_000_000,
]  # fmt: skip


def make_world(place: Path) -> None:
    """A vault that has something in most tables, closed."""
    key_index._LACKING_ROWS = 1  # so that indexes of a few rows are kept in files, here and in the children
    ann_index.SMALLEST, cells.CELL_BYTES = 10, 0
    if not LONG:
        journal.MOST_MISSING, journal.READ_BYTES = 500, 1 << 22
    note = place.parent / "note.txt"
    note.write_text("a kept note")
    rng = np.random.default_rng(0)
    with tv.connect(place, capture="none", session="train") as vault:
        vault.save("big", pd.DataFrame({"n": np.arange(LARGE), "x": np.arange(LARGE) * 1.5}))
        words = pd.DataFrame({"id": range(50), "word": [f"zebra{n} and so on" for n in range(50)]})
        vault.save("words", words, key="id", description="some words", tags=["a"])
        vault.upsert("words", {"id": 3, "word": "changed"}, key="id")
        vault.append("words", {"id": 60, "word": "zebra60"})
        vault.delete_rows("words", filters="id == 4")
        vault.save("vectors", pd.DataFrame({"vec": list(rng.random((50, 8)).astype("float32"))}))
        vault.save(
            "kinds", pd.DataFrame({"kind": pd.Categorical(["a", "b", "a"]), "d": [{"k": 1}, None, {"k": 2}]})
        )
        vault.save("forms", forms(50))
        vault.save("many forms", forms(LARGE // 4))
        vault.save("kept", pd.DataFrame({"path": [str(note)]}), files="path", copy=True)
        vault.save("child", vault.read("words").head(3))
        vault.describe("words", "what they are", vector=[1.0, 0.0])

        for step in range(3):
            tv.log(step=step, loss=1 / (step + 1))
        vault.search("zebra1")
        vault.search(near=[1.0] * 8, lists="vectors", k=3, approx=True)
        for column in vault.store.vectors.columns.values():
            for index in column.ann.values():
                index.wait()


def forms(rows: int) -> pd.DataFrame:
    """Columns whose cells Arrow finds by offsets, lengths and codes."""
    numbers = range(rows)
    return pd.DataFrame(
        {
            "text": ["letters"] * rows,
            "colour": pd.Categorical([("red", "blue")[n % 2] for n in numbers]),
            "money": [Decimal(77770000 + n) for n in numbers],
            "json": [[3, 1]] * rows,
            "several": pd.Series([[3, 1]] * rows, dtype=pd.ArrowDtype(pa.list_(pa.int64()))),
            "raw": [b"byte"] * rows,
            "nested": [{"deep": ["word"]}] * rows,
        }
    )


def touched(vault: tv.Vault, name: str) -> None:
    """Read some rows, each cell as a value of Python."""
    for rows in (vault.read(name), vault.read(name, filters="text == 'letters' or colour == 'red'")):
        for column in rows:
            with contextlib.suppress(UnicodeDecodeError, pa.ArrowException):  # a check tells of those
                rows[column].iloc[[*range(0, len(rows), 97), -1]].tolist()
    vault.read(name, filters="text.str.contains('x')", columns=["text", "raw"])


def examine(place: Path) -> dict[str, Any]:
    """Ask for all there is. What was told, what was raised that is no error of ours, what was read wrong."""
    told: list[str] = []
    raw: list[str] = []
    wrong: list[str] = []

    def ask(what: str, call: Callable[[], Any], right: Callable[[Any], bool] | None = None) -> None:
        try:
            answer = call()
            if right is not None and not right(answer):
                wrong.append(what)
        except tv.VaultError as error:
            told.append(f"{what}: {type(error).__name__}: {error!s:.100}")
        except Exception as error:  # noqa: BLE001
            trace = error.__traceback__
            while trace is not None and trace.tb_next is not None:
                trace = trace.tb_next
            at = f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}" if trace else ""
            raw.append(f"{what}: {type(error).__name__}: {error!s:.150} {at}")

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            vault = tv.connect(place, capture="none", session=False, timeout_s=2)
        except tv.VaultError as error:
            return {"told": [f"connect: {error!s:.100}"], "raw": [], "wrong": []}
        except Exception as error:  # noqa: BLE001
            return {"told": [], "raw": [f"connect: {type(error).__name__}: {error}"], "wrong": []}
        ask("lists", vault.lists)
        names: list[str] = []
        with contextlib.suppress(tv.VaultError):
            names = list(vault)
        for name in {*names, "big", "words", "vectors", "kinds", "kept", "child"}:
            ask(f"read {name}", partial(vault.read, name))
            if name not in ("big", "words") and not LONG:
                continue
            ask(f"versions {name}", partial(vault.versions, name))
            ask(f"read {name}@1", partial(vault.read, name, version=1))
            ask(f"lineage {name}", partial(vault.lineage, name))
            ask(f"repr {name}", lambda name=name: repr(vault[name]))
        ask("big", lambda: vault.read("big"), lambda found: found["n"].tolist() == list(range(LARGE)))
        ask("filter", lambda: vault.read("big", filters="n >= 19990")["x"].tolist())
        ask("forms", lambda: touched(vault, "forms"))
        ask("many forms", lambda: touched(vault, "many forms"))
        ask("parents", lambda: vault.read("child").vault.parents())
        ask("search", lambda: vault.search("zebra7"))
        ask("near", lambda: vault.search(near=[1.0] * 8, lists="vectors", k=3))
        ask("near", lambda: vault.search(near=[1.0] * 8, lists="vectors", k=3, approx=True))
        ask("code", lambda: vault.search(code="x"))
        ask("sessions", vault.sessions)
        ask("sessions", lambda: vault.sessions(filters="metrics.loss > 0"))
        ask("versions", vault.versions)
        ask("metrics", lambda: vault.metrics("loss"))
        ask("repr", lambda: (repr(vault), vault._repr_html_()))
        ask("file", lambda: vault.open_file(_kept()).read())
        ask("work", lambda: vault.work() if hasattr(vault, "work") else None)
        ask("indexes", lambda: vault.indexes() if hasattr(vault, "indexes") else None)
        ask("append", lambda: vault.append("words", {"id": 99, "word": "new"}))
        ask("upsert", lambda: vault.upsert("words", {"id": 3, "word": "newer"}, key="id"))
        ask("check", vault.check)
        ask("compact", vault.compact)
        ask("fix", lambda: vault.check(fix=True))
        ask("vacuum", lambda: vault.vacuum(dry_run=True))
        ask("close", vault.close)
    return {"told": told, "raw": raw, "wrong": wrong}


def _kept() -> str:
    import hashlib

    return hashlib.sha256(b"a kept note").hexdigest()


def guarded(place: Path) -> dict[str, Any]:
    """:func:`examine` under limits, and with a hook that notes what goes outside of the vault."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
    signal.alarm(SECONDS)  # whatever it waits for
    outside: list[str] = []
    inside = (
        str(place), os.path.realpath(place), *{sys.prefix, sys.base_prefix, *sysconfig.get_paths().values()},
        "/proc/", "/sys/", "/usr/", "/etc/local",
        str(Path(tv.__file__).parent), *(each for each in sys.path if each),
    )  # fmt: skip

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        if event in (
            "open",
            "os.remove",
            "os.rename",
            "os.mkdir",
            "os.rmdir",
            "os.link",
            "os.symlink",
            "os.truncate",
        ):
            path = arguments[0]
            path = os.fsdecode(path) if isinstance(path, bytes) else path
            leads_out = (
                isinstance(path, str)
                and os.path.isabs(path)
                and not os.path.normpath(path).startswith(inside)
            )
            if leads_out:
                outside.append(f"{event} {path[:200]}")
        elif event.startswith(
            (
                "pickle.find_class",
                "subprocess",
                "os.exec",
                "os.system",
                "os.posix_spawn",
                "ctypes.dlopen",
                "socket.connect",
            )
        ):
            outside.append(f"{event} {arguments!r:.200}")

    sys.addaudithook(watch)
    return examine(place) | {"outside": outside}


def judge(place: Path) -> list[str]:
    """What is wrong with the answers of a child that was given this vault."""
    code, answer = in_child(partial(guarded, place))
    if answer is None or code:
        return [f"ended with {code}: {str(answer)[-3000:]}"]
    return [
        *answer["raw"],
        *(f"wrong: {what}" for what in answer["wrong"]),
        *(f"outside: {what}" for what in answer["outside"]),
    ]


@contextlib.contextmanager
def changing(place: Path) -> Iterator[sqlite3.Connection]:
    """The catalogue, without any of its rules."""
    with contextlib.closing(sqlite3.connect(place / "catalog.db", isolation_level=None)) as db:
        db.execute("PRAGMA ignore_check_constraints = ON")
        db.execute("PRAGMA foreign_keys = OFF")
        db.execute("PRAGMA writable_schema = ON")
        yield db


def columns_of(place: Path) -> list[tuple[str, str]]:
    """Each column of each table that has rows."""
    with changing(place) as db:
        tables = [
            name
            for (name,) in db.execute(
                "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite%'"
            )
        ]
        found = []
        for table in tables:
            with contextlib.suppress(sqlite3.Error):
                if db.execute(f'SELECT 1 FROM "{table}" LIMIT 1').fetchone():
                    found += [(table, row[1]) for row in db.execute(f'PRAGMA table_info("{table}")')]
    return found


def poison(place: Path, table: str, column: str, value: Any, row: int) -> bool:
    """Write a value into one row (of all: -1). Whether SQLite took it."""
    with changing(place) as db:
        try:
            if row < 0:
                db.execute(f'UPDATE OR IGNORE "{table}" SET "{column}" = ?', (value,))
            else:
                keys = [found[1] for found in db.execute(f'PRAGMA table_info("{table}")') if found[5]]
                key = ", ".join(f'"{each}"' for each in keys) or "rowid"
                db.execute(
                    f'UPDATE "{table}" SET "{column}" = ? WHERE ({key}) IN (SELECT {key} FROM "{table}" LIMIT 1 OFFSET ?)',
                    (value, row),
                )
            return bool(db.execute("SELECT changes()").fetchone()[0])
        except sqlite3.Error:
            return False
