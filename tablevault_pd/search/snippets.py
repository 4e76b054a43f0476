"""Search the texts of the result once more: which field of a record matches best, and the part of the text that matches."""

from __future__ import annotations

import sqlite3
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

from tablevault_pd.store.engine import fts
from tablevault_pd.store.text_query import Node, Prefix, ranking_leaves

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

TABLES = (
    f"CREATE VIRTUAL TABLE prose USING fts5(text, tokenize='{fts.STEMMED}')",
    f"CREATE VIRTUAL TABLE plain USING fts5(text, tokenize='{fts.PLAIN}')",
)
INSERT = ("INSERT INTO prose (rowid, text) VALUES (?, ?)", "INSERT INTO plain (rowid, text) VALUES (?, ?)")
MATCHES = (
    "SELECT rowid, rank FROM prose WHERE prose MATCH ?",
    "SELECT rowid, rank FROM plain WHERE plain MATCH ?",
)
SNIPPETS = (
    "SELECT rowid, snippet(prose, 0, char(1), char(2), char(3), 16) FROM prose WHERE prose MATCH ?",
    "SELECT rowid, snippet(plain, 0, char(1), char(2), char(3), 16) FROM plain WHERE plain MATCH ?",
)
MARKS = {"\1": "[", "\2": "]", "\3": "…"}  # around what was found, and for what was left out


_NO_MARKS = dict.fromkeys((1, 2, 3), " ")


def best_fields(query: Node, texts: Sequence[Sequence[str | None]], language: str | None = None) -> list[int]:
    """For each row the number of the field, of `texts` by field and row, that has most of the words, and has them best."""
    rows = len(texts[0]) if texts else 0
    fields = len(texts)
    present = [[field for field in range(fields) if texts[field][row]] for row in range(rows)]
    best = [filled[0] if filled else 0 for filled in present]
    ambiguous = [row for row, filled in enumerate(present) if len(filled) > 1]
    if not ambiguous:
        return best
    score = dict.fromkeys(((row, field) for row in ambiguous for field in present[row]), 0.0)
    with _indexed((row * fields + field, texts[field][row] or "", language) for row, field in score) as db:
        for leaf in dict.fromkeys(ranking_leaves(query)):
            for key, rank in db.execute(MATCHES[isinstance(leaf, Prefix)], (fts.prose_term(leaf),)):
                # more words first, then the better match
                score[divmod(key, fields)] += 1 + min(-rank / 1000, 0.001)
    for row in ambiguous:
        best[row] = max(present[row], key=lambda field: (score[row, field], -field))
    return best


def scores_of_texts(query: Node, texts: Sequence[str]) -> list[float]:
    """The score of each text among these, as a store ranks: by BM25. 0 for one without the words."""
    scores = [0.0] * len(texts)
    whole = fts.match(query)
    terms = (
        (whole, None)
        if whole is not None
        else [fts.any_leaf(query, prefixes=prefixes) for prefixes in (False, True)]
    )
    with _indexed((row, text, None) for row, text in enumerate(texts)) as db:
        for statement, term in zip(MATCHES, terms, strict=True):
            for row, rank in db.execute(statement, (term,)) if term is not None else ():
                scores[row] -= rank
    return scores


def snippets(
    query: Node, texts: Sequence[str | None], languages: Sequence[str | None] = ()
) -> list[str | None]:
    """For each text the part around what was found, which stands in brackets; the beginning if nothing was."""
    languages = languages or [None] * len(texts)
    shown = [None if text is None else text[:80] for text in texts]
    items = ((row, text, languages[row]) for row, text in enumerate(texts) if text)
    with _indexed(items) as db:
        for prefixes in (True, False):
            term = fts.any_leaf(query, prefixes=prefixes)
            if term is not None:
                for row, snippet in db.execute(SNIPPETS[prefixes], (term,)):
                    shown[row] = _as_written(snippet, texts[row] or "", None if prefixes else languages[row])
    return shown


def _as_written(snippet: str, text: str, language: str | None) -> str:
    """A snippet of the indexed form of `text`, in the characters of `text` itself."""
    if text.isascii() and language is None:
        indexed, sources = "", list[int]()
    else:
        indexed, sources = fts.prose_sources(text.translate(_NO_MARKS), language)
    at = (
        indexed.find("".join(character for character in snippet if character not in MARKS)) if indexed else -1
    )
    if at < 0:
        return "".join(MARKS.get(character, character) for character in snippet)
    sources.append(len(text))
    parts, done = [], sources[at]
    for character in snippet:
        if character not in MARKS:
            at += 1
            continue
        end = sources[at - 1] + 1 if character == "\2" else sources[at]
        while character == "\2" and end < sources[at] and not text[end].isspace():
            end += 1  # accents that went with the last letter
        parts += [text[done:end], MARKS[character]]
        done = end
    return "".join([*parts, text[done : sources[at]]])


@contextmanager
def _indexed(texts: Iterator[tuple[int, str, str | None]]) -> Iterator[sqlite3.Connection]:
    """The texts, each with its key and its language, in an index in memory."""
    items = [(key, _as_indexed(text.translate(_NO_MARKS), language)) for key, text, language in texts]
    with closing(sqlite3.connect(":memory:")) as db:
        for number, (table, insert) in enumerate(zip(TABLES, INSERT, strict=True)):
            db.execute(table)
            db.executemany(insert, [(key, text[number]) for key, text in items])
        yield db


def _as_indexed(text: str, language: str | None) -> fts.IndexedText:
    if language is None:
        return fts.indexed(fts.prose(text), None)
    return fts.IndexedText(fts.prose_sources(text, language)[0], fts.prose(text))
