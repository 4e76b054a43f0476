"""The records with which FTS5 begins a table. SQLite neither empties nor drops a table that lacks them."""

from __future__ import annotations

import sqlite3
from contextlib import closing

from tablevault_pd.store.engine.fts_index import CODE_TABLES, WORD_TABLES

# Of each table: how its records are read, and how they are put.
RECORDS = (
    ("SELECT id, block FROM prose_data", "INSERT OR REPLACE INTO prose_data (id, block) VALUES (?, ?)"),
    ("SELECT id, block FROM plain_data", "INSERT OR REPLACE INTO plain_data (id, block) VALUES (?, ?)"),
    ("SELECT id, block FROM code_words_data", "INSERT OR REPLACE INTO code_words_data (id, block) VALUES (?, ?)"),
    ("SELECT id, block FROM code_triples_data", "INSERT OR REPLACE INTO code_triples_data (id, block) VALUES (?, ?)"),
    ("SELECT k, v FROM prose_config", "INSERT OR REPLACE INTO prose_config (k, v) VALUES (?, ?)"),
    ("SELECT k, v FROM plain_config", "INSERT OR REPLACE INTO plain_config (k, v) VALUES (?, ?)"),
    ("SELECT k, v FROM code_words_config", "INSERT OR REPLACE INTO code_words_config (k, v) VALUES (?, ?)"),
    ("SELECT k, v FROM code_triples_config", "INSERT OR REPLACE INTO code_triples_config (k, v) VALUES (?, ?)"),
)  # fmt: skip


def put_first_records(db: sqlite3.Connection) -> None:
    """Give the tables of texts those of empty tables, as this SQLite makes them. Each has to be emptied next."""
    with closing(sqlite3.connect(":memory:")) as empty:
        empty.executescript(WORD_TABLES + CODE_TABLES)
        for read, put in RECORDS:
            db.executemany(put, empty.execute(read).fetchall())
