"""What is damaged or stray in a vault on a server."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

from tablevault_pd.errors import FileMissing, VaultCorrupt, VaultError
from tablevault_pd.store import Problem
from tablevault_pd.store.arango.claims import check_claims
from tablevault_pd.store.arango.layout import MIRROR
from tablevault_pd.store.arango.strays import KEPT, counts_by_batch, strays
from tablevault_pd.store.arango.versions import version_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tablevault_pd.store import Progress
    from tablevault_pd.store.arango.parts import VaultParts

# All statements: 3.12; nothing in them is newer than 3.8.
BATCHES_ALL = """
FOR b IN tv_batches FILTER b.list > 0 SORT b.list, b.version RETURN UNSET(b, "pieces", "edges", "reads")
"""
TEXTS = "FOR b IN tv_batches FILTER b.text_items > 0 RETURN [b._key, b.name, b.version, b.text_items]"
WORDED = "FOR i IN @@items FILTER i.stems != null COLLECT batch = i.batch WITH COUNT INTO n RETURN [batch, n]"
MISSING = """
LET used = (FOR p IN tv_payloads FILTER p.named == true FOR f IN p.files RETURN DISTINCT f)
LET kept = (FOR b IN tv_blobs FILTER b.n == -1 RETURN b._key)
FOR sha256 IN MINUS(used, kept) SORT sha256 RETURN sha256
"""
SCHEMA_KEYS = "FOR s IN tv_schemas RETURN s._key"
DICTIONARY_DIGESTS = "FOR d IN tv_dictionaries RETURN DISTINCT d.digest"


def check(vault: VaultParts, *, fix: bool, progress: Progress | None) -> list[Problem]:
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
    problems += _kept_files(vault, progress)
    problems += check_claims(vault.client, fix=fix)
    problems += strays(vault, fix=fix)
    return sorted(problems, key=lambda problem: problem.severity)


def _shared(vault: VaultParts, batches: list[dict[str, Any]]) -> Iterator[Problem]:
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


def _short(vault: VaultParts) -> dict[str, tuple[dict[str, Any], str]]:
    """Batches without all of their items, with what they lack. Looked at twice: a vacuum may be at work."""
    short = _short_now(vault)
    again = _short_now(vault) if short else {}
    return {key: value for key, value in again.items() if key in short}


def _short_now(vault: VaultParts) -> dict[str, tuple[dict[str, Any], str]]:
    batches = vault.client.query(BATCHES_ALL, batch_rows=1000)
    counts = counts_by_batch(vault)  # after the batches: all items of a batch were there before it
    short = {}
    for batch in batches:
        for collection, declared in batch["items"].items():
            there = counts[collection].get(batch["_key"], 0)
            if there != declared and not batch["emptied"]:
                short[batch["_key"]] = (batch, f"{there} of {declared} items in {collection}")
    return short


def _missing(batch: dict[str, Any], detail: str) -> Problem:
    return Problem(
        "damage", "missing rows", batch["name"], batch["version"], f"tv_batches/{batch['_key']}", detail
    )


def _unworded(vault: VaultParts, skip: set[str]) -> list[Problem]:
    """Batches with texts that lack their words, so that no search finds them. Looked at twice, as above."""
    unworded = _unworded_now(vault)
    again = dict(_unworded_now(vault)) if unworded else {}
    return [problem for key, problem in unworded if key in again and key not in skip]


def _unworded_now(vault: VaultParts) -> list[tuple[str, Problem]]:
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
    vault: VaultParts, batches: list[dict[str, Any]], skip: set[tuple[int, int]], progress: Progress | None
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


def _kept_files(vault: VaultParts, progress: Progress | None) -> Iterator[Problem]:
    for whole in vault.client.query(KEPT):
        try:
            vault.blobs.open_file(whole["_key"]).close()
        except (VaultCorrupt, FileMissing) as error:
            yield Problem("damage", "damaged kept file", path=f"tv_blobs/{whole['_key']}", detail=str(error))
        if progress:
            progress(1)
    for sha256 in vault.client.query(MISSING):
        yield Problem("damage", "missing kept file", path=f"tv_blobs/{sha256}")
