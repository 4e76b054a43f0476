"""Read many small lists at once: their segments by one statement, the rows of those of one schema as one stream.

A list by itself costs a statement and the decoding of a message, however few rows it has. What does not lie in the catalogue as
small segments, one after the other, is left to the reader.
"""

from __future__ import annotations

import json
from collections import defaultdict
from typing import TYPE_CHECKING, Any

from tablevault_pd.store import Chunk

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import pyarrow as pa

    from tablevault_pd.store import ScanRequest, Version
    from tablevault_pd.store.embedded.catalog import SqliteCatalog

    #: Makes a table of the columns of several segments of one schema; each has a name for errors.
    Unpack = Callable[[Sequence[tuple[Any, ...]], Sequence[str] | None, Sequence[str]], pa.Table]

LISTS_AT_ONCE = 128
SMALL_ROWS = 4096  # a list of more rows is read by itself

SEGMENTS_OF_LISTS = """
SELECT w.key, s.start, s.rows, s.schema, s.codec, s.file, s.size, s.checksum, s.data, s.erased, s.zones
FROM json_each(?) w CROSS JOIN segments s ON s.list = json_extract(w.value, '$[0]') AND s.generation = json_extract(w.value, '$[1]')
WHERE s.start >= json_extract(w.value, '$[2]') AND s.start < json_extract(w.value, '$[3]') AND s.rows > 0
LIMIT 257
"""


def read_small_lists(
    catalog: SqliteCatalog, unpack: Unpack, requests: Sequence[ScanRequest]
) -> dict[int, Chunk]:
    """Return the rows of those requests that ask for a whole small list, by number. Raises VaultCorrupt."""
    numbers_asked = [number for number, request in enumerate(requests) if _is_small(request)]
    if len(numbers_asked) < 2:
        return {}
    places = [_place(requests[number].version) for number in numbers_asked]
    segments: dict[int, list[tuple[Any, ...]]] = defaultdict(list)
    with catalog.reading() as db:
        found_rows = db.execute(SEGMENTS_OF_LISTS, (json.dumps(places),)).fetchall()
    for key, *row in found_rows:
        segments[numbers_asked[key]].append(tuple(row))
    groups: dict[tuple[int, tuple[str, ...]], list[int]] = defaultdict(list)
    for number, rows in segments.items():
        rows.sort()
        if _is_whole(rows, requests[number].version):
            groups[rows[0][2], requests[number].columns].append(number)
    chunks = {}
    for (_, columns), numbers in groups.items():
        parts = [(row, requests[number].version.label) for number in numbers for row in segments[number]]
        table = unpack([row for row, _ in parts], columns, [name for _, name in parts])
        start = 0
        for number in numbers:
            total = requests[number].version.total
            # The memory is shared with the other lists.
            chunks[number] = Chunk(range(total), table.slice(start, total))
            start += total
    return chunks


def _is_small(request: ScanRequest) -> bool:
    version = request.version
    is_whole = request.positions is None and request.where is None and version.layout is None
    return is_whole and not version.gone and 0 < version.total <= SMALL_ROWS


def _place(version: Version) -> tuple[int, int, int, int]:
    return version.list_id, version.generation, version.first, version.first + version.total


def _is_whole(rows: Sequence[tuple[Any, ...]], version: Version) -> bool:
    """Whether these segments are all of a version, of one schema, and can be decoded with others."""
    end = version.first
    for start, count, schema_id, codec, file, *_, erased, _zones in rows:
        if start != end or schema_id != rows[0][2]:
            return False
        if codec != "batch" or file is not None or erased is not None:
            return False
        end = start + count
    return end == version.first + version.total
