"""The environment of a session: the state of git and the packages, each read once, in the background.

Git is asked when the session begins, packages are read after the first heartbeat. To read them takes a while: their thread stops for a
moment after each one, since a thread that asks for the interpreter waits 5 ms for a busy one. The end of a session waits for
neither. Until git has answered, the info of the session says that its state is not recorded.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tablevault_pd.capture import environment, script
from tablevault_pd.session.git import GIT, NO_ANSWER, GitQuestion
from tablevault_pd.store.engine.threads import Background

if TYPE_CHECKING:
    from collections.abc import Mapping

PAUSE_S = 0.0005  # after each package, while nobody waits


class EnvironmentCapture:
    """Reads the environment of one session."""

    def __init__(self) -> None:
        self._git = GitQuestion(Path(), {})  # of a session that has not asked
        self._packages: Mapping[str, Any] | Exception | None = None
        self._taken = [False, False]
        self._is_awaited = False
        self._background = Background(self._read_packages, "packages")

    def begin(self) -> dict[str, Any]:
        """Ask git for the state of the code as it is now, without waiting. Return what the info says until it has answered."""
        file = script.main_file()
        folder = file.parent if file is not None else script.working_folder()
        if not environment.may_be_in_repository(folder):
            return {}
        self._git = GIT.ask(folder)
        return dict(NO_ANSWER)

    @property
    def was_taken(self) -> bool:
        """Whether take() has returned all of it."""
        return all(self._taken)

    @property
    def has_news(self) -> bool:
        """Whether take() would return something when the session ends."""
        return any(
            part is not None and not taken for part, taken in zip(self._parts, self._taken, strict=True)
        )

    @property
    def lacking(self) -> str:
        """What take() has not returned, in words."""
        names = ("the state of git", "the packages")
        return " and ".join(name for name, taken in zip(names, self._taken, strict=True) if not taken)

    @property
    def is_read(self) -> bool:
        """Whether all of it is read."""
        return None not in self._parts

    @property
    def _parts(self) -> tuple[Mapping[str, Any] | Exception | None, ...]:
        return self._git.answer, self._packages

    def wait(self, timeout_s: float) -> bool:
        """Have it read, and wait until it is, at most so many seconds. Return whether it is."""
        deadline = time.monotonic() + timeout_s
        self._is_awaited = True
        while not self.is_read:
            self._ask()
            for background in (GIT.background, self._background):
                if background.refused:
                    background.complete()
            if time.monotonic() >= deadline:
                break
            time.sleep(0.001)
        return self.is_read

    def take(self, *, ending: bool) -> Mapping[str, Any]:
        """Return the parts of the session's info that the environment is: all at once, or what is read when the session ends.

        Each is returned one time; then what is read later. Raises what reading it raised.
        """
        if self.was_taken:
            return {}
        if ending and self._packages is None:
            versions = environment.known_versions()
            self._packages = None if versions is None else {"packages": versions}
        self._ask()
        parts = self._parts
        if None in parts and not ending:
            return {}
        new: dict[str, Any] = {}
        for number, part in enumerate(parts):
            if part is None or self._taken[number]:
                continue
            if isinstance(part, Exception) and new:
                break  # it is raised the next time
            self._taken[number] = True
            if isinstance(part, Exception):
                raise part
            new |= part
        return new

    def drop(self) -> None:
        """Take nothing of it any more."""
        self._taken = [True, True]

    def _ask(self) -> None:
        if self._git.answer is None and GIT.background.is_done:
            GIT.background.ask()
        if self._packages is None and self._background.is_done:
            self._background.ask()

    def _read_packages(self) -> None:
        if self._packages is None:
            try:
                self._packages = {"packages": environment.package_versions(self._let_others_run)}
            except Exception as error:  # noqa: BLE001  # raised where the result is used
                self._packages = error

    def _let_others_run(self) -> None:
        if not self._is_awaited:
            time.sleep(PAUSE_S)
