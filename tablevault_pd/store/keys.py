"""The part of a store that may keep copies of what is computed from the keys of lists."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence


class KeyIndexStore(Protocol):
    """Keeps the digests of keys of a list, so that a new process need not compute them. A store may keep none.

    What is kept is a copy, which its owner verifies: it may be lost, damaged or out of date.
    """

    def load_key_index(self, list_id: int, name: str) -> bytes | None:
        """Return what was kept of a list under a name; None if nothing is. It raises nothing but VaultClosed."""

    def keep_key_index(self, list_id: int, name: str, parts: Sequence[bytes]) -> None:
        """Keep these bytes in place of those of that name. Nothing happens, and nothing is raised, where that fails."""
