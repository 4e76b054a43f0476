"""Removing what no kept version of a vault on a server shows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tablevault_pd.store import Freed
from tablevault_pd.store.arango.client import all_of
from tablevault_pd.store.arango.layout import BATCHES, BLOBS, ITEMS, LISTS, VERSION_NAMES
from tablevault_pd.store.arango.names import NAMED_OF
from tablevault_pd.store.arango.stage import remove_items
from tablevault_pd.store.arango.strays import NOW, REMOVE_UPLOADS, is_old, stray_items, sweep
from tablevault_pd.store.arango.versions import version_of
from tablevault_pd.store.engine.name_rules import kept_by_name

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tablevault_pd.store import Version
    from tablevault_pd.store.arango.parts import VaultParts

# All statements: 3.12; nothing in them is newer than 3.8.
SHAPES_OF = """
FOR b IN tv_batches FILTER b.list == @list SORT b.version RETURN UNSET(b, "parts", "pieces", "reads")
"""
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
TOUCH = "FOR l IN tv_lists FILTER l.id == @list UPDATE l WITH {touched: @token} IN tv_lists"
MARK = """
FOR b IN tv_batches FILTER b._key IN @gone OR b._key IN @emptied
  UPDATE b WITH {gone: b.gone OR b._key IN @gone, emptied: b.emptied OR b._key IN @emptied,
    text_items: b._key IN @emptied ? null : b.text_items,
    text_changed: b._key IN @emptied ? DATE_NOW() : b.text_changed} IN tv_batches
"""
# What a list has lost of what its versions count: see versions.so_far.
LOSE = """
FOR l IN tv_lists
  FILTER l.id == @list
  UPDATE l WITH {lost: (FOR n IN RANGE(0, LENGTH(@lost) - 1) RETURN l.lost[n] + @lost[n])} IN tv_lists
"""


def vacuum(vault: VaultParts, *, keep: int, deleted: bool, dry_run: bool) -> list[Freed]:
    """Remove the rows that no kept version shows, then strays."""
    freed = []
    for state in vault.versions.lists():
        head = state.head
        if dry_run:
            batches = vault.client.query(SHAPES_OF, list=head.list_id, batch_rows=1000)
            named = vault.client.query(NAMED_OF, list=head.list_id)
            freed += _plan(vault, head, batches, named, keep, deleted)[0]
        else:
            freed += _vacuum_list(vault, head, keep, deleted)
    [now] = vault.client.query(NOW)
    freed += _unused_files(vault, now, dry_run=dry_run)
    for stray in stray_items(vault):
        if stray.old and not dry_run:
            sweep(vault, stray)
        if stray.old:
            freed.append(Freed("stray", None, (), stray.items, 0, stray.path))
    return freed


def _unused_files(vault: VaultParts, now_ms: int, *, dry_run: bool) -> Iterator[Freed]:
    """Kept content that no remaining row names: its document goes first, then its chunks."""
    before = now_ms - vault.stray_age_s * 1000
    for whole in vault.client.query(UNUSED, before=before):
        if not is_old(vault, whole["upload"], now_ms):
            continue
        if not dry_run:
            if not vault.client.query(REMOVE_WHOLE, key=whole["_key"], upload=whole["upload"], before=before):
                continue
            vault.client.query(REMOVE_UPLOADS, uploads=[whole["upload"]])
        yield Freed("kept file", None, (), 0, whole["size_bytes"], f"{BLOBS}/{whole['_key']}")


def _vacuum_list(vault: VaultParts, head: Version, keep: int, deleted: bool) -> list[Freed]:
    """Mark first, in a transaction that excludes restores of this list; remove items afterwards."""

    def work(handle: Any) -> tuple[list[Freed], list[str]]:
        all_of(handle, TOUCH, {"list": head.list_id, "token": "vacuum"})
        batches = all_of(handle, SHAPES_OF, {"list": head.list_id}, 1000)
        named = all_of(handle, NAMED_OF, {"list": head.list_id})
        freed, gone, emptied = _plan(vault, head, batches, named, keep, deleted)
        if emptied:
            all_of(handle, MARK, {"gone": gone, "emptied": emptied})
            all_of(handle, LOSE, {"list": head.list_id, "lost": _held(batches, emptied)})
        return freed, emptied

    freed, emptied = vault.client.transact((LISTS, BATCHES, VERSION_NAMES), work)
    for at in range(0, len(emptied), 100):
        for collection in ITEMS:
            remove_items(vault.client, collection, emptied[at : at + 100])
    return freed


def _held(batches: list[dict[str, Any]], keys: list[str]) -> list[int]:
    """What some batches have that :func:`so_far` counts and a vacuum removes: bytes, batches with texts, texts, words."""
    some = [batch for batch in batches if batch["_key"] in keys]
    texts = [batch for batch in some if batch.get("text_items")]
    return [
        sum(batch["bytes"] for batch in some),
        len(texts),
        sum(batch["text_items"] for batch in texts),
        sum(batch["text_words"] for batch in texts),
    ]


def _plan(
    vault: VaultParts,
    head: Version,
    batches: list[dict[str, Any]],
    named: list[int],
    keep: int,
    deleted: bool,
) -> tuple[list[Freed], list[str], list[str]]:
    """What to free, the batches whose versions lose rows by it, and those whose own rows go."""
    whole = deleted and batches[-1]["operation"] == "delete"
    newest = [] if whole else [batch for batch in batches if batch["operation"] != "delete"][-keep:]
    spared = kept_by_name(head.list, named, [batch["version"] for batch in newest])
    retained = newest + [batch for batch in batches if batch["version"] in named]
    filled = [batch for batch in batches if batch["rows"] and not batch["emptied"]]
    needed = set().union(*_batches_shown(vault, [batch for batch in retained if not batch["gone"]], filled))
    doomed = [batch for at, batch in enumerate(filled) if at not in needed]
    if not doomed:
        return spared, [], []
    present = [batch for batch in batches if not batch["gone"]]
    losing = _batches_shown(vault, present, doomed)
    gone = [batch for batch, lost in zip(present, losing, strict=True) if lost]
    numbers = tuple(batch["version"] for batch in gone)
    rows, size = sum(batch["rows"] for batch in doomed), sum(batch["bytes"] for batch in doomed)
    freed = Freed("deleted list" if whole and not named else "rows", head.list, numbers, rows, size)
    return [freed, *spared], [batch["_key"] for batch in gone], [batch["_key"] for batch in doomed]


def _batches_shown(
    vault: VaultParts, shown: list[dict[str, Any]], batches: list[dict[str, Any]]
) -> Iterator[set[int]]:
    """For each version `shown` the numbers of those `batches` that it shows rows of."""
    ordered = sorted(range(len(batches)), key=lambda at: (batches[at]["generation"], batches[at]["start"]))
    generation, start, rows = (
        np.array([batches[at][name] for at in ordered], np.int64) for name in ("generation", "start", "rows")
    )
    for pieces in vault.rows.pieces([version_of(batch) for batch in shown]):
        yield {
            ordered[number] for number in np.unique(pieces.runs(generation, start, start + rows)[0]).tolist()
        }
