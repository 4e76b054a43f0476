"""Rows on disk: staged into Arrow payloads before a commit, verified and mapped after it.

A payload is an Arrow IPC file of its own under ``segments/`` or, when small, bytes in the catalogue. It is written
once and never changed. Until the catalogue names it, a file is held under a lock, so that cleaning up never takes
what a slow writer is about to commit.
"""

from __future__ import annotations

import json
import os
import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

import pyarrow as pa
import xxhash

from tablevault_pd.errors import VaultCorrupt, VaultError, short_repr
from tablevault_pd.store.embedded import fsio as io
from tablevault_pd.store.embedded.lockfile import HAS_LOCKS, LockFile
from tablevault_pd.store.engine import fork_guard as forks
from tablevault_pd.store.engine.payloads import (
    as_large,
    checksum_of,
    decode,
    decode_batches,
    encode,
    has_dictionary,
    joined,
    one_batch,
    require_schema,
    require_sound,
    seed_of,
    signed,
)
from tablevault_pd.store.engine.zones import add_range, ranges_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from io import FileIO
    from pathlib import Path
    from types import TracebackType

# a commit of up to 256 kB is faster inside the catalogue than as a file with its two fsyncs
INLINE_BYTES = 1 << 18
SMALL_BYTES = 1 << 12  # a table of so few is not measured exactly
FILE_BYTES = 1 << 30  # a stream starts a new file here
SUFFIX = ".arrow"
_HEX = frozenset("0123456789abcdef")
#: What Arrow raises on bytes that are no rows of the schema.
UNDECODABLE = (pa.ArrowException, OSError, ValueError, TypeError, LookupError, OverflowError, SystemError)
KEPT_FILES = 8  # each costs a file descriptor, and its space on disk where another process removes it


def segment_path(folder: Path, name: str) -> Path:
    """Where a file of rows lies. Raises VaultCorrupt for a name that no release makes: it could lead out of the vault."""
    if not (len(name) == 32 and _HEX.issuperset(name)):
        raise VaultCorrupt(
            f"{short_repr(name)} in the catalogue of {folder.parent} is no name of a file of rows. Restore a backup."
        )
    return folder / (name + SUFFIX)


@dataclass(frozen=True, slots=True)
class Payload:
    """A payload, ready to be named by the catalogue."""

    rows: int
    schema: pa.Schema
    seed: int  #: of the checksum: :func:`seed_of` the schema as the catalogue keeps it
    codec: str  #: batch: a message without its schema; stream: with schema and dictionaries; file, zstd: a file of its own
    size: int
    checksum: int
    data: bytes | None = None
    file: str | None = None
    zones: str | None = None  #: JSON of the zone map of a file
    #: The rows themselves, of a small payload that is about to be committed.
    table: pa.Table | None = field(default=None, compare=False, repr=False)


def pack(table: pa.Table, seed: int | None = None) -> Payload:
    """A small table as bytes for the catalogue; the seed of its checksum is that of its schema."""
    schema = table.schema.serialize().to_pybytes()
    codec, message = encode(table, schema)
    data = message.to_pybytes()
    seed = seed_of(schema) if seed is None else seed
    checksum = checksum_of(data, seed)
    return Payload(table.num_rows, table.schema, seed, codec, len(data), checksum, data=data, table=table)


class _ChecksumSink:
    """A file that counts and checksums what is written to it."""

    closed = False

    def __init__(self, file: FileIO, seed: int) -> None:
        self._file = file
        self._hash = xxhash.xxh3_64(seed=seed)
        self.size = 0

    @property
    def checksum(self) -> int:
        """Of all that was written, as :func:`checksum_of` it."""
        return signed(self._hash.intdigest())

    def write(self, data: Any) -> int:
        view = memoryview(data).cast("B")
        self._hash.update(view)
        self.size += len(view)
        written = 0
        while written < len(view):
            written += self._file.write(view[written:])
        return written

    def tell(self) -> int:
        return self.size

    def flush(self) -> None:
        """Nothing is buffered here."""


