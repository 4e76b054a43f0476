"""The tables of claims. A row of a list that has no row here is open."""

from __future__ import annotations

# States: 0 given back and open again, 1 held, 2 done. `token` tells the rows of one call from those of others.
CLAIM_TABLES = """
CREATE TABLE work (
    list INTEGER PRIMARY KEY REFERENCES lists(id),
    generation INTEGER NOT NULL,
    frontier INTEGER NOT NULL
);
CREATE TABLE work_same_rows (
    list INTEGER NOT NULL REFERENCES work(list),
    generation INTEGER NOT NULL,
    runs BLOB NOT NULL,
    PRIMARY KEY (list, generation)
) WITHOUT ROWID;
CREATE TABLE work_holders (
    list INTEGER NOT NULL REFERENCES work(list),
    session INTEGER NOT NULL REFERENCES sessions(id),
    attempt INTEGER NOT NULL,
    PRIMARY KEY (list, session, attempt)
) WITHOUT ROWID;
CREATE TABLE claims (
    list INTEGER NOT NULL REFERENCES work(list),
    generation INTEGER NOT NULL,
    row INTEGER NOT NULL CHECK (row >= 0),
    state INTEGER NOT NULL CHECK (state BETWEEN 0 AND 2),
    session INTEGER,
    attempt INTEGER,
    token INTEGER,
    since INTEGER NOT NULL,
    PRIMARY KEY (list, generation, row)
) WITHOUT ROWID;
CREATE INDEX claims_held ON claims (list, session, attempt) WHERE state = 1;
CREATE INDEX claims_given_back ON claims (list, generation, row) WHERE state = 0;
"""
