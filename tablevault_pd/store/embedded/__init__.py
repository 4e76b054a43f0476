"""The embedded store: a vault in a folder, without a server."""

from __future__ import annotations

from tablevault_pd.store.embedded.store import EmbeddedStore

__all__ = ["EmbeddedStore"]
