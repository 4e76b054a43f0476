"""SQLite's FTS5 as prose and as code: what goes into its tables, and what may go into its MATCH. No file, no vault.

No text of a user reaches FTS5's own query syntax: every word is bound inside quotes, as a phrase of its tokens.
Code is split into words before it gets to FTS5, at dots, underscores and changes of case.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable

from tablevault_pd.store.query import All, Any, Leaf, Node, Not, Phrase, Prefix, Word, wanted_leaves

STEMMED = "porter unicode61 remove_diacritics 2"
PLAIN = "unicode61 remove_diacritics 2"
CODE = "unicode61 remove_diacritics 0"

#: Stands between the fields of a record, so that no phrase reaches from one into the next. FTS5 takes characters of
#: private use for letters; ones in the user's own text are taken out.
BETWEEN = "\ue000"

# Chinese, Japanese and Korean are written without blanks between words: each character is a word, a word a phrase.
_UNSPACED = re.compile("([\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff])")
_ASCII_LETTER = re.compile(r"[0-9A-Za-z]")

_IDENTIFIER = re.compile(r"\w+")
_CODE_PART = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+|[^\W_A-Za-z0-9]+")


# -- prose


def prose(text: str) -> str:
    """`text` as it goes into the index."""
    if text.isascii():
        return text if "\0" not in text else text.replace("\0", " ")
    text = text.replace("\0", " ").replace(BETWEEN, " ")
    return _UNSPACED.sub(r" \1 ", text)


def record(texts: Iterable[str | None]) -> str | None:
    """The fields of one record as one text, or None if it has none."""
    present = [prose(text) for text in texts if text]
    return f" {BETWEEN} ".join(present) if present else None


def has_words(text: str) -> bool:
    """Whether FTS5 sees any word in `text`."""
    if _ASCII_LETTER.search(text):
        return True
    return any(unicodedata.category(character)[0] in "LN" for character in text if character != BETWEEN)


def sought(leaf: Leaf) -> str:
    """The text of one leaf, as it goes into a query."""
    return prose(leaf.text).replace('"', " ").encode(errors="replace").decode()


def prose_term(leaf: Leaf) -> str:
    """The FTS5 expression for one leaf."""
    quoted = sought(leaf)
    return f'"{quoted}"*' if isinstance(leaf, Prefix) else f'"{quoted}"'


def match(node: Node, term: Callable[[Leaf], str] = prose_term) -> str | None:
    """`node` as one FTS5 expression; None if FTS5 has none for it (nothing must match, or a prefix is asked for)."""
    if isinstance(node, Prefix | Not):
        return None
    if isinstance(node, Word | Phrase):
        return term(node)
    if isinstance(node, Any):
        found = [match(part, term) for part in node.parts]
        return f"({' OR '.join(found)})" if found and None not in found else None  # type: ignore[arg-type]  # no None
    return _match_all(node, term)


def _match_all(node: All, term: Callable[[Leaf], str]) -> str | None:
    wanted = [match(part, term) for part in node.parts if not isinstance(part, Not)]
    unwanted = [match(part.part, term) for part in node.parts if isinstance(part, Not)]
    if not wanted or None in wanted or None in unwanted:
        return None
    text = " AND ".join(f"({part})" for part in wanted)
    return f"(({text}) NOT ({' OR '.join(unwanted)}))" if unwanted else f"({text})"  # type: ignore[arg-type]


def any_leaf(node: Node, *, prefixes: bool) -> str | None:
    """Any wanted leaf of `node`, prefixes or the others: what it is ranked by. None if there are none of that sort."""
    leaves = [leaf for leaf in wanted_leaves(node) if isinstance(leaf, Prefix) == prefixes]
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


__all__ = [
    "All",
    "any_leaf",
    "code_parts",
    "code_sought",
    "code_terms",
    "code_text",
    "code_wholes",
    "has_words",
    "match",
    "prose",
    "prose_term",
    "record",
    "sought",
]
