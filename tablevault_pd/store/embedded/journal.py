"""The commit journal: a mark for each version outside of SQLite's write-ahead log, so that lost commits are noticed.

Each commit adds a line to ``commits.log``: list, version, token, rows, and the files that hold its content. It is written after
the commit, still under the write lock, and never synced, so it costs no wait; a mark that is missing only means that the loss
of its commit would not be noticed. A mark without its commit means that the commit is lost.

A large journal is rewritten to the last line of each list, at a moment when the database file holds all commits.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from json.encoder import encode_basestring_ascii as quoted
from typing import TYPE_CHECKING

import xxhash

from tablevault_pd.errors import VaultError
from tablevault_pd.names import check_name
from tablevault_pd.progress import warn
from tablevault_pd.store.embedded import fsio as io

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path
    from sqlite3 import Connection

    from tablevault_pd.store import Version
    from tablevault_pd.store.embedded.catalog import SqliteCatalog

NAME = "commits.log"
REWRITE_BYTES = 4 << 20  # each time it has grown by so much
READ_BYTES = 1 << 26  # the newest marks; a file that somebody made long takes no more memory
MOST_MISSING = 20_000  # versions without a mark that are told, the newest of each list
_NAME = re.compile("[0-9a-f]{32}|[0-9a-f]{64}")  # of a segment, of a kept file
TAIL_BYTES = 1 << 16

# A mark has the name that its list had then.
CALLED = "(SELECT id FROM lists WHERE name = ?1 UNION SELECT list FROM renames WHERE old = ?1)"
COMMITTED = f"SELECT 1 FROM batches WHERE list IN {CALLED} AND version = ?2 AND token = ?3"  # noqa: S608  # a constant
LOST = "SELECT list, version, token, rows, files, settled FROM lost ORDER BY list, version"
INSERT_LOST = """
INSERT INTO lost (list, version, token, rows, files, settled) VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT DO UPDATE SET settled = max(settled, excluded.settled)
"""
HEAD = f"SELECT max(version) FROM batches WHERE list IN {CALLED} AND version < ?2"  # noqa: S608  # a constant


@dataclass(frozen=True, slots=True)
class Entry:
    """One commit."""

    list: str
    version: int
    token: str
    rows: int
    files: tuple[str, ...] = ()  #: names of its segments, and hashes of the files kept with it
    settled: bool = False  #: check(fix=True) has told of its loss

    def line(self) -> bytes:
        """As it stands in the journal."""
        return _line(self.list, self.version, self.token, self.rows, self.files)


@dataclass(frozen=True, slots=True)
class LostCommits:
    """Commits that were made, and that the catalogue does not have."""

    entries: tuple[Entry, ...] = ()
    everything: bool = False  #: some of them are known by number only, so any file may be theirs

    def not_settled(self) -> LostCommits:
        """Those that ``check(fix=True)`` has not told of."""
        return LostCommits(tuple(entry for entry in self.entries if not entry.settled), self.everything)

    @property
    def files(self) -> set[str]:
        """What belongs to them, and must stay."""
        return {file for entry in self.entries for file in entry.files}

    def runs(self) -> list[tuple[str, int, int, int]]:
        """(list, first version, last version, rows) of each run of lost versions."""
        runs: list[tuple[str, int, int, int]] = []
        for entry in sorted(self.entries, key=lambda entry: (entry.list, entry.version)):
            if runs and runs[-1][0] == entry.list and entry.version <= runs[-1][2] + 1:
                name, first, _, rows = runs.pop()
                runs.append((name, first, entry.version, rows + entry.rows))
            else:
                runs.append((entry.list, entry.version, entry.version, entry.rows))
        return runs


class Journal:
    """The journal of one vault folder."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / NAME
        self._file = str(self._path)

    def note(self, catalog: SqliteCatalog, version: Version, token: str, files: Sequence[str]) -> None:
        """Mark a commit that was made, under the write lock. What stands must not seem to fail: no error is raised."""
        line = _line(version.list, version.version, token, version.rows, files)
        try:
            size = io.append(self._file, line)
            if (size - len(line)) // REWRITE_BYTES != size // REWRITE_BYTES and catalog.checkpoint():
                self._rewrite()
        except (OSError, VaultError):
            return

    def _rewrite(self) -> None:
        """Keep the last line of each list."""
        last = {entry.list: entry for entry in self._read()}
        fresh = self._path.with_suffix(".new")
        with io.create(fresh, anew=False) as file:
            io.write(file, b"".join(entry.line() for entry in last.values()))
        io.rename(fresh, self._path)

    def entries(self) -> list[Entry]:
        """All marks, in the order they were made. What was cut or damaged is left out."""
        try:
            return self._read()
        except OSError:
            return []

    def _read(self) -> list[Entry]:
        with io.open_to_read(self._path) as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - READ_BYTES))
            return _parsed(file.read(READ_BYTES))

    def seems_whole(self, catalog: SqliteCatalog) -> bool:
        """Whether the newest mark has its commit: a log that was cut, damaged or removed loses the newest ones first."""
        try:
            with io.open_to_read(self._path) as file:
                file.seek(max(0, os.fstat(file.fileno()).st_size - TAIL_BYTES))
                lines = file.read().split(b"\n")
        except OSError:
            return True
        newest = next(filter(None, map(_entry, reversed(lines))), None)
        return newest is None or not _missing(catalog, [newest])

    def lost(self, catalog: SqliteCatalog) -> LostCommits:
        """Commits that left a mark, or were noticed before, and are not in the catalogue."""
        marked = self.entries()  # read before the catalogue, which then has all commits that are marked
        with catalog.reading() as db:
            rows = db.execute(LOST).fetchall()
        noticed = [
            Entry(name, version, token, count, tuple(json.loads(files)), bool(settled))
            for name, version, token, count, files, settled in rows
        ]
        entries = {(entry.list, entry.version, entry.token): entry for entry in _missing(catalog, marked)}
        entries |= {(entry.list, entry.version, entry.token): entry for entry in noticed}
        unknown = _unmarked(catalog, entries.values())
        missing = (*entries.values(), *unknown)
        return LostCommits(missing, everything=any(not entry.token for entry in missing))

    def settle(self, catalog: SqliteCatalog, lost: LostCommits) -> None:
        """Have the catalogue remember that the user was told of these, by ``check(fix=True)``."""
        if lost.entries:
            catalog.write(_remember, lost.entries, True)

    def notice(self, catalog: SqliteCatalog) -> None:
        """Warn of commits that were lost since the last look, and have the catalogue remember them."""
        if self.seems_whole(catalog):
            return
        with catalog.reading() as db:
            noticed = {row[:3] for row in db.execute(LOST).fetchall()}
        lost = self.lost(catalog)
        new = LostCommits(
            tuple(entry for entry in lost.entries if (entry.list, entry.version, entry.token) not in noticed)
        )
        if not new.entries:
            return
        if not catalog.read_only:
            catalog.write(_remember, new.entries)
        named = "; ".join(
            f"{name!r} versions {first} to {last} ({rows:,} rows)"
            for name, first, last, rows in new.runs()[:5]
        )
        warn(
            f"Commits of the vault {self._path.parent} are lost: {named}. Its write-ahead log was cut, damaged or removed, or "
            "an older catalogue was put back. vault.check() lists what is lost and what is left of it; new versions are "
            "numbered after the lost ones.",
            RuntimeWarning,
        )


