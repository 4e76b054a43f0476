"""What is damaged or stray in a vault on a server. It is looked at a page of batches at a time, so that memory is bounded."""

from __future__ import annotations

from dataclasses import dataclass
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from tablevault_pd.errors import FileMissing, VaultCorrupt
from tablevault_pd.store import Problem
from tablevault_pd.store.arango.batches import BATCHES_BY_KEY, version_of
from tablevault_pd.store.arango.check_counts import wrong_counts
from tablevault_pd.store.arango.check_layout import (
    foreign_documents,
    missing_parts,
    unreadable,
    unreadable_documents,
)
from tablevault_pd.store.arango.check_lists import (
    LISTS,
    LOST_RENAMES,
    ListChecks,
    damage,
    readable_list,
    wrong_contents,
)
from tablevault_pd.store.arango.claims import check_claims
from tablevault_pd.store.arango.records import reads
from tablevault_pd.store.arango.strays import KEPT_AFTER, batch_pages, pages, strays

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from tablevault_pd.store import Progress
    from tablevault_pd.store.arango.parts import VaultParts

MOST_ITEMS = 500_000  # items that one statement counts, but for a batch of more

# All statements: 3.12; nothing in them is newer than 3.8. The number of items is told by an index alone: payloads are large.
ITEMS_OF = """
RETURN {
  tv_payloads: (FOR i IN tv_payloads FILTER i.batch IN @keys COLLECT batch = i.batch WITH COUNT INTO n RETURN [batch, n]),
  tv_records: (FOR i IN tv_records FILTER i.batch IN @keys COLLECT batch = i.batch WITH COUNT INTO n RETURN [batch, n]),
  tv_documents: (FOR i IN tv_documents FILTER i.batch IN @keys COLLECT batch = i.batch WITH COUNT INTO n RETURN [batch, n]),
  tv_embeddings: (FOR i IN tv_embeddings FILTER i.batch IN @keys COLLECT batch = i.batch WITH COUNT INTO n RETURN [batch, n]),
  tv_files: (FOR i IN tv_files FILTER i.batch IN @keys COLLECT batch = i.batch WITH COUNT INTO n RETURN [batch, n])
}
"""
WORDED_OF = """
LET records = (
  FOR i IN tv_records
    FILTER i.batch IN @keys AND i.stems != null
    COLLECT batch = i.batch AGGREGATE items = SUM(1), words = SUM(i.length)
    RETURN [batch, items, words]
)
LET documents = (
  FOR i IN tv_documents
    FILTER i.batch IN @keys AND i.stems != null
    COLLECT batch = i.batch AGGREGATE items = SUM(1), words = SUM(i.length)
    RETURN [batch, items, words]
)
LET files = (
  FOR i IN tv_files
    FILTER i.batch IN @keys AND i.stems != null
    COLLECT batch = i.batch AGGREGATE items = SUM(1), words = SUM(i.length)
    RETURN [batch, items, words]
)
FOR one IN UNION(records, documents, files)
  COLLECT batch = one[0] AGGREGATE items = SUM(one[1]), words = SUM(one[2])
  RETURN [batch, items, words]
"""
MISSING = """
LET used = (FOR p IN tv_payloads FILTER p.named == true FOR f IN p.files RETURN DISTINCT f)
LET kept = (FOR b IN tv_blobs FILTER b.n == -1 RETURN b._key)
FOR sha256 IN MINUS(used, kept) SORT sha256 RETURN sha256
"""
SCHEMA_KEYS = "FOR s IN tv_schemas RETURN s._key"
DICTIONARY_DIGESTS = "FOR d IN tv_dictionaries RETURN DISTINCT d.digest"
Document = dict[str, Any]


def check(vault: VaultParts, *, fix: bool, progress: Progress | None) -> list[Problem]:
    """Everything that is damaged or stray, in that order."""
    vault.rows.forget_layouts()  # what is checked is what is stored
    problems = missing_parts(vault.client, fix=fix)
    if any(problem.what == "missing collection" for problem in problems) and not fix:
        return problems  # no statement runs without it
    problems += _batches(vault, progress)
    problems += vault.lineage.damaged_edges()
    problems += _kept_files(vault, progress)
    problems += check_claims(vault.client, fix=fix)
    problems += wrong_counts(vault.client, fix=fix)
    problems += foreign_documents(vault.client)
    problems += unreadable_documents(vault.client)
    problems += strays(vault, fix=fix)
    return sorted(problems, key=lambda problem: problem.severity)


def _batches(vault: VaultParts, progress: Progress | None) -> Iterator[Problem]:
    """What is wrong with commits and their rows, one list after the other."""
    shared = _Shared(set(vault.client.query(SCHEMA_KEYS)), set(vault.client.query(DICTIONARY_DIGESTS)))
    documents = vault.client.query(LISTS, batch_rows=1000)
    lists = {one["id"]: one for one in documents if isinstance(one["id"], int)}  # others are foreign
    damaged = {
        number: problem for number, one in lists.items() if (problem := unreadable(one, readable_list))
    }
    yield from damaged.values()
    for path, old, number in vault.client.query(LOST_RENAMES):
        detail = f"{old!r} was renamed, and tv_lists/{number} is not there"
        yield Problem("damage", "missing list", path=path, detail=detail)
    history = ListChecks()
    for page in batch_pages(vault.client):
        for number in sorted({batch["list"] for batch in page if batch["name"] is None} - lists.keys()):
            lists[number] = {}
            detail = "versions of it are there, and nothing has its name: restore the database from a backup"
            yield Problem("damage", "missing list", path=f"tv_lists/{number}", detail=detail)
        every = [batch for batch in page if isinstance(batch["name"], str)]
        problems = {number: unreadable(batch, _readable) for number, batch in enumerate(every)}
        yield from (problem for problem in problems.values() if problem is not None)
        page = [batch for number, batch in enumerate(every) if problems[number] is None]
        wrong = {what: _told_twice(vault, page, look) for what, look in LOOKS.items()}
        for batch in page:
            if batch["list"] != history.list_id:
                yield from history.ended(vault, progress)
                number = batch["list"]
                history = ListChecks(number, lists.get(number, {}).get("lost"), summed=number not in damaged)
            yield from shared.lacking(batch)
            yield from history.follow(batch)
            details = {what: of[batch["_key"]] for what, of in wrong.items() if batch["_key"] in of}
            if "missing rows" in details:
                history.damaged.add(batch["generation"])
                details.pop("missing words", None)
            yield from (damage(batch, what, detail) for what, detail in details.items())
        if progress:
            progress(len(every))
    yield from history.ended(vault, progress)


