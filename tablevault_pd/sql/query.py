"""Runs one SELECT statement in a DuckDB that can reach nothing but the tables it is given."""

from __future__ import annotations

import atexit
import os
import re
import threading
from concurrent.futures import Future, wait
from contextlib import closing
from functools import lru_cache, partial
from shutil import rmtree
from tempfile import mkdtemp
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa

from tablevault_pd import frames
from tablevault_pd.errors import (
    InvalidInput,
    InvalidQuery,
    MissingDependency,
    QueryTimeout,
    VaultError,
    short_repr,
)
from tablevault_pd.imports import for_own_use
from tablevault_pd.refs import RefDtype
from tablevault_pd.sql.statement import parse
from tablevault_pd.sql.tables import REFERENCE, Tables
from tablevault_pd.store.engine.threads import start

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import duckdb

    from tablevault_pd.sql.statement import SelectStatement
    from tablevault_pd.store import Store, Version

_OPTIONS: dict[str, str | bool | int | float | list[str]] = {
    "enable_external_access": "false",  # no files, no network, no ATTACH
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "allow_community_extensions": "false",
    "python_enable_replacements": "false",  # a name never means a variable of the caller
}

_INTERVAL = np.dtype([("months", "<i4"), ("days", "<i4"), ("nanoseconds", "<i8")])
_DAY_US = 86_400_000_000


def query(
    store: Store, text: str, given: Mapping[str, Any], *, timeout_s: float | None = None
) -> tuple[pd.DataFrame, list[Version]]:
    """Return the answer to a SELECT statement, and the versions of lists that it read. See :meth:`Vault.sql`."""
    with closing(_connect()) as connection:
        statement = parse(connection, text)
        _check_used(statement, given)
        is_table = {name: _is_table(value) for name, value in given.items()}
        tables = Tables(store, statement, {name: given[name] for name, table in is_table.items() if table})
        for name, table in tables.all().items():
            connection.register(name, table)
        parameters = {name: _plain(name, given[name]) for name, table in is_table.items() if not table}
        try:
            return _frame(_run(connection, text, parameters, timeout_s)), tables.versions
        except NoSuchColumn as error:
            raise InvalidQuery(f"{error}. {tables.columns_text()}") from error


class NoSuchColumn(InvalidQuery):
    """DuckDB saw only the columns that the statement mentions, so it cannot suggest one."""


def _connect() -> duckdb.DuckDBPyConnection:
    """Return a connection of its own to this process's DuckDB: tables registered in it are visible only there."""
    return _database().cursor()


@lru_cache(maxsize=1)
def _database() -> duckdb.DuckDBPyConnection:
    """Start DuckDB, which takes a hundred times as long as a connection. Its threads do not live through a fork."""
    try:
        with for_own_use():
            import duckdb
    except ImportError as error:
        raise MissingDependency.for_extra("duckdb", "sql", "SQL") from error
    try:
        database = duckdb.connect(":memory:", config=_OPTIONS | {"temp_directory": _spill_folder()})
    except duckdb.Error as error:  # as where the working directory was removed
        raise VaultError(f"DuckDB cannot start, so there is no answer: {error}") from error
    database.execute("SET GLOBAL TimeZone = 'UTC'")
    database.execute("SET lock_configuration = true")
    return database


def _spill_folder() -> str:
    """Make a folder for what does not fit into memory, gone with this process: DuckDB would make one where the program is."""
    folder, process = mkdtemp(prefix="tablevault-sql-"), os.getpid()

    def remove() -> None:
        if os.getpid() == process:  # and not a child of it
            rmtree(folder, ignore_errors=True)

    atexit.register(remove)
    return folder


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_database.cache_clear)


def _check_used(statement: SelectStatement, given: Mapping[str, Any]) -> None:
    for name, value in given.items():
        if _is_table(value) and name not in statement.tables:
            raise InvalidQuery(f"The statement reads no table {name!r}. Tables: {sorted(statement.tables)}.")
        if not _is_table(value) and name not in statement.parameters:
            raise InvalidQuery(
                f"The statement has no parameter ${name}. Parameters: {sorted(statement.parameters)}."
            )


def _is_table(value: Any) -> bool:
    return isinstance(value, (pd.DataFrame, pd.Series)) or hasattr(value, "__arrow_c_stream__")


def _plain(name: str, value: Any) -> Any:
    """Return a parameter as DuckDB binds it. Raises InvalidInput where it would cut nanoseconds."""
    if value is pd.NA or value is pd.NaT:
        return None
    if isinstance(value, np.datetime64):
        return _plain(name, pd.Timestamp(value))
    if isinstance(value, np.timedelta64):
        return _plain(name, pd.Timedelta(value))
    if isinstance(value, (pd.Timestamp, pd.Timedelta)):
        nanoseconds = value.nanosecond if isinstance(value, pd.Timestamp) else value.nanoseconds
        if nanoseconds:
            raise InvalidInput(
                f"${name} is {short_repr(value)}, and DuckDB takes microseconds. Round it: value.round('us'), or hand it in as a frame."
            )
        return value
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return _plain(name, list(value)) if value.dtype.kind in "mM" else value.tolist()
    return [_plain(name, item) for item in value] if isinstance(value, (list, tuple)) else value


