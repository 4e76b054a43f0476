"""Files, and the order in which they become durable; with named failpoints where a test makes the disk fail.

Every file of a vault is made, written, synced, renamed and removed here; only lock files are opened in lockfile.py. A failed
fsync is final for its file: the kernel may report success the second time although the data is lost, so a retry always
writes a new file under a new name.
"""

from __future__ import annotations

import errno
import mmap
import os
import shutil
import stat
import sys
from contextlib import contextmanager
from functools import partial
from io import FileIO
from typing import TYPE_CHECKING, BinaryIO
from weakref import WeakSet

import pyarrow as pa

from tablevault_pd.errors import StorageError, StorageFull, VaultError, VaultFormatError, VaultReadOnly

if TYPE_CHECKING:
    from collections.abc import Iterator
    from io import BufferedReader
    from pathlib import Path

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

#: "name=action": at the point `name`, `action` is exit (as kill -9 would), interrupt (as Ctrl-C would), or an errno name such as
#: ENOSPC or EIO.
FAULT_VARIABLE = "TABLEVAULT_FAULT"
_fault_name, _, _fault_action = os.environ.get(FAULT_VARIABLE, "").partition("=")

COPY_BYTES = 1 << 20
MAP_FROM_BYTES = 1 << 20  # below this a copy is cheaper than setting up a map
_NO_RESERVE = 0x4000 if sys.platform == "linux" else 0  # private pages are counted only once written to
#: Neither follow a link, which may lead out of the vault, nor wait at a pipe.
_PLAIN = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)
_PRIVATE = partial(os.open, mode=0o600)
_mapped: WeakSet[mmap.mmap] = WeakSet()  # each keeps a descriptor of its own
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_DENIED = {errno.EACCES, errno.EPERM, errno.EROFS}
_OPEN_FILES = "Close files that are no longer needed, or raise the limit (ulimit -n), and try again."
_ADVICE = {
    errno.EIO: "The disk or its connection reports an error: look at the system's log before you trust it again.",
    errno.EMFILE: _OPEN_FILES,
    errno.ENFILE: _OPEN_FILES,
}


def failpoint(name: str) -> None:
    """A place where a test may interrupt the work; tests/torture/crashes.py stops each call at each of them."""
    if name == _fault_name:
        fail(_fault_action)


def fail(action: str) -> None:
    """End the process, or raise what a signal handler or the system would."""
    if action == "exit":
        os._exit(137)
    if action == "interrupt":
        raise KeyboardInterrupt
    code = getattr(errno, action)
    raise OSError(code, os.strerror(code))


def disk_error(error: OSError, doing: str, *, reading: bool = False) -> VaultError:
    """The error of ours for an OSError that came while `doing` something. Nothing else translates an errno."""
    if error.errno in _FULL and not reading:
        return full(doing)
    if error.errno in _DENIED and not reading:
        return VaultReadOnly(
            f"Not allowed to write while {doing}: {error}. Open it with mode='r' to read only."
        )
    name = errno.errorcode.get(error.errno or 0, "unknown error")
    result = StorageError(
        f"The system failed while {doing}: {error} ({name}). {_ADVICE.get(error.errno or 0, '')}".rstrip()
    )
    result.errno = error.errno
    return result


def full(doing: str) -> StorageFull:
    """The error for a disk without space."""
    return StorageFull(
        f"The disk is full while {doing}; nothing of it was kept. Free some space, of which a vacuum needs some, too, and try again."
    )


@contextmanager
def naming(doing: str, *, reading: bool = False) -> Iterator[None]:
    """Raise what :func:`disk_error` makes of an OSError."""
    try:
        yield
    except VaultError:
        raise
    except OSError as error:
        raise disk_error(error, doing, reading=reading) from error


def require_no_size_limit() -> None:
    """Raise OSError (EFBIG) if this process may not let its files grow beyond some size (``ulimit -f``)."""
    if resource is not None and resource.getrlimit(resource.RLIMIT_FSIZE)[0] != resource.RLIM_INFINITY:
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))


def make_folder(folder: Path, *, parents: bool = False) -> None:
    """Make a folder of the vault anew: git, archives and object stores drop empty ones. The vault itself only with `parents`."""
    folder.mkdir(mode=0o700, parents=parents, exist_ok=True)
    failpoint("folder-made")


def create(path: Path, *, anew: bool = True) -> BinaryIO:
    """A file to write to, which nobody but this user may read. With `anew` it must not exist, else what it held goes."""
    flags = os.O_EXCL if anew else os.O_TRUNC
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | flags | getattr(os, "O_CLOEXEC", 0), 0o600)
    return os.fdopen(descriptor, "wb")


def open_to_read(path: Path) -> BufferedReader:
    """A file to read from its beginning."""
    failpoint("read")
    descriptor = os.open(path, os.O_RDONLY | _PLAIN | getattr(os, "O_BINARY", 0))
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise VaultFormatError(
            f"{path} is not a plain file. A vault holds no links, pipes or folders in its place."
        )
    return os.fdopen(descriptor, "rb")


