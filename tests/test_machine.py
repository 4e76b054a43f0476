"""Random histories of one vault, written and read by two handles that share nothing, against plain lists of cells."""

from __future__ import annotations

import tempfile
import uuid
from contextlib import ExitStack
from dataclasses import dataclass
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

pytestmark = pytest.mark.ci

TEXT = "str" if int(pd.__version__[0]) >= 3 else "string"
DTYPES = {"n": "float64", "t": TEXT, "more": "Int64"}
HANDLES = st.sampled_from([0, 1])
NAMES = st.sampled_from(["a", "b/c", "über at all"])
ROWS = st.lists(
    st.fixed_dictionaries(
        {"n": st.floats(width=32) | st.none(), "t": st.text("ab é\x00🌍", max_size=3) | st.none()},
        optional={"more": st.integers(-(2**53), 2**53)},
    ),
    max_size=6,
)
TAGS = st.sampled_from(["best", "paper", "é"])
BOUNDS = st.none() | st.integers(-8, 8)


@dataclass(frozen=True)
class Content:
    """What a version shows: a list of cells for each column, None where one is missing."""

    cells: dict[str, list[Any]]

    @classmethod
    def of(cls, rows: list[dict[str, Any]], repeat: int = 1) -> Content:
        """The rows, again and again; `more` only if some row has it."""
        used = [name for name in DTYPES if name != "more" or any(name in row for row in rows)]
        return cls({name: [plain(row.get(name)) for row in rows] * repeat for name in used})

    def __len__(self) -> int:
        return len(self.cells["n"])

    def __add__(self, rows: Content) -> Content:
        """With rows appended: a column that one of the two lacks is missing there."""
        used = [name for name in DTYPES if name in self.cells or name in rows.cells]
        return Content(
            {
                name: self.cells.get(name, [None] * len(self)) + rows.cells.get(name, [None] * len(rows))
                for name in used
            }
        )

    def frame(self) -> pd.DataFrame:
        """With settled dtypes."""
        return pd.DataFrame(
            {name: pd.Series(cells, dtype=DTYPES[name]) for name, cells in self.cells.items()}
        )

    def is_shown_by(self, found: pd.DataFrame, rows: slice = slice(None)) -> bool:
        """Whether those are the columns, cells and positions of some of its rows."""
        assert found.index.name == "position"
        assert found.index.tolist() == list(range(len(self)))[rows]
        return {name: cells_of(found[name]) for name in found} == {
            name: cells[rows] for name, cells in self.cells.items()
        }

    def is_same(self, other: Content | None) -> bool:
        """Whether saving it over the other makes no version; 0.0 is not -0.0."""
        return other is not None and repr(self.cells) == repr(other.cells)


def plain(cell: Any) -> Any:
    return None if cell != cell else cell


def cells_of(column: pd.Series) -> list[Any]:
    return column.astype(object).where(column.notna(), None).tolist()


