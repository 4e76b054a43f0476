"""The part of a store that keeps names: of versions, of states of the whole vault, and what lists were called before."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from tablevault_pd.store.types import Version


@dataclass(frozen=True, slots=True)
class VersionName:
    """A name of one version: a tag, or what a snapshot says of one list."""

    name: str
    list_id: int
    list: str  #: as it is called now
    version: int
    snapshot: bool  #: one and the same name for a version of each list
    session_id: int | None
    time: datetime


@dataclass(frozen=True, slots=True)
class Rename:
    """What a list was called before."""

    old: str
    list_id: int
    session_id: int | None
    time: datetime


class NameStore(Protocol):
    """Keeps names of versions and lists. A list is known by its id: its name can change, and is the same in all versions.

    **Names of versions.** A name is a tag, of one version in each list that has it, or a snapshot, of one version in each
    list that was there. It is never both, and stays where it is unless told to move. What a name stands for is kept
    by a vacuum.

    **Names of lists.** After a rename, what is committed under the old name raises ListRenamed, unless a list was made
    under that name since: with :attr:`Batch.expect` 0, or by another rename.
    """

    def tag_versions(
        self,
        versions: Sequence[tuple[int, int]],
        *,
        add: Sequence[str] = (),
        remove: Sequence[str] = (),
        replace: bool = False,
        session_id: int | None = None,
        attempt: int | None = None,
    ) -> None:
        """Give versions, by (list id, number), the names `add`, and take the names `remove` away from them; all or nothing.

        Raises
        ------
        NameTaken
            If a name to add is a snapshot, or is that of another version and `replace` is false; if one to remove is a
            snapshot.
        VersionNotFound
            If a version does not exist, or its rows were vacuumed.
        SessionContinued
            If another attempt of the session than this one, if one is given, is the newest.
        """

    def snapshot(
        self,
        name: str,
        *,
        replace: bool = False,
        session_id: int | None = None,
        attempt: int | None = None,
    ) -> list[VersionName]:
        """Name the newest version of every list that is not deleted, as they are at one moment; in order of list.

        A commit at the same moment is in it, or comes after it. With `replace`, a snapshot of that name goes. Raises
        NameTaken, ListNotFound where there is no list to name, and SessionContinued as :meth:`tag_versions` does.
        """

    def drop_snapshot(self, name: str) -> list[VersionName]:
        """Remove a snapshot, and return what it named; nothing where there is none."""

    def version_names(self, name: str | None = None) -> list[VersionName]:
        """Return what one name stands for, or all names: in order of time, name and list."""

    def find_named(self, names: Sequence[tuple[str, str]]) -> list[int | None]:
        """Return the version that each (list, name of a version) means, or None. One request."""

    def rename_list(
        self,
        old: str,
        new: str,
        *,
        expect: int | None = None,
        session_id: int | None = None,
        attempt: int | None = None,
    ) -> Version:
        """Call a list otherwise, in all its versions, and return its newest version.

        Raises
        ------
        ListNotFound, ListDeleted, ListRenamed
            If there is no list `old` to be seen.
        NameTaken
            If a list `new` exists, deleted or not.
        Conflict
            If its newest version is not `expect`.
        SessionContinued
            As for :meth:`tag_versions`.
        """

    def renamed(self, name: str) -> str | None:
        """Return what a list that was called `name` is called now; None if none was, or another list has the name."""

    def renames(self) -> list[Rename]:
        """Return all renames, oldest first."""

    def put_names(self, names: Sequence[VersionName], renames: Sequence[Rename]) -> None:
        """Keep names and renames of another vault, with their times, about lists and sessions of this one; all or nothing.

        A name that a list has here already, and a rename that is there, stay as they are.
        """
