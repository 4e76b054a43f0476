"""Vaults on disks that several machines share: one for each machine, and none for all."""

from __future__ import annotations

import os
import platform
import re
from pathlib import Path
from typing import Any

from tablevault_pd.errors import InvalidInput, short_repr
from tablevault_pd.names import check_name

MOUNTS = Path("/proc/self/mountinfo")
_SHARED = frozenset(
    [
        "9p", "afs", "beegfs", "ceph", "cifs", "fuse.beegfs", "fuse.ceph", "fuse.gcsfuse", "fuse.glusterfs", "fuse.mfs", "fuse.rclone",
        "fuse.s3fs", "fuse.sshfs", "gfs2", "glusterfs", "gpfs", "lustre", "ncpfs", "nfs", "nfs4", "ocfs2", "orangefs", "panfs", "pvfs2",
        "smb2", "smb3", "smbfs", "wekafs",
    ]
)  # fmt: skip


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
