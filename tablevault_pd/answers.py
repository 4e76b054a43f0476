"""Answers as frames: the columns of ``lists()``, ``versions()`` and the others, settled so that people can rely on them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from tablevault_pd import frames, reading
from tablevault_pd.store import Compacted, Freed, Problem, Session, Store, Version

#: The dtypes of columns wherever they stand; everything else is text or plain objects.
DTYPES = {
    "version": "Int64",
    "rows": "Int64",
    "total": "Int64",
    "position": "Int64",
    "bytes": "Int64",
    "size_bytes": "Int64",
    "cell": "Int64",
    "run": "Int64",
    "pid": "Int64",
    "parts_before": "Int64",
    "parts_after": "Int64",
    "duration_s": "float64",
    "deleted": "bool",
    "stored": "bool",
    "fixed": "bool",
    "removed": "bool",
    "created": "datetime64[us, UTC]",
    "updated": "datetime64[us, UTC]",
    "time": "datetime64[us, UTC]",
    "started": "datetime64[us, UTC]",
    "ended": "datetime64[us, UTC]",
    "heartbeat": "datetime64[us, UTC]",
    "modified": "datetime64[us, UTC]",
}
OBJECTS = {"kinds", "columns", "tags", "reads", "versions"}

LISTS = (
    "name",
    "version",
    "kinds",
    "rows",
    "columns",
    "bytes",
    "created",
    "updated",
    "session",
    "deleted",
    "description",
    "tags",
)
VERSIONS = ("list", "version", "operation", "rows", "total", "session", "cell", "time")
SESSIONS = (
    "session", "name", "run", "state", "user", "host", "pid", "parent", "started", "ended", "heartbeat", "outcome", "error",
    "tags", "reads",
)  # fmt: skip
CELLS = ("session", "cell", "text", "started", "duration_s", "outcome", "error", "traceback")
DESCRIPTIONS = ("list", "label", "text", "session", "time")
FILES = ("list", "position", "path", "size_bytes", "modified", "sha256", "stored")
CHECK = ("severity", "what", "list", "version", "path", "detail", "fixed")
COMPACT = ("list", "parts_before", "parts_after", "bytes")
VACUUM = ("what", "list", "versions", "rows", "bytes", "path", "removed")


def answer(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> pd.DataFrame:
    """Rows of plain values as a frame with these columns in their settled dtypes, also when there are none."""
    by_column: Iterable[Sequence[Any]] = list(zip(*rows, strict=True)) or [()] * len(columns)
    return pd.DataFrame({name: typed(name, values) for name, values in zip(columns, by_column, strict=True)})


def typed(name: str, values: Sequence[Any]) -> pd.Series:
    """One column of an answer."""
    if name in DTYPES:
        return pd.Series(values, dtype=DTYPES[name])
    if name in OBJECTS:
        return pd.Series(list(values), dtype=object)
    return pd.Series(values, dtype="str" if int(pd.__version__.partition(".")[0]) >= 3 else object)


def spread(frame: pd.DataFrame, prefix: str, values: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """`frame` with one column ``prefix.key`` for every key of the mappings, one mapping a row."""
    keys = dict.fromkeys(key for mapping in values for key in mapping)
    extra = {
        f"{prefix}.{key}": pd.Series([mapping.get(key) for mapping in values]).infer_objects() for key in keys
    }
    return pd.concat([frame, pd.DataFrame(extra, index=frame.index)], axis=1) if extra else frame


# -- one function for each answer


def lists(store: Store, *, deleted: bool) -> pd.DataFrame:
    """Every list at its newest version."""
    states = [state for state in store.lists() if deleted or not state.head.deleted]
    sessions = labels_of(store, [state.head.session_id for state in states])
    told = {(found.list_id, found.label): found.text for found in store.descriptions()}
    rows = []
    for state in states:
        head = state.head
        columns = frames.columns(store.schema(head.schema_id))
        rows.append(
            (
                head.list,
                head.version,
                list(dict.fromkeys(column.kind for column in columns)),
                head.total,
                [column.label for column in columns],
                state.size_bytes,
                state.created,
                head.time,
                sessions.get(head.session_id),
                head.deleted,
                told.get((head.list_id, "BASE")),
                list(head.tags),
            )
        )
    return answer(LISTS, rows)


def versions(store: Store, name: str | None) -> pd.DataFrame:
    """The versions of one list, or of all."""
    found = store.versions(name)
    sessions = labels_of(store, [version.session_id for version in found])
    return answer(
        VERSIONS,
        [
            (
                each.list,
                each.version,
                each.operation,
                each.rows,
                each.total,
                sessions.get(each.session_id),
                each.cell,
                each.time,
            )
            for each in found
        ],
    )


def sessions(store: Store, found: Sequence[Session] | None = None) -> pd.DataFrame:
    """Sessions, oldest first."""
    found = store.sessions() if found is None else found
    parents = labels_of(store, [session.parent for session in found])
    reads = defaultdict(list)
    for session_id, name, version in store.reads([session.id for session in found]):
        reads[session_id].append(f"{name}@{version}")
    rows: list[tuple[Any, ...]] = [
        (
            each.label, each.name, each.run, state_of(each), each.user, each.host, each.pid, parents.get(each.parent),
            each.started, each.ended, each.heartbeat, each.outcome, each.error, list(each.tags), reads[each.id],
        )
        for each in found
    ]  # fmt: skip
    return spread(answer(SESSIONS, rows), "params", [each.params for each in found])


def state_of(session: Session) -> str:
    """running, finished, failed or stopped."""
    return session.outcome or "running"


def cells(store: Store, found: Sequence[Session] | None) -> pd.DataFrame:
    """The code that sessions ran."""
    rows = store.cells(None if found is None else [session.id for session in found])
    names = labels_of(store, [cell.session_id for cell in rows])
    return answer(
        CELLS,
        [
            (
                names.get(each.session_id),
                each.cell,
                each.text,
                each.started,
                each.duration_s,
                each.outcome,
                each.error,
                each.traceback,
            )
            for each in rows
        ],
    )


def descriptions(store: Store) -> pd.DataFrame:
    """What was said, about lists and about sessions (whose ``list`` is missing)."""
    found = store.descriptions()
    names: dict[int | None, str] = {state.head.list_id: state.head.list for state in store.lists()}
    people = labels_of(store, [each.session_id for each in found] + [each.session_of for each in found])
    rows = [
        (
            names.get(each.list_id),
            each.label,
            each.text,
            people.get(each.session_id),
            each.time,
            people.get(each.session_of),
        )
        for each in found
    ]
    return answer((*DESCRIPTIONS, "about_session"), rows)


def files(store: Store, found: Sequence[Version]) -> pd.DataFrame:
    """Every file that a cell of these versions names."""
    rows: list[tuple[Any, ...]] = []
    for version in found:
        schema = store.schema(version.schema_id)
        for column in frames.columns(schema):
            if column.kind == "file":
                rows += [
                    (version.list, position, *kept.values(), column.label)
                    for position, kept in file_cells(store, version, column)
                ]
    return answer((*FILES, "column"), rows)


def file_cells(store: Store, version: Version, column: frames.Column) -> Iterable[tuple[int, dict[str, Any]]]:
    """(position, what is kept about the file) for every cell of a file column that is not missing."""
    schema = reading.wanted_schema(store, version, [column.label])
    for chunk in store.scan(version, columns=schema.names):
        cells = reading.aligned(chunk, schema).column(column.field).to_pylist()
        yield from (
            (position, kept)
            for position, kept in zip(chunk.positions, cells, strict=True)
            if kept is not None
        )


def checked(found: Sequence[Problem]) -> pd.DataFrame:
    """What a check found."""
    return answer(
        CHECK,
        [
            (each.severity, each.what, each.list, each.version, each.path, each.detail, each.fixed)
            for each in found
        ],
    )


def compacted(found: Sequence[Compacted]) -> pd.DataFrame:
    """What compacting did to each list."""
    return answer(
        COMPACT, [(each.list, each.parts_before, each.parts_after, each.size_bytes) for each in found]
    )


def vacuumed(found: Sequence[Freed], *, removed: bool) -> pd.DataFrame:
    """What a vacuum removed, or would remove."""
    return answer(
        VACUUM,
        [
            (each.what, each.list, list(each.versions), each.rows, each.size_bytes, each.path, removed)
            for each in found
        ],
    )


def labels_of(store: Store, ids: Iterable[int | None]) -> dict[int | None, str]:
    """``name#run`` of sessions, by id."""
    wanted = sorted({key for key in ids if key is not None})
    return {session.id: session.label for session in store.sessions(wanted)} if wanted else {}
