"""The part of a :class:`Vault` about maintenance: check, compact, vacuum, backup, export."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from tablevault_pd import validate
from tablevault_pd.errors import InvalidInput
from tablevault_pd.names import check_name
from tablevault_pd.progress import Bar
from tablevault_pd.reading import maintenance_reports
from tablevault_pd.reading.read import list_not_found
from tablevault_pd.vault import kept_files
from tablevault_pd.vault.base import VaultPart
from tablevault_pd.work.order import align_all

if TYPE_CHECKING:
    import os

    import pandas as pd


class Maintenance(VaultPart):
    """The part of a :class:`Vault` about its maintenance."""

    def check(self, *, fix: bool = False) -> pd.DataFrame:
        """Read and verify everything, files outside of the vault included. Return what is damaged or stray.

        Parameters
        ----------
        fix : bool
            Remove strays: files that no commit names. Make anew or remove what follows from the rows: the index of texts, digests of
            keys, approximate indexes, zone maps, where the search for open rows begins; on a server, what is counted and the last
            values of metrics. Lost commits are reported for the last time; what is left of them is kept. Damage is never repaired
            by guessing.

        Returns
        -------
        DataFrame
            severity (str), what (str), list (str), version (Int64), path (str), detail (str), fixed (bool). The severity is
            damage, stray, or unchecked: it could not be examined, for a reason that is no damage.

        Raises
        ------
        InvalidInput
            If `fix` is not True or False.
        VaultReadOnly
            With ``fix=True``, if the vault is open for reading.

        Examples
        --------
        >>> saved = vault.save("losses", {"loss": 0.5})
        >>> len(vault.check())
        0
        """
        if validate.flag(fix, "fix"):
            self._check_writable()
        return kept_files.check(self.store, fix=fix)

    def compact(self, name: str | None = None) -> pd.DataFrame:
        """Merge the small parts that many appends made, so that reading is fast. Positions and versions stay.

        Parameters
        ----------
        name : str, optional
            A list. Default: every list.

        Returns
        -------
        DataFrame
            list (str), parts_before, parts_after, bytes and damaged (Int64: parts that were left as they are). A list
            that has nothing to merge is not in it.

        Raises
        ------
        ListNotFound
            If there is no list of that name.
        InvalidName, InvalidType
            If no list can have that name, or it is no text.
        VaultReadOnly
            If the vault is open for reading.

        Examples
        --------
        >>> for loss in (0.5, 0.4, 0.3):
        ...     saved = vault.append("losses", {"loss": loss})
        >>> vault.compact()[["list", "parts_before", "parts_after"]]
             list  parts_before  parts_after
        0  losses             3            1
        """
        self._check_writable()
        if name is not None and self.store.head(check_name(name)) is None:
            raise list_not_found(self.store, name)
        with Bar("compacting", unit="lists") as bar:
            return maintenance_reports.compacted(self.store.compact(name, progress=bar))

    def vacuum(self, *, keep: int = 1, deleted: bool = False, dry_run: bool = True) -> pd.DataFrame:
        """Free the space of rows that only old versions show.

        Parameters
        ----------
        keep : int
            How many of the newest versions of each list stay readable. What `delete` made shows no rows and does not count:
            a deleted list can still be restored. Versions that have a name, by :meth:`tag` or :meth:`snapshot`, stay too.
        deleted : bool
            Free deleted lists as a whole. They cannot be restored afterwards.
        dry_run : bool
            Only say what would be removed. ``False`` removes it, for good.

        Returns
        -------
        DataFrame
            what (str: rows, deleted list, kept file, catalogue or stray; or kept by name, for versions that stay only because
            of their names), list (str), versions (list of int), rows (Int64), bytes (Int64), path (str), removed (bool).

        Raises
        ------
        InvalidInput
            If `keep` is less than 1, or another argument is not True or False.
        VaultReadOnly
            With ``dry_run=False``, if the vault is open for reading.

        Examples
        --------
        >>> for loss in (0.5, 0.4):
        ...     saved = vault.save("losses", {"loss": loss})
        >>> vault.vacuum()[["what", "list", "versions", "rows", "removed"]]
           what    list versions  rows  removed
        0  rows  losses      [1]     1    False
        """
        keep = validate.whole(keep, "keep", least=1)
        deleted = validate.flag(deleted, "deleted")
        if not validate.flag(dry_run, "dry_run"):
            self._check_writable()
            align_all(self.store)
        with Bar("vacuuming", unit="lists") as bar:
            freed = self.store.vacuum(keep=keep, deleted=deleted, dry_run=dry_run, progress=bar)
        return maintenance_reports.vacuumed(freed, removed=not dry_run)

    def backup(self, path: str | os.PathLike[str]) -> pd.DataFrame:
        """Copy the whole vault to a folder, which is a vault like this one, while others go on reading and writing.

        The copy shows one moment: commits that came later are in none of its lists. All of it is read again and verified.
        Sessions that run are in it as they were last heard of.

        Parameters
        ----------
        path : path
            A new or empty folder, outside of the vault. It is there as a whole at the end, or not at all.

        Returns
        -------
        DataFrame
            What is damaged in the copy because it is damaged here, as :meth:`check` returns it: severity (str), what (str),
            list (str), version (Int64), path (str), detail (str), fixed (bool).

        Raises
        ------
        InvalidInput
            If the folder is not empty, or lies inside of the vault; if the vault is on a server, or was connected with ``at=``.
        StorageError
            If the folder cannot be written to.

        Examples
        --------
        >>> saved = vault.save("losses", {"step": 1, "loss": 0.5})
        >>> len(vault.backup("losses.backup"))
        0
        >>> tv.connect("losses.backup", mode="r").read("losses")
                  step  loss
        position
        0            1   0.5
        """
        from tablevault_pd.transfer.copy import backup

        folder = Path(validate.path(path, "The folder to back up to"))
        store = self.store
        if self._view is not None:
            raise InvalidInput("A backup shows the vault as it is now. Connect without at= to make one.")
        self._flush(info=True)
        return maintenance_reports.checked(backup(store, folder))

    def export(
        self, path: str | os.PathLike[str], *, format: Literal["parquet", "arrow", "csv", "jsonl"] = "parquet"
    ) -> pd.DataFrame:
        """Write every list, and the frames about them, into a folder that other programs can read.

        Beside the lists at their newest version, and ``index.csv`` which says which is where, there are ``lists.json``,
        ``versions.json``, ``sessions.json`` (with parameters, last metrics, and what they ran in), ``cells.json`` and
        ``sources.json`` (their code), ``descriptions.json``, ``graph.json`` (which lists were made from which), and, in
        the format of the lists, ``metrics`` (every logged value) and ``lineage`` (the direct parents of every row).
        ``ro-crate-metadata.json`` describes them all, with their SHA-256, as an RO-Crate. Contents of kept files stay in the vault.

        Parameters
        ----------
        path : path
            A new or empty folder.
        format : {"parquet", "arrow", "csv", "jsonl"}
            How lists are written. :meth:`List.export` says what each format holds.

        Returns
        -------
        DataFrame
            Which list went where: list (str), version (Int64), rows (Int64), file (str).

        Raises
        ------
        InvalidInput
            If the folder is not empty, or `format` is none of the four; if Parquet cannot hold a column.
        VaultCorrupt
            If rows are damaged.
        StorageError
            If the folder cannot be written to.

        Examples
        --------
        >>> saved = vault.save("losses", {"step": 1, "loss": 0.5})
        >>> vault.export("losses.export", format="csv")
             list  version  rows            file
        0  losses        1     1  000-losses.csv
        """
        from tablevault_pd.transfer.export import export
        from tablevault_pd.transfer.formats import FORMATS

        kind = validate.choice(format, "format", FORMATS)
        folder = Path(validate.path(path, "The folder to export to"))
        self._flush(info=True)

        return export(self.store, folder, kind)
