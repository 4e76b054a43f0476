"""The :class:`Vault`: save and append. Its other calls are in the parts that it inherits from, one for each theme."""

from __future__ import annotations

from contextlib import nullcontext, suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, NoReturn, Self

import numpy as np
import pandas as pd

from tablevault_pd import frames, validate
from tablevault_pd.capture.exits import ExitStatus, ending_of
from tablevault_pd.display import counted, printable, printable_lines
from tablevault_pd.errors import (
    InvalidInput,
    InvalidType,
    SessionStopped,
    VaultError,
    did_you_mean,
    short_repr,
)
from tablevault_pd.keywords import public, takes
from tablevault_pd.lineage.record import LineageRecorder
from tablevault_pd.lineage.stand_ins import StandInParents
from tablevault_pd.names import check_name
from tablevault_pd.reading import read as reading
from tablevault_pd.saving.commit import WriteRequest
from tablevault_pd.saving.conflicts import telling_who
from tablevault_pd.saving.ingest import (
    COLUMN_OF_KIND,
    ROWS_PER_CHUNK,
    ColumnOptions,
    column_names,
    document_columns,
    ingest,
    is_columns,
)
from tablevault_pd.saving.ingest_rows import refuse_row
from tablevault_pd.saving.write import write
from tablevault_pd.store.engine.languages import ENGLISH, check_language
from tablevault_pd.vault.analysis import Analysis
from tablevault_pd.vault.catalog import Catalog
from tablevault_pd.vault.comparing import Comparing
from tablevault_pd.vault.control import Control
from tablevault_pd.vault.explore import Explore
from tablevault_pd.vault.lineage import Lineage
from tablevault_pd.vault.lists import List
from tablevault_pd.vault.maintenance import Maintenance
from tablevault_pd.vault.mapping import MappedLists
from tablevault_pd.vault.names import NamedStates
from tablevault_pd.vault.options import DEFAULTS, SaveOptions, UpsertOptions
from tablevault_pd.vault.reading import Reading
from tablevault_pd.vault.rows import KeyedRows
from tablevault_pd.vault.search import Search
from tablevault_pd.vault.sessions import Sessions
from tablevault_pd.vault.sql import Sql
from tablevault_pd.vault.versions import ListVersions
from tablevault_pd.vault.work import Claiming
from tablevault_pd.work.claimed import finished_by

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence
    from types import TracebackType
    from typing import Unpack

    from tablevault_pd.store import Version

NO_COLUMN_OPTIONS = ColumnOptions()
SHOWN_LISTS = 20  #: in the repr of a vault