def _run(
    connection: duckdb.DuckDBPyConnection, text: str, parameters: dict[str, Any], timeout_s: float | None
) -> pa.Table:
    """Execute in a thread, so that Ctrl-C and the timeout end the query whatever DuckDB is doing."""
    import duckdb

    relation = partial(connection.sql, text, params=parameters or None)
    try:
        return _in_thread(lambda: relation().to_arrow_table(), timeout_s, connection.interrupt)
    except duckdb.BinderException as error:
        missing = re.search(r'column "?(.+?)"? (?:not found|does not)', str(error))
        if missing is None:
            raise InvalidQuery(_message(error)) from error
        raise NoSuchColumn(f"There is no column {missing[1]!r}") from error
    except duckdb.Error as error:
        raise InvalidQuery(_message(error)) from error


def _in_thread(
    work: Callable[[], pa.Table], timeout_s: float | None, interrupt: Callable[[], None]
) -> pa.Table:
    future: Future[pa.Table] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:  # noqa: BLE001
            future.set_exception(error)

    if not threading.main_thread().is_alive():  # Python ends, and starts no threads any more
        run()
        return future.result()
    start(run, "sql", lambda error: future.set_exception(_no_thread(error)))
    try:
        return future.result(None if timeout_s is None else min(timeout_s, threading.TIMEOUT_MAX))
    except TimeoutError:
        raise QueryTimeout(f"The query took longer than {timeout_s} s and was stopped.") from None
    finally:
        # An interrupt that comes before the query has begun is lost: so it is repeated.
        while not future.done():
            interrupt()
            wait([future], 0.02)


def _no_thread(error: RuntimeError) -> VaultError:
    return VaultError(
        f"The query needs a thread, and the system gives no more ({error}). End some, or try again later."
    )


def _message(error: Exception) -> str:
    """Return DuckDB's message, with a way out where it names a function or setting that is locked."""
    text = re.sub(r"\s+", " ", str(error)).strip()
    if "disabled by configuration" in text:
        return "SQL over a vault reads lists, reports and frames only: no files, no network. Hand a frame in: vault.sql(…, name=frame)."
    return f"DuckDB: {text}"


def _frame(table: pa.Table) -> pd.DataFrame:
    """Return the answer with the dtypes that lose nothing; references to rows as ``vault_ref``."""
    if len(set(table.column_names)) < len(table.column_names):
        raise InvalidInput(
            f"Two columns of the answer have one name: {', '.join(table.column_names)}. Use AS to tell them apart."
        )
    references = [field.name for field in table.schema if field.type.equals(REFERENCE)]
    plain = _with_times(_with_timedeltas(_with_integers(table.drop_columns(references))))
    encoded = frames.encode_arrow(plain)
    frame = frames.decode([encoded], encoded.schema, positions=range(table.num_rows)).reset_index(drop=True)
    for name in references:
        rows = pd.Series(RefDtype().__from_arrow__(table.column(name)))
        frame.insert(table.column_names.index(name), name, rows)
    return frame


def _with_integers(table: pa.Table) -> pa.Table:
    """Return sums of integers, which DuckDB gives 128 bits, as int64 where they fit."""
    for number, field in enumerate(table.schema):
        if pa.types.is_decimal(field.type) and field.type.scale == 0:
            try:
                table = table.set_column(number, field.name, table.column(number).cast(pa.int64()))
            except pa.ArrowInvalid:
                continue  # they stay decimals, which are exact
    return table


def _with_times(table: pa.Table) -> pa.Table:
    """Return times of day, which pandas has as :class:`datetime.time`, in microseconds. Those of nanoseconds are refused."""
    for number, field in enumerate(table.schema):
        if field.type == pa.time64("ns"):
            try:
                table = table.set_column(number, field.name, table.column(number).cast(pa.time64("us")))
            except pa.ArrowInvalid as error:
                raise InvalidQuery(
                    f"The column {field.name!r} has times of day with nanoseconds, which Python has not. "
                    f"Select CAST({field.name} AS TIME), or AS VARCHAR."
                ) from error
    return table


def _with_timedeltas(table: pa.Table) -> pa.Table:
    """Return intervals, which pandas has no dtype for, as timedeltas. One of months has no length, and is refused."""
    for number, field in enumerate(table.schema):
        if field.type == pa.month_day_nano_interval():
            table = table.set_column(number, field.name, _timedeltas(table.column(number), field.name))
    return table


def _timedeltas(column: pa.ChunkedArray, name: str) -> pa.Array:
    array = column.combine_chunks()
    parts = np.frombuffer(array.buffers()[1], _INTERVAL)[array.offset : array.offset + len(array)]
    missing = array.is_null().to_numpy(zero_copy_only=False)
    if parts["months"][~missing].any():
        raise InvalidQuery(
            f"The column {name!r} has intervals of months, which have no fixed length. Select CAST({name} AS VARCHAR)."
        )
    values = parts["days"].astype(np.int64) * _DAY_US + parts["nanoseconds"] // 1000
    return pa.array(values, mask=missing).cast(pa.duration("us"))
