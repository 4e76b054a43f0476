"""Items and uploads of commits that never came, in a vault on a server."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from tablevault_pd.store import Problem
from tablevault_pd.store.arango.layout import BLOBS, DESCRIPTIONS, EDGES, ITEMS
from tablevault_pd.store.arango.stage import REMOVE_ITEMS, staged_ms

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tablevault_pd.store.arango.parts import VaultParts

# All statements: 3.12; nothing in them is newer than 3.8.
# The index tells it alone: payloads are large.
COUNTS = "FOR i IN @@items FILTER i.batch >= '' COLLECT batch = i.batch WITH COUNT INTO n RETURN [batch, n]"
DESCRIBED = "FOR d IN tv_descriptions FILTER d.batch != null RETURN DISTINCT d.batch"
MIRRORED = "FOR e IN tv_edges FILTER e.batch != null RETURN DISTINCT e.batch"
UPLOADS = "FOR b IN tv_blobs COLLECT upload = b.upload WITH COUNT INTO n RETURN [upload, n]"
KEPT = "FOR b IN tv_blobs FILTER b.n == -1 RETURN b"
COMMITTED = "FOR b IN tv_batches FILTER b._key IN @keys AND b.list > 0 AND b.emptied == false RETURN b._key"
EMPTIED = "FOR b IN tv_batches FILTER b.emptied == true RETURN b._key"
# A tombstone has the key of the batch that never came, and a place in no list.
BURY = """
FOR key IN @keys
  INSERT {_key: key, list: 0, version: key, token: key, swept: true, time: DATE_NOW() * 1000} INTO tv_batches
    OPTIONS {overwriteMode: "ignore"}
"""
REMOVE_UPLOADS = "FOR b IN tv_blobs FILTER b.upload IN @uploads REMOVE b IN tv_blobs"
REMOVE_DESCRIPTIONS = "FOR d IN tv_descriptions FILTER d.batch IN @batches REMOVE d IN tv_descriptions"
NOW = "RETURN DATE_NOW()"
_LASTING = {DESCRIPTIONS, EDGES}


def counts_by_batch(vault: VaultParts) -> dict[str, dict[str, int]]:
    """How many items of each batch each collection holds."""
    return {name: dict(vault.client.query(COUNTS, binds={"@items": name})) for name in ITEMS}


def strays(vault: VaultParts, *, fix: bool) -> Iterator[Problem]:
    """Yield what is in no commit; with `fix`, what is old enough is removed."""
    [now] = vault.client.query(NOW)
    for key, places, _, old in stray_items(vault, now):
        if fix and old:
            sweep(vault, key, places)
        waits = (
            f"may belong to a save that is still running; removed once it is {vault.stray_age_s:.0f} s old"
        )
        yield Problem(
            "stray",
            "items of no commit",
            path=f"{places[0]}/{key}",
            detail="check(fix=True) removes it" if old else waits,
            fixed=fix and old,
        )


def stray_items(vault: VaultParts, now_ms: int) -> Iterator[tuple[str, list[str], int, bool]]:
    """Batches and uploads that are in no commit: key, collections, items, and whether they are old enough to go."""
    holders: dict[str, list[str]] = defaultdict(list)
    items: dict[str, int] = defaultdict(int)
    for collection, counts in counts_by_batch(vault).items():
        for batch, count in counts.items():
            holders[batch].append(collection)
            items[batch] += count
    for collection, statement in ((DESCRIPTIONS, DESCRIBED), (EDGES, MIRRORED)):
        for batch in vault.client.query(statement):
            holders[batch].append(collection)
    lasting = {batch for batch, places in holders.items() if _LASTING.issuperset(places)}
    committed = set(vault.client.query(COMMITTED, keys=sorted(holders)))
    # A vacuumed batch keeps its descriptions and edges, as it keeps its place in the history.
    buried = set(vault.client.query(EMPTIED))
    for batch in sorted(holders):
        if batch not in committed and not (batch in lasting and batch in buried):
            places = [place for place in holders[batch] if place not in _LASTING or batch not in buried]
            yield batch, places, items[batch], is_old(vault, batch, now_ms) or batch in buried
    named_uploads = {whole["upload"] for whole in vault.client.query(KEPT)}
    for upload, count in vault.client.query(UPLOADS):
        if upload not in named_uploads:
            yield upload, [BLOBS], count, is_old(vault, upload, now_ms)


def is_old(vault: VaultParts, key: str, now_ms: int) -> bool:
    """Whether what was staged under this key is too old to be committed still."""
    try:
        return now_ms - staged_ms(key) >= vault.stray_age_s * 1000
    except (ValueError, TypeError):
        return True  # not a key of ours


def sweep(vault: VaultParts, key: str, places: list[str]) -> None:
    """Remove what is stray. A writer that is alive after all finds a tombstone, and fails instead of losing rows."""
    if places == [BLOBS]:
        vault.client.query(REMOVE_UPLOADS, uploads=[key])
        return
    vault.client.query(BURY, keys=[key])
    if vault.client.query(COMMITTED, keys=[key]):
        return  # it was committed in this very moment
    for place in places:
        if place == DESCRIPTIONS:
            vault.client.query(REMOVE_DESCRIPTIONS, batches=[key])
        else:
            vault.client.query(REMOVE_ITEMS, binds={"@items": place}, batches=[key])
