"""What is damaged or stray in a vault on a server. It is looked at a page of batches at a time, so that memory is bounded."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from tablevault_pd.errors import FileMissing, VaultCorrupt, VaultError
from tablevault_pd.store import Problem
from tablevault_pd.store.arango.batches import BATCHES_BY_KEY, version_of
from tablevault_pd.store.arango.claims import check_claims
from tablevault_pd.store.arango.strays import KEPT_AFTER, batch_pages, pages, strays

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from tablevault_pd.store import Progress, Version
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
  FOR i IN tv_records FILTER i.batch IN @keys AND i.stems != null COLLECT batch = i.batch WITH COUNT INTO n RETURN [batch, n]
)
LET documents = (
  FOR i IN tv_documents FILTER i.batch IN @keys AND i.stems != null COLLECT batch = i.batch WITH COUNT INTO n RETURN [batch, n]
)
LET files = (
  FOR i IN tv_files FILTER i.batch IN @keys AND i.stems != null COLLECT batch = i.batch WITH COUNT INTO n RETURN [batch, n]
)
FOR one IN UNION(records, documents, files)
  COLLECT batch = one[0] AGGREGATE items = SUM(one[1])
  RETURN [batch, items]
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
    problems = list(_batches(vault, progress))
    problems += vault.lineage.damaged_edges()
    problems += _kept_files(vault, progress)
    problems += check_claims(vault.client, fix=fix)
    problems += strays(vault, fix=fix)
    return sorted(problems, key=lambda problem: problem.severity)


def _batches(vault: VaultParts, progress: Progress | None) -> Iterator[Problem]:
    """What is wrong with commits and their rows, one list after the other."""
    shared = _Shared(set(vault.client.query(SCHEMA_KEYS)), set(vault.client.query(DICTIONARY_DIGESTS)))
    history = _ListChecks()
    for page in batch_pages(vault.client):
        short, unworded = _lacking(vault, page, _items), _lacking(vault, page, _words)
        for batch in page:
            if batch["list"] != history.list_id:
                yield from history.decoded(vault, progress)
                history = _ListChecks(batch["list"])
            yield from shared.lacking(batch)
            yield from history.follow(batch)
            key = batch["_key"]
            if key in short:
                history.damaged.add(batch["generation"])
                yield _missing(batch, short[key])
            elif key in unworded:
                yield Problem(
                    "damage", "missing words", batch["name"], batch["version"], f"tv_batches/{key}", unworded[key]
                )  # fmt: skip
        if progress:
            progress(len(page))
    yield from history.decoded(vault, progress)


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


@dataclass(slots=True)
class _ListChecks:
    """The versions of one list, as they follow each other."""

    list_id: int | None = None
    version: int = 0
    ends: dict[int, int] = field(default_factory=dict)  #: of the rows of each generation
    newest: dict[int, Version] = field(default_factory=dict)  #: of each generation
    damaged: set[int] = field(default_factory=set)  #: generations that lack rows

    def follow(self, batch: Document) -> Iterator[Problem]:
        """Versions count up from 1, and the rows of a generation follow each other."""
        if batch["version"] != self.version + 1:
            yield Problem(
                "damage", "missing version", batch["name"], self.version + 1, f"tv_batches/{batch['_key']}",
                f"version {batch['version']} follows {self.version}",
            )  # fmt: skip
        self.version, generation = batch["version"], batch["generation"]
        if self.ends.get(generation, 0) != batch["start"]:
            yield _missing(batch, f"rows from {batch['start']} on do not follow what is before them")
        self.ends[generation] = batch["start"] + batch["rows"]
        if not batch["gone"] and batch["operation"] != "delete":
            self.newest[generation] = version_of(batch)

    def decoded(self, vault: VaultParts, progress: Progress | None) -> Iterator[Problem]:
        """Read every generation to its end, and decode it."""
        for generation, version in self.newest.items():
            if generation in self.damaged:
                continue
            stop = version.start + version.rows
            try:
                for chunk in vault.rows.rows_of_generation(version, generation, 0, stop, None):
                    chunk.table.validate(full=True)
                    if progress:
                        progress(1)
            except (VaultError, ValueError) as error:
                yield Problem("damage", "damaged rows", version.list, version.version, detail=str(error))


def _lacking(
    vault: VaultParts,
    batches: Sequence[Document],
    count: Callable[[VaultParts, Sequence[Document]], dict[str, str]],
) -> dict[str, str]:
    """What batches lack by their keys. Looked at twice: a vacuum or an erase may be at work."""
    first = count(vault, batches)
    if not first:
        return {}
    again: list[Document] = vault.client.query(BATCHES_BY_KEY, keys=list(first))
    return count(vault, again)


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
    """Batches with texts that lack their words, so that no search finds them."""
    lacking = {}
    for some in _portions([batch for batch in batches if batch.get("text_items")]):
        worded = defaultdict(int, vault.client.query(WORDED_OF, keys=[batch["_key"] for batch in some]))
        for batch in some:
            key, texts = batch["_key"], batch["text_items"]
            if worded[key] != texts:
                lacking[key] = f"{worded[key]} of {texts} texts can be found by their words"
    return lacking


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


def _missing(batch: dict[str, Any], detail: str) -> Problem:
    return Problem(
        "damage", "missing rows", batch["name"], batch["version"], f"tv_batches/{batch['_key']}", detail
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
