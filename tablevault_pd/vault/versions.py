"""Changing which version of a list is the newest: :meth:`delete` and :meth:`restore`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from tablevault_pd import validate
from tablevault_pd.errors import InvalidInput, VersionNotFound, short_repr
from tablevault_pd.names import check_name
from tablevault_pd.reading import read as reading
from tablevault_pd.reading.read import list_not_found
from tablevault_pd.saving.commit import new_token
from tablevault_pd.saving.conflicts import renamed, telling_who
from tablevault_pd.store import Batch, VersionLookup
from tablevault_pd.store.engine.commit_rules import check_expected
from tablevault_pd.vault.base import VaultPart

if TYPE_CHECKING:
    from tablevault_pd.store import Version
    from tablevault_pd.vault.lists import List


class ListVersions(VaultPart):
    """The part of a :class:`Vault` that deletes and restores lists."""

    def delete(self, name: str, *, message: str | None = None, expect: int | None = None) -> None:
        """Hide a list. Its versions stay; :meth:`restore` brings them back, :meth:`vacuum` frees their space.

        Parameters
        ----------
        name : str
            The list.
        message : str, optional
            Says why, and is shown by :meth:`versions`.
        expect : int, optional
            Delete it only if this is its newest version.

        Raises
        ------
        ListNotFound
            If there is no list of that name.
        InvalidName, InvalidType
            If no list can have that name, or it is no text.
        InvalidInput
            If `message` is blank, or `expect` is no version.
        Conflict
            If the newest version is not the one in `expect`.
        VaultReadOnly
            If the vault is open for reading.

        Examples
        --------
        >>> saved = vault.save("losses", {"loss": 0.5})
        >>> vault.delete("losses")
        >>> "losses" in vault
        False
        >>> vault.restore("losses", 1).read()
                  loss
        position
        0          0.5
        """
        expect, name = validate.expected(expect), check_name(name)
        message = validate.optional_text(message, "message=")
        self._change("delete", name, self.store.head(name), None, message, expect)

    def restore(
        self,
        name: str,
        version: int | str | None = None,
        *,
        message: str | None = None,
        expect: int | None = None,
    ) -> List:
        """Make an older version the newest one, also of a deleted list.

        Parameters
        ----------
        name : str
            The list, or the list with the version: ``"prices@1"``, ``"prices@best"``.
        version : int or str, optional
            The version to bring back, by its number or name, unless `name` has it. The newest one changes nothing, unless with
            another message.
        message : str, optional
            Says why, and is shown by :meth:`versions`.
        expect : int, optional
            Restore it only if this is the newest version now.

        Returns
        -------
        List
            At the version that was made.

        Raises
        ------
        ListNotFound
            If there is no list of that name.
        VersionNotFound
            If it has no such version, its rows were vacuumed, or it is the one that deleted the list.
        InvalidName, InvalidType
            If no list can have that name, or it is no text.
        InvalidInput
            If `version` or `expect` is no version, or `message` is blank.
        Conflict
            If the newest version is not the one in `expect`.
        VaultReadOnly
            If the vault is open for reading.

        Examples
        --------
        >>> first = vault.save("prices", {"item": "tea", "price": 2.5})
        >>> second = vault.save("prices", {"item": "tea", "price": 25.0})
        >>> vault.restore("prices", 1, message="a typing error")
        <List 'prices', version 3: 1 row>
          item   str
          price  float64
        """
        name, version = self._restored(name, version)
        expect = validate.expected(expect)
        head, target = self.store.find_versions([VersionLookup(name), VersionLookup(name, version)])
        with telling_who(self.store, name, expect):
            check_expected(name, expect, head)
        message = validate.optional_text(message, "message=")
        if head is not None and target is None:
            raise renamed(self.store, name) or VersionNotFound(
                f"The list {name!r} has no version {version}. vault.versions({name!r}) shows which it has."
            )
        if target is not None and target.deleted:
            raise VersionNotFound(
                f"Version {version} of {name!r} is the one that deleted it. Restore one before it."
            )
        return self._change("restore", name, head, version, message, expect)

    def _restored(self, address: str, version: int | str | None) -> tuple[str, int]:
        """The list and the number of the version that is meant."""
        lookup = reading.lookup(address, version=version)
        if lookup.version_name is not None:
            return lookup.name, reading.resolve(self.store, address, version=version).version
        if lookup.version is None:
            raise InvalidInput(
                f"Say which version to restore: {short_repr(f'{lookup.name}@1')}. vault.versions({short_repr(lookup.name)}) shows "
                "which there are."
            )
        return lookup.name, lookup.version

    def _change(
        self,
        operation: Literal["delete", "restore"],
        name: str,
        head: Version | None,
        target: int | None,
        message: str | None,
        expect: int | None,
    ) -> List:
        self._check_writable()
        if head is None:
            raise list_not_found(self.store, name)
        batch = Batch(
            new_token(), name, operation, expect=expect, target=target, message=message, **self._writer()
        )
        with telling_who(self.store, name, expect):
            return self._list_at(self.store.commit(batch))
