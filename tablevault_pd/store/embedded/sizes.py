"""How many bytes the stored rows of each list take.

A vault can have hundreds of thousands of parts, so a process adds them up once, and from then on those that came since. Parts
are never changed; a transaction that removes some leaves a new mark, and then all are added up again.
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from sqlite3 import Connection

MARK = "SELECT value FROM meta WHERE key = 'removed'"
PUT_MARK = "INSERT OR REPLACE INTO meta (key, value) VALUES ('removed', ?)"
REMOVE = "DELETE FROM segments WHERE id = ?"
# By id: the planner would go through an index of all parts, in the order of lists.
SIZES_SINCE = "SELECT list, sum(size), max(id) FROM segments NOT INDEXED WHERE id > ? GROUP BY list"


class ListSizes:
    """The sizes of one vault folder."""

    def __init__(self) -> None:
        self._known: tuple[tuple[str] | None, int, Mapping[int, int]] = (None, 0, {})

    def read(self, db: Connection) -> Mapping[int, int]:
        """Return the bytes by list id, as the transaction of `db` sees them: it must not see two moments."""
        mark, last, sizes = self._known
        present = db.execute(MARK).fetchone()
        if present != mark:
            last, sizes = 0, {}
        added = db.execute(SIZES_SINCE, (last,)).fetchall()
        sizes = {**sizes, **{list_id: sizes.get(list_id, 0) + size for list_id, size, _ in added}}
        self._known = present, max([last, *(newest for _, _, newest in added)]), sizes
        return sizes


def remove_parts(db: Connection, ids: Iterable[int]) -> int:
    """Remove parts from the catalogue, in an open transaction. How many were there."""
    db.execute(PUT_MARK, (uuid.uuid4().hex,))
    return sum(db.execute(REMOVE, (key,)).rowcount for key in ids)
