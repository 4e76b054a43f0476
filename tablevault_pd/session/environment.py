"""The environment of a session: packages and git commit, read once.

Git is asked when the session begins, beside its first transaction. To read the packages takes a while, so a thread of its own does
it after the first heartbeat; heartbeats go on meanwhile. The program goes on, too: the thread stops for a moment after each
package, since a thread that asks for the interpreter waits 5 ms for a busy one.
"""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tablevault_pd.capture import environment, script
from tablevault_pd.store.engine.fork_guard import no_fork
from tablevault_pd.store.engine.threads import Background

if TYPE_CHECKING:
    from collections.abc import Mapping


PAUSE_S = 0.0005  # after each package, while nobody waits


class EnvironmentCapture:
    """Reads the environment of one session."""

    def __init__(self) -> None:
        self.was_taken = False  #: whether take() has returned it
        self._result: Mapping[str, Any] | Exception | None = None
        self._is_awaited = False
        self._git: tuple[Mapping[str, Any] | None] | None = None  # once it was asked
        self._git_background = Background(self._try_git, "git")
        self._background = Background(self._read, "environment")

    def begin(self) -> None:
        """Ask git for the state of the code as it is now, without waiting for the answer."""
        self._git_background.ask()

    def wait(self, timeout_s: float) -> bool:
        """Have it read, and wait until it is, at most so many seconds. Return whether it is."""
        deadline = time.monotonic() + timeout_s
        self._is_awaited = True
        self._ask()
        while self._result is None and time.monotonic() < deadline:
            time.sleep(0.001)
        return self._result is not None

    def take(self, *, at_once: bool) -> Mapping[str, Any] | None:
        """Return the part of the session's info that the environment is, one time; None while it is being read.

        `at_once` reads it here. Raises what reading it raised.
        """
        if self.was_taken:
            return None
        if at_once:
            self._is_awaited = True
            self._background.join()
            self._read()
        self._ask()
        if self._result is None:
            return None
        self.was_taken = True
        if isinstance(self._result, Exception):
            raise self._result
        return self._result

    def _ask(self) -> None:
        if self._result is None and self._background.is_done:
            self._background.ask()

    def _read(self) -> None:
        if self._result is not None:
            return
        try:
            self._git_background.complete()
            git = self._read_git()
            packages = {"packages": environment.package_versions(self._let_others_run)}
            self._result = packages | ({} if git is None else {"git": git})
        except Exception as error:  # noqa: BLE001  # raised where the result is used
            self._result = error

    def _read_git(self) -> Mapping[str, Any] | None:
        if self._git is None:
            file = script.main_file()
            folder = file.parent if file is not None else Path.cwd()
            self._git = (environment.git_state(folder, no_fork),)
        return self._git[0]

    def _try_git(self) -> None:
        with suppress(Exception):  # to read the environment raises it again
            self._read_git()

    def _let_others_run(self) -> None:
        if not self._is_awaited:
            time.sleep(PAUSE_S)
