"""Heartbeats, requests to sessions, and what sessions measured, as documents.

A beat is one statement, however much it tells: on one server it happens as a whole or not at all. Every document in it
has a key that follows from its content, so a beat that comes again, because its answer was lost, changes nothing more.
"""

from __future__ import annotations

import uuid
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from tablevault_pd.errors import SessionContinued, SessionNotFound
from tablevault_pd.store import (
    NO_STEP,
    Beat,
    BeatResponse,
    ControlRequest,
    Measures,
    ModuleSource,
    Overview,
    Timelines,
)
from tablevault_pd.store.arango.code import code_documents
from tablevault_pd.store.arango.records import attributes_of, reads, record_of
from tablevault_pd.store.arango.server_errors import NOT_FOUND, ExpectedError
from tablevault_pd.store.arango.sessions import (
    ALL_SESSIONS,
    RESUMED,
    SESSIONS_BY_ID,
    SESSIONS_NAMED,
    attempt_of,
    cell_document,
    changed,
    continued_by,
    digest_of,
    to_session,
)
from tablevault_pd.store.arango.terms import code_words
from tablevault_pd.store.engine.measures import MEASURES_SCHEMA, measures_table
from tablevault_pd.store.times import to_time

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tablevault_pd.store import ControlKind
    from tablevault_pd.store.arango.client import Client

PART_ROWS = 1000  # values that one beat adds to one document: some 50 kB
PAGE_ROWS = 2000  # documents of logged values in one answer
BEAT_WAIT_S = 30.0  # nobody waits for a beat, and one of many values takes long

