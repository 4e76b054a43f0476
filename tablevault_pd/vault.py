"""``connect``, and the Vault: the one place where arguments are checked. Everything else is a call into a room."""

from __future__ import annotations

import copyreg
import os
import weakref
from collections.abc import Callable, Hashable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Literal, Self, TypedDict
from uuid import uuid4

import pandas as pd

from tablevault_pd import answers, care, reading
from tablevault_pd import inputs as objects
from tablevault_pd.errors import (
    InvalidInput,
    ListNotFound,
    MissingDependency,
    VaultClosed,
    VaultReadOnly,
    VersionNotFound,
    shown,
)
from tablevault_pd.inputs import Columns, column_names
from tablevault_pd.lineage.asking import Lineage
from tablevault_pd.lineage.origin import tag
from tablevault_pd.lineage.trace import Trace
from tablevault_pd.lists import List
from tablevault_pd.names import check_name, parse_address
from tablevault_pd.progress import Bar
from tablevault_pd.session import CaptureMode, Run, Settings, current, process
from tablevault_pd.session.asking import ask
from tablevault_pd.session.choosing import Wanted, chosen_sessions
from tablevault_pd.session.which import targets
from tablevault_pd.store import Batch, Control, Description, Store, Version
from tablevault_pd.writing import Write, write

DEFAULT_PLACE = "vault"
PLACE_VARIABLE = "TABLEVAULT_URL"


class SaveOptions(TypedDict, total=False):
    """The options of :meth:`Vault.save` and :meth:`Vault.append`."""

    inputs: Any
    description: str | None
    documents: Hashable | Sequence[Hashable]
    embeddings: Any
    files: Hashable | Sequence[Hashable]
    copy: bool
    tags: str | Sequence[str] | None
    schema: Literal["evolve", "strict"]
    kind: str | None


class _Shared:
    """What all handles on one place have in common: the store, and the sessions opened in it."""

    def __init__(self, key: tuple[str, str], store: Store) -> None:
        self.key = key
        self.store = store
        self.runs: dict[str, Run] = {}  # the quiet ones
        self.others: weakref.WeakSet[Run] = weakref.WeakSet()  # those of Vault.session()
        self.handles: weakref.WeakSet[Vault] = weakref.WeakSet()

    def run(self, name: str | None, settings: Settings) -> Run:
        """The session of that name; the one opened last if none is named."""
        if name is None and self.runs:
            return next(reversed(self.runs.values()))
        if name is None or name not in self.runs:
            run = Run(self.store, name, settings=settings)
            self.runs[run.row.name] = run
            return run
        return self.runs[name]

    def leave(self, vault: Vault) -> None:
        self.handles.discard(vault)
        if not self.handles:
            _shared.pop(self.key, None)
            for run in [*self.others, *self.runs.values()]:
                run.end()
            self.store.close()


_shared: dict[tuple[str, str], _Shared] = {}
_current: list[weakref.ref[Vault]] = []


