"""Search over values, text, vectors, code, descriptions and lineage; the result is a frame.

:mod:`request` checks the arguments; :mod:`candidates` selects the versions and rows that may match; :mod:`hits` asks the
store for text and vectors in them; :mod:`fusion` makes one ranking of two; :mod:`result` reads the rows of the page.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from tablevault_pd.errors import VaultCorrupt
from tablevault_pd.keywords import named_as_a_call
from tablevault_pd.progress import warn
from tablevault_pd.search.candidates import Candidate, filter_by_origin, find_candidates
from tablevault_pd.search.columns import check_columns
from tablevault_pd.search.hits import find_rows
from tablevault_pd.search.request import Request, request
from tablevault_pd.search.result import result_frame
from tablevault_pd.search.writers import WriterSpans
from tablevault_pd.store.text_query import in_languages

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import pandas as pd

    from tablevault_pd.store import Store, Version

named_as_a_call(__name__)


def search(
    store: Store, request: Request, note_read: Callable[[Version], None] = lambda version: None
) -> pd.DataFrame:
    """The rows that match, best first. Damaged lists are left out with a warning where every list is searched.

    `note_read` gets each version that rows were found in.
    """
    candidates = find_candidates(store, request)
    check_columns(store, candidates, request)
    try:
        return _search(store, candidates, request, note_read)
    except VaultCorrupt:
        sound, damage = _without_damaged(store, candidates, request)
        if request.lists is not None or not damage or not sound:
            raise
    warn(f"Lists were left out of this search, because they are damaged. {' '.join(damage)}")
    return _search(store, sound, request, note_read)


def _search(
    store: Store,
    candidates: Sequence[Candidate],
    request: Request,
    note_read: Callable[[Version], None],
) -> pd.DataFrame:
    spans = WriterSpans(store)
    candidates = filter_by_origin(store, candidates, request, spans)
    if request.text:
        languages = {candidate.language for candidate in candidates if candidate.language is not None}
        request = replace(
            request, text=tuple((label, in_languages(query, languages)) for label, query in request.text)
        )
    ranked = find_rows(store, candidates, request, spans)
    answer = result_frame(store, request, ranked, spans)
    for scope in dict.fromkeys(scope for ranking in ranked.rankings for scope in ranking.scope.tolist()):
        note_read(ranked.candidates[scope].version)
    return answer


def _without_damaged(
    store: Store, candidates: Sequence[Candidate], request: Request
) -> tuple[list[Candidate], list[str]]:
    """The lists that can be searched, and the errors of those that cannot."""
    sound, damage = [], []
    for candidate in candidates:
        try:
            _search(store, [candidate], request, lambda version: None)
            sound.append(candidate)
        except VaultCorrupt as error:
            damage.append(str(error))
    return sound, damage


__all__ = ["Request", "request", "search"]
