"""The maintenance part of the store on a server: check, compact, vacuum, backup."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from tablevault_pd.errors import VaultError
from tablevault_pd.store.arango.check import check
from tablevault_pd.store.arango.check_layout import unreadable_documents
from tablevault_pd.store.arango.vacuum import vacuum

if TYPE_CHECKING:
    from pathlib import Path

    from tablevault_pd.store import Compacted, Freed, Problem, Progress
    from tablevault_pd.store.arango.parts import VaultParts


class MaintenanceTasks:
    """Looks after a vault on a server."""

    def __init__(self, vault: VaultParts) -> None:
        self._vault = vault

    def check(self, *, fix: bool = False, progress: Progress | None = None) -> list[Problem]:
        """Return what is damaged or stray."""
        if fix:
            self._vault.client.require_rights()
        return check(self._vault, fix=fix, progress=progress)

    def records_unread(self) -> list[str]:
        """Return what documents of sessions and names cannot be read; nothing where the server does not tell."""
        unread: list[str] = []
        with suppress(VaultError):
            unread += [problem.detail or "" for problem in unreadable_documents(self._vault.client)]
        return unread

    def compact(self, name: str | None = None, *, progress: Progress | None = None) -> list[Compacted]:
        """Return nothing: every row is a document of its own, and the server compacts its files by itself."""
        self._vault.client.require_rights()
        return []

    def vacuum(
        self, *, keep: int = 1, deleted: bool = False, dry_run: bool = True, progress: Progress | None = None
    ) -> list[Freed]:
        """Remove what no kept version shows."""
        if not dry_run:
            self._vault.client.require_rights()
        return vacuum(self._vault, keep=keep, deleted=deleted, dry_run=dry_run, progress=progress)

    def back_up(self, folder: Path) -> None:
        """Return None: a database has no files that could be copied."""
