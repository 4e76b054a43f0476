"""Edges in the documents of their batches, and mirrored to the edge collection of the named graph.

The batch document is the truth: its edges are committed with it, by the one insert that commits everything. Children
are found through it, too: the batches that hold some positions are a range of an index, and their edges lie in them.

Parents are found through the mirror, one document per edge in ``tv_edges``, filed under the smallest bin of positions
that holds all its parents (see :func:`tablevault_pd.store.edges.bin_of`). Nothing in it depends on the place that the
batch will get, so it is written *before* the batch document, as items are: a crash in between leaves documents that
count for nothing and are swept with the strays, and never a batch without its mirror. It is also what the server's web
interface draws and what ``FOR v, e, p IN 1..5 OUTBOUND … GRAPH "tv_lineage"`` walks, from a batch to those it came from.
"""

from __future__ import annotations

import base64
import binascii
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import numpy as np

from tablevault_pd.errors import SessionNotFound, VaultCorrupt
from tablevault_pd.store import Batch, Problem, Version
from tablevault_pd.store.arango.client import Client
from tablevault_pd.store.arango.layout import BATCHES, Clock
from tablevault_pd.store.arango.placing import to_time, version_of
from tablevault_pd.store.arango.spans import ANSWER_BYTES
from tablevault_pd.store.edges import (
    EACH,
    PAIRS,
    Edge,
    EdgeSummary,
    EdgeTable,
    Writers,
    bin_of,
    bins_over,
    edge_table,
)
from tablevault_pd.store.packing import pack, unpack

# An edge in a batch document is an array, which is a third of an object's size, in the order of _plain():
#   0 parent list, 1 parent version, 2 parent generation, 3 stated, 4 form, 5 first child (offset in the batch),
#   6 rows, 7 lowest parent, 8 span, 9 step, 10 children and 11 parents (packed, base64; null where the form has none)

