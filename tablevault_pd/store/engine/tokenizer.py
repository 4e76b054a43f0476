"""Tokenise texts as SQLite's FTS5 does, for stores that keep an index of their own: so that all find the same.

FTS5 itself tokenises, in a table in memory, but each word only once: a text is split at characters that separate words for
every tokeniser, and the terms of each piece are cached. Pieces do not influence each other.
"""

from __future__ import annotations

import os
import re
import sqlite3
import threading
from hashlib import sha256
from sqlite3 import Connection
from typing import TYPE_CHECKING

from tablevault_pd.store.engine import fork_guard as forks
from tablevault_pd.store.engine.fts import CODE, PLAIN, STEMMED

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from tablevault_pd.store.engine.fts import IndexedText

REMEMBERED = 200_000  # pieces: some tens of MB
# characters: longer terms are cut, and told apart by a hash; search indexes on servers have limits
LONGEST = 1000
_KEPT = LONGEST - 64

# ASCII that is no letter or digit, and white space: no tokeniser in use takes these for part of a word.
_PIECE = re.compile(r"[^\s\x00-\x2f\x3a-\x40\x5b-\x60\x7b-\x7f]+")

# One database in memory for each tokeniser, which only a constant of ours can name.
TABLES = """
CREATE VIRTUAL TABLE pieces USING fts5(text, content='', tokenize='{tokenizer}');
CREATE VIRTUAL TABLE terms USING fts5vocab('pieces', 'instance');
"""
INSERT = "INSERT INTO pieces (rowid, text) VALUES (?, ?)"
TERMS = "SELECT doc, term FROM terms ORDER BY doc, offset"


class Tokenizer:
    """What some tokenisers of FTS5 make of texts."""

    def __init__(self, *tokenizers: str) -> None:
        self._tokenizers = tokenizers
        self._reset()

    def _reset(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.Lock()  # the connections are for all threads
        self._databases: list[Connection] = []
        self._known: tuple[dict[str, str], ...] = tuple({} for _ in self._tokenizers)

    def tokenize(self, texts: Iterable[str]) -> tuple[list[str], ...]:
        """For each tokeniser the terms of each text, with a blank between them."""
        if self._pid != os.getpid():  # another thread of the parent may have held the lock
            self._reset()
        if len(self._known[0]) > REMEMBERED:
            self._known = tuple({} for _ in self._tokenizers)
        terms = self._known
        pieces = [_PIECE.findall(text) for text in texts]
        new = set().union(*pieces) - terms[0].keys()
        if new:
            self._learn(list(new), terms)
        return tuple(
            [" ".join(filter(None, map(terms_of.__getitem__, some))) for some in pieces] for terms_of in terms
        )

    def _learn(self, words: Sequence[str], dictionaries: tuple[dict[str, str], ...]) -> None:
        with self._lock, forks.no_fork:
            if not self._databases:
                self._databases = [_opened(tokenizer) for tokenizer in self._tokenizers]
            # The first one last: it says what is known.
            for db, terms in reversed(list(zip(self._databases, dictionaries, strict=True))):
                terms.update(zip(words, _terms(db, words), strict=True))


def _opened(tokenizer: str) -> Connection:
    db = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
    # Of "uतing" Porter leaves half a character: it takes the bytes of that for a double consonant.
    db.text_factory = lambda term: term.decode(errors="backslashreplace")
    db.executescript(TABLES.format(tokenizer=tokenizer))
    return db


def _terms(db: Connection, words: Sequence[str]) -> Iterator[str]:
    """What the tokeniser makes of each word: one term, or several, or none."""
    db.rollback()  # of what an interrupt has left
    db.execute("BEGIN")  # or each word would be a part of the index by itself
    db.executemany(INSERT, enumerate(words))
    terms: list[list[str]] = [[] for _ in words]
    for number, term in db.execute(TERMS):
        if term is not None:  # of a mark that stands alone nothing is left without diacritics
            terms[number].append(_short(term))
    db.execute("ROLLBACK")
    return map(" ".join, terms)


def _short(term: str) -> str:
    return term if len(term) <= LONGEST else term[:_KEPT] + sha256(term.encode()).hexdigest()


def beginning(term: str) -> str:
    """A term as the beginning of others, as short as these may have become."""
    return term[:_KEPT]


#: stems, and plain words
PROSE = Tokenizer(STEMMED, PLAIN)


def terms_of(texts: Iterable[IndexedText]) -> tuple[list[str], list[str]]:
    """The stems and the plain words of each text, with a blank between them."""
    every = list(texts)
    stems, words = PROSE.tokenize(text.words for text in every)
    own = [
        number for number, text in enumerate(every) if text.stems is not text.words
    ]  # those in a language of their own
    if own:
        stemmed, _ = PROSE.tokenize(every[number].stems for number in own)
        for number, terms in zip(own, stemmed, strict=True):
            stems[number] = terms
    return stems, words


#: words of code that was split already
SOURCE = Tokenizer(CODE)
