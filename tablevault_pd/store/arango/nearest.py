"""The nearest vectors, found on the server: it scores what comes into question, only the best come here.

The server computes in float64 with decimals as they are stored, so its scores are nearly those that rank (see
vector_scores.py). It therefore ranks by the most a score may be, and the best come with their vectors, to be measured here. If
the k-th of them is above all that may have been left behind, nobody is missing; else all are asked for that may reach it.

What the server cannot measure always comes first, and where too much would come, `find` gives up: then the columns are
read, as they are for a ranking of all rows.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np

from tablevault_pd.errors import VaultCorrupt
from tablevault_pd.store.arango.layout import EMBEDDINGS
from tablevault_pd.store.arango.vectorindex import VectorIndexes
from tablevault_pd.store.engine.ranking import ranked, take_hits
from tablevault_pd.store.engine.vector_scores import exact_scores, in_float32_range, lengths

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tablevault_pd.store import Hits, Metric, Scope, VectorQuery
    from tablevault_pd.store.arango.client import Client
    from tablevault_pd.store.arango.columns import StoredColumn
    from tablevault_pd.store.arango.reader import Reader, RowRun
    from tablevault_pd.store.arango.windows import Span

MARGIN = 16  # rows beyond the k-th that are asked for at first
GROWTH = 16  # … and so many times as many when the filters refuse too many of them
RANGES = 2_000  # pieces that a filter may cut the rows into; beyond, the narrowest gaps between them are looked at too
MOST_NUMBERS = 4_000_000  # in the vectors of one answer, some 50 MB of JSON
MOST_QUERIES = 64  # the server looks at every row for each; for more, reading the rows once is cheaper
SMALLEST = 10_000  # rows that are worth a vector index
HARDER = 8  # how many times as many an index is asked for once more, before the exact way is taken
MOST_APPROX = 5_000  # … but never for more than these
ANY = -1e308  # below every score the server computes

# 3.12; needs 3.9. A span: [number, batch, first row, end, field, attribute of measured vectors, number of the query's kind].
# A query: what a score must reach at least, and {vector, norm} of each kind. An item's `norm` is null for what no search
# finds, 0 for zeros, below 0 for what the server cannot measure. `seen` tells whether all rows are there: a cluster may
# show a batch before its items.
_SCORED = """
      FOR i IN tv_embeddings
        FILTER i.batch == s[1] AND i.field == s[4] AND i.row >= s[2] AND i.row < s[3]
        FILTER i.norm != null AND (i.norm != 0 OR @metric != "cosine")
        LET vector = i.norm > 0 ? i[s[5]] : i.vector
        LET q = kinds[s[6]]
        LET slack = i.norm < 0 ? 1.0e308
          : (i.norm == 0 ? (@metric == "l2" ? @doubt * q.norm : 0)
          : (@metric == "l2" ? @doubt * (i.norm + q.norm) : (@metric == "dot" ? @doubt * i.norm * q.norm : @doubt)))
        LET score = i.norm < 0 ? 0
          : (i.norm == 0 ? (@metric == "l2" ? 0 - q.norm : 0)
          : (@metric == "l2" ? 0 - L2_DISTANCE(vector, q.vector)
          : (@metric == "dot" ? COSINE_SIMILARITY(vector, q.vector) * i.norm * q.norm : COSINE_SIMILARITY(vector, q.vector))))
"""
NEAREST = f"""
LET seen = SUM(
  FOR s IN @spans
    RETURN LENGTH(
      FOR i IN tv_embeddings
        FILTER i.batch == s[1] AND i.field == s[4] AND i.row >= s[2] AND i.row < s[3]
        RETURN 1))
LET best = (
  FOR query IN @queries
    LET kinds = query.kinds
    RETURN (
      FOR s IN @spans{_SCORED}
        LET most = score + slack
        FILTER most >= query.least
        SORT most DESC
        LIMIT @count
        RETURN [s[0], i.row, most, vector]))
RETURN {{seen, best}}
"""
# How many items surely score above some scores: [number of those scores, items]; and the items of which that is not sure:
# [number, row, the least that their score may be, vector].
NEARER = f"""
LET kinds = @kinds
LET sure = (
  FOR s IN @spans{_SCORED}
        LET below = LENGTH(FOR t IN @scores FILTER t < score - slack RETURN 1)
        COLLECT number = below WITH COUNT INTO items
        RETURN [number, items])
