"""The maintenance part of the embedded store: check, compact, vacuum, backup, and which indexes there are."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tablevault_pd.store.embedded.backup import back_up
from tablevault_pd.store.embedded.check import check
from tablevault_pd.store.embedded.check_records import records_unread
from tablevault_pd.store.embedded.compact import compact
from tablevault_pd.store.embedded.index_report import indexes
from tablevault_pd.store.embedded.vacuum import vacuum

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tablevault_pd.store import Compacted, Freed, IndexInfo, Problem, Progress
    from tablevault_pd.store.embedded.parts import VaultParts


class MaintenanceTasks:
    """Looks after one vault folder."""

    def __init__(self, vault: VaultParts, check_folder: Callable[[Path], list[Problem]]) -> None:
        self._vault, self._check_folder = vault, check_folder

    def check(self, *, fix: bool = False, progress: Progress | None = None) -> list[Problem]:
        """Return what is damaged, stray or could not be examined."""
        return check(self._vault, fix=fix, progress=progress)

    def records_unread(self) -> list[str]:
        """Return what stands in the catalogue and no release has written."""
        return records_unread(self._vault.catalog)

    def compact(self, name: str | None = None, *, progress: Progress | None = None) -> list[Compacted]:
        """Merge small parts."""
        return compact(self._vault, name, progress=progress)

    def vacuum(
        self, *, keep: int = 1, deleted: bool = False, dry_run: bool = True, progress: Progress | None = None
    ) -> list[Freed]:
        """Remove what no kept version shows."""
        return vacuum(self._vault, keep=keep, deleted=deleted, dry_run=dry_run, progress=progress)

    def indexes(self) -> list[IndexInfo]:
        """Return every index of the newest versions."""
        return indexes(self._vault)

    def back_up(self, folder: Path) -> list[Problem]:
        """Copy the vault to an empty folder, and check the copy."""
        back_up(self._vault, folder)
        return self._check_folder(folder)
