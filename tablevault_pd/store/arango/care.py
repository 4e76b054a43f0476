"""Checking and vacuuming a vault on a server."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tablevault_pd.errors import FileMissing, VaultCorrupt, VaultError
from tablevault_pd.store import Compacted, Freed, Problem, Progress, Version
from tablevault_pd.store.arango.claims import check_claims
from tablevault_pd.store.arango.client import all_of
from tablevault_pd.store.arango.layout import (
    BATCHES,
    BLOBS,
    DESCRIPTIONS,
    EDGES,
    ITEMS,
    LISTS,
    MIRROR,
    VERSION_NAMES,
)
from tablevault_pd.store.arango.names import NAMED_OF
from tablevault_pd.store.arango.placing import version_of
from tablevault_pd.store.arango.stage import REMOVE_ITEMS, staged_ms
from tablevault_pd.store.engine.name_rules import kept_by_name

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tablevault_pd.store.arango.client import Client
    from tablevault_pd.store.arango.edges import LineageEdges
    from tablevault_pd.store.arango.kept import BlobStore
    from tablevault_pd.store.arango.scan import Scanner
    from tablevault_pd.store.arango.versions import Versions

# All statements: 3.12; nothing in them is newer than 3.8.
BATCHES_ALL = """
FOR b IN tv_batches FILTER b.list > 0 SORT b.list, b.version RETURN UNSET(b, "pieces", "edges", "reads")
"""
BATCHES_OF = """
FOR b IN tv_batches FILTER b.list == @list SORT b.version RETURN UNSET(b, "pieces", "edges", "reads")
"""
# The index tells it alone: payloads are large.
COUNTS = "FOR i IN @@items FILTER i.batch >= '' COLLECT batch = i.batch WITH COUNT INTO n RETURN [batch, n]"
TEXTS = "FOR b IN tv_batches FILTER b.text_items > 0 RETURN [b._key, b.name, b.version, b.text_items]"
WORDED = "FOR i IN @@items FILTER i.stems != null COLLECT batch = i.batch WITH COUNT INTO n RETURN [batch, n]"
DESCRIBED = "FOR d IN tv_descriptions FILTER d.batch != null RETURN DISTINCT d.batch"
MIRRORED = "FOR e IN tv_edges FILTER e.batch != null RETURN DISTINCT e.batch"
UPLOADS = "FOR b IN tv_blobs COLLECT upload = b.upload WITH COUNT INTO n RETURN [upload, n]"
KEPT = "FOR b IN tv_blobs FILTER b.n == -1 RETURN b"
MISSING = """
LET used = (FOR p IN tv_payloads FILTER p.named == true FOR f IN p.files RETURN DISTINCT f)
LET kept = (FOR b IN tv_blobs FILTER b.n == -1 RETURN b._key)
FOR sha256 IN MINUS(used, kept) SORT sha256 RETURN sha256
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
SCHEMA_KEYS = "FOR s IN tv_schemas RETURN s._key"
DICTIONARY_DIGESTS = "FOR d IN tv_dictionaries RETURN DISTINCT d.digest"
NOW = "RETURN DATE_NOW()"
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
TOUCH = "FOR l IN tv_lists FILTER l.id == @list UPDATE l WITH {touched: @token} IN tv_lists"
MARK = """
FOR b IN tv_batches FILTER b._key IN @gone OR b._key IN @emptied
  UPDATE b WITH {gone: b.gone OR b._key IN @gone, emptied: b.emptied OR b._key IN @emptied,
    text_items: b._key IN @emptied ? null : b.text_items} IN tv_batches
"""
_LASTING = {DESCRIPTIONS, EDGES}


@dataclass(frozen=True, slots=True)
class ServerParts:
    """The parts of a store on a server that its maintenance needs."""

    client: Client
    versions: Versions
    rows: Scanner
    blobs: BlobStore
    lineage: LineageEdges
    stray_age_s: float  #: from what age on rows that were never committed may be removed


