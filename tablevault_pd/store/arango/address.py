"""Where the server is, and the secret that opens it.

The secret is kept in an object that shows nothing and cannot be pickled. It is given to no driver object either: the
HTTP client adds it to a request at the last moment, so that nothing the driver prints, logs or raises can hold it.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from tablevault_pd.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Callable

PASSWORD_VARIABLE = "TABLEVAULT_PASSWORD"  # noqa: S105  # the name of a variable, not a password
DEFAULT_PORT = 8529
_LOCAL = {"localhost", "127.0.0.1", "::1"}
_FORM = "Write it as arangodb://user@host:8529/database, or arangodbs:// for TLS."


class Secret:
    """A password or token that is only shown to those who call :meth:`reveal`."""

    __slots__ = ("_get",)

    def __init__(self, value: str | Callable[[], str]) -> None:
        self._get: Callable[[], str] = value if callable(value) else lambda: value

    def reveal(self) -> str:
        """The secret itself."""
        return self._get()

    def __repr__(self) -> str:
        return "<hidden>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a password is not pickled")


@dataclass(frozen=True, slots=True)
class ServerAddress:
    """A database on a server, and the user to be there. Holds no password."""

    host: str
    port: int
    database: str
    user: str
    tls: bool

    @property
    def base(self) -> str:
        """The server's HTTP address."""
        return f"http{'s' if self.tls else ''}://{self._host}:{self.port}"

    @property
    def local(self) -> bool:
        """Whether requests stay on this machine."""
        return self.host in _LOCAL

    @property
    def _host(self) -> str:
        return f"[{self.host}]" if ":" in self.host else self.host

    def __str__(self) -> str:
        scheme = "arangodbs" if self.tls else "arangodb"
        return (
            f"{scheme}://{quote(self.user, safe='')}@{self._host}:{self.port}/{quote(self.database, safe='')}"
        )


def parse(url: str) -> tuple[ServerAddress, Secret | None]:
    """The address in `url`, and the password if it has one. No message shows the URL: it may hold a password."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        _refuse("The address of the ArangoDB server cannot be read.")
    if parts.scheme not in ("arangodb", "arangodbs"):
        _refuse("The address of an ArangoDB server begins with arangodb:// or arangodbs://.")
    if not parts.hostname:
        _refuse("The address of the ArangoDB server names no host.")
    database = unquote(parts.path.strip("/"))
    if not database or "/" in database:
        _refuse("The address of the ArangoDB server must name one database after the host.")
    tls = parts.scheme == "arangodbs" or _asks_for_tls(parts.query)
    user = unquote(parts.username) if parts.username else "root"
    secret = None if parts.password is None else Secret(unquote(parts.password))
    return ServerAddress(parts.hostname, port or DEFAULT_PORT, database, user, tls), secret


def _asks_for_tls(query: str) -> bool:
    options = dict(parse_qsl(query, keep_blank_values=True))
    wish = options.pop("tls", "false").lower()
    if options or wish not in ("true", "1", "false", "0"):
        _refuse("The only option in the address of an ArangoDB server is ?tls=true.")
    return wish in ("true", "1")


def _refuse(what: str) -> NoReturn:
    raise InvalidInput(f"{what} {_FORM}") from None


def password_of(given: Any, in_url: Secret | None) -> Secret:
    """The password: the argument, else that of the URL, else of the environment, else an empty one."""
    if given is not None:
        if not isinstance(given, str) and not callable(given):
            raise InvalidInput("password= is a string, or a function without arguments that returns one.")
        return Secret(given)
    return in_url or Secret(lambda: os.environ.get(PASSWORD_VARIABLE, ""))
