"""Parse the text of a search: words, "phrases", OR, -not, prefix*.

Every word must match; with ``match="any"`` one of them, and a word in a script without blanks is replaced by its pairs of
neighbouring characters. ``OR`` in capitals separates alternatives, each a list of words. A minus excludes a word from its own
alternative. A phrase counts as one word. Anything else is a word: only a blank text is an error.
"""

from __future__ import annotations

import re
from typing import Literal

from tablevault_pd.errors import InvalidInput, InvalidType, short_repr
from tablevault_pd.store.engine.fts import has_words, pieces
from tablevault_pd.store.text_query import AllOf, AnyOf, Leaf, Negated, Node, Phrase, Prefix, Word

Match = Literal["all", "any"]

_TOKEN = re.compile(r'(?P<minus>-?)(?:"(?P<phrase>[^"]*)"?|(?P<word>[^\s"]+))')
_SUBSTRING = 3  #: code shorter than this is found as a word only


def parse_text(text: object, what: str = "text", *, code: bool = False, match: Match = "all") -> Node:
    """The query that `text` means. Raises InvalidInput if it is blank, InvalidType if it is no str.

    Examples
    --------
    >>> parse_text('solar "power plant" -wind')
    AllOf(parts=(Word(text='solar'), Phrase(text='power plant'), Negated(part=Word(text='wind'))))
    """
    if not isinstance(text, str):
        raise InvalidType(f"{what}= is a text, not {type(text).__name__}: {short_repr(text)}")
    if not text.strip() or not text.replace("\0", " ").strip():
        raise InvalidInput(f"{what}= is blank. Leave it out to search without words.")
    alternatives: list[dict[Node, None]] = [{}]  # dicts as ordered sets: a word that is repeated counts once
    for token in _TOKEN.finditer(text.replace("\0", " ")):
        if token["word"] == "OR" and not token["minus"]:
            alternatives.append({})
            continue
        leaf = _leaf(token["word"], token["phrase"], code)
        if leaf is None:
            continue
        if token["minus"]:
            alternatives[-1][Negated(leaf)] = None
        elif match == "any" and isinstance(leaf, Word):
            alternatives[-1] |= dict.fromkeys(map(Word, pieces(leaf.text)))
        else:
            alternatives[-1][leaf] = None
    queries = [_alternative(tuple(parts), match) for parts in alternatives if parts]
    return queries[0] if len(queries) == 1 else AnyOf(tuple(queries))


def _alternative(parts: tuple[Node, ...], match: Match) -> Node:
    """One list of words."""
    positive = tuple(part for part in parts if not isinstance(part, Negated))
    if match == "any" and len(positive) > 1:
        parts = (AnyOf(positive), *(part for part in parts if isinstance(part, Negated)))
    return parts[0] if len(parts) == 1 else AllOf(parts)


def _leaf(word: str | None, phrase: str | None, code: bool) -> Leaf | None:
    """One word, phrase or prefix; None if there is nothing in it to look for."""
    text = phrase if phrase is not None else word or ""
    if not has_words(text) and not (code and len(text.strip()) >= _SUBSTRING):
        return None
    if phrase is not None:
        return Phrase(text if code else " ".join(text.split()))
    if text.endswith("*") and has_words(text[:-1].rstrip("*")):
        return Prefix(text.rstrip("*"))
    return Word(text)
