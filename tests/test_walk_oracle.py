"""Walks against a plain breadth-first search over expanded pairs, on random vaults.

The oracle keeps every row as an object with the rows it came from; it knows nothing of ranges, bins or NumPy.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from stores import new_database, put
from torture.harness import times

import tablevault_pd as tv
from tablevault_pd.frames import encode
from tablevault_pd.lineage.record import LineageRecorder
from tablevault_pd.store import Batch
from tablevault_pd.store.edges import INFERRED, READ, STATED, WHOLE_LIST, Edge, EdgeForm
from tablevault_pd.store.pieces import OWN, Pieces

pytestmark = pytest.mark.ci

NAMES = ("a", "b", "c")


@dataclass(eq=False)
class Row:
    """One stored row, for ever."""

    list: str
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
    generations: dict[str, list[int]] = field(
        default_factory=lambda: {name: [] for name in NAMES}
    )  #: of each version
    columns: dict[str, list[set[str]]] = field(default_factory=lambda: {name: [] for name in NAMES})

    def content(self, name: str, version: int) -> list[Row]:
        """The rows of a version; of a delete those that it hides."""
        found = self.versions[name][version - 1]
        return self.content(name, version - 1) if found is None else found

    def position(self, row: Row, version: int) -> int:
        (at,) = [at for at, each in enumerate(self.content(row.list, version)) if each is row]
        return at

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
        content, columns = [], set(values.columns)
        generation = len(self.versions[name]) + 1
        if operation == "append" and before is not None:
            content, columns, generation = (
                list(before),
                columns | self.columns[name][-1],
                self.generations[name][-1],
            )
        self.note(name, content + self.made(name, generation, parents, values), generation, columns)

    def made(self, name: str, generation: int, parents: list[list[Step]], values: pd.DataFrame) -> list[Row]:
        version = len(self.versions[name]) + 1
        return [
            Row(name, version, generation, steps, cells)
            for steps, cells in zip(parents, values.to_dict("records"), strict=True)
        ]

    def note(self, name: str, content: list[Row] | None, generation: int, columns: set[str]) -> None:
        self.versions[name].append(content)
        self.generations[name].append(generation)
        self.columns[name].append(columns)

    def change(
        self, name: str, at: list[int], gone: list[int], parents: list[list[Step]], values: pd.DataFrame
    ) -> None:
        generation = len(self.versions[name]) + 1
        before = self.content(name, generation - 1)
        new = self.made(name, generation, parents, values)
        replaced = dict(zip(at, new, strict=False))
        kept = [replaced.get(place, row) for place, row in enumerate(before) if place not in gone]
        self.note(name, kept + new[len(at) :], generation, self.columns[name][-1])

    def restore(self, name: str, version: int) -> None:
        self.note(
            name,
            list(self.content(name, version)),
            len(self.versions[name]) + 1,
            self.columns[name][version - 1],
        )

    def delete(self, name: str) -> None:
        self.note(name, None, self.generations[name][-1], self.columns[name][-1])

    def newest(self, name: str, generation: int) -> int:
        """The last version of a generation."""
        return max(at + 1 for at, each in enumerate(self.generations[name]) if each == generation)

    def twins(self, row: Row) -> list[Row]:
        """The same row among those that were read: equal in the columns of the older version, the first to the first.

        Looked for in the newest version of each generation that rows, or a whole version, were read of.
        """
        read = {
            self.generations[step.list][step.version - 1] if step.row is None else step.row.generation
            for each in self.rows()
            for step in each.parents
            if step.list == row.list
        }
        mine = self.newest(row.list, row.generation)
        found: list[Row] = []
        for number in sorted(self.newest(row.list, each) for each in read - {row.generation}):
            older, newer = sorted((mine, number))
            columns = self.columns[row.list][older - 1]
            if not columns <= self.columns[row.list][newer - 1]:
                continue
            a, b = self.content(row.list, mine), self.content(row.list, number)
            shared = {id(each) for each in a} & {id(each) for each in b}
            if id(row) in shared:
                continue

            def content(each: Row, columns: set[str] = columns) -> list[str | None]:
                cells = (each.values.get(column) for column in sorted(columns))
                return [
                    None if pd.isna(cell) else cell for cell in cells
                ]  # one that was not there yet is missing

            equal_a, equal_b = (
                [each for each in rows if id(each) not in shared and content(each) == content(row)]
                for rows in (a, b)
            )
            (place,) = [at for at, each in enumerate(equal_a) if each is row]
            found += [each for each in equal_b[place : place + 1] if all(each is not one for one in found)]
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
        operation = draw(
            st.sampled_from(["save", "append", "append", "infer", "delete", "restore", "change", "change"])
        )
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
        if operation == "change" and alive and model.columns[name][-1] == {"n"}:
            change_some(draw, vault, model, name)
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


def change_some(draw, vault, model: Model, name: str) -> None:
    """Replace, add and leave out rows of a list."""
    places = draw(st.permutations(range(len(model.content(name, len(model.versions[name]))))))
    changed = draw(st.integers(0, min(4, len(places))))
    gone = list(places[changed : changed + draw(st.integers(0, 2))])
    frame = contents_of(draw, changed + draw(st.integers(0, 3)))
    parents: list[list[Step]] = [[] for _ in range(len(frame))]
    given_inputs = []
    for _ in range(draw(st.integers(0, 2))):
        chosen, meant = stated_input(draw, model, len(frame))
        given_inputs.append(chosen)
        parents = [old + new for old, new in zip(parents, meant, strict=True)]
    recorder = LineageRecorder(vault.store, given_inputs or False)
    plain, found = recorder.of_frame(frame)
    head = vault.store.head(name)
    pieces = vault.store.pieces([head])[0].replace(np.array(places[:changed], np.int64), OWN)
    pieces = (pieces + Pieces.of([(OWN, changed, len(frame))])).remove(np.array(gone, np.int64))
    batch = Batch(
        uuid4().hex, name, "upsert", pieces=pieces, expect=head.version, changed=changed, removed=len(gone),
        edges=recorder.edges(len(frame), found.links, found.frame),
    )  # fmt: skip
    with vault.store.stage() as stage:
        stage.write(encode(plain))
        vault.store.commit(batch, stage)
    model.change(name, list(places[:changed]), gone, parents, frame)


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
        parent, span = model.generations[name][version - 1], len(content)
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
    generation = WHOLE_LIST if form == EdgeForm.WHOLE else content[0].generation
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
            own = [row for row in everybody if row.list == name and row.batch == batch]
            for child, step in wholes:
                if step.list == name and any(shown(each, step.list, step.version) for each in own):
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
            where = (node.list, model.position(node, version)) if isinstance(node, Row) else (node[0], None)
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
            for position, row in enumerate(content):
                mine = frame[frame["position"] == position]
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


@given(st.lists(st.integers(-40, 40), max_size=30), st.integers(1, 3))
def test_positions_are_put_in_order(values, factor):
    """Scattered and dense, once and repeated: as a stable sort."""
    from tablevault_pd.lineage.edges import _order

    positions = np.array(values, np.int64) * factor
    expected = sorted(range(len(values)), key=lambda number: (positions[number], number))
    assert _order(positions).tolist() == expected