class MaintenanceTasks:
    """Looks after a vault on a server."""

    def __init__(self, vault: ServerParts) -> None:
        self._vault = vault

    def check(self, *, fix: bool = False, progress: Progress | None = None) -> list[Problem]:
        """Return what is damaged or stray."""
        if fix:
            self._vault.client.writable()
        return check(self._vault, fix=fix, progress=progress)

    def compact(self, name: str | None = None, *, progress: Progress | None = None) -> list[Compacted]:
        """Return nothing: every row is a document of its own, and the server compacts its files by itself."""
        self._vault.client.writable()
        return []

    def vacuum(self, *, keep: int = 1, deleted: bool = False, dry_run: bool = True) -> list[Freed]:
        """Remove what no kept version shows."""
        if not dry_run:
            self._vault.client.writable()
        return vacuum(self._vault, keep=keep, deleted=deleted, dry_run=dry_run)

    def back_up(self, folder: Path) -> None:
        """Return None: a database has no files that could be copied."""


# -- check


def check(vault: ServerParts, *, fix: bool, progress: Progress | None) -> list[Problem]:
    """Everything that is damaged or stray, in that order."""
    batches = vault.client.query(BATCHES_ALL, batch_rows=1000)
    problems = list(_shared(vault, batches))
    problems += _histories(batches)
    short = _short(vault)
    problems += [_missing(batch, detail) for batch, detail in short.values()]
    damaged = {(batch["list"], batch["generation"]) for batch, _ in short.values()}
    problems += _decoded(vault, batches, damaged, progress)
    problems += _unworded(vault, set(short))
    problems += vault.lineage.damaged_edges(fix=fix)
    problems += _kept(vault, progress)
    problems += check_claims(vault.client, fix=fix)
    problems += _strays(vault, fix=fix)
    return sorted(problems, key=lambda problem: problem.severity)


def _counts(vault: ServerParts) -> dict[str, dict[str, int]]:
    """How many items of each batch each collection holds."""
    return {name: dict(vault.client.query(COUNTS, binds={"@items": name})) for name in ITEMS}


def _shared(vault: ServerParts, batches: list[dict[str, Any]]) -> Iterator[Problem]:
    """Schemas and categories that batches refer to must be there."""
    schemas = set(vault.client.query(SCHEMA_KEYS))
    digests = set(vault.client.query(DICTIONARY_DIGESTS))
    for batch in batches:
        for key in {batch["schema"], *(part["schema"] for part in batch["parts"])} - schemas:
            yield _of(batch, "missing schema", f"tv_schemas/{key}")
        named = {one["digest"] for part in batch["parts"] for one in part["dictionaries"].values()}
        for digest in named - digests:
            yield _of(batch, "missing categories", f"tv_dictionaries/{digest}-0")


def _of(batch: dict[str, Any], what: str, path: str) -> Problem:
    return Problem(
        "damage", what, batch["name"], batch["version"], path, "restore the database from a backup"
    )


def _histories(batches: list[dict[str, Any]]) -> Iterator[Problem]:
    """Versions count up from 1, and the rows of a generation follow each other."""
    last: dict[int, int] = {}
    ends: dict[tuple[int, int], int] = {}
    for batch in batches:
        expected = last.get(batch["list"], 0) + 1
        if batch["version"] != expected:
            yield Problem(
                "damage", "missing version", batch["name"], expected, f"tv_batches/{batch['_key']}",
                f"version {batch['version']} follows {expected - 1}",
            )  # fmt: skip
        last[batch["list"]] = batch["version"]
        run = (batch["list"], batch["generation"])
        if ends.get(run, 0) != batch["start"]:
            yield _missing(batch, f"rows from {batch['start']} on do not follow what is before them")
        ends[run] = batch["start"] + batch["rows"]


def _short(vault: ServerParts) -> dict[str, tuple[dict[str, Any], str]]:
    """Batches without all of their items, with what they lack. Looked at twice: a vacuum may be at work."""
    found = _short_now(vault)
    again = _short_now(vault) if found else {}
    return {key: value for key, value in again.items() if key in found}


