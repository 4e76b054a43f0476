"""An address where something else than ArangoDB answers: told as such, with what answered."""

from __future__ import annotations

import socket
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest

pytest.importorskip("arango")

from typing import TYPE_CHECKING

from tablevault_pd.errors import StoreUnavailable, VaultCorrupt
from tablevault_pd.store.arango import ArangoStore

if TYPE_CHECKING:
    from collections.abc import Iterator


def told(status: int, body: bytes, **headers: str) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        server_version, sys_version = "Elsewhere/1.0", ""

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("content-length", 0)))
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name.replace("_", "-"), value)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_PUT = do_POST  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    return Handler


class Files(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def serving(handler: type[BaseHTTPRequestHandler]) -> Iterator[int]:
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


@contextmanager
def saying(line: bytes) -> Iterator[int]:
    """A server of another protocol, which has one thing to say to every client."""

    def answer() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                connection.recv(65536)
                connection.sendall(line)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=answer, daemon=True).start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize(
    ("handler", "words"),
    [
        (Files, "SimpleHTTP.* 501"),
        (told(404, b"<html>no</html>", content_type="text/html"), "Elsewhere/1.0 .* 404 .*text/html"),
        (told(200, b"<html>hello</html>", content_type="text/html"), "Elsewhere/1.0 .* 200"),
        (told(200, b'{"hello": "you"}', content_type="application/json"), "JSON, but not"),
        (told(201, b"[1, 2]", content_type="application/json"), "JSON, but not"),
        (told(405, b'{"error": "no such method"}', content_type="application/json"), "405 .*json"),
        (
            told(401, b'{"error": {"type": "security"}}', content_type="application/json"),
            "Elsewhere/1.0 .* 401",
        ),
        (told(302, b"", location="https://elsewhere.example/"), "Elsewhere/1.0 .* 302"),
        (told(404, b""), "404"),
    ],
)
def test_what_answered_is_told(handler, words):
    with (
        serving(handler) as port,
        pytest.raises(StoreUnavailable, match=f"no ArangoDB at .*127.0.0.1:{port}.*{words}") as raised,
    ):
        ArangoStore(f"arangodb://root:secret@127.0.0.1:{port}/x", create=True)
    assert "secret" not in str(raised.value)
    assert not isinstance(raised.value, VaultCorrupt)


@pytest.mark.parametrize(
    ("scheme", "line", "words"),
    [
        ("arangodb", b"-ERR unknown command 'POST'\r\n", "no HTTP; it said .*-ERR"),
        ("arangodb", b"SSH-2.0-Elsewhere\r\n", "no HTTP; it said .*SSH-2.0"),
        ("arangodb", b"\x15\x03\x01\x00\x02\x02\x46", "no HTTP.*TLS"),
        ("arangodbs", b"HTTP/1.1 400 Bad Request\r\n\r\n", "no TLS"),
    ],
)
def test_other_protocols_are_told(scheme, line, words):
    with saying(line) as port, pytest.raises(StoreUnavailable, match=words):
        ArangoStore(f"{scheme}://root:secret@127.0.0.1:{port}/x")


def test_a_server_that_hangs_up_gave_no_answer():
    with saying(b"") as port, pytest.raises(StoreUnavailable, match="no answer"):
        ArangoStore(f"arangodb://root:secret@127.0.0.1:{port}/x")
