"""Lists of one vault in another: every version with its rows, its edges and its kept files, in the order of their commits."""

from __future__ import annotations

import tempfile
from collections import deque
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from tablevault_pd import frames
from tablevault_pd.reading import read as reading
from tablevault_pd.store import Batch
from tablevault_pd.store.edges import Edge, EdgeForm

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tablevault_pd.progress import Bar
    from tablevault_pd.store import FileKeeper, Store, Version
    from tablevault_pd.store.edges import EdgeTable
    from tablevault_pd.store.pieces import Pieces

COPY_BYTES = 1 << 20  # of a kept file that are read at a time


class ListCopier:
    """Copies versions that the target does not have. A version has the same number, time and addresses of rows there."""

    def __init__(
        self, source: Store, target: Store, names: Mapping[int, str], sessions: Mapping[int, int], bar: Bar
    ) -> None:
        self.ids: dict[int, int] = {}  #: of the lists in the target, by those in the source
        self.versions: dict[int, int] = dict.fromkeys(names, 0)  #: how many were copied of each list
        self.rows: dict[int, int] = dict.fromkeys(names, 0)
        #: edges whose parents are in no list that is copied
        self.left_out: dict[int, int] = dict.fromkeys(names, 0)
        self._source, self._target, self._names, self._sessions = source, target, names, sessions
        self._bar = bar
        self._heads: dict[int, Version | None] = {}
        self._waiting: dict[int, deque[Version]] = {}

    def copy(self, versions: list[Version]) -> None:
        """Copy these versions, which are in order of time, unless they are there."""
        for list_id, name in self._names.items():
            head = self._heads[list_id] = self._target.head(name)
            if head is not None:
                self.ids[list_id] = head.list_id
            newest = 0 if head is None else head.version
            own = (version for version in versions if version.list_id == list_id)
            self._waiting[list_id] = deque(version for version in own if version.version > newest)
        for version in versions:
            self._reach(version.list_id, version.version)

    def _reach(self, list_id: int, number: int) -> None:
        """Copy the versions of a list up to one, and before each those that it was made from."""
        waiting = self._waiting.get(list_id, deque())
        while waiting and waiting[0].version <= number:
            version = waiting.popleft()
            edges = self._source.edges_of_batch(version)
            for parent in set(zip(edges.parent_list.tolist(), edges.parent_version.tolist(), strict=True)):
                self._reach(*parent)
            self._copy(version, edges)

    def _copy(self, version: Version, table: EdgeTable) -> None:
        head = self._heads[version.list_id]
        session = None if version.session_id is None else self._sessions.get(version.session_id)
        edges = tuple(self._edges(version, table))
        batch = Batch(
            f"{self._source.vault_id}-{version.list_id}-{version.version}",
            self._names[version.list_id],
            version.operation,
            schema=self._source.schema(version.schema_id),
            base=None if head is None else head.schema_id,
            expect=0 if head is None else head.version,
            pieces=self._layout(version),
            session_id=session,
            cell=None if session is None else version.cell,
            tags=version.tags,
            edges=edges,
            original=replace(
                version,
                line=None if session is None else version.line,
                gone=version.gone or version.erased > 0,
                erased=0,
            ),
        )
        made = self._commit(batch, version)
        self._heads[version.list_id] = made
        self.ids[version.list_id] = made.list_id
        self.versions[version.list_id] += 1
        self.rows[version.list_id] += version.rows
        self.left_out[version.list_id] += len(table) - len(edges)
        self._bar(version.rows)

    def _layout(self, version: Version) -> Pieces | None:
        """Return the pieces before the tail, if this version is the one that keeps them."""
        if version.layout != version.version:
            return None
        [pieces] = self._source.pieces([version])
        return pieces.clip(0, pieces.total - version.tail.total)

    def _edges(self, version: Version, table: EdgeTable) -> Iterator[Edge]:
        """Yield the edges of a version that lead to lists which are copied, too."""
        for row in range(len(table)):
            parent = int(table.parent_list[row])
            if parent in self.ids:
                yield Edge(
                    self.ids[parent], int(table.parent_version[row]), int(table.parent_generation[row]), int(table.basis[row]),
                    EdgeForm(int(table.form[row])), int(table.start[row]) - version.start, int(table.rows[row]),
                    int(table.parent[row]), int(table.span[row]), int(table.step[row]), table.children[row], table.parents[row],
                )  # fmt: skip

    def _commit(self, batch: Batch, version: Version) -> Version:
        if not version.rows and version.operation != "save":
            return self._target.commit(batch)
        with ExitStack() as stack:
            keeping = None
            if any(column.kind == "file" for column in frames.columns(batch.schema)):
                keeping = stack.enter_context(self._target.keeping())
            stage = stack.enter_context(self._target.stage())
            for table in own_rows(self._source, version):
                if keeping is not None:
                    self._keep_files(table, batch.schema, keeping)
                stage.write(table)
            if keeping is not None:
                batch = replace(batch, files=keeping.files)
            return self._target.commit(batch, stage)

    def _keep_files(self, table: pa.Table, schema: pa.Schema, keeping: FileKeeper) -> None:
        for column in frames.columns(schema):
            if column.kind != "file" or column.field not in table.column_names:
                continue
            cells = [cell for cell in table.column(column.field).to_pylist() if cell is not None]
            for sha256 in dict.fromkeys(cell["sha256"] for cell in cells if cell["stored"]):
                with (
                    self._source.open_file(sha256) as content,
                    tempfile.NamedTemporaryFile(dir=self._target.scratch) as file,
                ):
                    while data := content.read(COPY_BYTES):
                        file.write(data)
                    file.flush()
                    keeping(Path(file.name), sha256)


def own_rows(store: Store, version: Version) -> Iterator[pa.Table]:
    """Yield the rows that a version added or changed, in order of address, as they were written.

    Rows that a vacuum removed are rows of one empty column: no version that can be read shows them.
    """
    if not version.gone and version.operation in ("save", "append"):
        tables = [chunk.table for chunk in store.scan(version, start=version.total - version.rows)]
        yield from tables or [store.schema(version.schema_id).empty_table()]
        return
    schema = store.schema(version.schema_id)
    addresses = np.arange(version.start, version.start + version.rows)
    missing = np.ones(version.rows, bool)
    parts: list[tuple[int, pa.Table]] = []
    readable = [version]
    if version.gone:
        readable = [other for other in store.versions(version.list) if not other.gone]
    for shown, pieces in zip(readable, store.pieces(readable), strict=True):
        positions = pieces.positions(version.generation, addresses)
        rows = np.flatnonzero(missing & (positions >= 0))
        missing[rows] = False
        if len(rows):
            order = np.argsort(positions[rows])
            table = reading.rows_at(store, shown, schema, positions[rows][order]).take(
                pa.array(np.argsort(order))
            )
            parts += _consecutive(rows, table)
    gone = np.flatnonzero(missing)
    parts += _consecutive(gone, pa.table({"gone": pa.nulls(len(gone), pa.int8())}))
    yield from (table for _, table in sorted(parts, key=lambda part: part[0]))


def _consecutive(rows: np.ndarray, table: pa.Table) -> Iterator[tuple[int, pa.Table]]:
    """Yield the rows of a table in runs of consecutive numbers, with the first number of each."""
    starts = np.flatnonzero(np.diff(rows, prepend=-2) != 1)
    stops = np.append(starts[1:], len(rows))[: len(starts)]
    for start, stop in zip(starts.tolist(), stops.tolist(), strict=True):
        yield int(rows[start]), table.slice(start, stop - start)
