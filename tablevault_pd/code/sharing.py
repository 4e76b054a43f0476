"""Which names an expression may share an object with, by its looks: the same one, one inside of it, or one that holds it.

A share is (name, source, how): `how` is ``""`` where both are one object, ``"="`` where a statement binds both to a new one,
``"[key"`` where the name stands for an item of the source (``"[.name"`` for an attribute), ``"[:"`` where for a slice of it,
``"{key"`` where the source is in what the name stands for, ``"}key"`` where it is if that is no frame, and ``"!"`` where the name
stands for a new list, dict, set or tuple. A source with a dot is one of a module, if it is anything: of ``conf.ROWS["a"]`` there is
``conf`` and ``conf.ROWS``.
"""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, Any, NamedTuple

from tablevault_pd.code.calls import dotted, dotted_part, root

if TYPE_CHECKING:
    from collections.abc import Iterator

Share = tuple[str, str, str]
Source = tuple[str, str]  #: (name, how)
SAME, SAME_NEW, MADE = "", "=", "!"
ITEM = "["  #: some item; with the text of a constant behind it, that one
SLICE = "[:"
HOLDS, PUT = "{", "}"
RETURNED = "return"  #: stands for what a function returns
STAND_IN = "("  #: what the name begins with that stands for an expression
#: What gives an item of its object, and what lets its items be gone through.
_GETTING = frozenset(["get", "setdefault"])
_TAKING = frozenset(["next", "max", "min"])
_OF_ITEMS = frozenset(["items", "values"])
_OF_ELEMENTS = frozenset(["enumerate", "zip", "reversed", "sorted", "list", "tuple", "iter"])
#: What returns, or gives to ``as``, what it is called with.
_HANDING = frozenset(["closing", "nullcontext", "enter_context", "enter_async_context"])
#: Methods that put their arguments into their object; others do that with lists, dicts and sets.
PUTTING = frozenset(["append", "appendleft"])
PUTTING_INTO_CONTAINERS = frozenset(["add", "extend", "extendleft", "insert", "setdefault", "update"])
#: What goes through its arguments later.
_LAZY = frozenset(["chain", "enumerate", "filter", "islice", "iter", "map", "reversed", "starmap", "zip"])
#: Methods of lists, dicts and sets alone: frames, columns and arrays have none of that name.
GROWING = frozenset(
    [
        "append", "appendleft", "clear", "difference_update", "discard", "extend", "extendleft", "intersection_update",
        "popitem", "popleft", "remove", "reverse", "setdefault", "sort",
    ]
)  # fmt: skip
#: What makes an object of Python's own: its items are objects, not copies.
_MAKING = frozenset(["dict", "list", "set", "tuple", "defaultdict", "deque", "OrderedDict", "Counter"])
_UNPACKING: frozenset[Any] = frozenset([ast.Tuple, ast.List])
_CHAINED: frozenset[Any] = frozenset([ast.Name, ast.Attribute, ast.Subscript])
_CONTAINERS: frozenset[Any] = frozenset(
    [ast.List, ast.Tuple, ast.Set, ast.Dict, ast.ListComp, ast.SetComp, ast.DictComp]
)
_LINKS: frozenset[Any] = frozenset([ast.Attribute, ast.Subscript, ast.Starred])
_OF_FRAMES = frozenset(["loc", "iloc", "at", "iat", "vault"])  #: what stands between a frame and its cells
#: Subscripts that frames and arrays answer with a copy.
_SELECTING: frozenset[Any] = frozenset([ast.Compare, ast.BinOp, ast.UnaryOp, ast.List, ast.ListComp])


class Change(NamedTuple):
    """Something is changed in place."""

    name: str
    path: str = SAME  #: where in its object: ``"[key"`` in an item
    grows: bool = False  #: by a method of lists, dicts and sets alone
    through: bool = False  #: by another name, of an item of it, which may be a copy
    adds: bool = False  #: by ``+=``, which binds a number anew


def _is_container(value: Any) -> bool:
    """Whether an expression makes a list, dict, set or tuple."""
    if value.__class__ is ast.Call:
        function = value.func
        return getattr(function, "attr", None) in _MAKING or getattr(function, "id", None) in _MAKING
    return value.__class__ in _CONTAINERS


