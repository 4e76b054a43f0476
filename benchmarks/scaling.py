"""Time of public calls against size: rows of a list, and versions of one. ``run.py scaling --write`` draws ``scaling.svg``.

What need not grow does not; what grows is named in README.md, with the reason. A time is the least of several, so that other
work on the machine adds little to it. ``--scale 0.01`` ends the lines earlier.
"""

from __future__ import annotations

import shutil
import time
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from appends import lengthen
from timing import Line, grid, progress

import tablevault_pd as tv

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

PICTURE = "scaling.svg"
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


#: By panel: sizes, how a vault of that size is filled, and its calls.
PANELS: dict[str, tuple[Sequence[int], Callable[..., None], Callable[..., Mapping[str, Any]]]] = {
    "versions": (VERSIONS, with_versions, calls_on_versions),
    "rows": (ROWS, with_rows, calls_on_rows),
}


def measure(folder: Path, scale: float) -> list[Line]:
    """The time of each call at each size."""
    lines: list[Line] = []
    for panel, (sizes, fill, calls) in PANELS.items():
        for size in [size for size in sizes if size <= sizes[-1] * scale]:
            progress(f"  {size:,} {panel}")
            place = folder / panel
            place.mkdir()
            with tv.connect(place / "vault", session="scaling", durability="fast") as vault:
                fill(vault, size)
                for name, call in calls(vault, size, place).items():
                    lines.append(Line(name, panel, least(call), column=f"{size:,}"))
            shutil.rmtree(place)
    return lines


def report(lines: Sequence[Line]) -> str:
    """A table for each panel, with a column for each size."""
    parts = [[line for line in lines if line.name == panel] for panel in PANELS]
    return "\n\n".join(grid(part, f"by {panel}") for panel, part in zip(PANELS, parts, strict=True))


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


def draw(lines: Sequence[Line], folder: Path) -> None:
    """Draw a line for each call, with its name at its end."""
    import matplotlib as mpl

    mpl.use("svg")
    from matplotlib import pyplot as plt

    mpl.rcParams.update({
        "svg.fonttype": "none", "svg.hashsalt": "tablevault_pd", "font.size": 9, "text.color": INK, "axes.labelcolor": INK,
        "axes.edgecolor": INK, "xtick.color": INK, "ytick.color": INK,
    })  # fmt: skip
    figure, axes = plt.subplots(1, len(PANELS), figsize=(13, 7), sharey=True, layout="constrained")
    for ax, panel in zip(axes, reversed(PANELS), strict=True):
        sizes = PANELS[panel][0]
        seconds: dict[str, list[float]] = {}
        for line in lines:
            if line.name == panel and line.seconds is not None:
                seconds.setdefault(line.work, []).append(line.seconds)
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
        ax.set(title=f"A list of so many {panel}", xlabel=panel, xlim=(sizes[0] * 0.8, sizes[-1] * 25))
        ax.grid(visible=True, color=INK, alpha=0.25, linewidth=0.5)
        ax.spines[["top", "right"]].set_visible(False)
    axes[0].set_yticks(
        [10**power for power in range(-5, 2)], ["10 µs", "100 µs", "1 ms", "10 ms", "100 ms", "1 s", "10 s"]
    )
    axes[0].minorticks_off()
    figure.savefig(folder / PICTURE, transparent=True, metadata={"Date": None})


def label_places(ends: Mapping[str, float], apart: float = 1.32) -> dict[str, float]:
    """Where each name stands: at the end of its line, or above the name below it."""
    places: dict[str, float] = {}
    low = 0.0
    for name, end in sorted(ends.items(), key=lambda pair: pair[1]):
        places[name] = low = max(end, low * apart)
    return places
