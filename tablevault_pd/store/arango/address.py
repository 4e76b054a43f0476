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
_FORM = (
    "Write it as arangodb://user@host:8529/database, or arangodbs:// for TLS; several coordinators of a cluster as "
    "host1:8529,host2:8529."
)


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

    hosts: tuple[
        tuple[str, int], ...
    ]  #: host and port of the server, or of several coordinators of a cluster
    database: str
    user: str
    tls: bool

    @property
    def bases(self) -> list[str]:
        """The HTTP addresses, in the order in which they are tried."""
        return [f"http{'s' if self.tls else ''}://{_shown(*host)}" for host in self.hosts]

    @property
    def local(self) -> bool:
        """Whether requests stay on this machine."""
        return all(host in _LOCAL for host, _ in self.hosts)

    def __str__(self) -> str:
        scheme = "arangodbs" if self.tls else "arangodb"
        hosts = ",".join(_shown(*host) for host in self.hosts)
        return f"{scheme}://{quote(self.user, safe='')}@{hosts}/{quote(self.database, safe='')}"


def _shown(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def parse(url: str) -> tuple[ServerAddress, Secret | None]:
    """The address in `url`, and the password if it has one. No message shows the URL: it may hold a password."""
    scheme, _, rest = url.partition("://")
    if scheme not in ("arangodb", "arangodbs"):
        _refuse("The address of an ArangoDB server begins with arangodb:// or arangodbs://.")
    end = min((at for at in map(rest.find, "/?#") if at >= 0), default=len(rest))
    login, _, hosts = rest[:end].rpartition("@")
    try:
        places = [urlsplit(f"//{host}") for host in hosts.split(",")]
        ports = [place.port for place in places]
        parts = urlsplit(rest[end:])
    except ValueError:
        _refuse("The address of the ArangoDB server cannot be read.")
    names = [place.hostname or "" for place in places]
    if not all(names):
        _refuse("The address of the ArangoDB server names no host.")
    database = unquote(parts.path.strip("/"))
    if not database or "/" in database:
        _refuse("The address of the ArangoDB server must name one database after the host.")
    tls = scheme == "arangodbs" or _asks_for_tls(parts.query)
    name, has_password, password = login.partition(":")
    secret = Secret(unquote(password)) if has_password else None
    where = tuple((host, port or DEFAULT_PORT) for host, port in zip(names, ports, strict=True))
    return ServerAddress(where, database, unquote(name) or "root", tls), secret


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
