"""Items and uploads of commits that never came, in a vault on a server."""

from __future__ import annotations

from collections import defaultdict
from operator import itemgetter
from typing import TYPE_CHECKING, Any, NamedTuple

from tablevault_pd.store import Problem
from tablevault_pd.store.arango.batches import WHOLE_BATCH
from tablevault_pd.store.arango.layout import BLOBS, DESCRIPTIONS, DETAILS, EDGES, ITEMS
from tablevault_pd.store.arango.names import LIST_NAMES
from tablevault_pd.store.arango.stage import remove_items, staged_ms

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tablevault_pd.store.arango.client import Client
    from tablevault_pd.store.arango.parts import VaultParts

PAGE = 1000  # batches or files that are looked at together

# All statements: 3.12; nothing in them is newer than 3.8. They go by pages of keys: each is a range of an index, which tells
# it alone, since payloads are large.
COUNTS_AFTER = """
FOR i IN @@items
  FILTER i.batch > @after AND i.batch < []
  COLLECT batch = i.batch WITH COUNT INTO n
  SORT batch
  LIMIT @page
  RETURN [batch, n]
"""
BATCHES_AFTER = f"""
LET same = (
  FOR b IN tv_batches
    FILTER @list > 0 AND b.list == @list AND b.version > @version
    SORT b.version LIMIT @page
    RETURN b
)
LET others = (
  FOR b IN tv_batches
    FILTER b.list > @list AND b.list < ""
    SORT b.list, b.version LIMIT @page
    RETURN b
)
FOR b IN SLICE(APPEND(same, others), 0, @page)
  RETURN {WHOLE_BATCH}
"""
UPLOADS_AFTER = """
FOR b IN tv_blobs
  FILTER b.upload > @after
  COLLECT upload = b.upload WITH COUNT INTO n
  SORT upload
  LIMIT @page
  RETURN [upload, n]
"""
KEPT_AFTER = "FOR b IN tv_blobs FILTER b.n == -1 AND b.upload > @after SORT b.upload LIMIT @page RETURN b"
KEPT_UPLOADS = "FOR b IN tv_blobs FILTER b.n == -1 AND b.upload IN @uploads RETURN b.upload"
NOW = "RETURN DATE_NOW()"
COMMITTED = "FOR b IN tv_batches FILTER b._key IN @keys AND b.list > 0 RETURN [b._key, b.emptied]"
# A tombstone has the key of the batch that never came, and a place in no list.
BURY = """
FOR key IN @keys
  INSERT {_key: key, list: 0, version: key, token: key, swept: true, time: DATE_NOW() * 1000} INTO tv_batches
    OPTIONS {overwriteMode: "ignore"}
"""
REMOVE_UPLOADS = "FOR b IN tv_blobs FILTER b.upload IN @uploads REMOVE b IN tv_blobs"
#: Of these a vacuumed batch keeps its own, as it keeps its place in the history.
_LASTING = (DESCRIPTIONS, EDGES, DETAILS)


def pages(
    client: Client, statement: str, key: Callable[[Any], str], *, page: int = PAGE, items: str | None = None
) -> Iterator[list[Any]]:
    """The results of a statement that goes by pages, each after the `key` of the last result."""
    after, binds = "", {} if items is None else {"@items": items}
    while rows := client.query(statement, after=after, page=page, binds=binds):
        yield rows
        if len(rows) < page:
            return
        after = key(rows[-1])


def batch_pages(client: Client) -> Iterator[list[dict[str, Any]]]:
    """All batches by list and version, with the names of their lists."""
    names: dict[int, str] = {}
    place = {"list": 0, "version": 0}
    while page := client.query(BATCHES_AFTER, binds=place, page=PAGE):
        if (
            not {batch["list"] for batch in page} <= names.keys()
        ):  # also those of lists that were made meanwhile
            names = dict(client.query(LIST_NAMES))
        for batch in page:
            batch["name"] = names.get(batch["list"])
        yield page
        if len(page) < PAGE:
            return
        place = {"list": page[-1]["list"], "version": page[-1]["version"]}


def strays(vault: VaultParts, *, fix: bool) -> Iterator[Problem]:
    """Yield what is in no commit; with `fix`, what is old enough is removed."""
    for stray in stray_items(vault):
        if fix and stray.old:
            sweep(vault, stray)
        waits = (
            f"may belong to a save that is still running; removed once it is {vault.stray_age_s:.0f} s old"
        )
        yield Problem(
            "stray",
            "items of no commit",
            path=stray.path,
            detail="check(fix=True) removes it" if stray.old else waits,
            fixed=fix and stray.old,
        )


class Stray(NamedTuple):
    """What a commit or an upload that never came left behind."""

    key: str
    collections: list[str]
    items: int
    old: bool  #: old enough to go

    @property
    def path(self) -> str:
        """Where some of it is."""
        return f"{self.collections[0]}/{self.key}"


def stray_items(vault: VaultParts) -> Iterator[Stray]:
    """Batches and uploads that are in no commit."""
    [now] = vault.client.query(NOW)
    holders: dict[str, list[str]] = {}
    items: dict[str, int] = defaultdict(int)
    emptied: set[str] = set()
    for collection in (*ITEMS, *_LASTING):
        for rows in pages(vault.client, COUNTS_AFTER, itemgetter(0), items=collection):
            committed = dict(vault.client.query(COMMITTED, keys=[key for key, _ in rows]))
            for key, count in rows:
                gone = committed.get(key, True)
                if gone and not (key in committed and collection in _LASTING):
                    holders.setdefault(key, []).append(collection)
                    items[key] += count if collection in ITEMS else 0
                    emptied |= {key} & committed.keys()
    for key in sorted(holders):
        yield Stray(key, holders[key], items[key], key in emptied or is_old(vault, key, now))
    for rows in pages(vault.client, UPLOADS_AFTER, itemgetter(0)):
        named = set(vault.client.query(KEPT_UPLOADS, uploads=[upload for upload, _ in rows]))
        for upload, count in rows:
            if upload not in named:
                yield Stray(upload, [BLOBS], count, is_old(vault, upload, now))


def is_old(vault: VaultParts, key: str, now_ms: int) -> bool:
    """Whether what was staged under this key is too old to be committed still."""
    try:
        return now_ms - staged_ms(key) >= vault.stray_age_s * 1000
    except (ValueError, TypeError):
        return True  # not a key of ours


def sweep(vault: VaultParts, stray: Stray) -> None:
    """Remove what is stray. A writer that is alive after all finds a tombstone, and fails instead of losing rows."""
    if stray.collections == [BLOBS]:
        vault.client.query(REMOVE_UPLOADS, uploads=[stray.key])
        return
    vault.client.query(BURY, keys=[stray.key])
    if vault.client.query(COMMITTED, keys=[stray.key]) == [[stray.key, False]]:
        return  # it was committed in this very moment
    for collection in stray.collections:
        remove_items(vault.client, collection, [stray.key])