def write(file: BinaryIO | FileIO, data: bytes) -> None:
    """Write to an open file."""
    failpoint("writing")
    file.write(data)
    failpoint("half-written")


def append(path: str, data: bytes) -> int:
    """Write at the end of a file, which is made if need be. Return its size then."""
    refuse_irregular(path)
    with FileIO(path, "a", opener=_PRIVATE) as file:
        write(file, data)
        return file.tell()


def sync(file: BinaryIO | FileIO) -> None:
    """Make the content of an open file durable. Never again where it fails: see the top of this module."""
    failpoint("syncing")
    os.fsync(file.fileno())
    failpoint("synced")


def rename(path: Path, target: Path) -> None:
    """Give a file another name, in place of what has that name."""
    failpoint("renaming")
    os.replace(path, target)
    failpoint("renamed")


def copy(source: Path, target: Path) -> None:
    """Copy a file durably, for this user alone."""
    with open_to_read(source) as file, create(target, anew=False) as fresh:
        shutil.copyfileobj(file, fresh, COPY_BYTES)
        failpoint("half-written")
        fresh.flush()
        sync(fresh)


def remove(path: Path) -> bool:
    """Remove a file that nothing names, or an empty folder in its place. Else it stays, for a later vacuum. Whether it is gone."""
    try:
        failpoint("remove")
        try:
            path.unlink(missing_ok=True)
        except (IsADirectoryError, PermissionError):  # macOS has the other one
            path.rmdir()
        failpoint("removed")
    except OSError:
        return False
    return True


def sync_folder(folder: Path) -> None:
    """Make the names in `folder` durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        failpoint("folder-sync")
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    failpoint("folder-synced")


def require_listable(folder: Path) -> None:
    """Raise the OSError of the system where a folder cannot be opened."""
    os.close(os.open(folder, os.O_RDONLY))


def probe(path: Path, size: int) -> None:
    """Write `size` bytes to a file, and remove it. Raises OSError where the system does not let it."""
    try:
        with create(path, anew=False) as file:
            file.write(bytes(size))
    finally:
        path.unlink(missing_ok=True)


def require_regular(path: str | Path) -> os.stat_result:
    """The file's status. Links, pipes and devices are refused: a vault holds plain files only."""
    status = os.lstat(path)
    if not stat.S_ISREG(status.st_mode):
        raise VaultFormatError(
            f"{path} is not a plain file. A vault holds no links, pipes or folders in its place."
        )
    return status


def refuse_irregular(path: str | Path) -> None:
    """Refuse links, pipes and devices, as :func:`require_regular`; there may be no file."""
    try:
        require_regular(path)
    except FileNotFoundError:
        return


Identity = tuple[
    int, int, int, int
]  #: device, inode, and times in ns: differs once a file was replaced or changed


def load_private(path: Path, size: int) -> tuple[pa.Buffer, Identity]:
    """The content of an immutable file, in memory that belongs to the caller alone and may be written to.

    Large files are mapped copy-on-write: pages are read when touched, and a write never reaches the file. pandas
    refuses to set values in frames over read-only memory, so a shared map would not do. Where many are mapped already, for as
    long as somebody has their rows, the content is read instead: a map takes one of the files that a process may open.
    """
    failpoint("read")
    descriptor = os.open(path, os.O_RDONLY | _PLAIN)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise EOFError(f"{path.name} is no plain file")
        identity = _identity(status)
        if status.st_size != size:  # touching pages past the end would kill the interpreter
            raise EOFError(f"{path.name} has {status.st_size} bytes, and not the {size} that were written")
        if size < MAP_FROM_BYTES or _are_many_mapped():
            content = bytearray(size)
            with os.fdopen(os.dup(descriptor), "rb", buffering=0) as file:
                if file.readinto(content) != size:
                    raise EOFError(f"{path.name} is shorter than {size} bytes")
            return pa.py_buffer(content), identity
        return pa.py_buffer(_map(descriptor, size)), identity
    finally:
        os.close(descriptor)


def identity_of(path: Path) -> Identity | None:
    """What tells a file from what it was; None where that cannot be seen: to read it says why."""
    try:
        return _identity(os.stat(path))
    except OSError:
        return None


def _identity(status: os.stat_result) -> Identity:
    return status.st_dev, status.st_ino, status.st_mtime_ns, status.st_ctime_ns


def _map(descriptor: int, size: int) -> mmap.mmap:
    if sys.platform == "win32":
        return mmap.mmap(descriptor, size, access=mmap.ACCESS_COPY)
    mapped = mmap.mmap(
        descriptor, size, flags=mmap.MAP_PRIVATE | _NO_RESERVE, prot=mmap.PROT_READ | mmap.PROT_WRITE
    )
    _mapped.add(mapped)
    return mapped


def _are_many_mapped() -> bool:
    """Whether files are mapped in half the number that this process may open."""
    if resource is None:
        return False
    most, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return most != resource.RLIM_INFINITY and len(_mapped) >= most // 2
