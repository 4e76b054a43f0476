"""Slices and confirmations as documents, and searching the code of slices and of whole sessions.

A statement and a slice have their content as key, so that each is there once.
"""

from __future__ import annotations

import json
from dataclasses import replace
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import numpy as np

from tablevault_pd.store.arango.code_search import keys_of
from tablevault_pd.store.arango.records import attributes_of, reads, record_of
from tablevault_pd.store.arango.sessions import RESUMED, attempt_of, continued_by
from tablevault_pd.store.arango.terms import code_words
from tablevault_pd.store.engine.slices import cells_of, code_of, stored_part
from tablevault_pd.store.session_types import Confirmation, Part, WrittenCode, runs_together
from tablevault_pd.store.text_query import matching_ids, needs_everything

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tablevault_pd.store.arango.client import Client
    from tablevault_pd.store.arango.code_search import CodeSearch
    from tablevault_pd.store.text_query import Leaf, Node

# All statements: 3.12; nothing in them is newer than 3.10.
PUT_CODE = """
LET statements = (
  FOR s IN @statements
    INSERT MERGE(s, {saved: DATE_NOW() * 1000}) INTO tv_statements OPTIONS {overwriteMode: "ignore", waitForSync: true}
)
LET slices = (FOR s IN @slices INSERT s INTO tv_slices OPTIONS {overwriteMode: "ignore", waitForSync: true})
FOR w IN @written INSERT w INTO tv_written_code OPTIONS {overwriteMode: "replace", waitForSync: true}
"""
WRITTEN = """
FOR w IN tv_written_code
  FILTER w._key IN @keys
  LET slice = DOCUMENT("tv_slices", w.slice)
  RETURN {session: w.session, cell: w.cell, line: w.line, parts: slice.parts, unresolved: slice.unresolved}
"""
STATEMENTS = """
RETURN {
  statements: (FOR s IN tv_statements FILTER s._key IN @keys RETURN [s._key, [s.path, s.kind, s.names, s.text, s.tree]]),
  counts: (
    FOR c IN tv_cells FILTER c._key IN @cells AND c.execution_count != null
      RETURN [c.session, c.cell, c.execution_count]
  )
}
"""
SLICES_OF = """
LET held = (
  FOR key IN @keys
    FOR s IN tv_slices
      FILTER key IN s.statements[*]
      RETURN [s._key, key]
)
LET others = (FOR s IN tv_slices FILTER @everything RETURN [s._key, null])
LET unresolved = (
  FOR s IN tv_slices
    FILTER s.open == true
    FOR w IN tv_written_code
      FILTER w.slice == s._key
      RETURN [w.session, w.cell, w.line]
)
LET running = (
  FOR s IN tv_sessions
    FILTER s.outcome == null
    FILTER LENGTH(FOR w IN tv_written_code FILTER w._key == CONCAT(s._key, "--1-0") RETURN 1) == 0
    RETURN [s.id, -1, 0]
)
LET unsliced = (
  FOR b IN tv_batches
    FILTER b.cell != null AND b.line == null
    RETURN DISTINCT [b.session, b.cell]
)
RETURN {held, others, open: APPEND(unresolved, running), unsliced}
"""
PLACES = "FOR w IN tv_written_code FILTER w.slice IN @keys RETURN [w.session, w.cell, w.line]"
SESSIONS_OF = """
LET imports = (FOR i IN tv_session_sources FILTER i.sha256 IN @keys RETURN [i.sha256, i.session])
LET sessions = (FOR s IN tv_sessions FILTER @everything RETURN s.id)
RETURN {imports, sessions}
"""
# Rows that one place confirmed before are still confirmed by it. Also with the batch of a commit.
CONFIRMED = """
LET confirmed = (
  FOR confirmation IN @confirmations
    FILTER may
    LET before = FIRST(FOR c IN tv_confirmations FILTER c._key == confirmation._key RETURN c)
    LET rows = before == null ? confirmation.rows
      : before.rows == null || confirmation.rows == null ? null : UNION_DISTINCT(before.rows, confirmation.rows)
    FOR m IN tv_meta
      FILTER m._key == "confirmations"
      UPDATE m WITH {value: m.value + 1} IN tv_meta
      INSERT MERGE(confirmation, {seq: NEW.value, rows, time: NOT_NULL(confirmation.time, DATE_NOW() * 1000)})
        INTO tv_confirmations OPTIONS {overwriteMode: "replace", waitForSync: true}
)
"""
CONFIRM = RESUMED + "LET may = LENGTH(resumed) == 0" + CONFIRMED + "FOR by IN resumed RETURN by"
CONFIRMATIONS_OF = """
FOR c IN tv_confirmations FILTER @lists == null ? c.list > 0 : c.list IN @lists SORT c.seq RETURN c
"""
Document = dict[str, Any]


