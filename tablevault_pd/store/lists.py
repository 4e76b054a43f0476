"""The part of a store that keeps lists: their versions, schemas and rows, the files that rows name, and copies of digests of keys."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, BinaryIO, Protocol, Self

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from contextlib import AbstractContextManager
    from datetime import datetime
    from pathlib import Path
    from types import TracebackType

    import numpy as np
    import pyarrow as pa

    from tablevault_pd.filters.predicate import Where
    from tablevault_pd.store.pieces import Pieces
    from tablevault_pd.store.types import (
        Batch,
        Chunk,
        Erasure,
        ListState,
        ListSummary,
        ScanRequest,
        Spans,
        Version,
        VersionLookup,
    )


class Staging(Protocol):
    """Rows on their way into a commit: durable and invisible, and removed again unless they are committed.

    For one commit, one thread and one process: in a forked child each call raises VaultClosed. It is left after
    :meth:`ListStore.commit` returned or raised; leaving it removes nothing that may have been committed.
    """

    rows: int  #: how many were written so far

    def write(self, table: pa.Table) -> None:
        """Add the rows of `table`, after those of the tables before. Its schema may differ from theirs.

        The table belongs to the store until the staging is left: the caller must not change its buffers.
        Raises StorageFull.
        """

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Remove what was not committed. What cannot be removed now stays invisible, as a stray."""


class FileKeeper(Protocol):
    """Keeps the content of files for the rows of one save."""

    def __call__(self, path: Path, sha256: str) -> None:
        """Keep the content of the file `path`, whose SHA-256 the caller has computed.

        Content is kept once, however often it comes; what is kept already, but damaged or lost, is written anew. Raises
        FileMissing if the file cannot be read, or does not have that hash (any more).
        """

    @property
    def files(self) -> tuple[tuple[str, int], ...]:
        """(SHA-256, size in bytes) of all that it kept, for :attr:`Batch.files`."""