# All statements: 3.12 now; nothing in them is newer than 3.8 (overwriteMode: 3.7), and nothing is removed in 4.0.
# A statement reads a collection before it writes it, and writes it at one place: more the server does not allow.
PULSE = """
RETURN {
  now: DATE_NOW() * 1000,
  waiting: (FOR r IN tv_requests FILTER r.session IN @ids AND r.acknowledged == null SORT r.id RETURN r)
}
"""
# No waitForSync: should the server crash, the next beat tells it again.
ALIVE = """
LET now = DATE_NOW() * 1000
LET waiting = (FOR r IN tv_requests FILTER r.session IN @ids AND r.acknowledged == null SORT r.id RETURN r)
LET before = MERGE(FOR s IN tv_sessions FILTER s._key IN @alive[*].key RETURN {[s._key]: s.openings})
LET beats = (
  FOR a IN @alive
    LET refused = a.openings != null AND a.openings != before[a.key]
    UPDATE {_key: refused ? "resumed" : a.key} WITH {heartbeat: now} IN tv_sessions
)
RETURN {now, waiting}
"""
# The sessions come first: an unknown one fails the statement before it wrote anything, and so does one whose next attempt has
# begun, for which a key is put that is unknown. An info may come after that, and is left out. A block of logged values grows by
# what is new in it: a beat of a number that it has seen comes again.
BEAT = """
LET now = DATE_NOW() * 1000
LET waiting = (
  FOR r IN tv_requests
    FILTER r.session IN @ids AND r.acknowledged == null AND r._key NOT IN @answered
    SORT r.id
    RETURN r
)
LET before = MERGE(
  FOR s IN tv_sessions FILTER s._key IN @beats[*].key RETURN {[s._key]: {timeline: s.timeline, openings: s.openings}}
)
LET sessions = (
  FOR b IN @beats
    LET refused = b.openings != null AND b.openings != before[b.key].openings AND !b.info
    LET timeline = b.timeline == null ? {} : {timeline: MERGE_RECURSIVE(before[b.key].timeline, b.timeline)}
    UPDATE {_key: refused ? "resumed" : b.key}
      WITH MERGE(b.changes, timeline, b.alive ? {heartbeat: now} : {}, b.ends ? {ended: now, heartbeat: now} : {})
      IN tv_sessions OPTIONS {keepNull: true, mergeObjects: false, waitForSync: true}
)
LET infos = (
  FOR i IN @infos
    FILTER i.openings == null OR i.openings == before[i.document._key].openings
    INSERT i.document INTO tv_infos OPTIONS {overwriteMode: "replace", waitForSync: true}
)
LET cells = (FOR c IN @cells INSERT MERGE(c, {saved: now}) INTO tv_cells OPTIONS {overwriteMode: "replace", waitForSync: true})
LET measures = (
  FOR m IN @measures
    UPSERT {_key: m._key}
      INSERT m
      UPDATE m.number <= OLD.number ? {} : {
        number: m.number,
        steps: APPEND(OLD.steps, m.steps),
        times: APPEND(OLD.times, m.times),
        values: APPEND(OLD.values, m.values)
      }
      IN tv_measures OPTIONS {waitForSync: true}
)
LET latest = (FOR l IN @latest INSERT l INTO tv_latest OPTIONS {overwriteMode: "replace", waitForSync: true})
LET sources = (
  FOR s IN @sources INSERT MERGE(s, {saved: now}) INTO tv_sources OPTIONS {overwriteMode: "ignore", waitForSync: true}
)
LET imports = (
  FOR s IN @imports INSERT s INTO tv_session_sources OPTIONS {overwriteMode: "ignore", waitForSync: true}
)
LET statements = (
  FOR s IN @statements INSERT MERGE(s, {saved: now}) INTO tv_statements OPTIONS {overwriteMode: "ignore", waitForSync: true}
)
LET slices = (FOR s IN @slices INSERT s INTO tv_slices OPTIONS {overwriteMode: "ignore", waitForSync: true})
LET written = (FOR w IN @written INSERT w INTO tv_written_code OPTIONS {overwriteMode: "replace", waitForSync: true})
LET answered = (
  FOR r IN tv_requests
    FILTER r._key IN @answered AND r.acknowledged == null
    UPDATE r WITH {acknowledged: now} IN tv_requests OPTIONS {waitForSync: true}
)
RETURN {now, waiting}
"""
# The token tells a request that was made by a call whose answer was lost from one that somebody else made.
ASK = (
    RESUMED
    + """
LET now = DATE_NOW() * 1000
LET seen = (
  FOR s IN tv_sessions
    FILTER s.id IN @ids AND s.outcome == null AND LENGTH(resumed) == 0
    SORT s.id
    LET mine = FIRST(FOR r IN tv_requests FILTER r.session == s.id AND r.token == @token RETURN r)
    LET last = FIRST(
      FOR r IN tv_requests FILTER r.session == s.id AND r.acknowledged == null SORT r.id DESC LIMIT 1 RETURN r
    )
    RETURN {session: s.id, request: mine != null ? mine : (last.request == @request ? last : null)}
)
LET fresh = (FOR one IN seen FILTER one.request == null RETURN one.session)
LET first = FIRST(
  FOR m IN tv_meta
    FILTER m._key == "requests" AND LENGTH(fresh) > 0
    UPDATE m WITH {value: m.value + LENGTH(fresh)} IN tv_meta
    RETURN OLD.value
)
LET made = (
  FOR n IN (LENGTH(fresh) == 0 ? [] : RANGE(0, LENGTH(fresh) - 1))
    LET id = first + 1 + n
    LET request = {_key: TO_STRING(id), id: id, session: fresh[n], request: @request, requested: now,
      acknowledged: null, exit_code: @exit_code, asked_by: @asked_by, token: @token}
    INSERT request INTO tv_requests OPTIONS {waitForSync: true}
    RETURN request
)
LET requests = (
  FOR r IN APPEND(made, seen[* FILTER CURRENT.request != null].request)
    SORT r.session
    RETURN r
)
RETURN {requests, resumed}
"""
)
REQUESTS_BY_KEY = "FOR r IN tv_requests FILTER r._key IN @keys SORT r.id RETURN r"
_LATEST = "(@digests == null OR l.digest IN @digests) RETURN [l.session, l.metric, l.value]"
OVERVIEW = f"""
LET sessions = ({ALL_SESSIONS})
LET latest = (FOR l IN tv_latest FILTER l.session > 0 AND {_LATEST})
RETURN {{now: DATE_NOW() * 1000, sessions, latest}}
"""
OVERVIEW_BY_ID = f"""
LET sessions = ({SESSIONS_BY_ID})
LET latest = (FOR l IN tv_latest FILTER l.session IN @ids AND {_LATEST})
RETURN {{now: DATE_NOW() * 1000, sessions, latest}}
"""
OVERVIEW_NAMED = f"""
LET sessions = ({SESSIONS_NAMED})
LET ids = sessions[*].id
LET latest = (FOR l IN tv_latest FILTER l.session IN ids AND {_LATEST})
RETURN {{now: DATE_NOW() * 1000, sessions, latest}}
"""
# Metrics are looked up by the hash of their name, because the server compares texts by the rules of a language.
_MEASURED = 'RETURN UNSET(m, "_id", "_rev", "digest")'
ALL_MEASURES = f"FOR m IN tv_measures FILTER m.session > 0 {_MEASURED}"
MEASURES_AFTER = """
FOR m IN tv_measures
  FILTER m._key > @after AND m.session > 0
  SORT m._key LIMIT @page
  RETURN MERGE(m, {label: FIRST(FOR s IN tv_sessions FILTER s.id == m.session RETURN CONCAT(s.name, "#", s.run))})
"""
MEASURES_OF = f"FOR m IN tv_measures FILTER m.session IN @ids {_MEASURED}"
MEASURES_NAMED = f"FOR m IN tv_measures FILTER m.digest IN @digests {_MEASURED}"
MEASURES_OF_NAMED = f"FOR m IN tv_measures FILTER m.digest IN @digests AND m.session IN @ids {_MEASURED}"
_NAMES = "COLLECT digest = l.digest INTO named = l.metric RETURN FIRST(named)"
METRIC_NAMES = f"FOR l IN tv_latest FILTER l.session > 0 {_NAMES}"
METRIC_NAMES_OF = f"FOR l IN tv_latest FILTER l.session IN @ids {_NAMES}"
ALL_TIMELINES = "FOR s IN tv_sessions FILTER s.id > 0 SORT s.id RETURN [s.id, s.timeline]"
TIMELINES_OF = "FOR s IN tv_sessions FILTER s.id IN @ids SORT s.id RETURN [s.id, s.timeline]"
SOURCES_OF = """
FOR i IN tv_session_sources
  FILTER i.session IN @ids
  FOR s IN tv_sources
    FILTER s._key == i.sha256
    RETURN {session: i.session, path: i.path, sha256: i.sha256, text: s.text, module: i.module, cell: i.cell}
"""
Document = dict[str, Any]


