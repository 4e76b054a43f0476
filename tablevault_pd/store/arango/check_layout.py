"""What of a vault's collections and search view is gone, and what other programs put into them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tablevault_pd.errors import VaultReadOnly
from tablevault_pd.store import Problem
from tablevault_pd.store.arango.layout import ANALYZER, COLLECTIONS, TRIPLES, VIEW, lay_out

if TYPE_CHECKING:
    from collections.abc import Iterator

    from arango.database import StandardDatabase

    from tablevault_pd.store.arango.client import Client

# 3.12. What has no number comes before all numbers in an index, or behind them. A page is enough to tell of it.
FOREIGN = """
FOR id IN SLICE(UNION(
  (FOR b IN tv_batches FILTER b.list < 0 LIMIT 100 RETURN b._id),
  (FOR b IN tv_batches FILTER b.list >= "" LIMIT 100 RETURN b._id),
  (FOR l IN tv_lists FILTER l.id < 1 LIMIT 100 RETURN l._id),
  (FOR s IN tv_sessions FILTER s.id < 1 LIMIT 100 RETURN s._id),
  (FOR d IN tv_descriptions FILTER d.seq < 0 LIMIT 100 RETURN d._id)
), 0, 100)
  RETURN id
"""


def missing_parts(client: Client, *, fix: bool) -> list[Problem]:
    """Collections that were dropped, with what they held, and what is made anew of what is there: with `fix` it is."""
    lacking = _lacking(client)
    fixed, detail = False, "check(fix=True) of an admin makes it anew"
    if fix:
        try:
            lay_out(client)
            fixed, detail = True, "made anew"
        except VaultReadOnly:
            detail = "an admin has to make it anew, by check(fix=True)"
    return [
        Problem(
            "damage",
            "missing collection" if name in COLLECTIONS else "search index",
            path=name,
            detail=f"{detail}; what it held is lost" if name in COLLECTIONS else detail,
            fixed=fixed and name not in COLLECTIONS,
        )
        for name in lacking
    ]


def _lacking(client: Client) -> list[str]:
    def names(db: StandardDatabase) -> set[str]:
        parts: list[dict[str, str]] = [*db.collections(), *db.views(), *db.analyzers()]  # type: ignore[misc]
        return {part["name"].rpartition("::")[2] for part in parts}

    there = client.run(names)
    return [name for name in (*COLLECTIONS, ANALYZER, TRIPLES, VIEW) if name not in there]


def foreign_documents(client: Client) -> Iterator[Problem]:
    """Documents that no release wrote. They are left out everywhere."""
    for path in client.query(FOREIGN):
        detail = "another program wrote it; it is no part of the vault, and may be removed there"
        yield Problem("stray", "foreign document", path=path, detail=detail)
