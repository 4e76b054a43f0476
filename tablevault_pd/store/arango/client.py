"""Requests to the server: one driver per process and thread, our own retries, our own errors.

The driver would repeat any request on a dropped connection, at once and up to three times. Here every operation is
idempotent by design (keys are made by the client, repeated inserts are ignored or recognised), so it is this module
that tries again: with growing, random pauses, within a time limit, and only after failures that may pass.
"""

from __future__ import annotations

import contextlib
import os
import queue
import random
import threading
import time
import weakref
from collections import deque
from dataclasses import dataclass
from http.client import BadStatusLine, RemoteDisconnected
from typing import TYPE_CHECKING, Any, TypeVar, cast

import orjson
import requests
from arango.client import ArangoClient
from arango.exceptions import ArangoClientError, ArangoServerError
from arango.http import HTTPClient
from arango.request import Request
from arango.response import Response
from requests.adapters import HTTPAdapter
from requests.auth import AuthBase
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection

from tablevault_pd.errors import (
    Conflict,
    StorageFull,
    StoreError,
    StoreUnavailable,
    VaultBusy,
    VaultClosed,
    VaultError,
    VaultNotFound,
    VaultReadOnly,
    shown,
)
from tablevault_pd.progress import warn
from tablevault_pd.store.engine import fork_guard as forks

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from arango.cursor import Cursor
    from arango.database import StandardDatabase, TransactionDatabase

    from tablevault_pd.store.arango.address import Secret, ServerAddress

CONNECT_TIMEOUT_S = 5.0
IMPATIENT_S = 1.0
FIRST_PAUSE_S = 0.02
LONGEST_PAUSE_S = 1.0

# Numbers of the server's errors; see "Error codes and meanings" in its documentation.
LOCK_TIMEOUT, LOCKED, DEADLOCK = 18, 28, 29
WRITE_CONFLICT, NOT_FOUND, NO_COLLECTION, DUPLICATE_NAME, UNIQUE = 1200, 1202, 1203, 1207, 1210
NO_DATABASE, NO_CURSOR, DISK_FULL, SERVER_READ_ONLY, GRAPH_EXISTS = 1228, 1600, 1104, 1004, 1925
QUEUE_TIME, QUEUE_FULL = 21004, 21003
_BUSY = {LOCK_TIMEOUT, LOCKED, DEADLOCK, WRITE_CONFLICT}
_PASSING = _BUSY | {NO_CURSOR, QUEUE_TIME, QUEUE_FULL}
_GATEWAY = {502, 503, 504}  # the server is starting, stopping or behind something that is

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a request failed. The driver's own errors hold the request and its documents, and are dropped."""

    detail: str
    number: int = 0
    status: int = 0
    lost: bool = False  #: no answer came: whether the server acted is not known
    foreign: bool = False  #: what answered is no ArangoDB

    @property
    def passing(self) -> bool:
        """Whether the same request may succeed a moment later."""
        return self.lost or self.number in _PASSING


class Said(Exception):
    """A failure the caller has announced to expect."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.detail)
        self.number = failure.number


class NotArango(Exception):
    """Something else answered; the message says what."""


class NoAnswer(Exception):
    """The connection failed. Not a requests error: the driver would log those, and try again."""


class _Login(AuthBase):
    """Adds the secret to a request as it leaves."""

    def __init__(self, user: str, password: Secret, token: Secret | None) -> None:
        self._user, self._password, self._token = user, password, token

    def __call__(self, request: Any) -> Any:
        if self._token is not None:
            request.headers["Authorization"] = f"bearer {self._token.reveal()}"
            return request
        return requests.auth.HTTPBasicAuth(self._user, self._password.reveal())(request)


class _Idle:
    """The idle connections of a pool. An interrupt inside of Python's own queues leaves them locked for ever."""

    def __init__(self, maxsize: int) -> None:
        self._most = maxsize
        self._items: deque[Any] = deque()

    def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
        """Add a connection. Raises queue.Full: the caller closes it then."""
        if item is not None and item in self._items:
            return  # an interrupt came right after it was put back
        if len(self._items) >= self._most:
            raise queue.Full
        self._items.append(item)

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        """Take the one that was used last. Raises queue.Empty: the caller makes another one then."""
        try:
            return self._items.pop()
        except IndexError:
            raise queue.Empty from None

    def qsize(self) -> int:
        """How many there are."""
        return len(self._items)


