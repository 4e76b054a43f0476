"""Walks against a plain breadth-first search over expanded pairs, on random vaults.

The oracle keeps every row as an object with the rows it came from; it knows nothing of ranges, bins or NumPy.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from stores import new_database, put
from torture.harness import times

import tablevault_pd as tv
from tablevault_pd.frames import encode
from tablevault_pd.store.edges import COLUMNS, INFERRED, READ, STATED, Edge, EdgeForm

NAMES = ("a", "b", "c")


@dataclass(eq=False)
class Row:
    """One stored row, for ever."""

    list: str
    position: int
    batch: int
    generation: int
    parents: list[Step] = field(default_factory=list)
    values: dict[str, str] = field(default_factory=dict)


@dataclass(eq=False)
class Step:
    """The row came from a row (or, without one, from a whole version)."""

    list: str
    version: int
    basis: int
    row: Row | None


@dataclass
class Model:
    """Lists as their versions, each the rows it shows (None: deleted)."""

    versions: dict[str, list[list[Row] | None]] = field(default_factory=lambda: {name: [] for name in NAMES})
    generation: dict[str, int] = field(default_factory=dict)
    columns: dict[str, list[set[str]]] = field(default_factory=lambda: {name: [] for name in NAMES})
    newest: dict[tuple[str, int], int] = field(
        default_factory=dict
    )  #: by generation: the last version that added to it

    def rows(self) -> list[Row]:
        seen: dict[int, Row] = {}
        for contents in self.versions.values():
            for content in contents:
                seen |= {id(row): row for row in content or ()}
        return list(seen.values())

    def readable(self) -> list[tuple[str, int]]:
        return [
            (name, number + 1)
            for name, contents in self.versions.items()
            for number, content in enumerate(contents)
            if content is not None
        ]

    def add(self, name: str, operation: str, parents: list[list[Step]], values: pd.DataFrame) -> None:
        before = self.versions[name][-1] if self.versions[name] else None
        version = len(self.versions[name]) + 1
        content = list(before) if operation == "append" and before is not None else []
        columns = set(values.columns)
        if operation == "append" and before is not None:
            columns |= self.columns[name][-1]
        else:
            self.generation[name] = version
        for steps, cells in zip(parents, values.to_dict("records"), strict=True):
            content.append(Row(name, len(content), version, self.generation[name], steps, cells))
        self.versions[name].append(content)
        self.columns[name].append(columns)
        if parents:
            self.newest[name, self.generation[name]] = version

    def restore(self, name: str, version: int) -> None:
        self.versions[name].append(list(self.versions[name][version - 1] or ()))
        self.generation[name] = len(self.versions[name])
        self.columns[name].append(self.columns[name][version - 1])

    def delete(self, name: str) -> None:
        self.versions[name].append(None)
        self.columns[name].append(self.columns[name][-1])

    def twins(self, row: Row) -> list[Row]:
        """The same row in other generations: equal in the columns of the older version, the first to the first."""
        mine = self.newest[row.list, row.generation]
        found = []
        for (name, generation), number in self.newest.items():
            older, newer = sorted((mine, number))
            columns = self.columns[row.list][older - 1]
            if name != row.list or number == mine or not columns <= self.columns[row.list][newer - 1]:
                continue
            a, b = (list(self.versions[name][each - 1] or ()) for each in (mine, number))
            while a and b and a[0] is b[0]:
                del a[0], b[0]
            if not any(row is each for each in a):
                continue  # both show it

            def content(each: Row, columns: set[str] = columns) -> list[str | None]:
                cells = (each.values.get(column) for column in sorted(columns))
                return [
                    None if pd.isna(cell) else cell for cell in cells
                ]  # one that was not there yet is missing

            equals = [each for each in b if content(each) == content(row)]
            before = [each for each in a if each.position < row.position and content(each) == content(row)]
            found += [each for each in equals[len(before) :][:1] if each.generation == generation]
        return found


def stated_input(draw, model: Model, rows: int):
    """Some ``inputs=`` and what it means for each of `rows` rows."""
    name, version = draw(st.sampled_from(model.readable()))
    content = model.versions[name][version - 1]
    address = f"{name}@{version}"
    form = draw(st.sampled_from(["whole", "slice", "rows", "several", "ends"] if content else ["whole"]))
    at = st.integers(0, max(len(content) - 1, 0))
    if form == "whole":
        return address, [[Step(name, version, STATED, None)] for _ in range(rows)]
    if form == "slice":
        low = draw(at)
        high = draw(st.integers(low, len(content)))
        return {address: slice(low, high)}, [
            [Step(name, version, STATED, each) for each in content[low:high]] for _ in range(rows)
        ]
    if form == "several":
        cells = draw(st.lists(st.lists(at, max_size=12), min_size=rows, max_size=rows))
        return {address: cells}, [[Step(name, version, STATED, content[p]) for p in cell] for cell in cells]
    if form == "ends":  # long regular runs, down and up
        start = draw(at)
        step = draw(st.sampled_from([1, -1, 2, 0]))
        cells = [(start + i * step) % len(content) for i in range(rows)]
    else:
        cells = draw(st.lists(at, min_size=rows, max_size=rows))
    return {address: cells}, [[Step(name, version, STATED, content[p])] for p in cells]


def build(draw, vault) -> Model:
    model = Model()
    for number in range(draw(st.integers(2, 9))):
        name = draw(st.sampled_from(NAMES))
        contents = model.versions[name]
        operation = draw(st.sampled_from(["save", "append", "append", "infer", "delete", "restore"]))
        alive = bool(contents) and contents[-1] is not None
        if operation == "delete" and alive and len(contents) > 1:
            vault.delete(name)
            model.delete(name)
            continue
        if operation == "restore" and len(contents) > 1 and contents[0] is not None:
            target = draw(
                st.sampled_from([i + 1 for i, content in enumerate(contents) if content is not None])
            )
            before = len(vault.versions(name))
            vault.restore(name, target)
            if len(vault.versions(name)) > before:
                model.restore(name, target)
            continue
        operation = "append" if operation == "append" and (alive or not contents) else "save"
        rows = draw(st.integers(0, 9))
        parents: list[list[Step]] = [[] for _ in range(rows)]
        given_inputs = []
        usable = [each for each in model.readable() if model.versions[each[0]][-1] is not None]
        if usable and draw(st.booleans()):
            name_of, number_of = draw(st.sampled_from(usable))
            content = model.versions[name_of][number_of - 1]
            order = draw(st.lists(st.integers(0, len(content) - 1), max_size=8)) if content else []
            frame = vault.read(name_of, version=number_of).iloc[order]
            if draw(st.booleans()):
                frame = frame.assign(**{f"m{number}": str(number)})
            parents = [[Step(name_of, number_of, INFERRED, content[at])] for at in order]
            getattr(vault, operation)(name, frame, tags=str(number))
        else:
            for _ in range(draw(st.integers(0, 3)) if model.readable() else 0):
                chosen, meant = stated_input(draw, model, rows)
                given_inputs.append(chosen)
                parents = [old + new for old, new in zip(parents, meant, strict=True)]
            frame = contents_of(draw, rows)
            getattr(vault, operation)(name, frame, inputs=given_inputs or False, tags=str(number))
        model.add(name, operation, parents, frame)
    return model


def contents_of(draw, rows: int) -> pd.DataFrame:
    """Rows many of which are equal to others, in this version and in others."""
    cells = st.lists(st.sampled_from("xyz"), min_size=rows, max_size=rows)
    return pd.DataFrame({"n": pd.Series(draw(cells), dtype="str")})


def any_edge(draw, model: Model, numbers: dict[str, int], rows: int):
    """Some edge of any form for a batch of `rows` rows, and (child, step) for each child and parent it means."""
    name, version = draw(st.sampled_from(model.readable()))
    content = model.versions[name][version - 1]
    basis = draw(st.sampled_from([READ, INFERRED, STATED]))
    child = draw(st.integers(0, rows - 1))
    size = draw(st.integers(1, rows - child))
    form = (
        draw(
            st.sampled_from(
                [
                    EdgeForm.SPAN,
                    EdgeForm.AFFINE,
                    EdgeForm.AFFINE,
                    EdgeForm.PAIRS,
                    EdgeForm.EACH,
                    EdgeForm.WHOLE,
                ]
            )
        )
        if content
        else EdgeForm.WHOLE
    )
    parent = draw(st.integers(0, max(len(content) - 1, 0)))
    span, step, children, parents = 1, 0, None, None
    if form == EdgeForm.WHOLE:
        parent, span = 0, len(content)
        pairs = [(i, None) for i in range(size)]
    elif form == EdgeForm.SPAN:
        span = draw(st.integers(1, len(content) - parent))
        pairs = [(i, parent + j) for i in range(size) for j in range(span)]
    elif form == EdgeForm.AFFINE:
        size = min(size, len(content) - parent)
        step = draw(st.sampled_from([0, 1, -1, 1, -1, 2, -2, 3]))
        size = 1 + min(size - 1, (len(content) - 1 - parent) // max(abs(step), 1))
        span = 1 + (size - 1) * abs(step)
        first = parent + span - 1 if step < 0 else parent
        pairs = [(i, first + i * step) for i in range(size)]
    elif form == EdgeForm.PAIRS:
        at = st.integers(parent, len(content) - 1)
        if draw(st.booleans()):
            pairs = [(i, draw(at)) for i in range(size)]
        else:
            several = draw(st.sets(st.tuples(st.integers(0, size - 1), at), min_size=1, max_size=9))
            shift = min(i for i, _ in several)
            child, pairs = child + shift, sorted((i - shift, j) for i, j in several)
            size = pairs[-1][0] + 1
            children = np.array([i for i, _ in pairs])
        parent = min(j for _, j in pairs)
        span = max(j for _, j in pairs) - parent + 1
        parents = np.array([j - parent for _, j in pairs])
    else:
        some = sorted(draw(st.sets(st.integers(parent, len(content) - 1), min_size=1, max_size=6)))
        parent, span = some[0], some[-1] - some[0] + 1
        parents = np.array([j - parent for j in some])
        pairs = [(i, j) for i in range(size) for j in some]
    generation = content[0].generation if content else version
    edge = Edge(
        numbers[name], version, generation, basis, form, child, size, parent, span, step, children, parents
    )
    return edge, [
        (child + i, Step(name, version, basis, None if j is None else content[j])) for i, j in pairs
    ]


def build_from_edges(draw, vault) -> Model:
    """Batches whose edges have every form, some of which no call of the library makes at so few rows."""
    model, numbers = Model(), {}
    for _ in range(draw(st.integers(3, 9))):
        name = draw(st.sampled_from(NAMES))
        rows = draw(st.integers(1, 9))
        parents: list[list[Step]] = [[] for _ in range(rows)]
        edges = []
        for _ in range(draw(st.integers(0, 4)) if model.readable() else 0):
            edge, meant = any_edge(draw, model, numbers, rows)
            edges.append(edge)
            for at, step in meant:
                parents[at].append(step)
        operation = draw(st.sampled_from(["save", "append", "append"]))
        frame = contents_of(draw, rows)
        version = put(vault.store, name, encode(frame), operation=operation, edges=tuple(edges))
        numbers[name] = version.list_id
        model.add(name, operation, parents, frame)
    return model


def expected(model: Model, asked: Row, *, up: bool, depth: int | None, weakest: int):
    """Breadth first over rows and versions; {(list, position, version of a whole): (depth, basis)}."""
    children: dict[int, list[tuple[Row, Step]]] = {}
    everybody = model.rows()
    parents = {id(row): [step for step in row.parents if step.basis >= weakest] for row in everybody}
    for row in everybody:
        for step in parents[id(row)]:
            if step.row is not None:
                children.setdefault(id(step.row), []).append((row, step))
    wholes = [(row, step) for row in everybody for step in parents[id(row)]]

    def shown(row: Row, name: str, version: int) -> bool:
        return row.list == name and any(row is each for each in model.versions[name][version - 1] or ())

    def next_of(node):
        if isinstance(node, Row) and up:
            for step in parents[id(node)]:
                yield (
                    (step.row if step.row is not None else (step.list, step.version)),
                    step.version,
                    step.basis,
                )
        elif isinstance(node, Row):
            same = [node, *model.twins(node)]
            for child, step in (pair for each in same for pair in children.get(id(each), ())):
                yield child, child.batch, step.basis
            for child, step in wholes:
                if step.row is None and any(shown(each, step.list, step.version) for each in same):
                    yield (child.list, child.batch), child.batch, step.basis
        elif up:
            name, version = node
            for row in model.versions[name][version - 1] or ():
                for step in parents[id(row)]:
                    yield (step.list, step.version), step.version, step.basis
        else:
            name, batch = node
            own = next(row for row in everybody if row.list == name and row.batch == batch)
            for child, step in wholes:
                same = step.row is None or step.row.generation == own.generation
                if step.list == name and same and shown(own, step.list, step.version):
                    yield (child.list, child.batch), child.batch, step.basis

    def key(node):
        return ("row", id(node)) if isinstance(node, Row) else ("list", *node)

    seen = {key(asked)}
    level, found, at = [(asked, STATED)], {}, 0
    while level and (depth is None or at < depth):
        at += 1
        best: dict = {}
        for node, so_far in level:
            for other, version, basis in next_of(node):
                if key(other) in seen:
                    continue
                rank = (min(so_far, basis), version)
                if key(other) not in best or rank > best[key(other)][1]:
                    best[key(other)] = (other, rank)
        seen |= set(best)
        level = [(node, rank[0]) for node, rank in best.values()]
        for node, (basis, version) in best.values():
            where = (node.list, node.position) if isinstance(node, Row) else (node[0], None)
            found[(*where, version)] = (at, ("read", "inferred", "stated")[basis])
    return found


def check_walks(data, vault, build=build) -> None:
    """Build a random vault, and compare what every head's rows are told with the oracle."""
    model = build(data.draw, vault)
    heads = [name for name in NAMES if model.versions[name] and model.versions[name][-1] is not None]
    for name in heads:
        content = model.versions[name][-1]
        for direction, side in (("up", "parent"), ("down", "child")):
            depth = data.draw(st.sampled_from([None, None, 1, 2]))
            weakest = data.draw(st.sampled_from(["inferred", "inferred", "stated", "read"]))
            frame = vault.lineage(name, direction=direction, depth=depth, basis=weakest)
            assert not frame.duplicated(
                ["position", f"{side}_list", f"{side}_position", f"{side}_version"]
            ).any()
            for row in content:
                mine = frame[frame["position"] == row.position]
                got = {
                    (
                        line[f"{side}_list"],
                        None if pd.isna(line[f"{side}_position"]) else int(line[f"{side}_position"]),
                        int(line[f"{side}_version"]),
                    ): (int(line["depth"]), line["basis"])
                    for line in mine.to_dict("records")
                }
                floor = ("read", "inferred", "stated").index(weakest)
                assert got == expected(model, row, up=direction == "up", depth=depth, weakest=floor)
    assert vault.store.check() == []


