"""What a database of TableVault 0.2 holds, read by AQL. Nothing is written to it, and the password is shown nowhere."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tablevault_pd.capture.redact import Redactor
from tablevault_pd.errors import InvalidInput, MissingDependency

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tablevault_pd.store.arango.client import Client

TIMEOUT_S = 60.0
ITEMS_AT_ONCE = 1_000  # whose content is read at a time
ITEM_KINDS = ("record", "document", "embedding", "file")

GLOBAL = "RETURN DOCUMENT('metadata', 'global')"
PROCESSES = """
FOR process IN process_list
  SORT process.timestamp
  RETURN MERGE(process, {began: DECODE_REV(process._rev).date, changed: DOCUMENT('items', process._key).version})
"""
# An edge is written once, when the code begins; the cell again when it ends.
CELLS = """
FOR cell IN process
  SORT cell.index
  LET began = FIRST(FOR edge IN parent_edge FILTER edge._to == cell._id RETURN DECODE_REV(edge._rev).date)
  RETURN MERGE(cell, {began, ended: DECODE_REV(cell._rev).date})
"""
LISTS = "FOR list IN @@lists SORT list.timestamp RETURN list"
ITEMS = """
FOR item IN @@items
  SORT item.timestamp
  RETURN [item.name, item.index, item.timestamp, item.start_position, item.end_position, item.process_name, item.process_index, item._key]
"""
CONTENT = "FOR key IN @keys FOR item IN @@items FILTER item._key == key RETURN item"
DEPENDENCIES = (
    "FOR edge IN dependency_edge RETURN [edge._to, edge._from, edge.start_position, edge.end_position]"
)
DESCRIPTIONS = """
FOR description IN description
  SORT description.timestamp
  RETURN MERGE(description, {written: DECODE_REV(description._rev).date})
"""


@dataclass(frozen=True, slots=True)
class Item:
    """One item of a list, without its content."""

    name: str
    index: int
    timestamp: int  #: a counter of the database, no time
    start: int
    stop: int
    process: str
    cell: int
    key: str


@dataclass(frozen=True, slots=True)
class Dependency:
    """Positions of a list that an item was made from: of characters in documents and code, else of items."""

    kind: str
    name: str
    start: int
    stop: int


class ItemList:
    """A list and its items, in the order in which they were added."""

    def __init__(self, kind: str, document: dict[str, Any], items: list[Item]) -> None:
        self.kind, self.name, self.items = kind, document["name"], items
        self.columns: list[str] = document.get("column_names", [])
        self.deleted = document["deleted"] > 0
        self._starts = np.array([item.start for item in items], np.int64)
        self._order = np.argsort(self._starts, kind="stable")
        self._starts = self._starts[self._order]
        self._stops = np.maximum.accumulate(np.array([item.stop for item in items], np.int64)[self._order])

    def between(self, start: int, stop: int, before: int) -> list[Item]:
        """Return the items that overlap these positions, of those that were added before a timestamp."""
        first, end = np.searchsorted(self._stops, start, "right"), np.searchsorted(self._starts, stop, "left")
        items = (self.items[number] for number in self._order[first:end].tolist())
        return [item for item in items if item.stop > start and item.timestamp < before]


class TableVaultDatabase:
    """A database of TableVault, as it was when this was made. Operations that had not ended are left out."""

    def __init__(self, url: str) -> None:
        self._client = _client(url)
        try:
            self.place = (
                f"{self._client.address.bases[0].partition('://')[2]}/{self._client.address.database}"
            )
            self._check()
            [state] = self._client.query(GLOBAL)
            self.unfinished = set(map(int, state["active_timestamps"]))
            self._end = state["new_timestamp"]
            self.processes = self._finished(PROCESSES)
            self.cells = [_masked(cell) for cell in self._finished(CELLS)]
            self.lists = [item_list for kind in ITEM_KINDS for item_list in self._lists(kind)]
            self.dependencies = self._dependencies()
            self.descriptions = self._finished(DESCRIPTIONS)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def content(self, kind: str, items: Sequence[Item]) -> list[dict[str, Any]]:
        """Return the documents of some items of one list, in their order."""
        documents: dict[str, dict[str, Any]] = {}
        for first in range(0, len(items), ITEMS_AT_ONCE):
            keys = [item.key for item in items[first : first + ITEMS_AT_ONCE]]
            rows = self._client.query(CONTENT, binds={"@items": kind, "keys": keys})
            documents.update((row["_key"], row) for row in rows)
        gone = [item for item in items if item.key not in documents]
        if gone:
            raise InvalidInput(
                f"The list {gone[0].name!r} of TableVault was deleted while it was read. Import again; what is imported stays."
            )
        return [documents[item.key] for item in items]

    def _check(self) -> None:
        collections: Any = self._client.run(lambda database: database.collections())
        names = {collection["name"] for collection in collections}
        if {"process_list", "items", "metadata", "dependency_edge"} <= names:
            return
        hint = " It is a vault of tablevault_pd: tv.copy copies it." if "tv_batches" in names else ""
        raise InvalidInput(f"There is no vault of TableVault in the database {self._client.address}.{hint}")

    def _finished(self, statement: str) -> list[dict[str, Any]]:
        return [row for row in self._client.query(statement) if self._is_finished(row["timestamp"])]

    def _is_finished(self, timestamp: int) -> bool:
        return timestamp < self._end and timestamp not in self.unfinished

    def _lists(self, kind: str) -> Iterator[ItemList]:
        items: dict[str, list[Item]] = {}
        for row in self._client.query(ITEMS, binds={"@items": kind}):
            item = Item(*row)
            if self._is_finished(item.timestamp):
                items.setdefault(item.name, []).append(item)
        for document in self._client.query(LISTS, binds={"@lists": f"{kind}_list"}):
            yield ItemList(kind, document, items.get(document["name"], []))

    def _dependencies(self) -> dict[str, list[Dependency]]:
        """Return what each item was made from, by its id."""
        by_item: dict[str, list[Dependency]] = {}
        for child, parent, start, stop in self._client.query(DEPENDENCIES):
            collection, _, name = parent.partition("/")
            kind = collection.removesuffix("_list")
            by_item.setdefault(child, []).append(Dependency(kind, name, start, stop))
        return by_item


def _masked(cell: dict[str, Any]) -> dict[str, Any]:
    """Return a cell without passwords: the code connects with them."""
    redactor = Redactor()
    return cell | {name: redactor.text(cell[name]) for name in ("text", "error")}


def _client(url: str) -> Client:
    try:
        from tablevault_pd.store.arango.address import parse, password_of
        from tablevault_pd.store.arango.client import Client
    except ImportError as error:
        raise MissingDependency.for_extra(
            "python-arango and orjson", "arango", "The import of TableVault"
        ) from error
    address, password = parse(url)
    return Client(
        address,
        password_of(None, password),
        None,
        read_only=True,
        timeout_s=TIMEOUT_S,
        sync=False,
        verify_tls=True,
    )