class SliceStore:
    """Which code made what, in one vault on a server."""

    def __init__(self, client: Client, search: CodeSearch) -> None:
        self._client, self._search = client, search

    def written_code(self, places: Sequence[tuple[int, int, int]]) -> list[WrittenCode]:
        """The slices of these (session, cell, line); those without one are left out."""
        rows = self._client.query(WRITTEN, keys=[_place_key(*place) for place in places]) if places else []
        if not rows:
            return []
        keys = sorted({part[0] for row in rows for part in row["parts"]})
        cells = set().union(*(cells_of(row["session"], row["parts"]) for row in rows))
        [answer] = self._client.query(
            STATEMENTS, keys=keys, cells=[f"{session}-{cell}" for session, cell in sorted(cells)]
        )
        statements = dict(answer["statements"])
        counts = {(session, cell): count for session, cell, count in answer["counts"]}
        return [
            code_of(
                (row["session"], row["cell"], row["line"]),
                row["parts"],
                row["unresolved"],
                statements,
                counts,
            )
            for row in rows
        ]

    def put_code(self, code: Sequence[WrittenCode]) -> None:
        """Keep slices, replacing those of the same place."""
        self._client.write(PUT_CODE, binds=code_documents(code))

    def search_slices(self, query: Node) -> np.ndarray:
        """The (session, cell, line) whose slice matches, or has to be judged by its whole session and does."""
        pieces = self._search.ids(query)
        statements = {leaf: keys_of(ids, "tv_statements") for leaf, ids in pieces.items()}
        keys = sorted(set().union(*statements.values()))
        [answer] = self._client.query(SLICES_OF, keys=keys, everything=needs_everything(query))
        slices: dict[str, set[str]] = {}  # -> those of the statements that it has
        for slice_key, statement in (*answer["held"], *answer["others"]):
            slices.setdefault(slice_key, set()).add(statement)

        def leaf_ids(leaf: Leaf) -> np.ndarray:
            return _numbers(not statements[leaf].isdisjoint(held) for held in slices.values())

        numbers = matching_ids(query, leaf_ids, lambda: np.arange(len(slices)))
        slice_keys = list(slices)
        chosen = [slice_keys[number] for number in numbers.tolist()]
        places = self._client.query(PLACES, keys=chosen) if chosen else []
        if answer["open"]:
            sessions = set(self._sessions(query, pieces).tolist())
            places += [place for place in answer["open"] if place[0] in sessions]
        if answer["unsliced"]:
            cells = set(map(tuple, self._search.search_code(query).tolist()))
            places += [[*cell, 0] for cell in answer["unsliced"] if tuple(cell) in cells]
        return np.unique(np.array(places, np.int64).reshape(-1, 3), axis=0)

    def search_code_of_sessions(self, query: Node) -> np.ndarray:
        """Sessions whose cells and modules, taken together, match."""
        return self._sessions(query, self._search.ids(query))

    def _sessions(self, query: Node, pieces: dict[Leaf, set[str]]) -> np.ndarray:
        sources = {leaf: keys_of(ids, "tv_sources") for leaf, ids in pieces.items()}
        keys = sorted(set().union(*sources.values()))
        [answer] = self._client.query(SESSIONS_OF, keys=keys, everything=needs_everything(query))

        def leaf_ids(leaf: Leaf) -> np.ndarray:
            of_cells = [int(key.partition("-")[0]) for key in keys_of(pieces[leaf], "tv_cells")]
            of_sources = [session for sha, session in answer["imports"] if sha in sources[leaf]]
            return np.array([*of_cells, *of_sources], np.int64)

        return matching_ids(query, leaf_ids, lambda: np.array(answer["sessions"], np.int64))

    def confirm(self, confirmation: Confirmation, *, attempt: int | None = None) -> None:
        """Keep that rows were made again and came out equal."""
        documents = [confirmation_document(confirmation)]
        by = attempt_of(confirmation.session_id, attempt)
        for resumed in self._client.write(CONFIRM, confirmations=documents, binds=by):
            raise continued_by(resumed)

    def confirmations(self, lists: Sequence[int] | None = None) -> list[Confirmation]:
        """Confirmations of versions of these lists, or of all, oldest first."""
        rows = self._client.query(
            CONFIRMATIONS_OF, lists=None if lists is None else [int(key) for key in lists]
        )
        return list(map(confirmation_of, rows))


