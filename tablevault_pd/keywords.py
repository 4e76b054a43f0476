"""The keyword options of public calls: each is named in the signature, and a misspelt one is refused with a suggestion.

A notebook completes keywords from :func:`inspect.signature`, which cannot see into ``**options``.
"""

from __future__ import annotations

import inspect
from functools import wraps
from typing import TYPE_CHECKING, Any, TypeVar

from tablevault_pd.errors import InvalidType, did_you_mean, shown

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

F = TypeVar("F", bound="Callable[..., Any]")
C = TypeVar("C", bound=type)


def takes(options: type, defaults: Mapping[str, Any]) -> Callable[[F], F]:
    """Spell out ``**options: Unpack[…]`` in the signature of a function.

    Parameters
    ----------
    options : type
        The TypedDict that is unpacked.
    defaults : mapping
        What stands for an option that is left out, where that is not None.
    """

    def spell_out(function: F) -> F:
        signature = inspect.signature(function)
        named = [each for each in signature.parameters.values() if each.kind is not each.VAR_KEYWORD]
        taken = {each.name for each in named}
        unpacked = [
            inspect.Parameter(
                name, inspect.Parameter.KEYWORD_ONLY, default=defaults.get(name), annotation=_text(annotation)
            )
            for name, annotation in options.__annotations__.items()
            if name not in taken
        ]
        function.__signature__ = signature.replace(parameters=[*named, *unpacked])  # type: ignore[attr-defined]  # inspect reads it
        return function

    return spell_out


def _text(annotation: Any) -> Any:
    """Return an annotation as `inspect` shows those of functions: as the text that was written."""
    return getattr(annotation, "__forward_arg__", annotation)


def public(label: str) -> Callable[[C], C]:
    """Have every public method of a class refuse options that it does not have.

    Parameters
    ----------
    label : str
        What stands before the methods' names where a user calls them: ``Vault``, ``df.vault``.
    """

    def check_methods(owner: C) -> C:
        for name in dir(owner):
            method = getattr(owner, name)
            if not name.startswith("_") and inspect.isfunction(method) and _is_ours(method):
                setattr(owner, name, public_call(f"{label}.{name}")(method))
        return owner

    return check_methods


def _is_ours(function: Callable[..., Any]) -> bool:
    return function.__module__.startswith("tablevault_pd.")  # and not what a subclass of DataFrame inherits


def public_call(label: str) -> Callable[[F], F]:
    """Have a function refuse options that it does not have, with its public name and the option that comes close."""

    def check(function: F) -> F:
        parameters = inspect.signature(function).parameters.values()
        if any(each.kind is each.VAR_KEYWORD for each in parameters):
            return function  # such as log(), whose options are names of the user's
        known = frozenset(
            each.name for each in parameters if each.kind in (each.POSITIONAL_OR_KEYWORD, each.KEYWORD_ONLY)
        )

        @wraps(function)
        def call(*arguments: Any, **options: Any) -> Any:
            if not known.issuperset(options):
                raise _unknown(label, [name for name in options if name not in known], known - {"self"})
            return function(*arguments, **options)

        return call  # type: ignore[return-value]  # a function of the same signature

    return check


def _unknown(label: str, names: list[str], known: frozenset[str]) -> InvalidType:
    hints = [did_you_mean(name, known) for name in names]
    hint = " ".join(filter(None, hints)) or (
        f"It has {', '.join(sorted(known))}." if known else "It has none."
    )
    return InvalidType(f"{label}() has no option {', '.join(map(shown, names))}. {hint}")
