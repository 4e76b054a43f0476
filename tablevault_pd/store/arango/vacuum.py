"""Removing what no kept version of a vault on a server shows."""

from __future__ import annotations

import uuid
from collections import defaultdict
from itertools import chain, groupby
from operator import attrgetter, itemgetter
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from tablevault_pd.store import Freed
from tablevault_pd.store.arango.batches import SHAPE, own_totals, version_of
from tablevault_pd.store.arango.layout import BLOBS, ITEMS
from tablevault_pd.store.arango.names import FORGET_REMOVED, NAMED_OF
from tablevault_pd.store.arango.stage import remove_items
from tablevault_pd.store.arango.strays import NOW, REMOVE_UPLOADS, batch_pages, is_old, stray_items, sweep
from tablevault_pd.store.engine.vacuuming import StoredParts, vacuum_plan

if TYPE_CHECKING:
    from collections.abc import Container, Iterator

    from tablevault_pd.store import Progress
    from tablevault_pd.store.arango.parts import VaultParts

# All statements: 3.12; nothing in them is newer than 3.8.
SHAPES_OF = f"FOR b IN tv_batches FILTER b.list == @list SORT b.version RETURN {SHAPE}"
ALL_NAMED = "FOR n IN tv_version_names FILTER n.list > 0 RETURN DISTINCT [n.list, n.version]"
# Content that no cell of a file column names, and that nobody has kept or found to be kept since @before.
UNUSED = """
LET used = (FOR p IN tv_payloads FILTER p.named == true FOR f IN p.files RETURN DISTINCT f)
FOR b IN tv_blobs
  FILTER b.n == -1 AND b._key NOT IN used AND (b.touched == null OR b.touched < @before)
  RETURN b
"""
REMOVE_WHOLE = """
FOR b IN tv_blobs
  FILTER b._key == @key AND b.upload == @upload AND (b.touched == null OR b.touched < @before)
  REMOVE b IN tv_blobs
  RETURN OLD
"""
LIST_STATE = "FOR l IN tv_lists FILTER l.id == @list RETURN [l._rev, l.touched]"
# Nothing where the list's document was written since it was looked at. What a list has lost: see batches.so_far.
MARK = """
LET lists = (
  FOR l IN tv_lists
    FILTER l.id == @list AND l._rev == @revision
    LET lost = (FOR n IN RANGE(0, LENGTH(@lost) - 1) RETURN l.lost[n] + @lost[n])
    UPDATE l WITH {touched: @token, lost} IN tv_lists
    RETURN 1
)
FOR b IN tv_batches
  FILTER LENGTH(lists) > 0 AND (b._key IN @gone OR b._key IN @emptied)
  UPDATE b WITH {gone: b.gone OR b._key IN @gone, emptied: b.emptied OR b._key IN @emptied,
    text_items: b._key IN @emptied ? null : b.text_items,
    text_changed: b._key IN @emptied ? DATE_NOW() : b.text_changed} IN tv_batches OPTIONS {waitForSync: true}
  RETURN true
"""


Document = dict[str, Any]


class _VacuumPlan(NamedTuple):
    """What a vacuum takes from one list."""

    freed: list[Freed]
    gone: list[str]  #: the keys of batches whose versions lose rows
    emptied: list[Document]  #: batches whose own rows go


def vacuum(
    vault: VaultParts, *, keep: int, deleted: bool, dry_run: bool, progress: Progress | None
) -> list[Freed]:
    """Remove the rows that no kept version shows, then strays."""
    freed = []
    named: dict[int, list[int]] = defaultdict(list)
    for list_id, version in vault.client.query(ALL_NAMED):
        named[list_id].append(version)
    every = chain.from_iterable(batch_pages(vault.client))
    for list_id, group in groupby(every, key=itemgetter("list")):
        batches = list(group)
        name = batches[-1]["name"]
        plan = _plan(vault, name, batches, named[list_id], keep, deleted)
        if plan.emptied and not dry_run:
            plan = _vacuum_list(vault, name, list_id, keep, deleted)
        freed += plan.freed
        if progress:
            progress(1)
    freed.sort(key=attrgetter("list"))
    if not dry_run:
        vault.client.query(FORGET_REMOVED)
    [now] = vault.client.query(NOW)
    for sha256, size in unused_files(vault, now, dry_run=dry_run):
        freed.append(Freed("kept file", None, (), 0, size, f"{BLOBS}/{sha256}"))
    for stray in stray_items(vault):
        if stray.old and not dry_run:
            sweep(vault, stray)
        if stray.old:
            freed.append(Freed("stray", None, (), stray.items, 0, stray.path))
    return freed