def connect(
    place: str | os.PathLike[str] | None = None,
    *,
    session: str | None = None,
    mode: Literal["rw", "r"] = "rw",
    durability: Literal["full", "fast"] = "full",
    timeout_s: float = 30.0,
    capture: CaptureMode = "main",
    redact: bool = True,
    password: str | Callable[[], str] | None = None,
    token: str | Callable[[], str] | None = None,
    create: bool | Literal["oneshard"] = False,
    verify_tls: bool | str = True,
) -> Vault:
    """Open a vault, and make it the current one. A folder that is not there yet is made.

    Parameters
    ----------
    place : str or path, optional
        A folder, or a database as ``arangodb://user@host:8529/database`` (``arangodbs://`` for TLS). Default: the
        environment variable ``TABLEVAULT_URL``, else ``./vault``.
    session : str, optional
        What to call the session that this process opens. Default: the name of its script.
    mode : {"rw", "r"}
        ``"r"`` reads only: nothing is made or changed, and no session is opened.
    durability : {"full", "fast"}
        ``"full"``: what was committed survives a power failure. ``"fast"``: the last seconds may be lost then, but
        never in a mere crash of the program.
    timeout_s : float
        How long to wait, in seconds, for another writer or for the server.
    capture : {"main", "all", "none"}
        Which code the session keeps: that of the script, or every cell of the notebook; with ``"all"`` also the modules
        of the project that it imports; or none.
    redact : bool
        Mask what looks like a password, key or token in the code, in tracebacks and in the command line.
    password : str or callable, optional
        Of the server's user, or a function that returns it. Default: the one in the URL, else the environment variable
        ``TABLEVAULT_PASSWORD``. It is never shown and never stored.
    token : str or callable, optional
        A JSON web token, instead of a user and password.
    create : bool or "oneshard"
        Make the database on the server if it is not there; in a cluster, on one shard.
    verify_tls : bool or str
        Whether the server's certificate is verified, or the file of the authorities to verify it with.

    Returns
    -------
    Vault
        Connecting again to the same place shares the session.

    Raises
    ------
    VaultNotFound
        With ``mode="r"``, if there is no vault.
    VaultFormatError
        If the place holds something else, or a vault of a newer format.

    Examples
    --------
    >>> with tv.connect("runs.vault", session="train") as runs:
    ...     saved = runs.save("losses", {"step": 1, "loss": 0.5})
    >>> tv.connect("runs.vault", mode="r").read("losses")
              step  loss
    position
    0            1   0.5
    """
    if mode not in ("rw", "r"):
        raise InvalidInput(f"mode is 'rw' or 'r', not {shown(mode)}.")
    if durability not in ("full", "fast"):
        raise InvalidInput(f"durability is 'full' or 'fast', not {shown(durability)}.")
    if capture not in ("main", "all", "none"):
        raise InvalidInput(f"capture= is 'main', 'all' or 'none', not {shown(capture)}.")
    address = os.fspath(place) if place is not None else os.environ.get(PLACE_VARIABLE) or DEFAULT_PLACE
    options = {
        "read_only": mode == "r", "timeout_s": timeout_s, "durability": durability,
        "password": password, "token": token, "create": create, "verify_tls": verify_tls,
    }  # fmt: skip
    shared = _open(address, options)
    vault = Vault(shared, shared.run(session, Settings.of(capture, redact)) if mode == "rw" else None)
    _current.append(weakref.ref(vault))
    _keep[:] = [vault]  # the current vault stays open even if nobody keeps the handle
    return vault


_keep: list[Vault] = []


def _open(address: str, options: dict[str, Any]) -> _Shared:
    """The store at that place, shared by all who connect to it in the same way."""
    server = "://" in address
    key = (
        _server_key(address) if server else os.path.realpath(os.path.expanduser(address)),
        str(options["read_only"]),
    )
    found = _shared.get(key)
    if found is None:
        store = _server_store(address, options) if server else _folder_store(key[0], options)
        found = _shared[key] = _Shared(key, store)
    return found


def _folder_store(folder: str, options: dict[str, Any]) -> Store:
    from tablevault_pd.store.embedded import EmbeddedStore

    only_servers = [
        name
        for name in ("password", "token", "create", "verify_tls")
        if options.pop(name) not in (None, False, True)
    ]
    if only_servers:
        raise InvalidInput(
            f"{', '.join(only_servers)}= is for a vault on a server, and {folder} is a folder."
        )
    return EmbeddedStore(folder, **options)


def _server_store(address: str, options: dict[str, Any]) -> Store:
    try:
        from tablevault_pd.store.arango import ArangoStore
    except ImportError as error:
        if (error.name or "").partition(".")[0] not in ("arango", "orjson", "requests"):
            raise
        raise MissingDependency.for_extra(
            "python-arango and orjson", "arango", "A vault on a server"
        ) from error
    return ArangoStore(address, **options)


