"""What of a vault's collections and search view is gone, what other programs put into them, and what cannot be read."""

from __future__ import annotations

from dataclasses import replace
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from tablevault_pd.errors import VaultCorrupt, VaultReadOnly, short_repr
from tablevault_pd.store import Problem
from tablevault_pd.store.arango.code import confirmation_of
from tablevault_pd.store.arango.control import MEASURES_AFTER, measured, request_of
from tablevault_pd.store.arango.layout import ANALYZER, COLLECTIONS, TRIPLES, VIEW, lay_out
from tablevault_pd.store.arango.names import NAMES, RENAMES_MADE, name_of, rename_of
from tablevault_pd.store.arango.sessions import DESCRIPTIONS, cell_of, description_of, to_session
from tablevault_pd.store.arango.strays import pages

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from arango.database import StandardDatabase

    from tablevault_pd.store.arango.client import Client

PAGE_OF_VALUES = 50  # documents of up to a thousand logged values

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


#: Documents that no row or commit is of, and what reads them.
_READERS: tuple[tuple[str, Callable[[Any], Any]], ...] = (
    ('FOR s IN tv_sessions FILTER s.id > 0 AND s.id < "" RETURN UNSET(s, "params", "timeline")', to_session),
    ('FOR c IN tv_cells FILTER c.session > 0 RETURN MERGE(c, IS_STRING(c.text) ? {text: ""} : {})', cell_of),
    ('FOR r IN tv_requests FILTER r.session > 0 AND r.session < "" RETURN r', request_of),
    (DESCRIPTIONS, description_of),
    (NAMES, name_of),
    (RENAMES_MADE, rename_of),
    ("FOR c IN tv_confirmations FILTER c.list > 0 RETURN c", confirmation_of),
)


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
    """Documents that no release wrote, and are left out everywhere."""
    for path in client.query(FOREIGN):
        detail = "another program wrote it; it is no part of the vault, and may be removed there"
        yield Problem("stray", "foreign document", path=path, detail=detail)


def unreadable_documents(client: Client) -> Iterator[Problem]:
    """Those that no row or commit is of, and that cannot be read."""
    for statement, read in _READERS:
        for document in client.query(statement, batch_rows=1000):
            problem = unreadable(document, read)
            if problem is not None:
                yield problem
    for page in pages(client, MEASURES_AFTER, itemgetter("_key"), page=PAGE_OF_VALUES):
        for document in page:
            problem = unreadable([document], measured)
            what, label, path = short_repr(document.get("metric")), document["label"], document["_id"]
            if problem is not None:
                yield replace(problem, detail=f"values of {what} of {label}: {problem.detail}")
            elif label is None:
                detail = (
                    f"values of {what} in {path} are of a session {document['session']}, which is not there"
                )
                yield Problem("damage", "missing session", path=path, detail=detail)


def unreadable(document: Any, read: Callable[[Any], Any]) -> Problem | None:
    """What is wrong with a document, or the only one of some, if it cannot be read."""
    try:
        read(document)
    except VaultCorrupt as error:
        [path] = [one["_id"] for one in (document if isinstance(document, list) else [document])]
        return Problem("damage", "unreadable document", path=path, detail=str(error))
    return None
