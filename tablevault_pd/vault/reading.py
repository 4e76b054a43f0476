"""Reading the rows of a list."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from tablevault_pd import validate
from tablevault_pd.errors import InvalidInput, VersionNotFound
from tablevault_pd.names import parse_address
from tablevault_pd.reading import read as reading
from tablevault_pd.reading.documents import CharSpan, read_chars
from tablevault_pd.vault.base import VaultPart

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Sequence

    import pandas as pd

    from tablevault_pd.store import Version


class Reading(VaultPart):
    """The part of a :class:`Vault` that reads rows."""

    def read(
        self,
        name: str,
        *,
        columns: Sequence[Hashable] | None = None,
        filters: Any = None,
        start: int | None = None,
        stop: int | None = None,
        version: int | str | None = None,
        versions: Literal["all"] | None = None,
        as_of: Any = None,
        chars: Any = None,
        refs: bool | str = False,
    ) -> pd.DataFrame:
        """Read rows of a list, exactly as they were saved.

        Parameters
        ----------
        name : str
            A list, perhaps at a version: ``"news@3"``, or ``"news@best"`` by a tag of it or a snapshot.
        columns : list of column names, optional
            Only these, in this order.
        filters : optional
            Only rows that fit: ``[("loss", "<", 0.1)]`` as :func:`pandas.read_parquet` takes them, a
            :meth:`pandas.DataFrame.query` string, in which ``@name`` is a variable of yours, or an expression such as
            ``pd.col("loss") < 0.1``. A string is parsed and can do nothing but filter.
        start, stop : int, optional
            Only these positions, as in a slice.
        version : int or str, optional
            An earlier version: its number, or its name, as in ``"news@best"``.
        versions : {"all"}, optional
            Every version that has rows, one below the other, the oldest first. Two columns come before the others: ``version``,
            and ``row``, a number that names a row through all versions of the list: by the list's key, without one by a named index
            that has no label twice, else by its content. Columns and dtypes are those of the newest version, as far as they hold
            the cells of all; columns that only older versions have come last. `start` and `stop` count in each version.
        as_of : time, optional
            The version that was newest at that time (UTC unless it says otherwise).
        chars : (start, stop) or {column: (start, stop)}, optional
            Only rows of a list of documents that have some of these characters of the document, `stop` excluded; None for an end
            that is open. Where a list has several documents, `filters` says which: the offsets count in each.
        refs : bool or str
            Add a column ``ref`` (or of that name) of references to the rows, which says where they came from even after
            ``merge`` or ``reset_index``; see :meth:`lineage`.

        Returns
        -------
        DataFrame, shape (n_rows, n_columns)
            Dtypes as they were saved. Index: the index the rows were saved with; if that was the default one, their
            positions, named ``position``. The frame is the caller's: changing it changes nothing in the vault. With
            ``versions="all"``, version and row (int64) before them. With `chars`, after them char_start and char_stop (int64), the
            place of what the row has of these characters, and char_text (str), those themselves.

        Raises
        ------
        ListNotFound, ListDeleted
            If there is no such list, or it is hidden by a delete.
        VersionNotFound
            If it has no such version, had none at that time, or its rows were vacuumed.
        InvalidFilter
            If the filter cannot be parsed, or names a column that is not there.
        InvalidName, InvalidType
            If no list can have that name, or it is no text.
        InvalidInput
            If another argument cannot be used, a name in `columns` is no column, or `chars` ends beyond the document, whose length
            the message tells.
        SchemaMismatch
            With ``versions="all"``, if no dtype holds the cells that a column has in all versions.
        VaultCorrupt
            If the rows are damaged; those of other lists stay readable.

        Examples
        --------
        >>> losses = vault.save("losses", pd.DataFrame({"step": [1, 2, 3], "loss": [0.9, 0.4, 0.2]}))
        >>> vault.read("losses", filters=[("loss", "<", 0.5)])
                  step  loss
        position
        1            2   0.4
        2            3   0.2
        >>> novel = vault.save("novel", ["It was late. ", "She left."])
        >>> vault.read("novel", chars=(7, 16))
                       document  char_start  char_stop char_text
        position
        0         It was late.            7         13    late.
        1             She left.          13         16       She
        """
        labels = validate.labels(columns)
        span = None if chars is None else CharSpan.of(chars)
        if versions is not None:
            validate.choice(versions, "versions", ("all",))
            if version is not None or as_of is not None or parse_address(name).pinned:
                raise InvalidInput(
                    "versions='all' reads every version: it excludes version=, as_of= and a version in the name."
                )
            if span is not None:
                raise InvalidInput("chars= reads characters of one version: it excludes versions='all'.")
            return self._read_all(name, columns=labels, filters=filters, start=start, stop=stop, refs=refs)
        options: dict[str, Any] = {
            "columns": labels, "filters": filters, "start": start, "stop": stop, "refs": refs
        }  # fmt: skip
        read: Callable[[Version], pd.DataFrame] = (
            partial(reading.read, self.store, tagged=True, **options)
            if span is None
            else partial(read_chars, self.store, span=span, **options)
        )
        resolved = reading.resolve(self.store, name, version=version, as_of=as_of)
        try:
            frame = read(resolved)
        except VersionNotFound:
            # Vacuumed during the read: read the version that is the newest now.
            newest = reading.resolve(self.store, name, version=version, as_of=as_of)
            if newest.version == resolved.version:
                raise
            resolved, frame = newest, read(newest)
        self._note_read(resolved)
        return frame

    def _read_all(self, name: str, **options: Any) -> pd.DataFrame:
        from tablevault_pd.lineage.numbering import RowNumbers
        from tablevault_pd.reading.all_versions import read_all_versions

        newest = reading.resolve(self.store, name)
        numbers = RowNumbers(self.store)
        frame, versions = read_all_versions(self.store, newest.list, numbers.of, **options)
        for version in versions:
            self._note_read(version)
        return frame
