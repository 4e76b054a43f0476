"""Random notebooks whose true dependencies are known because running them says so.

Each statement has a tag of its own. What it computes is a :class:`V`, which carries the tags of all statements that it was
computed from, through variables, functions and modules; :func:`keep` writes down the tags of a row just before it is saved.
So the dependencies of a row come from the run itself, and :class:`Oracle` works out of them what is out of date.

``programs.main(FOLDER, PLACE, SEED, COUNT)`` runs that many notebooks and prints where the vault disagreed. Each life
of a kernel is a process of its own, forked from one that has imported everything.
"""

from __future__ import annotations

import contextlib
import os
import random
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from textwrap import indent
from typing import Any

KEPT: list[tuple[str, list[str]]] = []  #: (list, tags of the row) of each save of this process


class V:
    """What a statement computed, with the tags of the statements that it depends on."""

    def __init__(self, tag: str, *others: V) -> None:
        self.tags: set[str] = {tag}.union(*(each.tags for each in others))

    def put(self, tag: str, *others: V) -> None:
        """Change in place."""
        self.tags |= {tag}.union(*(each.tags for each in others))


def keep(name: str, value: V, content: Any) -> Any:
    """Write down what a row of that list depends on; the row."""
    KEPT.append((name, sorted(value.tags)))
    return content


# -- notebooks


@dataclass(frozen=True)
class Line:
    """A top-level statement of a cell."""

    kind: str  #: "assign", "def", "lambda", "put", "save", "append", "derive"
    name: str  #: what it defines, changes, or writes
    needs: tuple[str, ...]  #: names that it, or the function it makes, looks up; functions end in "()"
    tag: str
    content: int = 0

    @property
    def text(self) -> str:
        """As typed."""
        values = ", ".join([f'"{self.tag}"', *self.needs])
        if self.kind == "assign":
            return f"{self.name} = V({values})"
        if self.kind == "def":
            return f"def {self.name}():\n    return V({values})"
        if self.kind == "lambda":
            return f"{self.name} = lambda: V({values})"
        if self.kind == "put":
            return f"{self.name}.put({values})"
        row = f'vault.read("{self.name[:-1]}")' if self.kind == "derive" else f'{{"n": {self.content}}}'
        call = "append" if self.kind == "append" else "save"
        return f'vault.{call}("{self.name}", keep("{self.name}", V({values}), {row}))'

    @property
    def defines(self) -> bool:
        """Whether it binds its name."""
        return self.kind in ("assign", "def", "lambda")


@dataclass
class Notebook:
    """Cells in order, and a module beside it; edited as people do."""

    rnd: random.Random
    has_ids: bool
    cells: list[list[Line]] = field(default_factory=list)
    module: dict[str, Line] = field(default_factory=dict)
    blocks: set[int] = field(default_factory=set)  #: the cells that stand in a ``with``
    count: int = 0

    def tag(self) -> str:
        """A new one."""
        self.count += 1
        return f"t{self.count}"

    def fill(self) -> None:
        """Write the first form of everything."""
        rnd = self.rnd
        self.module = {"m1": Line("def", "m1", (), self.tag())}
        self.module["m2"] = Line("def", "m2", ("m1()",) if rnd.random() < 0.5 else (), self.tag())
        self.module["K"] = Line("assign", "K", (), self.tag())
        variables, functions = ["a", "b", "c", "d"], ["f", "g"]
        rnd.shuffle(variables)
        known: list[str] = ["helper.m1()", "helper.m2()", "helper.K"]
        lists = ["p", "q"]
        for name in [*functions, *variables]:
            kind = rnd.choice(["def", "def", "lambda"]) if name in functions else "assign"
            line = Line(kind, name, tuple(rnd.sample(known, rnd.randint(0, 2))), self.tag())
            if self.cells and rnd.random() < 0.3:
                self.cells[-1].append(line)
            else:
                self.cells.append([line])
            known.append(f"{name}()" if name in functions else name)
            if kind == "assign" and rnd.random() < 0.3 and self.has_ids:
                others = [each for each in known if each != name]
                self.cells.append([Line("put", name, tuple(rnd.sample(others, 1)), self.tag())])
        if self.has_ids and rnd.random() < 0.5:  # a second cell defines a function, too
            self.cells.append([Line("def", rnd.choice(functions), (), self.tag())])
        if self.has_ids and rnd.random() < 0.5:  # a variable goes on
            name = rnd.choice(variables)
            self.cells.append([Line("assign", name, (name,), self.tag())])
        for name in lists:
            needs = tuple(rnd.sample(known, rnd.randint(1, 2)))
            kind = rnd.choice(["save", "save", "append"]) if self.has_ids else "save"
            self._add(Line(kind, name, needs, self.tag(), content=1))
            if rnd.random() < 0.6:
                self._add(Line("derive", f"{name}2", tuple(rnd.sample(known, 1)), self.tag()))
            if self.has_ids and rnd.random() < 0.3:
                self._add(Line("assign", rnd.choice(variables), (), self.tag()))
        self.blocks = {number for number in range(len(self.cells)) if rnd.random() < 0.3}

    def _add(self, line: Line) -> None:
        """Write it into a cell of its own, or below what stands in the last one."""
        if self.has_ids and self.rnd.random() < 0.4:
            self.cells[-1].append(line)
        else:
            self.cells.append([line])

    def edit(self, line: Line) -> Line:
        """Another form of a statement."""
        content = line.content if self.rnd.random() < 0.6 else self.rnd.randint(1, 3)
        return replace(line, tag=self.tag(), content=content)


