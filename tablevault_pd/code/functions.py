"""What a live function does, as a key: its compiled code, with that of all it uses. No source is read, which may be another by now."""

from __future__ import annotations

import inspect
import sys
from types import CodeType, FunctionType, ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Hashable


def function_key(function: Any) -> Hashable | None:
    """What names a function with everything that it uses: equal for two that must give the same. None: it cannot be told.

    The compiled code counts, with constants, defaults and closures, and that of the functions it calls. What is installed
    counts by its name, as it does not change within a process. A module of one's own may, and so may any other object.
    """
    try:
        return _key(function, ())
    except _Unknown:
        return None


class _Unknown(Exception):
    """Something that may change without a sign of it."""


_PLAIN = (bool, int, float, complex, str, bytes, type(None))


def _key(value: Any, above: tuple[int, ...]) -> Hashable:
    if isinstance(value, _PLAIN):
        return type(value).__name__, repr(value)
    if id(value) in above:
        return ("again", above.index(id(value)))
    inner = (*above, id(value))
    if isinstance(value, (tuple, frozenset)):
        items = sorted(value, key=repr) if isinstance(value, frozenset) else value
        return type(value).__name__, tuple(_key(item, inner) for item in items)
    if isinstance(value, CodeType):
        return (
            "code",
            value.co_code,
            value.co_names,
            value.co_varnames,
            tuple(_key(constant, inner) for constant in value.co_consts),
        )
    if _is_installed(value):
        name = value.__name__ if isinstance(value, ModuleType) else value.__qualname__
        return "installed", getattr(value, "__module__", None), name
    if isinstance(value, FunctionType):
        return _key_of_function(value, inner)
    raise _Unknown


def _key_of_function(function: FunctionType, above: tuple[int, ...]) -> Hashable:
    try:
        used = inspect.getclosurevars(function)
    except ValueError:  # a closure that is still empty
        raise _Unknown from None
    if used.unbound - _attributes(function.__code__):
        raise _Unknown  # a global that is not there yet
    options = {**used.globals, **used.nonlocals, **(function.__kwdefaults__ or {})}
    return (
        "function",
        _key(function.__code__, above),
        tuple(_key(default, above) for default in function.__defaults__ or ()),
        tuple((name, _key(option, above)) for name, option in sorted(options.items())),
        tuple(_nested_globals(function, above)),
    )


def _attributes(code: CodeType) -> set[str]:
    """Names that the code uses, be it as attributes: Python keeps them together."""
    return set(code.co_names)


def _nested_globals(function: FunctionType, above: tuple[int, ...]) -> list[Hashable]:
    """The globals that functions written inside of this one use."""
    names = {name for code in _codes_in(function.__code__) for name in code.co_names}
    there = sorted(names & function.__globals__.keys())
    return [(name, _key(function.__globals__[name], above)) for name in there]


def _codes_in(code: CodeType) -> list[CodeType]:
    codes = [constant for constant in code.co_consts if isinstance(constant, CodeType)]
    return [*codes, *(inner for inner_code in codes for inner in _codes_in(inner_code))]


_INSTALLED = ("site-packages", "dist-packages")


def _is_installed(value: Any) -> bool:
    """Whether it is a module, function or class of Python itself or of a package."""
    if isinstance(value, ModuleType):
        module: ModuleType | None = value
    elif (
        isinstance(value, type) or inspect.isroutine(value) or hasattr(value, "reduceat")
    ):  # a ufunc of NumPy
        module = sys.modules.get(getattr(value, "__module__", None) or "builtins")
    else:
        return False
    if module is None:
        return False
    place = getattr(module, "__file__", None) or ""
    return module.__name__.partition(".")[0] in sys.stdlib_module_names or any(
        name in place for name in _INSTALLED
    )
