"""Approximate vector search: a Faiss IVF index of a column, built by a thread. It is a copy and may always be dropped.

Rows that the index does not have yet are searched exactly. Filters are passed to the index; where they leave few rows, or
the index returns too few, all rows that they leave are searched exactly.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np

from tablevault_pd.errors import MissingDependency
from tablevault_pd.store.engine.threads import Background

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tablevault_pd.store import Metric
    from tablevault_pd.store.engine.vector_block import Block

SMALLEST = 10_000  # with fewer rows looking at each is as fast
BEHIND = 0.1  # so much of a column may be missing from the index before it is extended
FEW = 0.05  # a filter that leaves a smaller part of the rows is answered without the index
RECALL = 0.98  # measured on a sample when the index is built; it decides how many cells are visited
SAMPLE = 200
POLL_S = 0.001


def available() -> bool:
    """Whether Faiss is installed."""
    return find_spec("faiss") is not None


def require() -> Any:
    """The faiss module. Raises MissingDependency."""
    try:
        import faiss
    except ImportError as error:
        raise MissingDependency.for_extra("faiss-cpu", "ann", "Approximate search (approx=True)") from error
    return faiss


@dataclass(frozen=True, slots=True)
class _Built:
    """An index and what it covers, replaced as one, so that no search sees the one without the other."""

    index: Any
    upto: int  #: every usable vector before this address is in it, and no other
    size: int  #: how many these are
    probes: int


class Index:
    """The index of one column for one metric."""

    def __init__(self, metric: Metric) -> None:
        self._metric = metric
        self._lock = threading.Lock()  # faiss may not be asked while it is added to
        self._building = Background(self._extend, "ann")
        self._blocks: Sequence[Block] = ()  # of the column, when it was last searched
        self._built: _Built | None = None

    def follow(self, blocks: Sequence[Block]) -> None:
        """Have a thread build or extend the index, if there is enough to do."""
        usable = sum(block.usable(self._metric) for block in blocks)
        size = 0 if self._built is None else self._built.size
        if usable < SMALLEST or usable - size <= BEHIND * size:
            return
        self._blocks = list(blocks)
        self._building.ask()

    def wait(self) -> None:
        """Until the thread is done; for measurements."""
        while not self._building.is_done:
            time.sleep(POLL_S)

    @property
    def built(self) -> _Built | None:
        """The index, and what it covers; None until there is one."""
        return self._built

    def search(
        self, queries: np.ndarray, k: int, end: int, allowed: np.ndarray | None
    ) -> tuple[int, list[tuple[np.ndarray, np.ndarray]]] | None:
        """Up to which address the index goes, and for each query near addresses and scores; None if it is of no use.

        Only rows before `end` are looked for, and only those at the addresses `allowed`.
        """
        faiss = require()
        if not self._lock.acquire(blocking=False):
            return None
        try:
            built = self._built
            if built is None:
                return None
            upto = min(built.upto, end)
            selector = None
            usable = upto
            if allowed is not None or upto < built.upto:
                mask = np.zeros(built.upto, bool)
                mask[slice(upto) if allowed is None else allowed[allowed < upto]] = True
                usable = int(mask.sum())
                if usable <= max(FEW * built.upto, k):
                    return None
                selector = faiss.IDSelectorBitmap(np.packbits(mask, bitorder="little"))
            count = min(k, usable)
            options = faiss.SearchParametersIVF(nprobe=built.probes, sel=selector)
            scores, addresses = built.index.search(self._prepared(queries), count, params=options)
        finally:
            self._lock.release()
        if (addresses[:, -1] < 0).any():  # the cells that were visited do not hold enough rows
            return None
        worth = -np.sqrt(np.maximum(scores, 0)) if self._metric == "l2" else scores
        return upto, list(zip(addresses, worth, strict=True))

    # -- building

    def _prepared(self, rows: np.ndarray) -> np.ndarray:
        rows = np.ascontiguousarray(rows, np.float32)
        if self._metric != "cosine":
            return rows
        return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True))

    def _extend(self) -> None:
        before, blocks = self._built, self._blocks
        first = 0 if before is None else before.upto
        parts = [self._usable(block, max(0, first - block.start)) for block in blocks]
        addresses = np.concatenate([part[0] for part in parts])
        rows = np.concatenate([part[1] for part in parts])
        last = blocks[-1].stop
        if before is None:
            index = self._trained(rows)
            index.add_with_ids(rows, addresses)
            probes = _probes(index, rows[_shuffled(len(rows))[:SAMPLE]])
            self._built = _Built(index, last, len(rows), probes)
            return
        with self._lock:
            self._built = None  # what fails halfway is made anew, not added to once more
            before.index.add_with_ids(rows, addresses)
            self._built = _Built(before.index, last, before.size + len(rows), before.probes)

    def _usable(self, block: Block, first: int) -> tuple[np.ndarray, np.ndarray]:
        here = first + np.flatnonzero(~block.unusable(self._metric)[first:])
        return block.start + here, self._prepared(block.rows[here])

    def _trained(self, rows: np.ndarray) -> Any:
        """An index with nothing in it yet."""
        faiss = require()
        dim = rows.shape[1]
        cells = _cells(len(rows))
        quantizer = faiss.IndexFlatL2(dim) if self._metric == "l2" else faiss.IndexFlatIP(dim)
        metric = faiss.METRIC_L2 if self._metric == "l2" else faiss.METRIC_INNER_PRODUCT
        index = faiss.IndexIVFFlat(quantizer, dim, cells, metric)
        index.own_fields = True
        quantizer.this.disown()
        index.cp.niter = 10
        index.train(rows[_shuffled(len(rows))[: 40 * cells]])
        return index


def _cells(rows: int) -> int:
    return max(1, min(int(2 * rows**0.5), rows // 39))  # fewer than 39 rows a cell train badly


def _shuffled(rows: int) -> np.ndarray:
    return np.random.default_rng(0).permutation(rows)


def _probes(index: Any, sample: np.ndarray) -> int:
    """How many cells a search has to visit so that of the ten nearest RECALL are found."""
    faiss, cells = require(), int(index.nlist)
    _, truth = index.search(sample, 10, params=faiss.SearchParametersIVF(nprobe=cells))
    probes = 1
    while probes < cells:
        _, ids = index.search(sample, 10, params=faiss.SearchParametersIVF(nprobe=probes))
        shared = sum(len(np.intersect1d(a, b)) for a, b in zip(truth, ids, strict=True))
        if shared >= RECALL * truth.size:
            return probes
        probes = max(probes + 1, probes * 5 // 4)
    return cells
