"""Rows on their way into a commit: written as items that nobody sees until their batch document exists.

The key of a batch begins with the server's time at which it was staged. Items without a batch are swept once that is
long enough ago, and whoever sweeps first puts a tombstone in the place of the batch document: should the writer still
be alive, its commit fails instead of losing rows. So a clock decides when to sweep, never whether data is safe.
"""

from __future__ import annotations

import os
import secrets
from collections import Counter
from dataclasses import dataclass, field
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import orjson
import pyarrow as pa

from tablevault_pd.errors import VaultError
from tablevault_pd.store.arango import mirror, payloads
from tablevault_pd.store.arango.columns import base36
from tablevault_pd.store.arango.layout import DICTIONARIES, ITEMS, PAYLOADS, SCHEMAS, Clock
from tablevault_pd.store.arango.records import to_text
from tablevault_pd.store.arango.transport import IMPATIENT_S, to_json
from tablevault_pd.store.engine import fork_guard as forks
from tablevault_pd.store.engine.payloads import joined

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType

    from tablevault_pd.store.arango.client import Client

PENDING_BYTES = 32 << 20  # small tables wait until they make a part worth its while
SLICE_BYTES = 4 << 20  # rows mirrored at a time
REQUEST_BYTES = 16 << 20  # JSON sent at a time
SMALL_BYTES = 1 << 20  # documents of all collections, sent together
_TIME_WIDTH = 9
# 3.12; works since 3.8. Those whose key is there already stay as they are, so that the statement can be repeated.
INSERT = """
LET payloads = (FOR d IN @tv_payloads INSERT d INTO tv_payloads OPTIONS {overwriteMode: "ignore"})
LET records = (FOR d IN @tv_records INSERT d INTO tv_records OPTIONS {overwriteMode: "ignore"})
LET documents = (FOR d IN @tv_documents INSERT d INTO tv_documents OPTIONS {overwriteMode: "ignore"})
LET embeddings = (FOR d IN @tv_embeddings INSERT d INTO tv_embeddings OPTIONS {overwriteMode: "ignore"})
LET files = (FOR d IN @tv_files INSERT d INTO tv_files OPTIONS {overwriteMode: "ignore"})
RETURN 1
"""
INSERT_SYNCED = INSERT.replace('"ignore"', '"ignore", waitForSync: true')
REMOVE_ITEMS = """
LET removed = (FOR i IN @@items FILTER i.batch IN @batches LIMIT @most REMOVE i IN @@items RETURN 1)
RETURN LENGTH(removed)
"""  # 3.12; works on every version
MOST_REMOVED = 20_000  # documents by one statement
CLEAN_S = 10.0  # that a save which failed waits for each removal of what it staged


def remove_items(
    client: Client,
    collection: str,
    batches: Sequence[str],
    *,
    within_s: float | None = None,
    unreachable_s: float | None = None,
) -> None:
    """Remove the documents of these batches from a collection, some at a time."""
    binds = {"@items": collection, "batches": list(batches), "most": MOST_REMOVED}
    removed = [MOST_REMOVED]
    while removed == [MOST_REMOVED]:
        removed = client.query(REMOVE_ITEMS, binds=binds, within_s=within_s, unreachable_s=unreachable_s)


def new_batch_key(clock: Clock) -> str:
    """A key for a batch: nine digits of time, then ten random ones."""
    now = base36(np.array([clock.now_ms()]), _TIME_WIDTH)[0]
    return now + base36(np.array([secrets.randbelow(36**10)]), 10)[0]


def staged_ms(batch: str) -> int:
    """When a batch was staged, in milliseconds since 1970."""
    return int(batch[:_TIME_WIDTH], 36)


