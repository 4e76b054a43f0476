"""The source of ``__main__``: a script, a module run with ``-m``, a ``-c`` text, or what was typed at a prompt."""

from __future__ import annotations

import linecache
import os
import sys
from pathlib import Path
from typing import Any


def main_file() -> Path | None:
    """The file that runs as ``__main__``, if there is one."""
    name = getattr(sys.modules.get("__main__"), "__file__", None)
    return None if name is None else Path(name).absolute()


def main_source() -> str | None:
    """Its text. None where there is none: at a prompt, in a notebook, or piped into the interpreter."""
    if in_ipython():
        return None
    file = main_file()
    if file is None:
        return _command()
    try:
        return file.read_text(encoding="utf-8", errors="replace")
    except OSError:  # inside of a zip file, say: its loader knows
        lines = linecache.getlines(str(file), vars(sys.modules["__main__"]))
        return "".join(lines) or None


def main_path(folder: Path) -> str:
    """What the source of ``__main__`` is shown as: its path, relative to `folder`; ``-c`` or ``<stdin>`` without a file."""
    file = main_file()
    if file is None:
        return "-c" if sys.argv[:1] == ["-c"] else "<stdin>"
    return file.relative_to(folder).as_posix() if file.is_relative_to(folder) else file.name


def _command() -> str | None:
    """The text of ``python -c``."""
    if sys.argv[:1] != ["-c"] or "-c" not in sys.orig_argv:
        return None
    after = sys.orig_argv.index("-c") + 1
    return sys.orig_argv[after] if after < len(sys.orig_argv) else None


def default_name() -> str:
    """What a session is called if nobody names it: after its script, its module, its notebook or its interpreter."""
    if in_ipython():
        return _notebook_name()
    spec = getattr(sys.modules.get("__main__"), "__spec__", None)
    if spec is not None and spec.name:
        return str(spec.name.removesuffix(".__main__"))
    file = main_file()
    return "python" if file is None else file.stem


def _notebook_name() -> str:
    main: Any = sys.modules.get("__main__")
    path = os.environ.get("JPY_SESSION_NAME") or getattr(main, "__vsc_ipynb_file__", None)  # Jupyter, VS Code
    if path:
        return Path(path).stem
    return "notebook" if "ipykernel" in sys.modules else "ipython"


def in_ipython() -> bool:
    """Whether this code runs in IPython or Jupyter. Does not import IPython."""
    module = sys.modules.get("IPython")
    return module is not None and getattr(module, "get_ipython", lambda: None)() is not None


def at_prompt() -> bool:
    """Whether this is the interpreter's own prompt, which an exception does not end."""
    return hasattr(sys, "ps1") or bool(sys.flags.interactive)


class Prompt:
    """The lines typed at the interpreter's prompt from the one on that connected."""

    def __init__(self) -> None:
        self._readline: Any = sys.modules.get("readline")
        self._first = max(self._length(), 1)  # the last one is the line that runs now

    def _length(self) -> int:
        return 0 if self._readline is None else int(self._readline.get_current_history_length())

    def text(self) -> str:
        """The lines so far."""
        items = [self._readline.get_history_item(number) for number in range(self._first, self._length() + 1)]
        return "\n".join(item for item in items if item is not None)