class SegmentWriter:
    """One file under ``segments/``, from its first byte to its fsync."""

    def __init__(
        self, folder: Path, schema: pa.Schema, *, seed: int | None = None, compression: str | None = None
    ) -> None:
        self.schema = schema
        self._seed = seed_of(schema.serialize()) if seed is None else seed
        self.rows = 0
        self._zones: list[list[Any]] = []
        while True:
            self.name = uuid.uuid4().hex
            self.path = segment_path(folder, self.name)
            self._file = _create(self.path)
            self._file.lock(exclusive=True, wait=True)
            if not HAS_LOCKS or os.fstat(self._file.fileno()).st_nlink:
                break
            self._file.close()  # somebody cleaned up between its making and its locking: take another name
        #: Lets go of the file, which the catalogue now names, or nothing does. A function of C: see lockfile.py
        self.release = self._file.close
        self._pid = os.getpid()
        io.failpoint("created")
        self._sink = _ChecksumSink(self._file, self._seed)
        self._codec = compression or "file"
        options = pa.ipc.IpcWriteOptions(compression=compression)
        self._writer = pa.ipc.new_file(pa.PythonFile(self._sink, mode="w"), schema, options=options)

    @property
    def size(self) -> int:
        """Bytes written so far."""
        return self._sink.size

    def write(self, table: pa.Table) -> None:
        """Append the table as one record batch."""
        self._writer.write_batch(one_batch(table))
        self.rows += table.num_rows
        for added in ranges_of(table):
            add_range(self._zones, added)
        io.failpoint("half-written")

    def finish(self) -> Payload:
        """Make the file durable. Its name is not: sync the folder after the last file."""
        self._writer.close()
        io.sync(self._file)
        return Payload(
            self.rows,
            self.schema,
            self._seed,
            self._codec,
            self._sink.size,
            self._sink.checksum,
            file=self.name,
            zones=json.dumps(self._zones, separators=(",", ":")),
        )

    def discard(self) -> None:
        """Remove the file: it will not be committed. In a forked child it is the parent's, and stays."""
        try:
            if self._pid == os.getpid():
                io.remove(self.path)
        finally:
            self.release()


def _create(path: Path) -> LockFile:
    """A new file, open for writing."""
    try:
        return LockFile.opened(path, "x")
    except FileNotFoundError:
        io.make_folder(path.parent)
        return LockFile.opened(path, "x")


class Stage:
    """The embedded store's staging area for one commit."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._pending: list[pa.Table] = []  # small tables, not yet in a file
        self._pending_bytes = 0
        self._writer: SegmentWriter | None = None
        self._written: list[SegmentWriter] = []
        self._parts: list[Payload] = []
        self._kept = False
        self._pid = os.getpid()
        self.rows = 0

    def write(self, table: pa.Table) -> None:
        """Add the rows of `table`; see the protocol."""
        forks.require_process(self._pid, "save")
        self.rows += table.num_rows
        if table.num_rows == 0 and (self._pending or self._writer):
            return  # an empty table only matters alone, for its types
        self._pending.append(table)
        at_most = table.get_total_buffer_size()  # what a slice shares with others included, and quickly told
        self._pending_bytes += at_most if at_most < SMALL_BYTES else table.nbytes
        if self._writer is not None or self._pending_bytes > INLINE_BYTES:
            with io.naming("writing rows"):
                self._flush()

    def _flush(self) -> None:
        for table in self._pending:
            writer = self._writer
            alone = has_dictionary(table.schema)  # a file holds one dictionary per column
            if writer is not None and (alone or writer.schema != table.schema or writer.size > FILE_BYTES):
                self._close_writer()
            if self._writer is None:
                self._writer = SegmentWriter(self._folder, table.schema)
                self._written.append(self._writer)
            self._writer.write(table)
        self._pending.clear()
        self._pending_bytes = 0

    def _close_writer(self) -> None:
        if self._writer is not None:
            self._parts.append(self._writer.finish())
            self._writer = None

    def finish(self) -> Sequence[Payload]:
        """Everything written, durable and in order."""
        forks.require_process(self._pid, "save")
        if self._written:
            with io.naming("writing rows"):
                self._close_writer()
                io.sync_folder(self._folder)
        pending, self._pending = self._pending, []
        self._parts += map(pack, joined(pending) if len(pending) > 1 else pending)
        return self._parts

    def keep(self, named: bool = True) -> None:
        """A commit is about to name the files: from here on they are the vault's, or strays; `named` false: it cannot have."""
        self._kept = named

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for writer in self._written:
            if self._kept:
                writer.release()
            else:
                writer.discard()


#: Files whose checksum this process has seen match, as they were then. A name is never used twice, but a vault can be
#: copied, and a file be changed by others.
_verified: dict[str, io.Identity] = {}