class SessionControl:
    """What keeps sessions alive, and what they are told."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def beat(self, beats: Sequence[Beat]) -> BeatResponse:
        """Write what sessions have to tell and return what is asked of them."""
        ids = [beat.session_id for beat in beats]
        news = [beat for beat in beats if not beat.is_empty]
        if not news:
            [answer] = self._client.query(PULSE, ids=ids)
        else:
            self._client.writable()
            [answer] = self._tell(ids, news)
        return BeatResponse(to_time(answer["now"]), tuple(request_of(row) for row in answer["waiting"]))

    def _tell(self, ids: Sequence[int], beats: Sequence[Beat]) -> list[Any]:
        wait_s = max(BEAT_WAIT_S, self._client.timeout_s)
        try:
            if not any(beat.has_news for beat in beats):
                alive = [{"key": str(beat.session_id), "openings": _openings(beat)} for beat in beats]
                return self._client.query(ALIVE, ids=ids, alive=alive, expect=(NOT_FOUND,), wait_s=wait_s)
            return self._client.query(
                BEAT, ids=ids, binds=_telling(beats), expect=(NOT_FOUND,), wait_s=wait_s
            )
        except ExpectedError:
            rows = self._client.query(SESSIONS_BY_ID, ids=ids)
            now = {session.id: session for session in map(to_session, rows)}
            for beat in beats:
                session = now.get(beat.session_id)
                if session is not None and beat.attempt not in (None, session.attempt):
                    raise SessionContinued.by(session.label, session.pid, session.host) from None
            named = ", ".join(str(beat.session_id) for beat in beats)
            raise SessionNotFound(
                f"Of the sessions with the ids {named}, some are not in this vault."
            ) from None

    def ask(
        self,
        session_ids: Sequence[int],
        request: ControlKind,
        *,
        exit_code: int = 0,
        asked_by: int | None = None,
        attempt: int | None = None,
    ) -> list[ControlRequest]:
        """Ask something of sessions."""
        [answer] = self._client.write(
            ASK,
            ids=[int(key) for key in session_ids],
            request=request,
            exit_code=exit_code,
            asked_by=asked_by,
            token=uuid.uuid4().hex,
            binds=attempt_of(asked_by, attempt),
        )
        for resumed in answer["resumed"]:
            raise continued_by(resumed)
        return [request_of(row) for row in answer["requests"]]

    def requests(self, ids: Sequence[int]) -> list[ControlRequest]:
        """Requests by id."""
        rows = self._client.query(REQUESTS_BY_KEY, keys=[str(int(key)) for key in ids])
        return [request_of(row) for row in rows]

    def overview(
        self,
        ids: Sequence[int] | None = None,
        *,
        name: str | None = None,
        metrics: Sequence[str] | None = None,
    ) -> Overview:
        """Sessions with their last metrics."""
        digests = None if metrics is None else [digest_of(metric) for metric in metrics]
        if ids is None and name is not None:
            [answer] = self._client.query(OVERVIEW_NAMED, digest=digest_of(name), digests=digests)
        else:
            [answer] = self._client.query_of(ids, OVERVIEW, OVERVIEW_BY_ID, digests=digests)
        sessions = [to_session(row) for row in answer["sessions"]]
        return Overview(to_time(answer["now"]), sessions, _last_values(answer["latest"]))

    def measures(
        self, session_ids: Sequence[int] | None = None, *, metrics: Sequence[str] | None = None
    ) -> pa.Table:
        """Every logged value."""
        if metrics is None:
            rows = self._client.query_of(session_ids, ALL_MEASURES, MEASURES_OF, batch_rows=PAGE_ROWS)
        else:
            options = {"digests": [digest_of(metric) for metric in metrics], "batch_rows": PAGE_ROWS}
            rows = self._client.query_of(session_ids, MEASURES_NAMED, MEASURES_OF_NAMED, **options)
        return measured(rows)

    def metric_names(self, session_ids: Sequence[int] | None = None) -> list[str]:
        """Names of metrics."""
        return sorted(self._client.query_of(session_ids, METRIC_NAMES, METRIC_NAMES_OF))

    def timelines(self, session_ids: Sequence[int] | None = None) -> Timelines:
        """Attempts and pauses."""
        return Timelines.of(self._client.query_of(session_ids, ALL_TIMELINES, TIMELINES_OF))

    def sources(self, session_ids: Sequence[int]) -> list[ModuleSource]:
        """Imported project modules."""
        rows = self._client.query(SOURCES_OF, ids=[int(key) for key in session_ids])
        sources = list(map(_source, rows))
        return sorted(sources, key=lambda source: (source.session_id, source.path, source.cell))


@reads("tv_requests")
def request_of(row: Document) -> ControlRequest:
    """The request that a document stands for."""
    return record_of(ControlRequest, row)


@reads("tv_session_sources")
def _source(row: Document) -> ModuleSource:
    return record_of(ModuleSource, row)


def _telling(beats: Sequence[Beat]) -> dict[str, Any]:
    """The values of :data:`BEAT`."""
    sessions: list[Document] = []
    infos: list[Document] = []
    for beat in beats:
        fields, info = changed(beat.session_id, beat.changes)
        if beat.paused is not None:
            fields["paused"] = beat.paused
        if beat.outcome is not None:
            fields |= {"paused": False, "outcome": beat.outcome, "error": beat.error}
        key, ends = str(beat.session_id), beat.outcome is not None
        timeline = {str(beat.attempt or 0): dict(beat.timeline)} if beat.timeline else None
        which = {"key": key, "openings": _openings(beat), "info": beat.tells_only_info}
        sessions.append({**which, "changes": fields, "timeline": timeline, "alive": beat.alive, "ends": ends})
        infos += [{"document": document, "openings": _openings(beat)} for document in info]
    measures = [(beat.number, one) for beat in beats for one in beat.measures]
    sources = [(beat.session_id, source) for beat in beats for source in beat.sources]
    return {
        "beats": sessions,
        "infos": infos,
        "cells": [cell_document(cell) for beat in beats for cell in beat.cells],
        "measures": [part for number, one in measures for part in _parts(number, one)],
        "latest": _by_key(_latest(one) for _, one in measures if len(one.values)),
        "sources": _by_key(
            {"_key": source.sha256, "text": source.text, **code_words(source.text)} for _, source in sources
        ),
        **code_documents([code for beat in beats for code in beat.code]),
        "imports": _by_key(_import(session_id, source) for session_id, source in sources),
        "answered": [str(key) for beat in beats for key in beat.answered],
    }


def _openings(beat: Beat) -> int | None:
    """How often the session of a beat was opened, by what its process knows."""
    return None if beat.attempt is None else beat.attempt + 1


def _parts(number: int, measures: Measures) -> list[Document]:
    """One metric's values of one beat, as documents of numbers that can be read."""
    return [
        _part(number, part, measures, slice(start, start + PART_ROWS))
        for part, start in enumerate(range(0, len(measures.values), PART_ROWS))
    ]


