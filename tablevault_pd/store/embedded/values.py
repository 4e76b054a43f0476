"""What sessions were run with, a value at a time: thousands of sessions are filtered without reading each whole."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tablevault_pd.store.embedded.catalog import SqliteCatalog

# json_each takes any key as a bound value, which a JSON path would not.
PARAM = """
SELECT s.id, j.value, j.type FROM sessions s, json_each(s.params) j WHERE j.key = ?
"""
METRIC = "SELECT session, value FROM latest WHERE metric = ?"
SESSION_IDS = "SELECT id FROM sessions ORDER BY id"
SESSION_LABELS = "SELECT id, name, run FROM sessions ORDER BY id"


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

    def session_labels(self) -> dict[int, tuple[str, int]]:
        """Name and run of all sessions, oldest first."""
        with self._catalog.reading() as db:
            return {key: (name, run) for key, name, run in db.execute(SESSION_LABELS)}

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
