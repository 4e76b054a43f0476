"""HTTP to the server: connections that an interrupt or a fork leaves usable, no retries, answers as bytes."""

from __future__ import annotations

import os
import queue
from collections import deque
from http.client import BadStatusLine, RemoteDisconnected
from typing import TYPE_CHECKING, Any

import orjson
import requests
from arango.http import HTTPClient
from arango.response import Response
from requests.adapters import HTTPAdapter
from requests.auth import AuthBase
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection

from tablevault_pd.errors import short_repr
from tablevault_pd.store.engine import fork_guard as forks

if TYPE_CHECKING:
    from tablevault_pd.store.arango.address import Secret

CONNECT_TIMEOUT_S = 5.0
IMPATIENT_S = 1.0
_GATEWAY = {502, 503, 504}  # the server is starting, stopping or behind something that is


class NotArango(Exception):
    """Something else answered; the message says what."""


class ConnectionLost(Exception):
    """The connection failed. Not a requests error: the driver would log those, and try again."""


class Unavailable(Exception):
    """The server says that it is not available just now. The driver would try again by itself."""

    def __init__(self, words: str, number: int) -> None:
        super().__init__(words)
        self.number = number


class Login(AuthBase):
    """Adds the secret to a request as it leaves."""

    def __init__(self, user: str, password: Secret, token: Secret | None) -> None:
        self._user, self._password, self._token = user, password, token

    def __call__(self, request: Any) -> Any:
        """Add it."""
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


class _TlsConnection(_HttpConnection, HTTPSConnection):
    """The same with TLS."""


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


class Transport(HTTPClient):
    """The driver's way to the network: no retries, short waits for a connection, answers as bytes."""

    def __init__(self, login: Login, verify: bool | str, wait_s: float) -> None:
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
        # forked by a signal handler meanwhile: the answer is the parent's
        forks.require_process(self._pid, "call")
        if problem is not None:  # raised out here, so that it does not carry the request and its login along
            # what this attempt still asks, to tidy up, is not worth more
            self.wait_s = min(self.wait_s, IMPATIENT_S)
            raise ConnectionLost(problem)
        if answer.status_code in _GATEWAY:
            raise _unavailable(answer)
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


def _unavailable(answer: requests.Response) -> Exception:
    """The server's own words, or what a proxy in front of it means."""
    try:
        said = orjson.loads(answer.content)
        return Unavailable(str(said["errorMessage"])[:200], int(said["errorNum"]))
    except (ValueError, LookupError, TypeError):
        return ConnectionLost(f"HTTP status {answer.status_code}")


def _no_http(error: BaseException | None) -> str | None:
    """What came instead of an HTTP answer; None if nothing did. The causes of `error` are looked through."""
    for part in (*getattr(error, "args", ()), getattr(error, "reason", None)):
        if isinstance(part, BadStatusLine) and not isinstance(part, RemoteDisconnected):
            return f"what answered speaks no HTTP; it said {short_repr(str(part), 40)}"
        reply = _no_http(part) if isinstance(part, BaseException) else None
        if reply is not None:
            return reply
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
