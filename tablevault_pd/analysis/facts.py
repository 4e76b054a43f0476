"""What is recorded of the sessions that wrote rows: parameters, packages, Python, git commit, command line, host."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from itertools import zip_longest
from textwrap import dedent
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from tablevault_pd.reading.nested import flat
from tablevault_pd.reading.reports import environment, typed
from tablevault_pd.store import Version, VersionLookup

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from tablevault_pd.code import Slice
    from tablevault_pd.store import Session, Store
    from tablevault_pd.store.session_types import Part

PARAMETER = "parameter"
READ = "read"  #: a list that a session read, and of which no row is linked to what it wrote
ABSENT = "∅"  # never a value: it stands for what is not recorded

Fact = tuple[str, str]  #: (what, name), such as ("package", "numpy")
Facts = Mapping[Fact, Any]
_Bound = tuple[str | None, tuple[str, ...]]  #: (path, names that a statement binds)
Inputs = dict[str, list[Version]]  #: versions of each list


def writers(store: Store, version: Version, positions: np.ndarray | None = None) -> tuple[int, ...]:
    """The sessions that wrote these rows of a version, in order; default: all its rows, or the commit of an empty one."""
    spans = store.spans_written([version])
    touched = np.ones(len(spans.start), bool)
    if positions is not None:
        touched = np.array(
            [
                bool(((positions >= low) & (positions < high)).any())
                for low, high in zip(spans.start, spans.stop, strict=True)
            ],
            bool,
        )
    session_ids = spans.session_id[touched].tolist() if len(touched) else [version.session_id]
    return tuple(
        sorted({session_id for session_id in session_ids if session_id is not None and session_id >= 0})
    )


def facts_of(store: Store, session_ids: Sequence[int]) -> dict[Fact, Any]:
    """Everything recorded of these sessions. Where they differ among themselves, all values, separated by a bar."""
    sessions = store.sessions(list(session_ids), info=True) if session_ids else []
    every = [_facts(session) for session in sessions]
    names = dict.fromkeys(fact for facts in every for fact in facts)
    return {fact: _together([facts[fact] for facts in every if fact in facts]) for fact in names}


def facts_of_target(store: Store, target: Version | Session) -> dict[Fact, Any]:
    """Everything recorded of a session, or of those that wrote the rows of a version."""
    return facts_of(store, writers(store, target) if isinstance(target, Version) else [target.id])


def read_by(store: Store, session_ids: Sequence[int]) -> Inputs:
    """The versions that sessions read, oldest first, by list; those that they had written themselves are left out."""
    reads = dict.fromkeys((name, number) for _, name, number in store.reads(list(session_ids)))
    versions = store.find_versions([VersionLookup(name, number) for name, number in reads])
    return by_list(
        version for version in versions if version is not None and version.session_id not in session_ids
    )


def by_list(versions: Iterable[Version]) -> Inputs:
    """Return versions in order, by the list that they are of."""
    inputs: Inputs = {}
    for version in sorted(versions, key=lambda version: version.version):
        inputs.setdefault(version.list, []).append(version)
    return inputs


def addresses(versions: Sequence[Version]) -> str | None:
    """Return versions as ``news@1, news@2``; None if there are none."""
    return ", ".join(f"{version.list}@{version.version}" for version in versions) or None


def environment_diff(every: Sequence[Facts]) -> pd.DataFrame:
    """Return what sessions ran in, where it differs, with a column for each side."""
    return table(every, lambda fact: fact[0] != PARAMETER, what=True)


def _together(values: list[Any]) -> Any:
    distinct: list[Any] = []
    for value in values:
        if not any(type(value) is type(other) and value == other for other in distinct):
            distinct.append(value)
    return distinct[0] if len(distinct) == 1 else " | ".join(map(text_of, distinct))


def _facts(session: Session) -> dict[Fact, Any]:
    info = environment(session)
    facts: dict[Fact, Any] = {(PARAMETER, name): value for name, value in flat(session.params).items()}
    facts |= {("package", name): version for name, version in (info.get("packages") or {}).items()}
    facts |= {("python", name): info[name] for name in ("python", "platform") if info.get(name)}
    facts |= {
        ("git", name): info[f"git_{name}"]
        for name in ("commit", "branch", "dirty")
        if info.get(f"git_{name}") is not None
    }
    if info.get("argv"):
        facts["argv", "command line"] = " ".join(map(str, info["argv"]))
    return facts | {("host", "host"): session.host}


def different(every: Sequence[Facts]) -> list[Fact]:
    """What is not the same everywhere: parameters first, then as recorded."""
    names = dict.fromkeys(fact for facts in every for fact in facts)
    names_that_differ = [
        fact
        for fact in names
        if any(not _alike(every[0].get(fact, ABSENT), facts.get(fact, ABSENT)) for facts in every)
    ]
    return sorted(names_that_differ, key=lambda fact: fact[0] != PARAMETER)


def _alike(a: Any, b: Any) -> bool:
    """Whether two recorded values are the same: 1 and True are not, NaN and NaN are."""
    if isinstance(a, float) and isinstance(b, float) and a != a and b != b:
        return True
    return isinstance(a, bool) == isinstance(b, bool) and bool(a == b)


def text_of(value: Any) -> str:
    """A recorded value as text."""
    return value if isinstance(value, str) else repr(value)


def table(every: Sequence[Facts], is_shown: Callable[[Fact], bool], *, what: bool) -> pd.DataFrame:
    """The facts that differ, one a line, with a column for each side: a, b, c …; None where a side lacks it."""
    facts_that_differ = [fact for fact in different(every) if is_shown(fact)]
    columns: dict[str, Any] = (
        {"what": typed("what", [differing[0] for differing in facts_that_differ])} if what else {}
    )
    columns["name"] = typed("name", [differing[1] for differing in facts_that_differ])
    for number, facts in enumerate(every):
        values = [facts.get(fact) for fact in facts_that_differ]
        columns[chr(ord("a") + number)] = pd.Series(values, dtype=object)
    return pd.DataFrame(columns)


# -- code


def changed_parts(a: Slice, b: Slice) -> list[tuple[str, str | None, str | None]]:
    """(name, text in a, text in b) of each definition or statement that is not in both slices with the same tree.

    Slices that have no statement in common but imports, as of a row that other code wrote, differ in one line: in what wrote it.
    """
    if _are_foreign(a, b):
        return [(_place(b.parts[-1]), _text(a.parts[-1]), _text(b.parts[-1]))]
    gone, come = _without(a.parts, b.parts), _without(b.parts, a.parts)
    names = dict.fromkeys([*gone, *come])
    return [
        (_title(two or one), _text(one), _text(two))
        for key in sorted(names, key=lambda key: not key[1])  # statements without names last
        for one, two in zip_longest(gone.get(key, ()), come.get(key, ()))
    ]


def _without(parts: Sequence[Part], others: Sequence[Part]) -> dict[_Bound, list[Part]]:
    """The statements that are not among `others`, by the names they bind: several may bind one, as ``df = df.dropna()``."""
    left = Counter((part.path, part.tree) for part in others)
    lone: dict[_Bound, list[Part]] = {}
    for part in parts:
        left[part.path, part.tree] -= 1
        if left[part.path, part.tree] < 0:
            lone.setdefault((part.path if part.names else None, part.names), []).append(part)
    return lone


def _are_foreign(a: Slice, b: Slice) -> bool:
    """Whether both slices define something, and nothing under the same name."""
    one, two = (
        {(part.path, part.names) for part in code_slice.parts if part.names and not _is_import(part)}
        for code_slice in (a, b)
    )
    return bool(one and two) and one.isdisjoint(two)


def _is_import(part: Part) -> bool:
    return part.text.startswith(("import ", "from "))


def _text(part: Part | None) -> str | None:
    return None if part is None else dedent(part.text)


def _title(part: Part | None) -> str:
    assert part is not None
    if not part.names:
        return _place(part)
    names = ", ".join(part.names)
    return f"{part.path}: {names}" if part.path else names


def _place(part: Part) -> str:
    if part.path:
        return part.path
    return "code" if part.cell is None else f"cell {part.cell}"
