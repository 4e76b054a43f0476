"""The ArangoDB store: a vault in a database, for teams and for more than one machine."""

from __future__ import annotations

from tablevault_pd.store.arango.store import ArangoStore

__all__ = ["ArangoStore"]
