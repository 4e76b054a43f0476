"""Answers as frames: the columns of ``lists()``, ``versions()`` and the others, settled so that people can rely on them."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa

from tablevault_pd import frames
from tablevault_pd.reading import liveness
from tablevault_pd.reading import read as reading
from tablevault_pd.reading.nested import flat
from tablevault_pd.store import Compacted, Freed, Overview, Problem, ScanRequest, Session, Store, Version

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

#: The dtypes of columns wherever they stand; everything else is text or plain objects.
DTYPES = {
    "version": "Int64",
    "rows": "Int64",
    "total": "Int64",
    "position": "Int64",
    "bytes": "Int64",
    "size_bytes": "Int64",
    "cell": "Int64",
    "step": "Int64",
    "run": "Int64",
    "execution_count": "Int64",
    "pid": "Int64",
    "parts_before": "Int64",
    "parts_after": "Int64",
    "damaged": "Int64",
    "duration_s": "float64",
    "deleted": "bool",
    "gone": "bool",
    "stored": "bool",
    "fixed": "bool",
    "removed": "bool",
    "git_dirty": "boolean",
    "created": "datetime64[us, UTC]",
    "updated": "datetime64[us, UTC]",
    "time": "datetime64[us, UTC]",
    "confirmed": "datetime64[us, UTC]",
    "started": "datetime64[us, UTC]",
    "ended": "datetime64[us, UTC]",
    "heartbeat": "datetime64[us, UTC]",
    "requested": "datetime64[us, UTC]",
    "acknowledged": "datetime64[us, UTC]",
    "modified": "datetime64[us, UTC]",
}
OBJECTS = {"kinds", "columns", "tags", "reads", "versions", "argv", "packages"}

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
VERSIONS = (
    "list", "version", "operation", "rows", "total", "session", "cell", "step", "time", "confirmed", "message", "gone", "tags",
)  # fmt: skip
SESSIONS = (
    "session", "name", "run", "state", "user", "host", "pid", "parent", "started", "ended", "heartbeat", "outcome", "error",
    "tags", "reads",
)  # fmt: skip
INFO = ("argv", "cwd", "python", "packages", "git_commit", "git_branch", "git_dirty")
CELLS = (
    "session",
    "cell",
    "text",
    "started",
    "duration_s",
    "outcome",
    "error",
    "traceback",
    "execution_count",
)
SOURCES = ("session", "path", "sha256", "text")
DESCRIPTIONS = ("list", "label", "text", "session", "time")
FILES = ("list", "position", "path", "size_bytes", "modified", "sha256", "stored")
CHECK = ("severity", "what", "list", "version", "path", "detail", "fixed")
COMPACT = ("list", "parts_before", "parts_after", "bytes", "damaged")
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


def column(values: Sequence[Any]) -> pd.Series:
    """Return Python values as a column of their own type, exactly; None is missing.

    Integers become Int64 (UInt64 beyond its range), truth values boolean, floats float64, texts text. Integers among
    floats are floats where a float holds each of them. Everything else is a column of objects.
    """
    missing = np.array([value is None for value in values], dtype=bool)
    kinds = {type(value) for value in values if value is not None}
    if kinds == {bool}:
        return pd.Series(pd.arrays.BooleanArray(np.array([bool(value) for value in values]), missing))
    if kinds == {int}:
        return _integers([value or 0 for value in values], missing, values)
    if kinds and kinds <= {int, float} and all(_is_float(value) for value in values if value is not None):
        return pd.Series([np.nan if value is None else float(value) for value in values])
    return typed("", values) if kinds == {str} else pd.Series(list(values), dtype=object)


def _integers(filled: list[int], missing: np.ndarray, values: Sequence[Any]) -> pd.Series:
    for dtype in (np.int64, np.uint64):
        if min(filled) >= np.iinfo(dtype).min and max(filled) <= np.iinfo(dtype).max:
            return pd.Series(pd.arrays.IntegerArray(np.array(filled, dtype=dtype), missing))
    return pd.Series(list(values), dtype=object)


def _is_float(value: float) -> bool:
    """Tell whether a float holds this number exactly."""
    return isinstance(value, float) or abs(value) <= 2**53


def spread(frame: pd.DataFrame, prefix: str, values: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """`frame` with one column ``prefix.key`` for every key of the mappings, one mapping a row."""
    keys = dict.fromkeys(key for mapping in values for key in mapping)
    extra = {f"{prefix}.{key}": column([mapping.get(key) for mapping in values]) for key in keys}
    return pd.concat([frame, pd.DataFrame(extra, index=frame.index)], axis=1) if extra else frame


# -- one function for each answer


def lists(store: Store, *, deleted: bool) -> pd.DataFrame:
    """Every list at its newest version."""
    states = [state for state in store.lists() if deleted or not state.head.deleted]
    sessions = labels_of(store, [state.head.session_id for state in states])
    text_of = {
        (description.list_id, description.label): description.text for description in store.descriptions()
    }
    schemas = store.schemas({state.head.schema_id for state in states})
    rows = []
    for state in states:
        head = state.head
        columns = frames.columns(schemas[head.schema_id])
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
                text_of.get((head.list_id, "BASE")),
                list(head.tags),
            )
        )
    return answer(LISTS, rows)


def versions(store: Store, name: str | None) -> pd.DataFrame:
    """The versions of one list, or of all."""
    found = store.versions(name)
    sessions = labels_of(store, [version.session_id for version in found])
    lists = {version.list_id for version in found} if name is not None else None
    confirmations = store.confirmations(None if lists is None else sorted(lists))
    confirmed = {(each.list_id, each.version): each.time for each in confirmations}
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
                each.step,
                each.time,
                confirmed.get((each.list_id, each.version)),
                each.message,
                each.gone,
                list(each.tags),
            )
            for each in found
        ],
    )


def sessions(
    store: Store,
    found: Sequence[Session] | None = None,
    *,
    seen: Overview | None = None,
    info: bool = False,
) -> pd.DataFrame:
    """Sessions, oldest first, with their parameters and the last value of each metric as columns, perhaps what they ran in."""
    if seen is None:
        seen = liveness.overview(store, None if found is None else [each.id for each in found])
    found = seen.sessions if found is None else found
    parents = labels_of(store, [session.parent for session in found])
    reads = defaultdict(list)
    for session_id, name, version in store.reads([session.id for session in found]):
        reads[session_id].append(f"{name}@{version}")
    rows: list[tuple[Any, ...]] = [
        (
            each.label, each.name, each.run, each.state(seen.time), each.user, each.host, each.pid, parents.get(each.parent),
            each.started, each.ended, each.heartbeat, each.outcome, each.error, list(each.tags), reads[each.id],
        )
        for each in found
    ]  # fmt: skip
    frame = answer(SESSIONS, rows)
    if info:
        full = [environment(each) for each in store.sessions([each.id for each in found], info=True)]
        frame = pd.concat([frame, answer(INFO, [[each.get(name) for name in INFO] for each in full])], axis=1)
    frame = spread(frame, "params", [flat(each.params) for each in found])
    return latest(frame, seen, [each.id for each in found])


def latest(frame: pd.DataFrame, seen: Overview, ids: Sequence[int]) -> pd.DataFrame:
    """`frame` with a column ``metrics.name`` for every metric that one of its sessions, one a row, has logged."""
    values = seen.latest.to_pandas()
    values = values[values["session"].isin(ids)]
    if values.empty:
        return frame
    wide = values.pivot(index="session", columns="metric", values="value").reindex(ids)
    wide.columns = [f"metrics.{name}" for name in wide.columns]
    joined: pd.DataFrame = pd.concat([frame, wide.set_axis(frame.index)], axis=1)
    return joined


def environment(session: Session) -> dict[str, Any]:
    """What a session ran in: its info, with what is known of the git state beside the rest."""
    info = {name: value for name, value in session.info.items() if name not in ("git", "machine", "opening")}
    git = {f"git_{name}": value for name, value in (session.info.get("git") or {}).items()}
    return info | git | {"host": session.host, "user": session.user, "pid": session.pid}


def curves(store: Store, found: Sequence[Session], metrics: Sequence[str] | None = None) -> pd.DataFrame:
    """Every value that sessions logged: session, metric, step, time, value."""
    names = {session.id: session.label for session in found}
    table = store.measures(list(names), metrics=metrics).drop_columns("attempt")
    frame: pd.DataFrame = table.to_pandas(types_mapper={pa.int64(): pd.Int64Dtype()}.get)
    return frame.assign(
        session=typed("session", [names[key] for key in frame["session"]]),
        metric=typed("metric", frame["metric"].to_list()),
    )


def cells(store: Store, found: Sequence[Session] | None) -> pd.DataFrame:
    """The code that sessions ran."""
    rows = store.cells(None if found is None else [session.id for session in found])
    names = labels_of(store, [cell.session_id for cell in rows])
    return answer(
        CELLS,
        [
            (
                names.get(each.session_id), each.cell, each.text, each.started, each.duration_s, each.outcome, each.error,
                each.traceback, each.execution_count,
            )
            for each in rows
        ],
    )  # fmt: skip


def sources(store: Store, found: Sequence[Session]) -> pd.DataFrame:
    """The project modules that sessions had imported."""
    names = {session.id: session.label for session in found}
    rows = store.sources(list(names))
    return answer(SOURCES, [(names[each.session_id], each.path, each.sha256, each.text) for each in rows])


def descriptions(store: Store, *, history: bool = False) -> pd.DataFrame:
    """What was said, about lists and about sessions (whose ``list`` is missing)."""
    found = store.descriptions(history=history)
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
    columns = [
        (version, column)
        for version, schema in zip(found, _schemas(store, found), strict=True)
        for column in frames.columns(schema)
        if column.kind == "file"
    ]
    rows: list[tuple[Any, ...]] = []
    for number, position, kept in file_cells(store, columns):
        version, column = columns[number]
        told = (kept[name] for name in FILES[2:])
        rows.append((version.list, position, *told, column.label, kept["folder"]))
    return answer((*FILES, "column", "folder"), rows)


def _schemas(store: Store, found: Sequence[Version]) -> list[pa.Schema]:
    schemas = store.schemas({version.schema_id for version in found})
    return [schemas[version.schema_id] for version in found]


def file_cells(
    store: Store, wanted: Sequence[tuple[Version, frames.Column]]
) -> Iterable[tuple[int, int, dict[str, Any]]]:
    """(number of the column, position, what is kept about the file) for every cell that is not missing."""
    schemas = [reading.wanted_schema(store, version, [column.label]) for version, column in wanted]
    asked = [ScanRequest(version, (column.field,)) for version, column in wanted]
    for number, chunk in store.scan_many(asked):
        cells = reading.aligned(chunk, schemas[number]).column(wanted[number][1].field).to_pylist()
        for position, kept in zip(chunk.positions, cells, strict=True):
            if kept is not None:
                yield number, position, kept


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
        COMPACT,
        [(each.list, each.parts_before, each.parts_after, each.size_bytes, each.damaged) for each in found],
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
    keys = sorted({key for key in ids if key is not None})
    return {session.id: session.label for session in store.sessions(keys)} if keys else {}
