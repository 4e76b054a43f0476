"""The search tables of the catalogue: the index of texts, and which cell ran which code."""

from __future__ import annotations

from tablevault_pd.store.engine.fts_index import CODE_TABLES, ITEM_TABLES

TEXT_TABLES = (
    ITEM_TABLES
    + CODE_TABLES
    + """
CREATE TABLE cell_sources (session INTEGER NOT NULL, cell INTEGER NOT NULL, source INTEGER NOT NULL REFERENCES code_texts(id),
    PRIMARY KEY (session, cell)) WITHOUT ROWID;
CREATE INDEX cells_of_source ON cell_sources (source);
"""
)

_SHADOWS = ("data", "idx", "content", "docsize", "config")
#: Tables that FTS5 makes for itself; how it declares them is its own business and may differ between its versions.
SHADOW_TABLES = frozenset(
    f"{table}_{shadow}" for table in ("prose", "plain", "code_words", "code_triples") for shadow in _SHADOWS
)
