"""The source of ``__main__``: a script, a module run with ``-m``, or nothing in an interactive interpreter."""

from __future__ import annotations

import sys
from pathlib import Path


def main_file() -> Path | None:
    """The file that runs as ``__main__``, if there is one."""
    name = getattr(sys.modules.get("__main__"), "__file__", None)
    return None if name is None else Path(name).absolute()


def main_source() -> str | None:
    """Its text."""
    file = main_file()
    if file is None:
        return None
    try:
        return file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None


def default_name() -> str:
    """What a session is called if nobody names it: after its script, its module or its interpreter."""
    spec = getattr(sys.modules.get("__main__"), "__spec__", None)
    if spec is not None and spec.name:
        return str(spec.name.removesuffix(".__main__"))
    file = main_file()
    if file is not None:
        return file.stem
    return "notebook" if "ipykernel" in sys.modules else "python"