def decode_inline(part: Payload, data: bytes) -> pa.Table:
    """The rows of a payload in the catalogue, whose bytes these are."""
    return decode(part.codec, pa.py_buffer(data), part.schema)


def unpack(
    part: Payload,
    folder: Path,
    columns: Sequence[str] | None,
    where: str,
    *,
    again: bool = False,
    decoded: Callable[[Payload, bytes], pa.Table] = decode_inline,
) -> tuple[pa.Table, bool]:
    """The rows of a committed payload, and whether their memory may be written to.

    Raises VaultCorrupt, with `where` (list and version), if the payload is not what was committed; FileNotFoundError if
    it is missing. `again` verifies a file even if this process has done so before.
    """
    try:
        if part.file is None:
            data = _checked(part, part.data or b"", where)
            return project(decoded(part, data), columns), False
        return _unpack_file(part, segment_path(folder, part.file), columns, where, again)
    except (VaultError, FileNotFoundError):
        raise
    except UNDECODABLE as error:
        raise VaultCorrupt(f"The rows of {where} cannot be decoded: {error}") from error


def unpack_batches(
    schema: pa.Schema,
    seed: int,
    segments: Iterable[tuple[int, int, bytes, str]],
    columns: Sequence[str] | None,
) -> pa.Table:
    """The rows of several payloads in the catalogue, of the codec ``batch`` and one schema with that seed.

    Each comes with its size, its checksum and the name of its list and version. Raises VaultCorrupt.
    """
    messages, names = [], []
    for size, checksum, data, name in segments:
        messages.append(_intact(data or b"", size, checksum, seed, name))
        names.append(name)
    try:
        return project(decode_batches(messages, schema), columns)
    except (VaultError, FileNotFoundError):
        raise
    except UNDECODABLE as error:
        raise VaultCorrupt(f"The rows of {names[0]} cannot be decoded: {error}") from error


def _unpack_file(
    part: Payload, path: Path, columns: Sequence[str] | None, where: str, again: bool
) -> tuple[pa.Table, bool]:
    try:
        buffer, identity = io.load_private(path, part.size)
    except EOFError as error:
        raise VaultCorrupt(f"The rows of {where} are damaged: {error}.") from error
    except FileNotFoundError:
        raise
    except OSError as error:
        raise io.disk_error(error, f"reading rows of {where} (segment {part.file})", reading=True) from error
    new = again or _verified.get(path.name) != identity
    if new:
        _checked(part, buffer, where)
    # Only uncompressed columns still lie in our private map; others are Arrow's own fresh memory, private as well.
    file = pa.ipc.open_file(buffer)
    require_schema(file.schema, part.schema)
    compressed = part.codec == "zstd"
    if columns is not None and compressed:  # asked for some columns, Arrow copies them; so only where it must
        names = file.schema.names
        fields = [names.index(name) for name in columns if name in names]
        file = pa.ipc.open_file(buffer, options=pa.ipc.IpcReadOptions(included_fields=fields))
    table = file.read_all() if compressed or not new else _uncompressed(file, part)
    if new or compressed:  # which is decompressed anew each time
        require_sound(table, texts=again)
    _verified[path.name] = identity
    return project(table, columns), True


def _uncompressed(file: pa.RecordBatchFileReader, part: Payload) -> pa.Table:
    batches = (file.get_batch(number) for number in range(file.num_record_batches))
    return pa.Table.from_batches([as_large(batch, part.size) for batch in batches], file.schema)


def _checked(part: Payload, data: Any, where: str) -> Any:
    return _intact(data, part.size, part.checksum, part.seed, where, part.file)


def _intact(data: Any, size: int, checksum: int, seed: int, where: str, file: str | None = None) -> Any:
    if (data.size if isinstance(data, pa.Buffer) else len(data)) != size or checksum_of(
        data, seed
    ) != checksum:
        name = f" (segment {file})" if file else ""
        raise VaultCorrupt(
            f"The rows of {where}{name} are damaged: they do not match their checksum. Other lists and versions stay "
            "readable; vault.check() lists all damage. Restore this vault from a backup, or save the list again."
        )
    return data


def project(table: pa.Table, columns: Sequence[str] | None) -> pa.Table:
    """Return those of these columns that a table has; None: all."""
    if columns is None:
        return table
    names = table.column_names
    return table.select([name for name in columns if name in names])


class OpenedFiles:
    """The files of rows that few rows were read of last: to open one takes many times as long as to take some rows.

    Threads may lose each other's, and need no lock.
    """

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
