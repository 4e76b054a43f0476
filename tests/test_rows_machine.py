"""Random histories of a list with a key, by two handles that share nothing, against plain dicts.

Of every row the machine knows its cells and which row of another list it was said to come from, so that it can tell what
changed, what was kept, and whose parents each row still has.
"""

from __future__ import annotations

import itertools
import tempfile
import uuid
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from stores import BOTH, Place, new_place
from torture.harness import times

import tablevault_pd as tv
from tablevault_pd.vault.context import VaultContext

TEXT = "str" if int(pd.__version__[0]) >= 3 else "string"
DTYPES = {"doc": "category", "n": "int64", "value": "float64", "text": TEXT}
SOURCES = 12  #: rows of the list that all others are said to come from
HANDLES = st.sampled_from([0, 1])
DOCS, NUMBERS = "abc", range(3)
KEYS = st.tuples(st.sampled_from(DOCS), st.sampled_from(NUMBERS))
CELLS = st.tuples(
    st.sampled_from([0.0, -0.0, 1.5, None]), st.sampled_from(["", "storm", None]), st.integers(0, SOURCES - 1)
)
ROWS = st.dictionaries(KEYS, CELLS, max_size=5)


@dataclass(frozen=True)
class Row:
    """A row and where it came from."""

    key: tuple[str, int]
    value: float | None
    text: str | None
    source: int

    @property
    def cells(self) -> tuple[Any, ...]:
        """What is equal where rows are: 0.0 is not -0.0."""
        return (*self.key, repr(self.value), self.text)

    def shown(self) -> list[Any]:
        return [*self.key, self.value, self.text]


def rows_of(drawn: dict[tuple[str, int], tuple[Any, ...]]) -> list[Row]:
    return [Row(key, *cells) for key, cells in drawn.items()]


def frame_of(rows: list[Row]) -> pd.DataFrame:
    columns = zip(*(row.shown() for row in rows), strict=True) if rows else ([],) * 4
    return pd.DataFrame(
        {
            name: pd.Series(list(cells), dtype=dtype)
            for (name, dtype), cells in zip(DTYPES.items(), columns, strict=True)
        }
    )


def result_of(row: Any) -> dict[str, Any]:
    """A row of another list, made of one of these."""
    return {"doc": row.doc, "n": row.n, "word": repr(None if pd.isna(row.text) else row.text)}


def living(rows: list[Row | None]) -> list[Row]:
    """Those that were not erased."""
    return [row for row in rows if row is not None]


def cells_of(frame: pd.DataFrame) -> list[list[Any]]:
    plain = frame.astype(object).where(frame.notna(), None)
    return [
        [repr(cell) if isinstance(cell, float) else cell for cell in row] for row in plain.to_numpy().tolist()
    ]


def expected_cells(rows: list[Row]) -> list[list[Any]]:
    return [[repr(cell) if isinstance(cell, float) else cell for cell in row.shown()] for row in rows]


def expected_cells_of(cells: tuple[Any, ...]) -> list[Any]:
    doc, n, value, text = cells
    return [doc, n, None if value == "None" else value, text]


@dataclass(frozen=True)
class Made:
    """A version: what it was made by, and what it shows: None for a row that was erased. No rows: the list is deleted."""

    operation: str
    rows: list[Row | None] | None
    added: int = 0
    changed: int = 0
    removed: int = 0


