"""Which mapped lists are made of which, and the functions of this process that make them."""

from __future__ import annotations

import inspect
import json
import sys
import weakref
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tablevault_pd.errors import InvalidInput
from tablevault_pd.keys.mapped import call_of, notes_name

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from tablevault_pd.store import Store, Version


@dataclass(frozen=True, slots=True)
class MapCall:
    """One call of map that can be made again."""

    name: str
    rows: str  #: the list that is mapped over
    function: Any
    options: Mapping[str, Any]


_calls: weakref.WeakKeyDictionary[Store, dict[str, MapCall]] = weakref.WeakKeyDictionary()


def note_call(store: Store, call: MapCall) -> None:
    """Remember how this process made a list."""
    _calls.setdefault(store, {})[call.name] = call


def options_text(options: Mapping[str, Any]) -> str | None:
    """The options of a call as they are kept in the vault; None if they cannot be, as with columns that are no texts."""
    try:
        text = json.dumps(options)
    except TypeError:
        return None
    return text if json.loads(text) == dict(options) else None


def calls_around(
    store: Store, name: str, functions: Mapping[str, Any], is_stale: Callable[[Version], bool]
) -> list[MapCall | str]:
    """The mapped lists above a list, itself, and those below it, in order of making: how each is made; or its name, if it is current.

    A list that is made from one that is stale counts as stale. Raises InvalidInput for a list that map did not make, and for
    functions of stale lists that this process does not know.
    """
    calls = _kept_calls(store)
    if name not in calls:
        raise InvalidInput(f"The list {name!r} was not made by map: refresh knows no function that makes it.")
    unknown = sorted(functions.keys() - calls.keys())
    if unknown:
        raise InvalidInput(f"functions= names {unknown[0]!r}, and no such list was made by map.")
    stale: set[str] = set()
    order = _order(calls, name)
    for member in order:
        head = store.head(member)
        if calls[member]["list"] in stale or member in functions or (head is not None and is_stale(head)):
            stale.add(member)
    makers = {member: _call(store, member, calls[member], functions) for member in order if member in stale}
    lacking = [f"{maker} makes {member!r}" for member, maker in makers.items() if isinstance(maker, str)]
    if lacking:
        raise InvalidInput(
            f"Functions that this process does not know: {'; '.join(lacking)}. Import the modules that have them, or give functions="
            "{list: function}, then refresh."
        )
    return [makers.get(member, member) for member in order]


def _kept_calls(store: Store) -> dict[str, dict[str, Any]]:
    suffix = notes_name("")
    names = [name.removesuffix(suffix) for name in store.names() if name.endswith(suffix)]
    calls = {name: call_of(store, name) for name in names}
    heads = {name: store.head(name) for name in names}
    return {
        name: call
        for name, call in calls.items()
        if call is not None and (head := heads[name]) is not None and not head.deleted
    }


def _order(calls: Mapping[str, Mapping[str, Any]], name: str) -> Sequence[str]:
    """The mapped lists above a list, itself, and those below it: each after the one that it is made from."""
    above = [name]
    while (parent := calls[above[-1]]["list"]) in calls and parent not in above:
        above.append(parent)
    order, place = above[::-1], len(above) - 1
    while place < len(order):
        order += [
            below for below in sorted(calls) if calls[below]["list"] == order[place] and below not in order
        ]
        place += 1
    return order


def function_of(store: Store, name: str, stored: Mapping[str, Any]) -> Any:
    """The function that makes a mapped list, as this process has it now; None if it has none of that name."""
    recent = _calls.get(store, {}).get(name)
    return _imported(stored["function"]) or (None if recent is None else recent.function)


def _call(store: Store, name: str, stored: Mapping[str, Any], functions: Mapping[str, Any]) -> MapCall | str:
    """How a list is made; or what its function is called, if this process has none of that name."""
    recent = _calls.get(store, {}).get(name)
    function = functions.get(name) or function_of(store, name, stored)
    if function is None:
        return str(stored["function"])
    if recent is not None:
        return MapCall(name, stored["list"], function, recent.options)
    if stored["options"] is None:
        raise InvalidInput(
            f"The list {name!r} was mapped from a frame, or with options that are not kept: call map for it again, then refresh."
        )
    return MapCall(name, stored["list"], function, json.loads(stored["options"]))


def _imported(function: str) -> Any:
    """A function of a module that this process has imported, by ``module:name``; no module is imported for it."""
    module, _, name = function.partition(":")
    member: Any = sys.modules.get(module)
    for part in name.split("."):
        if isinstance(member, type) and inspect.isfunction(inspect.getattr_static(member, part, None)):
            return None  # a method, and of which object cannot be told
        member = getattr(member, part, None)
    return member if callable(member) and getattr(member, "__qualname__", None) == name else None
