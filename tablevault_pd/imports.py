"""Packages that this process has because this library imported them: for a progress bar, a picture or SQL."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from types import FunctionType, ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_loaded_here: set[str] = set()  # top-level names
_under_way: list[set[str]] = []  # the modules that were there before each import of this library that goes on


@contextmanager
def for_own_use() -> Iterator[None]:
    """Note what is imported inside, and was not loaded before: the program that runs did not ask for it."""
    before = set(sys.modules)
    try:
        _under_way.append(before)
        yield
    finally:
        _loaded_here.update(_loaded_since(before))
        _under_way[:] = [modules for modules in _under_way if modules is not before]


def state() -> tuple[int, int]:
    """What tells, beside the modules that are loaded, whether :func:`only_own` may answer otherwise than before."""
    return len(_loaded_here), len(_under_way)


def _loaded_since(before: set[str]) -> set[str]:
    return _top_level(set(sys.modules) - before) - _top_level(before)


def only_own() -> set[str]:
    """Return the top-level modules that this library imported, and no other module has a name for, or for something of them."""
    own, last = _loaded_here.union(*map(_loaded_since, tuple(_under_way))), None
    while own and own != last:  # what is used elsewhere uses others in turn
        last = set(own)
        for name, module in tuple(sys.modules.items()):
            if name.partition(".")[0] not in own | {"tablevault_pd"}:
                own -= _top_level(_owners(module))
    return own


def _top_level(names: Iterable[str]) -> set[str]:
    return {name.partition(".")[0] for name in names}


def _owners(module: object) -> Iterator[str]:
    """Yield the modules that the values of a module are, or are from. Asks no object of the user anything."""
    for value in tuple(vars(module).values()) if isinstance(module, ModuleType) else ():
        kind = type(value)
        if issubclass(kind, ModuleType):
            owner = vars(value).get("__name__")
        else:
            owner = (value if issubclass(kind, (type, FunctionType)) else kind).__module__
        if isinstance(owner, str):
            yield owner


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_under_way.clear)  # the threads that import do not go on there