def shares_of_targets(targets: list[Any], value: Any) -> list[Share]:
    """What the names of an assignment share with each other and with its value."""
    first = targets[0]
    shares = _shares(first, value)
    for target in targets[1:]:
        shares += _shares(target, value)
        if target.__class__ is ast.Name and first.__class__ is ast.Name:
            shares.append((target.id, first.id, SAME_NEW))
    names = [target for target in targets if target.__class__ is ast.Name]
    others = [target for target in targets if target.__class__ in (ast.Subscript, ast.Attribute)]
    return shares + [share for other in others for name in names[:1] for share in _shares(other, name)]


def _shares(target: Any, value: Any) -> list[Share]:
    kind = target.__class__
    if kind is ast.Name:
        shares = [(target.id, source, how) for source, how in sources_of(value)]
        if _is_container(value):
            shares += [(target.id, source, how) for source, how in held_in(value)]
            shares.append((target.id, "", MADE))
        return shares + [(target.id, source, HOLDS) for source in _gone_through_later(value)]
    if kind in _UNPACKING:
        if value.__class__ in _UNPACKING and len(value.elts) == len(target.elts):
            pairs = zip(target.elts, value.elts, strict=True)
            return [share for one, its_value in pairs for share in _shares(one, its_value)]
        return shares_of_elements(target, value) if value.__class__ in _CHAINED else []
    if kind is ast.Subscript and value.__class__ is ast.Name:
        owner = root(target)
        return [] if owner is None else [(owner, value.id, PUT + key_of(target))]
    if kind is ast.Attribute and value.__class__ is ast.Name:
        owner = root(target)
        return [] if owner is None else [(owner, value.id, HOLDS + key_of(target))]
    return []


def shares_of_elements(target: Any, iterable: Any) -> list[Share]:
    """What the names of a loop share with what it goes through."""
    sources = _elements(iterable)
    if not sources:
        return []
    names = [name.id for name in _targets(target)]
    return [(name, source, how) for source, how in sources for name in names]


def _targets(target: Any) -> Iterator[ast.Name]:
    if target.__class__ is ast.Name:
        yield target
    elif target.__class__ in _UNPACKING:
        for one in target.elts:
            yield from _targets(one)


def shares_of_pattern(pattern: Any, subject: Any, how: str = SAME) -> Iterator[Share]:
    """What the names that a pattern captures share with what is matched."""
    if isinstance(pattern, ast.MatchAs) and pattern.name is not None:
        for source, kind in sources_of(subject):
            yield pattern.name, source, kind or how
        for source, _ in held_in(subject):
            yield pattern.name, source, SAME
    inside = how if isinstance(pattern, (ast.MatchAs, ast.MatchOr)) else ITEM
    for field in ("pattern", "patterns", "kwd_patterns"):
        inner = getattr(pattern, field, None)
        for part in inner if isinstance(inner, list) else [inner]:
            if part is not None:
                yield from shares_of_pattern(part, subject, inside)


def sources_of(value: Any) -> list[Source]:
    """The names of objects that a value may be, or be in."""
    kind = value.__class__
    if kind is ast.Name:
        return [(value.id, SAME)]
    if kind is ast.NamedExpr:
        return [(value.target.id, SAME_NEW), *sources_of(value.value)]
    if kind is ast.IfExp or kind is ast.BoolOp:
        several = value.values if kind is ast.BoolOp else (value.body, value.orelse)
        return [source for one in several for source in sources_of(one)]
    if kind is ast.Subscript and value.slice.__class__ not in _SELECTING:
        return _inside(value, SLICE if value.slice.__class__ is ast.Slice else ITEM + key_of(value))
    if kind is ast.Attribute:
        return _inside(value, path_of(value))
    if (
        kind is ast.Call
        and value.args
        and getattr(value.func, "attr", getattr(value.func, "id", "")) in _HANDING
    ):
        return sources_of(value.args[0])
    if kind is ast.Call and len(value.args) > 1 and getattr(value.func, "id", None) == "getattr":
        owner, name = root(value.args[0]), getattr(value.args[1], "value", None)
        return [] if owner is None else [(owner, f"{ITEM}.{name}" if isinstance(name, str) else ITEM)]
    if kind is ast.Call and value.args and getattr(value.func, "id", None) in _TAKING:
        return _elements(value.args[0])
    if kind is ast.Call and value.args and getattr(value.func, "attr", None) in _GETTING:
        return _inside(value.func.value, ITEM + _constant(value.args[0]))
    return []


