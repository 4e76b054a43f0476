"""Public calls on a small, a middle and a large vault: what a user waits for, beside the bare operation and peers.

Where the design allows a fixed cost over the engine, or names a limit, that stands in the table as one more line, and
whether the call keeps it. ``python benchmarks/calls.py "read 10 rows" large`` prints what the time of one call goes to.
"""

from __future__ import annotations

import cProfile
import io
import pstats
import shutil
import sqlite3
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

if __name__ == "__main__":
    sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1])]

import numpy as np
import pandas as pd
from appends import lengthen
from call_peers import Peers
from call_sizes import SIZES, Size
from search import K, index_of, sentence_vectors
from sessions import insert_sessions
from timing import OURS, Contender, Line, grid, progress, wait_until_indexed

import tablevault_pd as tv

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

LIMIT = "the design's limit"
WORD = "w50"
SEARCH_OVER_ENGINE_S = 1.5e-3


class Calls:
    """The calls, by name, on one vault; and the bare operation of each where there is one."""

    def __init__(self, folder: Path, size: Size) -> None:
        rng = np.random.default_rng(0)
        self.folder, self.place, self.size = folder, folder / "vault", size
        self.vault = vault = tv.connect(self.place, session="calls", durability="fast")
        self.small = pd.DataFrame({"a": range(10), "b": [f"row {n}" for n in range(10)]})
        vault.save("small", self.small)
        progress(f"  {size.versions:,} versions, {size.rows:,} rows")
        vault.append("one", {"step": 0, "loss": 0.5})
        vault.append("long", {"step": 0, "loss": 0.5})
        vault.store.catalog.write(lengthen, "long", size.versions)
        self.large = pd.DataFrame({"a": np.arange(size.rows), "b": rng.random(size.rows)})
        vault.save("large", self.large, inputs=False)
        progress(f"  {size.texts:,} texts, {size.vectors:,} vectors")
        self.texts = texts(rng, size.texts)
        vault.save("texts", pd.DataFrame({"text": self.texts}), inputs=False)
        self.matrix = sentence_vectors(size.vectors)
        vault.save("vectors", pd.DataFrame({"vec": list(self.matrix)}), inputs=False)
        self.lengths = np.linalg.norm(self.matrix, axis=1)
        vault.save("child", vault.read("small").query("a % 2 == 0"))
        self.row = vault.read("child").iloc[[3]]
        progress(f"  {size.sessions:,} sessions, {size.lists:,} lists")
        vault.store.catalog.write(insert_sessions, size.sessions)
        # Last, for a search without lists= looks at all of them.
        for number in range(size.lists):
            vault.save(f"lists/{number}", pd.DataFrame({"c": [number]}), inputs=False)
        progress("  a copy, Parquet files, FTS5")
        vault.backup(folder / "copy")  # a vault of the same size, which this process has not open
        self.small.to_parquet(folder / "small.parquet")
        self.large.to_parquet(folder / "large.parquet")
        self.fts = full_text_index(folder / "fts.db", self.texts)
        self.sqlite = sqlite3.connect(folder / "bare.db", isolation_level=None)
        self.sqlite.executescript(
            "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;"
            "CREATE TABLE rows (id INTEGER PRIMARY KEY, data BLOB)"
        )
        self.bytes = b"x" * 300
        progress("  indexes")
        wait_until_indexed(vault)
        vault.search(near=self.matrix[7], lists="vectors", k=K, approx=True)  # begins to build its index
        cells = index_of(vault)
        self.peers = Peers(folder / "peers", size, self.large, self.matrix, self.texts, cells)

    # -- ours, by the names of the table

    def calls(self) -> dict[str, Callable[[], object]]:
        """Every measured call; those that write come last."""
        vault, middle = self.vault, self.size.rows // 2
        return {
            "read 10 rows": lambda: vault.read("small"),
            "read 10 rows of a large list": lambda: vault.read("large", start=middle, stop=middle + 10),
            "read what a filter keeps": lambda: vault.read("large", filters=f"a == {middle}"),
            "read one column": lambda: vault.read("large", columns=["b"]),
            "search text, 10 hits": lambda: vault.search(WORD, lists="texts", k=K),
            "search near, 10 hits": lambda: vault.search(near=self.matrix[7], lists="vectors", k=K),
            "search near, approximate, 10 hits": lambda: vault.search(
                near=self.matrix[7], lists="vectors", k=K, approx=True
            ),
            "search by value, small lists": lambda: vault.search(filters="c == 3", k=K),
            "parents() of one row": lambda: self.row.vault.parents(),
            "lists()": lambda: vault.lists(),
            "versions() of one list": lambda: vault.versions("long"),
            "sessions()": lambda: vault.sessions(),
            "repr(vault)": lambda: repr(vault),
            "repr(list)": lambda: repr(vault["long"]),
            "connect(), and close": self.connect,
            "with vault.session()": self.session,
            "append one row": lambda: vault.append("one", {"step": 1, "loss": 0.5}),
            "append one row to a long list": lambda: vault.append("long", {"step": 1, "loss": 0.5}),
            "save 10 rows": lambda: vault.save(
                "saved", self.small.assign(a=np.random.default_rng().random(10)), inputs=False
            ),
        }

    def connect(self) -> None:
        """Open a vault of the same size, with a session, and close it."""
        with tv.connect(self.folder / "copy", durability="fast"):
            pass

    def session(self) -> None:
        """Begin and end a session."""
        with self.vault.session("measured"):
            pass

    # -- the bare operations

    def bare(self) -> dict[str, Callable[[], object]]:
        """What a call does at the least, by its name."""
        return {
            "read 10 rows": lambda: pd.read_parquet(self.folder / "small.parquet"),
            "read one column": lambda: pd.read_parquet(self.folder / "large.parquet", columns=["b"]),
            "read what a filter keeps": lambda: pd.read_parquet(
                self.folder / "large.parquet", filters=[("a", "==", self.size.rows // 2)]
            ),
            "append one row": self.commit,
            "append one row to a long list": self.commit,
            "search text, 10 hits": self.match,
            "search near, 10 hits": self.nearest,
        }

    def commit(self) -> None:
        """One bare commit of as many bytes."""
        self.sqlite.execute("BEGIN IMMEDIATE")
        self.sqlite.execute("INSERT INTO rows (data) VALUES (?)", (self.bytes,))
        self.sqlite.execute("COMMIT")

    def match(self) -> list[Any]:
        """Row numbers of the best ten, by FTS5."""
        return self.fts.execute(
            "SELECT rowid FROM t WHERE t MATCH ? ORDER BY rank LIMIT 10", (WORD,)
        ).fetchall()

    def nearest(self) -> np.ndarray:
        """Row numbers of the best ten, by NumPy."""
        scores = (self.matrix @ self.matrix[7]) / self.lengths
        best = np.argpartition(-scores, K)[:K]
        return best[np.argsort(-scores[best])]

    def close(self) -> None:
        """Close everything."""
        self.vault.close()
        self.fts.close()
        self.sqlite.close()
        self.peers.close()


#: By call: the design's limit in seconds.
LIMITS = {
    "connect(), and close": 15e-3,
    "with vault.session()": 5e-3,
    "read 10 rows": 0.3e-3,
    "search by value, small lists": 0.1,
    "parents() of one row": 1e-3,
    "lists()": 20e-3,
    "sessions()": 150e-3,
    "repr(vault)": 10e-3,
    "repr(list)": 10e-3,
}
BARE = "bare operation"
#: By call: the engine over which the design allows `SEARCH_OVER_ENGINE_S`.
OVER = dict.fromkeys(("search text, 10 hits", "search near, 10 hits"), BARE) | {
    "search near, approximate, 10 hits": "Faiss"
}


def measure(folder: Path, scale: float) -> list[Line]:
    lines: list[Line] = []
    for size in SIZES.values():
        place = folder / size.name
        place.mkdir()
        progress(f"a {size.name} vault")
        with opened(place, size.scaled(scale)) as calls:
            lines += measure_calls(calls)
        shutil.rmtree(place)
    return lines


def report(lines: Sequence[Line]) -> str:
    """A column for each size of vault."""
    return grid(lines, "call", "with")


def measure_calls(calls: Calls) -> list[Line]:
    """The lines of all calls on one vault."""
    lines: list[Line] = []
    bare, peers = calls.bare(), calls.peers.calls()
    progress("  measuring")
    for name, call in calls.calls().items():
        contenders = [Contender(OURS, repeated(call))]
        if name in bare:
            contenders.append(Contender(BARE, repeated(bare[name])))
        for peer, (work, times) in peers.get(name, {}).items():
            contenders.append(Contender(peer, repeated(work), times=times))
        seconds = least(contenders)
        notes = {each.name: "" if each.times == 1 else "scaled" for each in contenders}
        limit = LIMITS.get(name)
        if OVER.get(name) in seconds:
            limit = seconds[OVER[name]] + SEARCH_OVER_ENGINE_S
        column = calls.size.name
        lines += [Line(name, who, time, note=notes[who], column=column) for who, time in seconds.items()]
        if limit is not None:
            lines.append(Line(name, LIMIT, limit, seconds[OURS] / limit, 1.0, column=column))
    return lines


def least(contenders: Sequence[Contender], rounds: int = 3) -> dict[str, float]:
    """The least time of each; they take turns, and each begins once before."""
    for each in contenders:
        each.run(0)
    times: dict[str, list[float]] = {each.name: [] for each in contenders}
    for number in range(rounds):
        for each in contenders:
            times[each.name].append(float(each.run(number)) * each.times)
    return {name: min(told) for name, told in times.items()}


@contextmanager
def opened(folder: Path, size: Size) -> Iterator[Calls]:
    """The calls on a vault that is made for them."""
    calls = Calls(folder, size)
    try:
        yield calls
    finally:
        calls.close()


def repeated(call: Callable[[], object], at_least_s: float = 0.01) -> Callable[[int], float]:
    """The least time of one call, out of as many as take some time: other work on the machine adds to a mean."""

    def run(_: int) -> float:
        least, start = float("inf"), perf_counter()
        while (now := perf_counter()) - start < at_least_s:
            call()
            least = min(least, perf_counter() - now)
        return least

    return run


def texts(rng: np.random.Generator, rows: int) -> list[str]:
    """Texts of forty words, as common as words are."""
    vocabulary = np.array([f"w{number}" for number in range(20_000)])
    chance = 1 / np.arange(1, len(vocabulary) + 1)
    return [" ".join(line) for line in rng.choice(vocabulary, (rows, 40), p=chance / chance.sum())]


def full_text_index(path: Path, lines: list[str]) -> sqlite3.Connection:
    """The same texts in a bare FTS5 table."""
    db = sqlite3.connect(path)
    db.execute(
        "CREATE VIRTUAL TABLE t USING fts5(text, content='', tokenize='porter unicode61 remove_diacritics 2')"
    )
    with db:
        db.executemany("INSERT INTO t (rowid, text) VALUES (?, ?)", enumerate(lines))
    return db


def profile(name: str, size: str = "small") -> str:
    """What the time of one call goes to."""
    with tempfile.TemporaryDirectory() as folder, opened(Path(folder), SIZES[size]) as calls:
        call = calls.calls()[name]
        call()
        profiler = cProfile.Profile()
        profiler.enable()
        for _ in range(20):
            call()
        profiler.disable()
        out = io.StringIO()
        pstats.Stats(profiler, stream=out).sort_stats("cumtime").print_stats(40)
    return out.getvalue()


if __name__ == "__main__":
    print(profile(*sys.argv[1:]))