@dataclass
class Row:
    """A row of a list, as the oracle knows it."""

    content: tuple[int, ...]
    made: frozenset[str]  #: by whatever wrote it
    force: frozenset[str]  #: by whatever wrote it or confirmed it last
    at: int  #: number of the event that wrote or confirmed it
    parents: tuple[tuple[str, int, int], ...] = ()  #: (list, version, position)


@dataclass
class Oracle:
    """What is out of date, from what was executed and what each row was truly made of."""

    lines: dict[str, Line] = field(default_factory=dict)  #: by tag
    cell_of: dict[str, str] = field(default_factory=dict)
    events: list[tuple[str, list[str]]] = field(default_factory=list)  #: (cell, tags of what it executed)
    captured: dict[str, str] = field(default_factory=dict)  #: name in the module -> its tag, as captured last
    rows: dict[str, list[Row]] = field(default_factory=dict)
    versions: dict[str, list[list[Row]]] = field(default_factory=dict)

    def executed(self, cell: str, lines: list[Line], kept: list[tuple[str, list[str]]]) -> None:
        """A cell ran."""
        for line in lines:
            self.lines[line.tag] = line
            self.cell_of[line.tag] = cell
        self.events.append((cell, [line.tag for line in lines]))
        writes = [line for line in lines if line.kind in ("save", "append", "derive")]
        assert [line.name for line in writes] == [name for name, _ in kept]
        for line, (_, tags) in zip(writes, kept, strict=True):
            self._write(line, frozenset(tags))

    def _write(self, line: Line, tags: frozenset[str]) -> None:
        at = len(self.events) - 1
        new = [Row((line.content,), tags, tags, at)]
        if line.kind == "derive":
            parent = line.name[:-1]
            number = len(self.versions[parent])
            new = [
                Row(row.content, tags, tags, at, ((parent, number, position),))
                for position, row in enumerate(self.rows[parent])
            ]
        old = self.rows.get(line.name, [])
        if line.kind == "append":
            new = [*old, *new]
        elif old and [(row.content, row.parents) for row in old] == [
            (row.content, row.parents) for row in new
        ]:
            for row in old:
                row.force, row.at = tags, at
            return
        self.rows[line.name] = new
        self.versions.setdefault(line.name, []).append(list(new))

    def is_newer(self, tag: str, row: Row) -> bool:
        """Whether a statement exists in a newer form that was executed or captured."""
        line, cell = self.lines[tag], self.cell_of[tag]
        if cell == "helper":
            return self.captured[line.name] != tag
        last = next(tags for name, tags in reversed(self.events) if name == cell)
        if tag not in last and any(self._replaces(self.lines[other], line) for other in last):
            return True
        return line.kind in ("def", "lambda") and self._is_redefined(tag, row)

    def _replaces(self, other: Line, line: Line) -> bool:
        if line.defines:
            return other.defines and other.name == line.name
        return not other.defines

    def _is_redefined(self, tag: str, row: Row) -> bool:
        line = self.lines[tag]
        before = {each for _, tags in self.events[: row.at + 1] for each in tags}
        last = max(number for number, (_, tags) in enumerate(self.events[: row.at + 1]) if tag in tags)
        latest = tag
        for number, (cell, tags) in enumerate(self.events):
            for each in tags if number > last else ():
                other = self.lines[each]
                if other.kind not in ("def", "lambda") or other.name != line.name:
                    continue
                if cell == self.cell_of[tag] or each not in before:
                    latest = each
        return latest != tag

    def stale(self) -> set[tuple[str, int, str, int]]:
        """(list, position, reason, depth) of each row that is out of date."""
        return {
            (name, position, *why)
            for name, rows in self.rows.items()
            for position, row in enumerate(rows)
            for why in self._why(row, 0)
        }

    def _why(self, row: Row, depth: int) -> set[tuple[str, int]]:
        found: set[tuple[str, int]] = set()
        if any(self.is_newer(tag, row) for tag in row.force):
            found.add(("parent" if depth else "code", depth))
        for name, version, position in row.parents:
            then, now = self.versions[name][version - 1], self.rows[name]
            place = _same(then, now, position)
            if place is None:
                found.add(("parent", depth + 1))
            else:
                found |= self._why(now[place], depth + 1)
        return found

    def found_by(self, tag: str) -> set[tuple[str, int]]:
        """The rows that were made by a statement."""
        return {
            (name, position)
            for name, rows in self.rows.items()
            for position, row in enumerate(rows)
            if tag in row.made
        }