class History(RuleBasedStateMachine):
    """Every version of every list is remembered; None stands for a delete.

    Each step is done through one of two handles; then both must show the same. They have each a store of their own, as two
    processes have.
    """

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.stack = ExitStack()
        folder = Path(self.stack.enter_context(tempfile.TemporaryDirectory()))
        # So many rows are a file of their own in a folder. On a server each row is a document, however many there are.
        self.many = 20_000 if kind == "embedded" else 300
        self.place: Place = self.stack.enter_context(new_place(kind, folder))
        self.vaults = [self.open(0), self.open(1)]
        self.model: dict[str, list[Content | None]] = {}
        self.pinned: dict[str, tuple[tv.List, Content]] = {}
        self.renamed: set[str] = set()  # names that lists once had
        self.tags: dict[tuple[str, str], int] = {}  # (list, tag) -> version
        self.snapshots: dict[str, dict[str, int]] = {}  # snapshot -> list -> version

    def open(self, handle: int) -> tv.Vault:
        """Open a store of its own, in the first handle with a session."""
        if handle == 0:
            return tv.connect(self.place.address, durability="fast")
        return tv.Vault(
            VaultContext((self.place.address, uuid.uuid4().hex), self.place.open(durability="fast"), {}), None
        )

    def teardown(self) -> None:
        with self.stack:
            for vault in self.vaults:
                assert vault.check().empty
                vault.close()

    def newest(self, name: str) -> Content | None:
        return self.model[name][-1] if name in self.model else None

    def is_deleted(self, name: str) -> bool:
        return name in self.model and self.model[name][-1] is None

    def shown(self) -> dict[str, Content]:
        return {
            name: versions[-1] for name, versions in sorted(self.model.items()) if versions[-1] is not None
        }

    def is_refused(self, name: str) -> bool:
        """Whether a write is told that the list has another name by now."""
        return name not in self.model and name in self.renamed

    def count(self, name: str) -> int:
        return len(self.model.get(name, ()))

    def note(self, name: str, made: tv.List, content: Content) -> None:
        """Remember what a call made, and that it says so."""
        self.model.setdefault(name, []).append(content)
        assert made.version == self.count(name)
        self.pinned[name] = (made, content)

    @rule(handle=HANDLES, name=NAMES, rows=ROWS, many=st.sampled_from([False, False, False, True]))
    def save(self, handle: int, name: str, rows: list[dict[str, Any]], many: bool) -> None:
        content = Content.of(rows, self.many if many else 1)
        if self.is_refused(name):
            with pytest.raises(tv.ListRenamed):
                self.vaults[handle].save(name, content.frame())
            return
        saved = self.vaults[handle].save(name, content.frame())
        if content.is_same(self.newest(name)):
            assert saved.version == self.count(name)
        else:
            self.note(name, saved, content)

    @precondition(lambda self: self.shown())
    @rule(handle=HANDLES, data=st.data())
    def save_again(self, handle: int, data: st.DataObject) -> None:
        """What is there, whoever wrote it, is no new version."""
        name, content = data.draw(st.sampled_from(list(self.shown().items())))
        assert self.vaults[handle].save(name, content.frame()).version == self.count(name)

    @rule(handle=HANDLES, name=NAMES, rows=ROWS)
    def append(self, handle: int, name: str, rows: list[dict[str, Any]]) -> None:
        content = Content.of(rows)
        if self.is_refused(name):
            with pytest.raises(tv.ListRenamed):
                self.vaults[handle].append(name, content.frame())
            return
        if self.is_deleted(name):
            with pytest.raises(tv.ListDeleted):
                self.vaults[handle].append(name, content.frame())
            return
        before = self.newest(name)
        made = self.vaults[handle].append(name, content.frame())
        self.note(name, made, content if before is None else before + content)

    @rule(handle=HANDLES, name=NAMES, rows=ROWS, behind=st.integers(1, 2))
    def save_too_late(self, handle: int, name: str, rows: list[dict[str, Any]], behind: int) -> None:
        """Expecting a version that another one has followed."""
        expected = self.count(name) - behind
        if expected >= 0:
            with pytest.raises(tv.Conflict):
                self.vaults[handle].save(name, Content.of(rows).frame(), expect=expected)

    @rule(handle=HANDLES, name=NAMES)
    def delete(self, handle: int, name: str) -> None:
        if self.newest(name) is None:
            with pytest.raises(tv.ListNotFound):
                self.vaults[handle].delete(name)
            return
        self.vaults[handle].delete(name)
        self.model[name].append(None)

    @precondition(lambda self: self.model)
    @rule(handle=HANDLES, data=st.data())
    def restore(self, handle: int, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.model)))
        target = data.draw(st.integers(1, self.count(name) + 1))
        content = self.model[name][target - 1] if target <= self.count(name) else None
        if content is None:
            with pytest.raises(tv.VersionNotFound):
                self.vaults[handle].restore(name, target)
            return
        restored = self.vaults[handle].restore(name, target)
        if restored.version > self.count(name):
            self.note(name, restored, content)
        else:  # nothing to do: that content is shown already
            assert restored.version == self.count(name)
            assert content.is_same(self.newest(name))

    @precondition(lambda self: self.shown())
    @rule(handle=HANDLES, data=st.data(), new=NAMES)
    def rename(self, handle: int, data: st.DataObject, new: str) -> None:
        old = data.draw(st.sampled_from(sorted(self.shown())))
        if old == new:
            return
        if new in self.model:
            with pytest.raises(tv.NameTaken):
                self.vaults[handle].rename(old, new)
            return
        assert self.vaults[handle].rename(old, new).version == self.count(old)
        self.model[new] = self.model.pop(old)
        self.pinned.pop(old, None)
        self.renamed.add(old)
        self.tags = {(new if name == old else name, tag): at for (name, tag), at in self.tags.items()}
        for taken in self.snapshots.values():
            if old in taken:
                taken[new] = taken.pop(old)

    @rule(handle=HANDLES, name=NAMES, rows=ROWS)
    def save_under_an_old_name(self, handle: int, name: str, rows: list[dict[str, Any]]) -> None:
        """Who says so begins another list."""
        if self.is_refused(name):
            content = Content.of(rows)
            self.note(name, self.vaults[handle].save(name, content.frame(), expect=0), content)

    @precondition(lambda self: self.shown())
    @rule(handle=HANDLES, data=st.data(), tag=TAGS, replace=st.booleans())
    def tag(self, handle: int, data: st.DataObject, tag: str, replace: bool) -> None:
        name = data.draw(st.sampled_from(sorted(self.shown())))
        version = data.draw(st.integers(1, self.count(name)))
        if self.model[name][version - 1] is None:
            with pytest.raises(tv.ListDeleted):
                self.vaults[handle].tag(f"{name}@{version}", tag, replace=replace)
            return
        moved = self.tags.get((name, tag), version) != version
        if tag in self.snapshots or (moved and not replace):
            with pytest.raises(tv.NameTaken):
                self.vaults[handle].tag(f"{name}@{version}", tag, replace=replace)
            return
        self.vaults[handle].tag(f"{name}@{version}", tag, replace=replace)
        self.tags[name, tag] = version

    @precondition(lambda self: self.shown())
    @rule(handle=HANDLES, name=TAGS, replace=st.booleans())
    def snapshot(self, handle: int, name: str, replace: bool) -> None:
        tagged = any(tag == name for _, tag in self.tags)
        if tagged or (name in self.snapshots and not replace):
            with pytest.raises(tv.NameTaken):
                self.vaults[handle].snapshot(name, replace=replace)
            return
        self.vaults[handle].snapshot(name, replace=replace)
        self.snapshots[name] = {each: self.count(each) for each in self.shown()}

    @precondition(lambda self: self.tags or self.snapshots)
    @rule(handle=HANDLES, data=st.data())
    def untag(self, handle: int, data: st.DataObject) -> None:
        names = [f"{name}@{tag}" for name, tag in self.tags] + list(self.snapshots)
        gone = data.draw(st.sampled_from(sorted(names)))
        name, _, tag = gone.partition("@")
        self.vaults[handle].untag(gone)
        if tag:
            del self.tags[name, tag]
        else:
            del self.snapshots[gone]

    @rule(handle=HANDLES)
    def read_by_name(self, handle: int) -> None:
        """What a name stands for is what it stood for when it was given."""
        vault = self.vaults[handle]
        named = [(f"{name}@{tag}", name, at) for (name, tag), at in self.tags.items()]
        for taken, lists in self.snapshots.items():
            named += [(f"{name}@{taken}", name, at) for name, at in lists.items()]
        for address, name, at in named:
            content = self.model[name][at - 1]
            assert content is not None
            assert content.is_shown_by(vault.read(address))
        shown = vault.snapshots()
        assert set(map(tuple, shown[["name", "list", "version"]].to_numpy().tolist())) == {
            (taken, name, at) for taken, lists in self.snapshots.items() for name, at in lists.items()
        }

    @rule(handle=HANDLES)
    def compact(self, handle: int) -> None:
        self.vaults[handle].compact()

    @rule(handle=HANDLES)
    def vacuum(self, handle: int) -> None:
        """Nothing that a version shows goes."""
        freed = self.vaults[handle].vacuum(keep=1000, dry_run=False)
        assert not freed["what"].isin(["rows", "deleted list", "kept file"]).any()

    @rule(handle=HANDLES)
    def reopen(self, handle: int) -> None:
        self.vaults[handle].close()
        self.vaults[handle] = self.open(handle)

    @precondition(lambda self: self.model)
    @rule(handle=HANDLES, data=st.data(), start=BOUNDS, stop=BOUNDS)
    def read(self, handle: int, data: st.DataObject, start: int | None, stop: int | None) -> None:
        """Any version, as it was."""
        vault = self.vaults[handle]
        name = data.draw(st.sampled_from(sorted(self.model)))
        version = data.draw(st.integers(1, self.count(name)))
        content = self.model[name][version - 1]
        if content is None:
            with pytest.raises(tv.ListDeleted):
                vault.read(name, version=version)
            return
        assert content.is_shown_by(
            vault.read(f"{name}@{version}", start=start, stop=stop), slice(start, stop)
        )
        positive = vault.read(name, version=version, filters=[("n", ">", 0)], columns=["t"])
        wanted = [row for row, n in enumerate(content.cells["n"]) if n is not None and n > 0]
        assert positive.index.tolist() == wanted
        assert cells_of(positive["t"]) == [content.cells["t"][row] for row in wanted]

    @precondition(lambda self: self.pinned)
    @rule(data=st.data())
    def read_what_was_made(self, data: st.DataObject) -> None:
        """What a write returned shows what it wrote, whatever came after it."""
        made, content = self.pinned[data.draw(st.sampled_from(sorted(self.pinned)))]
        if not made._vault.closed:
            assert content.is_shown_by(made.read())

    @invariant()
    def both_see_it(self) -> None:
        shown = self.shown()
        for vault in self.vaults:
            lists = vault.lists()
            assert lists["name"].tolist() == list(shown)
            assert lists["rows"].tolist() == [len(content) for content in shown.values()]
            assert lists["version"].tolist() == [self.count(name) for name in shown]
            for name, content in shown.items():
                assert content.is_shown_by(vault.read(name))
            for name in self.model.keys() - shown.keys():
                with pytest.raises(tv.ListDeleted):
                    vault.read(name)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The rows saved")
@pytest.mark.parametrize("kind", BOTH)
def test_history(kind: str) -> None:
    run_state_machine_as_test(
        lambda: History(kind),
        settings=settings(
            max_examples=times(12, ordinary=8) if kind == "embedded" else times(8, ordinary=4),
            stateful_step_count=20,
        ),
    )
