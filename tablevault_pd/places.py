"""Which store is behind an address, whether it is open in this process already, and where several machines share a disk."""

from __future__ import annotations

import os
import platform
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tablevault_pd import validate
from tablevault_pd.errors import InvalidInput, MissingDependency, VaultNotFound, short_repr
from tablevault_pd.names import check_name
from tablevault_pd.vault.context import VaultContext, open_contexts

if TYPE_CHECKING:
    from tablevault_pd.store import Store

DEFAULT_PLACE = "vault"
PLACE_VARIABLE = "TABLEVAULT_URL"
STORE_OPTIONS: dict[str, Any] = {"durability": "full", "timeout_s": 30.0, "verify_tls": True, "mirror": "all"}
_OF_SERVERS = ("verify_tls", "mirror")
MOUNTS = Path("/proc/self/mountinfo")
_SHARED = frozenset(
    [
        "9p", "afs", "beegfs", "ceph", "cifs", "fuse.beegfs", "fuse.ceph", "fuse.gcsfuse", "fuse.glusterfs", "fuse.mfs", "fuse.rclone",
        "fuse.s3fs", "fuse.sshfs", "gfs2", "glusterfs", "gpfs", "lustre", "ncpfs", "nfs", "nfs4", "ocfs2", "orangefs", "panfs", "pvfs2",
        "smb2", "smb3", "smbfs", "wekafs",
    ]
)  # fmt: skip


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


# -- vaults on disks that several machines share: one for each machine, and none for all


def of_node(folder: str, node: Any) -> str:
    """The folder of the vault of one machine."""
    if "://" in folder:
        raise InvalidInput("node= is for a vault in a folder; several machines share a server.")
    if os.path.exists(os.path.join(folder, "catalog.db")):
        raise InvalidInput(
            f"{folder} is a vault itself. With node=, name a folder that is to hold the vaults of all machines."
        )
    name = check_name(platform.node() if node == "auto" else node, "node")
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", name):
        raise InvalidInput(
            f"node= becomes the name of a folder: letters, digits, _, . and -, not {short_repr(name)}."
        )
    return os.path.join(folder, name)


def refuse_network_disk(folder: str) -> None:
    """Refuse to write where locks between machines cannot be relied on."""
    if "://" in folder:
        return
    disk = _network_disk(Path(folder).expanduser())
    if disk is not None:
        raise InvalidInput(
            f"The folder {folder} lies on a disk that several machines share ({disk}). Locks between machines cannot be relied on "
            "there, so writers on two of them could lose data. Connect with node='auto': each machine then has a vault of its own in "
            "that folder, and tv.merge folds them into one. Or use a local disk, or a server."
        )


def _network_disk(folder: Path) -> str | None:
    """Return which kind of shared disk a folder lies on, or would: ``nfs4 at /home``. None for a local or an unknown one."""
    try:
        lines = MOUNTS.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:  # no Linux
        return None
    mounts = {}
    for line in lines:
        place, _, source = line.partition(" - ")
        fields = place.split(" ")
        if len(fields) > 4 and source:
            mounts[_unescaped(fields[4])] = source.split(" ")[0]  # what is mounted later hides what was there
    real = folder.resolve()
    for parent in (real, *real.parents):
        kind = mounts.get(str(parent))
        if kind is not None:
            return f"{kind} at {parent}" if kind in _SHARED else None
    return None


def _unescaped(path: str) -> str:
    """The path of a mount, in which blanks and backslashes are written in octal."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), path)