LET unsure = (
  FOR s IN @spans{_SCORED}
        LET below = LENGTH(FOR t IN @scores FILTER t < score - slack RETURN 1)
        FILTER below < LENGTH(FOR t IN @scores FILTER t <= score + slack RETURN 1)
        LIMIT @limit
        RETURN [s[0], i.row, score - slack, vector])
RETURN {{sure, unsure}}
"""


@dataclass(frozen=True, slots=True)
class VectorPiece:
    """Rows of one batch that one column is to be searched in."""

    near: int  #: number of the Near
    scope: int
    span: Span
    column: StoredColumn
    ranges: np.ndarray  #: (n, 2): positions that come into question, first and end

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of its vectors, as they were written."""
        dtype: np.dtype[Any] = np.dtype(self.column.kind.value_type.to_pandas_dtype())
        return dtype

    @property
    def first(self) -> int:
        """Position in the list of what would be the batch's row 0."""
        return self.span.position - self.span.low


@dataclass(frozen=True, slots=True)
class VectorSearchPlan:
    """One search, taken apart."""

    near: Sequence[VectorQuery]
    scopes: Sequence[Scope]
    metric: Metric
    k: int
    pieces: list[VectorPiece]
    rows_left: int  #: rows that the filters leave, each as often as it has columns

    @property
    def queries(self) -> int:
        """How many vectors each column is compared with."""
        return len(self.near[0].queries)

    @property
    def looked_at(self) -> int:
        """Rows that come into question, some of which the filters may yet refuse."""
        return sum(int((piece.ranges[:, 1] - piece.ranges[:, 0]).sum()) for piece in self.pieces)

    @property
    def at_first(self) -> int:
        """How many candidates hold the best k rows, if filters and columns are spread evenly."""
        columns: int = max(Counter(query.scope for query in self.near).values())
        return (self.k + MARGIN) * columns * (1 + self.looked_at) // (1 + self.rows_left)

    @property
    def most(self) -> int:
        """How many candidates may come in one answer."""
        dim: int = max(query.queries.shape[1] for query in self.near)
        return MOST_NUMBERS // (dim * self.queries)


