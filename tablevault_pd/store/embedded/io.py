"""Files and the order in which they become durable, with named points where a test can make the disk fail.

Nothing else in the embedded store calls ``os.fsync``. A failed fsync is final for its file: the kernel may report
success the second time although the data is gone, so a retry always means a new file under a new name.
"""

from __future__ import annotations

import errno
import mmap
import os
import stat
import sys
from pathlib import Path

import pyarrow as pa

from tablevault_pd.errors import StorageFull, VaultFormatError, VaultReadOnly

#: "name=action": at the point `name`, `action` is exit (as kill -9 would), or an errno name such as ENOSPC or EIO.
FAULT_VARIABLE = "TABLEVAULT_FAULT"
_fault_name, _, _fault_action = os.environ.get(FAULT_VARIABLE, "").partition("=")

MAP_FROM_BYTES = 1 << 20  # below this a copy is cheaper than setting up a map
_NO_RESERVE = 0x4000 if sys.platform == "linux" else 0  # private pages are counted only once written to
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def point(name: str) -> None:
    """A place where a test may interrupt the work; tests/test_crash.py names them all."""
    if name != _fault_name:
        return
    if _fault_action == "exit":
        os._exit(137)
    code = getattr(errno, _fault_action)
    raise OSError(code, os.strerror(code))


def disk_error(error: OSError, doing: str) -> Exception:
    """The error of ours that says what an OSError means for the caller."""
    if error.errno in _FULL:
        return StorageFull(
            f"The disk is full while {doing}; nothing of it was kept. Free some space and try again."
        )
    if error.errno in {errno.EACCES, errno.EPERM, errno.EROFS}:
        return VaultReadOnly(
            f"Not allowed to write while {doing}: {error}. Open it with mode='r' to read only."
        )
    return error


def sync_folder(folder: Path) -> None:
    """Make the names in `folder` durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def require_regular(path: Path) -> os.stat_result:
    """The file's status. Links, pipes and devices are refused: a vault holds plain files only."""
    status = path.lstat()
    if not stat.S_ISREG(status.st_mode):
        raise VaultFormatError(
            f"{path} is not a plain file. A vault holds no links, pipes or folders in its place."
        )
    return status


Identity = tuple[
    int, int, int, int
]  #: device, inode, and times in ns: differs once a file was replaced or changed


def load_private(path: Path, size: int) -> tuple[pa.Buffer, Identity]:
    """The content of an immutable file, in memory that belongs to the caller alone and may be written to.

    Large files are mapped copy-on-write: pages are read when touched, and a write never reaches the file. pandas
    refuses to set values in frames over read-only memory, so a shared map would not do.
    """
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0))
    try:
        status = os.fstat(descriptor)
        identity = (status.st_dev, status.st_ino, status.st_mtime_ns, status.st_ctime_ns)
        if size < MAP_FROM_BYTES:
            content = bytearray(size)
            with os.fdopen(os.dup(descriptor), "rb", buffering=0) as file:
                if file.readinto(content) != size:
                    raise EOFError(f"{path.name} is shorter than {size} bytes")
            return pa.py_buffer(content), identity
        if status.st_size != size:  # touching pages past the end would kill the interpreter
            raise EOFError(f"{path.name} is not {size} bytes long")
        return pa.py_buffer(_map(descriptor, size)), identity
    finally:
        os.close(descriptor)


def _map(descriptor: int, size: int) -> mmap.mmap:
    if sys.platform == "win32":
        return mmap.mmap(descriptor, size, access=mmap.ACCESS_COPY)
    return mmap.mmap(
        descriptor, size, flags=mmap.MAP_PRIVATE | _NO_RESERVE, prot=mmap.PROT_READ | mmap.PROT_WRITE
    )
