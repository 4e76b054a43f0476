"""Source of the project's own modules, for ``capture="all"``: each once, under its hash, relative to the project's folder."""

from __future__ import annotations

import sys
import sysconfig
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_BYTES = 2_000_000  # what is longer was not typed by hand


class ProjectModules:
    """Modules below `folder` that have been imported and not been seen yet."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder.resolve()
        self._seen: set[str] = set()
        self._loaded = 0
        paths = sysconfig.get_paths()
        self._foreign = [
            Path(paths[key]).resolve() for key in ("stdlib", "purelib", "platlib") if key in paths
        ]

    def new(self) -> Iterator[tuple[str, str, str]]:
        """(path, SHA-256, text) of each module imported since the last call."""
        if len(sys.modules) == self._loaded:
            return
        modules = dict(sys.modules)
        self._loaded = len(modules)
        for name, module in modules.items():
            if name in self._seen or name in ("__main__", "__mp_main__"):
                continue
            self._seen.add(name)
            path = self._own(getattr(module, "__file__", None))
            if path is None:
                continue
            try:
                content = path.read_bytes()
            except OSError:
                continue  # removed since it was imported
            if len(content) <= MAX_BYTES:
                shown = path.relative_to(self._folder).as_posix()
                yield shown, sha256(content).hexdigest(), content.decode("utf-8", errors="replace")

    def _own(self, file: object) -> Path | None:
        if not isinstance(file, str) or not file.endswith(".py"):
            return None
        path = Path(file).resolve()
        if not path.is_relative_to(self._folder) or "site-packages" in path.parts:
            return None
        return None if any(path.is_relative_to(folder) for folder in self._foreign) else path
