"""Lists larger than memory: what a process needs of it to save them in parts, to search their vectors, to read one column.

At scale 1 there are ten million vectors of 384 numbers, 15 GB, so the topic runs only when it is named. Each piece of work
has a process of its own, whose *anonymous* memory is looked at a hundred times a second: pages of files that are mapped
belong to the system, which drops them when it needs room (Linux counts both in ``/proc``).
"""

from __future__ import annotations

import shutil
from pathlib import Path
from time import sleep
from typing import TYPE_CHECKING, Any

from timing import Line, answer_of, progress, shown, start_child

if TYPE_CHECKING:
    import subprocess

ALONE = True
ROWS, WIDTH = 10_000_000, 384
COLUMNS = 40
CHUNK = 100_000
MOST_BYTES = 1e9
POLL_S = 0.01
BEGIN = """
import json, sys
from time import perf_counter, sleep
import numpy as np, pandas as pd
import tablevault_pd as tv
from search import index_of, sentence_vectors
place, rows = sys.argv[1], int(sys.argv[2])
vault = tv.connect(place, session=False, capture="none")
def timed(work):
    start = perf_counter()
    result = work()
    return perf_counter() - start, result
def search(number, **options):
    near = sentence_vectors(1, seed=10**9 + number)[0]
    return vault.search(near=near, lists="vectors", k=10, **options)
"""
SAVE = """
took = 0.0
for at in range(0, rows, CHUNK):
    matrix = np.empty((min(CHUNK, rows - at), WIDTH), np.float32)
    for row in range(0, len(matrix), 10_000):
        matrix[row : row + 10_000] = sentence_vectors(len(matrix[row : row + 10_000]), seed=at + row)
    frame = pd.DataFrame({"vec": list(matrix)})
    took += timed(lambda: vault.append("vectors", frame))[0]
print(json.dumps({"save, in appends": took}))
"""
EXACT = """
print(json.dumps({
    "exact search, the first of a process": timed(lambda: search(0))[0],
    "exact search, the next": min(timed(lambda: search(number))[0] for number in (1, 2)),
}))
"""
APPROXIMATE = """
start = perf_counter()
search(0, approx=True)
index_of(vault)
built = perf_counter() - start
times, shared = [], 0
for number in range(RECALL_OF):
    took, hits = timed(lambda: search(number, approx=True))
    times.append(took)
    shared += len(set(hits.index) & set(search(number).index))
print(json.dumps({
    "approximate index, built": built, "approximate search, then": min(times), "recall": shared / 10 / RECALL_OF,
}))
"""
KEPT = """
print(json.dumps({
    "approximate search, the first of a process": timed(lambda: search(0, approx=True))[0],
    "approximate search, the next": min(timed(lambda: search(number, approx=True))[0] for number in range(1, 10)),
}))
"""
WIDE = """
took = 0.0
for at in range(0, rows, CHUNK):
    count = min(CHUNK, rows - at)
    frame = pd.DataFrame({f"c{number}": np.arange(at, at + count) + number / 2 for number in range(COLUMNS)})
    took += timed(lambda: vault.append("wide", frame))[0]
print(json.dumps({f"save, in appends, {COLUMNS} columns": took}))
"""
COLUMN = """
took, column = timed(lambda: vault.read("wide", columns=["c7"]))
again, _ = timed(lambda: vault.read("wide", columns=["c7"]))
assert len(column) == rows and column["c7"].iloc[-1] == rows - 1 + 3.5
print(json.dumps({"read one column, the first of a process": took, "read one column, again": again}))
"""


def measure(folder: Path, scale: float) -> list[Line]:
    rows = max(int(ROWS * scale), CHUNK)
    need = rows * WIDTH * 4
    if shutil.disk_usage(folder).free < 2 * need:
        raise OSError(
            f"The vectors take {need / 1e9:.0f} GB in {folder}, which has less than twice as much room."
        )
    lines: list[Line] = []
    vectors = f"{rows:,} x {WIDTH}, {need / 1e9:.1f} GB"
    wide = f"{rows:,} x {COLUMNS} numbers, {rows * COLUMNS * 8 / 1e9:.1f} GB"
    work = {
        "SAVE": vectors,
        "EXACT": vectors,
        "APPROXIMATE": vectors,
        "KEPT": vectors,
        "WIDE": wide,
        "COLUMN": wide,
    }
    for name, what in work.items():
        progress(f"  {name.lower()}")
        if name == "WIDE":
            shutil.rmtree(folder / "vault")
        code = BEGIN + constants() + globals()[name]
        made = lines_of(what, *watched(code, str(folder / "vault"), str(rows)))
        for line in made:  # they took minutes: nothing is lost if a later one fails
            progress(
                f"    {line.name}{'' if line.seconds is None else f': {shown(line.seconds)}'}  {line.note}"
            )
        lines += made
    return lines


def constants() -> str:
    """The numbers that the code of the processes names."""
    return f"CHUNK, WIDTH, COLUMNS, RECALL_OF = {CHUNK}, {WIDTH}, {COLUMNS}, 3\n"


def lines_of(what: str, answer: dict[str, float], anonymous: int, mapped: int) -> list[Line]:
    """The times of one process, and its memory beside the limit."""
    note = f"recall@10 {answer.pop('recall'):.2f}" if "recall" in answer else ""
    lines = [Line(what, name, seconds, note=note) for name, seconds in answer.items()]
    memory = f"its memory: {anonymous / 1e6:,.0f} MB"
    pages = f"of 1 GB; pages of files: {mapped / 1e6:,.0f} MB"
    return [*lines, Line(what, memory, None, anonymous / MOST_BYTES, 1.0, pages)]


def watched(code: str, *arguments: str) -> tuple[Any, int, int]:
    """What a process prints, and the most anonymous memory and pages of files that it had."""
    process, most = start_child(code, *arguments), [0, 0]
    while process.poll() is None:
        most = [max(pair) for pair in zip(most, resident(process), strict=True)]
        sleep(POLL_S)
    return answer_of(process), *most


def resident(process: subprocess.Popen[str]) -> list[int]:
    """Bytes of anonymous memory, and of pages of files; 0 where the process has ended, and where the system does not tell."""
    try:
        lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    except OSError:
        return [0, 0]
    values = {line.split(":")[0]: line.split()[1] for line in lines if line.startswith("Rss")}
    return [int(values.get(name, 0)) * 1024 for name in ("RssAnon", "RssFile")]
