"""The source of ``__main__``: a script, a module run with ``-m``, a ``-c`` text, or what was typed at a prompt."""

from __future__ import annotations

import linecache
import os
import sys
from importlib.util import decode_source
from pathlib import Path
from typing import Any

# programs that run the one notebook that they are given
_EXECUTING = ("nbclient", "nbconvert", "papermill", "execute")

PROMPT = "<stdin>"  #: what the source of ``__main__`` is called at a prompt
REMOVED = Path(os.path.abspath(os.sep), "working directory that was removed")


def main_file() -> Path | None:
    """Return the file that runs as ``__main__``, if there is one."""
    name = getattr(sys.modules.get("__main__"), "__file__", None)
    return None if name is None else working_folder() / name


def working_folder() -> Path:
    """Return the working directory; a path at which nothing is, if it was removed."""
    try:
        return Path.cwd()
    except OSError:
        return REMOVED


def main_source() -> str | None:
    """Return the text of ``__main__``; None at a prompt, in a notebook, or where it was piped into the interpreter."""
    if is_notebook():
        return None
    file = main_file()
    if file is None:
        return _command()
    try:
        return source_text(file.read_bytes())
    except OSError:  # such as inside of a zip file: ask its loader
        lines = linecache.getlines(str(file), vars(sys.modules["__main__"]))
        return "".join(lines) or None


def source_text(content: bytes) -> str:
    """Return the text of a Python file, in the encoding that it states."""
    try:
        return decode_source(content)
    except (SyntaxError, UnicodeError):
        return content.decode("utf-8", errors="replace")


def main_path(folder: Path) -> str:
    """Return the name of the source of ``__main__``: its path relative to `folder`, ``-c`` or ``<stdin>``."""
    file = main_file()
    if file is None:
        return "-c" if sys.argv[:1] == ["-c"] else PROMPT
    return file.relative_to(folder).as_posix() if file.is_relative_to(folder) else file.name


def _command() -> str | None:
    """Return the text of ``python -c``."""
    if sys.argv[:1] != ["-c"] or "-c" not in sys.orig_argv:
        return None
    after = sys.orig_argv.index("-c") + 1
    return sys.orig_argv[after] if after < len(sys.orig_argv) else None


def default_name() -> str:
    """Return the default name of a session: that of its script, module, notebook or interpreter."""
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
    if "ipykernel" not in sys.modules:
        return "ipython"
    return _notebook_of(os.environ.get("JPY_PARENT_PID", str(os.getppid()))) or "notebook"


def _notebook_of(parent: str) -> str | None:
    """Return the notebook in the command line of the process that executes it, such as ``jupyter execute train.ipynb``."""
    try:
        words = Path("/proc", parent, "cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:  # no Linux, or the process has ended
        return None
    notebooks = [word for word in words if word.endswith(".ipynb")]
    executes = any(name in word for word in words for name in _EXECUTING)
    return Path(notebooks[0]).stem if notebooks and executes else None


def in_ipython() -> bool:
    """Return whether this code runs in IPython or Jupyter. Does not import IPython."""
    module = sys.modules.get("IPython")
    return module is not None and getattr(module, "get_ipython", lambda: None)() is not None


def is_notebook() -> bool:
    """Return whether this code runs in cells: of IPython, Jupyter or marimo."""
    return in_ipython() or marimo_kernel() is not None


def marimo_kernel() -> Any:
    """The kernel of marimo that runs this code; None in a script, and elsewhere. Does not import marimo."""
    module = sys.modules.get("marimo._runtime.context.types")
    context = None if module is None else getattr(module, "safe_get_context", lambda: None)()
    kernel = getattr(context, "_kernel", None)
    return kernel if hasattr(getattr(kernel, "_hooks", None), "add_pre_execution") else None


def at_prompt() -> bool:
    """Return whether this is the prompt of the interpreter, which goes on after an exception."""
    return hasattr(sys, "ps1") or bool(sys.flags.interactive)


def is_typed() -> bool:
    """Return whether code is typed at the interpreter's own prompt.

    A script's is not, also where ``python -i`` shows a prompt after it, or where a shell that was embedded in it has left one.
    """
    return at_prompt() and main_file() is None and not in_ipython()


class Prompt:
    """The lines typed at the prompt of the interpreter, from the one that connected."""

    def __init__(self) -> None:
        self._readline: Any = sys.modules.get("readline")
        self._first = max(self._length(), 1)  # the last one runs now

    def _length(self) -> int:
        return 0 if self._readline is None else int(self._readline.get_current_history_length())

    def text(self) -> str:
        """Return the lines typed so far."""
        items = [self._readline.get_history_item(number) for number in range(self._first, self._length() + 1)]
        return "\n".join(item for item in items if item is not None)
