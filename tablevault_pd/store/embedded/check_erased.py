"""Check what a vault folder knows of erased rows: lists, segments and versions must agree on it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tablevault_pd.errors import VaultCorrupt
from tablevault_pd.store import Problem
from tablevault_pd.store.embedded.versions import VERSIONS_OF, erased_rows, version_of
from tablevault_pd.store.engine import int_codec
from tablevault_pd.store.engine.content_rules import wrong_erased, wrong_numbers

if TYPE_CHECKING:
    from collections.abc import Iterator
    from sqlite3 import Connection

    from tablevault_pd.store import Version
    from tablevault_pd.store.embedded.parts import VaultParts
    from tablevault_pd.store.pieces import Pieces

LISTS = """
SELECT id, name FROM lists WHERE id IN (
    SELECT list FROM erased UNION SELECT list FROM segments WHERE erased IS NOT NULL
    UNION SELECT list FROM batches WHERE erased > 0
) ORDER BY name
"""
SEGMENTS = "SELECT generation, start, start + rows, erased FROM segments WHERE list = ? AND rows > 0"


def damaged_erasures(vault: VaultParts) -> Iterator[Problem]:
    """Erased rows that would be shown, others that would not, and versions that count them wrongly."""
    with vault.catalog.reading() as db:
        lists = db.execute(LISTS).fetchall()
    for list_id, name in lists:
        try:
            yield from _of_list(vault, list_id, name)
        except VaultCorrupt as error:
            yield Problem("damage", "damaged content", name, path="catalog.db", detail=str(error))


def _of_list(vault: VaultParts, list_id: int, name: str) -> Iterator[Problem]:
    erased, segments, versions = vault.catalog.snapshot(_read, list_id, name)
    for generation, start, stop, packed in segments:
        numbers = None if packed is None else int_codec.unpack(packed, "A list of erased rows")
        detail = wrong_numbers((generation, start, stop), numbers, erased)
        if detail:
            yield Problem("damage", "erased rows", name, generation, "catalog.db", detail)
    for version, content in zip(versions, vault.versions.pieces(versions), strict=True):
        detail = wrong_erased(version, content, erased)
        if detail:
            yield Problem("damage", "damaged version", name, version.version, "catalog.db", detail)


def _read(db: Connection, list_id: int, name: str) -> tuple[Pieces, list[Any], list[Version]]:
    versions = [version_of(row) for row in db.execute(VERSIONS_OF, (name,)).fetchall()]
    present = [version for version in versions if not version.gone]
    return erased_rows(db, list_id), db.execute(SEGMENTS, (list_id,)).fetchall(), present
