"""How many bytes the stored rows of each list take, and up to where its generations go.

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
ENDS_SINCE = """
SELECT list, generation, schema, max(start + rows), max(id) FROM segments NOT INDEXED WHERE id > ? AND rows > 0
GROUP BY list, generation, schema
"""


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


class GenerationEnds:
    """The ends of the generations of one vault folder, by schema."""

    def __init__(self) -> None:
        self._known: tuple[tuple[str] | None, int, Mapping[tuple[int, int, int], int]] = (None, 0, {})

    def read(self, db: Connection) -> Mapping[tuple[int, int, int], int]:
        """Return the end of the rows by (list, generation, schema), as :meth:`ListSizes.read` does."""
        mark, last, ends = self._known
        present = db.execute(MARK).fetchone()
        if present != mark:
            last, ends = 0, {}
        added = db.execute(ENDS_SINCE, (last,)).fetchall()
        ends = {**ends, **{row[:3]: max(row[3], ends.get(row[:3], 0)) for row in added}}
        self._known = present, max([last, *(row[4] for row in added)]), ends
        return ends


def remove_parts(db: Connection, ids: Iterable[int]) -> int:
    """Remove parts from the catalogue, in an open transaction. How many were there."""
    db.execute(PUT_MARK, (uuid.uuid4().hex,))
    return sum(db.execute(REMOVE, (key,)).rowcount for key in ids)
