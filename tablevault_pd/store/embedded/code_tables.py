"""The tables of slices: each statement once, each slice once, and which commits a slice is of."""

from __future__ import annotations

# A slice's own session is not named in it, so that runs of the same code share it. A cell -1 stands for a whole session.
SLICE_TABLES = """
CREATE TABLE statements (
    id INTEGER PRIMARY KEY,
    digest BLOB NOT NULL UNIQUE,
    path TEXT,
    kind TEXT NOT NULL,
    names TEXT NOT NULL,
    text TEXT NOT NULL,
    tree TEXT NOT NULL,
    source INTEGER NOT NULL
);
CREATE TABLE slices (
    id INTEGER PRIMARY KEY,
    digest BLOB NOT NULL UNIQUE,
    parts TEXT NOT NULL,
    unresolved TEXT NOT NULL
);
CREATE TABLE slice_sources (
    source INTEGER NOT NULL,
    slice INTEGER NOT NULL REFERENCES slices(id),
    PRIMARY KEY (source, slice)
) WITHOUT ROWID;
CREATE TABLE written_code (
    session INTEGER NOT NULL REFERENCES sessions(id),
    cell INTEGER NOT NULL,
    line INTEGER NOT NULL,
    slice INTEGER NOT NULL REFERENCES slices(id),
    PRIMARY KEY (session, cell, line)
) WITHOUT ROWID;
CREATE INDEX written_by_slice ON written_code (slice);
CREATE TABLE confirmations (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    list INTEGER NOT NULL REFERENCES lists(id),
    version INTEGER NOT NULL,
    session INTEGER REFERENCES sessions(id),
    cell INTEGER,
    line INTEGER,
    time INTEGER NOT NULL
);
CREATE INDEX confirmations_of ON confirmations (list, version);
"""
# Rows of a version that were made again, as JSON: `rows` holds [start, stop], `made_from` [list, version]. `after` is the last of
# the confirmations before. The table is made when there is the first of them, as vaults of before have none.
ROWS_CONFIRMED = """
CREATE TABLE rows_confirmed (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    after INTEGER NOT NULL,
    list INTEGER NOT NULL REFERENCES lists(id),
    version INTEGER NOT NULL,
    session INTEGER REFERENCES sessions(id),
    cell INTEGER,
    line INTEGER,
    rows TEXT,
    made_from TEXT NOT NULL,
    time INTEGER NOT NULL
);
"""