def confirmation_document(confirmation: Confirmation) -> Document:
    """The document that keeps that rows were made again; its key tells where, and of what."""
    document = attributes_of(confirmation)
    place = [document[name] for name in ("list", "version", "session", "cell", "line")]
    if confirmation.rows is not None or confirmation.made_from:
        place.append(sha256(json.dumps(confirmation.made_from).encode()).hexdigest()[:16])
    return document | {"_key": "-".join(map(str, place))}


@reads("tv_confirmations")
def confirmation_of(document: Document) -> Confirmation:
    """The confirmation that a document stands for."""
    confirmation = record_of(Confirmation, {"rows": None, "made_from": ()} | document)
    rows = None if confirmation.rows is None else runs_together(confirmation.rows)
    sources = tuple((list_id, number) for list_id, number in confirmation.made_from)
    return replace(confirmation, rows=rows, made_from=sources)


def code_documents(code: Iterable[WrittenCode]) -> dict[str, list[Document]]:
    """What is inserted for some slices."""
    statements: dict[str, Document] = {}
    slices: dict[str, Document] = {}
    written: dict[str, Document] = {}
    for entry in code:
        parts = []
        for part in entry.parts:
            document = _statement(part)
            statements[document["_key"]] = document
            parts.append(stored_part(entry, part, document["_key"]))
        body: Document = {"parts": parts, "unresolved": list(entry.unresolved)}
        key = sha256(json.dumps(body).encode()).hexdigest()
        slices[key] = {
            "_key": key,
            **body,
            "statements": sorted({part[0] for part in parts}),
            "open": bool(entry.unresolved),
        }
        place = _place_key(entry.session_id, entry.cell, entry.line)
        written[place] = {
            "_key": place,
            "session": entry.session_id,
            "cell": entry.cell,
            "line": entry.line,
            "slice": key,
        }
    return {
        "statements": list(statements.values()),
        "slices": list(slices.values()),
        "written": list(written.values()),
    }


def _statement(part: Part) -> Document:
    content = {
        "path": part.path,
        "kind": part.kind,
        "names": list(part.names),
        "text": part.text,
        "tree": part.tree,
    }
    key = sha256(json.dumps(content).encode(errors="replace")).hexdigest()
    return {"_key": key, **content, **code_words(part.text)}


def _place_key(session: int, cell: int, line: int) -> str:
    return f"{int(session)}-{int(cell)}-{int(line)}"


def _numbers(mask: Iterable[bool]) -> np.ndarray:
    return np.flatnonzero(np.fromiter(mask, bool))
