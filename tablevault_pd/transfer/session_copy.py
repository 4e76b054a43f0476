"""Sessions of one vault in another: what they were, ran and logged, and the code that made rows."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from tablevault_pd.store import NO_STEP, Beat, Measures
from tablevault_pd.store.session_types import same_session

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping

    from tablevault_pd.store import Session, Store, WrittenCode

SESSIONS_AT_ONCE = 100  # whose cells and metrics are read at a time
POINTS_AT_ONCE = 100_000  # logged values of a metric that are written at a time


def copy_sessions(source: Store, target: Store, chosen: Collection[int] | None) -> dict[int, int]:
    """Bring sessions, or all, up to date in the target. Return the id there of each."""
    present: dict[str, list[Session]] = {}
    for session in target.sessions(info=True):
        present.setdefault(session.name, []).append(session)
    timelines = source.timelines().stored()
    stored = target.timelines().stored()
    ids: dict[int, int] = {}
    for session in source.sessions(info=True):
        if chosen is not None and session.id not in chosen:
            continue
        moved = replace(session, parent=ids.get(session.parent or 0))
        timeline = timelines.get(session.id, {})
        there = same_session(session, present.get(session.name, ()))
        if there is None or not _is_up_to_date(there, moved) or stored.get(there.id, {}) != timeline:
            there = target.put_session(moved, timeline)
        ids[session.id] = there.id
    for part in _parts(ids):
        _copy_records(source, target, part)
    return ids


def _is_up_to_date(there: Session, session: Session) -> bool:
    same = replace(session, id=there.id, run=there.run, tags=there.tags)
    return there == same and set(there.tags) >= set(session.tags)


def _parts(ids: Mapping[int, int]) -> Iterator[dict[int, int]]:
    """Yield the ids of some sessions at a time."""
    numbers = list(ids)
    for first in range(0, len(numbers), SESSIONS_AT_ONCE):
        yield {number: ids[number] for number in numbers[first : first + SESSIONS_AT_ONCE]}


def _copy_records(source: Store, target: Store, ids: Mapping[int, int]) -> None:
    """Copy the cells, modules and metrics of some sessions that the target does not have."""
    cells = {(cell.session_id, cell.cell): cell for cell in target.cells(list(ids.values()))}
    modules = set(target.sources(list(ids.values())))
    beats: dict[int, Beat] = {}
    for cell in source.cells(list(ids)):
        moved = replace(cell, session_id=ids[cell.session_id])
        if cells.get((moved.session_id, moved.cell)) != moved:
            beat = beats.get(moved.session_id, Beat(moved.session_id))
            beats[moved.session_id] = replace(beat, cells=(*beat.cells, moved))
    for module in source.sources(list(ids)):
        own = replace(module, session_id=ids[module.session_id])
        if own not in modules:
            beat = beats.get(own.session_id, Beat(own.session_id))
            beats[own.session_id] = replace(beat, sources=(*beat.sources, own))
    if beats:
        target.beat(list(beats.values()))
    counts = logged_counts(target, ids.values())
    for session, metric, attempt, steps, times, values in _series(source, ids):
        place = ids[session], metric, attempt
        add_metric(target, place, counts.get(place, 0), steps, times, values)


def logged_counts(store: Store, sessions: Iterable[int]) -> dict[tuple[int, str, int], int]:
    """Return how many values were logged, by session, metric and attempt."""
    return {
        (session, metric, attempt): len(values)
        for session, metric, attempt, *_, values in _series(store, sessions)
    }


def add_metric(
    store: Store,
    place: tuple[int, str, int],
    first: int,
    steps: np.ndarray,
    times: np.ndarray,
    values: np.ndarray,
) -> None:
    """Log the values of a metric (session, name, attempt) from number `first` on, at the end of those that are there."""
    session, metric, attempt = place
    for start in range(first, len(values), POINTS_AT_ONCE):
        part = slice(start, start + POINTS_AT_ONCE)
        block = Measures(session, metric, steps[part], times[part], values[part], attempt, block=start)
        store.beat([Beat(session, number=1, measures=(block,))])


def _series(
    store: Store, sessions: Iterable[int]
) -> Iterator[tuple[int, str, int, np.ndarray, np.ndarray, np.ndarray]]:
    """Yield session, metric, attempt, steps, times and values of what was logged, in order."""
    table = store.measures(list(sessions)).combine_chunks()
    if not len(table):
        return
    metrics = table["metric"].unify_dictionaries().chunk(0)
    names, codes = metrics.dictionary.to_pylist(), metrics.indices.to_numpy()
    ids, attempts = table["session"].to_numpy(), table["attempt"].to_numpy()
    steps = table["step"].fill_null(NO_STEP).to_numpy()
    times, values = table["time"].cast("int64").to_numpy(), table["value"].to_numpy()
    changes = (np.diff(ids) != 0) | (np.diff(codes) != 0) | (np.diff(attempts) != 0)
    starts = np.append(0, np.flatnonzero(changes) + 1)
    for start, stop in zip(starts.tolist(), [*starts[1:].tolist(), len(ids)], strict=True):
        place = int(ids[start]), names[codes[start]], int(attempts[start])
        yield *place, steps[start:stop], times[start:stop], values[start:stop]


def copy_code(
    source: Store, target: Store, places: Collection[tuple[int, int, int]], ids: Mapping[int, int]
) -> None:
    """Copy the slices of these places (session, cell, line), and of all that each session executed."""
    writers = sorted({*places, *((session, -1, 0) for session in ids)})
    for first in range(0, len(writers), SESSIONS_AT_ONCE):
        code = [
            _moved(piece, ids) for piece in source.written_code(writers[first : first + SESSIONS_AT_ONCE])
        ]
        present = target.written_code([(piece.session_id, piece.cell, piece.line) for piece in code])
        if code and set(present) != set(code):
            target.put_code(code)


def _moved(code: WrittenCode, ids: Mapping[int, int]) -> WrittenCode:
    parts = (
        replace(part, session_id=None if part.session_id is None else ids.get(part.session_id))
        for part in code.parts
    )
    return replace(code, session_id=ids[code.session_id], parts=tuple(parts))
