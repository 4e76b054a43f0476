"""What a :class:`Vault` answers about change: curves, the best places, bands over runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tablevault_pd.store import Store


class Analysis:
    """The part of a :class:`Vault` that compares steps, sessions and versions."""

    if TYPE_CHECKING:

        @property
        def store(self) -> Store:
            """The store below."""

        def _flush(self, *, info: bool = False) -> None: ...
