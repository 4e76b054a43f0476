"""Users of a vault with no more rights than their part needs: reader, writer, admin."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from tablevault_pd.errors import InvalidInput
from tablevault_pd.store.arango import address as addresses
from tablevault_pd.store.arango.client import Client
from tablevault_pd.store.arango.layout import COLLECTIONS

if TYPE_CHECKING:
    from collections.abc import Callable

    from arango.database import StandardDatabase

Role = Literal["reader", "writer", "admin"]

# Right on the database, right on the vault's collections. A writer can neither make nor drop collections.
_RIGHTS: dict[str, tuple[str, str]] = {"reader": ("ro", "ro"), "writer": ("ro", "rw"), "admin": ("rw", "rw")}


def grant(
    url: str,
    user: str,
    role: Role,
    *,
    user_password: str | None = None,
    password: str | Callable[[], str] | None = None,
    verify_tls: bool | str = True,
) -> None:
    """Let `user` read, write or administer the vault at `url`. Repeating it is harmless.

    Parameters
    ----------
    url : str
        The vault's address with a user who may administer users (on most servers: root).
    user : str
        Whom to give the rights.
    role : {"reader", "writer", "admin"}
        A reader needs ``connect(…, mode="r")``. A writer reads and writes rows, but cannot create or drop collections,
        so an admin must have connected to the vault once before. An admin may do everything within the database.
    user_password : str, optional
        Creates the user with this password if it does not exist. Without it, an unknown user is an error.
    password : str or callable, optional
        That of the administrator, as in :class:`ArangoStore`.
    verify_tls : bool or str
        As in :class:`ArangoStore`.

    Raises
    ------
    InvalidInput
        If `role` is none of the three, or `user` does not exist and no password was given for it.
    VaultReadOnly, StoreUnavailable
        If the administrator may not do this, or the server cannot be reached.
    """
    if role not in _RIGHTS:
        raise InvalidInput(f"role is 'reader', 'writer' or 'admin', not {role!r}.")
    address, in_url = addresses.parse(url)
    secret = addresses.password_of(password, in_url)
    client = Client(address, secret, timeout_s=10.0, verify_tls=verify_tls)
    try:
        client.run(_granting(address.database, user, role, user_password), database="_system")
    finally:
        client.close()


def _granting(database: str, user: str, role: str, password: str | None) -> Callable[[StandardDatabase], Any]:
    on_database, on_collections = _RIGHTS[role]

    def work(system: StandardDatabase) -> None:
        if not system.has_user(user):
            if password is None:
                raise InvalidInput(f"The server has no user {user!r}. Give user_password= to create it.")
            system.create_user(user, password=password)
        system.update_permission(user, on_database, database)
        for collection in COLLECTIONS:
            system.update_permission(user, on_collections, database, collection)

    return work
