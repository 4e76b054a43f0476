"""Texts and queries for SQLite's FTS5, for prose and for code. No file, no vault.

No text of a user is parsed by FTS5's query syntax: every word is bound in quotes, as a phrase of its tokens. Code is split
into words before FTS5 gets it, at dots, underscores and changes of case.
"""

from __future__ import annotations

import re
import unicodedata
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

from tablevault_pd.store.engine.languages import stems, stems_with_sources
from tablevault_pd.store.text_query import (
    AllOf,
    AnyOf,
    Leaf,
    Negated,
    Node,
    Phrase,
    Prefix,
    Word,
    ranking_leaves,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


class IndexedText(NamedTuple):
    """A text as it goes into the index: one whose words are stemmed, and one whose words stay as they are."""

    stems: str
    words: str


# Marks belong to their word: without M*, a word of Hindi or Thai would end at each of its vowels.
_WORDS = "unicode61 remove_diacritics 2 categories ''L* N* Co M*''"
STEMMED = f"porter {_WORDS}"
PLAIN = _WORDS
CODE = "unicode61 remove_diacritics 0"

#: Stands between the fields of a record, so that no phrase reaches from one into the next. FTS5 takes characters of
#: private use for letters; ones in the user's own text are taken out.
BETWEEN = "\ue000"

# Scripts written without blanks between words: each character is a word, and a word is a phrase of characters. Thai, Lao,
# Myanmar, Khmer, Tai; Chinese, Japanese and Korean, rare characters included; Balinese, Javanese.
UNSPACED = re.compile(
    "([\u0e01-\u0e4e\u0e81-\u0edf\u1000-\u109f\u1780-\u17d3\u17d7\u17dc\u17dd\u1950-\u19df\u1a20-\u1aad\u1b00-\u1b4c"
    "\ua980-\ua9c0\ua9e0-\ua9fe\uaa60-\uaa7f\u3005-\u3007\u3040-\u312f\u31a0-\u31ff\u3400-\u4dbf\u4e00-\u9fff"
    "\uac00-\ud7af\uf900-\ufaff\U00020000-\U0003ffff])"
)
_RUN = re.compile(f"({UNSPACED.pattern[1:-1]}+)")
# Characters that do not count: soft hyphens, joiners, directions, variants; accents, of which FTS5 does not remove all, and
# makes a word without letters of one that stands alone; vowel points and the stretching stroke of Hebrew and Arabic. A blank
# of no width (U+200B) does count, it ends a word.
IGNORED = re.compile(
    "[\u00ad\u034f\u061c\u180b-\u180e\u200c-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufe00-\ufe0f\ufeff"
    "\U000e0100-\U000e01ef\u0300-\u036f\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7\u0610-\u061a\u0640\u064b-\u065f"
    "\u0670\u06d6-\u06dc\u06df-\u06e4\u06e7\u06e8\u06ea-\u06ed]"
)
_ASCII_LETTER = re.compile(r"[0-9A-Za-z]")

_IDENTIFIER = re.compile(r"\w+")
_CODE_PART = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+|[^\W_A-Za-z0-9]+")


# -- prose


def prose(text: str) -> str:
    """`text` as it goes into the index, and into a query: ligatures and widths are spelt out (NFKC), case is folded."""
    if text.isascii():
        return text if "\0" not in text else text.replace("\0", " ")
    return _spelt_out(text)


def _spelt_out(text: str) -> str:
    return spaced(_folded(text))


def _folded(text: str) -> str:
    return folded(text.replace("\0", " ").replace(BETWEEN, " "))


def folded(text: str) -> str:
    """`text` with ligatures and widths spelt out, and case folded."""
    return unicodedata.normalize("NFKC", text).casefold()


def spaced(text: str) -> str:
    """A folded text without what does not count, and with blanks around characters that are words of their own."""
    return UNSPACED.sub(r" \1 ", IGNORED.sub("", text))


def indexed(text: str, language: str | None) -> IndexedText:
    """A text that :func:`prose` or :func:`record` made, as it goes into the index."""
    return IndexedText(text if language is None else stems(text, language), text)


def prose_sources(text: str, language: str | None = None) -> tuple[str, list[int]]:
    """What :func:`prose` makes of `text`, which is not ASCII, and for each of its characters the one of `text` that it comes from.

    In a language it is what goes into the index of stems.
    """
    if language is not None:
        return stems_with_sources(*prose_sources(text), language)
    starts = [at for at, character in enumerate(text) if not _continues(character)]
    pieces = [_spelt_out(text[at:end]) for at, end in pairwise([*starts, len(text)])]
    return "".join(pieces), [at for at, piece in zip(starts, pieces, strict=True) for _ in piece]


def _continues(character: str) -> bool:
    """Whether the character may become one with the character before it: an accent, a part of a Korean syllable."""
    if character.isascii():
        return False
    first = unicodedata.normalize("NFKC", character)[0]
    return unicodedata.combining(first) != 0 or "\u1160" <= first <= "\u11ff"


def record(texts: Iterable[str | None]) -> str | None:
    """The fields of one record as one text, or None if it has none."""
    present = [prose(text) for text in texts if text]
    return f" {BETWEEN} ".join(present) if present else None


def pieces(text: str) -> list[str]:
    """The words of which any may match in place of `text`: where a script has no blanks between words, pairs of neighbours.

    Examples
    --------
    >>> pieces("GPT在中国")
    ['gpt', '在中', '中国']
    """
    counted = IGNORED.sub("", _folded(text))
    if UNSPACED.search(counted) is None:
        return [text]
    words: list[str] = []
    for number, part in enumerate(_RUN.split(counted)):
        if number % 2 == 0:  # between two runs
            words += [part] if has_words(part) else []
            continue
        for run in "".join(
            character if unicodedata.category(character)[0] in "LMN" else " " for character in part
        ).split():
            words += [run] if len(run) == 1 else map("".join, pairwise(run))
    return words


def has_words(text: str) -> bool:
    """Whether FTS5 sees any word in `text`."""
    if _ASCII_LETTER.search(text):
        return True
    return any(unicodedata.category(character)[0] in "LN" for character in prose(text))


def sought(leaf: Leaf) -> str:
    """The text of one leaf, as it goes into a query."""
    text = prose(leaf.text).replace('"', " ").encode(errors="replace").decode()
    language = None if isinstance(leaf, Prefix) else leaf.language
    return text if language is None else stems(text, language)


def prose_term(leaf: Leaf) -> str:
    """The FTS5 expression for one leaf."""
    quoted = sought(leaf)
    return f'"{quoted}"*' if isinstance(leaf, Prefix) else f'"{quoted}"'


def match(node: Node, term: Callable[[Leaf], str] = prose_term) -> str | None:
    """Return `node` as one FTS5 expression; None if FTS5 has none for it.

    It has none where nothing must match, where a prefix is asked for, and where some part of an "or" must not match: FTS5
    then ranks by words of parts that do not match.
    """
    if isinstance(node, Prefix | Negated):
        return None
    if isinstance(node, Word | Phrase):
        return term(node)
    if isinstance(node, AnyOf):
        if any(map(_excludes, node.parts)):
            return None
        parts = [match(part, term) for part in node.parts]
        return f"({' OR '.join(parts)})" if parts and None not in parts else None  # type: ignore[arg-type]  # no None
    return _match_all(node, term)


def _excludes(node: Node) -> bool:
    """Return whether something must not match."""
    if isinstance(node, AllOf | AnyOf):
        return any(map(_excludes, node.parts))
    return isinstance(node, Negated)


def _match_all(node: AllOf, term: Callable[[Leaf], str]) -> str | None:
    positive = [match(part, term) for part in node.parts if not isinstance(part, Negated)]
    negated = [match(part.part, term) for part in node.parts if isinstance(part, Negated)]
    if not positive or None in positive or None in negated:
        return None
    text = " AND ".join(f"({part})" for part in positive)
    return f"(({text}) NOT ({' OR '.join(negated)}))" if negated else f"({text})"  # type: ignore[arg-type]


def any_leaf(node: Node, *, prefixes: bool) -> str | None:
    """Any wanted leaf of `node`, prefixes or the others: what it is ranked by. None if there are none of that sort."""
    leaves = [leaf for leaf in ranking_leaves(node) if isinstance(leaf, Prefix) == prefixes]
    return " OR ".join(map(prose_term, leaves)) if leaves else None


# -- code


def code_parts(text: str) -> str:
    """`text` as the words its identifiers are made of: ``model.fitAll`` is ``model fit all``."""
    return " ".join(_CODE_PART.findall(text)).lower()


def code_wholes(text: str) -> str:
    """The identifiers of `text` as one word each, without underscores: ``few_shot`` and ``FewShot`` are ``fewshot``."""
    return " ".join(whole.replace("_", "") for whole in _IDENTIFIER.findall(text)).lower()


def code_text(text: str) -> str:
    """Code as it goes into an index."""
    return text.encode(errors="replace").decode().replace("\0", " ")


def code_sought(leaf: Leaf) -> tuple[str | None, str | None, str | None]:
    """What a leaf looks for in code: parts of identifiers, whole ones, and characters as they stand; any match counts.

    A bare word is a part of an identifier or a whole one. With punctuation in it (``few_sho``, ``lr=0.1``), or as a
    phrase in quotes, it is also looked for as it stands, anywhere.
    """
    word = leaf.text.strip()
    parts = code_parts(word) or None
    whole = code_wholes(word) if parts and _IDENTIFIER.fullmatch(word) else None
    literal = code_text(leaf.text)
    as_it_stands = isinstance(leaf, Phrase) or not word.isalnum()
    return parts, whole, literal if as_it_stands and len(literal) >= 3 else None


def code_terms(leaf: Leaf) -> tuple[str | None, str | None]:
    """What to ask the index of words and the index of character triples for; either match counts."""
    parts, whole, literal = code_sought(leaf)
    mark = "*" if isinstance(leaf, Prefix) else ""
    columns = (("parts", parts), ("wholes", whole))
    terms = [f'{{{column}}} : "{text}"{mark}' for column, text in columns if text is not None]
    triples = None if literal is None else '"' + literal.replace('"', '""') + '"'
    return " OR ".join(terms) or None, triples
