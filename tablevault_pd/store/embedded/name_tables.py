"""The tables of names: of versions, and what lists were called before."""

from __future__ import annotations

NAME_TABLES = """
CREATE TABLE version_names (
    name TEXT NOT NULL,
    list INTEGER NOT NULL,
    version INTEGER NOT NULL,
    snapshot INTEGER NOT NULL CHECK (snapshot IN (0, 1)),
    session INTEGER REFERENCES sessions(id),
    time INTEGER NOT NULL,
    PRIMARY KEY (name, list),
    FOREIGN KEY (list, version) REFERENCES batches(list, version)
) WITHOUT ROWID;
CREATE INDEX names_of_versions ON version_names (list, version);
CREATE TABLE renames (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    old TEXT NOT NULL,
    list INTEGER NOT NULL REFERENCES lists(id),
    session INTEGER REFERENCES sessions(id),
    time INTEGER NOT NULL
);
CREATE INDEX renames_of ON renames (old);
"""
