"""The environment of a session: packages and git commit, read once.

That takes a while, so the background thread does it after the first heartbeat.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from tablevault_pd.capture import environment, script

if TYPE_CHECKING:
    from collections.abc import Mapping


class EnvironmentCapture:
    """Reads the environment of one session."""

    def __init__(self) -> None:
        self.was_read = False  #: whether read() was called

    def read(self) -> Mapping[str, Any] | None:
        """Return the part of the session's info that the environment is; None after the first call."""
        if self.was_read:
            return None
        self.was_read = True
        file = script.main_file()
        git = environment.git_state(file.parent if file is not None else Path.cwd())
        return {"packages": environment.package_versions()} | ({} if git is None else {"git": git})
