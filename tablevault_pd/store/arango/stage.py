"""Rows on their way into a commit: written as items that nobody sees until their batch document exists.

The key of a batch begins with the server's time at which it was staged. Items without a batch are swept once that is
long enough ago, and whoever sweeps first puts a tombstone in the place of the batch document: should the writer still
be alive, its commit fails instead of losing rows. So a clock decides when to sweep, never whether data is safe.
"""

from __future__ import annotations

import base64
import os
import secrets
from dataclasses import dataclass, field
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import orjson

from tablevault_pd.errors import UnsupportedColumn, VaultError
from tablevault_pd.store.arango import codec, items
from tablevault_pd.store.arango.layout import DICTIONARIES, SCHEMAS, Clock
from tablevault_pd.store.arango.transport import IMPATIENT_S, to_json
from tablevault_pd.store.arango.words import add_words
from tablevault_pd.store.engine import fork_guard as forks
from tablevault_pd.store.engine.tables import joined

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType

    import pyarrow as pa

    from tablevault_pd.store.arango.client import Client

PENDING_BYTES = 4 << 20  # small tables wait until they make a request worth its while
SLICE_BYTES = 4 << 20  # rows encoded at a time
REQUEST_BYTES = 12 << 20  # JSON sent at a time
_TIME_WIDTH = 9
REMOVE_ITEMS = (
    "FOR i IN @@items FILTER i.batch IN @batches REMOVE i IN @@items"  # 3.12; works on every version
)


def new_batch_key(clock: Clock) -> str:
    """A key for a batch: nine digits of time, then ten random ones."""
    now = items.base36(np.array([clock.now_ms()]), _TIME_WIDTH)[0]
    return now + items.base36(np.array([secrets.randbelow(36**10)]), 10)[0]


def staged_ms(batch: str) -> int:
    """When a batch was staged, in milliseconds since 1970."""
    return int(batch[:_TIME_WIDTH], 36)


@dataclass(slots=True)
class BatchPart:
    """Some rows of a batch that share a schema and the dictionaries of its categorical columns."""

    schema: str
    rows: int
    dictionaries: dict[str, dict[str, Any]]

    def document(self) -> dict[str, Any]:
        """As the batch document lists it."""
        return {"schema": self.schema, "rows": self.rows, "dictionaries": self.dictionaries}


