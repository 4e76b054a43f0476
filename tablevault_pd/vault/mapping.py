"""Functions of rows whose results are a list: :meth:`map`."""

from __future__ import annotations

import json
import secrets
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from tablevault_pd import validate
from tablevault_pd.errors import InvalidInput, InvalidType, short_repr
from tablevault_pd.names import check_name
from tablevault_pd.saving.commit import Write
from tablevault_pd.vault.base import VaultPart

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Mapping, Sequence

    from tablevault_pd.mapping.job import Options
    from tablevault_pd.store import Version
    from tablevault_pd.store.work import Holder
    from tablevault_pd.vault.lists import List


class MappedLists(VaultPart):
    """The part of a :class:`Vault` that maps functions over rows."""

    if TYPE_CHECKING:

        def _list_at(self, version: Version) -> List: ...

        def _holder(self) -> Holder: ...

    def map(
        self,
        name: str,
        function: Callable[..., Any],
        rows: str | pd.DataFrame,
        *,
        columns: Sequence[Hashable] | None = None,
        as_dict: bool = False,
        batch: int | None = None,
        workers: int | None = None,
        processes: int | None = None,
        rate_per_s: float | None = None,
        version: str | None = None,
        kwargs: Mapping[str, Any] | None = None,
        on_error: Literal["raise", "keep"] = "raise",
        retry: Literal["errors"] | None = None,
        drop_missing: bool = True,
        commit_every: int = 50,
    ) -> List:
        """Call a function for each row of a list, and keep what it returns as the list `name`.

        Called again, it calls the function only for rows that are new or have changed, and for all rows if the function or its
        arguments have changed. Results of a changed row replace those that it had. Each commit is whole, with exact parents,
        so after ``kill -9`` the next call goes on where the last commit was. The same call in another process, or on another
        machine with a server vault, takes part in the work: each row is done by one of them.

        Parameters
        ----------
        name : str
            The list of the results. Only map writes to it.
        function : callable
            Takes a row, and returns a dict, a list of dicts (several rows), a DataFrame, or None for no result. A coroutine
            function is awaited.
        rows : str or DataFrame
            The list to map over; or a frame that was read from one, for only these rows.
        columns : list, optional
            What the function gets of each row, and what its result depends on. Default: all columns.
        as_dict : bool
            Whether a row is a dict. Default: a named tuple.
        batch : int, optional
            Call the function with frames of so many rows. It returns a frame whose index has the labels of the one that it got:
            they say to which row each result belongs. Each batch is committed by itself.
        workers : int, optional
            How many calls run at a time, in threads. Default: 1; of a coroutine function 16.
        processes : int, optional
            Run the calls in so many processes instead. They import the function by its name.
        rate_per_s : float, optional
            At most so many calls in a second, by all workers of this process.
        version : str, optional
            Stands for the code of the function: its results are made again when it is another one. Default: the function with
            everything that it uses, as far as it is the project's own code.
        kwargs : dict, optional
            Further arguments of the function, of numbers, texts, lists and dicts. Other ones have all results made again.
        on_error : {"raise", "keep"}
            What becomes of an error of the function: it is raised, once what is finished is committed; or kept as a note, see
            :meth:`List.errors`, and the row is left alone until its content or the function changes.
        retry : {"errors"}, optional
            Do rows again whose errors were kept.
        drop_missing : bool
            Whether results of rows that the list does not have any more are removed. Not with a frame.
        commit_every : int
            Commit so many inputs at a time, and what there is every five seconds.

        Returns
        -------
        List
            The results, at their newest version. Rows have the index of the list mapped over, if it has one with names.

        Raises
        ------
        ListNotFound, ListDeleted
            If there is no such list, or it or that of the results is hidden by a delete.
        InvalidName, InvalidType
            If no list can have that name, or it is no text.
        InvalidInput
            If another argument cannot be used, the list `name` was not made by map, it cannot be told which rows of a list
            those of the frame are, or what the function depends on; or the vault was connected without a session.
        SchemaMismatch, UnsupportedColumn
            If results do not fit those that are there, or cannot be kept exactly.
        VaultReadOnly, StorageFull
            If the vault is open for reading; if the disk is full.

        Notes
        -----
        The number of inputs done, of errors, and of inputs in a second are metrics of the session: ``map_inputs``,
        ``map_errors`` and ``map_inputs_per_s``. A stop or pause of the session takes effect between calls: those that run are
        finished and committed first. An error of the function is raised as it is.

        Examples
        --------
        >>> articles = vault.save("articles", pd.DataFrame({"id": [1, 2], "text": ["Storm", "Sun"]}), key="id")
        >>> def measure(row):
        ...     return {"length": len(row.text)}
        >>> vault.map("sizes", measure, "articles", columns=["text"], version="v1").read()
                  length
        position
        0              5
        1              3
        >>> changed = vault.upsert("articles", {"id": 2, "text": "Sunny"})
        >>> vault.map("sizes", measure, "articles", columns=["text"], version="v1").read()["length"].tolist()
        [5, 5]
        """
        from tablevault_pd.mapping.inputs import inputs_of
        from tablevault_pd.mapping.kept import check_mapped, notes_name

        name = check_name(name)
        check_name(notes_name(name))
        labels = validate.labels(columns)
        if not callable(function) or isinstance(function, type):
            raise InvalidType(f"map calls a function, and {short_repr(function)} is none.")
        given = _arguments(kwargs)
        if version is not None:
            validate.text(version, "version=")
        retried = retry is not None and bool(validate.choice(retry, "retry", ("errors",)))
        drop = validate.flag(drop_missing, "drop_missing")
        options, by_processes = _options(
            function, batch, as_dict, workers, processes, rate_per_s, on_error, commit_every
        )
        self._check_writable()
        holder = self._holder()
        check_mapped(self.store, name)
        inputs = inputs_of(self.store, check_name(rows) if isinstance(rows, str) else rows, labels)
        if options.batch and not inputs.frame.index.is_unique:
            raise InvalidInput(
                f"The index of {inputs.version.list!r} has labels more than once, so the rows of a batch cannot be told apart by "
                "them. Map row by row, without batch=."
            )
        self._note_read(inputs.version)
        self._map(
            name, function, inputs, options, by_processes, version, given, labels, holder, retried=retried, drop=drop and inputs.whole
        )  # fmt: skip
        head = self.store.head(name)
        if head is None:  # no input has a result
            return self._nothing(name)
        return self._list_at(head)

    def _map(
        self,
        name: str,
        function: Any,
        inputs: Any,
        options: Options,
        by_processes: bool,
        version: str | None,
        kwargs: dict[str, Any],
        labels: list[Hashable] | None,
        holder: Holder,
        *,
        retried: bool,
        drop: bool,
    ) -> None:
        from tablevault_pd.mapping import calls
        from tablevault_pd.mapping.commit import ResultWriter
        from tablevault_pd.mapping.function import function_number, name_of
        from tablevault_pd.mapping.job import Claims, Job, tidy
        from tablevault_pd.mapping.kept import CALL, Settled, notes_name

        store, run = self.store, self._current_run()
        assert run is not None
        number = function_number(function, version, kwargs, run)
        writer = ResultWriter(store, name, number, self._map_write)
        call = {
            "list": inputs.version.list,
            "whole": inputs.whole and (labels is None or all(isinstance(label, str) for label in labels)),
            "columns": labels if labels is None else list(map(str, labels)),
            "function": name_of(function),
            "number": number,
        }
        writer.notes(pd.DataFrame({"outcome": [CALL], "call": [json.dumps(call)]}), np.zeros(1, np.int64), 0)
        settled = Settled(store, name, number)
        if retried:
            settled.look()
            settled = Settled(store, name, number, retry=dict(settled.attempts))
        notes = store.head(notes_name(name))
        assert notes is not None
        if store.work(notes.list_id) is None:
            store.align_work(notes.list_id, after=None, generation=notes.generation, same={})
        claims = Claims(store, notes, holder, secrets.randbits(62), number)
        runner = calls.runner_for(
            function, kwargs, batch=options.batch is not None, workers=options.workers, processes=by_processes
        )
        Job(inputs, options, writer, claims, settled, runner, run).work()
        tidy(writer, inputs, settled, drop_missing=drop)

    def _errors(self, name: str) -> pd.DataFrame:
        from tablevault_pd.mapping.errors import errors

        return errors(self.store, name)

    def _map_write(self, name: str) -> Write:
        """The arguments of a commit by the current session."""
        run, (cell, line) = self._current_run(), self._place
        step = None if run is None else run.current_step
        return Write(name, "upsert", session_id=self._session_id, cell=cell, step=step, line=line)

    def _nothing(self, name: str) -> List:
        raise InvalidInput(
            f"No input has a result, so there is no list {name!r}: its columns are not known. The function returned None for all, or "
            "failed."
        )