@reads("tv_batches")
def _readable(batch: Document) -> None:
    """What is looked at of a batch is of its type."""
    version_of(batch)
    numbers = [
        batch["end"],
        batch["bytes"],
        batch["edges"],
        *batch["items"].values(),
        *(batch["so_far"] or ()),
    ]
    numbers += [batch.get("text_items") or 0, batch.get("text_words") or 0]
    numbers += [number for part in batch["parts"] for number in (part["rows"], int(part["schema"], 16))]
    digests = [one["digest"] for part in batch["parts"] for one in part["dictionaries"].values()]
    if not {*map(type, numbers)} <= {int} or not {*map(type, digests)} <= {str}:
        raise TypeError("what it counts is no number")


@dataclass(frozen=True, slots=True)
class _Shared:
    """What batches refer to and share."""

    schemas: set[str]
    digests: set[str]

    def lacking(self, batch: Document) -> Iterator[Problem]:
        """Schemas and categories that a batch refers to must be there."""
        for key in {batch["schema"], *(part["schema"] for part in batch["parts"])} - self.schemas:
            yield _of(batch, "missing schema", f"tv_schemas/{key}")
        named = {one["digest"] for part in batch["parts"] for one in part["dictionaries"].values()}
        for digest in named - self.digests:
            yield _of(batch, "missing categories", f"tv_dictionaries/{digest}-0")


def _told_twice(
    vault: VaultParts,
    batches: Sequence[Document],
    look: Callable[[VaultParts, Sequence[Document]], dict[str, str]],
) -> dict[str, str]:
    """What is wrong with batches by their keys. Looked at twice: a vacuum or an erase may be at work."""
    first = look(vault, batches)
    if not first:
        return {}
    again: list[Document] = vault.client.query(BATCHES_BY_KEY, keys=list(first))
    return look(vault, again)


def _items(vault: VaultParts, batches: Sequence[Document]) -> dict[str, str]:
    """Batches without all of their items: all of them were there before the batch."""
    lacking = {}
    for some in _portions(batches):
        [answer] = vault.client.query(ITEMS_OF, keys=[batch["_key"] for batch in some])
        counts = {collection: dict(rows) for collection, rows in answer.items()}
        for batch in some:
            for collection, declared in batch["items"].items():
                there = counts[collection].get(batch["_key"], 0)
                if there != declared and not batch["emptied"]:
                    lacking[batch["_key"]] = f"{there} of {declared} items in {collection}"
    return lacking


def _words(vault: VaultParts, batches: Sequence[Document]) -> dict[str, str]:
    """Batches with texts that lack their words, so that no search finds them, or that count them wrongly."""
    wrong = {}
    for some in _portions([batch for batch in batches if batch.get("text_items")]):
        answer = vault.client.query(WORDED_OF, keys=[batch["_key"] for batch in some])
        worded = {key: (items, words) for key, items, words in answer}
        for batch in some:
            texts, total = worded.get(batch["_key"], (0, 0))
            if texts != batch["text_items"]:
                wrong[batch["_key"]] = f"{texts} of {batch['text_items']} texts can be found by their words"
            elif total != batch["text_words"]:
                wrong[batch["_key"]] = (
                    f"{batch['text_words']} words are said to be in texts that have {total}"
                )
    return wrong


LOOKS = {"missing rows": _items, "missing words": _words, "damaged version": wrong_contents}


def _portions(batches: Sequence[Document]) -> Iterator[list[Document]]:
    """Batches in groups whose items can be counted at once."""
    some: list[Document] = []
    size = 0
    for batch in batches:
        items = sum(batch["items"].values())
        if some and size + items > MOST_ITEMS:
            yield some
            some, size = [], 0
        some.append(batch)
        size += items
    if some:
        yield some


def _of(batch: dict[str, Any], what: str, path: str) -> Problem:
    return Problem(
        "damage", what, batch["name"], batch["version"], path, "restore the database from a backup"
    )


def _kept_files(vault: VaultParts, progress: Progress | None) -> Iterator[Problem]:
    for page in pages(vault.client, KEPT_AFTER, itemgetter("upload")):
        for whole in page:
            path = f"tv_blobs/{whole['_key']}"
            try:
                vault.blobs.open_file(whole["_key"]).close()
            except (VaultCorrupt, FileMissing) as error:
                yield Problem("damage", "damaged kept file", path=path, detail=str(error))
            if progress:
                progress(1)
    for sha256 in vault.client.query(MISSING):
        yield Problem("damage", "missing kept file", path=f"tv_blobs/{sha256}")