RANDOM: dict[str, Any] = {
    "phases": (Phase.explicit, Phase.generate),
    "deadline": None,
    "suppress_health_check": list(HealthCheck),
}


@settings(max_examples=times(20, ordinary=10), **RANDOM)
@given(st.data())
def test_walks_equal_breadth_first_search(data):
    with tempfile.TemporaryDirectory() as folder, tv.connect(Path(folder) / "v", durability="fast") as vault:
        check_walks(data, vault)


@settings(max_examples=times(15, ordinary=8), **RANDOM)
@given(st.data())
def test_walks_over_edges_of_every_form(data):
    with tempfile.TemporaryDirectory() as folder, tv.connect(Path(folder) / "v", durability="fast") as vault:
        check_walks(data, vault, build_from_edges)


@pytest.mark.arango
@settings(max_examples=times(12, ordinary=6), **RANDOM)  # each lays out a database
@given(st.data())
def test_walks_on_a_server_equal_breadth_first_search(data):
    with new_database() as url, pytest.MonkeyPatch.context() as environment:
        environment.setenv("TABLEVAULT_PASSWORD", urlsplit(url).password or "")
        with tv.connect(url, create=True) as vault:
            check_walks(data, vault)


def honest(store, edges):
    """`edges` of that store, checked: all that it says it answered, ahead or not, is answered in full."""

    def checked(wanted, *, side, ahead=0):
        found = edges(wanted, side=side, ahead=ahead)
        told = Counter(identities(found.table))
        assert (ahead > 0) == bool(found.prefetched)
        for table in map(store.edges_of_batch, store.versions()):
            for at, edge in enumerate(identities(table)):
                list_id, generation, low, high = (
                    (table.list[at], table.generation[at], table.start[at], table.start[at] + table.rows[at])
                    if side == "child"
                    else (
                        table.parent_list[at], table.parent_generation[at], table.parent[at],
                        table.parent[at] + table.span[at],
                    )
                )  # fmt: skip
                for each in (*wanted, *found.prefetched):
                    if (each.list, each.generation) == (list_id, generation):
                        touched = any(low < end and high > first for first, end in each.spans)
                        assert edge in told or not touched
            told -= Counter(identities(table))
        assert not told, "edges that are nowhere, or too often"
        return found

    return checked