@public("Vault")
class Vault(
    Reading,
    KeyedRows,
    ListVersions,
    NamedStates,
    Catalog,
    Search,
    Lineage,
    Analysis,
    Comparing,
    Sql,
    Explore,
    Sessions,
    Control,
    Claiming,
    MappedLists,
    Maintenance,
):
    """A repository of lists: a folder, or a database on a server. Made by :func:`connect`.

    It is a collection of lists by their names: ``vault["news"]``, ``"news" in vault``, ``for name in vault``, ``len(vault)``.

    Notes
    -----
    Beside the errors that a call names, any call may raise

    - VaultClosed after :meth:`close`, and in a child process that was forked in the middle of a call,
    - SessionStopped once its session was asked to stop,
    - VaultBusy if another process keeps the vault locked for longer than ``timeout_s``,
    - StorageError where the disk, StoreUnavailable and StoreError where the server fails,
    - VaultCorrupt where what it needs is damaged.

    Examples
    --------
    >>> saved = vault.save("news", ["Storm", "Sun"])
    >>> "news" in vault, list(vault), vault["news"].version
    (True, ['news'], 1)
    """

    def close(self) -> None:
        """Close the vault, and its session unless another handle of this process uses it. A ``with`` does the same.

        Examples
        --------
        >>> other = tv.connect("other.vault")
        >>> other.close()
        >>> other
        <Vault ...other.vault (closed)>
        """
        self._close(ExitStatus())

    def _close(self, ending: ExitStatus) -> None:
        self.closed = True
        self._context.release(self, ending)

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
        key: Hashable | Sequence[Hashable] | None = None,
        language: str | None = None,
        expect: int | None = None,
        finish: bool = False,
    ) -> List:
        """Save rows as the new content of a list. Earlier versions stay readable.

        Parameters
        ----------
        name : str
            The list's name: printable text of up to 200 bytes without ``@``.
        obj : object
            A DataFrame, Series, dict (one row), list of dicts, 2-D array (one vector a row), list of texts (documents),
            anything with ``__arrow_c_stream__`` (Arrow, polars, DuckDB), or an iterator of these, which is streamed
            into one commit.
        inputs : optional
            Which rows these were made from: a frame read from this vault (every row saved came from all of its rows),
            ``tv.rows(frame)`` (row by row), a list's name, ``{name: positions}`` (one cell for each row, in row order; a cell
            may be a list), ``{name: slice(a, b)}``, ``{name: "column of obj"}``, ``{name: tv.chars(…)}`` (characters of a
            document: :func:`chars`), a list of several of these, or ``False`` for
            none. Left out, the parents are found by reference columns, or by the index of a frame that was read from this vault;
            where pandas dropped that, the lists that the session had read stand in (basis ``read``), with a warning.
        description : str, optional
            A text about the list, found by search. Earlier ones are kept, with their times: :meth:`descriptions`.
        message : str, optional
            A text about this version, shown by :meth:`versions`. The same rows with another message are a new version.
        documents : name, list of names, or dict
            Text columns that are documents. Their texts follow one another, or ``{"chunk": "start"}`` names the column of whole
            numbers that says where each begins in its document, in characters: chunks may overlap then.
        embeddings : None, False, name, list of names, or dict
            Columns of vectors are found by themselves. Names say which columns are vectors (whole numbers become
            vectors only so), ``False`` that there are none, ``{"vec": False}`` that one is not, ``{"vec": "float32"}``
            which width to store.
        files : name or list of names
            Columns of paths: size, modified time and SHA-256 of each file are kept. Addresses such as ``s3://bucket/key`` are asked of
            their storage by fsspec (extra ``fsspec``): size, time and tag are kept, and the content is not read, unless with `copy`.
            Passwords in an address are masked.
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
        key : name or list of names, optional
            Columns, or levels of the index, that name a row: never missing, and no two rows with the same. It is kept with the
            list, so that it need not be said again.
        language : str, optional
            The language of its texts, by whose rules a search stems words: ``"german"``, ``"french"`` … (extra ``languages``). It is
            kept with the list. Default: that of the list, else ``"english"``.
        expect : int, optional
            Write only if the newest version of the list is this one; 0: only if there never was a list of that name.
        finish : bool
            Finish the claimed rows that `inputs` names (see :meth:`claim`) in the same commit: both happen, or neither.

        Returns
        -------
        List
            At the version that was made. Rows equal to those of the newest version, with the same tags and parents, make
            none: the answer is at the newest version, and a new `description` is kept all the same.

        Raises
        ------
        InvalidName, InvalidType
            If no list can have that name, or it is no text.
        InvalidInput
            If an option cannot be used as it is, or a dict of columns is taken for a row.
        ListNotFound
            If `inputs` names a list that is not there.
        UnsupportedColumn
            If a column holds something that cannot be kept exactly; the message names column, row and reason.
        SchemaMismatch, DimensionMismatch
            With ``schema="strict"``, if columns or dtypes differ from those of the list; if vectors differ in length.
        DuplicateKey
            If two rows have the same key.
        FileMissing, MissingDependency
            If a file of a ``files=`` column cannot be read; if a storage needs a package that is not installed.
        Conflict
            If the newest version is not the one in `expect`.
        ClaimLost
            With ``finish=True``, if one of the rows is not held by the claim any more.
        VaultReadOnly
            If the vault is open for reading.
        StorageFull
            If the disk is full.

        Notes
        -----
        All of them are raised before anything becomes visible: the version is there whole, or not at all.

        Examples
        --------
        >>> news = vault.save("news", pd.DataFrame({"title": ["Storm", "Sun"], "vec": [[1.0, 0.0], [0.0, 1.0]]}))
        >>> news
        <List 'news', version 1: 2 rows>
          title  str
          vec    object, embedding of width 2
        """
        return self._write(
            "save",
            name,
            obj,
            inputs=inputs,
            description=description,
            message=message,
            documents=documents,
            embeddings=embeddings,
            files=files,
            copy=copy,
            tags=tags,
            schema=schema,
            kind=kind,
            key=key,
            language=language,
            expect=expect,
            finish=finish,
        )

    @takes(SaveOptions, DEFAULTS)
    def append(self, name: str, obj: Any, **options: Unpack[SaveOptions]) -> List:
        """Add rows at the end of a list, which is made if there is none.

        New columns are added and types widened where no value is lost; ``schema="strict"`` refuses both. A column without a value,
        which pandas makes floats of, takes the type of the first values. To a list with a key an append can be repeated: rows that
        are there already are not added again.

        Parameters
        ----------
        name : str
            The list's name.
        obj : object
            The rows, as for :meth:`save`.
        inputs, description, message, documents, embeddings, files, copy, tags, schema, kind, key, language, expect, finish : optional
            As for :meth:`save`.

        Returns
        -------
        List
            At the version that was made; if a list with a key has all the rows already, at its newest version.

        Raises
        ------
        SchemaMismatch
            If a column cannot hold its old and its new values, or ``schema="strict"`` and columns or dtypes differ; if `language` is
            not that of the list.
        DuplicateKey
            If the list has another row under the key of one of these, or two of these have the same key.
        InvalidName, InvalidInput, ListNotFound, UnsupportedColumn, DimensionMismatch, FileMissing
            As for :meth:`save`.
        Conflict, ClaimLost, VaultReadOnly, StorageFull
            As for :meth:`save`.

        Examples
        --------
        >>> for step in range(3):
        ...     losses = vault.append("losses", {"step": step, "loss": 1 / (step + 1)})
        >>> len(losses), losses.version
        (3, 3)
        >>> for attempt in range(2):
        ...     results = vault.append("results", {"task": 7, "answer": "yes"}, key="task")
        >>> len(results), results.version
        (1, 1)
        """
        return self._write("append", name, obj, **options)

    def _write(
        self,
        operation: Literal["save", "append", "upsert"],
        name: str,
        obj: Any,
        **options: Unpack[UpsertOptions],
    ) -> List:
        """Check the options, then encode and commit `obj`."""
        name = check_name(name)
        columns, given = _checked(options) if options else (NO_COLUMN_OPTIONS, {})
        store = self._check_writable()
        # To a list that is there rows of sequences may be added, which happen to be of one length.
        if is_columns(obj) and (operation == "save" or name not in self):
            raise InvalidInput(
                "A dict is one row, and the values of this one are sequences of one length. Write pd.DataFrame({…}) for a row of each "
                "place in them, or [{…}] for one row that holds sequences."
            )
        if isinstance(obj, pd.Series) and operation != "save":
            refuse_row(obj, name, self[name].columns if name in self else (), given.get("key") or ())
        run, writer, stand_ins = self._current_run(), self._writer(), None
        if run is not None:
            given |= writer | {"reads": run.reads.take()}
            cell, code = writer["cell"], partial(run.lines_of_slice, writer["cell"], writer["line"])
            stand_ins = StandInParents(store, run.reads, name, cell, append=operation != "save", code=code)
        lineage = LineageRecorder(store, options.get("inputs"), stand_ins)
        if options.get("finish"):
            given["finishes"] = finished_by(store, obj, options.get("inputs"), self._any_holder())
        description = options.get("description")
        if description is not None:
            given["descriptions"] = (self._description(description),)
        request = WriteRequest(name, operation, **given)
        if isinstance(obj, List):
            obj = obj.batches(ROWS_PER_CHUNK)
        chunks = ingest(obj, columns, lineage, kind=options.get("kind"))
        with nullcontext() if request.expect is None else telling_who(store, name, request.expect):
            version = write(store, request, lineage, chunks)
        if request.reads and run is not None and version.session_id == run.id:
            run.reads.mark_stored(request.reads)
        return List(self, name, version)

    # -- lists by name

    def _list_at(self, version: Version) -> List:
        return List(self, version.list, version)

    def __getitem__(self, name: str) -> List:
        handle = List(self, name)
        handle._version()  # raises for an unknown name
        return handle

    def __setitem__(self, name: str, rows: object) -> NoReturn:
        raise InvalidType(f"Rows are saved by a call: vault.save({short_repr(name)}, rows).")

    def __delitem__(self, name: str) -> NoReturn:
        raise InvalidType(f"A list is hidden by a call: vault.delete({short_repr(name)}).")

    def __contains__(self, name: object) -> bool:
        return reading.exists(self.store, name)

    def __getattr__(self, name: str) -> NoReturn:
        """Say what is meant: a list is an item of the vault, and calls may have another name elsewhere."""
        raise AttributeError(f"A Vault has no attribute {name!r}.{self._meant(name)}", name=name, obj=self)

    def _meant(self, name: str) -> str:
        if name.startswith("_") or "_context" not in self.__dict__:
            return ""
        with suppress(VaultError):
            if name in self:
                return f" The list is vault[{name!r}]."
        if name in _ELSEWHERE:
            return f" Write {_ELSEWHERE[name]}."
        return f" {did_you_mean(name, [name for name in dir(self) if not name.startswith('_')])}".rstrip()

    def _ipython_key_completions_(self) -> list[str]:
        with suppress(VaultError, SessionStopped):  # IPython prints errors across what is being typed
            return list(self)
        return []

    def _repr_html_(self) -> str:
        from tablevault_pd.display import vault_html

        return vault_html(self.place) if self.closed else vault_html(self.place, *self._summary())

    def __repr__(self) -> str:
        place = self.place if self._view is None else f"{self.place} ({self._view.pinned_to})"
        if self.closed:
            return f"<Vault {place} (closed)>"
        said, lists, more = self._summary()
        lines = [f"<Vault {place}: {said}>"]
        for name, version, rows, labels in lists:
            columns = printable(", ".join(labels[:8]))
            lines.append(f"  {name}  version {version}, {counted(rows, 'row')}, {columns}")
        return printable_lines("\n".join([*lines, f"  … and {more} more: vault.lists()"] if more else lines))

    def _summary(self) -> tuple[str, list[tuple[str, int, int, list[str]]], int]:
        """Return how much there is, name, version, rows and columns of the first lists, and how many lists more there are."""
        summary = self.store.list_summary(SHOWN_LISTS)
        schemas = self.store.schemas({head.schema_id for head in summary.first})
        labels = {
            key: [str(column.label) for column in frames.columns(schema)] for key, schema in schemas.items()
        }
        lists = [(head.list, head.version, head.shown, labels[head.schema_id]) for head in summary.first]
        said = f"{counted(summary.lists, 'list')}, {counted(summary.rows, 'row')}"
        return said, lists, summary.lists - len(lists)


