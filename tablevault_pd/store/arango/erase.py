"""Erasing rows of a vault on a server."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tablevault_pd.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tablevault_pd.store import Batch, Erasure, Version
    from tablevault_pd.store.arango.client import Client


class Eraser:
    """Erases rows of a vault on a server."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def erase(self, batch: Batch) -> Erasure:
        """Refuse to erase rows: what is stored on a server is not written anew yet."""
        self._client.writable()
        raise StoreError(
            f"Rows of {batch.list!r} cannot be erased on a server yet. Nothing was written. vault.delete_rows() leaves them out of "
            "the newest version, and vault.vacuum() removes versions that show them."
        )

    def erased(self, versions: Sequence[Version]) -> list[np.ndarray]:
        """Return the positions of erased rows: none."""
        return [np.empty(0, np.int64)] * len(versions)
