"""A handle on one list: its rows, its versions, and what it holds."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from tablevault_pd import frames, validate
from tablevault_pd.display import counted, printable, printable_lines
from tablevault_pd.errors import InvalidInput, InvalidType, VaultCorrupt, short_repr
from tablevault_pd.keywords import public, takes
from tablevault_pd.names import parse_address
from tablevault_pd.reading import documents
from tablevault_pd.reading import read as reading
from tablevault_pd.reading.chunks import aligned, living
from tablevault_pd.reading.reference import ListReference
from tablevault_pd.store.engine.languages import ENGLISH
from tablevault_pd.vault.options import DEFAULTS, ReadOptions, SaveOptions, SearchOptions, UpsertOptions

if TYPE_CHECKING:
    import os
    from collections.abc import Hashable, Iterator, Mapping, Sequence
    from typing import Unpack

    import numpy as np
    import pandas as pd

    from tablevault_pd.store import Version
    from tablevault_pd.vault.vault import Vault

#: Modules of pandas that join frames, and how many calls below them the kind of an object may be asked for.
_JOINING, _BETWEEN = ("pandas.core.reshape.concat", "pandas.core.reshape.merge"), 3
#: Options of a search that are no conditions on rows.
_NO_CONDITIONS = frozenset(["k", "offset", "columns", "metric", "approx", "snippet", "as_of"])


@public("List")
class List(ListReference):
    """One list of a vault: at its newest version (``vault["news"]``), or at a fixed one (``vault["news@3"]``).

    What ``save``, ``append`` and ``restore`` return is at the version that they made, whatever others write later. A handle
    holds no rows. Writing, ``versions()``, ``describe()`` and ``delete()`` act on the list, at whatever version the handle is.

    Examples
    --------
    >>> first = vault.save("words", ["cat"])
    >>> second = vault.append("words", ["dog"])
    >>> first.version, len(first), second.version, len(second), len(vault["words"])
    (1, 1, 2, 2, 2)
    """

    def __init__(self, vault: Vault, address: str, committed: Version | None = None) -> None:
        self._vault = vault
        self._address = parse_address(address)
        self._given = address
        #: The version that the call made (with ``.start`` and ``.rows``), or found unchanged; None for ``vault["news"]``.
        self._committed = committed

    def _damage_behind(self) -> VaultCorrupt | None:
        return self._vault._damage_behind()

    def _version(self) -> Version:
        """Look the version up again: its rows may have been vacuumed or erased since it was committed, its list renamed."""
        store = self._vault.store
        if self._committed is None:
            return reading.resolve(store, self._given)
        version = store.version(self._committed.list, self._committed.version)
        if version is not None and version.list_id == self._committed.list_id:
            return version
        history = store.describe_lists([self._committed.list_id]).lists.get(self._committed.list_id)
        name = self._committed.list if history is None else history.name
        return reading.resolve(store, f"{name}@{self._committed.version}")

    @property
    def _text(self) -> str:
        """The address that it reads, by the name that the list has now."""
        if self._committed is None:
            return self._given
        return self._version().label

    @property
    def vault_id(self) -> str:
        """The vault that the list is in."""
        return self._vault.store.vault_id

    @property
    def name(self) -> str:
        """The list's name."""
        return self._address.name

    @property
    def version(self) -> int:
        """The version this handle reads, counted from 1."""
        return (self._committed or self._version()).version

    @property
    def kinds(self) -> dict[Hashable, str]:
        """The kind of each column: record, embedding, document or file."""
        return {column.label: column.kind for column in self._columns()}

    @property
    def columns(self) -> list[Hashable]:
        """Names of the columns, in order."""
        return [column.label for column in self._columns()]

    @property
    def dtypes(self) -> dict[Hashable, str]:
        """The dtype of each column, as pandas shows it."""
        return {column.label: column.dtype for column in self._columns()}

    @property
    def language(self) -> str:
        """The language by whose rules a search stems the words of its texts: ``"english"`` if no other was said."""
        return frames.language_of(self._vault.store.schema(self._version().schema_id)) or ENGLISH

    def _columns(self) -> list[frames.Column]:
        return frames.columns(self._vault.store.schema(self._version().schema_id))

    def __len__(self) -> int:
        return (self._committed or self._version()).shown

    def __bool__(self) -> bool:
        return True  # also for an empty list

    def __getattr__(self, name: str) -> NoReturn:
        """Say where the rows are: a handle is often taken for the frame."""
        if name == "_typ" and _joins_frames():
            raise InvalidType(
                "pd.concat and merge take frames, and a List holds no rows: .read() is a frame of them, "
                "as in pd.concat([vault['a'].read(), vault['b'].read()])."
            )
        words = ".read() is" if name == "to_pandas" else f".read().{name} asks"
        hints = [f"It holds no rows: {words} a frame of them."]
        if hasattr(type(self._vault), name):
            import pandas as pd

            call = f"It is a call of the vault: vault.{name}(…)."
            hints = [call, *hints] if hasattr(pd.DataFrame, name) else [call]
        hint = "" if name.startswith("_") else f" {' '.join(hints)}"
        raise AttributeError(f"A List has no attribute {name!r}.{hint}", name=name, obj=self)

    def __getitem__(self, key: Any) -> NoReturn:
        shown = short_repr(key, 40)
        alone = f", .read(columns=[{shown}]) that column alone" if isinstance(key, str) else ""
        raise InvalidType(f"A List holds no rows: .read()[{shown}] asks a frame of them{alone}.")

    def __iter__(self) -> NoReturn:
        raise InvalidType(
            "A List holds no rows: .read() is a frame of them, which has .itertuples(); .batches(10_000) yields one frame after another."
        )

    @takes(ReadOptions, DEFAULTS)
    def read(self, **options: Unpack[ReadOptions]) -> pd.DataFrame:
        """Read rows as a frame. See :meth:`Vault.read`.

        Examples
        --------
        >>> losses = vault.save("losses", pd.DataFrame({"step": [1, 2], "loss": [0.9, 0.4]}))
        >>> losses.read(filters="loss < 0.5")
                  step  loss
        position
        1            2   0.4
        """
        return self._vault.read(self._text, **options)

    def batches(self, size: int, *, columns: Sequence[Hashable] | None = None) -> Iterator[pd.DataFrame]:
        """Yield frames of `size` rows each, so that the list need not fit into memory.

        Parameters
        ----------
        size : int
            Rows of each frame; the last one has what is left.
        columns : list of column names, optional
            Only these, in this order.

        Returns
        -------
        iterator of DataFrame
            Dtypes and index as of :meth:`Vault.read`. All are of the version that was the newest at the call.

        Raises
        ------
        InvalidInput
            If `size` is less than 1, or a name in `columns` is no column.
        ListDeleted, VersionNotFound
            If the list was deleted, or the rows were vacuumed, also meanwhile.
        VaultCorrupt
            If the rows are damaged.

        Examples
        --------
        >>> words = vault.save("words", {"word": "cat"})
        >>> [len(part) for part in words.batches(1000)]
        [1]
        """
        size = validate.whole(size, "size", least=1)
        columns = validate.labels(columns)
        store, version = self._vault.store, self._version()
        self._vault._note_read(version)
        return reading.batches(store, version, size, columns=columns)

    @takes(SearchOptions, DEFAULTS)
    def search(
        self, text: str | Mapping[Hashable, str] | None = None, **options: Unpack[SearchOptions]
    ) -> pd.DataFrame:
        """Search the rows of this list, best first. See :meth:`Vault.search`.

        Examples
        --------
        >>> words = vault.save("words", [{"word": "cat", "vec": [1.0, 0.5]}, {"word": "dog", "vec": [0.0, 1.0]}])
        >>> words.search(near=[0.0, 2.0], k=1)[["position", "score"]]
           position  score
        0         1    1.0
        """
        if text is None and options.keys() <= _NO_CONDITIONS:
            options["kind"] = ("record", "document", "embedding", "file")  # without conditions: every row
        return self._vault.search(text, lists=[self], **options)

    def matrix(self, column: Hashable) -> np.ndarray:
        """Return the vectors of an embedding column as one matrix.

        Parameters
        ----------
        column : hashable
            An embedding column.

        Returns
        -------
        ndarray of float, shape (n_rows, dim)
            Of the width that is stored. Without a copy if the rows came in one commit. A missing vector is a row of NaN.

        Raises
        ------
        InvalidInput
            If there is no such column, or it holds no vectors.
        ListDeleted, VersionNotFound
            If the list was deleted, or the rows were vacuumed.
        VaultCorrupt
            If the rows are damaged.

        Examples
        --------
        >>> words = vault.save("words", [{"word": "cat", "vec": [1.0, 0.5]}, {"word": "dog", "vec": [0.0, 1.0]}])
        >>> words.matrix("vec").shape
        (2, 2)
        """
        store, version = self._vault.store, self._version()
        self._vault._note_read(version)
        schema = reading.wanted_schema(store, version, [validate.label(column, "column")])
        if frames.columns(schema)[0].kind != "embedding":
            raise InvalidInput(f"The column {column!r} of {self.name!r} holds no vectors.")
        field = frames.field_for(schema, column)
        tables = [aligned(living(chunk), schema) for chunk in store.scan(version, columns=schema.names)]
        return frames.matrix(tables or [schema.empty_table()], field)

    def offsets(self, column: Hashable | None = None) -> pd.DataFrame:
        """Return where each document lies, in characters: in its column of offsets, else in the text of the whole list.

        Parameters
        ----------
        column : hashable, optional
            A column of documents; may be left out if there is just one.

        Returns
        -------
        DataFrame, shape (n_rows, 2)
            start and stop (int64; `stop` is excluded). With ``documents={"chunk": "start"}`` they are those of each chunk in its
            document, else the texts follow one another, and a missing one is as long as none. Index: position.

        Raises
        ------
        InvalidInput
            If the column holds no documents, or is left out where there is not just one.
        ListDeleted, VersionNotFound
            If the list was deleted, or the rows were vacuumed.
        VaultCorrupt
            If the rows are damaged.

        Examples
        --------
        >>> novel = vault.save("novel", ["It was late.", "She left."])
        >>> novel.offsets()
                  start  stop
        position
        0             0    12
        1            12    21
        """
        store, version = self._vault.store, self._version()
        self._vault._note_read(version)
        return documents.offsets(store, version, column)

    def export(
        self,
        path: str | os.PathLike[str],
        *,
        columns: Sequence[Hashable] | None = None,
        filters: Any = None,
        version: int | str | None = None,
        overwrite: bool = False,
    ) -> pd.DataFrame:
        """Write rows to a Parquet, Arrow, CSV or JSON Lines file, some at a time. The whole vault: :meth:`Vault.export`.

        The file is there as a whole at the end, or not at all. An index that was saved is written as columns before the
        others. In CSV and JSON Lines, missing is empty and null; lists and dicts are JSON, times ISO 8601, bytes hexadecimal.

        Parameters
        ----------
        path : path
            Its end says the format: ``.parquet`` or ``.pq``, ``.arrow`` or ``.feather``, ``.csv``, ``.jsonl`` or ``.ndjson``.
        columns : list of column names, optional
            Only these, in this order.
        filters : str, expression or list of tuples, optional
            Only rows that pass, as in :meth:`Vault.read`.
        version : int or str, optional
            This version, by its number or name, for a handle that is at the newest one.
        overwrite : bool
            Replace a file that is there.

        Returns
        -------
        DataFrame
            What was made of each index level and each column: column (label), dtype (str), written (str: the type in
            the file; ``text`` in CSV, ``json`` in JSON Lines), exact (bool: whether a reader can tell the dtype and every value
            from what is written).

        Raises
        ------
        InvalidInput, InvalidFilter, InvalidName
            If an argument is wrong, the end of the path is none of these, the file exists, or Parquet cannot hold a column.
        ListDeleted, VersionNotFound
            If the list was deleted, or there is no such version, or its rows were vacuumed.
        InvalidName
            If no version can have the name in `version`.
        VaultCorrupt
            If the rows are damaged.
        StorageError
            If the file cannot be written.

        Examples
        --------
        >>> losses = vault.save("losses", pd.DataFrame({"step": [1, 2], "loss": [0.9, 0.4]}))
        >>> losses.export("losses.csv", filters="loss < 0.5")
          column    dtype written  exact
        0   step    int64    text   True
        1   loss  float64    text   True
        """
        from tablevault_pd.transfer.formats import format_of
        from tablevault_pd.transfer.list_file import export_list

        file = Path(validate.path(path, "The file to export to"))
        kind, columns = format_of(file), validate.labels(columns)
        overwrite = validate.flag(overwrite, "overwrite")
        store = self._vault.store
        resolved = reading.resolve(store, self._text, version=version)
        return export_list(store, resolved, file, kind, columns=columns, filters=filters, overwrite=overwrite)

    @takes(SaveOptions, DEFAULTS)
    def save(self, obj: Any, **options: Unpack[SaveOptions]) -> List:
        """Save new content under this name. See :meth:`Vault.save`."""
        return self._vault.save(self.name, obj, **options)

    @takes(SaveOptions, DEFAULTS)
    def append(self, obj: Any, **options: Unpack[SaveOptions]) -> List:
        """Add rows at the end. See :meth:`Vault.append`."""
        return self._vault.append(self.name, obj, **options)

    @takes(UpsertOptions, DEFAULTS)
    def upsert(self, obj: Any, **options: Unpack[UpsertOptions]) -> List:
        """Bring rows into this list by their key. See :meth:`Vault.upsert`."""
        return self._vault.upsert(self.name, obj, **options)

    def delete_rows(
        self, rows: Any = None, *, filters: Any = None, reason: str | None = None, expect: int | None = None
    ) -> List:
        """Leave rows out of this list. See :meth:`Vault.delete_rows`."""
        return self._vault.delete_rows(self.name, rows, filters=filters, reason=reason, expect=expect)

    def erase(
        self,
        rows: Any = None,
        *,
        filters: Any = None,
        reason: str | None = None,
        expect: int | None = None,
        dry_run: bool = False,
    ) -> pd.DataFrame:
        """Forget rows of this list for good. See :meth:`Vault.erase`."""
        return self._vault.erase(
            self.name, rows, filters=filters, reason=reason, expect=expect, dry_run=dry_run
        )

    def history(self, *, key: Any) -> pd.DataFrame:
        """Every state of one row of this list. See :meth:`Vault.history`."""
        return self._vault.history(self.name, key=key)

    def errors(self) -> pd.DataFrame:
        """Return the errors that :meth:`Vault.map` kept, of rows that have no result since.

        Returns
        -------
        DataFrame
            list (str) and position (Int64) of the row that the function was called for, at the newest version of its list, error
            and traceback (str), attempts (Int64).

        Raises
        ------
        InvalidInput
            If the list was not made by :meth:`Vault.map`.
        ListDeleted
            If it was deleted.

        Examples
        --------
        >>> numbers = vault.save("numbers", pd.DataFrame({"n": [1, 0, 4]}))
        >>> def invert(row):
        ...     assert row.n, "zero"
        ...     return {"inverse": 4 / row.n}
        >>> made = vault.map("inverses", invert, "numbers", version="v1", on_error="keep")
        >>> vault["inverses"].errors()[["position", "error", "attempts"]]
           position                 error  attempts
        0         1  AssertionError: zero         1
        """
        return self._vault._errors(self.name)

    def versions(self, *, session: Any = None) -> pd.DataFrame:
        """Return the versions of this list. See :meth:`Vault.versions`."""
        return self._vault.versions(self.name, session=session)

    def describe(self, text: str, vector: Any = None, *, label: str = "BASE") -> None:
        """Describe this list. See :meth:`Vault.describe`."""
        self._vault.describe(self.name, text, vector, label=label)

    def delete(self, *, message: str | None = None, expect: int | None = None) -> None:
        """Hide this list. See :meth:`Vault.delete`."""
        self._vault.delete(self.name, message=message, expect=expect)

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        """Return the rows as an Arrow stream, so that ``polars.DataFrame(vault["news"])`` works."""
        version = self._version()
        self._vault._note_read(version)
        reader = reading.arrow_batches(self._vault.store, version)
        return reader.__arrow_c_stream__(requested_schema)

    def _ipython_key_completions_(self) -> list[str]:
        return [str(label) for label in self.columns]

    def _repr_html_(self) -> str:
        from tablevault_pd.display import list_html

        columns = [(column.label, column.dtype, column.kind) for column in self._columns()]
        return list_html(self.name, self.version, len(self), columns)

    def __repr__(self) -> str:
        version = self._committed or self._version()
        schema = self._vault.store.schema(version.schema_id)
        columns = frames.columns(schema)  # first, for it says what is wrong with a forged schema
        language = frames.language_of(schema)
        said = f"{counted(version.shown, 'row')}{'' if language is None else f' in {language}'}"
        lines = [f"<List {version.list!r}, version {version.version}: {said}>"]
        labels = [printable(str(column.label)) for column in columns]
        width = max(map(len, labels), default=0)
        lines += [
            f"  {label:<{width}}  {column.dtype}{_kind(column)}"
            for label, column in zip(labels, columns, strict=True)
        ]
        return printable_lines("\n".join(lines))


def _kind(column: frames.Column) -> str:
    if column.kind == "embedding":
        return f", embedding of width {column.dim}"
    return "" if column.kind == "record" else f", {column.kind}"


def _joins_frames() -> bool:
    """Whether pandas asks, by the attribute ``_typ``, if it was given a frame to concatenate or merge."""
    asking = sys._getframe(2)
    for _ in range(_BETWEEN):
        if asking.f_globals.get("__name__") in _JOINING:
            return True
        if asking.f_back is None:
            break
        asking = asking.f_back
    return False
