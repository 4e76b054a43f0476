"""The environment of a session: packages and git commit, read once.

Reading takes long, so the background thread does it, after the first heartbeat.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from tablevault_pd.capture import environment, script

if TYPE_CHECKING:
    from collections.abc import Mapping


class EnvironmentCapture:
    """The environment of one session."""

    def __init__(self) -> None:
        self.was_read = False  #: whether the environment was read

    def read(self) -> Mapping[str, Any] | None:
        """Return what is to be added to the session's info; None after the first time."""
        if self.was_read:
            return None
        self.was_read = True
        file = script.main_file()
        git = environment.git_state(file.parent if file is not None else Path.cwd())
        return {"packages": environment.package_versions()} | ({} if git is None else {"git": git})
