"""Which store is behind an address, and whether it is open in this process already."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from tablevault_pd import validate
from tablevault_pd.errors import InvalidInput, MissingDependency, VaultNotFound, short_repr
from tablevault_pd.vault.context import VaultContext, open_contexts

if TYPE_CHECKING:
    from tablevault_pd.store import Store

DEFAULT_PLACE = "vault"
PLACE_VARIABLE = "TABLEVAULT_URL"
STORE_OPTIONS: dict[str, Any] = {"durability": "full", "timeout_s": 30.0, "verify_tls": True, "mirror": "all"}
_OF_SERVERS = ("verify_tls", "mirror")


def address_of(place: Any) -> str:
    """Return the address that the user named, else that of the environment or the default one.

    Raises VaultNotFound for a relative path where the working directory was removed.
    """
    if place is None:
        address = os.environ.get(PLACE_VARIABLE) or DEFAULT_PLACE
    else:
        address = validate.path(place, "The place of a vault")
    if "://" not in address and not os.path.isabs(os.path.expanduser(address)):
        try:
            os.getcwd()
        except OSError:
            raise VaultNotFound(
                f"The vault at {short_repr(address)} cannot be found: the working directory of this process was removed. Name "
                "an absolute path, or go to another folder by os.chdir()."
            ) from None
    return address


def open_context(
    address: str, read_only: bool, chosen: dict[str, Any], credentials: dict[str, Any]
) -> VaultContext:
    """Return the open context of a place, whose options must be those `chosen` (None: left out), or open one."""
    server = "://" in address
    if not server:
        _refuse_server_options(address, chosen | credentials)
    key = (_server_key(address) if server else os.path.realpath(os.path.expanduser(address)), str(read_only))
    context = open_contexts.get(key)
    if context is not None and not context.store.is_current():  # removed or replaced; its handles say so
        context.forget()
        context = None
    if context is None:
        options = STORE_OPTIONS | {name: value for name, value in chosen.items() if value is not None}
        options["read_only"] = read_only
        store = _server_store(address, options | credentials) if server else _folder_store(key[0], options)
        open_contexts[key] = VaultContext(key, store, options)
        return open_contexts[key]
    context.check_options(chosen)
    if server and _names_credentials(address, credentials):
        # Raises if the server refuses the credentials.
        _server_store(address, context.options | credentials).close()
    return context


def _names_credentials(address: str, credentials: dict[str, Any]) -> bool:
    user = address.partition("://")[2].rpartition("@")[0]
    return ":" in user or credentials["password"] is not None or credentials["token"] is not None


def _refuse_server_options(folder: str, options: dict[str, Any]) -> None:
    only_servers = [
        name
        for name in ("password", "token", "create", "replication_factor", "write_concern", *_OF_SERVERS)
        if not any(options[name] is plain for plain in (None, False, True))
    ]
    if only_servers:
        raise InvalidInput(
            f"{', '.join(only_servers)}= is for a vault on a server, and {folder} is a folder."
        )


def _folder_store(folder: str, options: dict[str, Any]) -> Store:
    from tablevault_pd.store.embedded import EmbeddedStore

    return EmbeddedStore(
        folder, **{name: value for name, value in options.items() if name not in _OF_SERVERS}
    )


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
    """Return an address without user and password."""
    scheme, _, rest = address.partition("://")
    if scheme not in ("arangodb", "arangodbs"):
        raise InvalidInput(
            f"Cannot connect to {short_repr(scheme + '://…')}: a vault is a folder, or a database at arangodb://user@host:8529/database."
        )
    user, _, place = rest.rpartition("@")
    return f"{scheme}://{user.partition(':')[0]}@{place}"
