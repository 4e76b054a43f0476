"""Items of TableVault as rows: many in one commit, each with the process and the code that made it and the rows it came from."""

from __future__ import annotations

from collections import Counter
from heapq import merge
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from tablevault_pd.errors import InvalidInput, SchemaMismatch
from tablevault_pd.lineage.cited import chars
from tablevault_pd.lineage.record import LineageRecorder
from tablevault_pd.reading import read as reading
from tablevault_pd.saving.commit import WriteRequest
from tablevault_pd.saving.ingest import ColumnOptions, ingest
from tablevault_pd.saving.ingest_rows import frame_of_mappings
from tablevault_pd.saving.write import write

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from tablevault_pd.importers.tablevault_source import Dependency, Item, ItemList, TableVaultDatabase
    from tablevault_pd.store import Store, Version

ROWS_AT_ONCE = 10_000  # of a list that one commit adds
INDEX = "item"
OPTIONS = {
    "record": ColumnOptions.only(),
    "document": ColumnOptions(False, {"text": "start"}),
    "embedding": ColumnOptions.only(embeddings=["embedding"]),
    "file": ColumnOptions.only(files=("file",)),
}


class ListImporter:
    """Adds the items that the target does not have.

    Items are taken in the order in which they were added to whatever list. They wait, list by list, for others of the same
    process and cell to be committed with; before rows are committed, those that they came from are.
    """

    def __init__(
        self, source: TableVaultDatabase, target: Store, names: Mapping[str, str], sessions: Mapping[str, int]
    ) -> None:
        self.added: Counter[str] = Counter()  #: new rows, by list
        self.left_out: dict[str, Counter[str]] = {name: Counter() for name in names}
        self._source, self._target, self._names, self._sessions = source, target, names, sessions
        self._lists = {item_list.name: item_list for item_list in source.lists}
        self._rows: dict[str, dict[int, int]] = {}  #: positions by index of the item, by list
        self._waiting: dict[str, list[Item]] = {}
        self._needs: dict[str, set[str]] = {}  #: which lists the waiting items of a list came from
        self._mixed: dict[str, list[str]] = {}  #: columns of objects, by list

    def import_all(self) -> None:
        """Commit all items that are new."""
        for name in self._lists:
            head = self._target.head(self._names[name])
            self._rows[name] = {} if head is None else _positions(self._target, head)
        new = (
            [item for item in item_list.items if item.index not in self._rows[item_list.name]]
            for item_list in self._source.lists
        )
        for item in merge(*new, key=lambda item: item.timestamp):
            self._add(item)
        for name in list(self._waiting):
            self._flush(name)

    def _add(self, item: Item) -> None:
        waiting = self._waiting.get(item.name, [])
        if waiting and (_maker(waiting[0]) != _maker(item) or len(waiting) >= ROWS_AT_ONCE):
            self._flush(item.name)
        parents = {name for name, *_ in self._parents(item)}
        for name in parents:
            if self._leads_to(name, item.name):
                self._flush(name)
        self._waiting.setdefault(item.name, []).append(item)
        self._needs.setdefault(item.name, set()).update(parents)

    def _leads_to(self, name: str, other: str) -> bool:
        """Whether items of `other` are to be committed before the waiting ones of `name`, or are among them."""
        if name not in self._waiting:
            return False
        return name == other or any(self._leads_to(needed, other) for needed in self._needs.get(name, ()))

    def _flush(self, name: str) -> None:
        items = self._waiting.pop(name, [])
        for needed in self._needs.pop(name, set()):
            self._flush(needed)
        if not items:
            return
        try:
            self._commit(name, items)
        except SchemaMismatch:
            self._commit_anew(name, items)
        self.added[name] += len(items)

    # -- one commit

    def _commit(self, name: str, items: Sequence[Item], *, anew: bool = False) -> None:
        item_list, head = self._lists[name], self._target.head(self._names[name])
        documents = self._source.content(item_list.kind, items)
        frame = self._frame(item_list, documents)
        frame.index = pd.Index([item.index for item in items], name=INDEX, dtype="int64")
        request = WriteRequest(
            self._names[name],
            "save" if head is None or anew else "append",
            session_id=self._sessions[items[0].process] if items[0].process else None,
            cell=items[0].cell if items[0].process else None,
            expect=0 if head is None else head.version,
        )
        first = 0 if head is None or anew else head.total
        options = OPTIONS[item_list.kind]
        try:
            lineage = LineageRecorder(self._target, self._inputs(items, cited=True))
            write(self._target, request, lineage, ingest(frame, options, lineage))
        except InvalidInput:  # chunks of one place that differ: the characters are of none of them for sure
            lineage = LineageRecorder(self._target, self._inputs(items, cited=False))
            write(self._target, request, lineage, ingest(frame, options, lineage))
            self.left_out[name]["places in documents whose chunks differ, of which the rows are kept"] += len(
                items
            )
        self._rows[name].update((item.index, first + row) for row, item in enumerate(items))
        self._note_left_out(item_list, items, frame)

    def _commit_anew(self, name: str, items: list[Item]) -> None:
        """Save the list from its beginning, in columns of objects, since some hold both numbers and texts, or the like."""
        present = self._rows[name]
        everything = [item for item in self._lists[name].items if item.index in present] + items
        contents = [document["data"] for document in self._source.content("record", everything)]
        self._mixed[name] = [
            label for label in self._lists[name].columns if _is_mixed(row[label] for row in contents)
        ]
        self._rows[name] = {}
        for number, run in enumerate(self._runs(name, everything)):
            self._commit(name, run, anew=number == 0)

    def _runs(self, name: str, items: Sequence[Item]) -> Iterator[list[Item]]:
        """Yield items that one commit may add: of one process and cell, none of which came from another one of them."""
        run: list[Item] = []
        for item in items:
            if run and (
                _maker(run[0]) != _maker(item) or any(parent == name for parent, *_ in self._parents(item))
            ):
                yield run
                run = []
            run.append(item)
        yield run

    def _frame(self, item_list: ItemList, documents: list[dict[str, Any]]) -> pd.DataFrame:
        if item_list.kind == "record":
            return _records(
                item_list.columns,
                [document["data"] for document in documents],
                self._mixed.get(item_list.name, ()),
            )
        if item_list.kind == "document":
            starts = pd.Series([document["start_position"] for document in documents], dtype="int64")
            return pd.DataFrame({"text": [document["text"] for document in documents], "start": starts})
        if item_list.kind == "file":
            locations = [document["location"] for document in documents]
            files = [location if _is_file(location) else None for location in locations]
            return pd.DataFrame({"location": locations, "file": pd.Series(files, dtype=object)})
        vectors = [
            next(value for label, value in document.items() if label.startswith("embedding_"))
            for document in documents
        ]
        return pd.DataFrame({"embedding": [list(map(float, vector)) for vector in vectors]})

    # -- where rows came from

    def _parents(self, item: Item) -> Iterator[tuple[str, Dependency, list[Item]]]:
        """Yield the lists that an item came from, with the positions and the items."""
        kind = self._lists[item.name].kind
        for dependency in self._source.dependencies.get(f"{kind}/{item.key}", ()):
            parent = self._lists.get(dependency.name)
            if parent is not None:
                items = parent.between(dependency.start, dependency.stop, item.timestamp)
                yield parent.name, dependency, items

    def _inputs(self, items: Sequence[Item], *, cited: bool) -> Any:
        """Return what ``inputs=`` takes: positions of rows, and where `cited` spans of characters for documents."""
        rows: dict[str, list[list[int]]] = {}
        spans: dict[str, list[list[tuple[int, int]]]] = {}
        for row, item in enumerate(items):
            for name, dependency, parents in self._parents(item):
                parents = [parent for parent in parents if parent.index in self._rows[name]]
                if not parents:
                    continue
                if cited and dependency.kind == "document":
                    cells = spans.setdefault(self._names[name], [[] for _ in items])
                    cells[row].append(_clipped(dependency, parents))
                else:
                    positions = rows.setdefault(self._names[name], [[] for _ in items])
                    positions[row] += [self._rows[name][parent.index] for parent in parents]
        return [rows, {name: chars(cells) for name, cells in spans.items()}] if rows or spans else False

    def _note_left_out(self, item_list: ItemList, items: Sequence[Item], frame: pd.DataFrame) -> None:
        left_out = self.left_out[item_list.name]
        for item in items:
            for dependency in self._source.dependencies.get(f"{item_list.kind}/{item.key}", ()):
                parent = self._lists.get(dependency.name)
                if parent is None:
                    left_out[f"parents of the kind {dependency.kind}"] += 1
                elif parent.deleted:
                    left_out["parents in deleted lists"] += 1
        if item_list.kind == "file" and (missing := int(frame["file"].isna().sum())):
            left_out["files that are not here, of which the location is kept"] += missing


