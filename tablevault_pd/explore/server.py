"""Pages in a browser: on this machine alone, for those who have the token, and for pages of this server alone.

The address that is printed holds a token. The first visit puts it into a cookie and takes it out of the address, so that
addresses can be bookmarked, and shared among those who have the token. Every request has to name this server as its host, which
keeps out pages of others that have their name point to 127.0.0.1; Bokeh checks the origin of web sockets.
"""

from __future__ import annotations

import hmac
import logging
import secrets
import socket
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlencode

import panel
from bokeh.server.auth_provider import AuthProvider
from tornado.iostream import StreamClosedError
from tornado.web import Finish, RequestHandler
from tornado.websocket import WebSocketClosedError

from tablevault_pd.explore.explorer import Explorer

if TYPE_CHECKING:
    from collections.abc import Callable

    from tablevault_pd.explore.page import Explored

HOST = "127.0.0.1"
REFUSED = "/refused"
DAYS = 30  #: a cookie holds


@dataclass(frozen=True, slots=True)
class Door:
    """Who may come in: those with the token, who ask for this server by its name."""

    port: int
    token: str = field(default_factory=lambda: secrets.token_urlsafe(24), repr=False)

    @property
    def hosts(self) -> list[str]:
        """What this server is called."""
        return [f"{HOST}:{self.port}", f"localhost:{self.port}"]

    @property
    def address(self) -> str:
        """The address to open, with the token."""
        return f"http://{HOST}:{self.port}/?token={self.token}"

    @property
    def cookie(self) -> str:
        """The name of the cookie: cookies do not tell ports apart."""
        return f"tablevault-{self.port}"

    def let_in(self, handler: RequestHandler) -> str | None:
        """Return who asks, or None without the token."""
        _guard(handler, self.hosts)
        if handler.request.host not in self.hosts:
            return None
        given = handler.get_query_argument("token", "")
        if given and hmac.compare_digest(given.encode(), self.token.encode()):
            handler.set_cookie(
                self.cookie, self.token, expires_days=DAYS, httponly=True, samesite="Lax", path="/"
            )
            handler.redirect(_without_token(handler.request.query))
            raise Finish
        cookie = handler.get_cookie(self.cookie, "") or ""
        return "owner" if hmac.compare_digest(cookie.encode(), self.token.encode()) else None


def _guard(handler: RequestHandler, hosts: list[str]) -> None:
    """Have the browser load nothing from elsewhere, tell nobody the address, and show the page in no other one."""
    sockets = " ".join(f"ws://{host}" for host in hosts)
    policy = (
        "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; "
        f"connect-src 'self' blob: {sockets}; frame-ancestors 'none'; form-action 'self'"
    )
    for name, value in {
        "Content-Security-Policy": policy,
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
        "Cache-Control": "no-store",
    }.items():
        handler.set_header(name, value)


def _without_token(query: str) -> str:
    arguments = [pair for pair in parse_qsl(query) if pair[0] != "token"]
    return f"/?{urlencode(arguments)}" if arguments else "/"


class Refused(RequestHandler):
    """What is shown to those without the token."""

    def get(self) -> None:
        """Say what to do."""
        self.set_status(403)
        self.set_header("Content-Type", "text/plain; charset=utf-8")
        self.finish(
            "Open the address that tablevault-pd ui has printed: it holds the token that this page asks for."
        )


class Guard(AuthProvider):
    """Bokeh's way to ask a :class:`Door`."""

    def __init__(self, door: Door) -> None:
        self._door = door
        super().__init__()

    @property
    def get_user(self) -> Callable[[Any], Any]:
        """Return what tells who asks."""
        return self._door.let_in

    @property
    def get_user_async(self) -> None:
        """Nothing: the answer is known at once."""

    @property
    def login_url(self) -> str:
        """Return where those go who may not come in."""
        return REFUSED

    @property
    def get_login_url(self) -> None:
        """Nothing: it is always the same."""

    @property
    def login_handler(self) -> type[RequestHandler]:
        """Return what is shown there."""
        return Refused

    @property
    def logout_url(self) -> None:
        """Nothing: who wants to leave closes the page."""

    @property
    def logout_handler(self) -> None:
        """Nothing."""


def free_port() -> int:
    """Return a port that is free now."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


class _NotClosed(logging.Filter):
    """Keeps out what Bokeh and Tornado log when a page is closed while something is sent to it."""

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        return not isinstance(error, WebSocketClosedError | StreamClosedError)


def _quiet() -> None:
    logging.getLogger("bokeh.server.views.ws").setLevel(logging.ERROR)
    for name in ("asyncio", "tornado.application", "tornado.general"):
        logging.getLogger(name).addFilter(_NotClosed())


def start(vault: Explored, *, port: int = 0, control: bool = False) -> tuple[Any, Door]:
    """Return a server that has not begun to listen to its loop yet, and its door. Port 0 is any that is free."""
    _quiet()
    door = Door(port or free_port())

    def show() -> Any:
        location = panel.state.location
        query = "" if location is None else location.search or ""
        return Explorer(vault, control=control, address=query).serve()

    server = panel.serve(  # type: ignore[no-untyped-call]
        {"/": show},
        address=HOST,
        port=door.port,
        websocket_origin=door.hosts,
        auth_provider=Guard(door),
        show=False,
        start=False,
        title=f"tablevault_pd: {vault.place}",
        verbose=False,
    )
    return server, door
