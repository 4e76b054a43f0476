"""The tables of the catalogue: their layout, and the format that names it."""

from __future__ import annotations

import sqlite3
import uuid
from functools import cache
from typing import TYPE_CHECKING, Any

from tablevault_pd.errors import VaultFormatError
from tablevault_pd.store.engine.fts_index import CODE_TABLES, WORD_TABLES

if TYPE_CHECKING:
    from pathlib import Path

FORMAT = 1
APPLICATION_ID = 0x74766C74  # "tvlt"

# Times are integer microseconds since 1970 in UTC. A batch is a version; a layout the pieces that versions
# show before their own rows; a segment a run of stored rows, whose `erased` are the numbers of those that were erased.
# The table `erased` has the addresses of all rows that ever were.
TABLES = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE lists (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE);
CREATE TABLE schemas (id INTEGER PRIMARY KEY AUTOINCREMENT, digest BLOB NOT NULL UNIQUE, data BLOB NOT NULL);
CREATE TABLE batches (
    list INTEGER NOT NULL REFERENCES lists(id),
    version INTEGER NOT NULL CHECK (version > 0),
    token TEXT NOT NULL,
    operation TEXT NOT NULL CHECK (operation IN ('save', 'append', 'delete', 'restore', 'upsert', 'delete_rows',
                                                  'erase')),
    generation INTEGER NOT NULL,
    layout INTEGER,
    first INTEGER NOT NULL CHECK (first >= 0),
    start INTEGER NOT NULL CHECK (start >= 0),
    rows INTEGER NOT NULL CHECK (rows >= 0),
    total INTEGER NOT NULL CHECK (total >= 0),
    changed INTEGER NOT NULL CHECK (changed >= 0),
    removed INTEGER NOT NULL CHECK (removed >= 0),
    schema INTEGER NOT NULL REFERENCES schemas(id),
    session INTEGER REFERENCES sessions(id),
    cell INTEGER,
    step INTEGER,
    time INTEGER NOT NULL,
    tags TEXT NOT NULL DEFAULT '[]',
    message TEXT,
    gone INTEGER NOT NULL DEFAULT 0,
    erased INTEGER NOT NULL DEFAULT 0,
    line INTEGER,
    PRIMARY KEY (list, version)
) WITHOUT ROWID;
CREATE UNIQUE INDEX batches_by_token ON batches (list, token);
CREATE TABLE layouts (list INTEGER NOT NULL, version INTEGER NOT NULL, pieces BLOB NOT NULL, PRIMARY KEY (list, version),
    FOREIGN KEY (list, version) REFERENCES batches(list, version));
