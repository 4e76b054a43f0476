"""The same random operations on both stores, and on plain lists: all three must tell the same story."""

from __future__ import annotations

import tempfile
import uuid
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from stores import ARANGO_URL, new_place, rows
from torture.harness import times

from tablevault_pd.errors import VaultError
from tablevault_pd.store import Batch, Store
from tablevault_pd.store.pieces import OWN, Pieces

pytestmark = [
    pytest.mark.arango,
    pytest.mark.skipif(
        not ARANGO_URL, reason="TABLEVAULT_TEST_ARANGO_URL is not set: there is no ArangoDB to test with"
    ),
]
NAMES = st.sampled_from(["a", "b/ü"])
NUMBERS = st.one_of(st.none(), st.integers(-(2**63), 2**63 - 1))
FLOATS = st.one_of(st.none(), st.floats(width=64), st.sampled_from([-0.0, 1.0, 2.0**60]))
TEXTS = st.one_of(st.none(), st.text(max_size=5))
VECTORS = st.one_of(st.none(), st.lists(st.floats(width=32), min_size=2, max_size=2))
COLUMNS: dict[str, tuple[pa.DataType, st.SearchStrategy[Any]]] = {
    "n": (pa.int64(), NUMBERS),
    "f": (pa.float64(), FLOATS),
    "": (pa.string(), TEXTS),
    "v": (pa.list_(pa.float32(), 2), VECTORS),
    "c": (pa.dictionary(pa.int8(), pa.string()), st.one_of(st.none(), st.sampled_from("abc"))),
    "l": (
        pa.list_(pa.struct([("_id", pa.float64())])),
        st.lists(st.fixed_dictionaries({"_id": FLOATS}), max_size=2),
    ),
}


@st.composite
def tables(draw: st.DrawFn) -> pa.Table:
    """A table of some of the columns and up to four rows."""
    names = draw(st.lists(st.sampled_from(list(COLUMNS)), unique=True, min_size=1, max_size=3))
    count = draw(st.integers(0, 4))
    made = {}
    for name in names:
        kind, cells = COLUMNS[name]
        values = draw(st.lists(cells, min_size=count, max_size=count))
        made[name] = (
            pa.array(values, kind.value_type).cast(kind)
            if pa.types.is_dictionary(kind)
            else pa.array(values, kind)
        )
    return pa.table(made)


