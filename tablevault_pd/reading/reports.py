"""Reports as frames: ``lists()``, ``versions()`` and others, with fixed columns and dtypes."""

from __future__ import annotations

from collections import defaultdict
from itertools import chain, compress
from operator import attrgetter, or_
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from tablevault_pd import frames
from tablevault_pd.frames.buffers import single
from tablevault_pd.frames.objects import is_address
from tablevault_pd.reading import liveness
from tablevault_pd.reading import read as reading
from tablevault_pd.reading.chunks import aligned, living
from tablevault_pd.reading.integers import integer_metrics, integers_among, whole, whole_numbers
from tablevault_pd.reading.nested import flat
from tablevault_pd.store import (
    Overview,
    ScanRequest,
    Session,
    Store,
    Version,
    VersionName,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from tablevault_pd.store import Confirmation

#: The dtypes of columns in every report; other columns are text or objects.
DTYPES = {
    "version": "Int64",
    "rows": "Int64",
    "added": "Int64",
    "changed": "Int64",
    "total": "Int64",
    "position": "Int64",
    "bytes": "Int64",
    "size_bytes": "Int64",
    "cell": "Int64",
    "step": "Int64",
    "run": "Int64",
    "attempts": "Int64",
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
    "git_recorded": "boolean",
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
TEXT = "str" if int(pd.__version__.partition(".")[0]) >= 3 else "object"
OBJECTS = {"kinds", "columns", "tags", "snapshots", "reads", "versions", "argv", "packages"}

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
    "list", "version", "operation", "rows", "added", "changed", "removed", "total", "session", "cell", "step", "time", "confirmed",
    "message", "gone", "tags", "snapshots",
)  # fmt: skip
SNAPSHOTS = ("name", "list", "version", "time", "session")
SESSIONS = (
    "session", "name", "run", "state", "user", "host", "pid", "parent", "started", "ended", "heartbeat", "outcome", "error",
    "attempts", "tags", "reads",
)  # fmt: skip
#: Those that a session has under the same name, as they are in the report or nearly so.
STORED = (
    "name",
    "run",
    "user",
    "host",
    "pid",
    "parent",
    "started",
    "ended",
    "heartbeat",
    "outcome",
    "error",
    "tags",
)
INFO = ("argv", "cwd", "python", "packages", "git_commit", "git_branch", "git_dirty", "git_recorded")
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
KEPT_LABELS = 100_000  # of sessions of one vault
#: By store: labels of its sessions.
_labels: WeakKeyDictionary[Store, dict[int, str]] = WeakKeyDictionary()
FILES = ("list", "position", "path", "size_bytes", "modified", "sha256", "stored")


def answer(columns: Sequence[str], rows: Iterable[Sequence[Any]], **dtypes: str) -> pd.DataFrame:
    """Make a frame of rows of plain values, with these columns in their fixed dtypes, also without rows.

    `dtypes` are those of columns that have another dtype than columns of that name elsewhere.
    """
    return of_columns(columns, list(zip(*rows, strict=True)) or [()] * len(columns), **dtypes)


def of_columns(columns: Sequence[str], by_column: Sequence[Sequence[Any]], **dtypes: str) -> pd.DataFrame:
    """Make the frame that :func:`answer` makes of the same values given by column."""
    index = pd.RangeIndex(len(by_column[0]))  # one for all columns: pandas need not align them
    pairs = zip(columns, by_column, strict=True)
    data = {name: typed(name, values, dtypes.get(name), index) for name, values in pairs}
    return pd.DataFrame(data, index=index, copy=False)


def typed(
    name: str, values: Sequence[Any], dtype: str | None = None, index: pd.Index | None = None
) -> pd.Series:
    """Make one column of a report, of the dtype that columns of this name have."""
    if dtype is None:
        dtype = DTYPES.get(name) or ("object" if name in OBJECTS else TEXT)
    return pd.Series(list(values) if dtype == "object" else values, index=index, dtype=dtype)


def column(values: Sequence[Any]) -> pd.Series:
    """Make a column of Python values of one type, exactly; None is missing.

    Integers become Int64 (UInt64 beyond its range), truth values boolean, floats float64, texts text. Integers among
    floats are floats where a float holds each of them. Everything else is a column of objects.
    """
    missing = np.array([value is None for value in values], dtype=bool)
    kinds = set(map(type, values)) - {type(None)}
    if kinds == {bool}:
        return pd.Series(pd.arrays.BooleanArray(np.array(values, dtype=bool), missing))
    if kinds == {int}:
        return _integers([value or 0 for value in values], missing, values)
    if kinds == {float} or (kinds == {int, float} and all(map(_is_float, values))):
        return pd.Series(np.array(values, dtype=np.float64))
    return typed("", values) if kinds == {str} else pd.Series(list(values), dtype=object)


def _integers(filled: list[int], missing: np.ndarray, values: Sequence[Any]) -> pd.Series:
    for dtype in (np.int64, np.uint64):
        if min(filled) >= np.iinfo(dtype).min and max(filled) <= np.iinfo(dtype).max:
            return pd.Series(pd.arrays.IntegerArray(np.array(filled, dtype=dtype), missing))
    return pd.Series(list(values), dtype=object)


def _is_float(value: float | None) -> bool:
    """Return whether a float holds this number exactly; None is NaN."""
    return value is None or isinstance(value, float) or abs(value) <= 2**53


def _with_params(frame: pd.DataFrame, params: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Return `frame` with one column ``params.key`` for every key of the mappings, one mapping a row."""
    keys = dict.fromkeys(chain.from_iterable(params))
    extra = {f"params.{key}": column([mapping.get(key) for mapping in params]) for key in keys}
    return pd.concat([frame, pd.DataFrame(extra, index=frame.index)], axis=1) if extra else frame


# -- one function for each report


def lists(store: Store, *, deleted: bool) -> pd.DataFrame:
    """Return every list at its newest version."""
    states = [state for state in store.lists() if deleted or not state.head.deleted]
    sessions = labels_of(store, [state.head.session_id for state in states])
    text_of = {
        (description.list_id, description.label): description.text for description in store.descriptions()
    }
    schemas = store.schemas({state.head.schema_id for state in states})
    columns_of = {key: frames.columns(schema) for key, schema in schemas.items()}
    tags, _ = names_of_versions(store)
    rows = []
    for state in states:
        head = state.head
        columns = columns_of[head.schema_id]
        rows.append(
            (
                head.list,
                head.version,
                list(dict.fromkeys(column.kind for column in columns)),
                head.shown,
                [column.label for column in columns],
                state.size_bytes,
                state.created,
                head.time,
                sessions.get(head.session_id),
                head.deleted,
                text_of.get((head.list_id, "BASE")),
                [*head.tags, *tags[head.list_id, head.version]],
            )
        )
    return answer(LISTS, rows)


def versions(store: Store, name: str | None, made_by: Collection[int] | None = None) -> pd.DataFrame:
    """Return the versions of one list, or of all; those that sessions made, by their ids, if any are given."""
    shown = store.version_columns(name)
    if made_by is not None:
        shown = _only(shown, [key in made_by for key in shown["session_id"]])
    lists = set(shown["list_id"]) if name is not None else None
    return _versions(store, shown, store.confirmations(None if lists is None else sorted(lists)))


def versions_made_by(store: Store, session_id: int) -> pd.DataFrame:
    """Return the versions that a session wrote or confirmed, and in the column ``made`` which of both it was."""
    shown, confirmations = store.version_columns(), store.confirmations()
    places = {(row.list_id, row.version) for row in confirmations if row.session_id == session_id}
    wrote = [key == session_id for key in shown["session_id"]]
    confirmed = [place in places for place in zip(shown["list_id"], shown["version"], strict=True)]
    frame = _versions(store, _only(shown, list(map(or_, wrote, confirmed))), confirmations)
    made = [
        "written" if own else "confirmed" for own, equal in zip(wrote, confirmed, strict=True) if own or equal
    ]
    return frame.assign(made=typed("made", made))


def _only(columns: Mapping[str, Sequence[Any]], keep: Sequence[bool]) -> dict[str, Sequence[Any]]:
    return {name: list(compress(values, keep)) for name, values in columns.items()}


def _versions(
    store: Store, shown: Mapping[str, Sequence[Any]], confirmations: Iterable[Confirmation]
) -> pd.DataFrame:
    sessions = labels_of(store, shown["session_id"])
    confirmed = {(row.list_id, row.version): row.time for row in confirmations if row.rows is None}
    tags, taken = names_of_versions(store)
    ids, numbers = shown["list_id"], shown["version"]
    columns = {
        **shown,
        "total": shown["shown"],
        "session": list(map(sessions.get, shown["session_id"])),
        "confirmed": list(map(confirmed.get, zip(ids, numbers, strict=True))),
        "tags": [
            [*own, *tags.get((key, number), ())]
            for own, key, number in zip(shown["tags"], ids, numbers, strict=True)
        ],
        "snapshots": [list(taken.get(key, ())) for key in zip(ids, numbers, strict=True)],
    }
    return of_columns(VERSIONS, [columns[name] for name in VERSIONS], removed="Int64")


def names_of_versions(
    store: Store,
) -> tuple[Mapping[tuple[int, int], list[str]], Mapping[tuple[int, int], list[str]]]:
    """The tags, and the snapshots, that name each version, by (list id, number)."""
    tags: dict[tuple[int, int], list[str]] = defaultdict(list)
    taken: dict[tuple[int, int], list[str]] = defaultdict(list)
    for named in store.version_names():
        (taken if named.snapshot else tags)[named.list_id, named.version].append(named.name)
    return tags, taken


def snapshots(store: Store, names: Sequence[VersionName]) -> pd.DataFrame:
    """What snapshots name, a list a row."""
    sessions = labels_of(store, [entry.session_id for entry in names])
    rows = [
        (entry.name, entry.list, entry.version, entry.time, sessions.get(entry.session_id)) for entry in names
    ]
    return answer(SNAPSHOTS, rows)


def sessions(
    store: Store,
    sessions: Sequence[Session] | None = None,
    *,
    overview: Overview | None = None,
    info: bool = False,
) -> pd.DataFrame:
    """Return sessions, oldest first, with parameters and last metrics as columns; with `info`, also their environment."""
    if overview is None:
        overview = liveness.overview(
            store, None if sessions is None else [session.id for session in sessions]
        )
    sessions = overview.sessions if sessions is None else sessions
    parents = labels_of(store, [session.parent for session in sessions])
    reads = defaultdict(list)
    for session_id, name, version in store.reads([session.id for session in sessions]):
        reads[session_id].append(f"{name}@{version}")
    of_each: dict[str, list[Any]] = {name: list(map(attrgetter(name), sessions)) for name in STORED}
    of_each["session"] = [session.label for session in sessions]
    of_each["state"] = [session.state(overview.time) for session in sessions]
    of_each["parent"] = [parents.get(parent) for parent in of_each["parent"]]
    of_each["attempts"] = [session.attempt + 1 for session in sessions]
    of_each["tags"] = [list(tags) for tags in of_each["tags"]]
    of_each["reads"] = [reads[session.id] for session in sessions]
    frame = of_columns(SESSIONS, [of_each[name] for name in SESSIONS])
    if info:
        with_info = store.sessions([session.id for session in sessions], info=True)
        environments = [environment(session) for session in with_info]
        columns = answer(INFO, [[values.get(name) for name in INFO] for values in environments])
        frame = pd.concat([frame, columns], axis=1)
    frame = _with_params(frame, [flat(session.params) for session in sessions])
    return latest(store, frame, overview, [session.id for session in sessions])


def latest(store: Store, frame: pd.DataFrame, overview: Overview, ids: Sequence[int]) -> pd.DataFrame:
    """Add a column ``metrics.name`` for every metric that a session of `frame` has logged. Each row is a session."""
    distinct_ids, rows = np.unique(np.array(ids, dtype=np.int64), return_inverse=True)
    logged = overview.latest.filter(pc.is_in(overview.latest.column("session"), pa.array(distinct_ids)))
    if not len(logged):
        return frame
    metric = single(logged.column("metric")).dictionary_encode()
    names, codes = metric.dictionary.to_pylist(), metric.indices.to_numpy()
    session, value = logged.column("session").to_numpy(), logged.column("value").to_numpy()
    values = np.full((len(names), len(distinct_ids)), np.nan)
    values[codes, np.searchsorted(distinct_ids, session)] = value
    integers = integers_among(store, names, codes, session, value)
    by_name = dict(zip(names, values, strict=True))
    columns = {
        f"metrics.{name}": whole_numbers(by_name[name][rows]) if name in integers else by_name[name][rows]
        for name in sorted(by_name)
    }
    return pd.concat([frame, pd.DataFrame(columns, index=frame.index)], axis=1)


def environment(session: Session) -> dict[str, Any]:
    """Return the environment of a session: its info, with each part of the git state by its own name."""
    info = {name: value for name, value in session.info.items() if name not in ("git", "machine", "opening")}
    state = session.info.get("git") or {}
    if state:
        state = {**state, "recorded": "commit" in state}
    git = {f"git_{name}": value for name, value in state.items()}
    return info | git | {"host": session.host, "user": session.user, "pid": session.pid}


def curves(store: Store, sessions: Sequence[Session], metrics: Sequence[str] | None = None) -> pd.DataFrame:
    """Return every value that sessions logged: session, metric, step, time, value."""
    names = {session.id: session.label for session in sessions}
    table = store.measures(list(names), metrics=metrics).drop_columns("attempt")
    frame: pd.DataFrame = table.to_pandas(types_mapper={pa.int64(): pd.Int64Dtype()}.get)
    logged, values = frame["metric"].unique().tolist(), frame["value"].to_numpy()
    if len(values) and whole(values).all():
        integers = integer_metrics(store, {name: list(names) for name in logged})
        frame = frame if len(integers) < len(logged) else frame.assign(value=whole_numbers(values))
    return frame.assign(
        session=typed("session", [names[key] for key in frame["session"]]),
        metric=typed("metric", frame["metric"].to_list()),
    )


def cells(store: Store, sessions: Sequence[Session] | None) -> pd.DataFrame:
    """Return the code that sessions ran."""
    rows = store.cells(None if sessions is None else [session.id for session in sessions])
    names = labels_of(store, [cell.session_id for cell in rows])
    return answer(
        CELLS,
        [
            (
                *(names.get(cell.session_id), cell.cell, cell.text, cell.started, cell.duration_s),
                *(cell.outcome, cell.error, cell.traceback, cell.execution_count),
            )
            for cell in rows
        ],
    )


def sources(store: Store, sessions: Sequence[Session]) -> pd.DataFrame:
    """Return the project modules that sessions had imported."""
    names = {session.id: session.label for session in sessions}
    rows = store.sources(list(names))
    return answer(
        SOURCES, [(names[source.session_id], source.path, source.sha256, source.text) for source in rows]
    )


def descriptions(store: Store, *, history: bool = False) -> pd.DataFrame:
    """Return the descriptions of lists and of sessions (whose ``list`` is missing)."""
    descriptions = store.descriptions(history=history)
    names: dict[int | None, str] = {state.head.list_id: state.head.list for state in store.lists()}
    ids = [key for description in descriptions for key in (description.session_id, description.session_of)]
    people = labels_of(store, ids)
    rows = [
        (
            names.get(description.list_id),
            description.label,
            description.text,
            people.get(description.session_id),
            description.time,
            people.get(description.session_of),
        )
        for description in descriptions
    ]
    return answer((*DESCRIPTIONS, "about_session"), rows)


def files(store: Store, versions: Sequence[Version], *, positions: np.ndarray | None = None) -> pd.DataFrame:
    """Every file that a cell of these versions names; with `positions`, which are ascending, those of these rows."""
    columns = [
        (version, column)
        for version, schema in zip(versions, _schemas(store, versions), strict=True)
        for column in frames.columns(schema)
        if column.kind == "file"
    ]
    lines: list[tuple[Any, ...]] = []  # of a file by address `folder` is its tag
    for number, position, state in file_cells(store, columns, positions):
        version, column = columns[number]
        values = (state[name] for name in FILES[2:])
        beside = (None, state["folder"]) if is_address(state["path"]) else (state["folder"], None)
        lines.append((version.list, position, *values, column.label, *beside))
    return answer((*FILES, "column", "folder", "tag"), lines)


def _schemas(store: Store, versions: Sequence[Version]) -> list[pa.Schema]:
    schemas = store.schemas({version.schema_id for version in versions})
    return [schemas[version.schema_id] for version in versions]


def file_cells(
    store: Store,
    columns: Sequence[tuple[Version, frames.Column]],
    positions: np.ndarray | None = None,
) -> Iterable[tuple[int, int, dict[str, Any]]]:
    """(number of the column, position, what is kept about the file) for every cell that is not missing."""
    schemas = [reading.wanted_schema(store, version, [column.label]) for version, column in columns]
    requests = [
        ScanRequest(version, tuple(schema.names), positions)
        for (version, _), schema in zip(columns, schemas, strict=True)
    ]
    for number, chunk in store.scan_many(requests):
        chunk = living(chunk)
        cells = aligned(chunk, schemas[number]).column(columns[number][1].field).to_pylist()
        for position, state in zip(chunk.positions, cells, strict=True):
            if state is not None:
                yield number, position, state


def labels_of(store: Store, ids: Iterable[int | None]) -> dict[int | None, str]:
    """``name#run`` of sessions, by id. Neither ever changes, and no id is given twice: what was looked up is kept."""
    cache = _labels.setdefault(store, {})
    keys = {key for key in ids if key is not None}
    labels: dict[int | None, str] = {key: cache[key] for key in keys if key in cache}
    if lacking := sorted(keys - labels.keys()):
        sessions = store.session_labels(lacking)
        labels |= {session.id: session.label for session in sessions}
        if len(cache) < KEPT_LABELS:
            cache |= {session.id: session.label for session in sessions}
    return labels
