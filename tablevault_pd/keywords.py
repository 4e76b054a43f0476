"""The keyword options of public calls: each is named in the signature, and a misspelt one is refused with a suggestion.

A notebook completes keywords from :func:`inspect.signature`, which cannot see into ``**options``.
"""

from __future__ import annotations

import inspect
import re
import sys
from contextvars import ContextVar
from functools import wraps
from itertools import filterfalse
from types import ModuleType
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from tablevault_pd.errors import NOT_OURS, InvalidType, VaultError, did_you_mean, short_repr

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

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
        named = [
            parameter
            for parameter in signature.parameters.values()
            if parameter.kind is not parameter.VAR_KEYWORD
        ]
        taken = {parameter.name for parameter in named}
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
    """Return the text of an annotation as it was written, as `inspect` shows those of functions."""
    return getattr(annotation, "__forward_arg__", annotation)


#: What the call that is under way in this context has done, for the function that takes it back.
_done: ContextVar[list[Any]] = ContextVar("tablevault_done")


def taken_back_by(undo: Callable[[list[Any]], object]) -> Callable[[F], F]:
    """Have `undo` called with what a public function has noted by :func:`note_done`, if the call ends by an exception.

    That includes an interrupt that comes after the function has returned, and before its caller has the answer.
    """

    def mark(function: F) -> F:
        function.undo = undo  # type: ignore[attr-defined]  # public_call() reads it
        return function

    return mark


def note_done(thing: Any) -> None:
    """Note something that the public call under way may have done."""
    _done.get().append(thing)


#: What options of pandas, SQL and other libraries are called here.
_HERE = {
    "nrows": "stop", "limit": "stop", "skiprows": "start", "usecols": "columns", "where": "filters", "query": "filters",
    "filter": "filters", "expr": "filters", "table": "name", "top_k": "k", "n": "k", "vector": "near",
}  # fmt: skip
#: Calls of a notebook and of len() and the like, which fail as those by name do.
SHOWN = {"__repr__", "_repr_html_", "__len__", "__contains__"}


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
            if (
                (not name.startswith("_") or name in SHOWN)
                and inspect.isfunction(method)
                and _is_ours(method)
            ):
                setattr(owner, name, public_call(f"{label}.{name}")(method))
        return owner

    return check_methods


def _is_ours(function: Callable[..., Any]) -> bool:
    return function.__module__.startswith("tablevault_pd.")  # not inherited from DataFrame


def public_call(label: str) -> Callable[[F], F]:
    """Have a function raise InvalidType for unknown options and too many values, with its public name and what it takes."""

    def check(function: F) -> F:
        signature = inspect.signature(function)
        parameters = signature.parameters.values()
        if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
            return function  # such as log(), whose options are metrics of the user
        names = frozenset(
            parameter.name
            for parameter in parameters
            if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
        )
        places = [
            parameter.name
            for parameter in parameters
            if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
        ]
        needed = [name for name in places if signature.parameters[name].default is inspect.Parameter.empty]
        needed_options = [
            parameter.name
            for parameter in parameters
            if parameter.kind is parameter.KEYWORD_ONLY and parameter.default is inspect.Parameter.empty
        ]
        takes_any = any(parameter.kind is parameter.VAR_POSITIONAL for parameter in parameters)
        most = sys.maxsize if takes_any else len(places)
        undo = getattr(function, "undo", None)

        def refuse_unknown(values: Sequence[Any], options: Mapping[str, Any]) -> None:
            if not names.issuperset(options):
                raise _unknown(label, [name for name in options if name not in names], names - {"self"})
            if len(values) > most:
                raise _too_many(label, places, names.difference(places))
            if (needed_options or len(values) < len(needed)) and (
                missing := [*filterfalse(options.__contains__, [*needed[len(values) :], *needed_options])]
            ):
                needs = " and ".join(_needed(signature.parameters[name]) for name in missing)
                raise InvalidType(f"{label}() needs {needs} as well.")

        @wraps(function)
        def call(*arguments: Any, **options: Any) -> Any:
            refuse_unknown(arguments, options)
            try:
                return function(*arguments, **options)
            except NOT_OURS as error:
                _raise_damage_behind(error, arguments)
                raise

        @wraps(function)
        def call_or_undo(*arguments: Any, **options: Any) -> Any:
            refuse_unknown(arguments, options)
            done: list[Any] = []
            _done.set(done)
            try:
                return function(*arguments, **options)
            except BaseException as error:
                undo(done)  # type: ignore[misc]  # where it is None this is not used
                if isinstance(error, NOT_OURS):
                    _raise_damage_behind(error, arguments)
                raise

        return call if undo is None else call_or_undo  # type: ignore[return-value]  # of the same signature

    return check


class _CallOfAVault(ModuleType):
    """A package whose name is that of a call of a vault."""

    def __call__(self, *_: object, **__: object) -> NoReturn:
        name = self.__name__.rpartition(".")[2]
        raise InvalidType(f"{name} is a call of a vault: tv.connect(…).{name}(…).")


def named_as_a_call(module: str) -> None:
    """Have a package say which call is meant, where it is called: ``tv.session("train")``."""
    sys.modules[module].__class__ = _CallOfAVault


def _raise_damage_behind(error: Exception, arguments: tuple[Any, ...]) -> None:
    """Raise VaultCorrupt if the call failed on records that no release has written. Others pass: they are of a user's function."""
    damage_behind = getattr(arguments[0], "_damage_behind", None) if arguments else None
    damage = None if damage_behind is None or isinstance(error, VaultError) else damage_behind()
    if damage is not None:
        raise damage from error


def _needed(parameter: inspect.Parameter) -> str:
    """A parameter with what it may be, where that is one of a few words."""
    choices = re.fullmatch(r"Literal\[(.*)\]", str(parameter.annotation))
    return f"{parameter.name!r} ({choices[1].replace(', ', ' or ')})" if choices else repr(parameter.name)


def _unknown(label: str, names: list[str], allowed: frozenset[str]) -> InvalidType:
    hints = [_known(name, label, allowed) or did_you_mean(name, allowed) for name in names]
    hint = " ".join(filter(None, hints)) or (
        f"It has {', '.join(sorted(allowed))}." if allowed else "It has none."
    )
    return InvalidType(f"{label}() has no option {', '.join(map(short_repr, names))}. {hint}")


def _known(name: str, label: str, allowed: frozenset[str]) -> str:
    """What an option of pandas or of SQL is called here; empty if it is no such option."""
    if name in _HERE and _HERE[name] in allowed:
        return f"Write {_HERE[name]}=."
    if label.endswith("connect") and name in ("params", "tags", "config", "parent", "resume"):
        return f"It is an option of a session inside: with vault.session(name, {name if name != 'config' else 'params'}=…)."
    if label.endswith((".save", ".append")):
        if name == "index":
            return "An index is kept with the rows: save df.reset_index(drop=True) without it."
        if name in ("mode", "if_exists", "overwrite", "replace"):
            return "save() starts new content under a name, append() adds rows, upsert() changes rows by their key."
    return ""


def _too_many(label: str, places: Sequence[str], options: Collection[str]) -> InvalidType:
    values = [name for name in places if name != "self"]
    taken = f"only {' and '.join(map(repr, values))}" if values else "nothing"
    named = f" Options are named: {', '.join(f'{name}=' for name in sorted(options))}." if options else ""
    return InvalidType(f"{label}() takes {taken} by place.{named}")
