"""The SQLite catalogue of a vault folder: what is in the vault is what it names."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from tablevault_pd.errors import VaultNotFound
from tablevault_pd.store.embedded import tables
from tablevault_pd.store.embedded.connection import is_empty
from tablevault_pd.store.embedded.connection_pool import POLL_S, VAULT_ID
from tablevault_pd.store.embedded.sqlite_file import SqliteFile

if TYPE_CHECKING:
    import sqlite3

BUSY_TIMEOUT_S = 30.0


class SqliteCatalog(SqliteFile):
    """The catalogue of one vault folder."""

    name, lock_name = "catalog.db", "write.lock"

    def lay_out(self, db: sqlite3.Connection) -> None:
        """Make the tables, in an open transaction."""
        tables.lay_out(db)

    def verify(self) -> str:
        """Check that this is a vault of a format we know, and return its id. One in the making is waited for."""
        deadline = time.monotonic() + self._timeout_s
        while True:
            with self.reading() as db:
                if not is_empty(db):
                    break
            if time.monotonic() > deadline:
                raise VaultNotFound(
                    f"The vault {self.path.parent} is empty: a process that was making it did not come to its end. "
                    "Connect with mode='rw' to complete it."
                )
            time.sleep(POLL_S)
        with self.reading() as db:
            tables.require_known(db, self.path)
            self._vault = str(db.execute(VAULT_ID).fetchone()[0])
        return self._vault
