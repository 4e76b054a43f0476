"""The Vault: the one place where arguments are checked. Everything else is a call into a room."""

from __future__ import annotations

import re
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, Self, TypedDict
from uuid import uuid4

from tablevault_pd import validate
from tablevault_pd.capture.exits import Ending, ending_of
from tablevault_pd.errors import (
    InvalidInput,
    ListNotFound,
    SessionNotFound,
    VaultClosed,
    VaultReadOnly,
    VersionNotFound,
    shown,
)
from tablevault_pd.lineage.edges import runs_of
from tablevault_pd.lineage.lost import Lost
from tablevault_pd.lineage.record import Trace
from tablevault_pd.names import check_name, parse_address
from tablevault_pd.progress import Bar
from tablevault_pd.reading import read as reading
from tablevault_pd.reading import reports as answers
from tablevault_pd.saving import ingest as objects
from tablevault_pd.saving.ingest import Columns, column_names
from tablevault_pd.saving.write import Write, write
from tablevault_pd.session import Run, Settings
from tablevault_pd.session.lookup import resolve_session
from tablevault_pd.store import Batch, Description, Store, Version
from tablevault_pd.store.engine.commit_rules import check_expected
from tablevault_pd.vault import export as exporting
from tablevault_pd.vault import maintenance as care
from tablevault_pd.vault.analysis import Analysis
from tablevault_pd.vault.lineage import Lineage
from tablevault_pd.vault.lists import List
from tablevault_pd.vault.search import Search
from tablevault_pd.vault.sessions import Sessions

if TYPE_CHECKING:
    import os
    from collections.abc import Hashable, Sequence
    from types import TracebackType

    import pandas as pd

    from tablevault_pd.vault.context import Shared


class SaveOptions(TypedDict, total=False):
    """The options of :meth:`Vault.save` and :meth:`Vault.append`."""

    inputs: Any
    description: str | None
    documents: Hashable | Sequence[Hashable]
    embeddings: Any
    files: Hashable | Sequence[Hashable]
    copy: bool
    message: str | None
    tags: str | Sequence[str] | None
    schema: Literal["evolve", "strict"]
    kind: str | None
    expect: int | None


