"""Commits that replace, add and leave out rows, in random histories on every store, against plain lists of rows."""

from __future__ import annotations

import itertools
import tempfile
import uuid
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from stores import BOTH, act, new_place, put, rows
from torture.harness import times

from tablevault_pd import frames
from tablevault_pd.errors import Conflict, InvalidInput, ListDeleted, ListNotFound, VersionNotFound
from tablevault_pd.search.query import parse_text
from tablevault_pd.store import Batch, ScanRequest, Scope, Store, VectorQuery, Version
from tablevault_pd.store.pieces import EMPTY, OWN, Pieces

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyarrow as pa

COUNTS = st.integers(0, 4)


def table(numbers: Sequence[int]) -> pa.Table:
    """Rows that are told apart by their number, with a text and a vector of it."""
    if not numbers:
        return table([0]).slice(0, 0)
    frame = pd.DataFrame(
        {
            "n": np.array(numbers, np.int64),
            "text": pd.array([f"all w{number % 3}" for number in numbers], dtype="string"),
            "vec": [[float(number), 1.0] for number in numbers],
        }
    )
    return frames.encode(frame, embeddings=["vec"])


SCHEMA = table([0]).schema


def change(
    store: Store, name: str, at: Sequence[int], gone: Sequence[int], new: Sequence[int], **options: Any
) -> Version:
    """Replace the rows at some positions by the first of `new`, leave others out, and add the rest of `new`."""
    head = store.head(name)
    content = EMPTY if head is None else store.pieces([head])[0]
    pieces = content.replace(np.array(at, np.int64), OWN) + Pieces.of([(OWN, len(at), len(new))])
    options = {"expect": 0 if head is None else head.version, "token": uuid.uuid4().hex, **options}
    batch = Batch(
        list=name, operation="upsert" if new else "delete_rows", schema=SCHEMA if new else None,
        pieces=pieces.remove(np.array(gone, np.int64)), changed=len(at), removed=len(gone), **options,
    )  # fmt: skip
    with store.stage() as stage:
        if new:
            stage.write(table(new))
        return store.commit(batch, stage if new else None)


@dataclass(frozen=True)
class Row:
    """One stored row, and the version that wrote it."""

    number: int
    writer: int


@dataclass
class Shown:
    """What a version shows."""

    rows: list[Row]
    deleted: bool = False
    counts: tuple[int, int, int] = (0, 0, 0)  #: added, changed, removed
    gone: bool = False


@dataclass
class Model:
    """The versions of a list."""

    versions: list[Shown] = field(default_factory=list)
    numbers: Any = field(default_factory=itertools.count)

    @property
    def head(self) -> Shown | None:
        return self.versions[-1] if self.versions else None

    @property
    def next(self) -> int:
        return len(self.versions) + 1

    def new(self, count: int) -> list[Row]:
        return [Row(next(self.numbers), self.next) for _ in range(count)]

    def vacuumed(self, keep: int) -> list[bool]:
        """Which versions are gone after a vacuum: a batch goes as a whole, once no kept version shows any row of it."""
        kept = [version for version in self.versions if not version.deleted][-keep:]
        needed = {row.writer for version in kept if not version.gone for row in version.rows}
        return [
            version.gone or any(row.writer not in needed for row in version.rows) for version in self.versions
        ]


