"""Requests to the server: one driver per process and thread, our own retries, our own errors.

The driver would repeat any request on a dropped connection, at once and up to three times. Here every operation is
idempotent by design (keys are made by the client, repeated inserts are ignored or recognised), so it is this module
that tries again: with growing, random pauses, within a time limit, and only after failures that may pass. Where the
address names several coordinators, the next one is asked then.

There are no transactions of several requests: what belongs together is written by one statement. So the server holds no lock of a
client that died.
"""

from __future__ import annotations

import os
import random
import threading
import time
import weakref
from typing import TYPE_CHECKING, Any, TypeVar, cast
from urllib.parse import quote

import orjson
from arango.client import ArangoClient
from arango.exceptions import ArangoClientError, ArangoServerError
from arango.request import Request
from arango.resolver import HostResolver

from tablevault_pd.errors import Conflict, StoreUnavailable, VaultBusy, VaultClosed, VaultReadOnly
from tablevault_pd.progress import warn
from tablevault_pd.store.arango.server_errors import SERVER_READ_ONLY, ExpectedError, Failure
from tablevault_pd.store.arango.transport import (
    IMPATIENT_S,
    ConnectionLost,
    Login,
    NotArango,
    Transport,
    Unavailable,
    to_json,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from arango.cursor import Cursor
    from arango.database import StandardDatabase

    from tablevault_pd.store.arango.address import Secret, ServerAddress

FIRST_PAUSE_S = 0.02
LONGEST_PAUSE_S = 1.0
# Of the time that an answer is waited for: the server stops a query before nobody waits for it.
SERVER_SHARE = 0.9
A_DOCUMENT = "a document"  # that others have locked, where nothing better is known

T = TypeVar("T")


class _Coordinator(HostResolver):
    """Tells the driver which of several coordinators to ask: the same one until it fails."""

    def __init__(self, count: int, first: int) -> None:
        super().__init__(count, count)
        self.number = first

    def get_host_index(self, indexes_to_filter: set[int] | None = None) -> int:
        """The number of the coordinator."""
        return self.number

    def move_on(self) -> int:
        """Ask the next one from now on."""
        self.number = (self.number + 1) % self.host_count
        return self.number


class Client:
    """The database of one vault."""

    def __init__(
        self,
        address: ServerAddress,
        password: Secret,
        token: Secret | None = None,
        *,
        read_only: bool = False,
        timeout_s: float,
        sync: bool = True,
        verify_tls: bool | str,
    ) -> None:
        self.address = address
        self.read_only = read_only
        self.sync = sync
        self.timeout_s = timeout_s
        self._login = Login(address.user, password, token)
        self._verify_tls = verify_tls
        self._closed = False
        self._coordinator = 0
        self._reset()
        if not address.tls and not address.local:
            warn(f"The password of {address} travels unencrypted. Use arangodbs:// if the server offers TLS.")

    def __repr__(self) -> str:
        return f"<Client {self.address}>"

    def _reset(self) -> None:
        self._pid = os.getpid()
        self._here = threading.local()
        self._lock = threading.Lock()
        self._drivers: weakref.WeakSet[ArangoClient] = weakref.WeakSet()  # one ends with its thread

    # -- connections

    def database(self, name: str | None = None) -> StandardDatabase:
        """This thread's handle of the vault's database, or of another one on the server."""
        if self._closed:
            raise VaultClosed("This vault was closed. Connect to it again with tablevault_pd.connect(…).")
        if self._pid != os.getpid():  # sockets shared with the parent are set aside, and not even closed
            _abandoned.append((self._here, self._drivers))
            self._reset()
        databases: dict[str, StandardDatabase] = self._here.__dict__.setdefault("databases", {})
        name = name or self.address.database
        if name not in databases:
            databases[name] = self._driver().db(name, username=self.address.user, password="")
        return databases[name]

    def _driver(self) -> ArangoClient:
        driver = self._here.__dict__.get("driver")
        if driver is None:
            coordinator = _Coordinator(len(self.address.hosts), self._coordinator)
            driver = ArangoClient(
                hosts=self.address.bases,
                host_resolver=coordinator,
                http_client=self._transport(),
                serializer=to_json,  # type: ignore[arg-type]  # bytes are sent as they are
                deserializer=orjson.loads,
            )
            self._here.driver, self._here.coordinator = driver, coordinator
            with self._lock:
                self._drivers.add(driver)
        return driver

    def _transport(self) -> Transport:
        transport: Transport | None = self._here.__dict__.get("transport")
        if transport is None:
            transport = self._here.transport = Transport(self._login, self._verify_tls, self.timeout_s)
        return transport

    def close(self) -> None:
        """Close this process's connections; those of a parent are left alone."""
        if self._closed:
            return
        self._closed = True
        if self._pid == os.getpid():
            with self._lock:
                for driver in self._drivers:
                    driver.close()
                self._drivers.clear()

    # -- doing things

    def run(
        self,
        operation: Callable[[StandardDatabase], T],
        *,
        expect: Sequence[int] = (),
        within_s: float | None = None,
        unreachable_s: float | None = None,
        database: str | None = None,
        wait_s: float | None = None,
        what: str = A_DOCUMENT,
    ) -> T:
        """Return the result of `operation`, tried again while it fails for reasons that pass.

        Failures whose numbers are in `expect` raise :class:`ExpectedError`; others raise an error of ours. Tries are made
        for `within_s` seconds, or the vault's `timeout_s`; where nothing answers at all, for `unreachable_s`, and once
        with each coordinator. Each answer is waited for until that limit, or for `wait_s`. An error names `what` others had
        locked.
        """
        limit_s = self.timeout_s if within_s is None else min(within_s, self.timeout_s)
        lost_limit_s = limit_s if unreachable_s is None else min(unreachable_s, limit_s)
        began, pause, silent = time.monotonic(), FIRST_PAUSE_S, 0
        locked: Failure | None = None  # what the server said last, if it did not only fall silent after it
        while True:
            left_s = (limit_s - (time.monotonic() - began)) / max(1, len(self.address.hosts) - silent)
            result, failure = self._attempt(operation, database, max(wait_s or left_s, IMPATIENT_S))
            if failure is None:
                return result  # type: ignore[return-value]  # an operation may well return None
            if failure.number in expect:
                raise ExpectedError(failure)
            silent += failure.lost
            locked = locked if failure.lost else failure if failure.meaning.error is VaultBusy else None
            tried_all = not failure.lost or silent >= len(self.address.hosts)
            spent_s = time.monotonic() - began + pause
            if self._is_final(failure) or (
                tried_all and spent_s > (lost_limit_s if failure.lost else limit_s)
            ):
                raise (locked or failure).error(str(self.address), limit_s, what)
            if failure.meaning.error is StoreUnavailable:
                self._ask_next_coordinator()
            time.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311  # jitter, no secret
            pause = min(2 * pause, LONGEST_PAUSE_S)

    def _attempt(
        self, operation: Callable[[StandardDatabase], T], database: str | None, wait_s: float
    ) -> tuple[T | None, Failure | None]:
        handle = self.database(database)
        self._transport().wait_s = wait_s
        try:
            return operation(handle), None
        except ConnectionLost as error:
            return None, Failure(str(error), lost=True)
        except Unavailable as error:
            return None, Failure(str(error), error.number)
        except NotArango as error:
            return None, Failure(str(error), foreign=True)
        except ArangoServerError as error:
            words = str(error.error_message or "no message")[:200]
            return None, Failure(words, int(error.error_code or 0), int(error.http_code or 0))
        except ArangoClientError as error:
            return None, Failure(str(error.message)[:200])

    def _is_final(self, failure: Failure) -> bool:
        """Whether trying again is of no use."""
        return not failure.transient or (failure.number == SERVER_READ_ONLY and self._may_not_write())

    def _may_not_write(self) -> bool:
        """Whether it is known that the server is read-only, or this user has no right to write.

        Too few copies of the data have the same number, and pass. What cannot be told counts as that.
        """
        user, database = (quote(name, safe="") for name in (self.address.user, self.address.database))

        def ask(handle: StandardDatabase) -> bool:
            mode = handle.conn.send_request(Request(method="get", endpoint="/_admin/server/mode"))
            right = handle.conn.send_request(
                Request(method="get", endpoint=f"/_api/user/{user}/database/{database}/tv_batches")
            )
            is_read_only = mode.is_success and mode.body.get("mode") == "readonly"
            return bool(is_read_only or (right.is_success and right.body.get("result") in ("ro", "none")))

        return bool(self._attempt(ask, None, IMPATIENT_S)[0])

    def _ask_next_coordinator(self) -> None:
        coordinator: _Coordinator | None = self._here.__dict__.get("coordinator")
        if coordinator is not None and len(self.address.hosts) > 1:
            self._coordinator = coordinator.move_on()  # threads that come later begin there, too

    def writable(self) -> None:
        """Refuse to write through a store that was opened for reading."""
        if self.read_only:
            raise VaultReadOnly("This vault is open for reading. Connect with mode='rw' to write.")

    def require_rights(self) -> None:
        """Refuse maintenance by a user without the right to write, also where there is nothing to do. One or two requests."""
        self.writable()
        if self._may_not_write():
            detail = "the user has no right to write, or the server is read-only"
            raise Failure(detail, status=403).error(str(self.address), self.timeout_s, A_DOCUMENT)

    # -- the four kinds of request

    def query(
        self,
        aql: str,
        /,
        *,
        batch_rows: int = 10_000,
        stream: bool = False,
        expect: Sequence[int] = (),
        within_s: float | None = None,
        unreachable_s: float | None = None,
        binds: Mapping[str, Any] | None = None,
        wait_s: float | None = None,
        what: str = A_DOCUMENT,
        **values: Any,
    ) -> list[Any]:
        """All results of a statement. Fails as a whole and is tried again as a whole. The options are those of :meth:`run`.

        The server stops a statement shortly before its answer is not waited for any more.
        """
        bound = {**values, **(binds or {})}

        def once(database: StandardDatabase) -> list[Any]:
            runtime_s = SERVER_SHARE * self._transport().wait_s
            return execute(database, aql, bound, batch_rows, stream, runtime_s=runtime_s)

        return self.run(
            once, expect=expect, within_s=within_s, unreachable_s=unreachable_s, wait_s=wait_s, what=what
        )

    def write(self, aql: str, /, **options: Any) -> list[Any]:
        """The same of a statement that writes. Raises VaultReadOnly where the vault is open for reading."""
        self.writable()
        return self.query(aql, **options)

    def query_of(self, ids: Sequence[int] | None, every: str, some: str, **values: Any) -> list[Any]:
        """All results of the statement `every`, or of `some`, which tells of those with these `ids` alone."""
        if ids is None:
            return self.query(every, **values)
        return self.query(some, ids=[int(key) for key in ids], **values)

    def insert(
        self,
        collection: str,
        document: dict[str, Any],
        *,
        mode: str = "conflict",
        expect: Sequence[int] = (),
        what: str = A_DOCUMENT,
    ) -> None:
        """Insert one document, durably; `mode` says what to do when its key is there (3.7 or later)."""
        self.run(
            lambda database: database.collection(collection).insert(
                document, overwrite_mode=mode, silent=True, sync=self.sync
            ),
            expect=expect,
            what=what,
        )

    def insert_all(self, collection: str, documents: bytes) -> None:
        """Insert a JSON array of documents. Those whose key is there already stay as they are (3.7 or later)."""
        # Not Collection.insert_many: it takes apart and serialises again what was serialised to know its size.
        self.run(lambda database: _insert_all(database, collection, documents, self.sync))

    def until_made(self, attempt: Callable[[], T | None], what: str) -> T:
        """What `attempt` makes, as soon as no other writer is faster. Raises Conflict: `what` others keep writing."""
        deadline, pause = time.monotonic() + self.timeout_s, FIRST_PAUSE_S / 4
        while (made := attempt()) is None:
            if time.monotonic() > deadline:
                raise Conflict(
                    f"Other writers of {what} were faster for {self.timeout_s:.0f} s. Nothing was written; try again."
                )
            time.sleep(pause * random.random())  # noqa: S311  # jitter, no secret
            pause = min(2 * pause, LONGEST_PAUSE_S / 2)
        return made


def execute(
    database: StandardDatabase,
    aql: str,
    values: Mapping[str, Any],
    batch_rows: int = 10_000,
    stream: bool | None = None,
    *,
    runtime_s: float,
) -> list[Any]:
    """Execute once, and fetch to the end: no cursor outlives the call."""
    answer = database.aql.execute(
        aql,
        bind_vars=dict(values),
        batch_size=batch_rows,
        stream=stream,
        max_runtime=runtime_s,  # type: ignore[arg-type]  # a float is one of its numbers
    )
    # The driver's other kinds of answer belong to modes that are not used here.
    cursor = cast("Cursor", answer)
    while cursor.has_more():
        cursor.fetch()
    return list(cursor.batch() or ())


def _insert_all(database: StandardDatabase, collection: str, documents: bytes, sync: bool) -> None:
    request = Request(
        method="post",
        endpoint=f"/_api/document/{collection}",
        params={"overwriteMode": "ignore", "silent": True, "waitForSync": sync},
        data=documents,
    )
    answer = database.conn.send_request(request)
    if not answer.is_success:
        raise ArangoServerError(answer, request)
    failed = [one for one in answer.body if one.get("error")] if isinstance(answer.body, list) else []
    if failed:  # the request succeeds although single documents fail: each is to be looked at
        answer.error_code = failed[0].get("errorNum")
        answer.error_message = failed[0].get("errorMessage")
        raise ArangoServerError(answer, request)


_abandoned: list[Any] = []  # connections inherited through fork: kept so that nothing ever finalises them