def _inside(chain: Any, how: str) -> list[Source]:
    """What is taken from the object that a chain begins with; where that is a module, from a name of it."""
    owner, part = root(chain), dotted_part(chain)
    if owner is None:
        return []
    if part is None or part == owner:
        return [(owner, how)]
    is_itself = how == path_of(chain) != SAME and part == dotted(chain)
    return [(owner, how), (part, SAME if is_itself else how if how == SLICE else ITEM)]


def held_in(value: Any) -> Iterator[Source]:
    """The names that a display puts into what it makes."""
    if not _is_container(value):
        return
    if value.__class__ is ast.Dict:
        elements = [
            (_constant(key), element) for key, element in zip(value.keys, value.values, strict=True) if key
        ]
    elif value.__class__ is ast.Call:
        elements = [(repr(keyword.arg), keyword.value) for keyword in value.keywords if keyword.arg]
    else:
        elements = [(str(number), element) for number, element in enumerate(getattr(value, "elts", ()))]
    for key, element in elements:
        if element.__class__ in _CONTAINERS:
            yield from ((name, HOLDS + key) for name, _ in held_in(element))
        else:
            yield from ((name, HOLDS + key) for name, how in sources_of(element) if how in (SAME, SAME_NEW))


def held_by(value: Any) -> Iterator[Source]:
    """The names that something puts into what it is added to: those of a display, or itself."""
    if _is_container(value):
        yield from ((name, PUT + how[1:]) for name, how in held_in(value))
    elif value.__class__ in (ast.Name, ast.NamedExpr) and (name := root(value)) is not None:
        yield name, PUT


def _gone_through_later(value: Any) -> Iterator[str]:
    """The names whose objects an iterator goes through when it is asked for elements."""
    if value.__class__ is ast.GeneratorExp:
        nodes: Any = ast.walk(value)
    elif value.__class__ is ast.Call and getattr(value.func, "attr", getattr(value.func, "id", "")) in _LAZY:
        nodes = [node for argument in value.args for node in (argument, *getattr(argument, "elts", ()))]
    else:
        return
    yield from (node.id for node in nodes if node.__class__ is ast.Name and node.ctx.__class__ is ast.Load)


def _elements(iterable: Any) -> list[Source]:
    kind = iterable.__class__
    if kind in _UNPACKING:
        return [source for element in iterable.elts for source in sources_of(element)]
    if kind is ast.NamedExpr:
        return [(iterable.target.id, ITEM), *_elements(iterable.value)]
    if kind in _CHAINED:
        return _inside(iterable, ITEM)
    if kind is ast.Call and iterable.func.__class__ is ast.Name and iterable.func.id in _OF_ELEMENTS:
        return [source for argument in iterable.args for source in _elements(argument)]
    if kind is ast.Call and getattr(iterable.func, "attr", None) in _OF_ITEMS:
        return _inside(iterable.func.value, ITEM)
    return []


def path_of(node: Any) -> str:
    """Where in the object of its first name a changed node is: ``""`` for itself, ``"[key"`` for an item, ``"[.name"`` for an attribute."""
    link = _first_link(node)
    return SAME if link is None else ITEM + _key(link)


def key_of(node: Any) -> str:
    """The constant that the first subscript of a chain has, as text, or its first attribute; else nothing."""
    link = _first_link(node)
    return "" if link is None else _key(link)


def _first_link(node: Any) -> Any:
    first = None
    while node.__class__ in _LINKS:
        if node.__class__ is ast.Subscript or (
            node.__class__ is ast.Attribute and node.attr not in _OF_FRAMES
        ):
            first = node
        node = node.value
    return first


def _key(link: Any) -> str:
    return f".{link.attr}" if link.__class__ is ast.Attribute else _constant(link.slice)


def _constant(node: Any) -> str:
    return repr(node.value) if node.__class__ is ast.Constant else ""
