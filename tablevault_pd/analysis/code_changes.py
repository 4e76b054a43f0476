"""What differs between two slices, statement by statement."""

from __future__ import annotations

import ast
from collections import Counter
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import zip_longest
from textwrap import dedent
from typing import TYPE_CHECKING, Any

from tablevault_pd.capture.parsing import parse
from tablevault_pd.code import cut
from tablevault_pd.code.calls import dotted
from tablevault_pd.code.repeats import without_repeats, without_unread
from tablevault_pd.code.syntax import digest_of_tree

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from tablevault_pd.code import Slice
    from tablevault_pd.store.session_types import Part

Bound = tuple[str | None, tuple[str, ...]]  #: (path, names that a statement binds)
Trees = tuple[tuple[str | None, str], ...]  #: (path, digest of the syntax tree) of statements
UNNAMED: Bound = (None, ())  #: all statements that bind no name
ALL: Bound = ("", ())  #: the code as a whole


@dataclass(frozen=True, slots=True)
class CodeChange:
    """A definition or statement that is not in both slices with the same tree."""

    bound: Bound  #: what it is compared by: its names, :data:`UNNAMED` or :data:`ALL`
    a: Part | None
    b: Part | None

    @property
    def line(self) -> tuple[str, str | None, str | None]:
        """(name, text in a, text in b)."""
        part = self.b or self.a
        assert part is not None
        return _place(part) if self.bound == ALL else _title(part), _text(self.a), _text(self.b)


def code_changes(a: Slice, b: Slice) -> list[CodeChange]:
    """Each definition or statement that is not in both slices with the same tree.

    Slices that have no statement in common but imports, as of a row that other code wrote, differ in one line: in what wrote it.
    """
    if _are_foreign(a, b):
        return [CodeChange(ALL, a.parts[-1], b.parts[-1])]
    once = without_repeats(a.parts), without_repeats(b.parts)
    gone, come = _gone_and_come(*once)
    at_last = _gone_and_come(*map(without_unread, once))
    for key in at_last[0].keys() | at_last[1].keys():  # of others what came in between is told, too
        gone[key], come[key] = (side.get(key, []) for side in at_last)
    names = dict.fromkeys([*gone, *come])
    return [
        CodeChange(key if key[1] else UNNAMED, one, two)
        for key in sorted(names, key=lambda key: not key[1])  # statements without names last
        for one, two in _side_by_side(gone.get(key, []), come.get(key, []))
    ]


def _gone_and_come(
    a: Sequence[Part], b: Sequence[Part]
) -> tuple[dict[Bound, list[Part]], dict[Bound, list[Part]]]:
    parts_a, parts_b = _members_apart(a, b), _members_apart(b, a)
    return _lone(parts_a, parts_b), _lone(parts_b, parts_a)


def _side_by_side(a: Sequence[Part], b: Sequence[Part]) -> list[tuple[Part | None, Part | None]]:
    """The statements of both slices in pairs, the last with the last: a slice ends with the statement that writes."""
    return list(zip_longest(reversed(a), reversed(b)))[::-1]


def trees_by_bound(parts: Iterable[Part]) -> Mapping[Bound, Trees]:
    """The statements of a slice by what they bind, as far as their trees tell them apart."""
    trees: dict[Bound, list[tuple[str | None, str]]] = {}
    for part in parts:
        for one in (part, *_members(part)) if _has_members(part) else (part,):
            bound = (part.path, one.names) if one.names else UNNAMED
            trees.setdefault(bound, []).append((part.path, one.tree))
    everything = sorted((tree for of_bound in trees.values() for tree in of_bound), key=repr)
    trees[UNNAMED] = sorted(trees.get(UNNAMED, ()), key=repr)
    return {bound: tuple(of_bound) for bound, of_bound in trees.items()} | {ALL: tuple(everything)}


def statements_of(parts: Iterable[Part]) -> list[Part]:
    """The statements, with the members of each class and the items of each dict in its place."""
    return [one for part in parts for one in (_members(part) if _has_members(part) else (part,))]


def _members_apart(parts: Sequence[Part], others: Sequence[Part]) -> list[Part]:
    """The statements, with what each class or dict consists of in its place, where the other slice has it otherwise."""
    there = {(part.path, part.names): part for part in others if _has_members(part)}
    return [
        one
        for part in parts
        for one in (
            _members(part)
            if _has_members(part) and _are_comparable(part, there.get((part.path, part.names), part))
            else (part,)
        )
    ]


def _has_members(part: Part) -> bool:
    """Whether a statement is a class, or a dict that is written out: ``CONFIG = {"lr": 0.1}``."""
    return part.kind == "class" or (
        part.kind == "assign" and ("{" in part.text or "dict(" in part.text) and len(_members(part)) > 1
    )


