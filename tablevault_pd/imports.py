"""Packages that this process has because this library imported them: for a progress bar, a picture or SQL."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from types import FunctionType, ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_loaded_here: set[str] = set()  # top-level names


@contextmanager
def for_own_use() -> Iterator[None]:
    """Note what is imported inside, and was not loaded before: the program that runs did not ask for it."""
    before = set(sys.modules)
    try:
        yield
    finally:
        _loaded_here.update(_top_level(set(sys.modules) - before) - _top_level(before))


def any_own() -> bool:
    """Return whether there are packages that this library imported first."""
    return bool(_loaded_here)


def only_own() -> set[str]:
    """Return the top-level modules that this library imported, and no other module has a name for, or for something of them."""
    own, last = set(_loaded_here), None
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
