"""Approximate vector search: the cells of a column, found by a thread and kept beside the list. They may always be dropped.

Rows that the index does not have yet are searched exactly. Where filters leave few rows, the cells that are visited hold too
few, or looking at all is as fast, all rows that the filters leave are searched exactly.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from tablevault_pd.store.engine import cell_files
from tablevault_pd.store.engine.cells import VectorCells, Vectors, build
from tablevault_pd.store.engine.threads import Background

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tablevault_pd.store import Metric
    from tablevault_pd.store.engine.vector_block import Block

SMALLEST = 10_000  # with fewer rows looking at each is as fast
BEHIND = 0.1  # so much of a column may be missing from the index before it is extended
GROWN = 4  # … and after so many times as many vectors centres are found anew
FEW = 0.05  # a filter that leaves a smaller part of the rows is answered without the index
COPIED_BYTES = 256 << 20  # vectors of up to so many bytes are copied by cell: a search is faster then
POLL_S = 0.001


class IndexFile(Protocol):
    """Where the index of one column and metric is kept."""

    def load(self) -> bytes | None:
        """Return what was kept; None if nothing is."""

    def keep(self, parts: Sequence[bytes]) -> None:
        """Keep these bytes, if they can be kept."""


class _Stopped(Exception):
    """The work was told to end."""


@dataclass(frozen=True, slots=True)
class _Built:
    """VectorCells and their vectors, replaced as one, so that no search sees the one without the other."""

    cells: VectorCells
    rows: np.ndarray | None  #: by cell; None where they are read from the column


class Index:
    """The index of one column for one metric."""

    def __init__(self, metric: Metric, file: IndexFile | None = None) -> None:
        self._metric, self._file = metric, file
        self._building = Background(self._build, "ann")
        self._blocks: Sequence[Block] = ()  # of the column, when it was last searched
        self._built: _Built | None = None
        self._loaded = False
        self._kept_upto = 0

    def follow(self, blocks: Sequence[Block]) -> None:
        """Load the index, or have a thread build or extend it, if there is enough to do."""
        usable = sum(block.usable(self._metric) - len(block.odd) for block in blocks)
        if usable < SMALLEST:
            return
        if not self._loaded:
            self._load(Vectors(blocks, self._metric), blocks[-1].stop)
            self._loaded = True
        built = self._built
        size = 0 if built is None else built.cells.size
        lacks_copy = built is not None and built.rows is None and self._may_copy(built.cells)
        if (usable - size > BEHIND * size or lacks_copy) and self._building.is_done:
            self._blocks = list(blocks)
            self._building.ask()

    def wait(self) -> None:
        """Until the thread is done; for measurements."""
        while not self._building.is_done:
            time.sleep(POLL_S)

    def close(self) -> None:
        """End the work of the thread."""
        self._building.stop.set()
        self._building.join()

    @property
    def built(self) -> VectorCells | None:
        """The cells, and what they cover; None until there are some."""
        return None if self._built is None else self._built.cells

    @property
    def size_bytes(self) -> int:
        """Memory that it needs."""
        built = self._built
        if built is None:
            return 0
        cells = built.cells
        copied = 0 if built.rows is None else built.rows.nbytes
        return cells.centers.nbytes + cells.bounds.nbytes + cells.addresses.nbytes + copied

    def search(
        self, blocks: Sequence[Block], queries: np.ndarray, k: int, end: int, allowed: np.ndarray | None
    ) -> tuple[int, list[tuple[np.ndarray, np.ndarray]]] | None:
        """Up to which address the index goes, and for each query near addresses and scores; None if it is of no use.

        Only rows before `end` are looked for, and only those at the addresses `allowed`.
        """
        built = self._built
        if built is None or (len(queries) == 1 and not built.cells.pays):
            return None
        cells, vectors = built.cells, Vectors(blocks, self._metric)
        upto = min(cells.upto, end)
        odd, mask, usable = vectors.odd(upto), None, cells.size
        if allowed is not None or upto < cells.upto:
            mask = np.zeros(cells.upto, bool)
            mask[slice(upto) if allowed is None else allowed[allowed < upto]] = True
            usable = int(mask.sum())
            odd = odd[mask[odd]]
            if usable <= max(FEW * cells.upto, k):
                return None

        def rows_of(low: int, high: int) -> np.ndarray:
            return built.rows[low:high] if built.rows is not None else vectors.take(cells.addresses[low:high])

        near = cells.nearest(self._prepared(queries), self._metric, min(k, usable), rows_of, mask)
        if near is None:
            return None
        hits = []
        for query, addresses in zip(queries, near, strict=True):
            addresses = np.concatenate([addresses, odd])
            hits.append((addresses, vectors.exact(addresses, query)))
        return upto, hits

    def _prepared(self, queries: np.ndarray) -> np.ndarray:
        if self._metric == "cosine":
            queries = queries / np.linalg.norm(queries, axis=1, keepdims=True)
        return np.ascontiguousarray(queries, np.float32)

    # -- building

    def _may_copy(self, cells: VectorCells) -> bool:
        return cells.size * int(cells.centers.shape[1]) * 4 <= COPIED_BYTES

    def _load(self, vectors: Vectors, upto: int) -> None:
        data = None if self._file is None else self._file.load()
        cells = None if data is None else cell_files.decode(data)
        if cells is None or cells.centers.shape[1] != vectors.dim:
            return
        upto_in_file, cells = cells.upto, cells.clipped(upto)
        if cells.size and cells.holds(vectors.addresses()) and cells.fits(vectors):
            self._kept_upto, self._built = upto_in_file, _Built(cells, None)

    def _pause(self) -> None:
        if self._building.stop.is_set():
            raise _Stopped

    def _build(self) -> None:
        """Do what :meth:`follow` asks for."""
        blocks = self._blocks
        vectors, upto = Vectors(blocks, self._metric), blocks[-1].stop
        before = self.built
        try:
            cells = self._cells(before, vectors, upto)
            if cells is not before:
                self._built = _Built(cells, None)
                if self._file is not None and cells.upto > self._kept_upto:
                    self._file.keep(cell_files.encode(cells))
                    self._kept_upto = cells.upto
            if self._may_copy(cells):
                self._built = _Built(cells, cells.copied(vectors, self._pause))
        except _Stopped:
            return

    def _cells(self, before: VectorCells | None, vectors: Vectors, upto: int) -> VectorCells:
        count = len(vectors.addresses())
        if before is None or count > GROWN * before.trained:
            return build(vectors, upto, self._metric, self._pause)
        if count - before.size > BEHIND * before.size:
            return before.extended(vectors, upto, self._pause)
        return before
