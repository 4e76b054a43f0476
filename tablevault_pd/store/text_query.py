"""The query of a text search as plain data: the tree that a user's text is parsed to and that every store understands.

A query matches an item or it does not. How well it matches is the BM25 score over the leaves that are not negated.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator


@dataclass(frozen=True, slots=True)
class Word:
    """A word, or what its characters stand for: ``few_shot`` is the two words in that order."""

    text: str
    language: str | None = field(default=None, repr=False)  #: None: English


@dataclass(frozen=True, slots=True)
class Phrase:
    """Words in this order, next to each other."""

    text: str
    language: str | None = field(default=None, repr=False)  #: None: English


@dataclass(frozen=True, slots=True)
class Prefix:
    """Any word that begins so; matched without stemming."""

    text: str


@dataclass(frozen=True, slots=True)
class AllOf:
    """Every part must match."""

    parts: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class AnyOf:
    """At least one part must match; none at all matches nothing."""

    parts: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Negated:
    """What the part does not match."""

    part: Node


Leaf = Word | Phrase | Prefix
Node = Leaf | AllOf | AnyOf | Negated


def ranking_leaves(node: Node) -> Iterator[Leaf]:
    """The leaves that are not negated: what the items found are ranked by."""
    if isinstance(node, AllOf | AnyOf):
        for part in node.parts:
            yield from ranking_leaves(part)
    elif not isinstance(node, Negated):
        yield node


def all_leaves(node: Node) -> Iterator[Leaf]:
    """Every leaf, the negated ones too."""
    if isinstance(node, AllOf | AnyOf):
        for part in node.parts:
            yield from all_leaves(part)
    elif isinstance(node, Negated):
        yield from all_leaves(node.part)
    else:
        yield node


def in_languages(node: Node, languages: Collection[str]) -> Node:
    """The query with each word in English or in one of these languages, in the order of their names."""
    if not languages or isinstance(node, Prefix):
        return node
    if isinstance(node, AllOf | AnyOf):
        return type(node)(tuple(in_languages(part, languages) for part in node.parts))
    if isinstance(node, Negated):
        return Negated(in_languages(node.part, languages))
    return AnyOf((node, *(replace(node, language=language) for language in sorted(languages))))


def needs_everything(node: Node) -> bool:
    """Whether :func:`matching_ids` may ask for all ids: something must not match where nothing else must."""
    if isinstance(node, AnyOf):
        return any(map(needs_everything, node.parts))
    if isinstance(node, AllOf) and not all(isinstance(part, Negated) for part in node.parts):
        return any(needs_everything(part.part if isinstance(part, Negated) else part) for part in node.parts)
    return isinstance(node, AllOf | Negated)


def matching_ids(
    node: Node, leaf: Callable[[Leaf], np.ndarray], universe: Callable[[], np.ndarray]
) -> np.ndarray:
    """The ids that match, ascending, where `leaf` and `universe` give ids (any order, perhaps repeated)."""
    if isinstance(node, Negated):
        return np.setdiff1d(universe(), matching_ids(node.part, leaf, universe))
    if isinstance(node, AnyOf):
        ids = [matching_ids(part, leaf, universe) for part in node.parts]
        return np.unique(np.concatenate([np.empty(0, np.int64), *ids]))
    if isinstance(node, AllOf):
        return _all(node, leaf, universe)
    return np.unique(leaf(node))


def _all(node: AllOf, leaf: Callable[[Leaf], np.ndarray], universe: Callable[[], np.ndarray]) -> np.ndarray:
    """What must match first, then what must not: so `universe` is asked for only if nothing must match."""
    positive = [part for part in node.parts if not isinstance(part, Negated)]
    ids = matching_ids(positive[0], leaf, universe) if positive else np.unique(universe())
    for part in positive[1:]:
        if not len(ids):
            return ids
        ids = np.intersect1d(ids, matching_ids(part, leaf, universe), assume_unique=True)
    for unwanted in node.parts:
        if isinstance(unwanted, Negated):
            ids = np.setdiff1d(ids, matching_ids(unwanted.part, leaf, universe), assume_unique=True)
    return ids
