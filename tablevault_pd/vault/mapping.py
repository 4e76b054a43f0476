"""Functions of rows whose results are a list: :meth:`map` and :meth:`refresh`."""

from __future__ import annotations

import json
import secrets
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from tablevault_pd import progress, validate
from tablevault_pd.display import counted
from tablevault_pd.errors import InvalidInput, InvalidType, short_repr
from tablevault_pd.names import check_name
from tablevault_pd.reading import read as reading
from tablevault_pd.saving.commit import WriteRequest
from tablevault_pd.vault.base import VaultPart

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Mapping, Sequence

    from tablevault_pd.mapping.inputs import Inputs
    from tablevault_pd.mapping.job import Counts, Options
    from tablevault_pd.mapping.refresh import MapCall
    from tablevault_pd.store import Version
    from tablevault_pd.store.work import Holder
    from tablevault_pd.vault.lists import List


class MappedLists(VaultPart):
    """The part of a :class:`Vault` that maps functions over rows."""

    if TYPE_CHECKING:

        def _holder(self) -> Holder: ...

        def _stale(self, version: Version | None) -> pd.DataFrame: ...

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
            :meth:`List.errors`, and the row is left alone until its content or the function changes. A warning says how many
            rows have errors, new and old ones.
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
        options = {
            "columns": columns, "as_dict": as_dict, "batch": batch, "workers": workers, "processes": processes,
            "rate_per_s": rate_per_s, "version": version, "kwargs": kwargs, "on_error": on_error, "drop_missing": drop_missing,
            "commit_every": commit_every,
        }  # fmt: skip
        made, _ = self._map(name, function, rows, options, retry)
        return made

    def refresh(
        self, name: str, *, functions: Mapping[str, Callable[..., Any]] | None = None
    ) -> pd.DataFrame:
        """Make a mapped list again as far as it is out of date, after those that it is made from, and before those made from it.

        Lists that :meth:`stale` does not name are left alone, unless they are made from one that it names. Each other list is made
        by the call of :meth:`map` that made it last, with the function of that name which this process has: it is called for rows
        that are new or have changed, or for all if its code has changed. No code is taken from the vault.

        Parameters
        ----------
        name : str
            A list that :meth:`map` made.
        functions : dict, optional
            Functions of lists, by the names of the lists, for those that this process does not know. Their lists are made again
            whether or not they are named by :meth:`stale`.

        Returns
        -------
        DataFrame
            One line for each of these mapped lists, in the order of making: list (str), version (Int64), and how many inputs were
            done and failed: done and errors (Int64), 0 for a list that was left alone.

        Raises
        ------
        InvalidInput
            If map did not make the list, or this process does not know the function of a list that is stale: the message names
            what to import.
        InvalidName, InvalidType
            If no list can have that name, or it is no text.
        ListNotFound, ListDeleted
            If a list that is mapped over is gone.
        VaultReadOnly
            If the vault is open for reading.

        Examples
        --------
        >>> words = vault.save("words", pd.DataFrame({"word": ["storm", "sun"]}))
        >>> def measure(row):
        ...     return {"length": len(row.word)}
        >>> lengths = vault.map("lengths", measure, "words", version="1")
        >>> words = vault.append("words", {"word": "rain"})
        >>> vault.refresh("lengths")
              list  version  done  errors
        0  lengths        2     1       0
        """
        from tablevault_pd.mapping.refresh import calls_around

        name = check_name(name)
        if functions is not None and not (
            isinstance(functions, dict) and all(map(callable, functions.values()))
        ):
            raise InvalidType(
                f"functions= is a dict of functions by the names of lists, not {short_repr(functions)}."
            )
        self._check_writable()
        lines = []
        for call in calls_around(self.store, name, functions or {}, self._is_stale):
            if isinstance(call, str):
                lines.append((call, reading.resolve(self.store, call).version, 0, 0))
                continue
            made, counts = self._map(call.name, call.function, call.rows, call.options, None)
            lines.append((call.name, made.version, counts.done, counts.errors))
        counted = ["version", "done", "errors"]
        return pd.DataFrame(lines, columns=["list", *counted]).astype(dict.fromkeys(counted, "Int64"))

    def _is_stale(self, head: Version) -> bool:
        return not self._stale(head).empty

    def _map(
        self, name: str, function: Any, rows: Any, options: Mapping[str, Any], retry: Any
    ) -> tuple[List, Counts]:
        from tablevault_pd.keys.mapped import check_mapped, notes_name
        from tablevault_pd.mapping.inputs import inputs_of
        from tablevault_pd.mapping.refresh import MapCall, note_call

        name = check_name(name)
        check_name(notes_name(name))
        if not callable(function) or isinstance(function, type):
            raise InvalidType(f"map calls a function, and {short_repr(function)} is none.")
        how, settings = _options(function, options)
        retried = retry is not None and bool(validate.choice(retry, "retry", ("errors",)))
        self._check_writable()
        holder = self._holder()
        check_mapped(self.store, name)
        inputs = inputs_of(
            self.store, check_name(rows) if isinstance(rows, str) else rows, settings["columns"]
        )
        if how.batch and not inputs.frame.index.is_unique:
            raise InvalidInput(
                f"The index of {inputs.version.list!r} has labels more than once, so the rows of a batch cannot be told apart by "
                "them. Map row by row, without batch=."
            )
        self._note_read(inputs.version)
        call = MapCall(name, inputs.version.list, function, settings)
        counts = self._run_map(call, inputs, how, holder, retried=retried)
        if inputs.whole:
            note_call(self.store, call)
        head = self.store.head(name)
        if head is None and not len(inputs.content):
            raise InvalidInput(
                f"There is no row to map over, so there is no list {name!r}: its columns are known once the function has returned a row."
            )
        if head is None:
            raise InvalidInput(
                f"No input has a result, so there is no list {name!r}: its columns are not known. The function returned None for all, or "
                f"failed: vault.read({notes_name(name)!r}) has the errors that were kept."
            )
        return self._list_at(head), counts

    def _run_map(
        self, call: MapCall, inputs: Inputs, how: Options, holder: Holder, *, retried: bool
    ) -> Counts:
        from tablevault_pd.keys.mapped import CALL, Settled, notes_name, told
        from tablevault_pd.mapping import calls
        from tablevault_pd.mapping.commit import ResultWriter
        from tablevault_pd.mapping.function import function_number, name_of
        from tablevault_pd.mapping.job import Claims, Job, tidy
        from tablevault_pd.mapping.refresh import options_text
        from tablevault_pd.saving.commit import confirm

        store, run, name, settings = self.store, self._current_run(), call.name, call.options
        assert run is not None
        number = function_number(call.function, settings["version"], settings["kwargs"], run)
        writer = ResultWriter(store, name, number, self._map_write)
        text = options_text(settings) if inputs.whole else None
        note = {
            "list": call.rows,
            "function": name_of(call.function),
            "number": number,
            "kwargs": told(dict(settings["kwargs"])),
            "options": text,
        }
        writer.notes(pd.DataFrame({"outcome": [CALL], "call": [json.dumps(note)]}), np.zeros(1, np.int64), 0)
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
            call.function,
            settings["kwargs"],
            batch=how.batch is not None,
            workers=how.workers,
            processes=settings["processes"] is not None,
        )
        job = Job(inputs, how, writer, claims, settled, runner, run)
        job.work()
        tidy(writer, inputs, settled, drop_missing=settings["drop_missing"] and inputs.whole)
        head = store.head(name)
        if inputs.whole and head is not None:
            confirm(store, self._map_write(name), head)  # its rows are as new as this call
        if head is not None and (failed := settled.failed(inputs.content)):
            progress.warn(
                f"{failed} of {counted(len(inputs.content), 'row')} of {inputs.version.list!r} have an error instead of a result: "
                f"vault[{name!r}].errors() shows them, map with retry='errors' does them again."
            )
        return job.counts

    def _map_write(self, name: str) -> WriteRequest:
        """The arguments of a commit by the current session."""
        return WriteRequest(name, "upsert", **self._writer())

    def _errors(self, name: str) -> pd.DataFrame:
        from tablevault_pd.mapping.errors import errors

        return errors(self.store, name)

    def _cached(
        self, function: Callable[..., Any], version: str | None, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> pd.DataFrame:
        """The result of a call of a function of frames: from the vault, or made and kept. See :func:`tablevault_pd.cached`."""
        from tablevault_pd.mapping.cached import call_key, kept_result, list_of
        from tablevault_pd.mapping.function import function_number

        name = check_name(list_of(function))
        number = function_number(function, version, {}, self._current_run())
        key = call_key(self.store, function, number, args, kwargs)
        result_version = kept_result(self.store, name, key)
        if result_version is None:
            self._check_writable()
            result = function(*args, **kwargs)
            if not isinstance(result, pd.DataFrame):
                raise InvalidType(
                    f"A cached function returns a DataFrame, and this one returned {short_repr(result)}."
                )
            return self._write("save", name, result, tags=[key]).read()
        return self._list_at(result_version).read()


def _arguments(kwargs: Any) -> dict[str, Any]:
    if kwargs is None:
        return {}
    if not isinstance(kwargs, dict) or not all(isinstance(key, str) for key in kwargs):
        raise InvalidType(f"kwargs= is a dict of the function's further arguments, not {short_repr(kwargs)}.")
    return dict(kwargs)


def _options(function: Any, given: Mapping[str, Any]) -> tuple[Options, dict[str, Any]]:
    """The checked options: how the function is called, and all as they can be given again."""
    from tablevault_pd.mapping.calls import is_async
    from tablevault_pd.mapping.job import Options

    def number(name: str, most: int | None = None) -> int | None:
        return None if given[name] is None else validate.whole(given[name], name, least=1, most=most)

    workers, processes, batch = number("workers", 1000), number("processes", 1000), number("batch")
    if workers is not None and processes is not None:
        raise InvalidInput("workers= are threads, processes= are processes: give one of them.")
    if processes is not None and is_async(function):
        raise InvalidInput("A coroutine function runs in one process: give workers=.")
    rate = None if given["rate_per_s"] is None else validate.number(given["rate_per_s"], "rate_per_s")
    if rate is not None and not rate > 0:
        raise InvalidInput(f"rate_per_s= is above 0, not {rate}.")
    keeps_errors = validate.choice(given["on_error"], "on_error", ("raise", "keep")) == "keep"
    as_dict = validate.flag(given["as_dict"], "as_dict")
    commit_every = validate.whole(given["commit_every"], "commit_every", least=1)
    version = given["version"]
    settings = {
        "columns": validate.labels(given["columns"]),
        "as_dict": as_dict,
        "batch": batch,
        "workers": workers,
        "processes": processes,
        "rate_per_s": rate,
        "version": None if version is None else validate.text(version, "version="),
        "kwargs": _arguments(given["kwargs"]),
        "on_error": given["on_error"],
        "drop_missing": validate.flag(given["drop_missing"], "drop_missing"),
        "commit_every": commit_every,
    }
    most = workers or processes or (16 if is_async(function) else 1)
    return Options(batch, as_dict, most, rate, keeps_errors, commit_every), settings