class SameStory(RuleBasedStateMachine):
    """One vault in a folder, one on a server, and what both should hold."""

    def __init__(self) -> None:
        super().__init__()
        self.stack = ExitStack()
        folder = Path(self.stack.enter_context(tempfile.TemporaryDirectory()))
        self.places = [self.stack.enter_context(new_place(kind, folder)) for kind in ("embedded", "arango")]
        self.stores: list[Store] = []
        self.contents: dict[str, list[list[Any]]] = {}  # list -> rows of each version
        self.hidden: set[str] = set()
        self.compacted = False

    @initialize()
    def open(self) -> None:
        self.stores = [place.open() for place in self.places]

    def teardown(self) -> None:
        try:
            for store in self.stores:
                assert store.check() == []
                store.close()
        finally:
            self.stack.close()

    def both(self, name: str, operation: str, tables: list[pa.Table], **options: Any) -> bool:
        """The same commit on both: whether it was accepted, by both or by neither, for the same reason."""
        token = uuid.uuid4().hex
        outcomes: list[str] = []
        for store in self.stores:
            head = store.head(name)
            base = head.schema_id if head and operation == "append" else None
            schema = tables[-1].schema if tables else None
            batch = Batch(token, name, operation, schema, base=base, **options)
            try:
                with store.stage() as stage:
                    for table in tables:
                        stage.write(table)
                    store.commit(batch, stage if tables else None)
                outcomes.append("")
            except VaultError as error:
                outcomes.append(f"{type(error).__name__}: {error}")
        assert outcomes[0] == outcomes[1]
        return not outcomes[0]

    @rule(name=NAMES, parts=st.lists(tables(), min_size=1, max_size=2))
    def save(self, name: str, parts: list[pa.Table]) -> None:
        assert self.both(name, "save", parts)
        self.contents.setdefault(name, []).append([row for table in parts for row in table.to_pylist()])
        self.hidden.discard(name)

    @rule(name=NAMES, table=tables().filter(lambda table: table.num_rows > 0))
    def append(self, name: str, table: pa.Table) -> None:
        accepted = self.both(name, "append", [table])
        assert accepted == (name not in self.hidden)
        if accepted:
            history = self.contents.setdefault(name, [])
            before = history[-1] if history else []
            history.append([*before, *table.to_pylist()])

    @precondition(lambda self: self.contents.keys() - self.hidden)
    @rule(data=st.data(), table=tables())
    def change(self, data: st.DataObject, table: pa.Table) -> None:
        """Replace some rows by the first of a table, leave out others, and add the rest."""
        name = data.draw(st.sampled_from(sorted(self.contents.keys() - self.hidden)))
        if any(store.head(name).gone for store in self.stores):
            return
        content = self.contents[name][-1]
        places = data.draw(st.permutations(range(len(content))))
        changed = data.draw(st.integers(0, min(len(content), table.num_rows)))
        at, gone = places[:changed], places[changed : changed + data.draw(st.integers(0, 2))]
        head = self.stores[0].head(name)
        assert head is not None
        [shown] = self.stores[0].pieces([head])
        pieces = shown.replace(np.array(at, np.int64), OWN) + Pieces.of([(OWN, changed, table.num_rows)])
        pieces = pieces.remove(np.array(gone, np.int64))
        options = {"expect": head.version, "pieces": pieces, "changed": changed, "removed": len(gone)}
        assert self.both(name, "upsert", [table], **options)
        new = table.to_pylist()
        replaced = dict(zip(at, new, strict=False))
        kept = [replaced.get(place, row) for place, row in enumerate(content) if place not in gone]
        self.contents[name].append(kept + new[changed:])

    @rule(name=NAMES)
    def delete(self, name: str) -> None:
        accepted = self.both(name, "delete", [])
        assert accepted == (name in self.contents and name not in self.hidden)
        if accepted:
            self.contents[name].append(self.contents[name][-1])
            self.hidden.add(name)

    @precondition(lambda self: self.contents)
    @rule(data=st.data())
    def restore(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.contents)))
        target = data.draw(st.integers(1, len(self.contents[name]) + 1))
        if self.both(name, "restore", [], target=target):
            content = self.contents[name][target - 1]
            head = self.stores[0].head(name)
            assert head is not None
            if head.version > len(self.contents[name]):
                self.contents[name].append(content)
            else:  # it is what is there
                assert name not in self.hidden
                assert self.contents[name][-1] == content
            self.hidden.discard(name)

    @rule()
    def compact(self) -> None:
        for store in self.stores:
            store.compact()
        self.compacted = True

    # A part that was merged is freed as a whole or not at all, so that a folder may keep more than a server then.
    @precondition(lambda self: not self.compacted)
    @rule(keep=st.integers(1, 3))
    def vacuum(self, keep: int) -> None:
        planned = [store.vacuum(keep=keep) for store in self.stores]
        done = [store.vacuum(keep=keep, dry_run=False) for store in self.stores]
        assert planned == done
        told = [[(f.what, f.list, f.versions, f.rows) for f in freed] for freed in done]
        assert told[0] == told[1]

    @rule()
    def reopen(self) -> None:
        for store in self.stores:
            store.close()
        self.open()

    @rule(data=st.data())
    def read_some(self, data: st.DataObject) -> None:
        for name, history in self.contents.items():
            start = data.draw(st.integers(0, 4))
            columns = data.draw(st.lists(st.sampled_from(list(COLUMNS)), unique=True, max_size=3))
            for store in self.stores:
                head = store.head(name)
                if head is not None and head.gone:
                    continue
                found = rows(store, head, columns, start=start, stop=start + 3)
                expected = history[-1][start : start + 3]
                if columns:
                    wanted = [{c: row[c] for c in columns if c in row} for row in expected]
                    assert [row for row in repr_of(found) if row != "{}"] == [
                        row for row in repr_of(wanted) if row != "{}"
                    ]

    @invariant()
    def same(self) -> None:
        if not self.stores:
            return
        stories = [[story(version) for version in store.versions()] for store in self.stores]
        assert sorted(stories[0]) == sorted(stories[1])
        for name, history in self.contents.items():
            for store in self.stores:
                version = store.head(name)
                assert version is not None
                assert version.version == len(history)
                assert version.deleted == (name in self.hidden)
                if not version.gone:
                    assert repr_of(rows(store, version)) == repr_of(history[-1])


def repr_of(found: list[Any]) -> list[str]:
    """Rows as texts: NaN equals NaN, and -0.0 is not 0.0."""
    return [repr(row) for row in found]


def story(version: Any) -> tuple[Any, ...]:
    """What both stores must agree on: all but ids and times."""
    return (
        version.list, version.version, version.operation, version.generation, version.start, version.rows, version.total,
        version.changed, version.removed, version.deleted, version.gone, version.tags,
    )  # fmt: skip


TestSameStory = SameStory.TestCase
TestSameStory.settings = settings(
    max_examples=times(10, ordinary=6),
    stateful_step_count=15,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
)
