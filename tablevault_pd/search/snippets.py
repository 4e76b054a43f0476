"""Looking once more at the texts that were found: which field of a record matched best, and where."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager

from tablevault_pd import fts
from tablevault_pd.store.query import Node, Prefix, wanted_leaves

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
    "SELECT rowid, snippet(prose, 0, '[', ']', '…', 16) FROM prose WHERE prose MATCH ?",
    "SELECT rowid, snippet(plain, 0, '[', ']', '…', 16) FROM plain WHERE plain MATCH ?",
)


def best_fields(query: Node, texts: Sequence[Sequence[str | None]]) -> list[int]:
    """For each row the number of the field, of `texts` by field and row, that has most of the words, and has them best."""
    rows = len(texts[0]) if texts else 0
    fields = len(texts)
    present = [[field for field in range(fields) if texts[field][row]] for row in range(rows)]
    best = [there[0] if there else 0 for there in present]
    doubtful = [row for row, there in enumerate(present) if len(there) > 1]
    if not doubtful:
        return best
    score = dict.fromkeys(((row, field) for row in doubtful for field in present[row]), 0.0)
    with _indexed((row * fields + field, texts[field][row] or "") for row, field in score) as db:
        for leaf in dict.fromkeys(wanted_leaves(query)):
            for key, rank in db.execute(MATCHES[isinstance(leaf, Prefix)], (fts.prose_term(leaf),)):
                score[divmod(key, fields)] += 1 + min(
                    -rank / 1000, 0.001
                )  # more words first, then the better match
    for row in doubtful:
        best[row] = max(present[row], key=lambda field: (score[row, field], -field))
    return best


def snippets(query: Node, texts: Sequence[str | None]) -> list[str | None]:
    """For each text the part around what was found, which stands in brackets; the beginning if nothing was."""
    found = [None if text is None else text[:80] for text in texts]
    with _indexed((row, text) for row, text in enumerate(texts) if text) as db:
        for prefixes in (True, False):
            term = fts.any_leaf(query, prefixes=prefixes)
            if term is not None:
                for row, snippet in db.execute(SNIPPETS[prefixes], (term,)):
                    found[row] = snippet
    return found


@contextmanager
def _indexed(texts: Iterator[tuple[int, str]]) -> Iterator[sqlite3.Connection]:
    items = [(key, fts.prose(text)) for key, text in texts]
    with closing(sqlite3.connect(":memory:")) as db:
        for table, insert in zip(TABLES, INSERT, strict=True):
            db.execute(table)
            db.executemany(insert, items)
        yield db