# 3.12; nothing in it is newer than 3.8, and nothing is removed in 4.0: so for all statements here. The inner query finds
# each batch once, however many of the runs of positions it lies in.
EDGES_BY_CHILD = """
LET keys = (
  FOR s IN @spans
    LET lowest = FIRST(
      FOR f IN tv_batches
        FILTER f.list == @list AND f.generation == @generation AND f.start <= s[0] AND f.rows > 0
        SORT f.start DESC LIMIT 1 RETURN f.start)
    FOR b IN tv_batches
      FILTER b.list == @list AND b.generation == @generation AND b.start >= lowest AND b.start < s[1] AND b.rows > 0
      RETURN DISTINCT b._key)
FOR b IN tv_batches
  FILTER b._key IN keys
  LET touching = (
    FOR e IN NOT_NULL(b.edges, [])
      FILTER b.start + e[5] < @high AND b.start + e[5] + e[6] > @low
      RETURN e)
  FILTER LENGTH(touching) > 0
  SORT b.start
  RETURN [b.list, b.version, b.generation, b.start, touching]
"""
EDGES_BY_PARENT = """
FOR w IN @bins
  FOR e IN tv_edges
    FILTER e.parent_list == @list AND e.parent_generation == @generation
      AND e.parent_level == w[0] AND e.parent_bin >= w[1] AND e.parent_bin <= w[2]
    FOR b IN tv_batches
      FILTER b._key == e.batch AND b.list > 0
      RETURN [b.list, b.version, b.generation, b.start, [b.edges[e.number]]]
"""
EDGES_OF_BATCH = """
FOR b IN tv_batches
  FILTER b.list == @list AND b.version == @version
  RETURN [b.list, b.version, b.generation, b.start, NOT_NULL(b.edges, [])]
"""
SUMMARIES = """
FOR b IN tv_batches
  FILTER b.list > 0 AND LENGTH(NOT_NULL(b.edges, [])) > 0
  LET parents = (FOR e IN b.edges COLLECT list = e[0], version = e[1] AGGREGATE stated = MIN(e[3]) RETURN [list, version, stated])
  RETURN [b.list, b.version, b.rows, b.session, b.cell, b.time, parents]
"""
WRITERS = """
LET lowest = FIRST(
  FOR f IN tv_batches
    FILTER f.list == @list AND f.generation == @generation AND f.start <= @low AND f.rows > 0
    SORT f.start DESC LIMIT 1 RETURN f.start)
FOR b IN tv_batches
  FILTER b.list == @list AND b.generation == @generation AND b.start >= lowest AND b.start < @high AND b.rows > 0
  SORT b.start
  RETURN [b.start, b.rows, b.version, NOT_NULL(b.session, -1), NOT_NULL(b.cell, -1)]
"""
VERSIONS_BY_NUMBER = """
FOR b IN tv_batches
  FILTER b.list == @list AND b.version IN @versions
  SORT b.version
  RETURN UNSET(b, "parts", "base", "edges", "reads")
"""
LIST_NAMES = "FOR l IN tv_lists FILTER l.id IN @ids RETURN [l.id, l.name]"
BASES = """
FOR b IN tv_batches
  FILTER b.list == @list AND b.operation == "restore" AND LENGTH(b.base) > 0
  RETURN [b.version, LAST(b.base)[0], LAST(b.base)[2]]
"""
# Nothing is asked of the batches unless some version lost rows.
KEPT_ROWS = """
LET any_gone = LENGTH(FOR b IN tv_batches FILTER b.list == @list AND b.gone == true LIMIT 1 RETURN 1) > 0
LET kept = (
  FOR b IN tv_batches
    FILTER any_gone AND b.list == @list AND b.emptied == false AND b.rows > 0
    COLLECT generation = b.generation AGGREGATE rows = MAX(b.start + b.rows)
    RETURN [generation, rows])
RETURN any_gone ? kept : null
"""
# Keys are made by the client and "ignore" lets it be repeated.
MIRROR = """
FOR e IN @edges
  LET parent = FIRST(FOR p IN tv_batches FILTER p.list == e.parent_list AND p.version == e.parent_version RETURN p._id)
  INSERT MERGE(e, {_from: @child, _to: NOT_NULL(parent, CONCAT("tv_lists/", e.parent_list))}) INTO tv_edges
    OPTIONS {overwriteMode: "ignore", waitForSync: true}
"""
# What is there already goes first: the time of the first reading stays.
NOTE_READS = """
FOR s IN tv_sessions
  FILTER s.id == @session
  UPDATE s WITH {reads: MERGE(@reads, NOT_NULL(s.reads, {}))} IN tv_sessions OPTIONS {waitForSync: true}
  RETURN 1
"""
READS_NOTED = """
FOR s IN tv_sessions
  FILTER s.id IN @ids
  LET carried = (FOR b IN tv_batches FILTER b.reader == s.id FOR r IN b.reads RETURN r)
  FOR r IN APPEND(VALUES(NOT_NULL(s.reads, {})), carried)
    LET name = FIRST(FOR l IN tv_lists FILTER l.id == r[0] RETURN l.name)
    RETURN [s.id, r[2], name, r[1]]
"""
ALL_READS_NOTED = """
FOR s IN tv_sessions
  LET carried = (FOR b IN tv_batches FILTER b.reader == s.id FOR r IN b.reads RETURN r)
  FOR r IN APPEND(VALUES(NOT_NULL(s.reads, {})), carried)
    LET name = FIRST(FOR l IN tv_lists FILTER l.id == r[0] RETURN l.name)
    RETURN [s.id, r[2], name, r[1]]
"""
# A page at a time, of as many batches as fit one answer: there may be megabytes of positions in each.
CHECK_EDGES = """
FOR b IN tv_batches
  FILTER b.list > 0 AND b._key > @after AND LENGTH(NOT_NULL(b.edges, [])) > 0
  SORT b._key LIMIT @page
  LET totals = (
    FOR e IN b.edges
      RETURN FIRST(FOR p IN tv_batches FILTER p.list == e[0] AND p.version == e[1] RETURN p.total))
  LET mirrored = LENGTH(FOR m IN tv_edges FILTER m.batch == b._key RETURN 1)
  RETURN {_key: b._key, name: b.name, version: b.version, rows: b.rows, edges: b.edges, totals, mirrored}
"""
_MAX_SPANS = 512
_PER_REQUEST = 10_000
_FIRST_PAGE = 20


