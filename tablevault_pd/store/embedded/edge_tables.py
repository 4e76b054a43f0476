"""The tables of lineage, a part of the catalogue's layout."""

# Both ends of an edge are filed by (level, bin): see store/edges.py. Forms: 0 whole list, 1 span, 2 affine, 3 pairs,
# 4 each of several. Bases: 0 read, 1 inferred, 2 stated.
EDGE_TABLES = """
CREATE TABLE edges (
    id INTEGER PRIMARY KEY,
    list INTEGER NOT NULL,
    version INTEGER NOT NULL,
    generation INTEGER NOT NULL,
    start INTEGER NOT NULL CHECK (start >= 0),
    rows INTEGER NOT NULL CHECK (rows >= 0),
    level INTEGER NOT NULL,
    bin INTEGER NOT NULL,
    parent_list INTEGER NOT NULL,
    parent_version INTEGER NOT NULL,
    parent_generation INTEGER NOT NULL,
    parent INTEGER NOT NULL CHECK (parent >= 0),
    span INTEGER NOT NULL CHECK (span >= 0),
    parent_level INTEGER NOT NULL,
    parent_bin INTEGER NOT NULL,
    basis INTEGER NOT NULL CHECK (basis BETWEEN 0 AND 2),
    form INTEGER NOT NULL CHECK (form BETWEEN 0 AND 4),
    step INTEGER NOT NULL,
    children BLOB,
    parents BLOB,
    FOREIGN KEY (list, version) REFERENCES batches(list, version),
    FOREIGN KEY (parent_list, parent_version) REFERENCES batches(list, version)
);
CREATE INDEX edges_by_child ON edges (list, generation, level, bin);
CREATE INDEX edges_by_parent ON edges (parent_list, parent_generation, parent_level, parent_bin);
CREATE INDEX batches_by_place ON batches (list, generation, start) WHERE rows > 0;
CREATE INDEX batches_gone ON batches (list) WHERE gone = 1;
CREATE TABLE reads (
    session INTEGER NOT NULL REFERENCES sessions(id),
    list INTEGER NOT NULL REFERENCES lists(id),
    version INTEGER NOT NULL,
    UNIQUE (session, list, version)
);
"""
