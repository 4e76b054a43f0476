"""The search tables of the catalogue. The texts themselves are in the segments: FTS5 keeps only its index of them.

Items of text are numbered in runs: the item `i` of the row at `start + n` has the row id ``first + n * len(items) + i``
in ``prose`` and ``plain``, so that nothing needs to be kept per row. Descriptions have row ids from DESCRIPTIONS_FROM on.
"""

from __future__ import annotations

from tablevault_pd.fts import PLAIN, STEMMED

DESCRIPTIONS_FROM = 1 << 61

# plain: the same texts without stemming, for prefixes. A stem is not what the word begins with.
ITEM_TABLES = f"""
CREATE VIRTUAL TABLE prose USING fts5(text, content='', tokenize='{STEMMED}');
CREATE VIRTUAL TABLE plain USING fts5(text, content='', tokenize='{PLAIN}');
CREATE TABLE text_runs (
    first INTEGER PRIMARY KEY,
    list INTEGER NOT NULL,
    generation INTEGER NOT NULL,
    start INTEGER NOT NULL,
    rows INTEGER NOT NULL,
    items TEXT NOT NULL
);
CREATE TABLE text_upto (list INTEGER NOT NULL, generation INTEGER NOT NULL, upto INTEGER NOT NULL,
    PRIMARY KEY (list, generation)) WITHOUT ROWID;
"""

TEXT_TABLES = (
    ITEM_TABLES
    + """
CREATE INDEX restores ON batches (list, version) WHERE base_generation IS NOT NULL;
CREATE TABLE code_texts (id INTEGER PRIMARY KEY, digest BLOB NOT NULL UNIQUE);
CREATE TABLE cell_sources (session INTEGER NOT NULL, cell INTEGER NOT NULL, source INTEGER NOT NULL REFERENCES code_texts(id),
    PRIMARY KEY (session, cell)) WITHOUT ROWID;
CREATE INDEX cells_of_source ON cell_sources (source);
CREATE VIRTUAL TABLE code_words USING fts5(parts, wholes, content='', tokenize='unicode61 remove_diacritics 0');
CREATE VIRTUAL TABLE code_triples USING fts5(text, content='', tokenize='trigram');
"""
)

_SHADOWS = ("data", "idx", "content", "docsize", "config")
#: Tables that FTS5 makes for itself; how it declares them is its own business and may differ between its versions.
SHADOW_TABLES = frozenset(
    f"{table}_{shadow}" for table in ("prose", "plain", "code_words", "code_triples") for shadow in _SHADOWS
)
