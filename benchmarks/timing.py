"""How the benchmarks measure: contenders take turns in one run, so that a busy moment of the machine hits them all."""

from __future__ import annotations

import gc
import json
import os
import platform
import subprocess
import sys
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from random import Random
from statistics import median
from time import perf_counter, sleep
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

ROOT = Path(__file__).resolve().parents[1]
OURS = "tablevault_pd"
BEGAN = perf_counter()
PACKAGES = ("numpy", "pandas", "pyarrow", "lancedb", "mlflow", "polars", "duckdb", "faiss-cpu")


def progress(text: str) -> None:
    """Say on stderr what is being done, and how long the process has run."""
    print(f"{perf_counter() - BEGAN:7.1f} s  {text}", file=sys.stderr, flush=True)


def wait_until_indexed(vault: Any) -> None:
    """Wait until the index of texts has all rows."""
    while not vault.indexes().query("kind == 'text' and state != 'complete'").empty:
        vault.search("word", k=1)  # has them indexed
        sleep(0.5)


@dataclass(frozen=True)
class Contender:
    """One way to do the work. `run` gets the number of the round, and may return its own time, a float, in seconds."""

    name: str
    run: Callable[[int], object]
    rounds: int | None = None  #: fewer than the others, if it is slow
    times: float = 1.0  #: it does only 1/`times` of the work; its time is scaled up
    note: str = ""
    prepare: Callable[[int], object] | None = None  #: not timed


@dataclass(frozen=True)
class Line:
    """One line of the table: a contender's median time, and the ratio ours / its."""

    work: str
    name: str
    seconds: float | None
    ratio: float | None = None
    target: float | None = None  #: the ratio that the design asks for, at most
    note: str = ""
    column: str = ""  #: of a grid: what it was measured on

    @property
    def verdict(self) -> str:
        if self.ratio is None or self.target is None:
            return ""
        return "ok" if self.ratio <= self.target else "MISSED"


def race(
    work: str,
    contenders: Sequence[Contender],
    *,
    rounds: int = 7,
    targets: Mapping[str, float] | None = None,
    ours: str = OURS,
) -> list[Line]:
    """Let the contenders take turns, and compare their medians with that of `ours`."""
    times: dict[str, list[float]] = {each.name: [] for each in contenders}
    for number in range(rounds):
        # Another order each time: a disk that gets slower under load must not always hit the same one.
        for each in Random(number).sample(list(contenders), len(contenders)):
            if number < (each.rounds or rounds):
                times[each.name].append(_once(each, number) * each.times)
    return compare(
        work, {each.name: median(times[each.name]) for each in contenders}, targets, ours, contenders
    )


def compare(
    work: str,
    medians: Mapping[str, float],
    targets: Mapping[str, float] | None = None,
    ours: str = OURS,
    contenders: Sequence[Contender] = (),
) -> list[Line]:
    notes = {each.name: each.note for each in contenders}
    lines = []
    for name, seconds in medians.items():
        ratio = None if name == ours else medians[ours] / seconds
        lines.append(Line(work, name, seconds, ratio, (targets or {}).get(name), notes.get(name, "")))
    return lines


def _once(contender: Contender, number: int) -> float:
    if contender.prepare is not None:
        contender.prepare(number)
    gc.collect()
    if hasattr(os, "sync"):
        os.sync()  # what the one before left to be written is not this one's to wait for
    start = perf_counter()
    told = contender.run(number)
    took = perf_counter() - start
    return told if isinstance(told, float) else took


def skipped(work: str, name: str, why: str) -> Line:
    return Line(work, name, None, note=f"skipped: {why}")


def start_child(code: str, *arguments: str) -> subprocess.Popen[str]:
    """Begin to run Python code in a fresh process that finds the package and these modules."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "benchmarks")])}
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def answer_of(process: subprocess.Popen[str]) -> Any:
    """What such a process prints as its last line, as JSON."""
    out, errors = process.communicate()
    if process.returncode:
        raise RuntimeError(errors)
    return json.loads(out.strip().splitlines()[-1])


def child(code: str, *arguments: str) -> float:
    """Run Python code in a fresh process; it prints a time in seconds as its last line."""
    return float(answer_of(start_child(code, *arguments)))


def missing(package: str) -> str | None:
    """Why a peer cannot take part; None if it can."""
    try:
        __import__(package)
    except ImportError as error:
        return str(error)
    return None


def table(lines: Sequence[Line]) -> str:
    """The lines in Markdown."""
    rows = [("work", "with", "median", "ours / this", "target", "", "")]
    before = None
    for line in lines:
        seconds = "" if line.seconds is None else shown(line.seconds)
        ratio = "" if line.ratio is None else f"{line.ratio:.{2 if line.ratio >= 0.1 else 4}f}"
        target = "" if line.target is None else f"≤ {line.target:.2f}"
        work = line.work if line.work != before else ""
        rows.append((work, line.name, seconds, ratio, target, line.verdict, line.note))
        before = line.work
    return _markdown(rows)


def grid(lines: Sequence[Line], *heads: str) -> str:
    """The lines in Markdown, with a column of times for each `column` of theirs. `heads`: of work, and of names if they are shown."""
    columns = list(dict.fromkeys(line.column for line in lines))
    cells: dict[tuple[str, ...], dict[str, str]] = {}
    for line in lines:
        time = "" if line.seconds is None else shown(line.seconds)
        text = " ".join(filter(None, (time, line.verdict, line.note)))
        cells.setdefault((line.work, line.name)[: len(heads)], {})[line.column] = text
    rows: list[tuple[str, ...]] = [(*heads, *columns)]
    before = ""
    works = list(dict.fromkeys(work for work, *_ in cells))
    for (work, *names), texts in sorted(cells.items(), key=lambda item: works.index(item[0][0])):
        row = (work if work != before else "", *names, *(texts.get(column, "") for column in columns))
        rows.append(row)
        before = work
    return _markdown(rows)


def _markdown(rows: Sequence[tuple[str, ...]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    texts = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"
        for row in rows
    ]
    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    return "\n".join([texts[0], rule, *texts[1:]])


def shown(seconds: float) -> str:
    """A time with its unit."""
    if seconds >= 1:
        return f"{seconds:.2f} s"
    return f"{seconds * 1e3:.1f} ms" if seconds >= 1e-3 else f"{seconds * 1e6:.0f} µs"


def machine(folder: Path) -> str:
    """What the numbers were measured on."""
    versions = []
    for package in PACKAGES:
        try:
            versions.append(f"{package} {metadata.version(package)}")
        except metadata.PackageNotFoundError:
            continue
    return (
        f"{platform.system()} {platform.release().partition('-')[0]}, {platform.machine()}, {_cpu()} × {os.cpu_count()}, "
        f"{_memory_gb():.0f} GB, {_file_system(folder)}; Python {platform.python_version()}, {', '.join(versions)}"
    )


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")),
        platform.processor(),
    )


def _memory_gb() -> float:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9


def _file_system(folder: Path) -> str:
    try:
        mounts = [line.split()[:3] for line in Path("/proc/mounts").read_text().splitlines()]
    except OSError:
        return "unknown file system"
    place = str(folder.resolve())
    holding = [
        (len(point), kind)
        for _, point, kind in mounts
        if place == point or place.startswith(point.rstrip("/") + "/")
    ]
    return max(holding)[1] if holding else "unknown file system"