def identities(table):
    """Each edge as something to compare."""
    for at in range(len(table)):
        packed = [None if each[at] is None else tuple(each[at]) for each in (table.children, table.parents)]
        yield (*(int(getattr(table, name)[at]) for name in COLUMNS), *packed)


@pytest.mark.arango
@settings(max_examples=times(15, ordinary=8), **RANDOM)
@given(st.data())
def test_what_a_server_answers_ahead_is_all_there_is(data):
    from tablevault_pd.store.arango import ahead

    with new_database() as url, pytest.MonkeyPatch.context() as patch:
        patch.setenv("TABLEVAULT_PASSWORD", urlsplit(url).password or "")
        # So tight that some of so few rows are not followed.
        for name, most in {"spans": 3, "room": 12, "few": 6, "many": 20}.items():
            patch.setitem(ahead.LIMITS, name, data.draw(st.integers(0, most), label=name))
        with tv.connect(url, create=True) as vault:
            patch.setattr(vault.store, "edges", honest(vault.store, vault.store.edges))
            check_walks(data, vault, build_from_edges)


@given(st.lists(st.integers(-40, 40), max_size=30), st.integers(1, 3))
def test_positions_are_put_in_order(values, factor):
    """Scattered and dense, once and repeated: as a stable sort."""
    from tablevault_pd.lineage.edges import _order

    positions = np.array(values, np.int64) * factor
    expected = sorted(range(len(values)), key=lambda number: (positions[number], number))
    assert _order(positions).tolist() == expected
