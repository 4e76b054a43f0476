"""A proxy in front of a server of any make: it drops, delays and refuses requests, and counts them.

It stands between the library and the server, so tests of faults run before a real server as before any other. Kinds of
faults: ``drop-before`` and ``drop-after`` (the connection ends without an answer, before or after the server has acted),
``delay:ms``, ``status:503``, ``error:NUM`` (the answer that the server would give for that error; nothing is done) and
``error-after:NUM`` (the same, after the server has acted).
"""

from __future__ import annotations

import http.client
import json
import re
import socketserver
import ssl
import threading
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator

# HTTP status of the server's errors, where it is not 500.
STATUS = {
    11: 403, 30: 503, 38: 503, 503: 503, 1004: 403, 1200: 409, 1202: 404, 1210: 409, 1303: 503, 1429: 503, 1478: 503,
    1489: 406, 1490: 406, 1491: 421, 1492: 503, 1495: 503, 1496: 421, 1500: 410, 1600: 404, 1601: 409, 1654: 410,
    1655: 404, 9005: 403, 21003: 412, 21004: 412,
}  # fmt: skip
_HOP = {"connection", "transfer-encoding", "content-length", "keep-alive"}


@dataclass
class Rule:
    """The next `count` requests after `skip` that match meet a fault."""

    match: str
    kind: str
    count: int
    skip: int


class Faults:
    """A proxy that can inject faults, and counts the requests that reach it."""

    def __init__(self, host: str, port: int, *, tls: bool = False) -> None:
        self._upstream, self._tls = (host, port), tls
        self._lock = threading.Lock()
        self._rules: list[Rule] = []
        self._cleared = threading.Event()
        self.counts: Counter[str] = Counter()
        proxy = self

        class Handler(socketserver.StreamRequestHandler):
            disable_nagle_algorithm = True

            def handle(self) -> None:
                server = proxy._connect()
                try:
                    while proxy._exchange(self.rfile, self.connection, server):
                        pass
                except (OSError, http.client.HTTPException):
                    pass  # one of the two sides is gone
                finally:
                    server.close()

        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port: int = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def _connect(self) -> http.client.HTTPConnection:
        if self._tls:
            return http.client.HTTPSConnection(*self._upstream, context=ssl._create_unverified_context())
        return http.client.HTTPConnection(*self._upstream)

    # -- what tests say

    def add(self, match: str, kind: str, *, count: int = 1, skip: int = 0) -> None:
        """The next `count` requests after `skip` that match, "METHOD /path" or the begin of the body, meet a fault."""
        with self._lock:
            self._rules.append(Rule(match, kind, count, skip))

    def clear(self) -> None:
        """No more faults. Requests that are delayed are dropped."""
        with self._lock:
            self._rules.clear()
            self._cleared.set()
            self._cleared = threading.Event()

    def left(self) -> int:
        """How many faults have not been met yet."""
        with self._lock:
            return sum(rule.count for rule in self._rules)

    def reset(self) -> None:
        """Count from zero."""
        with self._lock:
            self.counts.clear()

    def requests(self, match: str = "") -> int:
        """How many requests there were since whose "METHOD /path" matches."""
        with self._lock:
            return sum(count for line, count in self.counts.items() if re.search(match, line))

    # -- one request after the other

    def _exchange(self, rfile: Any, client: socket.socket, server: http.client.HTTPConnection) -> bool:
        """Pass one request on. Return whether another one may follow."""
        line = rfile.readline(65536).decode("latin-1").split()
        if len(line) != 3:
            return False
        method, target, _ = line
        headers = http.client.parse_headers(rfile)
        body = rfile.read(int(headers.get("content-length", 0)))
        kind, cleared = self._fault(f"{method} {target}", body[:1000].decode("utf-8", "replace"))
        what, _, value = kind.partition(":")
        if what == "delay" and cleared.wait(int(value) / 1000):
            return False
        if what == "drop-before":
            return False
        if what in ("status", "error"):
            client.sendall(_refusal(what, value))
            return True
        server.putrequest(method, target, skip_host=True, skip_accept_encoding=True)
        for name, content in headers.items():
            server.putheader(name, content)
        server.endheaders(body)
        answer = server.getresponse()
        content = answer.read()
        if what == "drop-after":
            return False
        client.sendall(_refusal("error", value) if what == "error-after" else _passed_on(answer, content))
        return True

    def _fault(self, line: str, begin: str) -> tuple[str, threading.Event]:
        """The kind of fault that this request meets, or an empty text."""
        with self._lock:
            self.counts[line.partition("?")[0]] += 1
            for rule in self._rules:
                if not re.search(rule.match, f"{line} {begin}"):
                    continue
                if rule.skip:
                    rule.skip -= 1
                elif rule.count:
                    rule.count -= 1
                    return rule.kind, self._cleared
            return "", self._cleared


def _refusal(what: str, value: str) -> bytes:
    """An answer with an error: a bare status, or one of the server's."""
    number, _, status = value.partition(":")
    if what == "status":
        return _message(int(number), "Unavailable", [], b"")
    code = int(status or STATUS.get(int(number), 500))
    body = {"error": True, "code": code, "errorNum": int(number), "errorMessage": f"injected {number}"}
    return _message(code, "Refused", [("content-type", "application/json")], json.dumps(body).encode())


def _passed_on(answer: http.client.HTTPResponse, content: bytes) -> bytes:
    headers = [(name, value) for name, value in answer.getheaders() if name.lower() not in _HOP]
    return _message(answer.status, answer.reason, headers, content)


def _message(status: int, reason: str, headers: list[tuple[str, str]], body: bytes) -> bytes:
    lines = [f"HTTP/1.1 {status} {reason}", *(f"{name}: {value}" for name, value in headers)]
    return ("\r\n".join([*lines, f"content-length: {len(body)}", "", ""])).encode("latin-1") + body


def storm(numbers: list[int], turn: int) -> Iterator[str]:
    """Each error once, before the server has acted and after in turns."""
    for place, number in enumerate(numbers):
        yield f"error:{number}" if (place + turn) % 2 else f"error-after:{number}"