def _server_key(address: str) -> str:
    """The address without what comes before the host: a password may stand there."""
    scheme, _, rest = address.partition("://")
    if scheme not in ("arangodb", "arangodbs"):
        raise InvalidInput(
            f"Cannot connect to {shown(scheme + '://…')}: a vault is a folder, or a database at arangodb://user@host:8529/database."
        )
    user, _, place = rest.rpartition("@")
    return f"{scheme}://{user.partition(':')[0]}@{place}"


def current_vault() -> Vault:
    """The vault connected last; the default one is connected if there is none."""
    while _current:
        vault = _current[-1]()
        if vault is not None and not vault.closed:
            return vault
        _current.pop()
    parent = process.parent()
    return connect(None if parent is None else parent.place)  # a worker works where its parent does


def _received(place: str, session_id: int) -> Run:
    """A session that was sent to this process: itself where it came from, elsewhere that of this process, its child."""
    vault = connect(place)
    for run in (*vault._shared.others, *vault._shared.runs.values()):
        if run.row.id == session_id:
            return run
    assert vault._run is not None
    return vault._run


def _sent(run: Run) -> tuple[Any, ...]:
    return _received, (run.store.place, run.row.id)


copyreg.pickle(Run, _sent)  # a worker that is handed a session logs to one of its own


