"""Source of the project's own modules: those that are imported from files below a folder, each content once.

A module counts as it was when it was imported or reloaded, not as its file is now: a reload gives it another ``__spec__``,
and until then its file is read once. IPython's ``%autoreload`` patches functions in place instead, and notes the time of the
file.
"""

from __future__ import annotations

import os
import sys
import sysconfig
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tablevault_pd.capture.script import source_text, working_folder

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_BYTES = 2_000_000  # longer files are generated
_INSTALLED = {"site-packages", "dist-packages"}
_PATHS = sysconfig.get_paths()
_FOREIGN = [Path(_PATHS[key]).resolve() for key in ("stdlib", "purelib", "platlib") if key in _PATHS]
_FOREIGN.append(Path(__file__).resolve().parent.parent)


@dataclass(frozen=True, slots=True)
class Module:
    """An imported module."""

    name: str
    path: str  #: relative to the project's folder
    sha256: str
    text: str


@dataclass(frozen=True, slots=True)
class _Look:
    """What one look found. It is replaced as a whole: two threads may look at the same time."""

    loaded: int  #: how many modules there were
    specs: Mapping[str, tuple[Any, float]]  #: of our own, each with the time of its file when that was read
    modules: Mapping[str, Module]  #: by name; those that were unloaded stay


class ProjectModules:
    """The modules below `folder` that are imported in this process."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()
        self._last = _Look(0, {}, {})
        self._foreign_names: set[str] = set()

    def look(self) -> Mapping[str, Module]:
        """The modules imported by now; the same object while there is no other. Costs next to nothing then."""
        last = self._last
        if len(sys.modules) == last.loaded and not self._reloaded(last.specs):
            return last.modules
        loaded = dict(sys.modules)
        modules = dict(last.modules)
        # What was unloaded may come again with another content.
        specs = {name: spec for name, spec in last.specs.items() if name in loaded}
        reloader = _autoreloader()
        for name, module in loaded.items():
            if name not in self._foreign_names and _is_new(name, module, specs, reloader):
                self._read(name, module, specs, modules)
        self._last = _Look(len(loaded), specs, modules)
        return modules

    def run_file(self, file: str) -> Module | None:
        """Return a script that ``%run`` executes, under the name of a module."""
        return _module(f"%run {file}", Path(file), _relative(Path(file).resolve(), self.folder))

    def _reloaded(self, specs: Mapping[str, tuple[Any, float]]) -> bool:
        if not specs:
            return False
        reloader, modules = _autoreloader(), sys.modules
        return any(_is_new(name, modules.get(name), specs, reloader) for name in specs)

    def _read(
        self,
        name: str,
        module: Any,
        specs: dict[str, tuple[Any, float]],
        modules: dict[str, Module],
    ) -> None:
        path = None if name in ("__main__", "__mp_main__") else self._own(getattr(module, "__file__", None))
        time = None if path is None else _time(path)
        read = None if path is None else _module(name, path, _relative(path, self.folder))
        if path is None:
            self._foreign_names.add(name)
        elif read is not None and time is not None:
            specs[name] = getattr(module, "__spec__", None), time
            modules[name] = read

    def _own(self, file: object) -> Path | None:
        if not isinstance(file, str) or not file.endswith(".py"):
            return None
        path = _not_installed(_absolute(file))
        if path is None:
            return None
        named = Path(file) if file.startswith(str(self.folder)) else path
        own = named.is_relative_to(self.folder) and not _INSTALLED.intersection(named.parts)
        return path if own else None


@lru_cache(maxsize=1 << 12)
def is_own_file(file: str) -> bool:
    """Return whether a file belongs neither to Python nor to an installed package, nor to this one."""
    return file.endswith(".py") and _not_installed(_absolute(file)) is not None


def _absolute(file: str) -> str:
    """As :func:`os.path.abspath`, also where the working directory was removed."""
    return os.path.normpath(file if os.path.isabs(file) else os.path.join(working_folder(), file))


# Each session looks at all modules, and resolving a path asks for each folder in it.
@lru_cache(maxsize=1 << 14)
def _not_installed(file: str) -> Path | None:
    """Return the real path of a file, unless it belongs to Python, to an installed package or to this one."""
    if os.path.islink(file):
        file = os.path.realpath(file)
    folder, foreign = _real_folder(os.path.dirname(file))
    return None if foreign else folder / os.path.basename(file)


@lru_cache(maxsize=1 << 12)
def _real_folder(folder: str) -> tuple[Path, bool]:
    path = Path(folder).resolve()
    return path, any(path.is_relative_to(foreign) for foreign in _FOREIGN)


def _is_new(name: str, module: Any, specs: Mapping[str, tuple[Any, float]], reloader: Any) -> bool:
    """Whether a module is another one than when its file was read."""
    if name not in specs or getattr(module, "__spec__", None) is not specs[name][0]:
        return True
    taken = getattr(reloader, "modules_mtimes", {}).get(name, 0)
    failed = getattr(reloader, "failed", {}).get(getattr(module, "__file__", None))
    return bool(taken > specs[name][1] and taken != failed)


def _autoreloader() -> Any:
    """What ``%autoreload`` knows of modules, where it is loaded: by name, the time of the file that it took over last."""
    if "IPython.extensions.autoreload" not in sys.modules:
        return None
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    magics = getattr(getattr(shell, "magics_manager", None), "registry", {}).get("AutoreloadMagics")
    return getattr(magics, "_reloader", None)


def _time(path: Path) -> float | None:
    try:
        return path.stat().st_mtime
    except OSError:
        return None


def _relative(path: Path, folder: Path) -> str:
    return path.relative_to(folder).as_posix() if path.is_relative_to(folder) else path.name


def _module(name: str, path: Path, shown: str) -> Module | None:
    try:
        content = path.read_bytes()
    except OSError:
        return None  # removed after the import
    if len(content) > MAX_BYTES:
        return None
    return Module(name, shown, sha256(content).hexdigest(), source_text(content))
