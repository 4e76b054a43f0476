"""The part of a :class:`Vault` about names: snapshots, tags of versions, and renamed lists."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tablevault_pd import validate
from tablevault_pd.errors import InvalidInput, NameTaken, VersionNotFound, did_you_mean, short_repr
from tablevault_pd.keys.mapped import is_mapped, notes_name
from tablevault_pd.names import check_name, check_version_name, parse_address
from tablevault_pd.reading import reports
from tablevault_pd.reading.read import list_not_found, resolve
from tablevault_pd.saving.conflicts import check_addresses, telling_who
from tablevault_pd.vault.base import VaultPart

if TYPE_CHECKING:
    import pandas as pd

    from tablevault_pd.vault.lists import List


class NamedStates(VaultPart):
    """The part of a :class:`Vault` that names its states and renames its lists."""

    def snapshot(self, name: str, *, replace: bool = False) -> pd.DataFrame:
        """Name the present version of every list, all at one moment.

        ``tv.connect(place, at=name)`` shows the vault as it was then, ``tv.read("preds@" + name)`` one list; a vacuum keeps the
        rows. Nothing is copied.

        Parameters
        ----------
        name : str
            What to call it: as a list may be called, and no number.
        replace : bool
            Take a snapshot of that name anew. Left out, that is an error.

        Returns
        -------
        DataFrame
            name (str), list (str), version (Int64), time (datetime64[us, UTC]), session (str, that took it).

        Raises
        ------
        NameTaken
            If there is a snapshot of that name, or it is a tag of a version.
        ListNotFound
            If there is no list to be named.
        InvalidName, InvalidType
            If no version can have that name, or it is no text.
        InvalidInput
            If `replace` is not True or False.
        VaultReadOnly
            If the vault is open for reading.

        Examples
        --------
        >>> first = vault.save("preds", {"pred": 1})
        >>> paper = vault.snapshot("paper")
        >>> second = vault.save("preds", {"pred": 2})
        >>> vault.read("preds@paper")["pred"].item()
        1
        """
        name = check_version_name(name, "snapshot")
        replace = validate.flag(replace, "replace")
        self._check_writable()
        return reports.snapshots(self.store, self.store.snapshot(name, replace=replace, **self._by()))

    def snapshots(self) -> pd.DataFrame:
        """Every snapshot with the lists that it names, the oldest first, and of each the lists in order of their names.

        Returns
        -------
        DataFrame
            name (str), list (str), version (Int64), time (datetime64[us, UTC]), session (str, that took it).

        Examples
        --------
        >>> saved = vault.save("preds", {"pred": 1})
        >>> paper = vault.snapshot("paper")
        >>> vault.snapshots()[["name", "list", "version"]]
            name   list  version
        0  paper  preds        1
        """
        return reports.snapshots(
            self.store, [entry for entry in self.store.version_names() if entry.snapshot]
        )

    def untag(self, name: str) -> None:
        """Remove a snapshot, or a name that :meth:`tag` gave a version. No version is removed by it.

        Parameters
        ----------
        name : str
            A snapshot, ``"paper"``, or a list and the name of its version, ``"preds@best"``.

        Raises
        ------
        ListNotFound, VersionNotFound
            If there is no such list, or no such name.
        NameTaken
            If the name of the version is that of a snapshot.
        InvalidName, InvalidType
            If no list or version can have that name, or it is no text.
        InvalidInput
            If it is the number of a version.
        VaultReadOnly
            If the vault is open for reading.

        Examples
        --------
        >>> saved = vault.save("preds", {"pred": 1})
        >>> tagged = vault.tag("preds@1", "best")
        >>> vault.untag("preds@best")
        >>> "preds@best" in vault
        False
        """
        if isinstance(name, str) and "@" in name:
            self._untag(name)
            return
        name = check_version_name(name, "snapshot")
        self._check_writable()
        if not self.store.drop_snapshot(name):
            snapshot_names = {entry.name for entry in self.store.version_names() if entry.snapshot}
            hint = did_you_mean(name, snapshot_names) or "vault.snapshots() shows what is there."
            raise VersionNotFound(f"There is no snapshot {short_repr(name)}. {hint}")

    def _untag(self, name: str) -> None:
        address = parse_address(name)
        if address.version_name is None:
            raise InvalidInput(
                f"{short_repr(name)} is the number of a version, not a name of it. Say which name to remove: "
                f"{short_repr(f'{address.name}@best')}, or vault.tag({short_repr(name)}, remove=…)."
            )
        self._check_writable()
        version = resolve(self.store, name)
        self.store.tag_versions([(version.list_id, version.version)], remove=[address.version_name])

    def rename(self, old: str, new: str, *, expect: int | None = None) -> List:
        """Give a list another name, in all its versions. Lineage, sessions, tags and snapshots stay with it.

        It makes no version. The notes on a list that :meth:`map` made are renamed with it.
        Reading or writing under the old name then raises an error that tells the new one; the
        old name is free for another rename, and for ``save(old, …, expect=0)``.

        Parameters
        ----------
        old : str
            The list.
        new : str
            What to call it.
        expect : int, optional
            Rename it only if this is its newest version.

        Returns
        -------
        List
            At its newest version.

        Raises
        ------
        ListNotFound, ListDeleted, ListRenamed
            If there is no such list, it is hidden by a delete, or has another name by now.
        NameTaken
            If there is a list of the new name, deleted or not.
        Conflict
            If the newest version is not the one in `expect`.
        InvalidName, InvalidType
            If no list can have that name, or it is no text.
        InvalidInput
            If `expect` is no version.
        VaultReadOnly
            If the vault is open for reading.

        Examples
        --------
        >>> saved = vault.save("preds", {"pred": 1})
        >>> vault.rename("preds", "predictions")
        <List 'predictions', version 1: 1 row>
          pred  int64
        """
        old, new = check_name(old), check_name(new)
        expect = validate.expected(expect)
        self._check_writable()
        head = self.store.head(old)
        if head is None:
            raise list_not_found(self.store, old)
        if old == new:
            return self._list_at(resolve(self.store, old))
        if self.store.head(new) is None:
            check_addresses(self.store, new, self.store.schema(head.schema_id), None)
        notes_old, notes_new = notes_name(old), notes_name(new)
        has_notes = (
            is_mapped(self.store, head) and (notes := self.store.head(notes_old)) and not notes.deleted
        )
        if has_notes and self.store.head(check_name(notes_new)) is not None:
            raise NameTaken(
                f"There is a list {short_repr(notes_new)}, and the notes on {short_repr(old)} would be called so. Choose another name."
            )
        with telling_who(self.store, old, expect):
            renamed = self.store.rename_list(old, new, expect=expect, **self._by())
        if has_notes:
            by = self._by() | {"attempt": None}  # the list is renamed, and they go with it
            self.store.rename_list(notes_old, notes_new, expect=None, **by)
        return self._list_at(renamed)