@dataclass(slots=True)
class SharedDocuments:
    """What batches refer to, kept once under the hash of its content, and never removed."""

    client: Client
    stored: set[str] = field(default_factory=set)  #: stored for certain

    def put_schema(self, schema: pa.Schema) -> str:
        """Store a schema unless it is there; its key."""
        data = schema.serialize().to_pybytes()
        digest = sha256(data).hexdigest()
        key = digest[:15]  # 60 bits, an integer everywhere
        if key not in self.stored:
            document = {
                "_key": key,
                "digest": digest,
                "columns": [{"name": one.name, "type": str(one.type)} for one in schema],
                "arrow": to_text(data),
            }
            self.client.insert(SCHEMAS, document, mode="ignore")
            self.stored.add(key)
        return key

    def put_dictionary(self, values: pa.Array) -> dict[str, Any]:
        """Store the values of a categorical column; how a part refers to them."""
        digest, documents = payloads.dictionary_documents(values, REQUEST_BYTES // 2)
        if digest not in self.stored:
            for document in documents:
                self.client.insert(DICTIONARIES, document, mode="ignore")
            self.stored.add(digest)
        return {"digest": digest, "values": len(values)}


class Stage:
    """The server's staging area for one commit."""

    def __init__(self, client: Client, shared: SharedDocuments, batch: str, mirrored: str) -> None:
        self.batch = batch
        self.rows = 0
        #: Rows that share a schema, categories and how they are cut: of each column of payloads its number, the rows in one, and
        #: the bytes of all.
        self.parts: list[dict[str, Any]] = []
        self.size = 0  #: bytes of JSON
        self.counts: Counter[str] = Counter()
        self.text_items = 0
        self.text_words = 0
        self.settled = False  #: committed, or perhaps committed: the items are not ours to remove
        self._pid = os.getpid()
        self._client, self._shared, self._mirrored = client, shared, mirrored
        self._pending: list[pa.Table] = []
        self._pending_bytes = 0
        self._lines: dict[str, list[bytes]] = {}
        self._waiting: Counter[str] = Counter()
        self._sent: set[str] = set()
        self._referred: dict[str, tuple[pa.Array, dict[str, Any]]] = {}

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
        if sum(self._waiting.values()) <= SMALL_BYTES:
            self._send_together()
        for collection in list(self._lines):
            self._send(collection)
        if self.rows:
            self.parts = [part for part in self.parts if part["rows"]]

    def document(self) -> dict[str, Any]:
        """What the batch document says of its items."""
        return {
            "parts": self.parts,
            "items": self.counts,
            "bytes": self.size,
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
        """Send the rows as a part of their own."""
        table = table.unify_dictionaries().combine_chunks()
        first = sum(part["rows"] for part in self.parts)
        groups = payloads.groups_of(table)
        schema = self._shared.put_schema(table.schema)
        references, sizes = self._references(table), Counter[int]()
        for place, document in payloads.documents(table, groups, self.batch, first):
            self._add(PAYLOADS, [document])
            sizes[place] += len(document["data"])
        for piece in _slices(table):
            made, items, words = mirror.documents(piece, self.batch, first, mirror=self._mirrored)
            self.text_items += items
            self.text_words += words
            for collection, documents in made.items():
                self._add(collection, documents)
            first += piece.num_rows
        held = [[place, rows, sizes[place]] for place, rows in groups.items()]
        self.parts.append(
            {"schema": schema, "rows": table.num_rows, "dictionaries": references, "payloads": held}
        )

    def _references(self, table: pa.Table) -> dict[str, dict[str, Any]]:
        """How a part refers to its categories; those of the part before are not hashed again."""
        references = {}
        for number, column in enumerate(table.columns):
            if payloads.is_shared(column.type):
                values = (
                    column.chunk(0).dictionary if column.num_chunks else pa.array([], column.type.value_type)
                )
                place = str(number)
                previous = self._referred.get(place)
                if previous is None or not previous[0].equals(values):
                    self._referred[place] = previous = (values, self._shared.put_dictionary(values))
                references[place] = previous[1]
        return references

    def _add(self, collection: str, documents: Sequence[Mapping[str, Any]]) -> None:
        """Queue documents as lines of JSON; their size decides when they are sent."""
        per_dump = max(1, len(documents) // 16)
        for at in range(0, len(documents), per_dump):
            line = to_json(documents[at : at + per_dump])[1:-1]
            if self._waiting[collection] + len(line) > REQUEST_BYTES:
                self._send(collection)
            self._lines.setdefault(collection, []).append(line)
            self._waiting[collection] += len(line)
            self.size += len(line)
        self.counts[collection] += len(documents)

    def _send(self, collection: str) -> None:
        lines = self._lines.pop(collection, [])
        self._waiting.pop(collection, None)
        if lines:
            self._sent.add(collection)
            self._client.insert_all(collection, b"[" + b",".join(lines) + b"]")

    def _send_together(self) -> None:
        """Send what little there is in one request."""
        if len(self._lines) > 1:
            lines, self._lines, self._waiting = self._lines, {}, Counter()
            self._sent |= lines.keys()
            documents = {
                name: orjson.Fragment(b"[" + b",".join(lines.get(name, [])) + b"]") for name in ITEMS
            }
            self._client.query(INSERT_SYNCED if self._client.sync else INSERT, binds=documents)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.settled or self._pid != os.getpid():  # a forked child leaves what is its parent's
            return
        for collection in self._sent:
            try:
                remove_items(
                    self._client, collection, [self.batch], within_s=CLEAN_S, unreachable_s=IMPATIENT_S
                )
            except VaultError:
                return  # the server is away; invisible as they are, vacuum sweeps them when they are old


def _slices(table: pa.Table) -> list[pa.Table]:
    """The table in pieces of a few MB; an empty one as it is, for its dictionaries."""
    rows = max(1, table.num_rows * SLICE_BYTES // max(1, table.nbytes))
    return [table.slice(at, rows) for at in range(0, table.num_rows, rows)] or [table]