#: What other libraries call our calls.
_ELSEWHERE = {
    "step": "tv.step(…) inside of a session",
    **{
        call: f"s.{call}(…), where s is a session: with vault.session(name) as s"
        for call in ("log_table", "log_text", "log_figure", "log_model")
    },
    "checkpoint": "s.checkpoint(), where s is a session: with vault.session(name) as s",
    **dict.fromkeys(("start_run", "init", "log_param"), "with vault.session(name, params={…}) as s"),
    **dict.fromkeys(("log", "log_metric"), "tv.log(…) inside of a session"),
    "log_artifact": "vault.save(name, rows), or with files=['path'], copy=True to keep files",
    "runs": "vault.sessions()",
    "search_runs": "vault.sessions(filters='metrics.acc > 0.9')",
    "create_table": "vault.save(name, rows)",
    "open_table": "vault[name]",
    "diff": "vault.compare(a, b)",
    "checkout": "tv.connect(place, at=…), or vault.restore(name, version)",
    "commit": "vault.save(name, rows): each write is a commit",
    "load": "vault.read(name)",
    "get": "vault[name]",
    "drop": "vault.delete(name)",
    **dict.fromkeys(
        ("keys", "list", "names", "tables", "table_names"), "list(vault), or vault.lists() for a frame"
    ),
    "query": "vault.sql(…), or vault.read(name, filters=…)",
    "to_sql": "vault.save(name, rows)",
    "insert": "vault.append(name, rows)",
    "update": "vault.upsert(name, rows, key=…)",
}