class Edges:
    """The lineage part of the ArangoDB store."""

    client: Client
    clock: Clock

    def edges(
        self,
        list_id: int,
        generation: int,
        spans: Sequence[tuple[int, int]],
        *,
        side: Literal["child", "parent"],
    ) -> EdgeTable:
        """Edges that touch any of these runs of positions."""
        if not spans:
            return _table([])
        runs = [(int(low), int(high)) for low, high in spans]
        low, high = runs[0][0], runs[-1][1]
        if len(runs) > _MAX_SPANS:
            runs = [(low, high)]
        place: dict[str, Any] = {"list": int(list_id), "generation": int(generation)}
        if side == "child":
            found = self.client.query(
                EDGES_BY_CHILD, binds={**place, "spans": runs, "low": low, "high": high}
            )
        else:
            found = self.client.query(EDGES_BY_PARENT, binds={**place, "bins": _bins(runs)})
        return _table(found)

    def edges_of(self, version: Version) -> EdgeTable:
        """The edges that one commit brought."""
        return _table(self.client.query(EDGES_OF_BATCH, list=version.list_id, version=version.version))

    def edge_summaries(self) -> list[EdgeSummary]:
        """Which batch has something from which version, over the whole vault, oldest first."""
        rows = self.client.query(SUMMARIES)
        found = [(row[5], row[0], row[1], *each, row) for row in rows for each in row[6]]
        return [
            EdgeSummary(parent, number, list_id, version, row[2], bool(stated), row[3], row[4], to_time(time).isoformat())
            for time, list_id, version, parent, number, stated, row in sorted(found, key=lambda one: one[:5])
        ]  # fmt: skip

    def writers(self, list_id: int, generation: int, low: int, high: int) -> Writers:
        """The commits that wrote the positions from `low` to `high`."""
        wanted = {"list": int(list_id), "generation": int(generation), "low": int(low), "high": int(high)}
        columns = list(zip(*self.client.query(WRITERS, binds=wanted), strict=True)) or [()] * 5
        return Writers(*(np.asarray(column, np.int64) for column in columns))

    def versions_by_number(self, list_id: int, versions: Sequence[int]) -> list[Version]:
        """Versions of a list, by its id; those that do not exist are left out."""
        numbers = sorted({int(version) for version in versions})
        found = self.client.query(VERSIONS_BY_NUMBER, list=int(list_id), versions=numbers)
        return [version_of(row) for row in found]

    def list_names(self, ids: Sequence[int]) -> dict[int, str]:
        """Names of lists, by id."""
        return dict(self.client.query(LIST_NAMES, ids=[int(each) for each in ids]))

    def bases(self, list_id: int) -> dict[int, tuple[int, int]]:
        """Generations that begin with rows of another one: generation -> (that one, how many rows)."""
        return {made: (base, rows) for made, base, rows in self.client.query(BASES, list=int(list_id))}

    def kept_rows(self, list_id: int) -> Mapping[int, int] | None:
        """How many rows of each generation are left after a vacuum; None if nothing was ever removed."""
        [kept] = self.client.query(KEPT_ROWS, list=int(list_id))
        return None if kept is None else dict(kept)

    def note_reads(self, session_id: int, reads: Sequence[tuple[int, int]]) -> None:
        """Keep that a session read these (list id, version)."""
        self.client.writable()
        if not reads:
            return
        noted = {f"{read[0]}@{read[1]}": read for read in timed(reads, self.clock)}
        if not self.client.query(NOTE_READS, session=int(session_id), reads=noted):
            raise SessionNotFound(f"No session with the id {session_id} is in this vault.")

    def reads(self, session_ids: Sequence[int] | None = None) -> list[tuple[int, str, int]]:
        """(session id, list, version): what sessions read, in order."""
        if session_ids is None:
            rows = self.client.query(ALL_READS_NOTED)
        else:
            rows = self.client.query(READS_NOTED, ids=[int(each) for each in session_ids])
        rows.sort(key=lambda row: row[:2])
        return list(dict.fromkeys((session, name, version) for session, _, name, version in rows))

    def put_mirror(self, key: str, edges: Sequence[Edge]) -> None:
        """Write the mirror of a batch's edges, before the batch itself."""
        self._put_mirror(key, [plain(edge) for edge in edges])

    def _put_mirror(self, key: str, edges: Sequence[Sequence[Any]]) -> None:
        for at in range(0, len(edges), _PER_REQUEST):
            some = enumerate(edges[at : at + _PER_REQUEST], at)
            documents = [_mirrored(key, number, edge) for number, edge in some]
            self.client.query(MIRROR, edges=documents, child=f"{BATCHES}/{key}")

    def damaged_edges(self, *, fix: bool) -> Iterator[Problem]:
        """Edges that cannot be read or that name rows which never were, and mirrors that lack some, written again."""
        after, page = "", _FIRST_PAGE
        while rows := self.client.query(CHECK_EDGES, after=after, page=page):
            after = rows[-1]["_key"]
            size = sum(100 + len(text or "") for row in rows for edge in row["edges"] for text in edge[10:12])
            page = min(1000, max(1, ANSWER_BYTES * len(rows) // size))
            for row in rows:
                path = f"{BATCHES}/{row['_key']}"
                for edge, total in zip(row["edges"], row["totals"], strict=True):
                    detail = _wrong(edge, row["rows"], total)
                    if detail:
                        yield Problem("damage", "damaged edge", row["name"], row["version"], path, detail)
                lacking = len(row["edges"]) - row["mirrored"]
                if lacking > 0:
                    if fix:
                        self._put_mirror(row["_key"], row["edges"])
                    detail = f"{lacking} of {len(row['edges'])} edges" + (
                        "" if fix else "; check(fix=True) writes them"
                    )
                    yield Problem(
                        "damage", "missing in tv_edges", row["name"], row["version"], path, detail, fix
                    )


# -- documents


def carried(batch: Batch, clock: Clock) -> dict[str, Any]:
    """What a batch document says of its lineage: where its rows came from, and what its session read before."""
    reads = timed(batch.reads, clock) if batch.session_id is not None else []
    return {
        "edges": [[*plain(edge), _packed(edge.children), _packed(edge.parents)] for edge in batch.edges],
        "reader": batch.session_id
        if reads
        else None,  # only those are looked up, not every batch of a session
        "reads": reads,
    }


def plain(edge: Edge) -> list[int]:
    """The whole numbers of an edge, in the order they are stored in."""
    return [
        int(value)
        for value in (
            edge.parent_list, edge.parent_version, edge.parent_generation, edge.stated, edge.form, edge.child, edge.rows,
            edge.parent, edge.span, edge.step,
        )
    ]  # fmt: skip


def timed(reads: Sequence[tuple[int, int]], clock: Clock) -> list[list[int]]:
    """(list id, version, when): in the order they were read in."""
    now = clock.now_us()
    return [[int(list_id), int(version), now + n] for n, (list_id, version) in enumerate(reads)]


def _packed(values: np.ndarray | None) -> str | None:
    return None if values is None else base64.b64encode(pack(values)).decode("ascii")


def _mirrored(key: str, number: int, edge: Sequence[Any]) -> dict[str, Any]:
    level, bin_ = bin_of(edge[7], edge[7] + edge[8])
    return {
        "_key": f"{key}-{number}",
        "batch": key,
        "number": number,  # which of its edges
        "parent_list": edge[0],
        "parent_version": edge[1],
        "parent_generation": edge[2],
        "stated": bool(edge[3]),
        "rows": edge[6],
        "parent_level": level,
        "parent_bin": bin_,
    }


# -- back from documents


def _table(batches: Sequence[Sequence[Any]]) -> EdgeTable:
    """Edges as columns, from (list, version, generation, start of the batch, its edges)."""
    rows = [(batch, edge) for batch in batches for edge in batch[4]]
    for batch, edge in rows:
        if edge is None:
            raise VaultCorrupt(
                f"The lineage of {_where(batch)} is damaged: tv_edges names an edge that it does not have. "
                "Restore the vault from a backup."
            )
    # Columns of EdgeTable: the child, where it is in its generation, then the parent and how they map.
    columns = [
        [list_id, version, generation, start + e[5], e[6], e[0], e[1], e[2], e[7], e[8], e[3], e[4], e[9]]
        for (list_id, version, generation, start, _), e in rows
    ]
    children = [_unpacked(edge[10], batch) for batch, edge in rows]
    parents = [_unpacked(edge[11], batch) for batch, edge in rows]
    return edge_table(list(zip(*columns, strict=True)), children, parents)


def _unpacked(text: str | None, batch: Sequence[Any]) -> np.ndarray | None:
    return None if text is None else _positions(text, _where(batch))


def _positions(text: str, where: str) -> np.ndarray:
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError, TypeError) as error:
        raise VaultCorrupt(
            f"The lineage of {where} is damaged: {error}. Restore the vault from a backup."
        ) from error
    return unpack(data, where)


def _where(batch: Sequence[Any]) -> str:
    return f"version {batch[1]} of the list {batch[0]}"


def _bins(spans: Sequence[tuple[int, int]]) -> list[tuple[int, int, int]]:
    """The bins over all spans, none of them twice: what lies in two ranges would be found twice."""
    by_level: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for low, high in spans:  # in order, and so are their bins
        for level, first, last in bins_over(low, high):
            ranges = by_level[level]
            if ranges and first <= ranges[-1][1] + 1:
                ranges[-1] = (ranges[-1][0], max(last, ranges[-1][1]))
            else:
                ranges.append((first, last))
    return [(level, *found) for level, ranges in by_level.items() for found in ranges]


def _wrong(edge: Sequence[Any], rows: int, total: int | None) -> str | None:
    """What is wrong with a stored edge of a batch of so many rows, whose parent version has `total`."""
    if total is None or edge[5] + edge[6] > rows or edge[7] + edge[8] > total:
        return "it names rows that were never there"
    try:
        children, parents = (None if text is None else _positions(text, "it") for text in edge[10:12])
    except VaultCorrupt as error:
        return str(error)
    if (parents is not None) != (edge[4] in (PAIRS, EACH)):
        return "its positions are missing"
    pairs = edge[6] if children is None else len(children)
    return (
        "it has lost positions"
        if edge[4] == PAIRS and parents is not None and len(parents) != pairs
        else None
    )
