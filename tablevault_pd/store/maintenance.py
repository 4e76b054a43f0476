"""The part of a store that checks a vault and frees space."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from pathlib import Path

    from tablevault_pd.store.types import Compacted, Freed, Problem, Progress


class MaintenanceStore(Protocol):
    """Verifies and tidies a vault, while others read and write it, and while the same is done elsewhere.

    An interrupted call has done some of its steps, each completely; calling it again continues.
    """

    def check(self, *, fix: bool = False, progress: Progress | None = None) -> list[Problem]:
        """Read and verify everything, and return what is wrong: damage first, then strays, then what could not be read.

        `fix` removes strays and makes anew what follows from the rows (indexes). Damage is reported, never repaired by
        guessing. What a writer is about to commit is no stray. Raises VaultReadOnly for `fix` on a read-only store.
        """

    def records_unread(self) -> list[str]:
        """What stands in records and no release has written: asked for by a call that failed on what it had read."""

    def compact(self, name: str | None = None, *, progress: Progress | None = None) -> list[Compacted]:
        """Merge small parts of one list, or of all. Positions, versions and who wrote what stay as they are."""

    def vacuum(
        self, *, keep: int = 1, deleted: bool = False, dry_run: bool = True, progress: Progress | None = None
    ) -> list[Freed]:
        """Remove rows that none of the newest `keep` versions of their list shows, kept files without rows, and strays.

        A delete makes a version that shows no rows, and does not count. With `deleted`, deleted lists keep no version.
        Versions that have a name are kept as well, and reported as "kept by name".
        Versions that lose rows stay in the history, as `gone`, and cannot be restored; a restore at the same moment
        either comes first, and keeps its rows, or raises VersionNotFound. `dry_run` tells what would be removed.
        """

    def back_up(self, folder: Path) -> list[Problem] | None:
        """Copy the vault, as it is at one moment, to an empty folder, and return what is wrong there; None if it has no files.

        Others may write meanwhile. The copy is a vault of the same id. What is damaged is copied as it is.
        """
