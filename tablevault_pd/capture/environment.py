"""The machine, the interpreter, the packages and the commit that code runs on."""

from __future__ import annotations

import getpass
import os
import platform
import re
import socket
import subprocess
import sys
import time
from contextlib import nullcontext, suppress
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tablevault_pd import imports
from tablevault_pd.capture import script

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager

GIT_TIMEOUT_S = 3.0  # of all it is asked together: the end of a process waits five seconds, for this and for what comes after it
_HASH = re.compile("[0-9a-f]{7,64}")
GIT_NOT_RECORDED = {"recorded": False}  # stands for the state until git has answered, and where it does not
KILL_TIMEOUT_S = 0.2  # within which a process that was killed has ended
PROJECT_FILES = ("pyproject.toml", "setup.py", "setup.cfg", ".git")  # where one is, a project begins
_FIELD = r"(?mi)^{}:[ \t]*(\S+)"
#: Top-level modules in the first column of RECORD.
_TOP_LEVEL = re.compile(r"\"?([^/,\"\n]+?)(?:/|\.py,|\.[^/,\n]*(?:so|pyd),)")


def user_name() -> str:
    """Return the name of the user who runs this process."""
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):  # no such user in a container, or no password database
        return str(os.getuid()) if hasattr(os, "getuid") else "unknown"


def host_name() -> str:
    """Return the name of the machine."""
    return socket.gethostname()


def process_info() -> dict[str, Any]:
    """Return what can be read at once: command line, folder (None: it was removed), interpreter, platform."""
    folder = script.working_folder()
    return {
        "argv": arguments(),
        "cwd": None if folder == script.REMOVED else str(folder),
        "executable": sys.executable,
        "python": platform.python_version(),
        "platform": platform.platform(),
    }


def arguments() -> list[str]:
    """Return the command line, without the text of ``python -c``, which is the session's code."""
    return list(getattr(sys, "argv", []))


def package_versions(between: Callable[[], object] = bool) -> dict[str, str]:
    """Return the versions of the distributions whose modules are loaded, by their names in pip.

    There may be hundreds: `between` is called after each, in which a background thread lets others run.
    """
    loaded = _loaded()
    versions = _versions_by_modules.get(loaded)
    if versions is None:
        versions = _versions_of(loaded, between)
        _versions_by_modules.clear()
        _versions_by_modules[loaded] = versions
    return dict(versions)


def known_versions() -> dict[str, str] | None:
    """Return what :func:`package_versions` would, if it was called since the last import."""
    versions = _versions_by_modules.get(_loaded())
    return None if versions is None else dict(versions)


def _loaded() -> frozenset[str]:
    """Return the names of the loaded packages and modules outside of the standard library, and of what only this one uses."""
    names = tuple(sys.modules)  # in one step: another thread may import
    own = imports.state()
    names_of_main = len(vars(sys.modules.get("__main__", sys))) if any(own) else 0
    return _loaded_when(len(names), names[-1], names_of_main, own)


@lru_cache(maxsize=1)
def _loaded_when(modules: int, last: str, names_of_main: int, own: tuple[int, int]) -> frozenset[str]:
    top_level = {name.partition(".")[0] for name in tuple(sys.modules) if not name.startswith("_")}
    return frozenset(top_level - sys.stdlib_module_names - imports.only_own())


_versions_by_modules: dict[frozenset[str], dict[str, str]] = {}  # of the modules that were loaded last


def _versions_of(loaded: frozenset[str], between: Callable[[], object]) -> dict[str, str]:
    versions: dict[str, str] = {}
    for distribution in metadata.distributions():
        try:
            name, version = _name_and_version(distribution)
            # Modules are imported from the first one on the path.
            if name not in versions and (
                name.replace("-", "_") in loaded or loaded & _modules_of(distribution)
            ):
                versions[name] = version
        except (ValueError, OSError):
            continue  # half removed by pip, or unreadable
        finally:
            between()
    return dict(sorted(versions.items()))


def _name_and_version(distribution: metadata.Distribution) -> tuple[str, str]:
    # Not metadata.version() or packages_distributions(): these import the email package, and a fork in the middle of an
    # import in this thread would leave the child with half a module.
    text = distribution.read_text("METADATA") or distribution.read_text("PKG-INFO") or ""
    name, version = (re.search(_FIELD.format(field), text) for field in ("name", "version"))
    if name is None or version is None:
        raise ValueError("no name or no version")
    return re.sub(r"[-_.]+", "-", name[1]).lower(), version[1]


def _modules_of(distribution: metadata.Distribution) -> set[str]:
    """Return the names of the modules of a distribution."""
    stated = set((distribution.read_text("top_level.txt") or "").split())
    if stated:
        return stated
    lines = (distribution.read_text("RECORD") or "").splitlines()
    # Thousands of lines begin with the same folder.
    starts = {start + slash for start, slash, _ in (line.partition("/") for line in lines)}
    return {module[1] for module in map(_TOP_LEVEL.match, starts) if module is not None}


