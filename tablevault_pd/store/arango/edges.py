"""Edges as documents of the edge collection of the named graph.

Each is filed under its batch, and under the smallest bin of positions that holds all its parents (see
:func:`tablevault_pd.store.edges.bin_of`). Nothing in it depends on the place that the batch will get, so it is written
*before* the batch document, which says how many there are, as items are: a crash in between leaves documents that count for
nothing and are swept with the strays, and never a batch without its edges. They are also what the server's web interface draws
and what ``FOR v, e, p IN 1..5 OUTBOUND … GRAPH "tv_lineage"`` walks, from a batch to those it came from.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Literal

from tablevault_pd.errors import SessionNotFound, VaultCorrupt
from tablevault_pd.progress import warn
from tablevault_pd.store import Batch, Problem, Version
from tablevault_pd.store.arango.batches import BATCHES_OF_RANGES, NAME, NAMED, layout_of, version_of
from tablevault_pd.store.arango.layout import BATCHES, Clock
from tablevault_pd.store.arango.reader import INCOMPLETE_PAUSES_S
from tablevault_pd.store.arango.records import reads, to_bytes, to_text
from tablevault_pd.store.arango.sessions import RESUMED, attempt_of, continued_by
from tablevault_pd.store.arango.stage import REQUEST_BYTES
from tablevault_pd.store.arango.windows import ANSWER_BYTES
from tablevault_pd.store.edges import (
    BASES,
    LEVELS,
    Edge,
    EdgeQuery,
    EdgeSummary,
    EdgeTable,
    GenerationKey,
    ListHistory,
    Writers,
    bin_of,
    few_spans,
    stored_form,
)
from tablevault_pd.store.engine.int_codec import MISPLACED, edge_table_of, pack, unreadable
from tablevault_pd.store.pieces import Pieces
from tablevault_pd.store.times import to_time
from tablevault_pd.store.types import ListInfo

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from tablevault_pd.store.arango.client import Client

# The attribute `edge` is an array, which is a third of an object's size, in the order of _numbers():
#   0 parent list, 1 parent version, 2 parent generation, 3 basis, 4 form, 5 first child (offset in the batch),
#   6 rows, 7 lowest parent, 8 span, 9 step, 10 children and 11 parents (packed, base64; null where the form has none)

# 3.12; nothing in it is newer than 3.9, and nothing is removed in 4.0: so for all statements here. What is told of a batch is
# [list, version, generation, start, edges, how many others its document counts]. By the parents nobody can see what is lost:
# then it is told of the whole vault, as the last row, unless there are as many edges as were @known to be all.
# A row of `ranges` is [number, list, generation, first, end].
EDGES_BY_CHILD = f"""
FOR t IN ({BATCHES_OF_RANGES}
    RETURN [b._key, w[3], w[4]])
  COLLECT key = t[0] AGGREGATE first = MIN(t[1]), end = MAX(t[2])
  FOR b IN tv_batches
    FILTER b._key == key
    LET own = (FOR m IN tv_edges FILTER m.batch == b._key SORT m.number RETURN [b.start + m.child, m.rows, m.edge])
    LET touching = (FOR m IN own FILTER m[0] < end AND m[0] + m[1] > first RETURN m[2])
    FILTER LENGTH(touching) > 0 OR LENGTH(own) < b.edges
    RETURN [b.list, b.version, b.generation, b.start, touching, b.edges - LENGTH(own)]
"""
_OF_CHILDREN = """
LET batches = (
  FOR m IN edges
    COLLECT key = m[0] INTO group = [m[1], m[2]]
    FOR b IN tv_batches
      FILTER b._key == key AND b.list > 0
      RETURN [b.list, b.version, b.generation, b.start, (FOR one IN group SORT one[0] RETURN one[1]), 0])
