"""``connect``: which store is behind an address, and which vault is the current one."""

from __future__ import annotations

import copyreg
import os
import weakref
from collections.abc import Callable
from typing import Any, Literal

import pandas as pd

from tablevault_pd import validate
from tablevault_pd.errors import InvalidInput, MissingDependency, shown
from tablevault_pd.session import CaptureMode, Run, Settings, process
from tablevault_pd.shared import Shared, open_places
from tablevault_pd.store import Store
from tablevault_pd.vault import Vault

DEFAULT_PLACE = "vault"
PLACE_VARIABLE = "TABLEVAULT_URL"

_current: list[weakref.ref[Vault]] = []
_keep: list[Vault] = []  # the current vault stays open even if nobody keeps the handle


def connect(
    place: str | os.PathLike[str] | None = None,
    *,
    session: str | Literal[False] | None = None,
    mode: Literal["rw", "r"] = "rw",
    durability: Literal["full", "fast"] = "full",
    timeout_s: float = 30.0,
    capture: CaptureMode = "main",
    redact: bool = True,
    password: str | Callable[[], str] | None = None,
    token: str | Callable[[], str] | None = None,
    create: bool | Literal["oneshard"] = False,
    verify_tls: bool | str = True,
) -> Vault:
    """Open a vault, and make it the current one. A folder that is not there yet is made.

    Parameters
    ----------
    place : str or path, optional
        A folder, or a database as ``arangodb://user@host:8529/database`` (``arangodbs://`` for TLS). Default: the
        environment variable ``TABLEVAULT_URL``, else ``./vault``.
    session : str or False, optional
        What to call the session that this process opens. Default: the name of its script. ``False`` opens none: what is
        written then names no session, as fits looking after a vault.
    mode : {"rw", "r"}
        ``"r"`` reads only: nothing is made or changed, and no session is opened.
    durability : {"full", "fast"}
        ``"full"``: what was committed survives a power failure. ``"fast"``: the last seconds may be lost then, but
        never in a mere crash of the program.
    timeout_s : float
        How long to wait, in seconds, for another writer or for the server.
    capture : {"main", "all", "none"}
        Which code the session keeps: that of the script, or every cell of the notebook; with ``"all"`` also the modules
        of the project that it imports; or none.
    redact : bool
        Mask what looks like a password, key or token in the code, in tracebacks and in the command line.
    password : str or callable, optional
        Of the server's user, or a function that returns it. Default: the one in the URL, else the environment variable
        ``TABLEVAULT_PASSWORD``. It is never shown and never stored.
    token : str or callable, optional
        A JSON web token, instead of a user and password.
    create : bool or "oneshard"
        Make the database on the server if it is not there; in a cluster, on one shard.
    verify_tls : bool or str
        Whether the server's certificate is verified, or the file of the authorities to verify it with.

    Returns
    -------
    Vault
        Connecting again to the same place shares the session.

    Raises
    ------
    VaultNotFound
        With ``mode="r"``, if there is no vault.
    VaultFormatError
        If the place holds something else, or a vault of a newer format.

    Examples
    --------
    >>> with tv.connect("runs.vault", session="train") as runs:
    ...     saved = runs.save("losses", {"step": 1, "loss": 0.5})
    >>> tv.connect("runs.vault", mode="r").read("losses")
              step  loss
    position
    0            1   0.5
    """
    validate.choice(mode, "mode", ("rw", "r"))
    validate.choice(durability, "durability", ("full", "fast"))
    validate.choice(capture, "capture", ("main", "all", "none"))
    validate.flag(redact, "redact")
    timeout_s = validate.seconds(timeout_s, "timeout_s")
    address = _address(place)
    options = {
        "read_only": mode == "r", "timeout_s": timeout_s, "durability": durability,
        "password": password, "token": token, "create": create, "verify_tls": verify_tls,
    }  # fmt: skip
    shared = _open(address, options)
    settings = Settings.of(capture, redact)
    run = None if mode == "r" or session is False else shared.run(session, settings)
    vault = Vault(shared, run, settings)
    _current.append(weakref.ref(vault))
    _keep[:] = [vault]
    return vault


def _address(place: Any) -> str:
    if place is None:
        return os.environ.get(PLACE_VARIABLE) or DEFAULT_PLACE
    return validate.path(place, "The place of a vault")


def _open(address: str, options: dict[str, Any]) -> Shared:
    """The store at that place, shared by all who connect to it in the same way."""
    server = "://" in address
    key = (
        _server_key(address) if server else os.path.realpath(os.path.expanduser(address)),
        str(options["read_only"]),
    )
    found = open_places.get(key)
    if found is None:
        store = _server_store(address, options) if server else _folder_store(key[0], options)
        found = open_places[key] = Shared(key, store)
    return found


def _folder_store(folder: str, options: dict[str, Any]) -> Store:
    from tablevault_pd.store.embedded import EmbeddedStore

    only_servers = [
        name
        for name in ("password", "token", "create", "verify_tls")
        if options.pop(name) not in (None, False, True)
    ]
    if only_servers:
        raise InvalidInput(
            f"{', '.join(only_servers)}= is for a vault on a server, and {folder} is a folder."
        )
    return EmbeddedStore(folder, **options)


def _server_store(address: str, options: dict[str, Any]) -> Store:
    try:
        from tablevault_pd.store.arango import ArangoStore
    except ImportError as error:
        if (error.name or "").partition(".")[0] not in ("arango", "orjson", "requests"):
            raise
        raise MissingDependency.for_extra(
            "python-arango and orjson", "arango", "A vault on a server"
        ) from error
    return ArangoStore(address, **options)


def _server_key(address: str) -> str:
    """The address without what comes before the host: a password may stand there."""
    scheme, _, rest = address.partition("://")
    if scheme not in ("arangodb", "arangodbs"):
        raise InvalidInput(
            f"Cannot connect to {shown(scheme + '://…')}: a vault is a folder, or a database at arangodb://user@host:8529/database."
        )
    user, _, place = rest.rpartition("@")
    return f"{scheme}://{user.partition(':')[0]}@{place}"


def current_vault() -> Vault:
    """The vault connected last; the default one is connected if there is none."""
    while _current:
        vault = _current[-1]()
        if vault is not None and not vault.closed:
            return vault
        _current.pop()
        _keep.clear()
    parent = process.parent()
    return connect(None if parent is None else parent.place)  # a worker works where its parent does


def _received(place: str, session_id: int) -> Run:
    """A session that was sent to this process: itself where it came from, elsewhere that of this process, its child."""
    vault = connect(place)
    for run in vault._shared.sessions():
        if run.row.id == session_id:
            return run
    assert vault._run is not None
    return vault._run


def _sent(run: Run) -> tuple[Any, ...]:
    return _received, (run.store.place, run.id)


copyreg.pickle(Run, _sent)  # a worker that is handed a session logs to one of its own


def read(name: str, **options: Any) -> pd.DataFrame:
    """Rows of a list of the current vault. See :meth:`Vault.read`."""
    return current_vault().read(name, **options)


__all__ = ["connect", "current_vault", "read"]