class Changes(RuleBasedStateMachine):
    """One list."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.stack = ExitStack()
        folder = Path(self.stack.enter_context(tempfile.TemporaryDirectory()))
        self.place = self.stack.enter_context(new_place(kind, folder))
        self.store: Store = self.place.open()
        self.model = Model()
        self.merged = False

    def teardown(self) -> None:
        with self.stack:
            assert self.store.check() == []
            self.store.close()

    def note(self, made: Version, content: list[Row], added: int, changed: int = 0, removed: int = 0) -> None:
        self.model.versions.append(Shown(content, made.deleted, (added, changed, removed)))
        assert made.version == len(self.model.versions)

    @property
    def is_hidden(self) -> bool:
        return self.model.head is not None and self.model.head.deleted

    @rule(count=COUNTS)
    def save(self, count: int) -> None:
        new = self.model.new(count)
        made = put(self.store, "a", table([row.number for row in new]), cell=self.model.next)
        self.note(made, new, count)

    @rule(count=COUNTS.filter(bool))
    def append(self, count: int) -> None:
        new = self.model.new(count)
        if self.is_hidden:
            with pytest.raises(ListDeleted):
                put(self.store, "a", table([0]), operation="append")
            return
        before = self.model.head.rows if self.model.head else []
        made = put(
            self.store, "a", table([row.number for row in new]), operation="append", cell=self.model.next
        )
        self.note(made, before + new, count)

    @rule(data=st.data(), added=COUNTS)
    def change(self, data: st.DataObject, added: int) -> None:
        content = self.model.head.rows if self.model.head else []
        places = data.draw(st.permutations(range(len(content))))
        changed = data.draw(st.integers(0, len(content)))
        removed = data.draw(st.integers(0, len(content) - changed))
        at, gone = places[:changed], places[changed : changed + removed]
        new = self.model.new(changed + added)
        numbers = [row.number for row in new]
        if self.is_hidden:
            with pytest.raises(ListDeleted):
                change(self.store, "a", at, gone, numbers)
            return
        if self.model.head is None and not new:
            with pytest.raises(ListNotFound):
                change(self.store, "a", at, gone, numbers)
            return
        made = change(self.store, "a", at, gone, numbers, cell=self.model.next)
        replaced = dict(zip(at, new, strict=False))
        kept = [replaced.get(place, row) for place, row in enumerate(content) if place not in gone]
        self.note(made, kept + new[changed:], added, changed, removed)

    @precondition(lambda self: self.model.head and not self.is_hidden)
    @rule(behind=st.integers(1, 2))
    def change_too_late(self, behind: int) -> None:
        with pytest.raises(Conflict):
            change(self.store, "a", [], [], [7], expect=max(0, len(self.model.versions) - behind))

    @precondition(lambda self: self.model.head and not self.is_hidden)
    @rule(
        wrong=st.sampled_from(
            [
                [(OWN, 0, 2)],  # of a batch of one row
                [(OWN, 0, 1), (OWN, 0, 1)],
                [(10**6, 0, 1), (OWN, 0, 1)],
                [],
            ]
        )
    )
    def change_wrongly(self, wrong: list[tuple[int, int, int]]) -> None:
        """Pieces that are not rows of the list and of the batch are refused."""
        batch = Batch(
            uuid.uuid4().hex, "a", "upsert", SCHEMA, expect=len(self.model.versions), pieces=Pieces.of(wrong)
        )
        with pytest.raises(InvalidInput, match="The pieces of 'a'"), self.store.stage() as stage:
            stage.write(table([1]))
            self.store.commit(batch, stage)

    @precondition(lambda self: self.model.head and not self.is_hidden)
    @rule()
    def delete(self) -> None:
        assert self.model.head is not None
        self.note(act(self.store, "a", "delete"), self.model.head.rows, 0)
        self.model.versions[-1].gone = self.model.versions[-2].gone

    @precondition(lambda self: self.model.head)
    @rule(data=st.data())
    def restore(self, data: st.DataObject) -> None:
        target = data.draw(st.integers(1, len(self.model.versions)))
        content = self.model.versions[target - 1]
        if content.gone:
            with pytest.raises(VersionNotFound):
                act(self.store, "a", "restore", target=target)
            return
        assert self.model.head is not None
        made = act(self.store, "a", "restore", target=target)
        if content.rows == self.model.head.rows and not self.is_hidden:
            assert made.version == len(self.model.versions)  # it is what is there
        else:
            self.note(made, content.rows, 0)

    @rule()
    def compact(self) -> None:
        self.store.compact()
        self.merged = True

    @rule(keep=st.integers(1, 3))
    def vacuum(self, keep: int) -> None:
        expected = self.model.vacuumed(keep)
        planned = self.store.vacuum(keep=keep)
        assert self.store.vacuum(keep=keep, dry_run=False) == planned
        gone = [version.gone for version in self.store.versions("a")]
        # A part that was merged is freed as a whole, or not at all.
        assert gone == expected or (
            self.merged and all(one >= other for one, other in zip(expected, gone, strict=True))
        )
        for version, is_gone in zip(self.model.versions, gone, strict=True):
            version.gone = is_gone

    @rule()
    def reopen(self) -> None:
        self.store.close()
        self.store = self.place.open()

    @precondition(lambda self: self.model.head)
    @rule(data=st.data())
    def look_at(self, data: st.DataObject) -> None:
        """Rows, writers, texts and vectors of any version."""
        number = data.draw(st.integers(1, len(self.model.versions)))
        version = self.store.version("a", number)
        shown = self.model.versions[number - 1]
        assert version is not None
        if shown.gone:
            with pytest.raises(VersionNotFound):
                list(self.store.scan(version))
            return
        numbers = [row.number for row in shown.rows]
        start, stop = sorted(data.draw(st.tuples(st.integers(0, 9), st.integers(0, 9))))
        found = rows(self.store, version, ["n"], start=start, stop=stop)
        assert [row["n"] for row in found] == numbers[start:stop]
        some = np.array(sorted(data.draw(st.sets(st.integers(0, max(0, len(numbers) - 1))))), np.int64)
        if len(numbers):
            asked = [ScanRequest(version, ("n",), some), ScanRequest(version, ("n",))]
            read: list[dict[int, int]] = [{}, {}]
            for which, chunk in self.store.scan_many(asked):
                read[which] |= dict(zip(chunk.positions, chunk.table.column("n").to_pylist(), strict=True))
            assert {place: read[0][place] for place in some.tolist()} == {
                place: numbers[place] for place in some.tolist()
            }
            assert read[1] == dict(enumerate(numbers))
        spans = self.store.spans_written([version, version])
        writers = [
            (scope, cell)
            for scope, low, high, cell in zip(spans.scope, spans.start, spans.stop, spans.cell, strict=True)
            for _ in range(low, high)
        ]
        assert writers == [(scope, row.writer) for scope in (0, 1) for row in shown.rows]
        self.search(data, version, numbers)

    def search(self, data: st.DataObject, version: Version, numbers: list[int]) -> None:
        keep = None
        if data.draw(st.booleans()):
            keep = np.array(
                data.draw(st.lists(st.booleans(), min_size=len(numbers), max_size=len(numbers))), bool
            )
        places = [place for place in range(len(numbers)) if keep is None or keep[place]]
        scope = Scope(version, keep=keep)
        word = data.draw(st.integers(0, 2))
        hits = self.store.search_text(parse_text(f"w{word}"), [scope])
        assert sorted(hits.position.tolist()) == [place for place in places if numbers[place] % 3 == word]
        target, k = data.draw(st.integers(0, 30)), data.draw(st.integers(1, 4))
        query = VectorQuery(0, "vec", np.array([[float(target), 1.0]]))
        for most in (None, k):
            [near] = self.store.search_vectors([query], [scope], metric="l2", k=most)
            nearest = sorted(places, key=lambda place: (abs(numbers[place] - target), place))
            assert near.position.tolist()[: most or len(places)] == nearest[:most]

    @invariant()
    def history(self) -> None:
        """Versions, counts, and the rows of the newest one."""
        found = self.store.versions("a")
        assert [version.total for version in found] == [len(shown.rows) for shown in self.model.versions]
        assert [(each.added, each.changed, each.removed) for each in found] == [
            shown.counts for shown in self.model.versions
        ]
        for version, shown in zip(found, self.model.versions, strict=True):
            assert version.gone == shown.gone
        if found and not found[-1].gone and not found[-1].deleted:
            assert [row["n"] for row in rows(self.store, found[-1])] == [
                row.number for row in self.model.versions[-1].rows
            ]


@pytest.mark.slow
@pytest.mark.parametrize("kind", BOTH)
def test_histories_of_changes(kind: str) -> None:
    run_state_machine_as_test(
        lambda: Changes(kind),
        settings=settings(
            max_examples=times(12 if kind == "embedded" else 5),
            stateful_step_count=20,
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_thousands_of_pieces(store: Store) -> None:
    """Rows changed here and there, one commit each and many in one: read, found and compacted as if they were one piece."""
    count = 600
    put(store, "a", table(range(count)))
    numbers = list(range(count))
    for at in range(5, 300, 7):
        change(store, "a", [at], [], [10_000 + at])
        numbers[at] = 10_000 + at
    places = list(range(1, count, 3))
    change(store, "a", places, [], [20_000 + place for place in places])
    for place in places:
        numbers[place] = 20_000 + place
    head = put(store, "a", table([7]), operation="append")
    numbers.append(7)
    assert len(store.pieces([head])[0]) > 400
    for _ in range(2):
        assert [row["n"] for row in rows(store, head)] == numbers
        assert [row["n"] for row in rows(store, head, ["n"], start=97, stop=103)] == numbers[97:103]
        query = VectorQuery(0, "vec", np.array([[10_040.0, 1.0]]))
        [near] = store.search_vectors([query], [Scope(head)], metric="l2", k=3)
        expected = sorted(range(len(numbers)), key=lambda place: (abs(numbers[place] - 10_040), place))
        assert near.position.tolist()[:3] == expected[:3]
        hits = store.search_text(parse_text("w1"), [Scope(head)])
        assert sorted(hits.position.tolist()) == [place for place, n in enumerate(numbers) if n % 3 == 1]
        store.compact()
        store.vacuum(dry_run=False)