class Nearest:
    """Finds vectors of one vault on its server."""

    def __init__(self, client: Client, reader: Reader) -> None:
        self._client, self._reader = client, reader
        self.indexes = VectorIndexes(client)

    def find(
        self,
        near: Sequence[VectorQuery],
        scopes: Sequence[Scope],
        runs: Sequence[Sequence[RowRun]],
        *,
        metric: Metric,
        k: int,
        approx: bool,
    ) -> list[Hits] | None:
        """The best `k` rows for each query; None where reading the columns is better. `runs`: of each near, its rows."""
        plan = self._plan(near, scopes, runs, metric, k)
        if plan is None:
            return None
        approximate = self._approximately(plan) if approx and metric == "cosine" else None
        return approximate or self._exactly(plan)

    def _plan(
        self,
        near: Sequence[VectorQuery],
        scopes: Sequence[Scope],
        runs: Sequence[Sequence[RowRun]],
        metric: Metric,
        k: int,
    ) -> VectorSearchPlan | None:
        """What the server is to look at; None if it cannot."""
        sizes = np.concatenate([lengths(query.queries) for query in near])
        if not in_float32_range(sizes).all() or len(near[0].queries) > MOST_QUERIES:
            return None
        numbers = [number for number, some in enumerate(runs) for _ in some]
        pieces, rows_left = [], 0
        for span in self._reader.spans([run for some in runs for run in some]):
            number = numbers[span.run]
            query = near[number]
            column = self._reader.column(span.schema, query.field)
            if column is None:
                continue
            if column.collection != EMBEDDINGS or column.dim != query.queries.shape[1]:
                return None
            ranges = _ranges(scopes[query.scope].keep, span.position, span.position + span.rows)
            if len(ranges):
                rows_left += int((ranges[:, 1] - ranges[:, 0]).sum())
                pieces.append(VectorPiece(number, query.scope, span, column, ranges))
        return VectorSearchPlan(near, scopes, metric, k, _coarser(pieces), rows_left)

    # -- every row

    def _exactly(self, plan: VectorSearchPlan) -> list[Hits] | None:
        count = min(plan.at_first, plan.looked_at)
        least = [ANY] * plan.queries
        while count <= plan.most:
            best = self._best(plan, count, least)
            if best is None:
                return None
            if all(settled for _, settled in best):
                return [take_hits(hits, np.s_[: plan.k]) for hits, _ in best]
            if count == plan.most:
                return None
            enough = [len(hits) >= plan.k for hits, _ in best]
            least = [
                float(hits.score[plan.k - 1]) if full else ANY
                for (hits, _), full in zip(best, enough, strict=True)
            ]
            count = plan.most if all(enough) else min(count * GROWTH, plan.most)
        return None

    def _best(
        self, plan: VectorSearchPlan, count: int, least: Sequence[float]
    ) -> list[tuple[Hits, bool]] | None:
        """The best `count` rows for each query, and whether the best k are among them; None if rows are missing."""
        if not plan.pieces:
            return [(_hits(plan, query, []), True) for query in range(plan.queries)]
        binds, kinds = _bound(plan)
        queries = [{"least": low, "kinds": some} for low, some in zip(least, kinds, strict=True)]
        [answer] = self._client.query(NEAREST, binds=binds, queries=queries, count=count)
        if answer["seen"] != plan.looked_at:
            return None
        results = []
        for query, rows in enumerate(answer["best"]):
            hits = _hits(plan, query, [(piece, row, vector) for piece, row, _, vector in rows])
            settled = len(rows) < count or count == plan.looked_at  # all came that reach `least`
            if not settled and len(hits) >= plan.k:
                settled = bool(hits.score[plan.k - 1] > rows[-1][2])
            results.append((hits, settled))
        return results

    def count(
        self,
        near: Sequence[VectorQuery],
        scopes: Sequence[Scope],
        runs: Sequence[Sequence[RowRun]],
        scores: np.ndarray,
        *,
        metric: Metric,
    ) -> np.ndarray | None:
        """How many items score above each of `scores`, for one query; None where reading the columns is better."""
        plan = self._plan(near, scopes, runs, metric, len(scores))
        if plan is None or plan.looked_at != plan.rows_left:
            return None
        levels = np.unique(scores)
        binds, [kinds] = _bound(plan)
        [answer] = self._client.query(
            NEARER, binds=binds, kinds=kinds, scores=levels.tolist(), limit=plan.most
        )
        unsure = answer["unsure"]
        if len(unsure) >= plan.most:
            return None
        above = np.zeros(len(levels), np.int64)
        for number, items in answer["sure"]:
            above[:number] += items
        for piece, row, least, vector in unsure:
            hits = _hits(plan, 0, [(piece, row, vector)])
            if len(hits):
                above += (levels >= least) & (levels < hits.score[0])
        return np.asarray(above[np.searchsorted(levels, scores)])

    # -- by an index

    def _approximately(self, plan: VectorSearchPlan) -> list[Hits] | None:
        """The best rows an index finds; None where there is none, or it finds too few."""
        columns = {piece.column.vectors for piece in plan.pieces}
        kinds, _ = _kinds(plan.near)
        count = 2 * plan.at_first
        if plan.rows_left < max(SMALLEST, 10 * plan.k) or len(columns) > 1 or len(kinds) > 1:
            return None
        index = self.indexes.ready(plan.pieces[0].column, plan.rows_left)
        if index is None:
            return None
        places: dict[tuple[str, int], list[int]] = {}
        for number, piece in enumerate(plan.pieces):
            places.setdefault((piece.span.batch, piece.column.field), []).append(number)
        most = min(MOST_APPROX, plan.most)
        for effort in (1, HARDER):
            answer = index.search(kinds[0], count * effort, effort) if count * effort <= most else None
            if answer is None:
                break
            by_query = [
                _hits(plan, query, [
                    (number, row, vector)
                    for batch, field, row, vector in rows
                    for number in places.get((batch, field), ())
                    if plan.pieces[number].span.low <= row < plan.pieces[number].span.high
                ])
                for query, rows in enumerate(answer)
            ]  # fmt: skip
            if all(len(hits) >= plan.k for hits in by_query):
                return [take_hits(hits, np.s_[: plan.k]) for hits in by_query]
            if min(map(len, by_query)) * HARDER < plan.k:
                break
        return None


def _doubt(plan: VectorSearchPlan) -> float:
    """By what share the server's scores may be wrong."""
    narrow = any(piece.dtype.itemsize < 8 for piece in plan.pieces)
    dim: int = max(query.queries.shape[1] for query in plan.near)
    # A decimal of a float32 is off by half a unit of its last place; the rest is the server's rounding.
    return 4 * float(np.finfo(np.float32).eps) * narrow + (8 * dim + 64) * float(np.finfo(np.float64).eps)


