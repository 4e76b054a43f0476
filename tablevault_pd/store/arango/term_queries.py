"""A query as the values that the search statements of :mod:`tablevault_pd.store.arango.text` are given. No I/O.

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
from tablevault_pd.store.text_query import Leaf, Node, Prefix, all_leaves

if TYPE_CHECKING:
    from collections.abc import Sequence

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
    def needle(self) -> str:
        """What is looked for in terms that have a blank on each side."""
        text = " " + " ".join(self.terms)
        return text if self.prefix else text + " "

    @property
    def overlaps(self) -> bool:
        """Whether it may begin again before it ends, so that counting it in a text needs care."""
        return any(
            self._is(self.terms[:size], self.terms[-size:], self.prefix) for size in range(1, len(self.terms))
        )

    def count(self, terms: str) -> int:
        """How often it is in `terms`."""
        held, size = terms.split(" "), len(self.terms)
        return sum(
            self._is(held[at : at + size], self.terms, self.prefix) for at in range(len(held) - size + 1)
        )

    @staticmethod
    def _is(held: Sequence[str], terms: Sequence[str], prefix: bool) -> bool:
        *first, last = terms
        return list(held[:-1]) == first and (held[-1].startswith(last) if prefix else held[-1] == last)


@dataclass(frozen=True, slots=True)
class CodeLeaf:
    """What a leaf looks for in code: any of it counts."""

    sought: tuple[TermQuery, ...]
    literal: str | None


def _sought(
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
        leaf: _sought("words", fts.sought(leaf), True, words.PROSE, 1)
        if isinstance(leaf, Prefix)
        else _sought("stems", fts.sought(leaf), False, words.PROSE, 0)
        for leaf in all_leaves(query)
    }


def in_code(query: Node) -> dict[Leaf, CodeLeaf]:
    """What each leaf asks of a cell."""
    return {leaf: _in_code(leaf) for leaf in all_leaves(query)}


def _in_code(leaf: Leaf) -> CodeLeaf:
    parts, whole, literal = fts.code_sought(leaf)
    prefix = isinstance(leaf, Prefix)
    terms = (
        _sought("parts", parts, prefix, words.SOURCE, 0),
        _sought("wholes", whole, prefix, words.SOURCE, 0),
    )
    return CodeLeaf(tuple(one for one in terms if one is not None), literal)


class BindVars:
    """The values of a statement over some attributes of terms; phrases are looked up in the first one."""

    def __init__(self, attributes: tuple[Attribute, ...], terms: Sequence[TermQuery]) -> None:
        self._attributes = attributes
        distinct = list(dict.fromkeys(terms))
        ordered = [one for attribute in attributes for one in distinct if one.attribute == attribute]
        self._columns = {one: column for column, one in enumerate(ordered)}
        self.values: dict[str, Any] = {f"phrase{number}": [NOWHERE] for number in range(1, PHRASES + 1)}
        for attribute in attributes:
            needles = [one.needle for one in ordered if one.attribute == attribute]
            self.values |= {attribute: [NOWHERE], f"{attribute}_needles": needles}
            if (
                attribute != "stems"
            ):  # a stem is not what the word begins with: beginnings are looked up elsewhere
                self.values[f"{attribute}_begin"] = [NOWHERE]
        self._look_up(ordered)

    def _look_up(self, terms: Sequence[TermQuery]) -> None:
        phrases = 0
        for one in terms:
            if len(one.terms) == 1:
                name = f"{one.attribute}_begin" if one.prefix else one.attribute
                self.values[name].append(one.terms[0])
            elif one.attribute == self._attributes[0] and not one.prefix and phrases < PHRASES:
                phrases += 1
                self.values[f"phrase{phrases}"] = list(one.terms)
            else:
                whole = one.terms[:-1] if one.prefix else one.terms
                self.values[one.attribute].append(max(whole, key=len))

    def __len__(self) -> int:
        return len(self._columns)

    @property
    def doubts(self) -> dict[str, Any]:
        """Values that tell the statement which terms are to be counted here, because it may count too few."""
        whole = [one for one in self._columns if not one.prefix and one.attribute == "stems"]
        return {
            "overlapping": any(one.overlaps for one in self._columns),
            "stems_twice": [one.needle + one.needle[1:] for one in whole],
        }

    def table(self, counted: Sequence[Sequence[int]]) -> np.ndarray:
        """What the statement counted, at least 1 where something is: int64, shape (items, things sought)."""
        return np.array(counted, np.int64).reshape(len(counted), len(self._columns))

    def exact_table(
        self, counted: Sequence[Sequence[int]], terms: Sequence[Sequence[str] | None]
    ) -> np.ndarray:
        """The same with exact counts, in the items whose `terms` of all attributes are given."""
        table = self.table(counted)
        for row, held in enumerate(terms):
            if held is not None:
                for one, column in self._columns.items():
                    table[row, column] = one.count(held[self._attributes.index(one.attribute)])
        return table

    def column(self, table: np.ndarray, one: TermQuery | None) -> np.ndarray:
        """The column of a table for one thing sought; zeros for nothing."""
        counts: np.ndarray = np.zeros(len(table), np.int64) if one is None else table[:, self._columns[one]]
        return counts
