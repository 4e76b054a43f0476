"""What is recorded of the sessions that wrote rows: parameters, packages, Python, git commit, command line, host."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from tablevault_pd.analysis.contents import ReadVersions
from tablevault_pd.reading.nested import flat
from tablevault_pd.reading.reports import environment
from tablevault_pd.store import Version, VersionLookup
from tablevault_pd.store.edges import EdgeQuery

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from tablevault_pd.analysis.contents import Contents
    from tablevault_pd.store import Session, Store

PARAMETER = "parameter"
READ = "read"  #: a list that a session read, and of which no row is linked to what it wrote
_KERNEL = "ipykernel_launcher.py"  # its command line names a file that is another one each time
ABSENT = "∅"  # never a value: it stands for what a session did not have
NOT_RECORDED = "not recorded"

Fact = tuple[str, str]  #: (what, name), such as ("package", "numpy")
Facts = Mapping[Fact, Any]
#: Of each part of the environment what says that it is not recorded, for all of the part.
_PARTS: Mapping[str, Fact] = {
    "package": ("package", "all packages"),
    "python": ("python", "python"),
    "git": ("git", "commit"),
    "argv": ("argv", "command line"),
    "host": ("host", "host"),
}
#: Of rows that no session wrote.
NOTHING_RECORDED: Facts = dict.fromkeys(_PARTS.values(), NOT_RECORDED)
Inputs = dict[str, ReadVersions]  #: versions of each list


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
    if not session_ids:
        return dict(NOTHING_RECORDED)
    sessions = store.sessions(list(session_ids), info=True)
    every = [_facts(session) for session in sessions]
    names = dict.fromkeys(fact for facts in every for fact in facts)
    return {fact: together([facts[fact] for facts in every if fact in facts]) for fact in names}


def facts_by_session(
    store: Store, contents: Contents, sessions: Sequence[Session]
) -> dict[int, dict[Fact, Any]]:
    """Everything recorded of each of these sessions, and what it read, as :class:`ReadVersions`."""
    facts = {session.id: _facts(session) for session in sessions}
    reads: dict[int, dict[tuple[str, int], None]] = {}
    for session_id, name, number in store.reads(list(facts)):
        reads.setdefault(session_id, {})[name, number] = None
    places = list(dict.fromkeys(place for of_session in reads.values() for place in of_session))
    versions = dict(zip(places, _versions_at(store, places), strict=True))
    for session_id, of_session in reads.items():
        inputs = by_list(contents, [versions[place] for place in of_session], [session_id])
        facts.setdefault(session_id, {}).update({(READ, name): read for name, read in inputs.items()})
    return facts


def read_by(store: Store, contents: Contents, session_ids: Sequence[int]) -> Inputs:
    """The versions that sessions read, oldest first, by list."""
    reads = dict.fromkeys((name, number) for _, name, number in store.reads(list(session_ids)))
    return by_list(contents, _versions_at(store, list(reads)), session_ids)


def _versions_at(store: Store, places: Sequence[tuple[str, int]]) -> list[Version | None]:
    return list(store.find_versions([VersionLookup(name, number) for name, number in places]))


def inputs_of(store: Store, contents: Contents, version: Version) -> Inputs:
    """The versions that the rows of a version were made from, one step up, oldest first, by list."""
    [pieces] = store.pieces([version])
    queries = [
        EdgeQuery(
            version.list_id,
            generation,
            list(zip(*(part.tolist() for part in pieces.intervals(generation)), strict=True)),
        )
        for generation in np.unique(pieces.generation).tolist()
    ]
    if not queries:
        return {}
    table = store.edges(queries, side="child")
    shown = pieces.shows_any(table.generation, table.start, table.start + table.rows)
    keep = shown & (table.rows > 0) & (table.list == version.list_id)
    keys = set(zip(table.parent_list[keep].tolist(), table.parent_version[keep].tolist(), strict=True))
    return by_list(contents, store.describe_lists(versions=sorted(keys)).versions.values())


def by_list(contents: Contents, versions: Iterable[Version | None], writers: Collection[int] = ()) -> Inputs:
    """Return versions that are there in order, by the list that they are of; `writers` are the sessions that read them."""
    lists: dict[str, list[Version]] = {}
    there = (version for version in versions if version is not None)
    for version in sorted(there, key=lambda version: version.version):
        lists.setdefault(version.list, []).append(version)
    return {name: ReadVersions(contents, of_list, writers) for name, of_list in lists.items()}


def together(values: list[Any]) -> Any:
    """The value; where there are several, all of them, separated by a bar."""
    distinct: list[Any] = []
    for value in [value for value in values if not is_unrecorded(value)] or values:
        if not any(type(value) is type(other) and value == other for other in distinct):
            distinct.append(value)
    return distinct[0] if len(distinct) == 1 else " | ".join(map(text_of, distinct))


def _facts(session: Session) -> dict[Fact, Any]:
    info = environment(session)
    facts: dict[Fact, Any] = {(PARAMETER, name): value for name, value in flat(session.params).items()}
    packages = info.get("packages")
    facts["package", "all packages"] = NOT_RECORDED if packages is None else "recorded"
    facts |= {("package", name): version for name, version in (packages or {}).items()}
    facts |= {("python", name): info.get(name) or NOT_RECORDED for name in ("python", "platform")}
    if info.get("git_recorded") is not None:
        facts |= {
            ("git", name): NOT_RECORDED if (state := info.get(f"git_{name}")) is None else state
            for name in ("commit", "branch", "dirty")
        }
    argv = list(map(str, info.get("argv") or ()))
    if not argv or not argv[0].endswith(_KERNEL):
        facts["argv", "command line"] = " ".join(argv) or NOT_RECORDED
    return facts | {("host", "host"): session.host}


def different(every: Sequence[Facts]) -> list[Fact]:
    """What is not the same everywhere: parameters first, then as recorded.

    Of a part of the environment that one of them has not recorded, that alone is told: the rest may differ or not.
    """
    unrecorded = {
        part for part, fact in _PARTS.items() if any(is_unrecorded(facts.get(fact)) for facts in every)
    }
    names = dict.fromkeys(fact for facts in every for fact in facts)
    names_that_differ = [
        fact
        for fact in names
        if (fact == _PARTS[fact[0]] if fact[0] in unrecorded else fact != _PARTS["package"])
        and any(not alike(every[0].get(fact, ABSENT), facts.get(fact, ABSENT)) for facts in every)
    ]
    return sorted(names_that_differ, key=lambda fact: fact[0] != PARAMETER)


def is_unrecorded(value: Any) -> bool:
    """Whether the value of a fact says that it is not recorded."""
    return isinstance(value, str) and value == NOT_RECORDED


def is_unknown(facts: Facts, fact: Fact) -> bool:
    """Whether a session may have had a fact of which nothing is recorded: of its packages, say, none are."""
    part = _PARTS.get(fact[0])
    return part is not None and (is_unrecorded(facts.get(part)) or is_unrecorded(facts.get(fact)))


def alike(a: Any, b: Any) -> bool:
    """Whether two recorded values are the same: 1 and True are not, NaN and NaN are."""
    if isinstance(a, float) and isinstance(b, float) and a != a and b != b:
        return True
    return isinstance(a, bool) == isinstance(b, bool) and bool(a == b)


def text_of(value: Any) -> str:
    """A recorded value as text."""
    return value if isinstance(value, str) else repr(value)