class _HttpConnection(HTTPConnection):
    """Is closed in a forked child: the two would read each other's answers."""

    def connect(self) -> None:
        """Connect."""
        super().connect()
        forks.detach_in_child(self.sock)


class _TlsConnection(HTTPSConnection):
    """The same with TLS."""

    def connect(self) -> None:
        """Connect."""
        super().connect()
        forks.detach_in_child(self.sock)


class _Pool(HTTPConnectionPool):
    QueueCls = _Idle  # type: ignore[assignment]  # all of a queue that is used
    ConnectionCls = _HttpConnection


class _TlsPool(HTTPSConnectionPool):
    QueueCls = _Idle  # type: ignore[assignment]
    ConnectionCls = _TlsConnection


class _Adapter(HTTPAdapter):
    """Connections that are not tried again, in pools that an interrupt leaves usable."""

    def init_poolmanager(self, *sizes: Any, **options: Any) -> None:
        """Make the pools."""
        super().init_poolmanager(*sizes, **options)
        self.poolmanager.pool_classes_by_scheme = {"http": _Pool, "https": _TlsPool}


class _Transport(HTTPClient):
    """The driver's way to the network: no retries, short waits for a connection, answers as bytes."""

    def __init__(self, login: _Login, verify: bool | str, wait_s: float) -> None:
        self._login, self._verify, self._pid = login, verify, os.getpid()
        self.wait_s = wait_s  #: how long the answer to a request is waited for

    def create_session(self, host: str) -> requests.Session:
        """A session that ignores proxies and .netrc of the environment: the address and the login are settled."""
        session = requests.Session()
        session.trust_env = False
        session.verify = self._verify
        for scheme in ("http://", "https://"):
            session.mount(scheme, _Adapter(max_retries=0))
        return session

    def send_request(
        self,
        session: requests.Session,
        method: str,
        url: str,
        headers: Any = None,
        params: Any = None,
        data: Any = None,
        auth: Any = None,
    ) -> Response:
        """One HTTP request. The driver's `auth` is a placeholder and ignored."""
        forks.require_process(self._pid, "call")
        problem = foreign = None
        try:
            answer = session.request(
                method,
                url,
                params=params,
                data=data,
                headers=headers,
                auth=self._login,
                timeout=(min(CONNECT_TIMEOUT_S, self.wait_s), self.wait_s),
                allow_redirects=False,
            )
        except requests.exceptions.SSLError as error:
            if "CERTIFICATE_VERIFY_FAILED" in str(error):
                problem = "SSLError: its certificate could not be verified"
            else:
                foreign = "what answered speaks no TLS"
        except requests.RequestException as error:
            said = _no_http(error)
            problem, foreign = (self._problem(error), None) if said is None else (None, said)
        if foreign is not None:
            raise NotArango(foreign)
        forks.require_process(
            self._pid, "call"
        )  # forked by a signal handler meanwhile: the answer is the parent's
        if problem is not None:  # raised out here, so that it does not carry the request and its login along
            self.wait_s = min(
                self.wait_s, IMPATIENT_S
            )  # what this attempt still asks, to tidy up, is not worth more
            raise NoAnswer(problem)
        if answer.status_code in _GATEWAY:
            raise NoAnswer(f"HTTP status {answer.status_code}")
        if not _from_arango(answer):
            kind = answer.headers.get("content-type", "no content type")
            by = answer.headers.get("server", "A server without a name")
            raise NotArango(f"{by[:80]} answered with HTTP status {answer.status_code} ({kind[:80]})")
        return Response(
            method=method,
            url=url,
            headers=answer.headers,
            status_code=answer.status_code,
            status_text=answer.reason,
            raw_body=answer.content,  # type: ignore[arg-type]  # our deserialiser reads bytes, which saves a copy
        )

    def _problem(self, error: requests.RequestException) -> str:
        if isinstance(error, requests.exceptions.ReadTimeout):
            return f"ReadTimeout: none within {self.wait_s:.3g} s; timeout_s= sets how long to wait"
        return type(error).__name__


def _no_http(error: BaseException | None) -> str | None:
    """What came instead of an HTTP answer; None if nothing did. The causes of `error` are looked through."""
    for part in (*getattr(error, "args", ()), getattr(error, "reason", None)):
        if isinstance(part, BadStatusLine) and not isinstance(part, RemoteDisconnected):
            return f"what answered speaks no HTTP; it said {shown(str(part), 40)}"
        found = _no_http(part) if isinstance(part, BaseException) else None
        if found is not None:
            return found
    return None