def _short_now(vault: ServerParts) -> dict[str, tuple[dict[str, Any], str]]:
    batches = vault.client.query(BATCHES_ALL, batch_rows=1000)
    counts = _counts(vault)  # after the batches: all items of a batch were there before it
    found = {}
    for batch in batches:
        for collection, declared in batch["items"].items():
            there = counts[collection].get(batch["_key"], 0)
            if there != declared and not batch["emptied"]:
                found[batch["_key"]] = (batch, f"{there} of {declared} items in {collection}")
    return found


def _missing(batch: dict[str, Any], detail: str) -> Problem:
    return Problem(
        "damage", "missing rows", batch["name"], batch["version"], f"tv_batches/{batch['_key']}", detail
    )


def _unworded(vault: ServerParts, skip: set[str]) -> list[Problem]:
    """Batches with texts that lack their words, so that no search finds them. Looked at twice, as above."""
    found = _unworded_now(vault)
    again = dict(_unworded_now(vault)) if found else {}
    return [problem for key, problem in found if key in again and key not in skip]


def _unworded_now(vault: ServerParts) -> list[tuple[str, Problem]]:
    batches = vault.client.query(TEXTS, batch_rows=1000)
    worded: dict[str, int] = defaultdict(int)
    for collection in MIRROR:
        for key, count in vault.client.query(WORDED, binds={"@items": collection}):
            worded[key] += count
    return [
        (
            key,
            Problem(
                "damage", "missing words", name, version, f"tv_batches/{key}",
                f"{worded[key]} of {texts} texts can be found by their words",
            ),
        )
        for key, name, version, texts in batches
        if worded[key] != texts
    ]  # fmt: skip


def _decoded(
    vault: ServerParts, batches: list[dict[str, Any]], skip: set[tuple[int, int]], progress: Progress | None
) -> Iterator[Problem]:
    """Read every generation to its end, and decode it."""
    ends = {
        (batch["list"], batch["generation"]): version_of(batch)
        for batch in batches
        if not batch["gone"] and batch["operation"] != "delete"
    }
    for run, version in ends.items():
        if run in skip:
            continue
        try:
            for chunk in vault.rows.rows_of_generation(
                version, run[1], 0, version.start + version.rows, None
            ):
                chunk.table.validate(full=True)
                if progress:
                    progress(1)
        except (VaultError, ValueError) as error:
            yield Problem("damage", "damaged rows", version.list, version.version, detail=str(error))


def _kept(vault: ServerParts, progress: Progress | None) -> Iterator[Problem]:
    for whole in vault.client.query(KEPT):
        try:
            vault.blobs.open_file(whole["_key"]).close()
        except (VaultCorrupt, FileMissing) as error:
            yield Problem("damage", "damaged kept file", path=f"tv_blobs/{whole['_key']}", detail=str(error))
        if progress:
            progress(1)
    for sha256 in vault.client.query(MISSING):
        yield Problem("damage", "missing kept file", path=f"tv_blobs/{sha256}")


# -- strays


def _strays(vault: ServerParts, *, fix: bool) -> Iterator[Problem]:
    [now] = vault.client.query(NOW)
    for key, places, _, old in _found(vault, now):
        if fix and old:
            _sweep(vault, key, places)
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


def _found(vault: ServerParts, now_ms: int) -> Iterator[tuple[str, list[str], int, bool]]:
    """Batches and uploads that are in no commit: key, collections, items, and whether they are old enough to go."""
    holders: dict[str, list[str]] = defaultdict(list)
    items: dict[str, int] = defaultdict(int)
    for collection, counts in _counts(vault).items():
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
            yield batch, places, items[batch], _old(vault, batch, now_ms) or batch in buried
    kept = {whole["upload"] for whole in vault.client.query(KEPT)}
    for upload, count in vault.client.query(UPLOADS):
        if upload not in kept:
            yield upload, [BLOBS], count, _old(vault, upload, now_ms)


def _old(vault: ServerParts, key: str, now_ms: int) -> bool:
    try:
        return now_ms - staged_ms(key) >= vault.stray_age_s * 1000
    except (ValueError, TypeError):
        return True  # not a key of ours


def _sweep(vault: ServerParts, key: str, places: list[str]) -> None:
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


# -- vacuum


