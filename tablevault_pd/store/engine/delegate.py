"""A store is made of parts, each of which answers some methods of the protocol."""

from __future__ import annotations

from types import MethodType
from typing import TYPE_CHECKING, Concatenate, Generic, ParamSpec, TypeVar, cast

if TYPE_CHECKING:
    from collections.abc import Callable

Part = TypeVar("Part")
P = ParamSpec("P")
R = TypeVar("R")


class Delegate(Generic[P, R]):
    """A method of a store that one of its parts carries out.

    ``head = Delegate("_versions", Versions.head)`` makes ``store.head`` the method ``head`` of ``store._versions``. The
    signature and the docstring are those of the part's method, so neither is written twice.
    """

    def __init__(self, part: str, method: Callable[Concatenate[Part, P], R]) -> None:
        self._part, self._method = part, method
        self.__doc__ = method.__doc__

    def __get__(self, store: object, owner: type) -> Callable[P, R]:
        if store is None:
            return cast("Callable[P, R]", self._method)
        return cast("Callable[P, R]", MethodType(self._method, getattr(store, self._part)))