def _same(then: list[Row], now: list[Row], position: int) -> int | None:
    """Where the row of one version is in another: of equal rows the first is the first."""
    if position < len(now) and then[position] is now[position]:
        return position
    same = [row.content for row in then[: position + 1]].count(then[position].content)
    places = [number for number, row in enumerate(now) if row.content == then[position].content]
    return places[same - 1] if len(places) >= same else None


# -- running them


CONNECT = """
import importlib
from contextlib import nullcontext
import tablevault_pd as tv
from programs import V, keep
import helper
vault = tv.connect({place!r}, session="nb", create=True)
"""


class Kernel:
    """A kernel of the notebook: an IPython shell in this process."""

    def __init__(self, folder: Path, place: str, has_ids: bool) -> None:
        from IPython.core.interactiveshell import InteractiveShell

        os.chdir(folder)
        sys.path.insert(0, str(folder))
        self._has_ids = has_ids
        self._shell = InteractiveShell.instance()
        self.transcript: list[str] = []  #: what ran, for whoever reads of a failure
        self.run("connect", CONNECT.format(place=place))
        self.vault = self._shell.user_ns["vault"]

    def run(self, cell: str, text: str) -> tuple[bool, list[tuple[str, list[str]]]]:
        """Run a cell: whether it came to its end, and what it kept."""
        KEPT.clear()
        self.transcript.append(f"--- {cell}\n{text}")
        with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
            result = self._shell.run_cell(text, store_history=True, cell_id=cell if self._has_ids else None)
        if result.error_before_exec is not None:
            raise result.error_before_exec
        if result.error_in_exec is not None and not isinstance(result.error_in_exec, ZeroDivisionError):
            raise result.error_in_exec
        return result.success, list(KEPT)


def ready(lines: list[Line], state: dict[str, Line], module: dict[str, Line], lists: set[str]) -> bool:
    """Whether all that a cell looks up is there in this life."""
    state = dict(state)
    for line in lines:
        names = line.needs if line.kind not in ("def", "lambda") else ()
        if line.kind == "put" and line.name not in state:
            return False
        if line.kind == "derive" and line.name[:-1] not in lists:
            return False
        if not all(_can(name, state) for name in names):
            return False
        if line.defines:
            state[line.name] = line
    return True


def _can(name: str, state: dict[str, Line]) -> bool:
    if name.startswith("helper."):
        return True
    line = state.get(name.removesuffix("()"))
    if line is None:
        return False
    return not name.endswith("()") or all(_can(need, state) for need in line.needs)


