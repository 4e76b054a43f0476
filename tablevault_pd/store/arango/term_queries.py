"""A query as the values that the search statements of the room are given. No I/O.

A statement finds through the view whatever may match, and counts in what it found: the view need not be exact. So words,
beginnings of words and a few phrases are looked up, and any further phrase by the longest of its words.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from tablevault_pd.store.engine import fts
from tablevault_pd.store.engine import tokenizer as words
from tablevault_pd.store.engine.tokenizer import Tokenizer, beginning
from tablevault_pd.store.text_query import (
    AllOf,
    AnyOf,
    Leaf,
    Negated,
    Node,
    Prefix,
    all_leaves,
    needs_everything,
    ranking_leaves,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

PHRASES = 4  #: how many phrases a statement has a place for
NOWHERE = "."  #: no tokeniser makes this a word
Attribute = Literal["stems", "words", "parts", "wholes"]
PROSE: tuple[Attribute, ...] = ("stems", "words")
CODE: tuple[Attribute, ...] = ("parts", "wholes")


@dataclass(frozen=True, slots=True)
class TermQuery:
    """Terms one after the other in an attribute of terms; the last one is perhaps only the beginning of one."""

    attribute: Attribute
    terms: tuple[str, ...]
    prefix: bool = False

    @property
    def pattern(self) -> str:
        """What is counted in a text that has two blanks between its terms, and one at each end."""
        text = " " + "  ".join(self.terms)
        return text if self.prefix else text + " "

    @property
    def overlaps(self) -> bool:
        """Whether it may begin again before it ends: then its pattern is found too rarely."""
        return any(
            self._is(self.terms[:size], self.terms[-size:], self.prefix) for size in range(1, len(self.terms))
        )

    def count(self, terms: str) -> int:
        """How often it is in `terms`."""
        if not self.overlaps:
            return f" {terms.replace(' ', '  ')} ".count(self.pattern)
        there, size = terms.split(" "), len(self.terms)
        return sum(
            self._is(there[at : at + size], self.terms, self.prefix) for at in range(len(there) - size + 1)
        )

    @staticmethod
    def _is(there: Sequence[str], terms: Sequence[str], prefix: bool) -> bool:
        *first, last = terms
        return list(there[:-1]) == first and (there[-1].startswith(last) if prefix else there[-1] == last)


@dataclass(frozen=True, slots=True)
class CodeLeaf:
    """What a leaf looks for in code: any of it counts."""

    terms: tuple[TermQuery, ...]
    literal: str | None


def _terms(
    attribute: Attribute, text: str | None, prefix: bool, by: Tokenizer, place: int
) -> TermQuery | None:
    """What a text asks for; None if there is no word in it."""
    terms = by.tokenize([text or ""])[place][0].split(" ")
    if terms == [""]:
        return None
    if prefix:
        terms[-1] = beginning(terms[-1])
    return TermQuery(attribute, tuple(terms), prefix)


def in_prose(query: Node) -> dict[Leaf, TermQuery | None]:
    """What each leaf asks of an item or a description."""
    return {
        leaf: _terms("words", fts.sought(leaf), True, words.PROSE, 1)
        if isinstance(leaf, Prefix)
        else _terms("stems", fts.sought(leaf), False, words.PROSE, 0)
        for leaf in all_leaves(query)
    }


def in_code(query: Node) -> dict[Leaf, CodeLeaf]:
    """What each leaf asks of a cell."""
    return {leaf: _in_code(leaf) for leaf in all_leaves(query)}


def _in_code(leaf: Leaf) -> CodeLeaf:
    parts, whole, literal = fts.code_sought(leaf)
    prefix = isinstance(leaf, Prefix)
    terms = (
        _terms("parts", parts, prefix, words.SOURCE, 0),
        _terms("wholes", whole, prefix, words.SOURCE, 0),
    )
    return CodeLeaf(tuple(one for one in terms if one is not None), literal)


class BindVars:
    """The values of a statement over some attributes of terms; phrases are looked up in the first one."""

    def __init__(self, attributes: tuple[Attribute, ...], terms: Iterable[TermQuery | None]) -> None:
        self._attributes = attributes
        distinct = [one for one in dict.fromkeys(terms) if one is not None]
        self.terms = [one for attribute in attributes for one in distinct if one.attribute == attribute]
        self.columns = {one: column for column, one in enumerate(self.terms)}
        self.values: dict[str, Any] = {f"phrase{number}": [NOWHERE] for number in range(1, PHRASES + 1)}
        for attribute in attributes:
            patterns = [one.pattern for one in self.terms if one.attribute == attribute]
            self.values |= {attribute: [NOWHERE], f"{attribute}_patterns": patterns}
            # a stem is not what the word begins with: beginnings are looked up elsewhere
            if attribute != "stems":
                self.values[f"{attribute}_begin"] = [NOWHERE]
        self._look_up()

    def _look_up(self) -> None:
        phrases = 0
        for one in self.terms:
            if len(one.terms) == 1:
                name = f"{one.attribute}_begin" if one.prefix else one.attribute
                self.values[name].append(one.terms[0])
            elif one.attribute == self._attributes[0] and not one.prefix and phrases < PHRASES:
                phrases += 1
                self.values[f"phrase{phrases}"] = list(one.terms)
            else:
                whole = one.terms[:-1] if one.prefix else one.terms
                self.values[one.attribute].append(max(whole, key=len))

    @property
    def patterns(self) -> dict[str, Any]:
        """The values of a statement that only counts."""
        return {
            f"{attribute}_patterns": self.values[f"{attribute}_patterns"] for attribute in self._attributes
        }

    def counts(self, *texts: str) -> list[int]:
        """How often each is in its attribute of one document, whose attributes are given."""
        return [one.count(texts[self._attributes.index(one.attribute)]) for one in self.terms]

    def table(self, counts: Sequence[Sequence[int]]) -> np.ndarray:
        """Counts of documents: int64, shape (documents, things sought)."""
        return np.array(counts, np.int64).reshape(len(counts), len(self.terms))

    def column(self, table: np.ndarray, one: TermQuery | None) -> np.ndarray:
        """The column of a table for one thing sought; zeros for nothing."""
        counts: np.ndarray = np.zeros(len(table), np.int64) if one is None else table[:, self.columns[one]]
        return counts

    def required(self, query: Node, leaves: Mapping[Leaf, TermQuery | None]) -> list[list[int]]:
        """Groups of columns: what matches `query` has something of each of them."""
        if isinstance(query, AllOf):
            groups = [self.required(part, leaves) for part in query.parts]
            return [group for some in groups for group in some]
        if isinstance(query, Negated) or (isinstance(query, AnyOf) and needs_everything(query)):
            return []
        terms = (leaves[leaf] for leaf in ranking_leaves(query))
        return [sorted({self.columns[one] for one in terms if one is not None})]