LET held = LENGTH(tv_edges)
LET declared = (
  FOR l IN tv_lists
    FILTER held != @known
    COLLECT list = l.id
    RETURN FIRST(FOR b IN tv_batches FILTER b.list == list SORT b.version DESC LIMIT 1 RETURN b.so_far)[4])
FOR batch IN PUSH(batches, [null, held, null, null, [], SUM(declared) - (held == @known ? 0 : held)])
  RETURN batch
"""
EDGES_BY_PARENT = f"""
LET edges = (
  FOR w IN @ranges
    FOR z IN @sizes
      FOR m IN tv_edges
        FILTER m.parent_list == w[1] AND m.parent_generation == w[2] AND m.parent_level == z[0]
          AND m.parent_bin >= FLOOR(w[3] / z[1]) AND m.parent_bin <= FLOOR((w[4] - 1) / z[1])
        RETURN DISTINCT [m.batch, m.number, m.edge])
{_OF_CHILDREN}"""
_OWN = """
  LET own = (FOR m IN tv_edges FILTER m.batch == b._key SORT m.number RETURN m.edge)
  RETURN [b.list, b.version, b.generation, b.start, own, b.edges - LENGTH(own)]
"""
ALL_BY_CHILD = f"""
FOR b IN tv_batches
  FILTER b.list IN @lists AND b.edges > 0
{_OWN}"""
ALL_BY_PARENT = f"""
LET edges = (FOR m IN tv_edges FILTER m.parent_list IN @lists RETURN [m.batch, m.number, m.edge])
{_OF_CHILDREN}"""
EDGES_OF_BATCH = f"""
FOR b IN tv_batches
  FILTER b.list == @list AND b.version == @version
{_OWN}"""
SUMMARIES = """
FOR b IN tv_batches
  FILTER b.list > 0 AND b.edges > 0
  LET parents = (
    FOR m IN tv_edges
    FILTER m.batch == b._key
    LET e = m.edge
    COLLECT list = e[0], version = e[1] AGGREGATE basis = MIN(e[3] > 0 ? e[3] : null)
    RETURN [list, version, NOT_NULL(basis, 0)])
  LET own = LENGTH(FOR m IN tv_edges FILTER m.batch == b._key RETURN 1)
  RETURN [b.list, b.version, b.rows, b.session, b.cell, b.time, parents, b.edges - own]
"""
WRITERS = f"""{BATCHES_OF_RANGES}
    RETURN [w[0], b.start, b.rows, b.version, NOT_NULL(b.session, -1), NOT_NULL(b.cell, -1)]
"""
# Nothing is asked of the batches' rows unless some version of the list lost its own. Hints: most versions are not gone, so
# the server would rather look through all of them.
FACTS = f"""
LET lists = (
  FOR l IN tv_lists
    FILTER l.id IN @lists
    LET layouts = LENGTH(
      FOR b IN tv_batches OPTIONS {{indexHint: "tv_list_layout"}} FILTER b.list == l.id AND b.layout > 0 LIMIT 1 RETURN 1)
    LET any_gone = LENGTH(
      FOR b IN tv_batches OPTIONS {{indexHint: "tv_list_gone"}} FILTER b.list == l.id AND b.gone == true LIMIT 1 RETURN 1) > 0
    LET some_gone = any_gone OR l.erased != null
    LET kept = (
      FOR b IN tv_batches OPTIONS {{indexHint: "tv_list_generation_start", maxProjections: 9}}
        FILTER some_gone AND b.list == l.id AND b.emptied == false AND b.rows > 0
        SORT b.generation, b.start
        RETURN [b.generation, b.start, b.start + b.rows])
    RETURN [l.id, l.name, layouts == 0, some_gone ? kept : null, l.erased])
LET versions = (
  FOR v IN @versions
    FOR b IN tv_batches
      FILTER b.list == v[0] AND b.version == v[1]
      RETURN {NAMED})
