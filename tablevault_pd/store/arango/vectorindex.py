"""The server's vector indexes: found, made when a search would profit, and asked.

They need a server that was started with ``--vector-index``. Nobody need know whether one was: an index is asked for once
per process, behind the search that would have liked it, and as long as none is ready every search is exact. Such an
index knows all vectors of one width, in every list, committed or not; who asks sorts out what it found.

Only for cosine: each further index would make every save dearer.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from arango.exceptions import ArangoServerError
from arango.request import Request

from tablevault_pd.errors import VaultError
from tablevault_pd.store import IndexInfo
from tablevault_pd.store.arango.layout import EMBEDDINGS, SERVER_VERSION, VIEW, release_numbers
from tablevault_pd.store.arango.server_errors import INDEX_NOT_READY, INDEX_NOT_USABLE, ExpectedError
from tablevault_pd.store.arango.transport import IMPATIENT_S

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from arango.database import StandardDatabase

    from tablevault_pd.store.arango.client import Client
    from tablevault_pd.store.arango.columns import StoredColumn

# Before, a vector index could not be sparse: it would refuse every item without a vector of its width.
OLDEST = (3, 12, 6)
PER_CELL = 40  # vectors that each of the index's cells is trained with at least
MOST_CELLS = 4096
VISITED = 8  # one cell in so many is visited
LOOK_AGAIN_S = 30.0  # after no index was found

# 3.12.4; from 3.12.6 on for what this module makes. No FILTER: only later releases allow one, and it would not refill.
APPROXIMATELY = """
FOR q IN @queries
  LET found = (
    FOR e IN tv_embeddings
      LET score = APPROX_NEAR_COSINE(e.@vectors, q, {nProbe: @probes})
      SORT score DESC
      LIMIT @count
      RETURN [e.batch, e.field, e.row, e.@vectors])
  RETURN found
"""


@dataclass(frozen=True, slots=True)
class VectorIndex:
    """An index that is ready."""

    owner: VectorIndexes
    attribute: str
    cells: int

    def search(self, queries: np.ndarray, count: int, effort: int) -> list[list[Any]] | None:
        """For each query [batch, field, row, vector] of some `count` near items; None if it cannot be asked after all."""
        probes = min(self.cells, max(VISITED, effort * self.cells // VISITED))
        try:
            return self.owner.client.query(
                APPROXIMATELY,
                queries=queries.tolist(),
                count=count,
                probes=probes,
                vectors=self.attribute,
                expect=(INDEX_NOT_USABLE, INDEX_NOT_READY),
            )
        except ExpectedError:
            self.owner.forget(self.attribute)
            return None


class VectorIndexes:
    """The vector indexes of one vault, by the attribute they are over."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self._ready: dict[str, VectorIndex] = {}
        self._wished: set[str] = set()  # asked for by this process, with what success the server knows
        self._look_at: dict[str, float] = {}

    def forget(self, attribute: str) -> None:
        """Look again before the next search, though not at once."""
        self._ready.pop(attribute, None)
        self._look_at[attribute] = time.monotonic() + LOOK_AGAIN_S

    def ready(self, column: StoredColumn, rows: int) -> VectorIndex | None:
        """The index over the vectors of `column`; if there is none, have the server make one for `rows` of them or more."""
        attribute = column.vectors
        if attribute in self._ready or time.monotonic() < self._look_at.get(attribute, 0.0):
            return self._ready.get(attribute)
        existing = [one for one in self._list() if one.get("fields") == [attribute]]
        usable = [
            one for one in existing if one.get("trainingState", "ready") == "ready"
        ]  # told from 3.12.9 on
        if usable:
            cells = usable[0].get("params", {}).get("nLists")
            cells = cells if isinstance(cells, int) else MOST_CELLS  # else a rule: 3.12.10
            self._ready[attribute] = VectorIndex(self, attribute, cells)
            return self._ready[attribute]
        self.forget(attribute)
        if not existing and not self.client.read_only and attribute not in self._wished:
            self._wished.add(attribute)
            self._wish(column, rows)
        return None

    def indexes(self) -> list[IndexInfo]:
        """Return what the server has: its view of texts, and the vector indexes of this vault."""
        text = IndexInfo("text", None, None, None, None, None, None, "kept by the server", VIEW)
        return [text, *(_info(one) for one in self._list())]

    def _list(self) -> list[dict[str, Any]]:
        every = self.client.run(_indexes)
        return [
            one for one in every
            if one.get("type") == "vector" and one.get("params", {}).get("metric") == "cosine"
        ]  # fmt: skip

    def _wish(self, column: StoredColumn, rows: int) -> None:
        """Have the server make an index, later and by itself: it takes minutes, and the search goes on without it."""
        [version] = self.client.query(SERVER_VERSION)
        if release_numbers(version) < OLDEST:
            return
        cells = max(1, min(MOST_CELLS, int(4 * rows**0.5), rows // PER_CELL))
        definition = {
            "type": "vector",
            "name": f"tv_{column.vectors}",
            "fields": [column.vectors],
            "sparse": True,
            "inBackground": True,
            "params": {"metric": "cosine", "dimension": column.dim, "nLists": cells},
        }
        try:
            self.client.run(lambda database: _make(database, definition), within_s=IMPATIENT_S)
        except VaultError:
            return  # no right to make one, or too much to do: every answer is exact without it


def _info(index: Mapping[str, Any]) -> IndexInfo:
    metric = index.get("params", {}).get("metric")
    column = ", ".join(index.get("fields", ()))
    state = str(index.get("trainingState", "ready"))
    return IndexInfo("vector", None, column, metric, None, None, None, state, str(index.get("name")))


def _indexes(database: StandardDatabase) -> list[dict[str, Any]]:
    # Not Collection.indexes: it leaves out what it does not know, the state of the training among it.
    request = Request(method="get", endpoint="/_api/index", params={"collection": EMBEDDINGS})
    answer = database.conn.send_request(request)
    if not answer.is_success:
        raise ArangoServerError(answer, request)
    return list(answer.body["indexes"])


def _make(database: StandardDatabase, definition: dict[str, Any]) -> None:
    """3.12; works on every version: the server answers at once, and does it then."""
    database.begin_async_execution(return_result=False).collection(EMBEDDINGS).add_index(definition)