def _checked(options: UpsertOptions) -> tuple[ColumnOptions, dict[str, Any]]:
    """Check the options of a write. Return those for columns, and the others as fields of :class:`WriteRequest`."""
    kind = options.get("kind")
    if kind is not None:
        validate.choice(kind, "kind", tuple(COLUMN_OF_KIND))
    validate.flag(options.get("finish", False), "finish")
    copy = _copies(options)
    columns = ColumnOptions(
        options.get("embeddings"),
        document_columns(options.get("documents")),
        column_names(options.get("files"), "files"),
        copy,
    )
    return columns, {
        "schema_mode": validate.choice(options.get("schema", "evolve"), "schema", ("evolve", "strict")),
        "copy": copy,
        "tags": validate.tags(options.get("tags")),
        "expect": validate.expected(options.get("expect")),
        "message": validate.optional_text(options.get("message"), "message="),
        "key": _key(options.get("key")),
        "drop_missing": _drop_missing(options.get("drop_missing", False)),
        "language": _language(options.get("language")),
    }


def _key(value: Any) -> tuple[Hashable, ...] | None:
    """Return the columns that make the key; None where none were given."""
    if value is None:
        return None
    labels = tuple(validate.label(label, "key") for label in column_names(value, "key"))
    if not labels or len(set(labels)) < len(labels):
        raise InvalidInput(f"key= names one or more columns, each once, not {short_repr(value)}.")
    return labels


def _language(value: Any) -> str | None:
    """Return the language that was named; None where none was."""
    return None if value is None else check_language(value) or ENGLISH


def _drop_missing(value: Any) -> bool | tuple[Hashable, ...]:
    """Return whether all rows go that are not given, or the columns that say which do."""
    if value is None or isinstance(value, (bool, np.bool_)):
        return bool(value)
    labels = tuple(validate.label(label, "drop_missing") for label in column_names(value, "drop_missing"))
    if not labels:
        raise InvalidInput(f"drop_missing= is True, False or the names of columns, not {short_repr(value)}.")
    return labels


def _copies(options: SaveOptions) -> bool:
    """Return whether the content of files is kept, too. Raises InvalidInput where no column of files is named."""
    copy = validate.flag(options.get("copy", False), "copy")
    if copy and not column_names(options.get("files"), "files"):
        raise InvalidInput(
            "copy=True keeps the content of the files that files= names. Name the columns of paths: files=['path']."
        )
    return copy
