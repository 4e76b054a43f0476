"""The fields of a statement that tell of names: what a walk over it has noted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tablevault_pd.code.calls import goes_on
from tablevault_pd.code.sharing import STAND_IN
from tablevault_pd.code.symbols import Finder
from tablevault_pd.code.syntax import KINDS, UNSURE, binds_function

if TYPE_CHECKING:
    import ast
    from collections.abc import Iterator


def describe(node: ast.stmt) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The fields of a :class:`~tablevault_pd.code.statements.Statement` that tell of names, and those of its methods."""
    finder = Finder()
    finder.walk(node, finder.module)
    return _fields(finder, node), list(_method_fields(finder))


def _fields(finder: Finder, node: ast.stmt) -> dict[str, Any]:
    module, function = finder.module, finder.function
    changed = (
        {name: None for name in module.changed() if not name.startswith(STAND_IN)} if module.changes else {}
    )
    whole = [name for name in changed if not _is_changed_by_path(name, finder.paths)]
    uses = module.loads | dict.fromkeys(whole)
    fields = {
        "kind": "def" if binds_function(node) else KINDS.get(node.__class__, "other"),
        "names": tuple(module.bound | changed),
        "sure": node.__class__ not in UNSURE and not goes_on(node),
        "uses": tuple(uses),
        "later": tuple([name for name in module.later if name not in uses]),
        "imports": tuple(finder.imports),
        "touches": tuple(
            dict.fromkeys([change.name for change in finder.touches if not change.name.startswith(STAND_IN)])
        ),
        "changed": tuple(module.changes | finder.touches),
        "shares": tuple(module.shares),
        "calls": tuple(finder.calls),
        "passes": tuple(finder.passes),
        "writes": tuple(finder.writes),
        "results": tuple(finder.results),
        "alters": tuple([name for name in changed if name not in module.bound]),
        "aliases": tuple(finder.aliases),
        "attributes": tuple(finder.attributes),
        "paths": tuple(finder.paths),
        "hands": tuple(finder.hands),
        "handed": tuple([name for name in finder.handed if not name.startswith(STAND_IN)]),
        "defaults": tuple(finder.defaults),
        "keeps_state": finder.keeps_state,
        "declares": tuple(sorted(module.declared)),
    }
    if function is not None:
        parameters, changes = tuple(function.parameters), tuple(function.changed())
        fields |= {"parameters": parameters, "changes": changes, "returns": function.returned()}
    return fields


def _method_fields(finder: Finder) -> Iterator[dict[str, Any]]:
    """As :func:`_fields`, for each method of a class: what it is called, and what it changes."""
    for name, scope, bound, passes in finder.methods:
        changed = scope.changed()
        yield {
            "kind": "def",
            "names": (name,),
            "parameters": tuple(scope.parameters[1:] if bound else scope.parameters),
            "changes": tuple(changed),
            "passes": passes,
            "returns": scope.returned(),
            "keeps_state": bound and any(own in changed for own in scope.parameters[:1]),
        }


def _is_changed_by_path(name: str, paths: dict[str, None]) -> bool:
    """Whether attributes of what a name stands for are changed, and not it as a whole: ``conf.RATE = 1``."""
    return name not in paths and any(path.startswith(f"{name}.") for path in paths)