def _part(number: int, part: int, measures: Measures, window: slice) -> Document:
    digest = digest_of(measures.metric)
    return {
        **{name: value for name, value in attributes_of(measures).items() if name != "integers"},
        "_key": f"{measures.session_id}-{measures.attempt}-{measures.block}-{part}-{digest}",
        "digest": digest,
        "part": part,
        "number": number,
        "steps": [None if step == NO_STEP else step for step in measures.steps[window].tolist()],
        "times": measures.times[window].tolist(),
        "values": [_number(value) for value in measures.values[window].tolist()],
    }


def _latest(measures: Measures) -> Document:
    step, digest = int(measures.steps[-1]), digest_of(measures.metric)
    return {
        "_key": f"{measures.session_id}-{digest}",
        "session": measures.session_id,
        "metric": measures.metric,
        "digest": digest,
        "step": None if step == NO_STEP else step,
        "time": int(measures.times[-1]),
        "value": _number(float(measures.values[-1])),
    }


def _import(session_id: int, source: ModuleSource) -> Document:
    path = digest_of(f"{source.sha256} {source.cell} {source.path}")
    document = attributes_of(source) | {"_key": f"{session_id}-{path}", "session": session_id}
    del document["text"]
    return document


def _by_key(documents: Any) -> list[Document]:
    """Each document once; the last one of a key counts."""
    return list({document["_key"]: document for document in documents}.values())


