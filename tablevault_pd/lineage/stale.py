"""Which rows are out of date: their parents have changed or vanished since, or the code that made them has."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from tablevault_pd import reading
from tablevault_pd.frames import index_fields
from tablevault_pd.lineage.edges import runs_of
from tablevault_pd.lineage.same import same_rows, shared_rows
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
    shared = shared_rows(*(runs_of(each.generation, each.total, bases) for each in (old, head)))
    fate = np.full(len(at), None, dtype=object)
    fate[(at < 0) & (not shared == old.total == head.total)] = "changed"
    moved = np.flatnonzero(at >= shared)  # the rows before are the very same ones
    if len(moved) and old.gone:
        fate[moved] = "unknown"
    elif len(moved):
        lost = moved[same_rows(store, old, head, at[moved], bases) < 0]
        fate[lost] = np.where(_still_there(store, old, head, at[lost]), "changed", "vanished")
    return list(fate)


def _still_there(store: Store, old: Version, head: Version, at: np.ndarray) -> np.ndarray:
    """Whether `head` has a row in the place of each of these: under the same label, or at the same position."""
    if len(at) and index_fields(store.schema(old.schema_id)):
        before, after = (reading.read(store, each, columns=[]).index for each in (old, head))
        named = None not in before.names and list(before.names) == list(after.names)
        if named and before.is_unique and after.is_unique:
            return np.asarray(after.get_indexer(before[at]) >= 0)
    return np.asarray(at < head.total)


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