def _bound(plan: VectorSearchPlan) -> tuple[dict[str, Any], list[list[dict[str, Any]]]]:
    """The pieces and what measures them, as the statements take them; and for each query its vector of each kind."""
    kinds, kind_of = _kinds(plan.near)
    spans = [
        [number, piece.span.batch, low, high, piece.column.field, piece.column.vectors, kind_of[piece.near]]
        for number, piece in enumerate(plan.pieces)
        for low, high in (piece.ranges - piece.first).tolist()
    ]
    queries = [
        [
            {"vector": vector, "norm": norm}
            for vector, norm in zip(kind.tolist(), lengths(kind).tolist(), strict=True)
        ]
        for kind in kinds
    ]
    binds = {"spans": spans, "metric": plan.metric, "doubt": _doubt(plan)}
    return binds, [list(some) for some in zip(*queries, strict=True)]


def _kinds(near: Sequence[VectorQuery]) -> tuple[list[np.ndarray], list[int]]:
    """The different arrays of queries, and which of them each near has."""
    numbers: dict[tuple[Any, ...], int] = {}
    kinds: list[np.ndarray] = []
    kind_of = []
    for query in near:
        queries = np.asarray(query.queries, np.float64)
        key = (queries.shape, queries.tobytes())
        if key not in numbers:
            numbers[key] = len(kinds)
            kinds.append(queries)
        kind_of.append(numbers[key])
    return kinds, kind_of


def _ranges(keep: np.ndarray | None, start: int, stop: int) -> np.ndarray:
    """The kept positions from `start` to `stop` as runs: int64, shape (n, 2)."""
    if keep is None:
        return np.array([[start, stop]], np.int64)
    inside = np.concatenate([[False], keep[start:stop], [False]])
    return start + np.flatnonzero(inside[1:] != inside[:-1]).reshape(-1, 2)


def _coarser(pieces: list[VectorPiece]) -> list[VectorPiece]:
    """The pieces in at most about RANGES ranges: the narrowest gaps are closed."""
    excess = sum(len(piece.ranges) for piece in pieces) - RANGES
    gaps = [piece.ranges[1:, 0] - piece.ranges[:-1, 1] for piece in pieces]
    every = np.concatenate([np.empty(0, np.int64), *gaps])
    if excess <= 0 or not len(every):
        return pieces
    narrow = np.partition(every, min(excess, len(every)) - 1)[min(excess, len(every)) - 1]
    closed = []
    for piece, gap in zip(pieces, gaps, strict=True):
        wide = np.flatnonzero(gap > narrow)
        first, last = np.append(0, wide + 1), np.append(wide, len(gap))
        ranges = np.stack([piece.ranges[first, 0], piece.ranges[last, 1]], axis=1)
        closed.append(VectorPiece(piece.near, piece.scope, piece.span, piece.column, ranges))
    return closed


def _hits(plan: VectorSearchPlan, query: int, rows: Sequence[tuple[int, int, Any]]) -> Hits:
    """(number of the piece, row of the batch, vector) measured and ranked, without what the filters refuse."""
    numbers = np.empty(0, np.int64)
    parts = [(numbers, numbers, numbers, np.empty(0))]  # scope, position, item, score
    for number, group in groupby(sorted(rows, key=lambda row: row[0]), key=lambda row: row[0]):
        piece, some = plan.pieces[number], list(group)
        at = np.array([row for _, row, _ in some], np.int64) + piece.first
        keep = plan.scopes[piece.scope].keep
        passing = np.arange(len(at)) if keep is None else np.flatnonzero(keep[at])
        if not len(passing):
            continue
        try:
            # The texts that stand for odd numbers are read as these. The width they were written in makes them exact.
            vectors = np.array([some[index][2] for index in passing], np.float64).astype(piece.dtype)
            vectors = vectors.reshape(len(passing), piece.column.dim or 0)
        except (TypeError, ValueError) as error:
            raise VaultCorrupt(
                f"A vector of {plan.scopes[piece.scope].version.list} is damaged. vault.check() lists all damage."
            ) from error
        near = np.asarray(plan.near[piece.near].queries[query], np.float64)
        scope, item = (np.full(len(passing), number, np.int64) for number in (piece.scope, piece.near))
        parts.append((scope, at[passing], item, exact_scores(vectors, near, plan.metric)))
    return ranked(*map(np.concatenate, zip(*parts, strict=True)))
