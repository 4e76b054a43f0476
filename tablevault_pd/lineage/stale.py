"""Which rows are out of date: their parents have changed or vanished since, or the code that made them has."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from tablevault_pd.frames import index_fields
from tablevault_pd.lineage.report import RowsToTrace, lines
from tablevault_pd.lineage.same import same_rows, shared_rows
from tablevault_pd.reading import read as reading
from tablevault_pd.store.runs import runs_of

if TYPE_CHECKING:
    from tablevault_pd.store import Store, Version

COLUMNS = (
    "list", "position", "reason", "parent_list", "parent_position", "parent_version", "newest_version", "depth"
)  # fmt: skip


def stale(store: Store, version: Version) -> pd.DataFrame:
    """The rows of `version` that are stale."""
    parts = [_empty(), *_changed(store, version), *_recoded(store, version)]
    found = pd.concat([part for part in parts if len(part)] or parts[:1], ignore_index=True)
    found["list"] = found["list"].fillna(version.list)
    return found.sort_values(["position", "depth", "reason"], kind="stable", ignore_index=True)


def _empty() -> pd.DataFrame:
    return pd.DataFrame({name: pd.Series(dtype="str" if name in _TEXT else "Int64") for name in COLUMNS})


_TEXT = {"list", "reason", "parent_list"}


def _changed(store: Store, version: Version) -> list[pd.DataFrame]:
    """Ancestors that changed or are gone, level by level. Each parent that did not is followed as it is in the newest version.

    So a row made from a result that was made anew, and came out the same, is up to date.
    """
    found: list[pd.DataFrame] = []
    at = np.arange(version.total)
    rows = pd.DataFrame({"root": at, "list": version.list, "version": version.version, "position": at})
    seen = rows
    for depth in count(1):
        parents = _parents(store, rows)
        if parents.empty:
            return found
        judged = [_judged(store, key, group) for key, group in parents.groupby(_PARENT, sort=False)]
        steps = pd.concat(judged, ignore_index=True).assign(depth=depth)
        bad = steps[steps["reason"].notna()]
        found.append(
            bad.assign(
                list=version.list, position=bad["root"], parent_position=_missing(bad["parent_position"])
            )[list(COLUMNS)].astype(_empty().dtypes.to_dict())
        )
        on = steps.loc[steps["reason"].isna(), ["root", "parent_list", "newest_version", "now"]]
        on = on.set_axis(rows.columns, axis=1).drop_duplicates()
        known = on.merge(seen, how="left", indicator=True)["_merge"].to_numpy() == "both"
        rows = on[~known]
        seen = pd.concat([seen, rows], ignore_index=True)
    raise AssertionError


_PARENT = ["parent_list", "parent_version", "own"]


def _missing(positions: pd.Series) -> pd.Series:
    return positions.astype("Int64").mask(positions < 0)


def _parents(store: Store, rows: pd.DataFrame) -> pd.DataFrame:
    """One line per row of `rows` and direct parent, -1 for the position of a whole list."""
    parts = []
    key: Any  # (list, version)
    for key, group in rows.groupby(["list", "version"], sort=False):
        name, number = key
        version = store.version(name, int(number))
        assert version is not None
        at = np.unique(group["position"])
        size = len(at)
        asked = RowsToTrace(np.full(size, version.list_id), np.full(size, version.version), at, (version,))
        steps = lines(store, asked, depth=1)[["position", "parent_list", "parent_position", "parent_version"]]
        places = {
            column: steps[column].fillna(-1).astype(np.int64) for column in ("position", "parent_position")
        }
        steps = steps.assign(**places, own=(steps["parent_list"] == name).astype(bool))
        parts.append(group[["root", "position"]].merge(steps, on="position"))
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=_PARENT)


def _judged(store: Store, key: Any, group: pd.DataFrame) -> pd.DataFrame:
    """What became of parents in one version: `reason`, the newest version, and `now`, where they are in it."""
    name, number, own = key
    head, old = store.head(name), store.version(name, int(number))
    assert head is not None
    assert old is not None
    at = group["parent_position"].to_numpy(np.int64)
    if (
        own or head.version == old.version
    ):  # a list made from its own rows is not out of date because of itself
        return group.assign(reason=None, newest_version=old.version, now=at)
    reasons, now = _fate(store, old, head, at)
    return group.assign(
        reason=pd.Series(reasons, group.index, dtype=object), newest_version=head.version, now=now
    )


def _fate(store: Store, old: Version, head: Version, at: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(reason, position in `head`) of each of these rows of `old`; no reason if it is in `head` as it was."""
    if head.deleted:
        return np.full(len(at), "vanished", dtype=object), at
    bases = store.describe_lists([old.list_id]).lists[old.list_id].bases
    shared = shared_rows(*(runs_of(each.generation, each.total, bases) for each in (old, head)))
    fate, now = np.full(len(at), None, dtype=object), at.copy()
    fate[(at < 0) & (not shared == old.total == head.total)] = "changed"
    moved = np.flatnonzero(at >= shared)  # the rows before are the very same ones
    if len(moved) and old.gone:
        fate[moved] = "unknown"
    elif len(moved):
        now[moved] = same_rows(store, old, head, at[moved], bases)
        lost = moved[now[moved] < 0]
        fate[lost] = np.where(_still_there(store, old, head, at[lost]), "changed", "vanished")
    return fate, now


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
        version.generation,
        version.total,
        store.describe_lists([version.list_id]).lists[version.list_id].bases,
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