class Vault(Lineage):
    """A repository of lists: a folder, or a database on a server. Made by :func:`connect`."""

    def __init__(self, shared: _Shared, run: Run | None) -> None:
        self._shared = shared
        self._run = run
        self.closed = False
        shared.handles.add(self)

    def __reduce__(self) -> tuple[Any, ...]:
        return partial(connect, mode="r" if self._shared.store.read_only else "rw"), (self.place,)

    @property
    def store(self) -> Store:
        """The store below. Not part of the public interface."""
        if self.closed:
            raise VaultClosed("This vault was closed. Connect to it again with tablevault_pd.connect(…).")
        return self._shared.store

    @property
    def place(self) -> str:
        """Where the vault is."""
        return self._shared.store.place

    def close(self) -> None:
        """Close the vault, and the session with it if nobody else in this process uses it."""
        if not self.closed:
            self.closed = True
            self._shared.leave(self)
            if self in _keep:
                _keep.remove(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # -- writing

    def save(
        self,
        name: str,
        obj: Any,
        *,
        inputs: Any = None,
        description: str | None = None,
        documents: Any = None,
        embeddings: Any = None,
        files: Any = None,
        copy: bool = False,
        tags: str | Sequence[str] | None = None,
        schema: Literal["evolve", "strict"] = "evolve",
        kind: str | None = None,
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
            Which rows these were made from: a frame read from this vault (row by row if it is as long, else every row came
            from all of it), a list's name, ``{name: positions}`` (one cell for each row, in row order; a cell may be a list),
            ``{name: slice(a, b)}``, ``{name: "column of obj"}``, a list of several of these, or ``False`` for none. Left out,
            it is told from reference columns, or from the index of a frame that was read from this vault.
        description : str, optional
            A text about the list, found by search.
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
            Labels of the list, shown by :meth:`lists`.
        schema : {"evolve", "strict"}
            ``"strict"`` refuses other columns or dtypes than the list has now.
        kind : {"record", "document", "embedding", "file"}, optional
            What a Series holds, if not what its cells look like.

        Returns
        -------
        List
            Saving rows equal to the newest version changes nothing and makes no version.

        Raises
        ------
        InvalidName, UnsupportedColumn, SchemaMismatch, InvalidInput, FileMissing
            Before anything is written.

        Examples
        --------
        >>> news = vault.save("news", pd.DataFrame({"title": ["Storm", "Sun"], "vec": [[1.0, 0.0], [0.0, 1.0]]}))
        >>> news
        <List 'news', version 1: 2 rows>
          title  str
          vec    object, embedding of width 2
        """
        return self._write(
            "save", name, obj, inputs=inputs, description=description, documents=documents, embeddings=embeddings, files=files, copy=copy,
            tags=tags, schema=schema, kind=kind,
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
        documents: Any = None,
        embeddings: Any = None,
        files: Any = None,
        copy: bool = False,
        tags: str | Sequence[str] | None = None,
        schema: str = "evolve",
        kind: str | None = None,
    ) -> List:
        name = check_name(name)
        if schema not in ("evolve", "strict"):
            raise InvalidInput(f"schema= is 'evolve' or 'strict', not {shown(schema)}.")
        self._writable()
        options = Columns(
            embeddings,
            column_names(documents, "documents"),
            column_names(files, "files"),
            self.store.keep_file if copy else None,
            Trace(self.store, inputs),
        )
        told = () if description is None else (self._description(description),)
        assert options.trace is not None
        what = Write(
            name,
            operation,
            schema,
            self._session_id,
            self._cell,
            _tags(tags),
            told,
            options.trace.edges,
            self._reads,
        )
        if isinstance(obj, List):
            obj = obj.batches(objects.ROWS_PER_TABLE)
        version = write(self.store, what, options.trace.counted(objects.encoded(obj, options, kind=kind)))
        run = self._current_run()
        if run is not None and version.session_id == run.id:
            run.reads.kept(what.reads)
        return List(self, name, version)

    @property
    def _session_id(self) -> int | None:
        run = self._current_run()
        return None if run is None else run.id

    @property
    def _reads(self) -> tuple[tuple[int, int], ...]:
        run = self._current_run()
        return () if run is None else run.reads.take()

    @property
    def _cell(self) -> int | None:
        run = self._current_run()
        return None if run is None else run.cell

    def _current_run(self) -> Run | None:
        """The session that is meant here: the innermost ``with vault.session(…)``, else the quiet one."""
        return current.innermost(self._shared.store) or self._run

    def _writable(self) -> None:
        if self.store.read_only:
            raise VaultReadOnly("This vault is open for reading. Connect with mode='rw' to write.")

    def _description(
        self, text: str, *, label: str = "BASE", vector: Any = None, **target: Any
    ) -> Description:
        if not isinstance(text, str) or not text.strip():
            raise InvalidInput(f"A description is a text, not {shown(text)}.")
        numbers = None if vector is None else tuple(float(number) for number in vector)
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
            :meth:`pandas.DataFrame.query` string, or an expression such as ``pd.col("loss") < 0.1``.
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
        found = reading.resolve(self.store, name, version=version, as_of=as_of)
        frame = reading.read(
            self.store, found, columns=_labels(columns), filters=filters, start=start, stop=stop, refs=refs
        )
        self._noted(found)
        return tag(frame, self.store.vault_id, found)

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

    # -- searching

    def search(
        self,
        text: str | None = None,
        *,
        near: Any = None,
        filters: Any = None,
        kind: str | Sequence[str] | None = None,
        lists: Any = None,
        code: str | None = None,
        description: str | None = None,
        session: Any = None,
        parents_of: Any = None,
        children_of: Any = None,
        since: Any = None,
        until: Any = None,
        as_of: Any = None,
        columns: Sequence[Hashable] | None = None,
        k: int | None = None,
        approx: bool = False,
        metric: Literal["cosine", "dot", "l2"] = "cosine",
        snippet: bool = False,
    ) -> pd.DataFrame:
        """Rows of all lists that fit everything asked, best first.

        Parameters
        ----------
        text : str, optional
            Every word must be there, in any form (stemmed, case- and accent-blind); ``"a phrase"``, ``OR``, ``-not``,
            ``pre*``. Looked for in documents, in paths of files, and in the text fields of a record together.
        near : vector, array of shape (m, dim), or dict, optional
            Rows with a vector near to it; ``{"vec": vector}`` names the column, ``{"description": vector}`` compares the
            vectors of descriptions. Several vectors give an answer each, told apart by the column ``query``.
        filters : optional
            Only rows that fit, as for :meth:`read`. A list without a column that is named has none.
        kind : {"record", "document", "embedding", "file"} or list of these, optional
            Which items are looked at.
        lists : name, pattern such as ``"run-*"``, List, or list of these, optional
            Where to look. Default: the newest version of every list that is not deleted.
        code : str, optional
            Only rows written by a cell whose code mentions it: identifiers whole or in part, ``"any text"`` as it stands.
        description : str, optional
            Only rows of lists, or by sessions, so described.
        session : name, id, frame of :meth:`sessions`, or list of these, optional
            Only rows written by them. A bare name means its latest run, ``"train#2"`` a certain one.
        parents_of, children_of : frame, list or references, optional
            Only rows that these were made from, or that were made from these.
        since, until : time, optional
            Only rows committed from, or up to, that time (UTC unless it says otherwise).
        as_of : time, optional
            Search the lists as they were then.
        columns : list of column names, optional
            Columns of the rows to add to the answer. One that has the name of a column of the answer is added as
            ``row.name``; a list that lacks one has missing values there.
        k : int, optional
            At most so many rows (for each query vector). Default: all that match.
        approx : bool
            Vectors may be found by an index, which is faster and may miss some. Needs the extra ``ann``.
        metric : {"cosine", "dot", "l2"}
            How vectors are compared; for ``"l2"`` the score is minus the distance.
        snippet : bool
            Add a column with the part of the text that matched.

        Returns
        -------
        DataFrame, shape (n_rows, 12 + more)
            ref, list, position, version, kind, column, score, text_score, near_score, value, session, cell, then what was
            asked for. One line per row, for the item of it that fits best. Index: rank, from 0. With text and near, either
            may match, and ``score`` is their reciprocal rank fusion.

        Raises
        ------
        InvalidInput, InvalidFilter, ListNotFound, ListDeleted, SessionNotFound, DimensionMismatch, MissingDependency

        Examples
        --------
        >>> news = vault.save("news", pd.DataFrame({"title": ["Storm at sea", "Sunny days"], "vec": [[1.0, 0.0], [0.0, 1.0]]}))
        >>> vault.search("storms")[["list", "position", "column", "value"]]
           list  position column         value
        0  news         0  title  Storm at sea
        >>> vault.search(near=[0.1, 0.9], columns=["title"], k=1)[["position", "score", "title"]].round(3)
           position  score       title
        0         1  0.994  Sunny days
        """
        from tablevault_pd.search import request, search

        asked = request(
            text, near=near, filters=filters, kind=kind, lists=lists, code=code, description=description, session=session,
            parents_of=parents_of, children_of=children_of, since=since, until=until, as_of=as_of, columns=columns, k=k,
            approx=approx, metric=metric, snippet=snippet,
        )  # fmt: skip
        return search(self.store, asked)

    # -- what is there

    def lists(self, *, deleted: bool = False) -> pd.DataFrame:
        """Every list, one a row; with ``deleted=True`` the hidden ones too.

        Examples
        --------
        >>> saved = vault.save("losses", {"step": 1, "loss": 0.5}, description="loss by step")
        >>> vault.lists()[["name", "version", "rows", "description"]]
             name  version  rows   description
        0  losses        1     1  loss by step
        """
        return answers.lists(self.store, deleted=deleted)

    def versions(self, name: str | None = None) -> pd.DataFrame:
        """The versions of one list, deleted or not, or of all lists.

        Examples
        --------
        >>> first = vault.save("words", ["cat"])
        >>> second = vault.append("words", ["dog"])
        >>> vault.versions("words")[["version", "operation", "rows", "total"]]
           version operation  rows  total
        0        1      save     1      1
        1        2    append     1      2
        """
        if name is not None:
            name = parse_address(name).name
            if self.store.head(name) is None:
                raise ListNotFound.named(name, self.store.names())
        return answers.versions(self.store, name)

    # -- sessions

    def session(
        self,
        name: str | None = None,
        *,
        params: Mapping[str, Any] | None = None,
        tags: str | Sequence[str] | None = None,
        parent: str | int | Run | None = None,
        resume: bool = False,
    ) -> Run:
        """Begin a session of its own inside of this process. In a ``with``, all that is saved there names it.

        Parameters
        ----------
        name : str, optional
            What to call it; each run of a name gets its number: ``sweep-3#1``, ``sweep-3#2``. Default: the script's name.
        params : mapping, optional
            Its settings, columns ``params.…`` of :meth:`sessions`.
        tags : str or list of str, optional
            Its labels.
        parent : name, id or session, optional
            Default: the session that this one is inside of, or the one that started this process.
        resume : bool
            Continue the last run of that name if it crashed, failed or was stopped. If it came to its end, or there is
            none, a new run begins.

        Returns
        -------
        Run
            Leaving the ``with`` ends it, with the outcome that the exception, if any, says.

        Raises
        ------
        Conflict
            With ``resume=True``, if the last run is still running.

        Examples
        --------
        >>> with vault.session("sweep-3", params={"lr": 0.1}) as s:
        ...     for step in range(3):
        ...         s.log(step=step, loss=1 / (step + 1))
        ...         s.checkpoint()
        >>> vault.sessions("sweep-3")[["session", "state", "params.lr", "metrics.loss"]].round(2)
             session     state  params.lr  metrics.loss
        0  sweep-3#1  finished        0.1          0.33
        """
        self._writable()
        above = None if parent is None else targets(self.store, parent)[-1]
        around = self._current_run()
        settings = None if around is None else around.settings
        run = Run(
            self.store,
            name,
            params=params,
            tags=tags,
            parent=above,
            around=around,
            resume=resume,
            settings=settings,
        )
        self._shared.others.add(run)
        return run

    def sessions(
        self,
        name: str | None = None,
        *,
        state: str | Sequence[str] | None = None,
        params: Mapping[str, Any] | None = None,
        tags: str | Sequence[str] | None = None,
        parent: str | int | Run | None = None,
        since: Any = None,
        until: Any = None,
        filters: Any = None,
        code: str | None = None,
    ) -> pd.DataFrame:
        """Sessions, oldest first: who ran what, when, how it ended, with parameters and last metrics as columns.

        Parameters
        ----------
        name : str, optional
            Only runs of this name, this one run (``"train#2"``), or those that fit a pattern (``"sweep-*"``).
        state : str or list of str, optional
            running, paused, finished, failed, stopped or lost: those whose heartbeat stopped.
        params : mapping, optional
            Only those with these values.
        tags : str or list of str, optional
            Only those with all of these.
        parent : name, id or session, optional
            Only the children of this one.
        since, until : time, optional
            Only those that started at or after, and before.
        filters : optional
            Only those that fit, as for :meth:`read`: ``[("params.lr", "<", 0.1), ("metrics.acc", ">", 0.9)]``.
        code : str, optional
            Only those with a cell that mentions it, as for :meth:`search`.

        Examples
        --------
        >>> with vault.session("sweep-1", params={"lr": 0.1}), vault.session("sweep-2", params={"lr": 0.2}):
        ...     running = vault.sessions("sweep-*", state="running")
        >>> running[["session", "params.lr"]]
             session  params.lr
        0  sweep-1#1        0.1
        1  sweep-2#1        0.2
        """
        above = None if parent is None else targets(self.store, parent)[-1]
        wanted = Wanted.of(
            name, state=state, params=params, tags=tags, parent=above, since=since, until=until
        )
        if filters is None and code is None:
            seen, chosen = chosen_sessions(self.store, wanted)
            return answers.sessions(self.store, chosen, seen=seen)
        from tablevault_pd.search.sessions import sessions

        found = sessions(self.store, filters=filters, code=code)
        if wanted.asks_nothing:
            return found
        labels = [each.label for each in chosen_sessions(self.store, wanted)[1]]
        return found[found["session"].isin(labels)].reset_index(drop=True)

    def cells(self, session: str | int | Run | pd.DataFrame | None = None) -> pd.DataFrame:
        """The code of a session (``"train"`` for its latest run, ``"train#2"``), of several, or of all.

        Examples
        --------
        >>> vault.cells().columns.tolist()[:5]
        ['session', 'cell', 'text', 'started', 'duration_s']
        """
        if session is None:
            return answers.cells(self.store, None)
        return answers.cells(self.store, self.store.sessions(targets(self.store, session)))

    def sources(self, session: str | int | Run | pd.DataFrame) -> pd.DataFrame:
        """The project's modules that a session had imported, kept with ``connect(…, capture="all")``."""
        return answers.sources(self.store, self.store.sessions(targets(self.store, session)))

    def stop(self, which: Any, *, exit_code: int = 0, wait_s: float = 0.0) -> pd.DataFrame:
        """Ask sessions, on whatever machine, to stop at their next checkpoint.

        Parameters
        ----------
        which : str, int, session, DataFrame or a list of these
            A name (its latest run), ``"train#2"``, a pattern (``"sweep-*"``), an id, or a frame from :meth:`sessions`.
        exit_code : int
            What their process is to exit with.
        wait_s : float
            Wait up to so many seconds until all have acknowledged.

        Returns
        -------
        DataFrame
            session, request, state, requested, acknowledged. Of a session that has ended nothing is asked: its state says so.

        Raises
        ------
        SessionNotFound
            If a name or an id is not there. A pattern or a frame may match nobody.

        Examples
        --------
        >>> with vault.session("train"):
        ...     asked = vault.stop("train")
        >>> asked[["session", "request", "state"]]
           session request    state
        0  train#1    stop  running
        """
        if isinstance(exit_code, bool) or not isinstance(exit_code, int) or not 0 <= exit_code <= 255:
            raise InvalidInput(f"exit_code= is a number from 0 to 255, not {shown(exit_code)}.")
        return self._ask(which, "stop", exit_code=exit_code, wait_s=wait_s)

    def pause(self, which: Any, *, wait_s: float = 0.0) -> pd.DataFrame:
        """Ask sessions to wait at their next checkpoint until :meth:`resume` or :meth:`stop`. As for :meth:`stop`."""
        return self._ask(which, "pause", wait_s=wait_s)

    def resume(self, which: Any, *, wait_s: float = 0.0) -> pd.DataFrame:
        """Let paused sessions go on. As for :meth:`stop`."""
        return self._ask(which, "resume", wait_s=wait_s)

    def _ask(self, which: Any, request: Control, **options: Any) -> pd.DataFrame:
        self._writable()
        return ask(self.store, which, request, asked_by=self._session_id, **options)

    def descriptions(self) -> pd.DataFrame:
        """What was said about lists and sessions; the newest text of each label."""
        return answers.descriptions(self.store)

    def files(self, name: str | None = None) -> pd.DataFrame:
        """Every file that a list names, with size in bytes, modified time and SHA-256.

        Examples
        --------
        >>> size = Path("notes.txt").write_text("hello")
        >>> saved = vault.save("inputs", pd.DataFrame({"path": ["notes.txt"]}), files="path")
        >>> vault.files()[["list", "position", "path", "size_bytes"]]
             list  position       path  size_bytes
        0  inputs         0  notes.txt           5
        """
        names = list(self) if name is None else [name]
        return answers.files(self.store, [reading.resolve(self.store, each) for each in names])

    def open_file(self, sha256: str) -> BinaryIO:
        """The content of a file that was saved with ``copy=True``, opened for reading in binary.

        Raises
        ------
        FileMissing
            If no such content is kept.
        """
        return self.store.open_file(sha256)

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
            from tablevault_pd.session import find_or_none

            session = find_or_none(self.store, name)
            if session is None:
                raise ListNotFound.named(name, self.store.names())
            target = {"session_of": session.id}
        self.store.describe(self._description(text, label=label, vector=vector, **target))

    # -- versions

    def delete(self, name: str) -> None:
        """Hide a list. Its versions stay; :meth:`restore` brings them back, :meth:`vacuum` frees their space.

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
        self._change("delete", name, None)

    def restore(self, name: str, version: int) -> List:
        """Make an older version the newest one. Restoring the newest changes nothing."""
        name = check_name(name)
        head = self.store.head(name)
        if head is not None and head.version == version and not head.deleted:
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
        if head is not None and target is not None and not head.deleted and _same_content(head, target):
            return List(self, name, head)
        return self._change("restore", name, version)

    def _change(self, operation: Literal["delete", "restore"], name: str, target: int | None) -> List:
        name = check_name(name)
        self._writable()
        if self.store.head(name) is None:
            raise ListNotFound.named(name, self.store.names())
        batch = Batch(
            uuid4().hex, name, operation, target=target, session_id=self._session_id, cell=self._cell
        )
        return List(self, name, self.store.commit(batch))

    # -- care

    def check(self, *, fix: bool = False) -> pd.DataFrame:
        """Read and verify everything, files outside of the vault included. Empty when all is sound.

        Parameters
        ----------
        fix : bool
            Remove strays: files that no commit names. Damage is never repaired by guessing.

        Examples
        --------
        >>> saved = vault.save("losses", {"loss": 0.5})
        >>> len(vault.check())
        0
        """
        return care.check(self.store, fix=fix)

    def compact(self, name: str | None = None) -> pd.DataFrame:
        """Merge what many small appends left behind, so that reading is fast. Positions and versions stay."""
        self._writable()
        if name is not None and self.store.head(check_name(name)) is None:
            raise ListNotFound.named(name, self.store.names())
        with Bar("compacting", unit="lists") as bar:
            return answers.compacted(self.store.compact(name, progress=bar))

    def vacuum(self, *, keep: int = 1, dry_run: bool = True) -> pd.DataFrame:
        """Free the space of rows that only old versions show.

        Parameters
        ----------
        keep : int
            How many of the newest versions of each list stay readable.
        dry_run : bool
            Only say what would be removed. ``False`` removes it, for good.
        """
        if not isinstance(keep, int) or keep < 1:
            raise InvalidInput(f"keep= is a number of versions, at least 1, not {shown(keep)}.")
        if not dry_run:
            self._writable()
        return answers.vacuumed(self.store.vacuum(keep=keep, dry_run=dry_run), removed=not dry_run)

    def export(
        self, path: str | os.PathLike[str], *, format: Literal["parquet", "csv", "jsonl"] = "parquet"
    ) -> pd.DataFrame:
        """Write every list, and the frames about them, into a folder that other programs can read.

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
        """
        return care.export(self, Path(path), format)

    def _repr_html_(self) -> str:
        from tablevault_pd.reprs import vault_html

        return vault_html(self)

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


def _tags(tags: str | Sequence[str] | None) -> tuple[str, ...] | None:
    if tags is None:
        return None
    found = (tags,) if isinstance(tags, str) else tuple(tags)
    if not all(isinstance(tag, str) for tag in found):
        raise InvalidInput(f"tags= is a text or a list of texts, not {shown(tags)}.")
    return found


def _labels(columns: Sequence[Hashable] | None) -> list[Hashable] | None:
    if columns is None:
        return None
    if isinstance(columns, (str, bytes)) or not hasattr(columns, "__iter__"):
        raise InvalidInput(f"columns= is a list of column names: [{columns!r}] for one.")
    return list(columns)


def _same_content(a: Any, b: Any) -> bool:
    return (a.generation, a.total, a.schema_id) == (b.generation, b.total, b.schema_id)


def read(name: str, **options: Any) -> pd.DataFrame:
    """Rows of a list of the current vault. See :meth:`Vault.read`."""
    return current_vault().read(name, **options)


__all__ = ["SaveOptions", "Vault", "connect", "current_vault", "read"]
