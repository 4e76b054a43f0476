"""Disks that several machines share, on which locks between machines cannot be relied on."""

from __future__ import annotations

import re
from pathlib import Path

MOUNTS = Path("/proc/self/mountinfo")
_SHARED = frozenset(
    [
        "9p", "afs", "beegfs", "ceph", "cifs", "fuse.beegfs", "fuse.ceph", "fuse.gcsfuse", "fuse.glusterfs", "fuse.mfs", "fuse.rclone",
        "fuse.s3fs", "fuse.sshfs", "gfs2", "glusterfs", "gpfs", "lustre", "ncpfs", "nfs", "nfs4", "ocfs2", "orangefs", "panfs", "pvfs2",
        "smb2", "smb3", "smbfs", "wekafs",
    ]
)  # fmt: skip


def network_disk(folder: Path) -> str | None:
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
