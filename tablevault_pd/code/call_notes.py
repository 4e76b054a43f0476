"""What a call does by its looks: to its object, to its arguments, and to the random state."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, Any

from tablevault_pd.code.calls import (
    ANY_PLACE,
    APPLYING,
    CHANGING,
    DRAWING,
    FILTERING,
    FILTERS,
    OWN_STATE,
    RANDOM,
    RUNNING_TEXT,
    SEEDING,
    SETTING,
    SHOWING,
    changes_first,
    dotted,
    is_of_accessor,
    is_of_display,
    names_of_caller,
    root,
)
from tablevault_pd.code.sharing import (
    GROWING,
    HOLDS,
    ITEM,
    PUTTING,
    PUTTING_INTO_CONTAINERS,
    Change,
    held_by,
    key_of,
    path_of,
    sources_of,
)
from tablevault_pd.code.syntax import parsed

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from tablevault_pd.code.notes import StatementNotes
    from tablevault_pd.code.scopes import NameScope

_NO_OPTIONS: Mapping[str | None, ast.expr] = {}
_NAMED: frozenset[Any] = frozenset([ast.Name, ast.Attribute, ast.NamedExpr])
_CHOOSING: frozenset[Any] = frozenset([ast.NamedExpr, ast.IfExp, ast.BoolOp])
_DISPLAYS: frozenset[Any] = frozenset([ast.List, ast.Tuple, ast.Dict])


def note_call(notes: StatementNotes, node: ast.Call, scope: NameScope, *, is_kept: bool = True) -> None:
    """Note what a call in a scope does; without `is_kept` nothing is done with what it returns."""
    chain = dotted(node.func)
    method = node.func.attr if node.func.__class__ is ast.Attribute else chain
    options = {keyword.arg: keyword.value for keyword in node.keywords} if node.keywords else _NO_OPTIONS
    if not is_of_accessor(node.func):  # df.vault.append("runs") leaves df as it is
        _note_receiver(notes, node, options, scope, is_kept=is_kept)
        _note_arguments(notes, node, chain, method, options, scope)
    if method in FILTERING or not FILTERS.isdisjoint(options):
        for name in names_of_caller(node):
            notes.look_up(name, scope)


def note_lambdas(notes: StatementNotes, node: ast.Call, scope: NameScope) -> None:
    """Note what lambdas do that a call is of, or hands on, with whatever else it hands on: they may get it, or its elements."""
    values = [node.func, *node.args, *(keyword.value for keyword in node.keywords)]
    lambdas = [notes.lambdas[id(value)] for value in values if id(value) in notes.lambdas]
    if not lambdas:
        return
    names = dict.fromkeys(name for _, name in _named_arguments(notes, node, scope))
    if node.func.__class__ is ast.Attribute and (base := root(node.func)) is not None:
        names[base] = None
    for parameters, changed, passes in lambdas:
        for name in names:
            if changed:
                scope.changes[Change(scope.current(name), ITEM)] = None
            for function, arguments in passes:
                given = tuple([(place, name) for place, own in arguments if own in parameters])
                if given:
                    (notes.passes if scope.in_function else notes.calls)[function, given] = None


def _note_receiver(
    notes: StatementNotes,
    node: ast.Call,
    options: Mapping[str | None, ast.expr],
    scope: NameScope,
    *,
    is_kept: bool,
) -> None:
    """Note the object whose method is called, if that changes it."""
    function = node.func
    if not isinstance(function, ast.Attribute):
        return
    changing = function.attr in CHANGING or (
        "inplace" in options and getattr(options["inplace"], "value", None) is True
    )
    if not changing and (is_kept or scope is not notes.module or function.attr in SHOWING):
        return
    made = getattr(function.value, "value", function.value)  # ``(box := Box()).add(1)``, ``Box().add(1)``
    if isinstance(made, ast.Call) and (maker := dotted(made.func)) is not None:
        notes.look_up(f"{maker}.{function.attr}", scope)
    base, grows = notes.base_of(function.value, scope), function.attr in GROWING
    if scope is not notes.module:
        notes.change(function.value, scope, grows=grows)
    else:
        notes.touches[Change(base, path_of(function.value), grows)] = None
        notes.note_path(function.value, base, scope)
        values = [*node.args, *(keyword.value for keyword in node.keywords)]
        if function.attr in PUTTING:
            key = HOLDS + key_of(function.value)
            scope.shares += [(base, name, key) for value in values for name, _ in held_by(value)]
        elif function.attr in PUTTING_INTO_CONTAINERS:
            scope.shares += [(base, *held) for value in values for held in held_by(value)]


def _note_arguments(
    notes: StatementNotes,
    node: ast.Call,
    chain: str | None,
    method: str | None,
    options: Mapping[str | None, ast.expr],
    scope: NameScope,
) -> None:
    """Note what a call does with its arguments, and with the random state."""
    if chain is not None and method in SEEDING:
        (notes.writes if scope.in_function else notes.module.bound)[RANDOM] = None
    elif method in DRAWING and OWN_STATE.isdisjoint(options):
        scope.loads[RANDOM] = None
    if method in SETTING and method != chain and not is_of_display(node):
        notes.change(node.func.value, scope)  # type: ignore[attr-defined]
    if node.args and changes_first(chain, method):
        base = notes.change(node.args[0], scope)
        if chain == "setattr":
            scope.shares += [(base, name, HOLDS) for value in node.args[2:] for name, _ in held_by(value)]
    if "out" in options:
        notes.change(options["out"], scope)
    if chain in RUNNING_TEXT and node.args:
        _run_text(notes, chain, node.args[0], scope)
    arguments = _named_arguments(notes, node, scope)
    if not arguments:
        return
    if scope.kind == "comprehension":
        arguments = [(place, source) for place, name in arguments for source in scope.outside(name)]
    if scope.rebound:
        arguments = [(place, scope.current(name)) for place, name in arguments]
    hand_on = notes.passes if scope.in_function else notes.calls
    if len(arguments) > 1 or chain is None:
        _note_handed(node, arguments, hand_on)
    if chain is not None and (chain not in APPLYING or len(node.args) < 2):
        hand_on[chain, tuple(arguments)] = None


def _note_handed(
    node: ast.Call, arguments: Sequence[tuple[int | str, str]], hand_on: dict[Any, None]
) -> None:
    """Note functions that a call hands on: they may be called with whatever else it hands on, or with elements of it."""
    for value in [*node.args, *[keyword.value for keyword in node.keywords]]:
        function = dotted(value) if value.__class__ in _NAMED else None
        if function is not None:
            others = tuple([(ANY_PLACE, name) for _, name in arguments if name != function])
            if others:
                hand_on[function, others] = None


def _named_arguments(notes: StatementNotes, node: ast.Call, scope: NameScope) -> list[tuple[int | str, str]]:
    """The names that a call hands on, each with its position or keyword."""
    given: list[tuple[int | str, str]] = []
    values: list[tuple[int | str, Any]] = [*enumerate(node.args)]
    if node.keywords:
        values += [(keyword.arg or ANY_PLACE, keyword.value) for keyword in node.keywords]
    for place, value in values:
        kind = value.__class__
        if kind is ast.Name:
            given.append((place, value.id))
        elif kind is ast.Attribute:
            if (name := root(value)) is not None:
                given.append((place, name))
                if value.attr in CHANGING:
                    notes.handed[notes.change(value.value, scope)] = None
        elif kind is ast.Starred:
            given.append((ANY_PLACE, notes.base_of(value.value, scope, elements=True)))
        elif kind in _CHOOSING:
            given += [(place, name) for name, _ in sources_of(value)]
        elif kind in _DISPLAYS:
            given += [(place, name) for name in _names_in(value)]
        elif scope is notes.module and (
            kind is ast.Subscript or (kind is ast.Call and value.func.__class__ is ast.Name)
        ):
            given.append((place, notes.base_of(value, scope, elements=False)))
    return given


def _names_in(display: Any) -> Iterator[str]:
    elements: list[Any] = getattr(display, "elts", None) or getattr(display, "values", [])
    for element in elements:
        if element.__class__ in _NAMED and (name := root(element)) is not None:
            yield name


def _run_text(notes: StatementNotes, function: str, text: ast.expr, scope: NameScope) -> None:
    """Look up the names in a text that ``eval`` runs, or say that nobody knows which ones are in it."""
    if not isinstance(text, ast.Constant):
        notes.look_up(RUNNING_TEXT[function], scope)
    elif function == "eval" and isinstance(text.value, str):
        try:
            notes.walk(parsed(text.value.strip(), "eval").body, scope)
        except (SyntaxError, ValueError):
            return  # it fails when it runs
