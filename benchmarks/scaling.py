"""Time of public calls against size: rows of a list, and versions of one. ``python benchmarks/scaling.py`` draws ``scaling.svg``.

What need not grow does not; what grows is named in README.md, with the reason. A time is the least of several, so that other
work on the machine adds little to it. ``--rows 1000000 --versions 1000`` ends the lines earlier.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

if __name__ == "__main__":
    sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1])]

import numpy as np
import pandas as pd
from appends import lengthen
from timing import machine

import tablevault_pd as tv

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

HERE = Path(__file__).resolve().parent
ROWS = [10**power for power in range(3, 8)]
VERSIONS = [10**power for power in range(1, 6)]
LEAST_S, MOST_S = 0.3, 3.0  # how long one call is repeated
#: Readable on white and on black, for those who see few colours, too: eight hues, each with two kinds of lines.
COLOURS = ("#4477aa", "#ee6677", "#228833", "#b8a010", "#4aa8c8", "#aa3377", "#e08030", "#888888")
INK = "#808080"


def calls_on_rows(vault: tv.Vault, rows: int, folder: Path) -> dict[str, Callable[[], object]]:
    """The calls on a list of so many rows; those that write come last."""
    middle = rows // 2
    frame = vault.read("list")
    child = vault.read("child")
    row = child.iloc[[len(child) // 2]]
    changed = frame.tail(1000).reset_index(drop=True)
    copy = backup(vault, folder)
    return {
        "read": lambda: vault.read("list"),
        "read one column": lambda: vault.read("list", columns=["a"]),
        "read 10 rows": lambda: vault.read("list", start=middle, stop=middle + 10),
        "read what a filter keeps": lambda: vault.read("list", filters=f"a == {middle}"),
        "search by value": lambda: vault.search(filters=f"a == {middle}", lists="list"),
        "parents() of one row": lambda: row.vault.parents(),
        "lists()": lambda: vault.lists(),
        "versions()": lambda: vault.versions("list"),
        "repr(vault)": lambda: repr(vault),
        "repr(list)": lambda: repr(vault["list"]),
        "connect() and close": lambda: reconnect(copy),
        "append one row": lambda: vault.append("list", {"a": 1, "b": 0.5, "c": 7}),
        "upsert 1,000 rows": lambda: vault.upsert(
            "keyed", changed.assign(b=np.random.default_rng().random(1000))
        ),
        "save": lambda: vault.save(
            "saved", frame.assign(b=np.random.default_rng().random(rows)), inputs=False
        ),
    }


def calls_on_versions(vault: tv.Vault, versions: int, folder: Path) -> dict[str, Callable[[], object]]:
    """The calls on a list of so many versions, each of which added one row; those that write come last."""
    row = vault.read("long", start=versions // 2, stop=versions // 2 + 1)
    copy = backup(vault, folder)
    return {
        "read": lambda: vault.read("long"),
        "read 10 rows": lambda: vault.read("long", start=max(versions - 10, 0)),
        "read an old version": lambda: vault.read("long", version=max(versions // 10, 1), start=0, stop=1),
        "read as of a time": lambda: vault.read("long", as_of=pd.Timestamp.now("UTC"), stop=1),
        "parents() of one row": lambda: row.vault.parents(),
        "lists()": lambda: vault.lists(),
        "versions()": lambda: vault.versions("long"),
        "sessions()": lambda: vault.sessions(),
        "repr(vault)": lambda: repr(vault),
        "repr(list)": lambda: repr(vault["long"]),
        "connect() and close": lambda: reconnect(copy),
        "with vault.session()": lambda: session(vault),
        "append one row": lambda: vault.append("long", {"step": 1, "loss": 0.5}),
        "append to another list": lambda: vault.append("other", {"step": 1, "loss": 0.5}),
        "save": lambda: vault.save("saved", {"n": time.monotonic()}),
    }


def session(vault: tv.Vault) -> None:
    """Begin and end a session."""
    with vault.session("measured"):
        pass


def backup(vault: tv.Vault, folder: Path) -> Path:
    """A vault of the same size that this process has not open."""
    vault.backup(folder / "copy")
    return folder / "copy"


def reconnect(place: Path) -> None:
    """Open a vault, with a session, and close it."""
    with tv.connect(place, durability="fast"):
        pass


def with_rows(vault: tv.Vault, rows: int) -> None:
    """Fill a vault with a list of so many rows, one with a key, and one whose rows came from the first."""
    frame = pd.DataFrame({"a": np.arange(rows), "b": np.random.default_rng(0).random(rows), "c": 7})
    vault.save("list", frame, inputs=False)
    vault.save("keyed", frame, key="a", inputs=False)
    vault.save("child", vault.read("list", stop=min(rows, 100_000)).query("a % 2 == 0"))


def with_versions(vault: tv.Vault, versions: int) -> None:
    """Fill a vault with a list of so many versions."""
    vault.append("long", {"step": 0, "loss": 0.5})
    vault.append("other", {"step": 0, "loss": 0.5})
    vault.store.catalog.write(lengthen, "long", versions)


def measured(
    sizes: Sequence[int],
    fill: Callable[[tv.Vault, int], None],
    calls: Callable[..., Mapping[str, Any]],
    folder: Path,
) -> dict[str, list[float]]:
    """Seconds of each call at each size."""
    seconds: dict[str, list[float]] = {}
    for size in sizes:
        place = folder / f"{size}"
        place.mkdir()
        with tv.connect(place / "vault", session="scaling", durability="fast") as vault:
            fill(vault, size)
            for name, call in calls(vault, size, place).items():
                seconds.setdefault(name, []).append(least(call))
                print(
                    f"{size:>10,}  {name:28} {seconds[name][-1] * 1e3:10.3f} ms", file=sys.stderr, flush=True
                )
        shutil.rmtree(place)
    return seconds


def least(call: Callable[[], object]) -> float:
    """The least time of a call, of at least three."""
    call()
    times: list[float] = []
    began = perf_counter()
    while len(times) < 3 or (perf_counter() - began < LEAST_S and len(times) < 200):
        start = perf_counter()
        call()
        times.append(perf_counter() - start)
        if perf_counter() - began > MOST_S:
            break
    return min(times)


def draw(panels: Sequence[tuple[str, Sequence[int], Mapping[str, Sequence[float]]]], path: Path) -> None:
    """Draw a line for each call, with its name at its end."""
    import matplotlib as mpl

    mpl.use("svg")
    from matplotlib import pyplot as plt

    mpl.rcParams.update({
        "svg.fonttype": "none", "svg.hashsalt": "tablevault_pd", "font.size": 9, "text.color": INK, "axes.labelcolor": INK,
        "axes.edgecolor": INK, "xtick.color": INK, "ytick.color": INK,
    })  # fmt: skip
    figure, axes = plt.subplots(1, len(panels), figsize=(13, 7), sharey=True, layout="constrained")
    for ax, (title, sizes, seconds) in zip(axes, panels, strict=True):
        for number, (name, times) in enumerate(seconds.items()):
            colour, style = COLOURS[number % len(COLOURS)], ("-", "--")[number // len(COLOURS) % 2]
            ax.loglog(
                sizes[: len(times)], times, style, color=colour, marker="o", markersize=3, linewidth=1.4
            )
            ax.plot([], [], style, color=colour, label=name)
        for name, place in label_places({name: times[-1] for name, times in seconds.items()}).items():
            number = list(seconds).index(name)
            at = (sizes[len(seconds[name]) - 1], place)
            ax.annotate(
                name,
                at,
                (5, 0),
                textcoords="offset points",
                va="center",
                color=COLOURS[number % len(COLOURS)],
            )
        ax.set(title=title, xlabel=title.rpartition(" ")[2], xlim=(sizes[0] * 0.8, sizes[-1] * 25))
        ax.grid(visible=True, color=INK, alpha=0.25, linewidth=0.5)
        ax.spines[["top", "right"]].set_visible(False)
    axes[0].set_yticks(
        [10**power for power in range(-5, 2)], ["10 µs", "100 µs", "1 ms", "10 ms", "100 ms", "1 s", "10 s"]
    )
    axes[0].minorticks_off()
    figure.savefig(path, transparent=True, metadata={"Date": None})


def label_places(ends: Mapping[str, float], apart: float = 1.32) -> dict[str, float]:
    """Where each name stands: at the end of its line, or above the name below it."""
    places: dict[str, float] = {}
    low = 0.0
    for name, end in sorted(ends.items(), key=lambda pair: pair[1]):
        places[name] = low = max(end, low * apart)
    return places


def table(sizes: Sequence[int], seconds: Mapping[str, Sequence[float]], head: str) -> str:
    """The same numbers in Markdown, in milliseconds."""
    lines = [[head, *(f"{size:,}" for size in sizes)], ["---", *("---:" for _ in sizes)]]
    lines += [[name, *(f"{value * 1e3:,.2f}" for value in times)] for name, times in seconds.items()]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=ROWS[-1], help="the largest list")
    parser.add_argument("--versions", type=int, default=VERSIONS[-1], help="the longest list")
    parser.add_argument("--folder", type=Path, help="where to work (default: the temporary folder)")
    arguments = parser.parse_args()
    sizes = [size for size in ROWS if size <= arguments.rows]
    counts = [count for count in VERSIONS if count <= arguments.versions]
    with tempfile.TemporaryDirectory(dir=arguments.folder) as temporary:
        folder = Path(temporary)
        print(machine(folder), end="\n\n")
        (folder / "rows").mkdir()
        (folder / "versions").mkdir()
        of_versions = measured(counts, with_versions, calls_on_versions, folder / "versions")
        of_rows = measured(sizes, with_rows, calls_on_rows, folder / "rows")
    print(table(sizes, of_rows, "ms, by rows"), end="\n\n")
    print(table(counts, of_versions, "ms, by versions"))
    panels = [("A list of so many rows", sizes, of_rows), ("A list of so many versions", counts, of_versions)]
    draw(panels, HERE / "scaling.svg")


if __name__ == "__main__":
    main()
