"""Count what a query asks for in texts that no index has yet, as FTS5 would count it in an index. No I/O.

Words are found in the bytes of many texts at once. Those of ASCII are words to the tokeniser as well: of those that begin as
what is sought, each different one is stemmed once. A run of other characters may be several words: each different run goes
through the tokeniser once. Runs do not influence each other.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, reduce
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tablevault_pd import frames
from tablevault_pd.store.engine import fts
from tablevault_pd.store.engine.tokenizer import PROSE, beginning, terms_of
from tablevault_pd.store.text_query import Leaf, Node, Prefix, all_leaves

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

_BETWEEN = b"\xff"  #: stands for `fts.BETWEEN` in bytes; no text has it
_LETTERS = np.zeros(256, np.uint8)  #: what each byte becomes: itself in lower case within words, else 0
_LETTERS[0x30:0x3A] = range(0x30, 0x3A)
_LETTERS[0x41:0x5B] = _LETTERS[0x61:0x7B] = range(0x61, 0x7B)
_LETTERS[0x80:] = range(0x80, 0x100)
#: Two bytes at the end of a word that Porter's rules may change; of any other word the stem is the word itself.
_CHANGED = np.zeros((256, 256), bool)
_CHANGED[:, np.frombuffer(b"seiy", np.uint8)] = True
for _first, _second in (b"ed", b"ng", b"al", b"ul", b"ll", b"er", b"or", b"on", b"sm", b"ic", b"nt", b"ou"):
    _CHANGED[_first, _second] = True


@dataclass(frozen=True, slots=True)
class Counted:
    """Some items of text: what they have of a query."""

    is_there: np.ndarray  #: bool: whether there is a text
    lengths: np.ndarray  #: words in each
    counts: Mapping[Leaf, np.ndarray]  #: how often each leaf is in each

    def behind(self, skipped: int) -> Counted:
        """The items but for the first ones."""
        counts = {leaf: some[skipped:] for leaf, some in self.counts.items()}
        return Counted(self.is_there[skipped:], self.lengths[skipped:], counts)


class Sought:
    """What the leaves of a query are, as words."""

    def __init__(self, query: Node) -> None:
        self._terms = {leaf: _terms_of(leaf) for leaf in all_leaves(query)}

    def count(self, table: pa.Table) -> Iterator[Counted]:
        """Count in the items of each row, one item after the other."""
        columns = frames.text_columns(table.schema)
        language = frames.language_of(table.schema)
        fields = [column.field for column in columns if column.kind == "record"]
        items = [fields] * bool(fields) + [[column.field] for column in columns if column.kind != "record"]
        for item in items:
            texts = _joined([_texts(table, field) for field in item])
            words = _Words(texts, language)
            counts = {leaf: words.count(terms) for leaf, terms in self._terms.items()}
            yield Counted(np.asarray(pc.binary_length(texts)) > 0, words.lengths, counts)


@dataclass(frozen=True, slots=True)
class _Term:
    """One word that is sought: a stem, a word as it stands, or how words begin."""

    text: str
    is_stem: bool = False
    is_prefix: bool = False

    @property
    def beginning(self) -> str:
        """What all words of ASCII begin with that may be meant."""
        text = beginning(self.text)  # that of a long one may be cut
        if not self.is_stem or len(text) == 1:
            return text
        # Porter's rules put other letters at the end of some stems: of those in -y, -at(ing), -bil(ity).
        return text[:-2] if text.endswith("ble") else text[:-1] if text.endswith(("i", "e", "bl")) else text

    def may_end(self, last_two: np.ndarray) -> np.ndarray:
        """Which longer words may be meant that begin so and have these two bytes at their end, shape (n, 2)."""
        if len(self.text) > len(self.beginning):  # a word may go on as this one does
            own = np.frombuffer(self.text.encode()[-2:], np.uint8)
            is_own = (last_two == own).all(axis=1) | (len(beginning(self.text)) < len(self.text))
        else:
            is_own = np.zeros(len(last_two), bool)
        changed = _CHANGED[last_two[:, 0], last_two[:, 1]]
        return np.asarray(is_own | changed if self.is_stem else is_own)

    def fits(self, terms: Sequence[str]) -> np.ndarray:
        """Which of what a tokeniser made are meant."""
        if self.is_prefix:
            return np.array([term.startswith(beginning(self.text)) for term in terms], bool)
        return np.array([term == self.text for term in terms], bool)


def _terms_of(leaf: Leaf) -> list[_Term]:
    """The words that a leaf looks for, one after the other."""
    [stems], [words] = PROSE.tokenize([fts.sought(leaf)])
    if not isinstance(leaf, Prefix):
        return [_Term(stem, is_stem=True) for stem in stems.split(" ") if stem]
    *before, last = words.split(" ")
    return [*map(_Term, before), _Term(last, is_prefix=True)] if last else []


# -- texts as bytes


def _texts(table: pa.Table, field: str) -> pa.LargeBinaryArray:
    texts = frames.text_column(table, field).cast(pa.large_binary())
    return pc.fill_null(pa.concat_arrays([pa.array([b""], texts.type), *texts.chunks])[1:], b"")


def _joined(columns: Sequence[pa.LargeBinaryArray]) -> pa.LargeBinaryArray:
    """The fields of each record as one text, as :func:`tablevault_pd.store.engine.fts.record` joins them."""
    if len(columns) == 1:
        return columns[0]
    there = [pc.greater(pc.binary_length(column), 0) for column in columns]
    parts = [pc.if_else(mask, column, None) for mask, column in zip(there, columns, strict=True)]
    parts[0] = pc.if_else(reduce(pc.or_, there), parts[0], b"")  # Arrow leaves out rows without any
    apart = pa.scalar(b" " + _BETWEEN + b" ", pa.large_binary())
    return pc.binary_join_element_wise(*parts, apart, null_handling="skip")


class _Words:
    """The words of some texts."""

    def __init__(self, texts: pa.LargeBinaryArray, language: str | None) -> None:
        self._language = language
        offsets = np.frombuffer(texts.buffers()[1], np.int64)[texts.offset :][: len(texts) + 1]
        data = np.frombuffer(texts.buffers()[2] or b"", np.uint8)[offsets[0] : offsets[-1]]
        ends = offsets - offsets[0]
        self._bytes = _LETTERS[data]
        is_word = self._bytes != 0
        #: whether a byte and the one before it are of one run
        self._inside = np.zeros(len(data) + 1, bool)
        np.logical_and(is_word[1:], is_word[:-1], out=self._inside[1:-1])
        self._inside[ends] = False
        self._starts = np.flatnonzero(is_word & ~self._inside[:-1])
        self._first = np.searchsorted(
            self._starts, ends
        )  # the number of the first run of each text, and of all

    @property
    def lengths(self) -> np.ndarray:
        """How many words each text has."""
        return np.diff(self._tokenized[0].first[self._first])

    def count(self, terms: Sequence[_Term]) -> np.ndarray:
        """How often these words, one after the other, are in each text."""
        if not terms:
            return np.zeros(len(self._first) - 1, np.int64)
        tokenized = self._tokenized[0 if terms[0].is_stem else 1]
        first = tokenized.first[self._first]
        places = self._places(terms[0], tokenized)
        for number, term in enumerate(terms[1:], 1):
            places = places[np.isin(places + number, self._places(term, tokenized), assume_unique=True)]
        text = np.searchsorted(first, places, side="right") - 1
        return np.bincount(text[places + len(terms) <= first[text + 1]], minlength=len(first) - 1)

    def _places(self, term: _Term, tokenized: _Tokenized) -> np.ndarray:
        """The numbers of the words that are meant."""
        beginning = term.beginning.encode()
        runs = self._beginning_with(beginning)
        runs = runs[~np.isin(runs, self._others, assume_unique=True)]
        if not term.is_prefix:
            goes_on = self._inside[self._starts[runs] + len(beginning)]
            may_fit = ~goes_on
            may_fit[goes_on] = term.may_end(self._last_two(runs[goes_on]))
            runs, goes_on = runs[may_fit], goes_on[may_fit]
            words = self._slices(runs[goes_on])
            numbers = {word: number for number, word in enumerate(dict.fromkeys([beginning, *words]))}
            stems, plain = PROSE.tokenize(map(bytes.decode, numbers))
            fits = term.fits(stems if term.is_stem else plain)
            is_meant = np.repeat(fits[:1], len(runs))
            is_meant[goes_on] = fits[_numbered(words, numbers)]
            runs = runs[is_meant]
        return np.concatenate([tokenized.first[runs], tokenized.places(term)])

    def _beginning_with(self, beginning: bytes) -> np.ndarray:
        """The numbers of the runs that begin so."""
        runs = np.flatnonzero(self._bytes[self._starts] == beginning[0])
        for number, byte in enumerate(beginning[1:], 1):
            runs = runs[self._starts[runs] + number < len(self._bytes)]
            at = self._starts[runs] + number
            runs = runs[(self._bytes[at] == byte) & self._inside[at]]
        return runs

    def _last_two(self, runs: np.ndarray) -> np.ndarray:
        """The last two bytes of these runs."""
        at = self._lasts[runs]
        return np.stack([self._bytes[at - 1], self._bytes[at]], axis=1)

    @cached_property
    def _lasts(self) -> np.ndarray:
        """Where each run has its last byte."""
        return np.flatnonzero((self._bytes != 0) & ~self._inside[1:])

    def _slices(self, runs: np.ndarray) -> list[bytes]:
        """The bytes of these runs."""
        blob = self._bytes.tobytes()
        stops = np.append(self._starts, len(blob))[runs + 1]  # with what stands before the next one
        places = zip(self._starts[runs].tolist(), stops.tolist(), strict=True)
        return [blob[start:stop].rstrip(b"\0") for start, stop in places]

    @cached_property
    def _others(self) -> np.ndarray:
        """The numbers of the runs with other characters than ASCII; in a language of its own of all."""
        if self._language is not None:
            return np.arange(len(self._starts))
        at = np.flatnonzero(self._bytes >= 0x80)
        return np.unique(np.searchsorted(self._starts, at, side="right") - 1)

    @cached_property
    def _tokenized(self) -> tuple[_Tokenized, _Tokenized]:
        """The words as stems, and as they stand."""
        runs = self._slices(self._others)
        numbers = {run: number for number, run in enumerate(dict.fromkeys(runs))}
        texts = [
            fts.BETWEEN if run == _BETWEEN else fts.prose(run.decode(errors="replace")) for run in numbers
        ]
        stems, plain = terms_of(fts.indexed(text, self._language) for text in texts)
        which, total = _numbered(runs, numbers), len(self._starts)
        return _Tokenized(total, self._others, which, stems), _Tokenized(total, self._others, which, plain)


def _numbered(words: Sequence[bytes], numbers: Mapping[bytes, int]) -> np.ndarray:
    return np.fromiter(map(numbers.__getitem__, words), np.int64, len(words))


class _Tokenized:
    """The words of `total` runs. Each is one word, but for the runs `others`, whose words are those of the text `which`."""

    def __init__(self, total: int, others: np.ndarray, which: np.ndarray, texts: Sequence[str]) -> None:
        words = [text.split() for text in texts]
        self._terms = list(chain.from_iterable(words))
        counts = np.array([len(some) for some in words], np.int64)
        widths = np.ones(total, np.int64)
        widths[others] = counts[which]
        #: the number of the first word of each run, and of all
        self.first = np.concatenate([[0], np.cumsum(widths)])
        widths = counts[which]
        within = np.arange(widths.sum()) - np.repeat(np.cumsum(widths) - widths, widths)
        self._numbers = np.repeat(self.first[others], widths) + within
        self._sources = np.repeat((np.cumsum(counts) - counts)[which], widths) + within

    def places(self, term: _Term) -> np.ndarray:
        """The numbers of those words of the other runs that are meant."""
        places: np.ndarray = self._numbers[term.fits(self._terms)[self._sources]]
        return places