class Keyed(RuleBasedStateMachine):
    """One list, saved, appended to, upserted, thinned out, deleted and restored, claimed from and mapped."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.stack = ExitStack()
        folder = Path(self.stack.enter_context(tempfile.TemporaryDirectory()))
        self.place: Place = self.stack.enter_context(new_place(kind, folder))
        self.vaults = [self.open(), self.open()]
        self.vaults[0].save("sources", pd.DataFrame({"s": range(SOURCES)}))
        self.versions: list[Made] = []
        self.looks = 0
        self.worker = tv.connect(self.place.address, session="worker", durability="fast", capture="none")
        self.working = False
        self.numbers = itertools.count()
        self.ids: list[
            dict[tuple[str, int], int]
        ] = []  # of each version what tells its rows from others, by their keys
        self.targets: dict[int, int] = {}  # restored version -> the one that it shows
        self.state: dict[int, str] = {}  # held or done, by id
        self.claimed: list[tuple[pd.DataFrame, list[int]]] = []

    def open(self) -> tv.Vault:
        store = self.place.open(durability="fast")
        return tv.Vault(VaultContext((self.place.address, uuid.uuid4().hex), store, {}), None)

    def teardown(self) -> None:
        with self.stack:
            assert self.vaults[0].check()[["what", "list", "detail"]].values.tolist() == []
            for vault in (*self.vaults, self.worker):
                vault.close()

    @property
    def rows(self) -> list[Row] | None:
        return self.versions[-1].rows if self.versions else None

    @property
    def deleted(self) -> bool:
        return bool(self.versions) and self.rows is None

    def inputs(self, rows: list[Row]) -> dict[str, list[int]]:
        return {"sources": [row.source for row in rows]}

    def note(self, made: tv.List, version: Made | None) -> None:
        """Remember what a call made, if anything."""
        if version is not None:
            self.versions.append(version)
        assert made.version == len(self.versions)
        assert len(made) == len(self.rows)

    # -- what is done

    @rule(handle=HANDLES, drawn=ROWS)
    def save(self, handle: int, drawn: dict[tuple[str, int], tuple[Any, ...]]) -> None:
        rows = rows_of(drawn)
        made = self.vaults[handle].save("rows", frame_of(rows), inputs=self.inputs(rows), key=["doc", "n"])
        same = self.rows is not None and [(row.cells, row.source) for row in rows] == [
            (row.cells, row.source) for row in self.rows
        ]
        if made.version > len(self.versions):
            self.note(made, Made("save", rows, added=len(rows)))
        else:
            assert same

    @rule(handle=HANDLES, drawn=ROWS)
    def save_a_key_twice(self, handle: int, drawn: dict[tuple[str, int], tuple[Any, ...]]) -> None:
        frame = frame_of(rows_of(drawn))
        if len(frame):
            with pytest.raises(tv.DuplicateKey):
                self.vaults[handle].save("rows", pd.concat([frame, frame.head(1)]), key=["doc", "n"])

    @rule(handle=HANDLES, drawn=ROWS, again=st.lists(st.integers(0, 8), max_size=3))
    def append(self, handle: int, drawn: dict[tuple[str, int], tuple[Any, ...]], again: list[int]) -> None:
        """Rows that are new, some that are there, and some that differ from those."""
        present = {row.key: row for row in self.rows or ()}
        rows = {row.key: row for row in rows_of(drawn)}
        for row in (self.rows or [])[: len(again)]:
            rows[row.key] = row
        given = list(rows.values())

        def call() -> tv.List:
            return self.vaults[handle].append(
                "rows", frame_of(given), inputs=self.inputs(given), key=["doc", "n"]
            )

        if self.deleted:
            with pytest.raises(tv.ListDeleted):
                call()
            return
        if any(row.key in present and row.cells != present[row.key].cells for row in given):
            with pytest.raises(tv.DuplicateKey, match="'rows'"):
                call()
            return
        new = [row for row in given if row.key not in present]
        made = Made("append", [*(self.rows or ()), *new], added=len(new))
        self.note(call(), made if new or not self.versions else None)

    @rule(handle=HANDLES, drawn=ROWS, drop_missing=st.sampled_from([False, True, "doc"]))
    def upsert(self, handle: int, drawn: dict[tuple[str, int], tuple[Any, ...]], drop_missing: Any) -> None:
        given = rows_of(drawn)

        def call() -> tv.List:
            return self.vaults[handle].upsert(
                "rows",
                frame_of(given),
                inputs=self.inputs(given),
                key=["doc", "n"],
                drop_missing=drop_missing,
            )

        if self.deleted:
            with pytest.raises(tv.ListDeleted):
                call()
            return
        before = self.rows or []
        new = {row.key: row for row in given}
        docs = {row.key[0] for row in given}
        after, changed, removed = [], 0, 0
        for row in before:
            other = new.pop(row.key, None)
            if other is not None:
                after.append(row if row.cells == other.cells else other)
                changed += row.cells != other.cells
            elif drop_missing is True or (drop_missing == "doc" and row.key[0] in docs):
                removed += 1
            else:
                after.append(row)
        after += new.values()
        nothing = self.versions and not (changed or removed or new)
        self.note(call(), None if nothing else Made("upsert", after, len(new), changed, removed))

    @precondition(lambda self: self.rows)
    @rule(handle=HANDLES, data=st.data(), how=st.sampled_from(["positions", "filters", "frame", "old frame"]))
    def delete_rows(self, handle: int, data: st.DataObject, how: str) -> None:
        vault, rows = self.vaults[handle], self.rows
        if how == "filters":
            doc = data.draw(st.sampled_from(DOCS))
            gone = {row.key for row in rows if row.key[0] == doc}
            made = vault.delete_rows("rows", filters="doc == @doc")
        elif how == "old frame":
            readable = [number for number, each in enumerate(self.versions, 1) if living(each.rows or [])]
            number = data.draw(st.sampled_from(readable))
            keys = data.draw(
                st.sets(st.sampled_from([row.key for row in living(self.versions[number - 1].rows)]))
            )
            frame = vault.read("rows", version=number)
            chosen = [(doc, n) in keys for doc, n in zip(frame["doc"], frame["n"], strict=True)]
            gone = keys & {row.key for row in rows}
            made = vault.delete_rows("rows", frame[chosen])
        else:
            positions = data.draw(st.lists(st.integers(0, len(rows) - 1), max_size=4))
            gone = {rows[position].key for position in positions}
            if how == "positions":
                made = vault.delete_rows("rows", positions, reason="asked to")
            else:
                made = vault.delete_rows("rows", vault.read("rows").loc[positions])
        after = [row for row in rows if row.key not in gone]
        self.note(made, Made("delete_rows", after, removed=len(gone)) if gone else None)

    @precondition(lambda self: self.rows is not None)
    @rule(handle=HANDLES, data=st.data(), how=st.sampled_from(["filters", "old frame"]))
    def erase(self, handle: int, data: st.DataObject, how: str) -> None:
        """Rows of one document, or of some version, go in all versions and in all states of theirs."""
        vault = self.vaults[handle]
        if how == "filters":
            doc = data.draw(st.sampled_from(DOCS))
            gone = {key for key in self.all_keys() if key[0] == doc}
            answer = vault.erase("rows", filters="doc == @doc")
        else:
            number = data.draw(st.integers(1, len(self.versions)))
            frame = vault.read("rows", version=number) if self.versions[number - 1].rows is not None else None
            if frame is None or frame.empty:
                return
            keys = list(zip(frame["doc"], frame["n"], strict=True))
            gone = {data.draw(st.sampled_from(keys))}
            answer = vault.erase("rows", frame[[key in gone for key in keys]])
        if not gone & self.all_keys():
            assert answer.empty
            return
        removed = sum(row is not None and row.key in gone for row in self.rows)
        self.versions = [self.without(made, gone) for made in self.versions]
        after = [row for row in self.rows if row is not None]
        self.versions.append(Made("erase", after, removed=removed))

    def all_keys(self) -> set[tuple[str, int]]:
        """The keys of all rows of all versions."""
        return {row.key for made in self.versions for row in made.rows or () if row is not None}

    @staticmethod
    def without(made: Made, gone: set[tuple[str, int]]) -> Made:
        """The version with gaps where these rows were."""
        if made.rows is None:
            return made
        return replace(made, rows=[None if row is None or row.key in gone else row for row in made.rows])

    @rule(handle=HANDLES)
    def delete(self, handle: int) -> None:
        if self.rows is not None:
            self.vaults[handle].delete("rows")
            self.versions.append(Made("delete", None))

    @precondition(lambda self: self.versions)
    @rule(handle=HANDLES, data=st.data())
    def restore(self, handle: int, data: st.DataObject) -> None:
        target = data.draw(st.integers(1, len(self.versions)))
        if self.versions[target - 1].rows is None:
            return
        rows = living(self.versions[target - 1].rows)
        made = self.vaults[handle].restore("rows", target)
        if made.version > len(self.versions):
            self.targets[made.version] = target
            self.note(made, Made("restore", rows))
        else:
            assert [(row.cells, row.source) for row in rows] == [(row.cells, row.source) for row in self.rows]

    # -- work that is shared

    def row_ids(self) -> list[int]:
        """The rows of the newest version: those of the one before by their keys, or the very rows that were restored."""
        for number, made in enumerate(self.versions[len(self.ids) :], len(self.ids) + 1):
            before = self.ids[self.targets.get(number, number - 1) - 1] if number > 1 else {}
            keys = [row.key for row in living(made.rows or [])]
            self.ids.append({key: before[key] if key in before else next(self.numbers) for key in keys})
        return list(self.ids[-1].values())

    @precondition(lambda self: self.working and self.rows is not None)
    @rule(count=st.integers(1, 3))
    def claim(self, count: int) -> None:
        mine = self.worker.claim("rows", k=count)
        taken = [(at, row) for at, row in enumerate(self.row_ids()) if row not in self.state][:count]
        assert mine.index.tolist() == [position for position, _ in taken]
        self.state.update((row, "held") for _, row in taken)
        self.claimed.append((mine, [row for _, row in taken]))

    @precondition(lambda self: self.claimed)
    @rule(number=st.integers(0, 99), part=st.sampled_from([slice(None), slice(1), slice(1, None)]))
    def release(self, number: int, part: slice) -> None:
        frame, rows = self.claimed[number % len(self.claimed)]
        held = [row for row in rows[part] if self.state.get(row) == "held"]
        assert self.worker.release(frame.iloc[part]) == len(held)
        for row in held:
            del self.state[row]

    @precondition(lambda self: self.claimed)
    @rule(number=st.integers(0, 99), part=st.sampled_from([slice(None), slice(1), slice(1, None)]))
    def finish(self, number: int, part: slice) -> None:
        frame, rows = self.claimed[number % len(self.claimed)]
        lost = any(row not in self.state for row in rows[part])
        with pytest.raises(tv.ClaimLost) if lost else nullcontext():
            self.worker.finish(frame.iloc[part])
        if not lost:
            self.state.update(dict.fromkeys(rows[part], "done"))

    @precondition(lambda self: self.rows)
    @rule()
    def map(self) -> None:
        """Each row has its result, and one that is not the result of a row that was."""
        made = self.worker.map("mapped", result_of, "rows", version="1", columns=["doc", "n", "text"])
        expected = [(*row.key, repr(row.text)) for row in self.rows]
        found = made.read()
        assert sorted(zip(found["doc"], found["n"], found["word"], strict=True)) == sorted(expected)
        parents = self.worker.lineage("mapped", depth=1)
        of = zip(parents["parent_version"], parents["parent_position"], strict=True)
        inputs = [self.versions[version - 1].rows[position] for version, position in of]
        assert parents["position"].tolist() == found.index.tolist()
        assert [row.key for row in inputs] == list(zip(found["doc"], found["n"], strict=True))

    @rule(handle=HANDLES)
    def compact(self, handle: int) -> None:
        self.vaults[handle].compact()

    @rule(handle=HANDLES)
    def reopen(self, handle: int) -> None:
        self.vaults[handle].close()
        self.vaults[handle] = self.open()

    # -- what is seen

    @precondition(lambda self: self.versions)
    @rule(handle=HANDLES, data=st.data())
    def read_a_version(self, handle: int, data: st.DataObject) -> None:
        number = data.draw(st.integers(1, len(self.versions)))
        rows = self.versions[number - 1].rows
        if rows is not None:
            frame = self.vaults[handle].read("rows", version=number)
            assert cells_of(frame) == expected_cells(living(rows))
            assert frame.index.tolist() == [at for at, row in enumerate(rows) if row is not None]

    @precondition(lambda self: self.versions)
    @rule(handle=HANDLES, key=KEYS)
    def history(self, handle: int, key: tuple[str, int]) -> None:
        """A line for each version in which the row became another one, came or went."""
        states: list[tuple[int, Row | None]] = []
        for number, version in enumerate(self.versions, 1):
            row = next((row for row in living(version.rows or []) if row.key == key), None)
            before = states[-1][1] if states else None
            if (row and row.cells) != (before and before.cells):
                states.append((number, row))
        vault = self.vaults[handle]
        if not states:
            with pytest.raises(tv.InvalidInput, match="ever had the key"):
                vault.history("rows", key=key)
            return
        found = vault.history("rows", key=key)
        assert found["version"].tolist() == [number for number, _ in states]
        assert found["operation"].tolist() == [self.versions[number - 1].operation for number, _ in states]
        assert cells_of(found[list(DTYPES)]) == [
            [None] * 4 if row is None else expected_cells([row])[0] for _, row in states
        ]
        assert vault.history("rows", key={"n": key[1], "doc": key[0]}).equals(found)

    @precondition(lambda self: self.rows is not None)
    @rule(handle=HANDLES, data=st.data())
    def follow(self, handle: int, data: st.DataObject) -> None:
        """What was stored since a version: of a save the rows that the version before does not have as they are."""
        shown = [number for number, made in enumerate(self.versions, 1) if made.rows is not None]
        since = data.draw(st.sampled_from([0, *shown]))
        expected: list[tuple[Any, ...]] = []
        for number in range(since, len(self.versions)):
            before = self.versions[number - 1].rows if number else None
            present = {row.cells for row in living(before or [])}
            if self.versions[number].operation in ("save", "append", "upsert"):
                rows = living(self.versions[number].rows or [])
                expected += [row.cells for row in rows if row.cells not in present]
        frames = self.vaults[handle].follow("rows", since=since or "start", timeout_s=0)
        found = [row for frame in frames for row in cells_of(frame)]
        assert sorted(map(repr, found)) == sorted(repr(expected_cells_of(cells)) for cells in expected)

    @invariant()
    def it_is_seen(self) -> None:
        """By one handle after the other: what the other one has cached meets more than one change."""
        if self.versions and not self.working:  # claims are told from the first version on
            self.working = self.worker.claim("rows", filters="n > 9").empty
        self.looks += 1
        vault = self.vaults[self.looks % 2]
        if self.rows is None:
            assert "rows" not in vault
            return
        assert cells_of(vault.read("rows")) == expected_cells(self.rows)
        if self.working:
            states = [self.state.get(row, "open") for row in self.row_ids()]
            assert vault.claims("rows")["state"].tolist() == states
        parents = vault.lineage("rows", depth=1)
        assert dict(zip(parents["position"], parents["parent_position"], strict=True)) == {
            position: row.source for position, row in enumerate(self.rows)
        }
        shown = vault.versions("rows")
        for column in ("operation", "added", "changed", "removed"):
            assert shown[column].tolist() == [getattr(each, column) for each in self.versions], column


@pytest.mark.slow
@pytest.mark.parametrize("kind", BOTH)
def test_rows_by_key(kind: str) -> None:
    run_state_machine_as_test(
        lambda: Keyed(kind),
        settings=settings(
            max_examples=times(12, ordinary=4) if kind == "embedded" else times(6, ordinary=2),
            stateful_step_count=20,
        ),
    )
