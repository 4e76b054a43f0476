"""What a :class:`Vault` answers about change: curves, the best places, bands over runs."""

from __future__ import annotations

from tablevault_pd.vault.base import VaultPart


class Analysis(VaultPart):
    """The part of a :class:`Vault` that compares steps, sessions and versions."""
