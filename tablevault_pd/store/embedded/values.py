"""Values of sessions (parameters, last metrics) one name at a time, so that filters need not read whole sessions."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from tablevault_pd.store import SessionLabel

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tablevault_pd.store.embedded.catalog import SqliteCatalog

# json_each takes any key as a bound value, which a JSON path would not. Parameters with NaN or infinity are JSON for Python but
# not for SQLite: they are left to reading the session.
PARAM = """
SELECT s.id, j.value, j.type
FROM sessions s, json_each(CASE WHEN json_valid(s.params) THEN s.params ELSE '{}' END) j WHERE j.key = ?
UNION ALL SELECT id, NULL, 'object' FROM sessions WHERE NOT json_valid(params)
"""
METRIC = "SELECT session, value FROM latest WHERE metric = ?"
SESSION_IDS = "SELECT id FROM sessions ORDER BY id"
SESSION_LABELS = "SELECT id, name, run, started, attempt FROM sessions ORDER BY id"
SESSION_LABELS_OF = """
SELECT id, name, run, started, attempt FROM sessions WHERE id IN (SELECT value FROM json_each(?)) ORDER BY id
"""


class SessionValues:
    """Parameters and metrics of the sessions of one vault folder."""

    def __init__(self, catalog: SqliteCatalog) -> None:
        self._catalog = catalog

    def session_values(self, column: str) -> dict[int, Any]:
        """The value of one parameter or metric, by session; nested values are left to reading the session."""
        kind, _, name = column.partition(".")
        with self._catalog.reading() as db:
            if kind == "metrics":
                return dict(db.execute(METRIC, (name,)).fetchall())
            rows = db.execute(PARAM, (name,)).fetchall()
        return {key: _value(value, kind) for key, value, kind in rows}

    def session_labels(self, ids: Sequence[int] | None = None) -> list[SessionLabel]:
        """Names and times of sessions, oldest first."""
        with self._catalog.reading() as db:
            if ids is None:
                rows = db.execute(SESSION_LABELS)
            else:
                rows = db.execute(SESSION_LABELS_OF, (json.dumps([int(key) for key in ids]),))
            return [SessionLabel(*row) for row in rows]

    def session_ids(self) -> list[int]:
        """All sessions, oldest first."""
        with self._catalog.reading() as db:
            return [key for (key,) in db.execute(SESSION_IDS).fetchall()]


def _value(value: Any, kind: str) -> Any:
    if kind in ("true", "false"):
        return kind == "true"
    if kind in ("object", "array") or (kind == "integer" and isinstance(value, float)):
        return NESTED
    return value


NESTED = object()  #: stands for a list, a dict, or an integer that SQLite does not hold