def _clipped(dependency: Dependency, parents: Sequence[Item]) -> tuple[int, int]:
    """Return the characters of a dependency that there are."""
    start = max(dependency.start, min(parent.start for parent in parents))
    return start, min(dependency.stop, max(parent.stop for parent in parents))


def _maker(item: Item) -> tuple[str, int]:
    return item.process, item.cell


def _positions(target: Store, head: Version) -> dict[int, int]:
    """Return the positions of a list that was imported, by index of the item."""
    index = reading.read(target, head, columns=[]).index
    return {int(label): position for position, label in enumerate(index)}


def _records(columns: Sequence[str], rows: Sequence[dict[str, Any]], mixed: Collection[str]) -> pd.DataFrame:
    """Return records as a frame. Whole numbers and truth values stay what they are beside missing ones."""
    frame = frame_of_mappings(rows)[columns]
    for label in columns:
        cells = [row[label] for row in rows]
        kinds = {type(cell) for cell in cells if cell is not None}
        if label in mixed:
            frame[label] = pd.Series(cells, dtype=object)
        elif None in cells and kinds in ({int}, {bool}) and frame[label].dtype in (float, object):
            frame[label] = pd.Series(cells, dtype="boolean" if kinds == {bool} else "Int64")
    return frame


def _is_file(location: str) -> bool:
    try:
        return Path(location).is_file()
    except (OSError, ValueError):
        return False


def _is_mixed(cells: Iterator[Any]) -> bool:
    """Whether a column holds values of several kinds, which no other dtype than objects does."""
    kinds = {bool: "truth", int: "number", float: "number", str: "text"}
    return len({kinds.get(type(cell), "nested") for cell in cells if cell is not None}) > 1