class Vault(Search, Sessions, Lineage, Analysis):
    """A repository of lists: a folder, or a database on a server. Made by :func:`connect`."""

    def __init__(self, shared: Shared, run: Run | None, settings: Settings | None = None) -> None:
        self._shared = shared
        self._run = run
        self._settings = settings or Settings()
        self.closed = False
        shared.handles.add(self)

    @property
    def store(self) -> Store:
        """The store below. Not part of the public interface."""
        if self.closed:
            raise VaultClosed("This vault was closed. Connect to it again with tablevault_pd.connect(…).")
        run = self._current_run()
        if run is not None:
            run.raise_if_stopped()
        return self._shared.store

    @property
    def place(self) -> str:
        """Where the vault is."""
        return self._shared.store.place

    def close(self) -> None:
        """Close the vault, and the session with it if nobody else in this process uses it."""
        self._close(Ending())

    def _close(self, ending: Ending) -> None:
        self.closed = True
        self._shared.leave(self, ending)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close(ending_of(error))

    # -- writing

    def save(
        self,
        name: str,
        obj: Any,
        *,
        inputs: Any = None,
        description: str | None = None,
        message: str | None = None,
        documents: Any = None,
        embeddings: Any = None,
        files: Any = None,
        copy: bool = False,
        tags: str | Sequence[str] | None = None,
        schema: Literal["evolve", "strict"] = "evolve",
        kind: str | None = None,
        expect: int | None = None,
    ) -> List:
        """Save rows as the new content of a list. What was there before stays readable as an earlier version.

        Parameters
        ----------
        name : str
            The list's name: any text without ``@``.
        obj : object
            A DataFrame, Series, dict (one row), list of dicts, 2-D array (one vector a row), list of texts (documents),
            anything with ``__arrow_c_stream__`` (Arrow, polars, DuckDB), or an iterator of these, which is streamed
            into one commit.
        inputs : optional
            Which rows these were made from: a frame read from this vault (every row saved came from all of its rows),
            ``tv.rows(frame)`` (row by row), a list's name, ``{name: positions}`` (one cell for each row, in row order; a cell
            may be a list), ``{name: slice(a, b)}``, ``{name: "column of obj"}``, a list of several of these, or ``False`` for
            none. Left out, it is told from reference columns, or from the index of a frame that was read from this vault; where
            pandas dropped that, the lists that the session had read stand in (basis ``read``), with a warning.
        description : str, optional
            A text about the list, found by search. Earlier ones are kept, with their times: :meth:`descriptions`.
        message : str, optional
            A text about this version, shown by :meth:`versions`. The same rows with another message are a new version.
        documents : name or list of names
            Text columns that are documents.
        embeddings : None, False, name, list of names, or dict
            Columns of vectors are found by themselves. Names say which columns are vectors (whole numbers become
            vectors only so), ``False`` that there are none, ``{"vec": False}`` that one is not, ``{"vec": "float32"}``
            which width to store.
        files : name or list of names
            Columns of paths: size, modified time and SHA-256 of each file are kept.
        copy : bool
            Keep the content of those files in the vault too.
        tags : str or list of str, optional
            Labels, shown by :meth:`lists`. They belong to a version: the same rows with other tags are a new version.
            Default: those of the version before.
        schema : {"evolve", "strict"}
            ``"strict"`` refuses other columns or dtypes than the list has now.
        kind : {"record", "document", "embedding", "file"}, optional
            What the values of a Series are, if not what they look like. Refused for anything else that would be something
            else.
        expect : int, optional
            Write only if the newest version of the list is this one; 0: only if there never was a list of that name.

        Returns
        -------
        List
            At the version that was made. Rows equal to those of the newest version, with the same tags and parents, make
            none: the answer is at the newest version, and a new `description` is kept all the same.

        Raises
        ------
        InvalidName, UnsupportedColumn, SchemaMismatch, InvalidInput, FileMissing
            Before anything is written.
        Conflict
            If the newest version is not the one in `expect`. Nothing was written.

        Examples
        --------
        >>> news = vault.save("news", pd.DataFrame({"title": ["Storm", "Sun"], "vec": [[1.0, 0.0], [0.0, 1.0]]}))
        >>> news
        <List 'news', version 1: 2 rows>
          title  str
          vec    object, embedding of width 2
        """
        return self._write(
            "save", name, obj, inputs=inputs, description=description, message=message, documents=documents, embeddings=embeddings,
            files=files, copy=copy, tags=tags, schema=schema, kind=kind, expect=expect,
        )  # fmt: skip

    def append(self, name: str, obj: Any, **options: Any) -> List:
        """Add rows at the end of a list; it is made if there is none. Options as for :meth:`save`.

        New columns are added and types widened where no value is lost; ``schema="strict"`` refuses both.

        Examples
        --------
        >>> for step in range(3):
        ...     losses = vault.append("losses", {"step": step, "loss": 1 / (step + 1)})
        >>> len(losses), losses.version
        (3, 3)
        """
        return self._write("append", name, obj, **options)

    def _write(
        self,
        operation: Literal["save", "append"],
        name: str,
        obj: Any,
        *,
        inputs: Any = None,
        description: str | None = None,
        message: str | None = None,
        documents: Any = None,
        embeddings: Any = None,
        files: Any = None,
        copy: bool = False,
        tags: str | Sequence[str] | None = None,
        schema: str = "evolve",
        kind: str | None = None,
        expect: int | None = None,
    ) -> List:
        name = check_name(name)
        expect = _expected(expect)
        schema = validate.choice(schema, "schema", ("evolve", "strict"))
        if kind is not None:
            validate.choice(kind, "kind", tuple(objects.COLUMN_OF_KIND))
        _check_copy(copy, files)
        message = validate.optional_text(message, "message=")
        self._writable()
        run, cell = self._current_run(), self._cell
        lost = None if run is None else Lost(self.store, run.reads, name, cell, append=operation == "append")
        trace = Trace(self.store, inputs, lost)
        columns = Columns(
            embeddings, column_names(documents, "documents"), column_names(files, "files"), None, trace
        )
        told = () if description is None else (self._description(description),)
        what = Write(
            name,
            operation,
            trace,
            schema,
            self._session_id,
            cell,
            validate.tags(tags),
            told,
            () if run is None else run.reads.take(),
            expect,
            message,
        )
        if isinstance(obj, List):
            obj = obj.batches(objects.ROWS_PER_TABLE)
        with self.store.keeping() if copy else nullcontext() as keeping:
            encoded = objects.encoded(obj, replace(columns, keep=keeping), kind=kind)
            version = write(self.store, what, trace.counted(encoded), keeping)
        if run is not None and version.session_id == run.id:
            run.reads.kept(what.reads)
        return List(self, name, version)

    @property
    def _cell(self) -> int | None:
        run = self._current_run()
        return None if run is None else run.told_cell()

    def _writable(self) -> None:
        if self.store.read_only:
            raise VaultReadOnly("This vault is open for reading. Connect with mode='rw' to write.")

    def _description(
        self, text: str, *, label: str = "BASE", vector: Any = None, **target: Any
    ) -> Description:
        text = validate.text(text, "A description")
        label = validate.text(label, "label=")
        numbers = None if vector is None else validate.vector(vector, "vector")
        return Description(label, text, vector=numbers, session_id=self._session_id, **target)

    # -- reading

    def read(
        self,
        name: str,
        *,
        columns: Sequence[Hashable] | None = None,
        filters: Any = None,
        start: int | None = None,
        stop: int | None = None,
        version: int | None = None,
        as_of: Any = None,
        refs: bool | str = False,
    ) -> pd.DataFrame:
        """Rows of a list, exactly as they were saved.

        Parameters
        ----------
        name : str
            A list, perhaps at a version: ``"news@3"``.
        columns : list of column names, optional
            Only these, in this order.
        filters : optional
            Only rows that fit: ``[("loss", "<", 0.1)]`` as :func:`pandas.read_parquet` takes them, a
            :meth:`pandas.DataFrame.query` string, in which ``@name`` is a variable of yours, or an expression such as
            ``pd.col("loss") < 0.1``. A string is parsed and can do nothing but filter.
        start, stop : int, optional
            Only these positions, as in a slice.
        version : int, optional
            An earlier version.
        as_of : time, optional
            The version that was newest at that time (UTC unless it says otherwise).
        refs : bool or str
            Add a column ``ref`` (or of that name) of references to the rows, which says where they came from even after
            ``merge`` or ``reset_index``; see :meth:`lineage`.

        Returns
        -------
        DataFrame, shape (n_rows, n_columns)
            Index: the index the rows were saved with; if that was the default one, their positions.

        Raises
        ------
        ListNotFound, VersionNotFound, ListDeleted, InvalidFilter, InvalidInput, VaultCorrupt

        Examples
        --------
        >>> losses = vault.save("losses", pd.DataFrame({"step": [1, 2, 3], "loss": [0.9, 0.4, 0.2]}))
        >>> vault.read("losses", filters=[("loss", "<", 0.5)])
                  step  loss
        position
        1            2   0.4
        2            3   0.2
        """
        read = partial(
            reading.read,
            self.store,
            columns=validate.labels(columns),
            filters=filters,
            start=start,
            stop=stop,
            refs=refs,
            tagged=True,
        )
        found = reading.resolve(self.store, name, version=version, as_of=as_of)
        try:
            frame = read(found)
        except VersionNotFound:
            # Vacuumed under this read: who asked for the newest version is given what is the newest by now.
            newest = reading.resolve(self.store, name, version=version, as_of=as_of)
            if newest.version == found.version:
                raise
            found, frame = newest, read(newest)
        self._noted(found)
        return frame

    def _noted(self, version: Version) -> None:
        """The session has read `version`."""
        run = self._current_run()
        if run is not None:
            run.reads.note(version)

    def __getitem__(self, name: str) -> List:
        handle = List(self, name)
        handle._version()  # an unknown name is an error here, and not at first use
        return handle

    def __contains__(self, name: object) -> bool:
        try:
            reading.resolve(self.store, name)  # type: ignore[arg-type]  # any object may be asked for
        except (LookupError, ValueError, TypeError):
            return False
        return True

    def __iter__(self) -> Any:
        return iter([state.head.list for state in self.store.lists() if not state.head.deleted])

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __bool__(self) -> bool:
        return True

    def _ipython_key_completions_(self) -> list[str]:
        return list(self)

    # -- what is there

    def lists(self, *, deleted: bool = False) -> pd.DataFrame:
        """Every list, one a row; with ``deleted=True`` the hidden ones too.

        Returns
        -------
        DataFrame
            name, version, kinds, rows, columns, bytes, created, updated, session, deleted, description, tags.

        Examples
        --------
        >>> saved = vault.save("losses", {"step": 1, "loss": 0.5}, description="loss by step")
        >>> vault.lists()[["name", "version", "rows", "description"]]
             name  version  rows   description
        0  losses        1     1  loss by step
        """
        return answers.lists(self.store, deleted=validate.flag(deleted, "deleted"))

    def versions(self, name: str | None = None) -> pd.DataFrame:
        """The versions of one list, deleted or not, or of all lists.

        Returns
        -------
        DataFrame
            list, version, operation (save, append, delete, restore), rows, total, session, cell, time, message, gone
            (whether vacuum has removed its rows) and tags.

        Examples
        --------
        >>> first = vault.save("words", ["cat"])
        >>> second = vault.append("words", ["dog"], message="the other pet")
        >>> versions = vault.versions("words")
        >>> versions[["version", "operation", "rows", "total", "gone"]]
           version operation  rows  total   gone
        0        1      save     1      1  False
        1        2    append     1      2  False
        >>> versions["message"][1]
        'the other pet'
        """
        if name is not None:
            name = parse_address(name).name
            if self.store.head(name) is None:
                raise ListNotFound.named(name, self.store.names())
        return answers.versions(self.store, name)

    def descriptions(self, *, history: bool = False) -> pd.DataFrame:
        """What was said about lists and sessions; the newest text of each label, or with ``history=True`` every one.

        Returns
        -------
        DataFrame
            list, label, text, session (that wrote it), time, about_session (instead of a list).

        Examples
        --------
        >>> saved = vault.save("losses", {"loss": 0.5}, description="loss of the first model")
        >>> vault.describe("losses", "loss of all models")
        >>> vault.descriptions(history=True)["text"].tolist()
        ['loss of the first model', 'loss of all models']
        """
        return answers.descriptions(self.store, history=validate.flag(history, "history"))

    def files(self, name: str | None = None) -> pd.DataFrame:
        """Every file that a list names, with size in bytes, modified time and SHA-256.

        Returns
        -------
        DataFrame
            list, position, path, size_bytes, modified, sha256, stored (whether its content is kept), column, folder (that a
            relative path starts from).

        Examples
        --------
        >>> size = Path("notes.txt").write_text("hello")
        >>> saved = vault.save("inputs", pd.DataFrame({"path": ["notes.txt"]}), files="path")
        >>> vault.files()[["list", "position", "path", "size_bytes"]]
             list  position       path  size_bytes
        0  inputs         0  notes.txt           5
        """
        names = list(self) if name is None else [name]
        return answers.files(
            self.store, reading.resolve_all(self.store, [reading.lookup(each) for each in names])
        )

    def open_file(self, sha256: str) -> BinaryIO:
        """The content of a file that was saved with ``copy=True``, opened for reading in binary.

        All of it is verified against its hash before the first byte is handed out: a caller that reads the beginning of a
        file, or from its middle, would not notice otherwise.

        Raises
        ------
        FileMissing
            If no such content is kept.
        VaultCorrupt
            If the content is damaged or lost, naming the rows it belongs to. Saving the same file again keeps it anew.
        """
        return care.open_file(self.store, _sha256(sha256))

    def describe(self, name: str, text: str, vector: Any = None, *, label: str = "BASE") -> None:
        """Keep a text about a list, or about a session (``"train#2"``), and perhaps a vector for it.

        A text with the same label takes the place of the one before.

        Examples
        --------
        >>> saved = vault.save("losses", {"loss": 0.5})
        >>> vault.describe("losses", "validation loss, lower is better")
        >>> vault.descriptions()[["list", "label", "text"]]
             list label                              text
        0  losses  BASE  validation loss, lower is better
        """
        self._writable()
        head = self.store.head(parse_address(name).name)
        if head is not None:
            target: dict[str, Any] = {"list_id": head.list_id}
        else:
            try:
                target = {"session_of": resolve_session(self.store, name).id}
            except SessionNotFound as error:
                raise ListNotFound(f"{ListNotFound.named(name, self.store.names())} {error}") from None
        self.store.describe(self._description(text, label=label, vector=vector, **target))

    # -- versions

    def delete(self, name: str, *, message: str | None = None, expect: int | None = None) -> None:
        """Hide a list. Its versions stay; :meth:`restore` brings them back, :meth:`vacuum` frees their space.

        With `expect`, only if that is its newest version: else Conflict is raised, as by :meth:`save`. `message` says
        why, and is shown by :meth:`versions`.

        Examples
        --------
        >>> saved = vault.save("losses", {"loss": 0.5})
        >>> vault.delete("losses")
        >>> "losses" in vault
        False
        >>> vault.restore("losses", 1).read()
                  loss
        position
        0          0.5
        """
        self._change("delete", name, None, message, _expected(expect))

    def restore(
        self, name: str, version: int, *, message: str | None = None, expect: int | None = None
    ) -> List:
        """Make an older version the newest one. Restoring the newest changes nothing, unless with another message.

        With `expect`, only if that is the newest version now: else Conflict is raised, as by :meth:`save`. `message` says
        why, and is shown by :meth:`versions`.
        """
        name = check_name(name)
        version = validate.whole(version, "version", least=1)
        expect = _expected(expect)
        head = self.store.head(name)
        check_expected(name, expect, head)
        message = validate.optional_text(message, "message=")
        as_it_is = head is not None and not head.deleted and message in (None, head.message)
        if head is not None and as_it_is and head.version == version:
            return List(self, name, head)
        target = self.store.version(name, version) if head is not None else None
        if head is not None and target is None:
            raise VersionNotFound(
                f"The list {name!r} has no version {version}. vault.versions({name!r}) shows which it has."
            )
        if target is not None and target.deleted:
            raise VersionNotFound(
                f"Version {version} of {name!r} is the one that deleted it. Restore one before it."
            )
        if head is not None and target is not None and as_it_is and _same_content(self.store, head, target):
            return List(self, name, head)
        return self._change("restore", name, version, message, expect)

    def _change(
        self,
        operation: Literal["delete", "restore"],
        name: str,
        target: int | None,
        message: str | None,
        expect: int | None,
    ) -> List:
        name = check_name(name)
        message = validate.optional_text(message, "message=")
        self._writable()
        if self.store.head(name) is None:
            raise ListNotFound.named(name, self.store.names())
        batch = Batch(
            uuid4().hex,
            name,
            operation,
            expect=expect,
            target=target,
            session_id=self._session_id,
            cell=self._cell,
            message=message,
        )
        return List(self, name, self.store.commit(batch))

    # -- care

    def check(self, *, fix: bool = False) -> pd.DataFrame:
        """Read and verify everything, files outside of the vault included. Empty when all is sound.

        Parameters
        ----------
        fix : bool
            Remove strays: files that no commit names. Lost commits are told of for the last time; what is left of them stays.
            Damage is never repaired by guessing.

        Returns
        -------
        DataFrame
            severity, what, list, version, path, detail, fixed. The severity is damage, stray, or unchecked: it could not be
            looked at, for a reason that is no damage.

        Examples
        --------
        >>> saved = vault.save("losses", {"loss": 0.5})
        >>> len(vault.check())
        0
        """
        return care.check(self.store, fix=validate.flag(fix, "fix"))

    def compact(self, name: str | None = None) -> pd.DataFrame:
        """Merge what many small appends left behind, so that reading is fast. Positions and versions stay.

        Returns
        -------
        DataFrame
            list, parts_before, parts_after, bytes, damaged (parts that were left as they are).
        """
        self._writable()
        if name is not None and self.store.head(check_name(name)) is None:
            raise ListNotFound.named(name, self.store.names())
        with Bar("compacting", unit="lists") as bar:
            return answers.compacted(self.store.compact(name, progress=bar))

    def vacuum(self, *, keep: int = 1, deleted: bool = False, dry_run: bool = True) -> pd.DataFrame:
        """Free the space of rows that only old versions show.

        Parameters
        ----------
        keep : int
            How many of the newest versions of each list stay readable. What `delete` made shows no rows and does not count:
            a deleted list can still be restored.
        deleted : bool
            Free deleted lists as a whole. They cannot be restored afterwards.
        dry_run : bool
            Only say what would be removed. ``False`` removes it, for good.

        Returns
        -------
        DataFrame
            what (rows, deleted list, kept file, catalogue or stray), list, versions, rows, bytes, path, removed.

        Examples
        --------
        >>> for loss in (0.5, 0.4):
        ...     saved = vault.save("losses", {"loss": loss})
        >>> vault.vacuum()[["what", "list", "versions", "rows", "removed"]]
           what    list versions  rows  removed
        0  rows  losses      [1]     1    False
        """
        keep = validate.whole(keep, "keep", least=1)
        deleted = validate.flag(deleted, "deleted")
        if not validate.flag(dry_run, "dry_run"):
            self._writable()
        return answers.vacuumed(
            self.store.vacuum(keep=keep, deleted=deleted, dry_run=dry_run), removed=not dry_run
        )

    def export(
        self, path: str | os.PathLike[str], *, format: Literal["parquet", "csv", "jsonl"] = "parquet"
    ) -> pd.DataFrame:
        """Write every list, and the frames about them, into a folder that other programs can read.

        Beside the lists at their newest version, and ``index.csv`` which says which is where, there are ``lists.json``,
        ``versions.json``, ``sessions.json`` (with parameters, last metrics, and what they ran in), ``cells.json`` and
        ``sources.json`` (their code), ``descriptions.json``, ``graph.json`` (which lists were made from which), and, in
        the format of the lists, ``metrics`` (every logged value) and ``lineage`` (the direct parents of every row).

        Parameters
        ----------
        path : path
            A new or empty folder.
        format : {"parquet", "csv", "jsonl"}
            How lists are written. Only Parquet keeps every type.

        Returns
        -------
        DataFrame
            list, version, rows, file: which list went where.

        Raises
        ------
        InvalidInput
            If the folder is not empty.

        Examples
        --------
        >>> saved = vault.save("losses", {"step": 1, "loss": 0.5})
        >>> vault.export("losses.export", format="csv")
             list  version  rows            file
        0  losses        1     1  000-losses.csv
        """
        kind = validate.choice(format, "format", ("parquet", "csv", "jsonl"))
        return exporting.export(self, Path(validate.path(path, "The folder to export to")), kind)

    def _repr_html_(self) -> str:
        from tablevault_pd.display import vault_html

        return vault_html(self.place, None if self.closed else self.lists())

    def __repr__(self) -> str:
        if self.closed:
            return f"<Vault {self.place} (closed)>"
        frame = self.lists()
        lines = [f"<Vault {self.place}: {len(frame)} lists, {int(frame['rows'].sum()):,} rows>"]
        for name, version, rows, columns in frame[["name", "version", "rows", "columns"]].head(20).to_numpy():
            lines.append(f"  {name}  version {version}, {rows:,} rows, {', '.join(map(str, columns[:8]))}")
        if len(frame) > 20:
            lines.append(f"  … and {len(frame) - 20} more: vault.lists()")
        return "\n".join(lines)


def _check_copy(copy: Any, files: Any) -> None:
    if validate.flag(copy, "copy") and not column_names(files, "files"):
        raise InvalidInput(
            "copy=True keeps the content of the files that files= names. Name the columns of paths: files=['path']."
        )


def _expected(expect: Any) -> int | None:
    return None if expect is None else validate.whole(expect, "expect", least=0)


def _sha256(value: Any) -> str:
    if isinstance(value, str) and re.fullmatch("[0-9a-f]{64}", value):
        return value
    raise InvalidInput(
        f"A file's content is named by its SHA-256, 64 hexadecimal digits as vault.files() shows them, not {shown(value)}."
    )


def _same_content(store: Store, a: Version, b: Version) -> bool:
    """Whether two versions of a list show the same stored rows, one perhaps by a restore of the other."""
    if (a.total, a.schema_id) != (b.total, b.schema_id):
        return False
    bases = store.facts([a.list_id]).lists[a.list_id].bases
    return runs_of(a.generation, a.total, bases) == runs_of(b.generation, b.total, bases)
