"""The session of this process: opened by ``connect``, named by every batch, closed with its outcome at exit.

What takes time to find out (the git commit, package versions) is looked up by a thread, so that connecting does not
wait for it. Nothing in here may break the user's code: a failure is reported once, as a warning.
"""

from __future__ import annotations

import atexit
import os
import sys
import threading
import warnings
from dataclasses import replace
from datetime import UTC, datetime
from difflib import get_close_matches
from pathlib import Path
from types import TracebackType
from typing import Any

from tablevault_pd.capture import environment, script
from tablevault_pd.errors import SessionNotFound, VaultError, shown
from tablevault_pd.lineage.reads import Reads
from tablevault_pd.names import check_name
from tablevault_pd.store import Cell, Session, Store

JOIN_TIMEOUT_S = 2.0


class Run:
    """A running session of this process."""

    def __init__(self, store: Store, name: str | None = None) -> None:
        self._store = store
        self._pid = os.getpid()
        self._ended = False
        started = datetime.now(UTC)
        self.row = store.open_session(
            Session(
                check_name(name or script.default_name().replace("@", "_").strip() or "python", "session"),
                environment.user_name(),
                environment.host_name(),
                os.getpid(),
                started,
                heartbeat=started,
                info=environment.process_info(),
            )
        )
        self.reads = Reads(store, self.row.id)
        self.cell: int | None = None
        source = script.main_source()
        if source is not None:
            self.cell = 0
            store.put_cell(Cell(self.row.id, 0, source, started))
        self._source = source
        self._thread = threading.Thread(target=self._look_around, name="tablevault-session", daemon=True)
        self._thread.start()
        _open.append(self)
        _watch_exit()

    @property
    def id(self) -> int:
        """The session's number in its vault."""
        return self.row.id

    def _look_around(self) -> None:
        try:
            file = script.main_file()
            info = dict(self.row.info) | {"packages": environment.package_versions()}
            git = environment.git_state(file.parent if file is not None else Path.cwd())
            if git is not None:
                info["git"] = git
            self.row = replace(self.row, info=info)
            self._store.update_session(self.row.id, info=info)
        except (VaultError, OSError) as error:
            _warn(error)

    def end(self, outcome: str, error: str | None = None, traceback: str | None = None) -> None:
        """Close the session. Only the process that opened it can, and only once."""
        if self._ended or self._pid != os.getpid():
            return
        self._ended = True
        if self in _open:
            _open.remove(self)
        self._thread.join(JOIN_TIMEOUT_S)
        ended = datetime.now(UTC)
        try:
            self.reads.flush()
            if self._source is not None:
                duration_s = (ended - self.row.started).total_seconds()
                state = "ok" if outcome == "finished" else "error"
                self._store.put_cell(
                    Cell(self.row.id, 0, self._source, self.row.started, duration_s, state, error, traceback)
                )
            self._store.update_session(self.row.id, ended=ended, outcome=outcome, error=error)
        except VaultError as failure:
            _warn(failure)


def find_or_none(store: Store, which: str | int) -> Session | None:
    """The session of that id or ``name#run``; of a bare name the latest run."""
    if isinstance(which, int):
        return next(iter(store.sessions([which])), None)
    named = store.sessions(name=which)
    if named:
        return named[-1]
    name, hash_sign, run = which.rpartition("#")
    if not hash_sign or not run.isdecimal():
        return None
    return next((session for session in store.sessions(name=name) if session.run == int(run)), None)


def find(store: Store, which: str | int) -> Session:
    """As :func:`find_or_none`, but raises SessionNotFound, with the names that come close."""
    found = find_or_none(store, which)
    if found is None:
        close = get_close_matches(str(which), {session.name for session in store.sessions()}, n=3)
        hint = (
            f"Did you mean {' or '.join(map(repr, close))}?"
            if close
            else "vault.sessions() shows what is there."
        )
        raise SessionNotFound(f"No session {shown(which)} in this vault. {hint}")
    return found


_open: list[Run] = []
_failure: tuple[str, str | None, str | None] | None = None  # how the process is about to end, if not well


def _warn(error: Exception) -> None:
    warnings.warn(f"tablevault_pd could not record the session: {error}", RuntimeWarning, stacklevel=3)


def _see_exception(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    global _failure
    from traceback import format_exception

    _failure = ("failed", f"{kind.__name__}: {error}", "".join(format_exception(kind, error, trace)))
    _excepthook(kind, error, trace)


def _see_exit(code: Any = None) -> None:
    global _failure
    if code not in (None, 0):
        _failure = ("failed", f"SystemExit: {code}", None)
    _exit(code)


def _end_all() -> None:
    for run in list(_open):
        run.end(*(_failure or ("finished",)))


_excepthook: Any = None
_exit: Any = None


def _watch_exit() -> None:
    """Learn how the process ends: the interpreter tells atexit nothing about it."""
    global _excepthook, _exit
    if _excepthook is None:
        _excepthook, sys.excepthook = sys.excepthook, _see_exception
        _exit, sys.exit = sys.exit, _see_exit  # type: ignore[assignment]  # raises SystemExit, as the original does
        atexit.register(_end_all)
