"""The code of a live function, as a digest: with what it uses of its own project."""

from __future__ import annotations

import ast
import inspect
import sys
import textwrap
from hashlib import blake2b
from types import FunctionType, ModuleType
from typing import Any

from tablevault_pd.code.statements import digest_of_tree

_PLAIN = (int, float, complex, str, bytes, bool, type(None))
_INSTALLED = ("site-packages", "dist-packages")


def digest_of_function(function: Any) -> str | None:
    """What a function does, as text: of its syntax tree, and those of the functions and plain constants that it uses.

    None where that cannot be told: it is made by ``exec``, or holds an object whose content nobody knows.
    """
    pieces: list[str] = []
    try:
        _add(function, pieces, set())
    except _UnknownCode:
        return None
    return blake2b("\n".join(pieces).encode(errors="surrogatepass"), digest_size=16).hexdigest()


class _UnknownCode(Exception):
    """Something whose code cannot be told."""


def _add(value: Any, pieces: list[str], seen: set[int]) -> None:
    if id(value) in seen:
        return
    seen.add(id(value))
    value = inspect.unwrap(value) if callable(value) else value
    if isinstance(value, _PLAIN):
        pieces.append(f"{type(value).__name__} {value!r}")
    elif isinstance(value, (tuple, list, frozenset, set)):
        for each in sorted(value, key=repr) if isinstance(value, (set, frozenset)) else value:
            _add(each, pieces, seen)
    elif isinstance(value, dict):
        for key, each in value.items():
            _add(key, pieces, seen)
            _add(each, pieces, seen)
    elif isinstance(value, ModuleType):
        pieces.append(f"module {value.__name__} {getattr(value, '__version__', '')}")
    elif getattr(value, "__module__", None) is not None and _is_installed(value):
        pieces.append(f"{value.__module__}.{getattr(value, '__qualname__', type(value).__qualname__)}")
    elif isinstance(value, FunctionType):
        _add_function(value, pieces, seen)
    elif isinstance(value, type):
        pieces.append(_tree(value))
    else:
        raise _UnknownCode


def _is_installed(value: Any) -> bool:
    """Whether it comes with Python or with a package: its name says enough."""
    if not (isinstance(value, (type, FunctionType)) or inspect.isroutine(value)):
        return False
    module = sys.modules.get(value.__module__ or "")
    file = getattr(module, "__file__", None) or ""
    top = (value.__module__ or "").partition(".")[0]
    return module is not None and (top in sys.stdlib_module_names or any(part in file for part in _INSTALLED))


def _add_function(function: FunctionType, pieces: list[str], seen: set[int]) -> None:
    pieces.append(_tree(function))
    for value in (function.__defaults__ or ()) + tuple((function.__kwdefaults__ or {}).values()):
        _add(value, pieces, seen)
    used = inspect.getclosurevars(function)
    for name, value in sorted({**used.globals, **used.nonlocals}.items()):
        pieces.append(name)
        _add(value, pieces, seen)


def _tree(value: Any) -> str:
    try:
        source = textwrap.dedent(inspect.getsource(value))
        tree = ast.parse(source)
    except (OSError, TypeError, SyntaxError):
        code = getattr(value, "__code__", None)  # a lambda in the middle of an expression, say
        if code is None:
            raise _UnknownCode from None
        return f"{code.co_code.hex()} {code.co_consts!r} {code.co_names!r}"
    return digest_of_tree(tree)
