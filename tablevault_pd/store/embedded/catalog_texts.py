"""The indexes of code and descriptions, which the catalogue has: each is written with the commit that brings the text, or made anew.

The functions work in an open transaction. The index of the rows' texts is a file of its own: see :mod:`text`.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

from tablevault_pd.store.embedded import tables
from tablevault_pd.store.embedded.code import reindex_code
from tablevault_pd.store.engine import fts
from tablevault_pd.store.engine.fts_index import (
    CHECKS,
    CLEAR,
    CODE_TABLES,
    DESCRIPTIONS_FROM,
    WORD_TABLES,
    add_source,
    insert_texts,
)

if TYPE_CHECKING:
    from sqlite3 import Connection

CHECKS_OF_CODE = (
    "INSERT INTO code_words (code_words) VALUES ('integrity-check')",
    "INSERT INTO code_triples (code_triples) VALUES ('integrity-check')",
)
CLEAR_CODE = (
    "INSERT INTO code_words (code_words) VALUES ('delete-all')",
    "INSERT INTO code_triples (code_triples) VALUES ('delete-all')",
    "DELETE FROM cell_sources",
    "DELETE FROM code_texts",
)
CELL_TEXTS = "SELECT session, cell, text FROM cells"
DESCRIPTION_TEXTS = "SELECT id, text FROM descriptions"
PUT_CELL_SOURCE = "INSERT OR REPLACE INTO cell_sources (session, cell, source) VALUES (?, ?, ?)"
# The records with which FTS5 begins a table, without which SQLite neither empties nor drops it: how they are read, and put.
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


def add_description(db: Connection, key: int, text: str) -> None:
    """Index a description just inserted."""
    insert_texts(db, [(DESCRIPTIONS_FROM + key, fts.indexed(fts.prose(text), None))])


def add_code(db: Connection, session_id: int, cell: int, text: str) -> None:
    """Index a cell just inserted. The same code is indexed once, however many sessions run it."""
    db.execute(PUT_CELL_SOURCE, (session_id, cell, add_source(db, text)))


def check_texts(db: Connection) -> None:
    """Let SQLite compare the indexes with themselves. Raises what it finds."""
    for statement in (*CHECKS, *CHECKS_OF_CODE):
        db.execute(statement)


def rebuild_texts(db: Connection) -> None:
    """Index all code and all descriptions anew."""
    try:
        _clear(db)
    except sqlite3.DatabaseError:
        _put_first_records(db)
        _clear(db)
    _rebuild_descriptions(db)
    for session_id, cell, text in db.execute(CELL_TEXTS).fetchall():
        add_code(db, session_id, cell, text)
    reindex_code(db)


def _clear(db: Connection) -> None:
    for statement in (*CLEAR, *CLEAR_CODE):
        db.execute(statement)


def _rebuild_descriptions(db: Connection) -> None:
    for statement in CLEAR:
        db.execute(statement)
    for key, text in db.execute(DESCRIPTION_TEXTS).fetchall():
        add_description(db, key, text)


def drop_former(db: Connection) -> None:
    """Drop the index of rows that was in the catalogue."""
    if db.execute(tables.HAS_FORMER).fetchone() is not None:
        _rebuild_descriptions(db)
        for statement in tables.DROP_FORMER:
            db.execute(statement)


def _put_first_records(db: Connection) -> None:
    """Give the tables of texts those of empty tables, as this SQLite makes them. Each has to be emptied next."""
    with closing(sqlite3.connect(":memory:")) as empty:
        empty.executescript(WORD_TABLES + CODE_TABLES)
        for read, put in RECORDS:
            db.executemany(put, empty.execute(read).fetchall())
