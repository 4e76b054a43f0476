"""Which rows are out of date: their parents have changed or vanished since, or the code that made them has."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from tablevault_pd import reading
from tablevault_pd.frames import index_fields
from tablevault_pd.lineage.compare import row_codes
from tablevault_pd.lineage.edges import Run, runs_of
from tablevault_pd.store import Store, Version

COLUMNS = ("list", "position", "reason", "parent_list", "parent_position", "parent_version", "newest_version")


def stale(store: Store, version: Version, parents: pd.DataFrame) -> pd.DataFrame:
    """The rows of `version` that are stale, given the walk to their parents."""
    parts = [_empty(), *_changed(store, parents), *_recoded(store, version)]
    found = pd.concat([part for part in parts if len(part)] or parts[:1], ignore_index=True)
    found["list"] = found["list"].fillna(version.list)
    return found.sort_values(["position", "reason"], kind="stable", ignore_index=True)


def _empty() -> pd.DataFrame:
    return pd.DataFrame({name: pd.Series(dtype="str" if name in _TEXT else "Int64") for name in COLUMNS})


_TEXT = {"list", "reason", "parent_list"}


def _changed(store: Store, parents: pd.DataFrame) -> list[pd.DataFrame]:
    found = []
    keys: Any  # (list, version)
    for keys, group in parents.groupby(["parent_list", "parent_version"], sort=False):
        head, old = store.head(keys[0]), store.version(keys[0], int(keys[1]))
        if head is None or old is None or head.version == old.version:
            continue
        reasons = _reasons(store, old, head, group["parent_position"])
        part = group.assign(
            reason=pd.Series(reasons, index=group.index),
            newest_version=pd.array([head.version] * len(group), dtype="Int64"),
        )
        found.append(part.loc[[each is not None for each in reasons], list(COLUMNS)])
    return found


def _reasons(store: Store, old: Version, head: Version, positions: pd.Series) -> list[str | None]:
    """What has become of each of these rows of `old`; None if it is in `head` as it was."""
    at = positions.to_numpy(dtype=np.int64, na_value=-1)
    if head.deleted:
        return ["vanished"] * len(at)
    bases = store.facts([old.list_id]).lists[old.list_id].bases
    shared = _shared(runs_of(old.generation, old.total, bases), runs_of(head.generation, head.total, bases))
    same_content = shared == old.total == head.total
    fate = np.full(len(at), None, dtype=object)
    moved = at >= shared  # the rows before are the very same ones
    fate[(at < 0) & (not same_content)] = "changed"
    if moved.any():
        fate[moved] = "unknown" if old.gone else _compared(store, old, head, at[moved])
    return list(fate)


def _shared(old: list[Run], new: list[Run]) -> int:
    """How many positions from the first one on are the same stored rows in both."""
    shared = 0
    for (generation, low, high), (other, start, end) in zip(old, new, strict=False):
        if (generation, low) != (other, start):
            break
        shared = min(high, end)
        if high != end:
            break
    return shared


def _compared(store: Store, old: Version, head: Version, at: np.ndarray) -> np.ndarray:
    before, after = reading.read(store, old), reading.read(store, head)
    if set(before.columns) - set(after.columns):
        return np.full(len(at), "changed", dtype=object)
    old_codes, new_codes = row_codes(before, after[list(before.columns)])
    fate = np.full(len(at), None, dtype=object)
    if _keyed(store, old, before, after):
        place = after.index.get_indexer(before.index[at])
        fate[place < 0] = "vanished"
        fate[(place >= 0) & (new_codes[place] != old_codes[at] if len(new_codes) else place >= 0)] = "changed"
        return fate
    lost = ~np.isin(old_codes[at], new_codes)
    fate[lost] = np.where(at[lost] < head.total, "changed", "vanished")
    return fate


def _keyed(store: Store, old: Version, before: pd.DataFrame, after: pd.DataFrame) -> bool:
    """Whether rows can be followed by the label of an index of their own."""
    own = index_fields(store.schema(old.schema_id))
    named = None not in before.index.names and list(before.index.names) == list(after.index.names)
    return bool(own) and named and before.index.is_unique and after.index.is_unique


# -- code


def _recoded(store: Store, version: Version) -> list[pd.DataFrame]:
    """Rows whose cell reads otherwise in the latest run of the session that wrote them."""
    found = []
    changed: dict[tuple[int, int], bool] = {}
    runs = runs_of(
        version.generation, version.total, store.facts([version.list_id]).lists[version.list_id].bases
    )
    writers = store.writers([(version.list_id, *run) for run in runs])
    for (_, low, high), by in zip(runs, writers, strict=True):
        for start, rows, session, cell in zip(by.start, by.rows, by.session_id, by.cell, strict=True):
            key = (int(session), int(cell))
            if key not in changed:
                changed[key] = key[0] >= 0 and key[1] >= 0 and _code_changed(store, *key)
            if changed[key]:
                positions = np.arange(max(start, low), min(start + rows, high))
                part = pd.DataFrame({"position": pd.array(positions, dtype="Int64"), "reason": "code"})
                found.append(part.reindex(columns=list(COLUMNS)).astype(_empty().dtypes.to_dict()))
    return found


def _code_changed(store: Store, session_id: int, cell: int) -> bool:
    (session,) = store.sessions([session_id])
    latest = store.sessions(name=session.name)[-1]
    if latest.id == session.id:
        return False
    texts = {each.cell: each.text for each in store.cells([session_id])}
    now = {each.cell: each.text for each in store.cells([latest.id])}
    return cell in now and texts.get(cell) not in now.values()