def _arguments(kwargs: Any) -> dict[str, Any]:
    if kwargs is None:
        return {}
    if not isinstance(kwargs, dict) or not all(isinstance(key, str) for key in kwargs):
        raise InvalidType(f"kwargs= is a dict of the function's further arguments, not {short_repr(kwargs)}.")
    return dict(kwargs)


def _options(
    function: Any,
    batch: Any,
    as_dict: Any,
    workers: Any,
    processes: Any,
    rate_per_s: Any,
    on_error: Any,
    commit_every: Any,
) -> tuple[Options, bool]:
    from tablevault_pd.mapping.calls import is_async
    from tablevault_pd.mapping.job import Options

    at_least_one = partial(validate.whole, least=1)
    if workers is not None and processes is not None:
        raise InvalidInput("workers= are threads, processes= are processes: give one of them.")
    if processes is not None and is_async(function):
        raise InvalidInput("A coroutine function runs in one process: give workers=.")
    rate = None if rate_per_s is None else validate.number(rate_per_s, "rate_per_s")
    if rate is not None and not rate > 0:
        raise InvalidInput(f"rate_per_s= is above 0, not {rate}.")
    most = 16 if is_async(function) else 1
    if processes is not None:
        most = at_least_one(processes, "processes")
    elif workers is not None:
        most = at_least_one(workers, "workers")
    size = None if batch is None else at_least_one(batch, "batch")
    flag = validate.flag(as_dict, "as_dict")
    keeps = validate.choice(on_error, "on_error", ("raise", "keep")) == "keep"
    options = Options(size, flag, most, rate, keeps, at_least_one(commit_every, "commit_every"))
    return options, processes is not None
