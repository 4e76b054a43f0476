"""``Trend.changes``: the versions that left the noise."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from tablevault_pd.analysis.measuring import Measuring
from tablevault_pd.analysis.statistics import DRAWS, holm
from tablevault_pd.code import code_diff, slice_of_rows
from tablevault_pd.reading import read as reading
from tablevault_pd.reading.reports import typed

if TYPE_CHECKING:
    from tablevault_pd.analysis.measuring import About
    from tablevault_pd.store import Store, Version

CHANCE = 0.05  #: a change whose corrected p-value is below this is none of chance
COLUMNS = (
    "list", "version", "previous", "time", "session", "measure", "slice", "value", "delta", "lo", "hi", "p_holm", "code_diff",
)  # fmt: skip


def changes(frame: pd.DataFrame, about: About) -> pd.DataFrame:
    """Compare each version with the one before it in the frame."""
    about.flush()
    measures = {measure.name: measure for measure in about.options.measures}
    usable = pd.DataFrame(frame[frame["value"].notna()]).sort_values("version", kind="stable")
    usable = usable.drop_duplicates(["list", "version", "measure", "slice"])  # equal rows are no step
    keys = {(str(name), int(number)) for name, number in zip(usable["list"], usable["version"], strict=True)}
    versions = _versions(about.store, keys)
    measuring = Measuring(about.store, list(versions.values()), about.options)
    groups = usable.groupby(["list", "measure", "slice"], sort=False)
    steps: list[tuple[Any, Any]] = [pair for _, rows in groups for pair in pairwise(rows.to_dict("records"))]
    draws = max(DRAWS, 40 * len(steps))  # a p-value has to be able to stay below the corrected limit
    lines_found: list[dict[str, Any]] = []
    with measuring.drawing("comparing versions", len(steps)):
        for before, now in steps:
            old, new = (versions[step_line["list"], step_line["version"]] for step_line in (before, now))
            effect, _ = measuring.effect(old, new, measures[now["measure"]], now["slice"], draws=draws)
            step = {
                "previous": old.version,
                "delta": effect.delta,
                "lo": effect.lo,
                "hi": effect.hi,
                "p": effect.p,
            }
            lines_found.append({**now, **step})
    corrected = holm([line["p"] for line in lines_found])
    lines = [{**line, "p_holm": p} for line, p in zip(lines_found, corrected, strict=True) if p < CHANCE]
    for line in lines:
        old, new = (versions[line["list"], line[name]] for name in ("previous", "version"))
        line["code_diff"] = _code_diff(about.store, old, new)
    return _frame(lines)


def _versions(store: Store, keys: set[tuple[str, int]]) -> dict[tuple[str, int], Version]:
    places = sorted(keys)
    lookups = [reading.AddressLookup(name, number) for name, number in places]
    return dict(zip(places, reading.resolve_all(store, lookups), strict=True))


def _code_diff(store: Store, old: Version, new: Version) -> str:
    """The code of the rows that each commit wrote."""
    slices = [
        slice_of_rows(
            store,
            version,
            pieces.positions(version.generation, np.arange(version.start, version.start + version.rows)),
        )
        for version, pieces in zip((old, new), store.pieces([old, new]), strict=True)
    ]
    return code_diff(slices[0], slices[1], old.label, new.label)


def _frame(rows: list[dict[str, Any]]) -> pd.DataFrame:
    columns: dict[str, Any] = {}
    for name in COLUMNS:
        values = [row[name] for row in rows]
        if name in ("version", "previous"):
            columns[name] = pd.array(values, dtype="Int64")
        elif name in ("value", "delta", "lo", "hi", "p_holm"):
            columns[name] = np.array(values, np.float64)
        else:
            columns[name] = pd.Series(values, dtype=object) if name == "code_diff" else typed(name, values)
    return pd.DataFrame(columns)