@dataclass(slots=True)
class SharedDocuments:
    """What batches refer to, kept once under the hash of its content, and never removed."""

    client: Client
    known: set[str] = field(default_factory=set)  #: stored for certain

    def put_schema(self, schema: pa.Schema) -> str:
        """Store a schema unless it is there; its key."""
        data = schema.serialize().to_pybytes()
        digest = sha256(data).hexdigest()
        key = digest[:15]  # 60 bits, an integer everywhere
        if key not in self.known:
            document = {
                "_key": key,
                "digest": digest,
                "columns": [{"name": one.name, "type": str(one.type)} for one in schema],
                "arrow": base64.b64encode(data).decode("ascii"),
            }
            self.client.insert(SCHEMAS, document, mode="ignore")
            self.known.add(key)
        return key

    def put_dictionary(self, values: pa.Array, coded: bool) -> dict[str, Any]:
        """Store the values of a categorical column; how a batch refers to them."""
        nested = codec.Dictionaries()
        shown = codec.encode(values, "", nested)
        if nested.found:
            raise UnsupportedColumn("the categories of a categorical column cannot be categorical themselves")
        lines = orjson.dumps(shown)
        digest = sha256(lines + str(values.type).encode()).hexdigest()[:32]
        per_chunk = max(1, len(shown) * REQUEST_BYTES // max(1, 2 * len(lines)))
        chunks = [shown[at : at + per_chunk] for at in range(0, len(shown), per_chunk)] or [[]]
        if digest not in self.known:
            for n, chunk in enumerate(chunks):
                self.client.insert(
                    DICTIONARIES,
                    {"_key": f"{digest}-{n}", "digest": digest, "n": n, "values": chunk},
                    mode="ignore",
                )
            self.known.add(digest)
        return {"digest": digest, "values": len(shown), "coded": coded}


class Stage:
    """The server's staging area for one commit."""

    def __init__(self, client: Client, shared: SharedDocuments, batch: str) -> None:
        self.batch = batch
        self.rows = 0
        self.parts: list[BatchPart] = []
        self.sizes: dict[str, int] = {}  #: bytes of JSON in each collection
        self.counts: dict[str, int] = {}
        self.text_items = 0
        self.text_words = 0
        self.settled = False  #: committed, or perhaps committed: the items are not ours to remove
        self._pid = os.getpid()
        self._client, self._shared = client, shared
        self._pending: list[pa.Table] = []
        self._pending_bytes = 0
        self._lines: dict[str, list[bytes]] = {}
        self._waiting: dict[str, int] = {}
        self._sent: set[str] = set()
        self._noted: dict[str, tuple[pa.Array, bool]] = {}
        self._named: dict[str, dict[str, Any]] = {}

    def write(self, table: pa.Table) -> None:
        """Add the rows of `table`; see the protocol."""
        forks.require_process(self._pid, "save")
        if table.num_rows == 0 and (self._pending or self.parts):
            return  # an empty table only matters alone, for its types
        self.rows += table.num_rows
        self._pending.append(table)
        self._pending_bytes += table.nbytes
        if self._pending_bytes > PENDING_BYTES:
            self._flush()

    def finish(self) -> None:
        """Send what is still here: all items are on the server, durably."""
        forks.require_process(self._pid, "save")
        self._flush()
        for collection in list(self._lines):
            self._send(collection)
        if self.rows:
            self.parts = [part for part in self.parts if part.rows]

    def document(self) -> dict[str, Any]:
        """What the batch document says of its items."""
        return {
            "parts": [part.document() for part in self.parts],
            "items": self.counts,
            "item_bytes": self.sizes,
            "bytes": sum(self.sizes.values()),
            **({"text_items": self.text_items, "text_words": self.text_words} if self.text_items else {}),
        }

    def also_in(self, collection: str) -> None:
        """Something of this batch is in another collection, and to be forgotten with its rows."""
        self._sent.add(collection)

    def _flush(self) -> None:
        pending, self._pending, self._pending_bytes = self._pending, [], 0
        for table in joined(pending):
            self._put(table)

    def _put(self, table: pa.Table) -> None:
        schema = self._shared.put_schema(table.schema)
        first = sum(part.rows for part in self.parts)
        for piece in _slices(table.unify_dictionaries()):
            noted = codec.Dictionaries()
            made = items.documents(piece, self.batch, first, noted)
            having, words = add_words(piece, made)
            self.text_items += having
            self.text_words += words
            for collection, documents in made.items():
                self._add(collection, documents)
            first += piece.num_rows
            self._list(BatchPart(schema, piece.num_rows, self._references(noted)))

    def _list(self, part: BatchPart) -> None:
        last = self.parts[-1] if self.parts else None
        if last is not None and last.schema == part.schema and last.dictionaries == part.dictionaries:
            last.rows += part.rows
        else:
            self.parts.append(part)

    def _references(self, noted: codec.Dictionaries) -> dict[str, dict[str, Any]]:
        """How the batch document names these dictionaries; those of the piece before are not hashed again."""
        for path, (values, coded) in noted.found.items():
            known = self._noted.get(path)
            if known is None or known[1] is not coded or not known[0].equals(values):
                self._noted[path] = (values, coded)
                self._named[path] = self._shared.put_dictionary(values, coded)
        return {path: self._named[path] for path in noted.found}

    def _add(self, collection: str, documents: Sequence[Mapping[str, Any]]) -> None:
        """Queue documents as lines of JSON; their size decides when they are sent."""
        per_dump = max(1, len(documents) // 16)
        for at in range(0, len(documents), per_dump):
            line = to_json(documents[at : at + per_dump])[1:-1]
            if self._waiting.get(collection, 0) + len(line) > REQUEST_BYTES:
                self._send(collection)
            self._lines.setdefault(collection, []).append(line)
            self._waiting[collection] = self._waiting.get(collection, 0) + len(line)
            self.sizes[collection] = self.sizes.get(collection, 0) + len(line)
        self.counts[collection] = self.counts.get(collection, 0) + len(documents)

    def _send(self, collection: str) -> None:
        lines = self._lines.pop(collection, [])
        self._waiting.pop(collection, None)
        if lines:
            self._sent.add(collection)
            self._client.insert_all(collection, b"[" + b",".join(lines) + b"]")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.settled or self._pid != os.getpid():  # a forked child leaves what is its parent's
            return
        for collection in self._sent:
            try:
                self._client.query(
                    REMOVE_ITEMS,
                    binds={"@items": collection},
                    batches=[self.batch],
                    within_s=IMPATIENT_S,
                )
            except VaultError:
                return  # the server is away; invisible as they are, vacuum sweeps them when they are old


def _slices(table: pa.Table) -> list[pa.Table]:
    """The table in pieces of a few MB; an empty one as it is, for its dictionaries."""
    rows = max(1, table.num_rows * SLICE_BYTES // max(1, table.nbytes))
    return [table.slice(at, rows) for at in range(0, table.num_rows, rows)] or [table]
