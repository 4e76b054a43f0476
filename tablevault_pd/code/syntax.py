"""Syntax trees: what the kinds of nodes are, and digests of what trees mean."""

from __future__ import annotations

import ast
import warnings
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from tablevault_pd.capture.entry import FILE, tree_of
from tablevault_pd.capture.parsing import parse
from tablevault_pd.code.calls import dotted, without_labels

if TYPE_CHECKING:
    from collections.abc import Iterator

_MAKERS = frozenset(["partial", "partialmethod", "itemgetter", "attrgetter", "methodcaller"])  #: of functions
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
KINDS = {
    ast.FunctionDef: "def",
    ast.AsyncFunctionDef: "def",
    ast.ClassDef: "class",
    ast.Import: "import",
    ast.ImportFrom: "import",
    ast.Assign: "assign",
    ast.AnnAssign: "assign",
    ast.AugAssign: "assign",
}
UNSURE = (ast.If, ast.For, ast.AsyncFor, ast.While, ast.Try, ast.Match, ast.TryStar)
LOOPS = (ast.For, ast.AsyncFor, ast.While)
#: Statements whose bodies belong to the scope around them, and are looked at one by one.
BLOCKS = (ast.With, ast.AsyncWith, ast.If, *LOOPS)
#: What holds a text, a number or an operator.
_PLAIN_FIELDS = frozenset(
    [
        "arg", "attr", "conversion", "ctx", "id", "is_async", "kind", "kwd_attrs", "level", "module", "name", "names", "op",
        "ops", "rest", "simple", "str", "tag", "type_comment", "type_ignores",
    ]
)  # fmt: skip


class _Children(dict[type, tuple[str, ...]]):
    """The fields of each kind of node that hold other nodes, which may have names in them."""

    def __missing__(self, kind: type) -> tuple[str, ...]:
        fields: tuple[str, ...] = getattr(kind, "_fields", ())
        plain = _PLAIN_FIELDS - {"name"} if kind.__name__ == "TypeAlias" else _PLAIN_FIELDS
        self[kind] = tuple(name for name in fields if name not in plain)
        return self[kind]


CHILDREN = _Children()

#: Python has told the user already what it warns of in a piece of code. One filter, since filters belong to all threads.
warnings.filterwarnings("ignore", module=FILE)


def parsed(text: str, mode: str = "exec") -> Any:
    """The tree of a piece of code. Raises SyntaxError, ValueError, RecursionError, MemoryError."""
    return tree_of(text) if mode == "exec" else parse(text, FILE, mode)


def kept_defaults(arguments: ast.arguments) -> Iterator[str]:
    """The parameters whose default is one object for all calls: ``def f(seen=[])``."""
    for name, default in _defaults(arguments):
        if isinstance(default, (ast.List, ast.Dict, ast.Set, ast.Call, *COMPREHENSIONS)):
            yield name


def named_defaults(arguments: ast.arguments) -> Iterator[tuple[str, str]]:
    """The parameters whose default has a name: ``def f(rows=rows)``; none stands for one object for all calls."""
    yield from ((name, "") for name in kept_defaults(arguments))
    for name, default in _defaults(arguments):
        if isinstance(default, ast.Name):
            yield name, default.id


def _defaults(arguments: ast.arguments) -> Iterator[tuple[str, ast.expr | None]]:
    several = [*arguments.posonlyargs, *arguments.args]
    with_default = [
        *zip(reversed(several), reversed(arguments.defaults), strict=False),
        *zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True),
    ]
    return ((argument.arg, default) for argument, default in with_default)


def binds_function(node: ast.stmt) -> bool:
    """Whether an assignment does what ``def`` does: ``f = lambda x: …``, ``g = partial(f, 1)``."""
    if not isinstance(node, (ast.Assign, ast.AnnAssign)):
        return False
    targets = node.targets if isinstance(node, ast.Assign) else [node.target]
    return all(isinstance(target, ast.Name) for target in targets) and _is_function(node.value)


def _is_function(value: ast.expr | None) -> bool:
    if isinstance(value, ast.IfExp):
        return _is_function(value.body) and _is_function(value.orelse)
    if isinstance(value, ast.Call):
        return (dotted(value.func) or "").rpartition(".")[2] in _MAKERS
    return isinstance(value, ast.Lambda)


def digest_of_tree(node: ast.AST) -> str:
    """What a node means, as a digest: without places, comments, docstrings and texts about a write."""
    pieces: list[str] = []
    _flatten(node, pieces)
    return digest("\0".join(pieces))


def digest(text: str) -> str:
    """A digest of a text, as that of a tree."""
    return blake2b(text.encode(errors="surrogatepass"), digest_size=16).hexdigest()


_IGNORED = {"ctx", "type_comment", "kind", "type_ignores"}
WITH_DOCSTRING = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


class _Fields(dict[type, tuple[str, ...]]):
    """The fields of each kind of node that say what it means."""

    def __missing__(self, kind: type[ast.AST]) -> tuple[str, ...]:
        self[kind] = tuple(name for name in kind._fields if name not in _IGNORED)
        return self[kind]


_FIELDS = _Fields()


def _flatten(node: Any, pieces: list[str]) -> None:
    """Write a tree down, without docstrings and what a write is about.

    Fields without a value are left out, as which of them there are differs between Pythons.
    """
    kind = node.__class__
    pieces.append(kind.__name__)
    if kind is ast.Name:
        pieces.append(f"id={node.id!r}")
        return
    for name in _FIELDS[kind]:
        value = getattr(node, name, None)
        if value.__class__ is list:
            if name == "body" and kind in WITH_DOCSTRING:
                value = _without_docstring(value)
            elif value and kind is ast.Call and name == "keywords":
                value = without_labels(node)
            if value:
                pieces.append(f"{name}[")
                for element in value:
                    if isinstance(element, ast.AST):
                        _flatten(element, pieces)
                    else:
                        pieces.append(repr(element))
                pieces.append("]")
        elif isinstance(value, ast.AST):
            pieces.append(name)
            _flatten(value, pieces)
        elif value is not None or (name == "value" and kind is ast.Constant):
            pieces.append(f"{name}={value!r}")


def _without_docstring(body: list[ast.stmt]) -> list[ast.stmt]:
    first = body[0] if body else None
    is_text = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
    return body[1:] if is_text and isinstance(first.value.value, str) else body  # type: ignore[union-attr]