def unused_files(
    vault: VaultParts, now_ms: int, *, dry_run: bool, among: Container[str] | None = None
) -> Iterator[tuple[str, int]]:
    """Kept content that no remaining row names, as (SHA-256, bytes): old ones, or those `among` some. None is being kept now.

    The document of each goes first, then its chunks.
    """
    before = now_ms - vault.stray_age_s * 1000
    for whole in vault.client.query(UNUSED, before=before):
        key, upload = whole["_key"], whole["upload"]
        if key not in among if among is not None else not is_old(vault, upload, now_ms):
            continue
        if not dry_run:
            if not vault.client.query(REMOVE_WHOLE, key=key, upload=upload, before=before):
                continue
            vault.client.query(REMOVE_UPLOADS, uploads=[upload])
        yield key, whole["size_bytes"]


def _vacuum_list(vault: VaultParts, name: str, list_id: int, keep: int, deleted: bool) -> _VacuumPlan:
    """Mark first, unless the list is restored, named or erased from meanwhile: then plan anew. Remove items afterwards."""
    token, plan = uuid.uuid4().hex, _VacuumPlan([], [], [])

    def attempt() -> _VacuumPlan | None:
        nonlocal plan
        [(revision, touched)] = vault.client.query(LIST_STATE, list=list_id)
        if touched == token:  # an answer was lost
            return plan
        batches = vault.client.query(SHAPES_OF, list=list_id, batch_rows=1000)
        named = vault.client.query(NAMED_OF, list=list_id)
        plan = _plan(vault, name, batches, named, keep, deleted)
        marked = not plan.emptied or vault.client.query(
            MARK,
            list=list_id,
            revision=revision,
            token=token,
            gone=plan.gone,
            emptied=[batch["_key"] for batch in plan.emptied],
            lost=_held(plan.emptied),
            what=f"the list {name!r}",
        )
        return plan if marked else None

    plan = vault.client.until_made(attempt, f"the list {name!r}")
    keys = [batch["_key"] for batch in plan.emptied]
    for at in range(0, len(keys), 100):
        for collection in ITEMS:
            remove_items(vault.client, collection, keys[at : at + 100])
    return plan


def _plan(
    vault: VaultParts, name: str, batches: list[Document], named: list[int], keep: int, deleted: bool
) -> _VacuumPlan:
    """What to free of a list: the batches whose rows no kept version shows."""
    keys = {batch["version"]: batch["_key"] for batch in batches}
    versions = [version_of({**batch, "name": name}) for batch in batches]
    present = [version for version in versions if not version.gone]
    pieces = {version.version: one for version, one in zip(present, vault.rows.pieces(present), strict=True)}
    filled = [batch for batch in batches if batch["rows"] and not batch["emptied"]]
    filled.sort(key=itemgetter("generation", "start"))
    columns = ("generation", "start", "rows", "bytes")
    parts = StoredParts(*(np.array([batch[column] for batch in filled], np.int64) for column in columns))
    freed, gone, doomed = vacuum_plan(
        versions, named, parts, lambda some: [pieces[one.version] for one in some], keep=keep, deleted=deleted
    )
    return _VacuumPlan(freed, [keys[one.version] for one in gone], [filled[at] for at in doomed.tolist()])


def _held(batches: list[Document]) -> list[int]:
    """What some batches have that :func:`so_far` counts and a vacuum removes: all but edges."""
    return [sum(totals) for totals in zip(*map(own_totals, batches), strict=True)][:-1]