def _line(name: str, version: int, token: str, rows: int, files: Sequence[str]) -> bytes:
    """The line of a commit. It begins with the end of the line before, which may have been cut."""
    body = f"[{quoted(name)}, {version}, {quoted(token)}, {rows}, {json.dumps(files) if files else '[]'}]".encode()
    return b"\n%s %s" % (_mark(body), body)


def _remember(db: Connection, entries: Iterable[Entry], settled: bool = False) -> None:
    rows = [(one.list, one.version, one.token, one.rows, json.dumps(one.files), settled) for one in entries]
    db.executemany(INSERT_LOST, rows)


def _missing(catalog: SqliteCatalog, entries: Iterable[Entry]) -> list[Entry]:
    with catalog.reading() as db:
        return [
            entry
            for entry in entries
            if db.execute(COMMITTED, (entry.list, entry.version, entry.token)).fetchone() is None
        ]


def _unmarked(catalog: SqliteCatalog, lost: Iterable[Entry]) -> list[Entry]:
    """Versions between those the catalogue has and a lost one, whose marks are gone."""
    entries: list[Entry] = []
    versions: dict[str, set[int]] = {}
    for entry in lost:
        versions.setdefault(entry.list, set()).add(entry.version)
    with catalog.reading() as db:
        for name, numbers in versions.items():
            for version in sorted(numbers):
                before = db.execute(HEAD, (name, version)).fetchone()[0] or 0
                at_most = MOST_MISSING - len(entries)
                between = range(max(before + 1, version - at_most), version)
                entries += [Entry(name, one, "", 0) for one in between if one not in numbers]
                numbers.update(between)
    return entries


def _parsed(data: bytes) -> list[Entry]:
    return list(filter(None, map(_entry, data.split(b"\n"))))


def _entry(line: bytes) -> Entry | None:
    """The entry of a line; None for one that was cut, or that this library did not write, whatever its checksum."""
    mark, _, body = line.partition(b" ")
    if not body or mark != _mark(body):
        return None
    try:
        name, version, token, rows, files = json.loads(body)
        check_name(name)
    except (ValueError, TypeError, RecursionError):
        return None
    whole = all(type(number) is int and 0 <= number < 1 << 48 for number in (version, rows))
    texts = isinstance(files, list) and all(isinstance(text, str) for text in (token, *files))
    if not (whole and texts and token.isascii() and all(map(_NAME.fullmatch, files))):
        return None
    return Entry(name, version, token, rows, tuple(files))


def _mark(body: bytes) -> bytes:
    return xxhash.xxh3_64_hexdigest(body).encode()