class ListStore(Protocol):
    """Keeps lists as series of versions, each made by one commit.

    **Versions.** Each commit makes one version, numbered from 1 on without a gap (after commits
    that were lost in a crash: after theirs). A version never changes, but for its tags and, once its rows were vacuumed,
    `gone`. Its `time` is the store's, and later than that of the version before.

    **Rows.** A commit starts a *generation* of stored rows, named by its version, or adds at the end of the present one
    (append). A row is permanently named by its list and its address: the generation, and its number there. A version shows
    pieces of generations; the position of a row in it is its number over these. See :mod:`tablevault_pd.store.pieces`.

    **Schemas.** The id of a schema never changes and names the same schema in every process, its metadata included.
    """

    @property
    def supports_pushdown(self) -> bool:
        """Whether rows that a scan leaves out by its `where` would else travel. If not, it helps with large lists alone."""

    def stage(self) -> Staging:
        """Return a place to put rows before :meth:`commit`. Raises VaultReadOnly."""

    def commit(self, batch: Batch, rows: Staging | None = None) -> Version:
        """Make all rows of `batch` visible, or none, and return the new version.

        They come at the end of the list; of an upsert, delete_rows or erase, :attr:`Batch.pieces` says what the list then shows.

        One atomic step makes rows, version, descriptions, edges, reads and the names of kept files visible together,
        durably (as far as the store's `durability` says). Commits to one list come one after the other, whole.

        Save, append and upsert make the list if it does not exist. A batch whose token is in the list already was committed before:
        its version is returned and nothing is written, so a commit whose answer was lost can be sent again, with the
        same or with newly staged rows. A restore of what the newest version shows, without another message, makes none: that
        one is returned. A commit that raised an error has not happened, unless that error is
        ConnectionLost or an interrupt: then sending it again tells.

        Raises
        ------
        ListNotFound, ListDeleted
            For a delete, delete_rows, erase or restore of a list that never was; for an append to, an upsert, a delete_rows or a
            delete of a deleted one.
        VersionNotFound
            If the version to restore does not exist, or its rows were vacuumed.
        InvalidInput
            If the pieces of an upsert, delete_rows or erase are not rows of the batch, each of them, and of the list.
        Conflict
            If the newest version is not :attr:`Batch.expect`, or the list's schema not :attr:`Batch.base`.
        VaultReadOnly, VaultBusy, StorageFull, StorageError, VaultClosed
        """

    def head(self, name: str) -> Version | None:
        """Return the newest version of a list, deleted or not; None if it never existed."""

    def version(self, name: str, version: int) -> Version | None:
        """Return one version of a list, or None."""

    def version_at(self, name: str, time: datetime) -> Version | None:
        """Return the newest version committed at or before `time`, or None."""

    def find_versions(self, lookups: Sequence[VersionLookup]) -> list[Version | None]:
        """Return for each look-up what :meth:`head`, :meth:`version` or :meth:`version_at` returns. One request."""

    def versions(self, name: str | None = None) -> list[Version]:
        """Return all versions of one list, oldest first, or of every list, in order of time, name and number.

        A list that never existed has none.
        """

    def version_columns(self, name: str | None = None) -> dict[str, Sequence[Any]]:
        """Return the versions that :meth:`versions` returns by attribute, as :func:`~.types.version_columns` does."""

    def lists(self) -> list[ListState]:
        """Return every list, deleted ones included, in order of name (by code point)."""

    def list_summary(self, shown: int) -> ListSummary:
        """Return how many lists and rows there are, and the newest versions of the first `shown` lists (by code point)."""

    def names(self, prefix: str = "") -> list[str]:
        """Return the names of all lists, deleted ones included, that begin with `prefix`, sorted by code point."""

    def spans_written(self, versions: Sequence[Version]) -> Spans:
        """Return which commit wrote which rows of these versions. `Spans.scope` counts `versions`. One request."""

    def pieces(self, versions: Sequence[Version]) -> list[Pieces]:
        """Return what each of these versions shows. One request at most; what was returned before takes none."""

    def erase(self, batch: Batch) -> Erasure:
        """Commit a batch of the operation "erase", and forget the rows :attr:`Batch.erases` for good.

        From the commit on no version shows them, and what was stored of their cells is overwritten: in rows, in indexes, in
        categories that no other row of the list has, and in kept files that no other row names. The positions of other rows
        stay, as do lineage and sessions. A call that was interrupted after the commit is finished by the next one that opens
        the vault for writing. Raises as :meth:`commit`, and VaultCorrupt if rows beside them cannot be read.
        """

    def erased(self, versions: Sequence[Version]) -> list[np.ndarray]:
        """Return the positions of erased rows in each of these versions, ascending. One request; none without such rows."""

    def schema(self, schema_id: int) -> pa.Schema:
        """Return a schema as committed. Raises VaultCorrupt if there is none of that id."""

    def schemas(self, ids: Iterable[int]) -> dict[int, pa.Schema]:
        """Return schemas by id. One request."""

    def scan(
        self,
        version: Version,
        *,
        start: int = 0,
        stop: int | None = None,
        columns: Sequence[str] | None = None,
        where: Where | None = None,
    ) -> Iterator[Chunk]:
        """Yield rows `start` to `stop` (`stop` excluded) of a version, in position order, as committed.

        A chunk has the schema that its rows were written with, whatever the list's is now. Of `columns` it has those that it
        was written with, in the order asked for; with ``columns=[]`` its table has the right number of rows and no columns.
        Reading is lazy: errors come with the chunk, after the chunks before it. Commits, compaction and vacuum may go on
        meanwhile, and what is read stays that of `version`.

        With `where`, rows that surely do not match may be left out, or not: that is the store's choice, and the caller
        applies the filter. Positions are then those of the rows that came. What was written together still comes as a
        chunk, even without rows, as it may bring categories; and rows that are missing are noticed all the same.

        Tables are read-only for the caller, unless :attr:`Chunk.private`. Each payload is verified the first time this
        process reads it. Raises VersionNotFound if the rows were vacuumed, VaultCorrupt naming list and version.
        """

    def scan_many(self, requests: Sequence[ScanRequest]) -> Iterator[tuple[int, Chunk]]:
        """Yield the rows of several requests in the order asked for, each chunk with the number of its request.

        Chunks of one request come in any order, and may have rows beside those at the positions. The number of requests to a
        server does not grow with what is wanted, apart from pages. Errors as those of :meth:`scan`.
        """

    def keeping(self) -> AbstractContextManager[FileKeeper]:
        """Keep the files of one save.

        Nothing that it keeps is removed by a vacuum until it is left, which comes after the commit; then what no commit
        named is a stray. Raises VaultReadOnly.
        """

    def open_file(self, sha256: str) -> BinaryIO:
        """Return kept content, open at its beginning and verified as a whole. The caller closes it.

        Raises FileMissing if it is not kept here, VaultCorrupt if it is damaged or lost.
        """


class KeyIndexStore(Protocol):
    """Keeps the digests of keys of a list, so that a new process need not compute them. A store may keep none.

    What is kept is a copy, which its owner verifies: it may be lost, damaged or out of date.
    """

    def load_key_index(self, list_id: int, name: str) -> bytes | None:
        """Return what was kept of a list under a name; None if nothing is. It raises nothing but VaultClosed."""

    def keep_key_index(self, list_id: int, name: str, parts: Sequence[bytes]) -> None:
        """Keep these bytes in place of those of that name. Nothing happens, and nothing is raised, where that fails."""