CREATE TABLE segments (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    list INTEGER NOT NULL REFERENCES lists(id),
    generation INTEGER NOT NULL,
    start INTEGER NOT NULL,
    rows INTEGER NOT NULL,
    schema INTEGER NOT NULL REFERENCES schemas(id),
    codec TEXT NOT NULL CHECK (codec IN ('batch', 'stream', 'file', 'zstd')),
    file TEXT CHECK (file IS NULL OR (length(file) = 32 AND file NOT GLOB '*[^0-9a-f]*')),
    size INTEGER NOT NULL CHECK (size >= 0),
    checksum INTEGER NOT NULL,
    data BLOB,
    zones TEXT,
    erased BLOB,
    UNIQUE (list, generation, start, rows)
);
CREATE TABLE erased (list INTEGER PRIMARY KEY REFERENCES lists(id), pieces BLOB NOT NULL);
CREATE UNIQUE INDEX segments_by_file ON segments (file) WHERE file IS NOT NULL;
CREATE TABLE sessions (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL,
    run INTEGER NOT NULL,
    user TEXT NOT NULL,
    host TEXT NOT NULL,
    pid INTEGER NOT NULL,
    parent INTEGER REFERENCES sessions(id),
    started INTEGER NOT NULL,
    ended INTEGER,
    heartbeat INTEGER,
    beat_s REAL NOT NULL DEFAULT 5,
    paused INTEGER NOT NULL DEFAULT 0,
    outcome TEXT,
    error TEXT,
    tags TEXT NOT NULL DEFAULT '[]',
    params TEXT NOT NULL DEFAULT '{}',
    attempt INTEGER NOT NULL DEFAULT 0,
    timeline TEXT NOT NULL DEFAULT '{}',
    info TEXT NOT NULL DEFAULT '{}',
    UNIQUE (name, run)
);
CREATE TABLE cells (
    session INTEGER NOT NULL REFERENCES sessions(id),
    cell INTEGER NOT NULL,
    text TEXT NOT NULL,
    started INTEGER NOT NULL,
    duration_s REAL,
    outcome TEXT NOT NULL,
    error TEXT,
    traceback TEXT,
    execution_count INTEGER,
    notebook TEXT,
    path TEXT,
    until INTEGER,
    names TEXT,
    PRIMARY KEY (session, cell)
) WITHOUT ROWID;
CREATE TABLE descriptions (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    list INTEGER REFERENCES lists(id),
    session_of INTEGER REFERENCES sessions(id),
    label TEXT NOT NULL,
    text TEXT NOT NULL,
    vector BLOB,
    session INTEGER REFERENCES sessions(id),
    time INTEGER NOT NULL
);
CREATE TABLE files (sha256 TEXT PRIMARY KEY CHECK (length(sha256) = 64 AND sha256 NOT GLOB '*[^0-9a-f]*'),
    size INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE file_uses (sha256 TEXT NOT NULL REFERENCES files(sha256), list INTEGER NOT NULL, version INTEGER NOT NULL,
    PRIMARY KEY (sha256, list, version)) WITHOUT ROWID;
"""
# Names of versions, and what lists were called before.
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
TEXT_TABLES = (
    WORD_TABLES  # of descriptions; the texts of rows are in a file of their own
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
#: … and what is known of the columns, if somebody asked for it. No trigger or view hides behind such a name.
MADE_BY_SQLITE = SHADOW_TABLES | {"sqlite_stat1", "sqlite_stat4"}

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
CREATE INDEX batches_by_place ON batches (list, generation, start);
CREATE INDEX batches_gone ON batches (list) WHERE gone = 1;
CREATE TABLE reads (
    session INTEGER NOT NULL REFERENCES sessions(id),
    list INTEGER NOT NULL REFERENCES lists(id),
    version INTEGER NOT NULL,
    UNIQUE (session, list, version)
);
"""

# Commits that left a mark in the journal and are not in the catalogue: see journal.py.
LOST_TABLE = """
CREATE TABLE lost (list TEXT NOT NULL, version INTEGER NOT NULL, token TEXT NOT NULL, rows INTEGER NOT NULL,
    files TEXT NOT NULL, settled INTEGER NOT NULL DEFAULT 0, PRIMARY KEY (list, version, token)) WITHOUT ROWID;
"""

# Logged values are kept in blocks of one metric, as packed records of step, time and value: one metric is read without the
# others. A statement for every value would have the background thread ask for the interpreter's lock once a value, and a
# busy program hands it over only every 5 ms. `number` is that of the last beat that added to the block.
CONTROL_TABLES = """
CREATE TABLE requests (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    session INTEGER NOT NULL REFERENCES sessions(id),
    request TEXT NOT NULL CHECK (request IN ('stop', 'pause', 'resume')),
    requested INTEGER NOT NULL,
    acknowledged INTEGER,
    exit_code INTEGER NOT NULL DEFAULT 0,
    asked_by INTEGER REFERENCES sessions(id)
);
CREATE INDEX requests_waiting ON requests (session) WHERE acknowledged IS NULL;
CREATE TABLE measures (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    metric TEXT NOT NULL,
    session INTEGER NOT NULL REFERENCES sessions(id),
    attempt INTEGER NOT NULL,
    block INTEGER NOT NULL,
    number INTEGER NOT NULL,
    points BLOB NOT NULL,
    UNIQUE (metric, session, attempt, block)
);
CREATE TABLE latest (
    session INTEGER NOT NULL REFERENCES sessions(id),
    metric TEXT NOT NULL,
    step INTEGER,
    time INTEGER NOT NULL,
    value REAL,
    PRIMARY KEY (session, metric)
) WITHOUT ROWID;
CREATE INDEX latest_by_value ON latest (metric, value);
CREATE TABLE sources (
    sha256 TEXT PRIMARY KEY CHECK (length(sha256) = 64),
    text TEXT NOT NULL,
    source INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX sources_of_text ON sources (source);
CREATE TABLE session_sources (
    session INTEGER NOT NULL REFERENCES sessions(id),
    path TEXT NOT NULL,
    cell INTEGER NOT NULL,
    sha256 TEXT NOT NULL REFERENCES sources(sha256),
    module TEXT NOT NULL,
    PRIMARY KEY (session, path, cell, sha256)
) WITHOUT ROWID;
CREATE INDEX sessions_of_source ON session_sources (sha256);
"""

# Claims: a row of a list that has no row here is open.
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
LAYOUT = (
    TABLES
    + NAME_TABLES
    + TEXT_TABLES
    + SLICE_TABLES
    + EDGE_TABLES
    + LOST_TABLE
    + CONTROL_TABLES
    + CLAIM_TABLES
)
# The index of rows was in the catalogue before it got a file of its own. Nobody reads it there.
FORMER_TABLES = """
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
HAS_FORMER = "SELECT 1 FROM sqlite_master WHERE name = 'text_runs'"
DROP_FORMER = ("DROP TABLE IF EXISTS text_runs", "DROP TABLE IF EXISTS text_upto")
TABLES_THERE = "SELECT type, name, sql FROM sqlite_master WHERE sql IS NOT NULL"


def lay_out(db: sqlite3.Connection) -> None:
    """Make all tables, in an open transaction."""
    for statement in LAYOUT.split(";\n"):
        db.execute(statement)
    db.execute("INSERT INTO meta VALUES ('vault', ?)", (uuid.uuid4().hex,))
    db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    db.execute(f"PRAGMA user_version = {FORMAT}")


def require_known(db: sqlite3.Connection, path: Path) -> None:
    """Refuse a database that is no catalogue of a format we know. Raises VaultFormatError."""
    application = db.execute("PRAGMA application_id").fetchone()[0]
    format_number = db.execute("PRAGMA user_version").fetchone()[0]
    if application != APPLICATION_ID:
        raise VaultFormatError(f"{path} is an SQLite database, but not the catalogue of a vault.")
    if format_number > FORMAT:
        raise VaultFormatError(
            f"The vault {path.parent} has format {format_number}; this tablevault_pd reads up to format {FORMAT}. "
            "Install a newer release: pip install -U tablevault-pd"
        )
    layouts = (LAYOUT + former + more for former in ("", FORMER_TABLES) for more in ("", ROWS_CONFIRMED))
    if not any(has_layout(db, layout) for layout in layouts):
        raise VaultFormatError(f"{path} does not have the tables of a vault of format {format_number}.")


def has_layout(db: sqlite3.Connection, layout: str) -> bool:
    """Whether a database has these tables, and no others."""
    return _layout(db.execute(TABLES_THERE).fetchall()) == _expected_layout(layout)


def _layout(rows: list[Any]) -> set[tuple[str, str, str]]:
    return {
        (kind, name, " ".join(sql.split()))
        for kind, name, sql in rows
        if kind != "table" or name not in MADE_BY_SQLITE
    }


@cache
def _expected_layout(layout: str) -> set[tuple[str, str, str]]:
    memory = sqlite3.connect(":memory:")
    try:
        memory.executescript(layout)
        return _layout(memory.execute(TABLES_THERE).fetchall())
    finally:
        memory.close()
