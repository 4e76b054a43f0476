"""What a session's code runs in: packages and commit, found out once.

It takes long, so the background thread does it, and not before everybody knows that the session lives.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from tablevault_pd.capture import environment, script

if TYPE_CHECKING:
    from collections.abc import Mapping


class Surroundings:
    """Those of one session."""

    def __init__(self) -> None:
        self.seen = False  #: whether somebody has looked

    def look(self) -> Mapping[str, Any] | None:
        """What is to be added to the session's info; None if that was said already."""
        if self.seen:
            return None
        self.seen = True
        file = script.main_file()
        git = environment.git_state(file.parent if file is not None else Path.cwd())
        return {"packages": environment.package_versions()} | ({} if git is None else {"git": git})
