"""What a session's code runs in: packages and commit, found out once, and imported modules, looked for now and then.

It takes long, so the background thread does it, and not before everybody knows that the session lives.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tablevault_pd.capture import environment, script
from tablevault_pd.capture.modules import ProjectModules
from tablevault_pd.store import Source

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

MODULES_S = 5.0  # how often newly imported modules are looked for


class Surroundings:
    """Those of one session; `mask` hides secrets in the source of modules."""

    def __init__(self, *, modules: bool, mask: Callable[[str], str]) -> None:
        self._wants_modules, self._mask = modules, mask
        self._modules: ProjectModules | None = None
        self._looked_at: float | None = None

    @property
    def seen(self) -> bool:
        """Whether somebody has looked."""
        return self._looked_at is not None

    def look(
        self, session_id: int, *, at_once: bool = False
    ) -> tuple[Mapping[str, Any] | None, list[Source]]:
        """What is to be added to the session's info, and the modules that are new; None and none if it is not time yet."""
        now = time.monotonic()
        if self._looked_at is not None and now - self._looked_at < MODULES_S and not at_once:
            return None, []
        first, self._looked_at = self._looked_at is None, now
        file = script.main_file()
        folder = file.parent if file is not None else Path.cwd()
        return self._found_once(folder) if first else None, self._new_modules(session_id, folder)

    def _found_once(self, folder: Path) -> Mapping[str, Any]:
        git = environment.git_state(folder)
        return {"packages": environment.package_versions()} | ({} if git is None else {"git": git})

    def _new_modules(self, session_id: int, folder: Path) -> list[Source]:
        if not self._wants_modules:
            return []
        self._modules = self._modules or ProjectModules(environment.project_folder(folder))
        return [Source(session_id, path, sha, self._mask(text)) for path, sha, text in self._modules.new()]