RETURN {{lists, versions}}
"""
# Told by the index alone.
PARENT_GENERATIONS = """
FOR m IN tv_edges
  COLLECT list = m.parent_list, generation = m.parent_generation
  COLLECT parent = list INTO generations = generation
  RETURN [parent, generations]
"""
# Batches without rows begin where the one before them ends. Loop variables: see versions.py.
NEWEST_OF_GENERATION = f"""
FOR list IN @lists
  FOR generation IN @generations[TO_STRING(list)]
    LET start = FIRST(
      FOR b IN tv_batches FILTER b.list == list AND b.generation == generation SORT b.start DESC LIMIT 1 RETURN b.start)
    LET newest = FIRST(
      FOR b IN tv_batches
        FILTER b.list == list AND b.generation == generation AND b.start == start
        SORT b.version DESC LIMIT 1
        RETURN {NAMED})
    FILTER newest != null
    RETURN newest
"""
# Keys are made by the client and "ignore" lets it be repeated.
PUT_EDGES = """
FOR e IN @edges
  LET parent = FIRST(FOR p IN tv_batches FILTER p.list == e.parent_list AND p.version == e.parent_version RETURN p._id)
  INSERT MERGE(e, {_from: @child, _to: NOT_NULL(parent, CONCAT("tv_lists/", e.parent_list))}) INTO tv_edges
    OPTIONS {overwriteMode: "ignore", waitForSync: true}
"""
# What is there already goes first: the time of the first reading stays.
NOTE_READS = (
    RESUMED
    + """
LET noted = (
  FOR s IN tv_sessions
    FILTER s._key == @session AND LENGTH(resumed) == 0
    UPDATE s WITH {reads: MERGE(@reads, NOT_NULL(s.reads, {}))} IN tv_sessions OPTIONS {waitForSync: true}
    RETURN 1
)
RETURN {resumed, noted}
"""
)
_NOTED = """
  LET carried = (FOR b IN tv_batches FILTER b.reader == s.id FOR r IN b.reads RETURN r)
  FOR r IN APPEND(VALUES(NOT_NULL(s.reads, {})), carried)
    LET name = FIRST(FOR l IN tv_lists FILTER l.id == r[0] RETURN l.name)
    RETURN [s.id, r[2], name, r[1]]
"""
READS_NOTED = f"FOR s IN tv_sessions{_NOTED}"
READS_NOTED_BY = f"FOR s IN tv_sessions FILTER s.id IN @ids{_NOTED}"
# A page at a time, of as many batches as fit one answer: there may be megabytes of positions in each. The last of the rows that
# an edge names was written by the first batch that ends behind it: by the version named, or before.
CHECK_EDGES = f"""
FOR b IN tv_batches
  FILTER b.list > 0 AND b._key > @after AND b.edges > 0
  SORT b._key LIMIT @page
  LET held = (FOR m IN tv_edges FILTER m.batch == b._key SORT m.number RETURN m)
  LET edges = held[*].edge
  LET filed = (FOR m IN held RETURN UNSET(m, "_key", "_id", "_rev", "_from", "_to", "batch", "number", "edge"))
  LET written = (
    FOR e IN edges
      RETURN e[4] == 0 OR e[1] >= NOT_NULL(FIRST(
        FOR p IN tv_batches
          FILTER p.list == e[0] AND p.generation == e[2] AND p.end >= e[7] + e[8] AND p.rows > 0
          SORT p.end LIMIT 1 RETURN p.version), e[1] + 1))
  RETURN {{_key: b._key, name: {NAME}, version: b.version, rows: b.rows, declared: b.edges, edges, filed, written}}
