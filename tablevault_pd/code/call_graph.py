"""What functions do by themselves and because those do it that they call, however long the chain of calls is."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, NamedTuple

from tablevault_pd.code.calls import ANY_PLACE

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping

    from tablevault_pd.code.calls import Call
    from tablevault_pd.code.namespaces import Namespace
    from tablevault_pd.code.statements import Statement

    #: Which names of its own a function changes by a call, if the called function changes these.
    HandedOn = Callable[[Collection[str]], Iterable[str]]
    _Key = tuple[str | None, int, bool]
    _Names = dict[str, None]  # ordered: the order of a set of texts differs from process to process


class Callee(NamedTuple):
    """A function or class, its namespace, and the statements that bind the names which it looks up."""

    namespace: Namespace
    statement: Statement
    current: Mapping[str, int]

    @property
    def is_of_module(self) -> bool:
        """Whether it is looked at as it is once its module has been executed: it stays so."""
        return self.namespace.module is not None and self.current is self.namespace.bindings

    @property
    def key(self) -> _Key:
        """Equal modules share their statements, and import others."""
        return self.namespace.module, id(self.statement), self.current is self.namespace.bindings


class CallGraph:
    """Names of what functions do, with what those do that they call.

    Parameters
    ----------
    own : callable
        The names of what a function does by itself.
    called : callable
        The functions that it calls, each with which names follow from those of that one.
    """

    def __init__(
        self,
        own: Callable[[Callee], Iterable[str]],
        called: Callable[[Callee], Iterable[tuple[Callee, HandedOn]]],
    ) -> None:
        self._own = own
        self._called = called
        self._lasting: dict[_Key, _Names] = {}  # of functions that lead to those of modules only
        self._passing: dict[_Key, _Names] = {}

    def forget(self) -> None:
        """Look anew at functions whose names may be bound anew while a program runs: to be called when one was."""
        self._passing.clear()

    def names(self, function: Callee) -> Collection[str]:
        """What a function does, with what it calls."""
        if (earlier := self._known(function.key)) is not None:
            return earlier
        names: dict[_Key, _Names] = {function.key: dict.fromkeys(self._own(function))}
        callers: dict[_Key, list[tuple[_Key, HandedOn]]] = defaultdict(list)
        reached = [function]
        for caller in reached:
            for called, handed_on in self._called(caller):
                key = called.key
                callers[key].append((caller.key, handed_on))
                if key not in names:
                    earlier = self._known(key)
                    names[key] = dict.fromkeys(self._own(called)) if earlier is None else earlier
                    if earlier is None:
                        reached.append(called)
        _spread(names, callers)
        passing = [one.key for one in reached if not one.is_of_module]
        passing += self._passing.keys() & names.keys()
        of_passing = _leading_to(passing, callers)
        for key, all_names in names.items():
            (self._passing if key in of_passing else self._lasting)[key] = all_names
        return names[function.key]

    def _known(self, key: _Key) -> _Names | None:
        return self._lasting.get(key, self._passing.get(key))


def _spread(names: Mapping[_Key, _Names], callers: Mapping[_Key, Collection[tuple[_Key, HandedOn]]]) -> None:
    """Add to the names of each function those that follow from the functions that it calls, until there are no more."""
    waiting = [key for key, own in names.items() if own]
    while waiting:
        key = waiting.pop()
        for caller, handed_on in callers.get(key, ()):
            more = [name for name in handed_on(names[key]) if name not in names[caller]]
            if more:
                names[caller].update(dict.fromkeys(more))
                waiting.append(caller)


def _leading_to(keys: Iterable[_Key], callers: Mapping[_Key, Collection[tuple[_Key, HandedOn]]]) -> set[_Key]:
    """Functions and all that call them, through whatever others."""
    reaching = set(keys)
    waiting = [*reaching]
    while waiting:
        more = {caller for caller, _ in callers.get(waiting.pop(), ())} - reaching
        reaching |= more
        waiting += more
    return reaching


def changed_arguments(function: Statement, call: Call, changes: Collection[str]) -> Iterator[str]:
    """The arguments of a call of a function that changes these parameters."""
    for place, name in call[1] if changes else ():
        if place == ANY_PLACE or parameter_of(function, place) in changes:
            yield name


def parameter_of(function: Statement, place: int | str) -> str | None:
    """The parameter of a function that a position or keyword means."""
    names = function.parameters
    if isinstance(place, str):
        several = next((name for name in names if name.startswith("**")), place)
        return place if place in names else several.lstrip("*")
    starred = next((number for number, name in enumerate(names) if name.startswith("*")), len(names))
    return names[min(place, starred)].lstrip("*") if min(place, starred) < len(names) else None
