"""One search over values, text, vectors, code, description and lineage, answered as a frame.

The store finds text and vectors and says who wrote what; filters, fusion and the answer are made here, alike for all.
"""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from tablevault_pd.errors import VaultCorrupt
from tablevault_pd.search import fusion as fuse
from tablevault_pd.search import result as answer
from tablevault_pd.search.candidates import Place, narrow_by_values, narrow_by_writing, near_columns, places
from tablevault_pd.search.columns import check_columns
from tablevault_pd.search.description_vectors import near_descriptions
from tablevault_pd.search.hybrid import Hybrid
from tablevault_pd.search.request import DESCRIPTION, Request, request
from tablevault_pd.store import Hits, Near, Store

if TYPE_CHECKING:
    import pandas as pd

FUSED_APPROX = 1000  # so many near rows are fused with the text at least, where near ones may be approximate


def search(store: Store, what: Request) -> pd.DataFrame:
    """The rows that match, best first."""
    found = places(store, what)
    check_columns(store, found, what)
    try:
        return _answered(store, [replace(place) for place in found], what)
    except VaultCorrupt:
        sound, damage = _tried(store, found, what)
        if what.lists is not None or not damage or not sound:
            raise
    warnings.warn(
        f"Lists were left out of this search, because they are damaged. {' '.join(damage)}", stacklevel=3
    )
    return _answered(store, sound, what)


def _tried(store: Store, found: list[Place], what: Request) -> tuple[list[Place], list[str]]:
    """The lists that can be searched, and what is said of those that cannot."""
    sound, damage = [], []
    for place in found:
        try:
            _answered(store, [replace(place)], what)
            sound.append(place)
        except VaultCorrupt as error:
            damage.append(str(error))
    return sound, damage


def _answered(store: Store, found: list[Place], what: Request) -> pd.DataFrame:
    found = narrow_by_writing(store, found, what)
    if what.text is not None and not what.near:
        return _by_text(store, found, what)
    found = narrow_by_values(store, found, what.filters)
    if not what.near:
        return answer.frame(store, what, found, [(_everything(found, what), ())])
    return _by_near(store, found, what)


def _by_text(store: Store, found: list[Place], what: Request) -> pd.DataFrame:
    """Text alone: only lists with a hit are looked at for the filters."""
    assert what.text is not None
    if what.filters is not None:
        hits = store.find_text(what.text, [place.scope(what.kinds) for place in found])
        found = narrow_by_values(store, [found[number] for number in np.unique(hits.scope)], what.filters)
    hits = store.find_text(what.text, [place.scope(what.kinds) for place in found], k=what.last)
    return answer.frame(store, what, found, [(_cut(fuse.single(hits, fuse.TEXT), what), ())])


def _cut(ranking: fuse.Ranking, what: Request) -> fuse.Ranking:
    return ranking.cut(what.offset, what.last, what.min_score)


def _by_near(store: Store, found: list[Place], what: Request) -> pd.DataFrame:
    scopes = [place.scope(what.kinds) for place in found]
    near, labels = _wanted(found, what)
    text = None if what.text is None else store.find_text(what.text, scopes)
    if text is not None and near and _is_counted(store, what):
        assert what.last is not None
        hybrid = Hybrid(store, near, scopes, text, what.metric, what.weights)
        best = hybrid.best(what.last)
        if best is not None:
            return answer.frame(store, what, found, [(_cut(ranking, what), labels) for ranking in best])
    k = what.last if text is None else max(FUSED_APPROX, what.last or 0) if what.approx and what.k else None
    queries = len(what.near[0][1])
    hits = (
        store.find_near(near, scopes, metric=what.metric, k=k, approx=what.approx)
        if near
        else [_nothing()] * queries
    )
    told = [
        (queries_of, number) for number, (label, queries_of) in enumerate(what.near) if label == DESCRIPTION
    ]
    rankings = []
    for query in range(queries):
        mine = hits[query]
        for vectors, _ in told:
            mine = _merged(
                mine, near_descriptions(store, found, vectors[query], what.metric, first_item=len(labels))
            )
        ranking = fuse.single(mine, fuse.NEAR) if text is None else fuse.fused(text, mine, what.weights)
        rankings.append((_cut(ranking, what), labels))
    return answer.frame(store, what, found, rankings)


def _is_counted(store: Store, what: Request) -> bool:
    """Whether the store may count what is nearer, so that vectors need not travel."""
    described = any(label == DESCRIPTION for label, _ in what.near)
    return store.judges and what.last is not None and not what.approx and not described


def _wanted(found: list[Place], what: Request) -> tuple[list[Near], tuple[answer.Label, ...]]:
    """The columns to be compared with, and what they are called."""
    near, labels = [], []
    if "embedding" not in what.kinds:
        return [], ()
    for number, place in enumerate(found):
        for label, queries in what.near:
            for column in near_columns(place, label, queries.shape[1]):
                near.append(Near(number, column.field, queries))
                labels.append(column.label)
    return near, tuple(labels)


def _everything(found: list[Place], what: Request) -> fuse.Ranking:
    """All rows left, in order, if nothing ranks them."""
    left: list[tuple[int, np.ndarray]] = []
    count = 0
    for number, place in enumerate(found):
        if not any(column.kind in what.kinds for column in place.columns):
            continue
        positions = place.positions()[: None if what.last is None else what.last - count]
        left.append((number, positions))
        count += len(positions)
        if what.last is not None and count >= what.last:
            break
    scope = np.repeat(np.array([number for number, _ in left], np.int64), [len(each) for _, each in left])
    position = np.concatenate([np.empty(0, np.int64), *(each for _, each in left)])
    nothing = np.full(len(scope), np.nan)
    none = np.full(len(scope), fuse.NONE)
    return _cut(fuse.Ranking(scope, position, nothing, nothing, nothing, none, none), what)


def _nothing() -> Hits:
    empty = np.empty(0, np.int64)
    return Hits(empty, empty, empty, np.empty(0))


def _merged(a: Hits, b: Hits) -> Hits:
    """Both, the better item of each row."""
    scope, position, item, score = (
        np.concatenate([getattr(a, name), getattr(b, name)])
        for name in ("scope", "position", "item", "score")
    )
    order = np.lexsort((item, position, scope, -score))
    rows = (scope[order] << 40) | position[order]
    order = order[np.sort(np.unique(rows, return_index=True)[1])]
    return Hits(scope[order], position[order], item[order], score[order])


__all__ = ["Request", "request", "search"]
