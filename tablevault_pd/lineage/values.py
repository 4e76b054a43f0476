"""Join the values of relatives to a walk: read list by list, each in few runs of positions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from tablevault_pd import frames
from tablevault_pd.errors import InvalidInput
from tablevault_pd.lineage.edges import spans_of
from tablevault_pd.reading import read as reading
from tablevault_pd.store.edges import few_spans

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    from tablevault_pd.store import Store, Version


def joined_values(
    store: Store, frame: pd.DataFrame, side: str, columns: Sequence[Hashable] | None
) -> pd.DataFrame:
    """`frame` with the columns of its relatives joined on; missing where the data is gone or a whole list is meant.

    A column that a walk has itself gets the prefix ``parent_`` or ``child_``, and if that is taken, ``value_``.
    """
    usable = ~frame["gone"].to_numpy() & frame[f"{side}_position"].notna().to_numpy()
    parts, labels = [], set()
    versions = frame[[f"{side}_list", f"{side}_version"]][usable].drop_duplicates()
    for name, number in versions.itertuples(index=False):
        rows = np.flatnonzero(usable & (frame[f"{side}_list"] == name) & (frame[f"{side}_version"] == number))
        positions = frame[f"{side}_position"].to_numpy(dtype=np.int64, na_value=-1)[rows]
        readable = readable_version(store, name, int(number), positions)
        if readable is None:
            continue  # no single version left shows all of them
        version, positions = readable
        own = [column.label for column in frames.columns(store.schema(version.schema_id))]
        chosen = own if columns is None else [label for label in columns if label in own]
        labels.update(chosen)
        if chosen:
            parts.append(values_at(store, version, positions, chosen).set_axis(rows))
    unknown = [label for label in columns or () if label not in labels]
    if unknown and len(versions):
        raise InvalidInput(
            f"columns= names {unknown}, which none of the lists {sorted(set(versions.iloc[:, 0]))} has."
        )
    if not parts:
        return frame if columns is None else frame.assign(**{str(label): None for label in columns})
    values = (parts[0] if len(parts) == 1 else pd.concat(parts)).reindex(np.arange(len(frame)))
    values = values if columns is None else values[list(columns)]
    taken: set[Hashable] = set(frame.columns)
    names: list[Any] = [_free(label, side, taken) for label in values.columns]
    values.columns = pd.Index(names)
    return pd.concat([frame, values], axis=1)


def _free(label: Hashable, side: str, taken: set[Hashable]) -> Hashable:
    for name in (label, f"{side}_{label}", f"value_{label}"):
        if name not in taken:
            taken.add(name)
            return name
    return label


def readable_version(
    store: Store, name: str, number: int, positions: np.ndarray
) -> tuple[Version, np.ndarray] | None:
    """A version that shows these rows, and where: the one asked for, or once that was vacuumed another that still does."""
    version = store.version(name, number)
    assert version is not None
    if not version.gone:
        return version, positions
    others = [other for other in store.versions(name) if not other.gone and not other.deleted]
    shown, *contents = store.pieces([version, *others])
    rows = shown.addresses(positions)
    for other, pieces in zip(reversed(others), reversed(contents), strict=True):
        there = pieces.positions(*rows)
        if (there >= 0).all():
            return other, there
    return None


def values_at(
    store: Store, version: Version, positions: np.ndarray, columns: Sequence[Hashable]
) -> pd.DataFrame:
    """These rows, in this order; what lies far from all of them is not read."""
    if version.erased:
        return reading.take(store, [(version, positions, columns)])[0]
    every = [column.label for column in frames.columns(store.schema(version.schema_id))]
    chosen = None if list(columns) == every else columns
    parts, rows = [], []
    for first, end in few_spans(spans_of(positions, gap=4096), 16):
        part = reading.read(store, version, columns=chosen, start=first, stop=min(end, version.total))
        here = np.unique(positions[(positions >= first) & (positions < end)])
        parts.append(part if len(here) == len(part) else part.iloc[here - first])
        rows.append(here)
    values = parts[0] if len(parts) == 1 else pd.concat(parts)
    order = np.searchsorted(np.concatenate(rows), positions)
    values = values if np.array_equal(order, np.arange(len(values))) else values.iloc[order]
    return values.set_axis(pd.RangeIndex(len(positions)), axis=0)
