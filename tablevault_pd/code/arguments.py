"""What the parameters of a function share with the arguments of one call of it."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, NamedTuple

from tablevault_pd.code.calls import dotted
from tablevault_pd.code.sharing import shares_of_elements, shares_of_targets

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tablevault_pd.code.sharing import Share


class Given(NamedTuple):
    """As the fields of a :class:`~tablevault_pd.code.statements.Statement` that assigns the arguments to the parameters."""

    shares: tuple[Share, ...]
    aliases: tuple[tuple[str, str], ...]
    attributes: tuple[tuple[str, str], ...]
    results: tuple[tuple[str, str], ...]


def given_by(call: ast.Call, arguments: ast.arguments) -> Given:
    """What a call gives to the parameters of a function."""
    shares: list[Share] = []
    kinds: dict[type, list[tuple[str, str]]] = {
        ast.Name: [],
        ast.Attribute: [],
        ast.Call: [],
        ast.Subscript: [],
    }
    for name, value in _given(arguments, call):
        shares += shares_of_targets([name], value)
        chain = dotted(
            getattr(value, "func", None) or (value.value if isinstance(value, ast.Subscript) else value)
        )
        if chain is not None:
            kinds[value.__class__].append((name.id, chain))
    for starred in _starred(call):
        for name in _parameters(arguments):
            shares += shares_of_elements(name, starred)
    results = (*kinds[ast.Call], *kinds[ast.Subscript])
    return Given(tuple(shares), tuple(kinds[ast.Name]), tuple(kinds[ast.Attribute]), results)


def _parameters(arguments: ast.arguments) -> Iterator[ast.Name]:
    several = [
        *arguments.posonlyargs,
        *arguments.args,
        *arguments.kwonlyargs,
        arguments.vararg,
        arguments.kwarg,
    ]
    return (ast.Name(argument.arg) for argument in several if argument is not None)


def _starred(call: ast.Call) -> Iterator[ast.expr]:
    yield from (argument.value for argument in call.args if isinstance(argument, ast.Starred))
    yield from (keyword.value for keyword in call.keywords if keyword.arg is None)


def _given(arguments: ast.arguments, call: ast.Call) -> Iterator[tuple[ast.Name, ast.expr]]:
    """The parameters of a function with what a call gives them, as far as that stands in the call."""
    positional = [argument.arg for argument in [*arguments.posonlyargs, *arguments.args]]
    plain = [argument for argument in call.args if not isinstance(argument, ast.Starred)]
    if len(plain) < len(call.args):
        for name in _parameters(arguments):  # which argument is whose is not known
            yield from ((name, value) for value in plain)
        plain = []
    yield from zip(map(ast.Name, positional), plain, strict=False)
    if arguments.vararg is not None:
        yield ast.Name(arguments.vararg.arg), ast.Tuple(plain[len(positional) :], ast.Load())
    named = {*positional, *(argument.arg for argument in arguments.kwonlyargs)}
    others = [keyword for keyword in call.keywords if keyword.arg is not None and keyword.arg not in named]
    yield from ((ast.Name(keyword.arg), keyword.value) for keyword in call.keywords if keyword.arg in named)
    if arguments.kwarg is not None:
        keys: list[ast.expr | None] = [ast.Constant(keyword.arg) for keyword in others]
        yield ast.Name(arguments.kwarg.arg), ast.Dict(keys, [keyword.value for keyword in others])