def live(notebook: Notebook, oracle: Oracle, kernel: Kernel, folder: Path) -> list[str]:
    """One life of the kernel: cells are run and edited in the order that comes to mind; what the vault got wrong."""
    rnd, state = notebook.rnd, {}
    oracle.captured = {name: line.tag for name, line in notebook.module.items()}
    for name, line in notebook.module.items():
        oracle.lines[line.tag], oracle.cell_of[line.tag] = replace(line, name=name), "helper"
    problems: list[str] = []
    order = list(range(len(notebook.cells)))
    steps = order if rnd.random() < 0.7 else rnd.sample(order, max(1, len(order) // 2))
    steps = sorted(steps) + [rnd.choice(order) for _ in range(rnd.randint(0, 5))]
    for step, number in enumerate(steps):
        lines = notebook.cells[number]
        if step >= len(order) // 2 and rnd.random() < 0.4:  # edited
            at = rnd.randrange(len(lines))
            lines[at] = notebook.edit(lines[at])
        if not ready(lines, state, notebook.module, set(oracle.rows)):
            continue
        fails = rnd.randint(0, len(lines)) if rnd.random() < 0.15 else None
        texts = [line.text for line in lines]
        if fails is not None:
            texts.insert(fails, "1 / 0")
        if rnd.random() < 0.3:
            texts.insert(0, f"# {rnd.random()}\n'''Nothing.'''")
        text = "\n".join(texts)
        if number in notebook.blocks:
            text = "with nullcontext():\n" + indent(text, "    ")
        _, kept = kernel.run(f"c{number}", text)
        ran = lines if fails is None else lines[:fails]
        oracle.executed(f"c{number}", list(ran), kept)
        state.update({line.name: line for line in ran if line.defines})
        if rnd.random() < 0.15:
            problems += compare(oracle, kernel.vault, notebook)
    problems += compare(oracle, kernel.vault, notebook)
    return problems and [*problems, "\n".join(kernel.transcript)]


def compare(oracle: Oracle, vault: Any, notebook: Notebook) -> list[str]:
    """Where the vault and the oracle disagree."""
    frame = vault.stale()
    found = {
        (row.list, int(row.position), row.reason, int(row.depth)) for row in frame.itertuples(index=False)
    }
    problems = []
    truth = oracle.stale()
    if found - truth:
        problems.append(f"false alarms: {sorted(found - truth)} ({frame['of'].tolist()})")
    if truth - found:
        problems.append(f"misses: {sorted(truth - found)}")
    tags = sorted(oracle.lines)
    for name, rows in oracle.rows.items():
        position = notebook.rnd.randrange(len(rows))
        code = vault.read(name).iloc[[position]].vault.code(whole=True)
        text = "\n".join(code["text"].dropna())
        inside = {tag for tag in tags if f'"{tag}"' in text}
        if inside != rows[position].made:
            problems.append(
                f"slice of {name}[{position}]: {sorted(inside)}, not {sorted(rows[position].made)}"
            )
    tag = notebook.rnd.choice(tags)
    hits = vault.search(code=f'"{tag}"', k=None)
    by_code = set(zip(hits["list"], hits["position"].astype(int), strict=True))
    if by_code != oracle.found_by(tag):
        problems.append(f"search {tag}: {sorted(by_code)}, not {sorted(oracle.found_by(tag))}")
    return problems


def write_module(notebook: Notebook, folder: Path) -> None:
    """Write the module; no two contents are as old and as long, so that no compiled one is taken."""
    text = "from programs import V\n" + "\n".join(line.text for line in notebook.module.values())
    (folder / "helper.py").write_text(text + "\n")


def story(seed: int, folder: Path, place: str) -> list[str]:
    """One notebook through a few lives; what the vault got wrong."""
    rnd = random.Random(seed)
    notebook = Notebook(rnd, has_ids=rnd.random() < 0.7)
    notebook.fill()
    oracle = Oracle()
    for life in range(rnd.randint(1, 3)):
        if life and rnd.random() < 0.5:
            name = rnd.choice(list(notebook.module))
            notebook.module[name] = notebook.edit(notebook.module[name])
        write_module(notebook, folder)
        notebook, oracle, problems = in_a_fork(notebook, oracle, folder, place)
        if problems:
            return [f"seed {seed}, life {life + 1}", *problems]
    return []


def in_a_fork(notebook: Notebook, oracle: Oracle, folder: Path, place: str) -> Any:
    """A life of the kernel in a process of its own."""
    import pickle
    import traceback

    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        problems = ["the process ended"]
        try:
            sys.dont_write_bytecode = True
            kernel = Kernel(folder, place, notebook.has_ids)
            problems = live(notebook, oracle, kernel, folder)
            if notebook.rnd.random() < 0.7:  # else it is killed
                kernel.vault.close()
        except BaseException:  # noqa: BLE001  # it is told to the other process
            problems = [traceback.format_exc()]
        with os.fdopen(writing, "wb") as pipe:
            pickle.dump((notebook, oracle, problems), pipe)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        answer = pickle.load(pipe)  # of our own child
    os.waitpid(child, 0)
    return answer


def main(folder: str, place: str, first: str, count: str) -> None:
    """Run that many notebooks."""
    import IPython.core.interactiveshell  # noqa: F401  # once, before the forks

    import tablevault_pd.lineage.stale
    import tablevault_pd.search
    import tablevault_pd.vault  # noqa: F401

    problems = []
    for seed in range(int(first), int(first) + int(count)):
        here = Path(folder) / str(seed)
        here.mkdir()
        problems += story(seed, here, place.format(seed=seed))
    sys.stdout.write("\n".join(problems))