def _are_comparable(part: Part, other: Part) -> bool:
    """Whether two forms of a class or dict differ in members alone; of a dict their order counts, too."""
    if part.tree == other.tree or part.kind != other.kind:
        return False
    names = [[member.names for member in _members(one)] for one in (part, other)]
    both = set(names[0]).intersection(names[1])
    orders = [[name for name in of_one if name in both] for of_one in names]
    return part.kind == "class" or orders[0] == orders[1]


@lru_cache(maxsize=1024)
def _members(part: Part) -> tuple[Part, ...]:
    """What a class consists of, as statements of their own: its head, then its methods and attributes, ``Scorer.predict``.

    Of a dict its items: ``CONFIG['lr']``.
    """
    text = dedent(part.text)
    node = _only_statement(text)
    if isinstance(node, (ast.Assign, ast.AnnAssign)):
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        if len(targets) > 1 or not isinstance(targets[0], ast.Name):  # of C["model"] = {…} a part is C, too
            return (part,)
        items = [
            replace(
                part,
                text=ast.get_source_segment(text, value) or "",
                names=(name,),
                tree=f"{name}: {digest_of_tree(value)}",
            )
            for name, value in _items(targets[0].id, node.value)
        ]
        return tuple(items) or (part,)
    if not isinstance(node, ast.ClassDef) or node.body[0].lineno == node.lineno:
        return (part,)
    lines, name = text.splitlines(), node.name
    starts = [
        min([one.lineno, *(mark.lineno for mark in getattr(one, "decorator_list", ()))]) for one in node.body
    ]
    head = "\n".join(lines[: max(starts[0] - 1, 1)]).rstrip()
    members = [replace(part, text=head, names=(f"{name} (head)",), tree=_head_tree(node))]
    for start, one in zip(starts, node.body, strict=True):
        own = dedent("\n".join(lines[start - 1 : one.end_lineno]))
        for statement in cut(own):
            names = tuple(f"{name}.{bound}" for bound in sorted(statement.names)) or (f"{name} (body)",)
            members.append(replace(part, text=own, names=names, tree=statement.tree))
    return tuple(members)


def _items(name: str, value: ast.expr | None) -> Iterator[tuple[str, ast.expr]]:
    """What stands in a dict that is written out with texts as its keys, and in those inside of it; nothing of another value."""
    pairs: list[tuple[Any, ast.expr]] = []
    if isinstance(value, ast.Dict):
        pairs = [
            (getattr(key, "value", None), item) for key, item in zip(value.keys, value.values, strict=True)
        ]
    elif isinstance(value, ast.Call) and dotted(value.func) == "dict" and not value.args:
        pairs = [(keyword.arg, keyword.value) for keyword in value.keywords]
    keys = [key for key, _ in pairs]
    if len(set(map(repr, keys))) < len(keys) or not all(isinstance(key, str) for key in keys):
        return
    for key, item in pairs:
        inner = list(_items(f"{name}[{key!r}]", item))
        yield from inner or [(f"{name}[{key!r}]", item)]


def _only_statement(text: str) -> ast.stmt | None:
    try:
        body = parse(text).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    return body[0] if len(body) == 1 else None


def _head_tree(node: ast.ClassDef) -> str:
    """Bases, keywords and decorators."""
    return "".join(map(ast.dump, (*node.bases, *node.keywords, *node.decorator_list)))


def _lone(parts: Sequence[Part], others: Sequence[Part]) -> dict[Bound, list[Part]]:
    """The statements that are not among `others`, by the names they bind: several may bind one, as ``df = df.dropna()``."""
    left = Counter((part.path, part.tree) for part in others)
    lone: dict[Bound, list[Part]] = {}
    for part in parts:
        left[part.path, part.tree] -= 1
        if left[part.path, part.tree] < 0:
            lone.setdefault((part.path if part.names else None, part.names), []).append(part)
    return lone


def _are_foreign(a: Slice, b: Slice) -> bool:
    """Whether both slices define something, and nothing under the same name."""
    one, two = (
        {(part.path, part.names) for part in code_slice.parts if part.names and not _is_import(part)}
        for code_slice in (a, b)
    )
    return bool(one and two) and one.isdisjoint(two)


def _is_import(part: Part) -> bool:
    return part.text.startswith(("import ", "from "))


def _text(part: Part | None) -> str | None:
    return None if part is None else dedent(part.text)


def _title(part: Part) -> str:
    """``helper.py: clean``, ``In[7]: clean``; of a statement without names its place alone."""
    names = ", ".join(part.names)
    return ": ".join(text for text in (part.place, names) if text) or "code"


def _place(part: Part) -> str:
    return part.place or "code"
