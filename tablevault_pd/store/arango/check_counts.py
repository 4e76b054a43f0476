"""What is kept beside what it follows from: the numbers that were given last, and the last values of metrics."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tablevault_pd.store import Problem
from tablevault_pd.store.arango.strays import PAGE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tablevault_pd.store.arango.client import Client

MOST = 1 << 53  # numbers above are not whole on the server

# All statements: 3.12; nothing in them is newer than 3.8. Documents of other programs have no number, or a text, or one that no
# counter reaches.
COUNTERS = """
LET highest = {
  lists: MAX(FOR l IN tv_lists FILTER l.id > 0 AND l.id < @most SORT l.id DESC LIMIT 1 RETURN l.id),
  sessions: MAX(FOR s IN tv_sessions FILTER s.id > 0 AND s.id < @most SORT s.id DESC LIMIT 1 RETURN s.id),
  descriptions: MAX(FOR d IN tv_descriptions FILTER d.seq >= 0 AND d.seq < @most SORT d.seq DESC LIMIT 1 RETURN d.seq + 1),
  requests: MAX(FOR r IN tv_requests FILTER r.id > 0 AND r.id < @most RETURN r.id),
  confirmations: MAX(FOR c IN tv_confirmations FILTER c.seq > 0 AND c.seq < @most RETURN c.seq)
}
FOR name IN ATTRIBUTES(highest, false, true)
  LET value = DOCUMENT("tv_meta", name).value
  LET least = CEIL(NOT_NULL(highest[name], 0))
  FILTER !IS_NUMBER(value) OR value < least OR value != FLOOR(value)
  RETURN [name, value, least]
"""
MEND_COUNTERS = """
FOR w IN @wrong
  UPSERT {_key: w[0]} INSERT {_key: w[0], value: w[2]}
    UPDATE {value: IS_NUMBER(OLD.value) ? MAX([CEIL(OLD.value), w[2]]) : w[2]} IN tv_meta
"""
SESSIONS_AFTER = """
FOR s IN tv_sessions
  FILTER s.id > @after AND s.id < ""
  SORT s.id
  LIMIT @page
  RETURN [s.id, CONCAT(s.name, "#", s.run)]
"""
# The last value of a metric is that of its last attempt, or of an earlier one that had not ended then.
LATEST = """
LET ends = (
  FOR m IN tv_measures
    FILTER m.session IN @ids AND m.metric != null AND LENGTH(m.values) > 0
    SORT m.attempt, m.block, m.part
    COLLECT session = m.session, digest = m.digest, attempt = m.attempt
      INTO parts = {metric: m.metric, step: LAST(m.steps), time: LAST(m.times), value: LAST(m.values)}
    LET end = LAST(parts)
    RETURN MERGE({_key: CONCAT(session, "-", digest), session, digest}, end)
)
LET latest = (FOR l IN tv_latest FILTER l.session IN @ids OR l._key IN ends[*]._key RETURN l)
RETURN {ends, latest}
"""
# Unless a session has told another one meanwhile.
MEND_LATEST = """
FOR w IN @wrong
  LET there = DOCUMENT("tv_latest", w.document._key)
  FILTER there._rev == w.revision
  INSERT w.document INTO tv_latest OPTIONS {overwriteMode: "replace"}
"""


def wrong_counts(client: Client, *, fix: bool) -> Iterator[Problem]:
    """Yield what does not follow from what is there; with `fix` it is counted again."""
    yield from _counters(client, fix=fix)
    after = 0
    while page := client.query(SESSIONS_AFTER, after=after, page=PAGE):
        yield from _latest(client, dict(page), fix=fix)
        after = page[-1][0]


def _counters(client: Client, *, fix: bool) -> Iterator[Problem]:
    wrong = client.query(COUNTERS, most=MOST)
    if wrong and fix:
        client.query(MEND_COUNTERS, wrong=wrong)
    for name, value, least in wrong:
        detail = f"{least} numbers were given, and {value} are counted: the next one would be given twice"
        yield Problem("damage", "damaged counter", path=f"tv_meta/{name}", detail=detail, fixed=fix)


def _latest(client: Client, sessions: dict[int, str], *, fix: bool) -> Iterator[Problem]:
    [answer] = client.query(LATEST, ids=list(sessions))
    ends: dict[str, list[dict[str, Any]]] = {}
    for end in answer["ends"]:
        ends.setdefault(end["_key"], []).append(end)
    latest = {document["_key"]: document for document in answer["latest"]}
    wrong = [
        {"document": ends[key][-1], "revision": latest.get(key, {}).get("_rev")}
        for key in ends
        if not any(_same(latest.get(key), end) for end in ends[key])
    ]
    if wrong and fix:
        client.query(MEND_LATEST, wrong=wrong)
    for one in wrong:
        document = one["document"]
        session, path = sessions[document["session"]], f"tv_latest/{document['_key']}"
        detail = f"the last value of {document['metric']!r} in {session} is {document['value']}"
        yield Problem("damage", "damaged last value", path=path, detail=detail, fixed=fix)
    for key in latest.keys() - ends.keys():
        detail = f"no value of {latest[key]['metric']!r} is there in {sessions[latest[key]['session']]}"
        yield Problem("damage", "missing logged values", path=f"tv_latest/{key}", detail=detail)


def _same(document: dict[str, Any] | None, end: dict[str, Any]) -> bool:
    return document is not None and all(document.get(name) == value for name, value in end.items())