def _from_arango(answer: requests.Response) -> bool:
    """Whether ArangoDB may have said this: JSON, and in an error the number of it; or nothing, with a status it has."""
    body, done = answer.content[:1], 200 <= answer.status_code < 300
    if not body:
        return done or answer.status_code in (401, 403)
    if done:
        return body in b"{["
    return body == b"{" and b'"errorNum"' in answer.content


def to_json(value: Any) -> bytes:
    """`value` as JSON; bytes are JSON already, made once where their size was needed."""
    return value if isinstance(value, bytes) else orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY)


class Client:
    """The database of one vault."""

    def __init__(
        self,
        address: ServerAddress,
        password: Secret,
        token: Secret | None,
        *,
        read_only: bool,
        timeout_s: float,
        sync: bool,
        verify_tls: bool | str,
    ) -> None:
        self.address = address
        self.read_only = read_only
        self.sync = sync
        self.timeout_s = timeout_s
        self._login = _Login(address.user, password, token)
        self._verify_tls = verify_tls
        self._closed = False
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
        known: dict[str, StandardDatabase] = self._here.__dict__.setdefault("databases", {})
        name = name or self.address.database
        if name not in known:
            known[name] = self._driver().db(name, username=self.address.user, password="")
        return known[name]

    def _driver(self) -> ArangoClient:
        driver = self._here.__dict__.get("driver")
        if driver is None:
            driver = ArangoClient(
                hosts=self.address.base,
                resolver_max_tries=1,
                http_client=self._transport(),
                serializer=to_json,  # type: ignore[arg-type]  # bytes are sent as they are
                deserializer=orjson.loads,
            )
            self._here.driver = driver
            with self._lock:
                self._drivers.add(driver)
        return driver

    def _transport(self) -> _Transport:
        transport: _Transport | None = self._here.__dict__.get("transport")
        if transport is None:
            transport = self._here.transport = _Transport(self._login, self._verify_tls, self.timeout_s)
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
        patient: bool = True,
        database: str | None = None,
        wait_s: float | None = None,
    ) -> T:
        """The result of `operation`, tried again while it fails for reasons that pass.

        Failures whose numbers are in `expect` raise :class:`Said`; others raise an error of ours. Each answer is waited
        for until the time limit, or for `wait_s`. With ``patient=False`` a server that cannot be
        reached is reported within a second or one connection timeout.
        """
        began = time.monotonic()
        deadline = began + (self.timeout_s if patient else min(self.timeout_s, IMPATIENT_S))
        pause = FIRST_PAUSE_S
        while True:
            left_s = began + self.timeout_s - time.monotonic()
            result, failure = self._attempt(operation, database, max(wait_s or left_s, IMPATIENT_S))
            if failure is None:
                return result  # type: ignore[return-value]  # an operation may well return None
            if failure.number in expect:
                raise Said(failure)
            if not failure.passing or time.monotonic() + pause > deadline:
                raise self.translated(failure)
            time.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311  # jitter, no secret
            pause = min(2 * pause, LONGEST_PAUSE_S)

    def _attempt(
        self, operation: Callable[[StandardDatabase], T], database: str | None, wait_s: float
    ) -> tuple[T | None, Failure | None]:
        handle = self.database(database)
        self._transport().wait_s = wait_s
        try:
            return operation(handle), None
        except NoAnswer as error:
            return None, Failure(str(error), lost=True)
        except NotArango as error:
            return None, Failure(str(error), foreign=True)
        except ArangoServerError as error:
            said = str(error.error_message or "no message")[:200]
            return None, Failure(said, int(error.error_code or 0), int(error.http_code or 0))
        except ArangoClientError as error:
            return None, Failure(str(error.message)[:200])

    def translated(self, failure: Failure) -> VaultError:
        """The error of ours for a failure."""
        where = str(self.address)
        if failure.lost:
            return StoreUnavailable(
                f"The server of {where} gave no answer ({failure.detail}). Is it running?"
            )
        if failure.foreign:
            return StoreUnavailable(
                f"There is no ArangoDB at {where}: {failure.detail}. Is the port right (8529 unless it was set), and "
                "TLS (arangodbs:// with it, arangodb:// without)?"
            )
        if failure.status == 401:
            return StoreUnavailable(
                f"The server refused the user of {where}: wrong password, or no access to this database. "
                "Give the password in TABLEVAULT_PASSWORD or with password=."
            )
        if failure.number == NO_DATABASE:
            return VaultNotFound(
                f"There is no database for {where}. Connect once with create=True to make it."
            )
        if failure.status == 403 or failure.number == SERVER_READ_ONLY:
            return VaultReadOnly(
                f"{where} may not be written to: {failure.detail}. Connect with mode='r', or ask for more rights."
            )
        if failure.number == DISK_FULL:
            return StorageFull(f"The disk of the server of {where} is full; nothing of this call was kept.")
        if failure.number in _BUSY:
            return VaultBusy(f"{where} was locked by others for too long. Nothing was written; try again.")
        if failure.number == UNIQUE:
            return Conflict(f"Another writer of {where} was faster. Try again.")
        return StoreError(f"The server of {where} says: {failure.detail} (error {failure.number}).")

    def writable(self) -> None:
        """Refuse to write through a store that was opened for reading."""
        if self.read_only:
            raise VaultReadOnly("This vault is open for reading. Connect with mode='rw' to write.")

    # -- the four kinds of request

    def query(
        self,
        aql: str,
        /,
        *,
        batch_rows: int = 10_000,
        stream: bool = False,
        expect: Sequence[int] = (),
        patient: bool = True,
        binds: Mapping[str, Any] | None = None,
        without: Sequence[str] = (),
        wait_s: float | None = None,
        **values: Any,
    ) -> list[Any]:
        """All results of a statement. Fails as a whole and is tried again as a whole.

        `without` names rules that the optimizer leaves alone.
        """
        bound = {**values, **(binds or {})}
        return self.run(
            lambda database: all_of(database, aql, bound, batch_rows, stream, without),
            expect=expect,
            patient=patient,
            wait_s=wait_s,
        )

    def insert(
        self,
        collection: str,
        document: dict[str, Any],
        *,
        mode: str = "conflict",
        expect: Sequence[int] = (),
    ) -> None:
        """Insert one document, durably; `mode` says what to do when its key is there (3.7 or later)."""
        self.run(
            lambda database: database.collection(collection).insert(
                document, overwrite_mode=mode, silent=True, sync=self.sync
            ),
            expect=expect,
        )

    def insert_all(self, collection: str, documents: bytes) -> None:
        """Insert a JSON array of documents. Those whose key is there already stay as they are (3.7 or later)."""
        # Not Collection.insert_many: it takes apart and serialises again what was serialised to know its size.
        self.run(lambda database: _insert_all(database, collection, documents, self.sync))

    def transact(
        self, write: Sequence[str], work: Callable[[TransactionDatabase], T], *, expect: Sequence[int] = ()
    ) -> T:
        """Do `work` in a stream transaction over the `write` collections; all of it, or nothing (3.8 or later).

        Writers of one document exclude each other: one of two fails with a conflict, and is tried again as a whole.
        """

        def once(database: StandardDatabase) -> T:
            handle = database.begin_transaction(write=list(write), sync=self.sync, allow_implicit=False)
            try:
                result = work(handle)
                _commit(handle)
            except BaseException:
                # If this fails too, the server ends the transaction by itself after a minute without requests. One that
                # was committed stays so.
                with contextlib.suppress(NoAnswer, NotArango, ArangoServerError, VaultClosed):
                    handle.abort_transaction()
                raise
            return result

        return self.run(once, expect=expect)


def all_of(
    database: StandardDatabase | TransactionDatabase,
    aql: str,
    values: Mapping[str, Any],
    batch_rows: int = 10_000,
    stream: bool | None = None,
    without: Sequence[str] = (),
) -> list[Any]:
    """Execute once, and fetch to the end: no cursor outlives the call."""
    rules = [f"-{rule}" for rule in without] or None
    answer = database.aql.execute(
        aql, bind_vars=dict(values), batch_size=batch_rows, stream=stream, optimizer_rules=rules
    )
    cursor = cast(
        "Cursor", answer
    )  # the driver's other kinds of answer belong to modes that are not used here
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


def _commit(handle: TransactionDatabase) -> None:
    for pause in (0.05, 0.2, 0.5):
        try:
            handle.commit_transaction()
            return
        except NoAnswer:  # committing twice is allowed, and the only way to learn whether it worked
            time.sleep(pause)
    handle.commit_transaction()


_abandoned: list[Any] = []  # connections inherited through fork: kept so that nothing ever finalises them
