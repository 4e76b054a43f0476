"""Rows that change, by key: :meth:`upsert`, :meth:`delete_rows`, :meth:`erase` and :meth:`history`."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from tablevault_pd import validate
from tablevault_pd.errors import InvalidInput, short_repr
from tablevault_pd.keywords import takes
from tablevault_pd.names import check_name
from tablevault_pd.saving.commit import WriteRequest
from tablevault_pd.saving.conflicts import telling_who
from tablevault_pd.saving.delete_rows import delete_rows
from tablevault_pd.vault.base import VaultPart
from tablevault_pd.vault.options import DEFAULTS, UpsertOptions

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Unpack

    import numpy as np
    import pandas as pd

    from tablevault_pd.saving.remains import AnswerLine
    from tablevault_pd.store import Version
    from tablevault_pd.vault.lists import List


class KeyedRows(VaultPart):
    """The part of a :class:`Vault` that changes, removes and follows single rows."""

    @takes(UpsertOptions, DEFAULTS)
    def upsert(self, name: str, obj: Any, **options: Unpack[UpsertOptions]) -> List:
        """Bring rows into a list by their key: changed rows replace those that are there, new ones are added at its end.

        All of it is one version, made whole or not at all. Rows that do not change stay as they are: their position, their
        parents, their session and code. The list is made if there is none.

        Parameters
        ----------
        name : str
            The list's name.
        obj : object
            The rows, as for :meth:`save`. A row is replaced whole: a column of the list that `obj` lacks is missing in it.
        inputs, description, message, documents, embeddings, files, copy, tags, schema, kind : optional
            As for :meth:`append`. `inputs` says where the rows come from that change or are new.
        key : name or list of names, optional
            Columns, or levels of the index, that name a row. It is kept with the list, and needed once: without it the key of
            the list counts, else the named index of `obj`. Another one than the list has becomes its key, if it tells all its
            rows apart.
        language, expect, finish : optional
            As for :meth:`append`.
        drop_missing : bool, or name or list of names
            Which rows of the list go because `obj` does not have their key: with True all; with the name of a column those
            that have there what one of the given rows has. ``drop_missing="doc"`` removes the chunks that are gone from the
            documents that are given, and touches no other document.

        Returns
        -------
        List
            At the version that was made; if nothing changed, at the newest one. :meth:`versions` shows how many rows were
            added, changed and removed.

        Raises
        ------
        DuplicateKey
            If two of the rows have the same key, or two of the list have the same new one.
        InvalidInput
            If no key is known, its columns are not there or missing in a row, or an option cannot be used as it is.
        ListDeleted
            If the list is hidden by a delete.
        InvalidName, ListNotFound, UnsupportedColumn, SchemaMismatch, DimensionMismatch, FileMissing
            As for :meth:`append`.
        Conflict, ClaimLost, VaultReadOnly, StorageFull
            As for :meth:`append`. Conflict comes, too, if other writers were faster again and again for ``timeout_s``.

        Examples
        --------
        >>> chunks = pd.DataFrame({"doc": ["a", "a", "b"], "n": [0, 1, 0], "text": ["Storm", "Wind", "Sun"]})
        >>> saved = vault.save("chunks", chunks, key=["doc", "n"])
        >>> new = pd.DataFrame({"doc": ["a", "c"], "n": [0, 0], "text": ["Gale", "Rain"]})
        >>> vault.upsert("chunks", new, drop_missing="doc").read()
                 doc  n  text
        position
        0          a  0  Gale
        1          b  0   Sun
        2          c  0  Rain
        """
        return self._write("upsert", name, obj, **options)

    def delete_rows(
        self,
        name: str,
        rows: Any = None,
        *,
        filters: Any = None,
        reason: str | None = None,
        expect: int | None = None,
    ) -> List:
        """Leave rows out of the newest version of a list. Earlier versions keep them.

        Parameters
        ----------
        name : str
            The list's name.
        rows : int, list of int, or DataFrame, optional
            Positions in the newest version, or a frame that was read from the list: rows of it that are gone already are passed
            over.
        filters : optional
            Rows that fit, as for :meth:`read`. Give this or `rows`.
        reason : str, optional
            The message of the version, shown by :meth:`versions`.
        expect : int, optional
            Write only if this is the newest version.

        Returns
        -------
        List
            At the version that was made; if no row was to go, at the newest one.

        Raises
        ------
        ListNotFound, ListDeleted
            If there is no such list, or it is hidden by a delete.
        InvalidFilter
            If the filter cannot be parsed, or names a column that is not there.
        InvalidName, InvalidType
            If no list can have that name, or it is no text.
        InvalidInput
            If neither or both of `rows` and `filters` are given, a position is not there, or it cannot be told which rows of
            the list those of a frame are.
        Conflict
            If the newest version is not the one in `expect`, or other writers were faster again and again for ``timeout_s``.
        VaultReadOnly, StorageFull
            If the vault is open for reading; if the disk is full.

        Examples
        --------
        >>> people = vault.save("people", pd.DataFrame({"name": ["Ann", "Bo"], "consent": [True, False]}))
        >>> vault.delete_rows("people", filters="consent == False", reason="asked to").read()
                 name  consent
        position
        0         Ann     True
        """
        self._check_writable()
        request = self._leaving_out("delete_rows", name, rows, filters, reason, expect)
        with telling_who(self.store, request.list, request.expect):
            return self._list_at(delete_rows(self.store, request, rows=rows, filters=filters))

    def _leaving_out(
        self,
        operation: Literal["delete_rows", "erase"],
        name: str,
        rows: Any,
        filters: Any,
        reason: str | None,
        expect: int | None,
    ) -> WriteRequest:
        """Check the arguments of `operation`."""
        name = check_name(name)
        expect = validate.expected(expect)
        message = validate.optional_text(reason, "reason=")
        if (rows is None) == (filters is None):
            raise InvalidInput("Say which rows: filters= chooses them, or rows= names their positions.")
        if isinstance(rows, str):
            raise InvalidInput(
                f"rows= names positions; which rows fit a condition says filters={short_repr(rows)}."
            )
        if str(getattr(rows, "dtype", "")) in ("bool", "boolean"):
            raise InvalidInput(
                "rows= names positions, and a mask is none: np.flatnonzero(mask) are those of the rows of the newest version, or "
                "filters= says the condition."
            )
        tags = () if operation == "erase" else None  # what was tagged had these rows
        return WriteRequest(name, operation, message=message, expect=expect, tags=tags, **self._writer())

    def erase(
        self,
        name: str,
        rows: Any = None,
        *,
        filters: Any = None,
        reason: str | None = None,
        expect: int | None = None,
        dry_run: bool = False,
    ) -> pd.DataFrame:
        """Forget rows for good: no version of the list shows them any more, and nothing is left of their cells in the vault.

        What is stored is written anew without them, old versions included. In these the other rows keep their positions, and
        those of the erased ones stay empty. It is the same row in every version by the key of the list; without one, where its
        content is the same. The rows leave the newest version as by :meth:`delete_rows`: one version more says who did it, when
        and why. Lineage stays: walks show what was made of them, as ``gone``. What :meth:`map` kept of them, such as errors with
        their tracebacks, goes too. A call that was interrupted is finished by the next ``connect()``.

        Parameters
        ----------
        name : str
            The list's name.
        rows : int, list of int, or DataFrame, optional
            Positions in the newest version, or a frame that was read from the list, at any version.
        filters : optional
            Rows that fit, in any version, as for :meth:`read`. Give this or `rows`.
        reason : str, optional
            The message of the version, shown by :meth:`versions`.
        expect : int, optional
            Erase only if this is the newest version.
        dry_run : bool
            Erase nothing, and return what would go.

        Returns
        -------
        DataFrame
            What went and, in lines with `remains`, what is left elsewhere: what (str: rows, errors, kept file, stored bytes, children,
            versions not searched, categories, code, description, message, backups), list (str), versions (list of int),
            rows (Int64), remains (bool), detail (str). Without lines if no row was to go.

        Raises
        ------
        ListNotFound, ListDeleted
            If there is no such list, or it is hidden by a delete: restore it, erase, and delete it again.
        InvalidFilter
            If the filter cannot be parsed, or names a column that the newest version does not have.
        InvalidName, InvalidType
            If no list can have that name, or it is no text.
        InvalidInput
            If neither or both of `rows` and `filters` are given, a position is not there, or it cannot be told which rows of
            the list those of a frame are.
        Conflict
            If the newest version is not the one in `expect`, or other writers were faster again and again for ``timeout_s``.
        VaultCorrupt
            If rows that are stored together with them are damaged.
        VaultReadOnly, StorageFull
            If the vault is open for reading; if the disk is full.

        Examples
        --------
        >>> people = vault.save("people", pd.DataFrame({"name": ["Ann", "Bo"], "consent": [False, True]}))
        >>> gone = vault.erase("people", filters="consent == False", reason="asked to")
        >>> vault.read("people@1")
                 name  consent
        position
        1          Bo     True
        >>> gone[["what", "rows", "remains"]].head(1)
           what  rows  remains
        0  rows     1    False
        """
        from tablevault_pd.mapping.errors import error_texts
        from tablevault_pd.saving.erase import erase

        validate.flag(dry_run, "dry_run")
        if not dry_run:
            self._check_writable()
        request = self._leaving_out("erase", name, rows, filters, reason, expect)
        self._flush()
        with telling_who(self.store, request.list, request.expect):
            return erase(
                self.store, request, rows=rows, filters=filters, dry_run=dry_run, also=partial(self._erase_notes, request),
                kept_texts=error_texts(self.store),
            )  # fmt: skip

    def _erase_notes(
        self, request: WriteRequest, selections: Sequence[tuple[Version, np.ndarray]]
    ) -> list[AnswerLine]:
        """Erase what map kept of rows, in any of their states."""
        from tablevault_pd.mapping.errors import notes_on_rows
        from tablevault_pd.saving.erase import erase

        answer: list[AnswerLine] = []
        for head, positions in notes_on_rows(self.store, request.list, selections):
            gone = erase(
                self.store,
                replace(request, list=head.list, expect=None),
                rows=positions.tolist(),
                filters=None,
            )
            versions = gone["versions"].iloc[0]
            answer.append(("errors", head.list, versions, len(positions), False, "what map kept of them"))
        return answer

    def history(self, name: str, *, key: Any) -> pd.DataFrame:
        """Every state of one row of a list with a key, oldest first.

        Parameters
        ----------
        name : str
            The list's name.
        key : scalar, tuple or dict
            The key of the row: a value, values in the order of the key's columns, or ``{"doc": "a", "n": 0}``.

        Returns
        -------
        DataFrame
            A line for each state, with version (int64), time (datetime64[us, UTC]), session (str), cell (Int64) and operation
            (str) of the commit that made it, then the columns of the list, levels of an index among them. A removal is a state,
            too: its columns are missing.
            Versions whose rows were vacuumed tell nothing.

        Raises
        ------
        ListNotFound
            If there never was a list of that name.
        InvalidInput
            If the list has no key, `key` does not fit it, or no row ever had it.
        InvalidName, InvalidType
            If no list can have that name, or it is no text.
        SchemaMismatch
            If versions have types in a column that do not fit into one.
        VaultCorrupt
            If the rows are damaged.

        Examples
        --------
        >>> first = vault.upsert("prompts", {"id": 17, "text": "Say it."}, key="id")
        >>> second = vault.upsert("prompts", {"id": 17, "text": "Say it again."})
        >>> third = vault.delete_rows("prompts", filters="id == 17")
        >>> vault.history("prompts", key=17)[["version", "operation", "id", "text"]]
           version    operation    id           text
        0        1       upsert    17        Say it.
        1        2       upsert    17  Say it again.
        2        3  delete_rows  <NA>            NaN
        """
        from tablevault_pd.keys.history import history

        self._flush()
        return history(self.store, check_name(name), key)