def git_state(folder: Path, no_fork: AbstractContextManager[object] | None = None) -> dict[str, Any] | None:
    """Return commit, branch and by how much the work tree differs; None outside of a repository.

    :data:`GIT_NOT_RECORDED` where git does not tell the commit; `dirty` is None where it does not tell the difference.
    In `no_fork` no other thread forks: the child would hold the pipes open, and the answers never end.
    """
    if not may_be_in_repository(folder):
        return None  # without a process that says so
    # Beside each other, the longer one first: closing a vault waits for both. Without external diff programs of the user.
    deadline = time.monotonic() + GIT_TIMEOUT_S
    with no_fork or nullcontext():
        diff = _git(folder, "diff", "--numstat", "--no-ext-diff", "--no-textconv", "HEAD")
        head = _git(folder, "rev-parse", "HEAD", "--abbrev-ref", "HEAD")
    printed, counted = _answer(head, deadline), _answer(diff, deadline)
    if printed is None:
        return GIT_NOT_RECORDED
    commit, _, branch = printed.partition("\n")
    return {
        "commit": commit,
        "branch": branch,
        "dirty": None if counted is None else bool(counted),
        **(_diff_size(counted) if counted else {}),
    }


def _diff_size(counted: str) -> dict[str, int]:
    """Return the numbers of files and lines in which the work tree differs from the commit."""
    rows = [line.split("\t", 2) for line in counted.splitlines()]
    added, removed = (sum(int(row[side]) for row in rows if row[side].isdecimal()) for side in (0, 1))
    return {"changed_files": len(rows), "lines_added": added, "lines_removed": removed}


def has_commit(folder: Path, commit: str) -> bool:
    """Whether the repository around a folder has a commit."""
    if not _HASH.fullmatch(commit):
        return False
    return (
        _answer(_git(folder, "cat-file", "-t", f"{commit}^{{commit}}"), time.monotonic() + GIT_TIMEOUT_S)
        == "commit"
    )


def file_at_commit(folder: Path, commit: str, path: str) -> str | None:
    """Return the text of a Python file, by its path below `folder` or the repository's root, at a commit; None if it has none."""
    for place in (f"./{path}", path):
        process = _git(folder, "cat-file", "blob", f"{commit}:{place}", errors="surrogateescape")
        printed = _answer(process, time.monotonic() + GIT_TIMEOUT_S, strip=False)
        if printed is not None:
            return script.source_text(printed.encode("utf-8", "surrogateescape"))
    return None


def may_be_in_repository(folder: Path) -> bool:
    """Return whether a folder looks as if it is in a repository, by the names around it."""
    if "GIT_DIR" in os.environ:
        return True
    # A repository without a work tree has its HEAD in the folder itself.
    return any((around / name).exists() for around in (folder, *folder.parents) for name in (".git", "HEAD"))


def repository_folder(folder: Path) -> Path:
    """Return the root of the repository that `folder` is in; `folder` itself outside of one."""
    return _nearest(folder, (".git",))


def project_folder(folder: Path) -> Path:
    """Return the root of the project that `folder` is in: the nearest one with a file that says so; else `folder` itself.

    The folder of an installed program, such as that of pytest, is in no project.
    """
    if any(folder.is_relative_to(Path(prefix).resolve()) for prefix in {sys.prefix, sys.base_prefix}):
        return folder
    return _nearest(folder, PROJECT_FILES)


def _nearest(folder: Path, names: Sequence[str]) -> Path:
    for candidate in (folder, *folder.parents):
        if any((candidate / name).exists() for name in names):
            return candidate
    return folder


def _git(folder: Path, *arguments: str, errors: str = "replace") -> subprocess.Popen[str] | None:
    """Start git; None where there is none."""
    try:
        return subprocess.Popen(
            ["git", "-c", "core.fsmonitor=false", *arguments],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            encoding="utf-8",
            errors=errors,
            env={**os.environ, "GIT_OPTIONAL_LOCKS": "0"},
        )
    except OSError:
        return None


def _answer(process: subprocess.Popen[str] | None, deadline: float, *, strip: bool = True) -> str | None:
    """Return what a process printed; None if it failed, or has not ended by `deadline`."""
    if process is None:
        return None
    try:
        printed, _ = process.communicate(timeout=max(deadline - time.monotonic(), 0.0))
    except subprocess.TimeoutExpired:
        process.kill()
        with suppress(subprocess.TimeoutExpired):  # one that waits for a dead disk cannot be killed
            process.wait(KILL_TIMEOUT_S)
        return None
    finally:
        if process.stdout is not None:
            process.stdout.close()
    if process.returncode:
        return None
    return printed.strip() if strip else printed
