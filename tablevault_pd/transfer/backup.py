"""A copy of a whole vault in a new folder, taken while others write."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tablevault_pd.errors import InvalidInput
from tablevault_pd.progress import warn
from tablevault_pd.transfer.files import new_folder

if TYPE_CHECKING:
    from pathlib import Path

    from tablevault_pd.store import Problem, Store


def backup(store: Store, folder: Path) -> list[Problem]:
    """Copy a vault to a new folder, and return what is wrong with the copy; damage is warned of, too."""
    with new_folder(folder) as temporary:
        problems = store.back_up(temporary)
        if problems is None:
            raise InvalidInput(
                f"The vault {store.place} is on a server, which has no files to be copied. tv.copy(vault, folder) copies it commit "
                "by commit; the server's own arangodump copies the database."
            )
    if problems:
        warn(
            f"The backup {folder} has {len(problems)} problems, which the vault {store.place} has, too: see its check().",
            RuntimeWarning,
        )
    return problems
