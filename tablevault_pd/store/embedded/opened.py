"""Files of rows that stay open between calls which take a few rows of them: to open one takes many times as long as that."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tablevault_pd.store.embedded import fsio as io
from tablevault_pd.store.embedded.segments import segment_path, unpack

if TYPE_CHECKING:
    from pathlib import Path

    import pyarrow as pa

    from tablevault_pd.store.embedded.segments import Payload

KEPT_FILES = 8  # each costs a file descriptor, and its space on disk where another process removes it


class OpenedFiles:
    """The files of rows that few rows were read of last. Threads may lose each other's, and need no lock."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        # By name; replaced as one, the file used last at its end.
        self._tables: dict[str, tuple[Path, io.Identity | None, pa.Table]] = {}

    def table(self, part: Payload, where: str) -> pa.Table:
        """Return all columns of a payload that lies uncompressed in a file. Others have the table, too: copy what is handed on.

        Raises what :func:`unpack` raises.
        """
        assert part.file is not None
        earlier = self._tables.get(part.file)
        path = segment_path(self._folder, part.file) if earlier is None else earlier[0]
        identity = io.identity_of(path)
        if earlier is None or identity is None or earlier[1] != identity:
            earlier = path, identity, unpack(part, self._folder, None, where)[0]
        tables = {name: opened for name, opened in self._tables.items() if name != part.file}
        tables[part.file] = earlier
        if len(tables) > KEPT_FILES:
            del tables[next(iter(tables))]
        self._tables = tables
        return earlier[2]

    def close(self) -> None:
        """Close all files."""
        self._tables = {}
