"""Count what a query asks for in texts that no index has yet, as FTS5 would count it in an index. No I/O.

Many texts are folded as one string. FTS5 says once of each character whether it is part of a word, and as which character:
after that, words are ranges of an array. Of those that begin as a stem that is sought, each different one is stemmed once.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, cached_property, reduce
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tablevault_pd import frames
from tablevault_pd.store.engine import fts, languages
from tablevault_pd.store.engine.tokenizer import PROSE, beginning
from tablevault_pd.store.text_query import Leaf, Node, Prefix, all_leaves

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

_END = "\0"  #: behind each text; no text has it
_UNKNOWN, _DROPPED = -1, -2  #: of a character that FTS5 was not asked about, and of one that does not count
_ALONE = 1 << 21  #: marks a character that is a word of its own
#: Two characters at the end of a word that Porter's rules may change; of any other word the stem is the word itself.
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
            folded = fts.folded(_as_one(texts))
            words = stems = _Words(folded)
            if language is not None:
                stems = _Words(_stems(folded, language), are_spaced=True)
            counts = {
                leaf: (words if isinstance(leaf, Prefix) else stems).count(terms)
                for leaf, terms in self._terms.items()
            }
            yield Counted(np.asarray(pc.binary_length(texts)) > 0, stems.lengths, counts)


@dataclass(frozen=True, slots=True)
class _Term:
    """One word that is sought: a stem, a word as it stands, or how words begin."""

    text: str
    is_stem: bool = False
    is_prefix: bool = False

    @property
    def beginning(self) -> str:
        """What all words begin with that may be meant."""
        text = beginning(self.text).partition("\\")[0]  # a long one may be cut, or a character of it
        if not self.is_stem or len(text) == 1:
            return text
        # Porter's rules put other letters at the end of some stems: of those in -y, -at(ing), -bil(ity).
        return text[:-2] if text.endswith("ble") else text[:-1] if text.endswith(("i", "e", "bl")) else text

    def may_end(self, last_two: np.ndarray) -> np.ndarray:
        """Which longer words may be meant that begin so and have these two characters at their end, shape (2, n)."""
        is_own: np.ndarray = np.zeros(last_two.shape[1], bool)
        if len(self.text) > len(self.beginning):  # a word may go on as this one does
            own = _codes(self.text)[-2:, None]
            is_own = (last_two == own).all(axis=0) | (len(beginning(self.text)) < len(self.text))
        return np.asarray(is_own | _CHANGED[*np.minimum(last_two, 255)] if self.is_stem else is_own)

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


# -- many texts as one


def _texts(table: pa.Table, field: str) -> pa.LargeBinaryArray:
    texts = frames.text_column(table, field).cast(pa.large_binary())
    array = pc.fill_null(pa.concat_arrays([pa.array([b""], texts.type), *texts.chunks])[1:], b"")
    for reserved in (_END, fts.BETWEEN):
        array = pc.replace_substring(array, reserved, " ")
    return array


def _joined(columns: Sequence[pa.LargeBinaryArray]) -> pa.LargeBinaryArray:
    """The fields of each record as one text, as :func:`tablevault_pd.store.engine.fts.record` joins them."""
    if len(columns) == 1:
        return columns[0]
    there = [pc.greater(pc.binary_length(column), 0) for column in columns]
    parts = [pc.if_else(mask, column, None) for mask, column in zip(there, columns, strict=True)]
    parts[0] = pc.if_else(reduce(pc.or_, there), parts[0], b"")  # Arrow leaves out rows without any
    apart = pa.scalar(f" {fts.BETWEEN} ".encode(), pa.large_binary())
    return pc.binary_join_element_wise(*parts, apart, null_handling="skip")


def _as_one(texts: pa.LargeBinaryArray) -> str:
    """All texts, each with its end behind it."""
    nothing, end = (pa.scalar(value, pa.large_binary()) for value in (b"", _END.encode()))
    ended = pc.binary_join_element_wise(texts, nothing, end)
    offsets = np.frombuffer(ended.buffers()[1], np.int64)[ended.offset :][: len(ended) + 1]
    return bytes(memoryview(ended.buffers()[2] or b"")[offsets[0] : offsets[-1]]).decode(errors="replace")


def _stems(folded: str, language: str) -> str:
    """Texts with stems of a language in the place of words. What blanks separate is stemmed once."""
    pieces = folded.replace(_END, f" {_END} ").split(" ")
    stems = {piece: languages.stems(fts.spaced(piece), language) for piece in set(pieces)}
    return " ".join(map(stems.__getitem__, pieces))


def _codes(text: str) -> np.ndarray:
    """The characters of a text."""
    if text.isascii():
        return np.frombuffer(text.encode(), np.uint8)
    return np.frombuffer(text.encode("utf-32-le"), np.uint32)


@cache
def _characters() -> np.ndarray:
    """What FTS5 makes of each character: another one, 0 where it ends a word. Asked for where it is unknown."""
    characters = np.full(0x110000, _UNKNOWN, np.int32)
    _learn(characters, range(128))
    return characters


def _learn(characters: np.ndarray, codes: Iterable[int]) -> None:
    counted = [code for code in codes if not fts.IGNORED.match(chr(code))]
    _, words = PROSE.tokenize(f"x{chr(code)}y" for code in counted)
    for code, word in zip(counted, words, strict=True):
        alone = _ALONE if fts.UNSPACED.match(chr(code)) else 0
        characters[code] = 0 if word == "x y" else _DROPPED if word == "xy" else ord(word[1]) | alone
    ignored = [code for code in codes if fts.IGNORED.match(chr(code))]
    characters[ignored] = _DROPPED


def _as_fts5(codes: np.ndarray) -> np.ndarray:
    """What FTS5 makes of these characters."""
    characters = _characters()
    is_ascii = codes.dtype == np.uint8
    made: np.ndarray = (characters[:128].astype(np.uint8) if is_ascii else characters)[codes]
    if not is_ascii and (made == _UNKNOWN).any():
        _learn(characters, np.unique(codes[made == _UNKNOWN]).tolist())
        made = characters[codes]
    return made


class _Words:
    """The words of some texts."""

    def __init__(self, text: str, *, are_spaced: bool = False) -> None:
        self._source = _codes(text)
        made = _as_fts5(self._source)
        if made.dtype != np.uint8 and made.min() < 0:
            self._source, made = self._source[made >= 0], made[made >= 0]
        is_word = made != 0
        #: whether a character and the one before it are of one word
        self._inside = np.zeros(len(made) + 1, bool)
        np.logical_and(is_word[1:], is_word[:-1], out=self._inside[1:-1])
        if made.dtype != np.uint8:
            if not are_spaced:
                alone = made >= _ALONE
                self._inside[1:-1] &= ~(alone[1:] | alone[:-1])
            made = made & (_ALONE - 1)
        self._made, self._is_word = made, is_word
        self._starts = np.flatnonzero(is_word & ~self._inside[:-1])
        ends = np.flatnonzero(self._source == 0)
        #: the number of the first word of each text, and of all
        self._first = np.searchsorted(self._starts, np.concatenate([[0], ends + 1]))

    @property
    def lengths(self) -> np.ndarray:
        """How many words each text has."""
        return np.diff(self._first)

    def count(self, terms: Sequence[_Term]) -> np.ndarray:
        """How often these words, one after the other, are in each text."""
        if not terms:
            return np.zeros(len(self._first) - 1, np.int64)
        places = self._places(terms[0])
        for number, term in enumerate(terms[1:], 1):
            places = places[np.isin(places + number, self._places(term), assume_unique=True)]
        text = np.searchsorted(self._first, places, side="right") - 1
        complete = places + len(terms) <= self._first[text + 1]
        counts: np.ndarray = np.bincount(text[complete], minlength=len(self._first) - 1)
        return counts

    def _places(self, term: _Term) -> np.ndarray:
        """The numbers of the words that are meant."""
        beginning = term.beginning
        words = self._beginning_with(_codes(beginning))
        if term.is_prefix:
            return words
        goes_on = self._inside[self._starts[words] + len(beginning)]
        may_fit = ~goes_on
        may_fit[goes_on] = term.may_end(self._last_two(words[goes_on]))
        words, goes_on = words[may_fit], goes_on[may_fit]
        texts = self._slices(words[goes_on])
        numbers = {text: number for number, text in enumerate(dict.fromkeys([beginning, *texts]))}
        stems, plain = PROSE.tokenize(numbers)
        fits = term.fits(stems if term.is_stem else plain)
        is_meant = np.repeat(fits[:1], len(words))
        is_meant[goes_on] = fits[np.fromiter(map(numbers.__getitem__, texts), np.int64, len(texts))]
        meant: np.ndarray = words[is_meant]
        return meant

    def _beginning_with(self, beginning: np.ndarray) -> np.ndarray:
        """The numbers of the words that begin so."""
        words = np.flatnonzero(self._made[self._starts] == beginning[0])
        for number, character in enumerate(beginning[1:], 1):
            at = self._starts[words] + number  # behind a word there is the end of its text
            words = words[(self._made[at] == character) & self._inside[at]]
        return words

    def _last_two(self, words: np.ndarray) -> np.ndarray:
        """The last two characters of these words."""
        at = self._stops[words]
        return np.stack([self._made[at - 2], self._made[at - 1]])

    @cached_property
    def _stops(self) -> np.ndarray:
        """Where each word has ended."""
        stops: np.ndarray = np.flatnonzero(self._is_word & ~self._inside[1:]) + 1
        return stops

    def _slices(self, words: np.ndarray) -> list[str]:
        """These words as they stand in the texts."""
        text = self._source.tobytes().decode("ascii" if self._source.dtype == np.uint8 else "utf-32-le")
        places = zip(self._starts[words].tolist(), self._stops[words].tolist(), strict=True)
        return [text[start:stop] for start, stop in places]