"""
_PER_ANSWER = 50_000  # batches, most of them of a few rows
_FIRST_PAGE = 20
_MAX_SPANS = 512
_BY_SIDE = {"child": (EDGES_BY_CHILD, ALL_BY_CHILD), "parent": (EDGES_BY_PARENT, ALL_BY_PARENT)}
_TO_DO = "Restore the database from a backup; vault.check() lists all damage."
#: The levels of bins, and how many rows a bin of each is wide (see edges.bin_of).
_SIZES = [[level, 16**level] for level in range(LEVELS + 1)]


def _stored(runs: Sequence[Sequence[int]], erased: str | None) -> Pieces:
    """The rows of a list that are stored still."""
    stored = Pieces.of((generation, first, stop) for generation, first, stop in runs)
    return stored if erased is None else stored.without(layout_of(erased, "What was erased of a list"))


class LineageEdges:
    """Edges between rows of a vault on a server, and what a walk along them needs to know."""

    def __init__(self, client: Client, clock: Clock) -> None:
        self._client, self._clock = client, clock
        #: Edges that were told to be lost, by list and version; by None and their count those of the vault.
        self._lost: dict[tuple[int | None, int], int] = {}
        self._known = -1  #: how many edges there were when none was lost

    def edges(self, queries: Sequence[EdgeQuery], *, side: Literal["child", "parent"]) -> EdgeTable:
        """Edges that touch what is wanted. One request; another one for lists of which all are wanted."""
        ranges = [
            [number, int(query.list), int(query.generation), int(low), int(high)]
            for number, query in enumerate(queries)
            if query.generation is not None
            for low, high in few_spans(query.spans, _MAX_SPANS)
        ]
        lists = [int(query.list) for query in queries if query.generation is None]
        some, every = _BY_SIDE[side]
        count = {} if side == "child" else {"known": self._known}
        sizes = {} if side == "child" else {"sizes": _SIZES}
        batches = self._whole(some, ranges=ranges, **sizes, **count) if ranges else []
        batches += self._whole(every, lists=lists, **count) if lists else []
        return _table(batches)

    def _whole(self, statement: str, **values: Any) -> list[list[Any]]:
        """What a statement tells of batches. Raises VaultCorrupt if edges of theirs are lost; warns if others of the vault are.

        It asks again before: a cluster may show a batch a moment before its edges.
        """
        for pause in (*INCOMPLETE_PAUSES_S, None):
            rows = self._client.query(statement, batch_rows=_PER_ANSWER, binds=values)
            lost = {(row[0], row[1]): row[-1] for row in rows if row[-1] > 0}
            if pause is None or lost.items() <= self._lost.items():
                break
            time.sleep(pause)
        self._lost |= lost
        if rows and rows[-1][0] is None and not lost:
            self._known = rows[-1][1]
        for (list_id, version), count in lost.items():
            if list_id is None:
                warn(
                    f"{count} edges are lost from tv_edges in {self._client.address}: what was made of some rows may not be "
                    f"found. {_TO_DO}"
                )
            else:
                raise VaultCorrupt(
                    f"{count} edges of version {version} of the list {list_id} are lost from tv_edges: where its rows came from "
                    f"is not known. {_TO_DO}"
                )
        return [row for row in rows if row[0] is not None]

    def edges_of_batch(self, version: Version) -> EdgeTable:
        """The edges that one commit brought."""
        return _table(self._whole(EDGES_OF_BATCH, list=version.list_id, version=version.version))

    def edge_summaries(self) -> list[EdgeSummary]:
        """Which batch has something from which version, over the whole vault, oldest first."""
        rows = self._whole(SUMMARIES)
        summaries = [(row[5], row[0], row[1], *parent, row) for row in rows for parent in row[6]]
        return [
            EdgeSummary(parent, number, list_id, version, row[2], basis, row[3], row[4], to_time(time).isoformat())
            for time, list_id, version, parent, number, basis, row in sorted(summaries, key=lambda one: one[:5])
        ]  # fmt: skip

    def writers(self, places: Sequence[tuple[int, int, int, int]]) -> list[Writers]:
        """The commits that wrote these rows."""
        numbered = [[number, *map(int, place)] for number, place in enumerate(places)]
        rows = self._client.query(WRITERS, batch_rows=_PER_ANSWER, ranges=numbered) if numbered else []
        by_place: list[list[list[int]]] = [[] for _ in numbered]
        for number, *row in rows:
            by_place[number].append(row)
        return list(map(_writers, by_place))

    def describe_lists(self, lists: Sequence[int] = (), versions: Sequence[tuple[int, int]] = ()) -> ListInfo:
        """Facts about lists, and versions by list id and number."""
        pairs = [[int(list_id), int(number)] for list_id, number in versions]
        [answer] = self._client.query(FACTS, lists=[int(list_id) for list_id in lists], versions=pairs)
        histories = {
            list_id: ListHistory(name, in_place, None if runs is None else _stored(runs, erased))
            for list_id, name, in_place, runs, erased in answer["lists"]
        }
        shown = map(version_of, answer["versions"])
        return ListInfo(histories, {(version.list_id, version.version): version for version in shown})

    def parent_generations(self, lists: Sequence[int]) -> tuple[Mapping[int, Sequence[int]], bool]:
        """The generations of all lists that have children."""
        of_lists = {
            parent: [generation for generation in generations if isinstance(generation, int)]
            for parent, generations in self._client.query(PARENT_GENERATIONS)
            if isinstance(parent, int)
        }  # an edge of another program may have anything there
        return of_lists, True

    def newest_of_generations(self, generations: Sequence[GenerationKey]) -> list[Version]:
        """The newest version of each of these generations."""
        by_list: dict[str, list[int]] = {}
        for list_id, generation in generations:
            by_list.setdefault(str(list_id), []).append(int(generation))
        rows = self._client.query(NEWEST_OF_GENERATION, lists=list(map(int, by_list)), generations=by_list)
        return [version_of(document) for document in rows]

    def note_reads(
        self, session_id: int, reads: Sequence[tuple[int, int]], *, attempt: int | None = None
    ) -> None:
        """Keep that a session read these (list id, version)."""
        self._client.writable()
        if not reads:
            return
        noted = {f"{read[0]}@{read[1]}": read for read in timed(reads, self._clock)}
        [answer] = self._client.query(NOTE_READS, reads=noted, binds=attempt_of(session_id, attempt))
        for resumed in answer["resumed"]:
            raise continued_by(resumed)
        if not answer["noted"]:
            raise SessionNotFound(f"No session with the id {session_id} is in this vault.")

    def reads(self, session_ids: Sequence[int] | None = None) -> list[tuple[int, str, int]]:
        """(session id, list, version): what sessions read, in order."""
        rows = self._client.query_of(session_ids, READS_NOTED, READS_NOTED_BY)
        rows.sort(key=lambda row: row[:2])
        return list(dict.fromkeys((session, name, version) for session, _, name, version in rows))

    def put_edges(self, key: str, edges: Sequence[Edge]) -> None:
        """Write the edges of a batch, before the batch itself."""
        some: list[dict[str, Any]] = []
        size = 0
        for number, edge in enumerate(edges):
            some.append(_document(key, number, edge))
            size += 200 + sum(len(text or "") for text in some[-1]["edge"][10:12])
            if size > REQUEST_BYTES or number == len(edges) - 1:
                self._client.query(PUT_EDGES, edges=some, child=f"{BATCHES}/{key}")
                some, size = [], 0

    def damaged_edges(self) -> Iterator[Problem]:
        """Edges that cannot be read, that name rows which never were, or that are not there."""
        after, page = "", _FIRST_PAGE
        while rows := self._client.query(CHECK_EDGES, after=after, page=page):
            after = rows[-1]["_key"]
            size = 1 + sum(
                100 + len(text or "") for row in rows for edge in row["edges"] for text in edge[10:12]
            )
            page = min(1000, max(1, ANSWER_BYTES * len(rows) // size))
            for row in rows:
                path = f"{BATCHES}/{row['_key']}"
                for edge, filed, written in zip(row["edges"], row["filed"], row["written"], strict=True):
                    detail = _wrong(edge, row["rows"], written) or (
                        None if filed == _filed(edge) else MISPLACED
                    )
                    if detail:
                        yield Problem("damage", "damaged edge", row["name"], row["version"], path, detail)
                if len(row["edges"]) != row["declared"]:
                    detail = f"{len(row['edges'])} of {row['declared']} edges are in tv_edges"
                    yield Problem("damage", "missing edges", row["name"], row["version"], path, detail)


# -- documents


def carried(batch: Batch, clock: Clock) -> dict[str, Any]:
    """What a batch document says of its lineage: where its rows came from, and what its session read before."""
    reads = timed(batch.reads, clock) if batch.session_id is not None else []
    return {
        "edges": len(batch.edges),
        "reader": batch.session_id
        if reads
        else None,  # only those are looked up, not every batch of a session
        "reads": reads,
    }


def _numbers(edge: Edge) -> list[int]:
    """The whole numbers of an edge, in the order they are stored in."""
    return [
        int(value)
        for value in (
            edge.parent_list, edge.parent_version, edge.parent_generation, edge.basis, stored_form(edge.form), edge.child, edge.rows,
            edge.parent, edge.span, edge.step,
        )
    ]  # fmt: skip


def timed(reads: Sequence[tuple[int, int]], clock: Clock) -> list[list[int]]:
    """(list id, version, when): in the order they were read in."""
    now = clock.now_us()
    return [[int(list_id), int(version), now + n] for n, (list_id, version) in enumerate(reads)]


def _filed(edge: Sequence[Any]) -> dict[str, Any]:
    """What is found of an edge without a look at it, or by other tools."""
    level, bin_ = bin_of(edge[7], edge[7] + edge[8])
    return {
        "parent_list": edge[0],
        "parent_version": edge[1],
        "parent_generation": edge[2],
        "basis": BASES[edge[3]] if 0 <= edge[3] < len(BASES) else None,
        "child": edge[5],
        "rows": edge[6],
        "parent_level": level,
        "parent_bin": bin_,
    }


def _document(key: str, number: int, edge: Edge) -> dict[str, Any]:
    numbers = _numbers(edge)
    packed = [None if rows is None else to_text(pack(rows)) for rows in (edge.children, edge.parents)]
    place = {"_key": f"{key}-{number}", "batch": key, "number": number}  # which of its edges
    return {**place, **_filed(numbers), "edge": [*numbers, *packed]}


# -- back from documents


@reads("tv_batches")
def _writers(rows: list[list[int]]) -> Writers:
    return Writers.of(sorted(rows))


@reads("tv_edges")
def _table(batches: Sequence[Sequence[Any]]) -> EdgeTable:
    """Edges as columns, from what the statements tell of batches."""
    batches = sorted(batches, key=lambda batch: (batch[0], batch[2], batch[3], batch[1]))
    # Columns of EdgeTable: the child, where it is in its generation, then the parent and how they map; the positions behind.
    rows = [
        [list_id, version, generation, start + e[5], e[6], e[0], e[1], e[2], e[7], e[8], e[3], e[4], e[9], *_packed(e)]
        for list_id, version, generation, start, edges, _ in batches
        for e in edges
    ]  # fmt: skip
    return edge_table_of(rows)


def _packed(edge: Sequence[Any]) -> list[bytes | None]:
    """The packed positions of a stored edge."""
    return [None if text is None else to_bytes(text, "The lineage of some rows") for text in edge[10:12]]


def _wrong(edge: Sequence[Any], rows: int, written: bool) -> str | None:
    """What is wrong with a stored edge of a batch of so many rows; whether its parents were `written` before."""
    if edge[5] + edge[6] > rows or not written:
        return "it names rows that were never there"
    try:
        return unreadable(edge[4], edge[9], edge[6], *_packed(edge))
    except VaultCorrupt as error:
        return str(error)