def vacuum(vault: ServerParts, *, keep: int, deleted: bool, dry_run: bool) -> list[Freed]:
    """Remove the rows that no kept version shows, then strays."""
    freed = []
    for state in vault.versions.lists():
        head = state.head
        if dry_run:
            batches = vault.client.query(BATCHES_OF, list=head.list_id, batch_rows=1000)
            named = vault.client.query(NAMED_OF, list=head.list_id)
            freed += _plan(vault, head, batches, named, keep, deleted)[0]
        else:
            freed += _vacuum_list(vault, head, keep, deleted)
    [now] = vault.client.query(NOW)
    freed += _unused_files(vault, now, dry_run=dry_run)
    for key, places, count, old in _found(vault, now):
        if old and not dry_run:
            _sweep(vault, key, places)
        if old:
            freed.append(Freed("stray", None, (), count, 0, f"{places[0]}/{key}"))
    return freed


def _unused_files(vault: ServerParts, now_ms: int, *, dry_run: bool) -> Iterator[Freed]:
    """Kept content that no remaining row names: its document goes first, then its chunks."""
    before = now_ms - vault.stray_age_s * 1000
    for whole in vault.client.query(UNUSED, before=before):
        if not _old(vault, whole["upload"], now_ms):
            continue
        if not dry_run:
            if not vault.client.query(REMOVE_WHOLE, key=whole["_key"], upload=whole["upload"], before=before):
                continue
            vault.client.query(REMOVE_UPLOADS, uploads=[whole["upload"]])
        yield Freed("kept file", None, (), 0, whole["size_bytes"], f"{BLOBS}/{whole['_key']}")


def _vacuum_list(vault: ServerParts, head: Version, keep: int, deleted: bool) -> list[Freed]:
    """Mark first, in a transaction that excludes restores of this list; remove items afterwards."""

    def work(handle: Any) -> tuple[list[Freed], list[str]]:
        all_of(handle, TOUCH, {"list": head.list_id, "token": "vacuum"})
        batches = all_of(handle, BATCHES_OF, {"list": head.list_id}, 1000)
        named = all_of(handle, NAMED_OF, {"list": head.list_id})
        freed, gone, emptied = _plan(vault, head, batches, named, keep, deleted)
        if emptied:
            all_of(handle, MARK, {"gone": gone, "emptied": emptied})
        return freed, emptied

    freed, emptied = vault.client.transact((LISTS, BATCHES, VERSION_NAMES), work)
    for at in range(0, len(emptied), 100):
        for collection in ITEMS:
            vault.client.query(REMOVE_ITEMS, binds={"@items": collection}, batches=emptied[at : at + 100])
    return freed


def _plan(
    vault: ServerParts,
    head: Version,
    batches: list[dict[str, Any]],
    named: list[int],
    keep: int,
    deleted: bool,
) -> tuple[list[Freed], list[str], list[str]]:
    """What to free, the batches whose versions lose rows by it, and those whose own rows go."""
    whole = deleted and batches[-1]["operation"] == "delete"
    newest = [] if whole else [batch for batch in batches if batch["operation"] != "delete"][-keep:]
    told = kept_by_name(head.list, named, [batch["version"] for batch in newest])
    kept = newest + [batch for batch in batches if batch["version"] in named]
    filled = [batch for batch in batches if batch["rows"] and not batch["emptied"]]
    needed = set().union(*_batches_shown(vault, [batch for batch in kept if not batch["gone"]], filled))
    doomed = [batch for at, batch in enumerate(filled) if at not in needed]
    if not doomed:
        return told, [], []
    present = [batch for batch in batches if not batch["gone"]]
    losing = _batches_shown(vault, present, doomed)
    gone = [batch for batch, lost in zip(present, losing, strict=True) if lost]
    numbers = tuple(batch["version"] for batch in gone)
    rows, size = sum(batch["rows"] for batch in doomed), sum(batch["bytes"] for batch in doomed)
    freed = Freed("deleted list" if whole and not named else "rows", head.list, numbers, rows, size)
    return [freed, *told], [batch["_key"] for batch in gone], [batch["_key"] for batch in doomed]


def _batches_shown(
    vault: ServerParts, shown: list[dict[str, Any]], batches: list[dict[str, Any]]
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