def _number(value: float) -> float | str:
    """A value as JSON knows it: NaN and the infinities are texts."""
    return value if np.isfinite(value) else str(value)


def _floats(values: Sequence[float | str]) -> np.ndarray:
    """The values again, whatever the server made of 1.0."""
    return np.array([float(value) for value in values], dtype=np.float64)


@reads("tv_latest")
def _last_values(rows: Sequence[Sequence[Any]]) -> pa.Table:
    sessions, metrics, values = ([row[at] for row in rows] for at in range(3))
    return pa.table(
        {
            "session": pa.array(sessions, pa.int64()),
            "metric": pa.array(metrics, pa.string()),
            "value": pa.array(_floats(values)),
        }
    )


_MEASURED_BY = ("session", "metric", "attempt", "block", "part")


@reads("tv_measures")
def measured(rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    """The logged values that documents hold."""
    if not rows:
        return MEASURES_SCHEMA.empty_table()
    columns = [{type(row[name]) for row in rows} for name in _MEASURED_BY]
    if columns != [{int}, {str}, {int}, {int}, {int}]:
        raise TypeError("what it was logged by is of another type")
    rows = sorted(rows, key=itemgetter(*_MEASURED_BY))
    sessions, metrics, attempts = ([row[name] for row in rows] for name in _MEASURED_BY[:3])
    sizes, *others = ([len(row[name]) for row in rows] for name in ("values", "steps", "times"))
    if others != [sizes, sizes]:
        raise ValueError("it has other numbers of steps, times and values")
    return measures_table(
        (sessions, metrics, attempts, sizes),
        pa.array([step for row in rows for step in row["steps"]], pa.int64()),
        np.concatenate([np.array(row["times"], dtype=np.int64) for row in rows]),
        _floats([value for row in rows for value in row["values"]]),
    )
