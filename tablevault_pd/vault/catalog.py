"""Which lists a vault has: their versions, descriptions and files."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from tablevault_pd import validate
from tablevault_pd.errors import InvalidInput, SessionNotFound, short_repr
from tablevault_pd.names import parse_address
from tablevault_pd.new_files import new_folder
from tablevault_pd.reading import read, reports
from tablevault_pd.session.lookup import resolve_session, resolve_sessions
from tablevault_pd.store import Description
from tablevault_pd.vault import kept_files, logged
from tablevault_pd.vault.base import VaultPart

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from os import PathLike

    import pandas as pd


class Catalog(VaultPart):
    """The part of a :class:`Vault` about its contents."""

    def __iter__(self) -> Iterator[str]:
        return iter([state.head.list for state in self.store.lists() if not state.head.deleted])

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __bool__(self) -> bool:
        return True

    def lists(
        self,
        text: str | None = None,
        *,
        near: Any = None,
        tags: str | Sequence[str] | None = None,
        kind: str | Sequence[str] | None = None,
        filters: Any = None,
        deleted: bool = False,
    ) -> pd.DataFrame:
        """Return the lists with their newest versions, one list a row: all of them, or those that fit.

        Parameters
        ----------
        text : str, optional
            Only those with a description of such words, the best first: ``"phrases"``, ``OR``, ``-not`` and ``pre*`` as for
            :meth:`search`.
        near : vector, optional
            Only those with a description that has a vector of this length, the nearest first by cosine similarity. With a text,
            what either finds is ranked by both.
        tags : str or list of str, optional
            Only those whose newest version has all of these, as labels or as names.
        kind : {"record", "document", "embedding", "file"} or list of these, optional
            Only those with a column of such a kind.
        filters : optional
            Only those that fit, by the columns of the answer, as for :meth:`read`: ``"rows > 1000 and session == 'train#2'"``.
        deleted : bool
            Also the lists that :meth:`delete` has hidden.

        Returns
        -------
        DataFrame
            name (str), version (Int64), kinds (list of str), rows (Int64), columns (list of labels), bytes (Int64), created and
            updated (datetime64[us, UTC]), session (str, that wrote the version), deleted (bool), description (str), tags
            (list of str). With a text or `near`, ``score`` (float64) is the last column.

        Raises
        ------
        InvalidFilter
            If the filter cannot be parsed, or names a column that is not there.
        InvalidInput
            If another argument cannot be used as it is.

        Examples
        --------
        >>> saved = vault.save("losses", {"step": 1, "loss": 0.5}, description="loss by step")
        >>> vault.lists()[["name", "version", "rows", "description"]]
             name  version  rows   description
        0  losses        1     1  loss by step
        >>> vault.lists("losses OR step", kind="record")["name"].tolist()
        ['losses']
        """
        deleted = validate.flag(deleted, "deleted")
        if all(condition is None for condition in (text, near, tags, kind, filters)):
            return reports.lists(self.store, deleted=deleted)
        from tablevault_pd.search.lists import lists

        return lists(self.store, text, near=near, tags=tags, kind=kind, filters=filters, deleted=deleted)

    def versions(self, name: str | None = None, *, session: Any = None) -> pd.DataFrame:
        """Return the versions of one list, deleted or not, or of all lists, oldest first.

        Parameters
        ----------
        name : str, optional
            A list. Default: every list.
        session : name, pattern, id, session, frame or list of these, optional
            Only versions that these sessions made, as for :meth:`sessions`: a bare name means all its runs.

        Returns
        -------
        DataFrame
            list (str), version (Int64), operation (str: save, append, upsert, delete_rows, delete or restore), rows (Int64, that
            the version brought), added, changed and removed (Int64: rows that are new, that replace others, and that went),
            total (Int64, rows of the list then), session (str), cell (Int64), step (Int64; see
            :meth:`Run.step`), time (datetime64[us, UTC]), confirmed (datetime64[us, UTC], when equal rows were last saved
            again), message (str), gone (bool, whether :meth:`vacuum` has removed its rows), tags (list of str: those it
            was saved with, then those of :meth:`tag`), snapshots (list of str, that name it).

        Raises
        ------
        ListNotFound
            If there never was a list of that name.
        SessionNotFound
            If there is no session of that name, run or id.
        InvalidName, InvalidType
            If no list can have that name, or it is no text.
        InvalidInput
            If `session` cannot mean a session.

        Examples
        --------
        >>> first = vault.save("words", ["cat"])
        >>> second = vault.append("words", ["dog"], message="the other pet")
        >>> versions = vault.versions("words")
        >>> versions[["version", "operation", "rows", "total", "gone"]]
           version operation  rows  total   gone
        0        1      save     1      1  False
        1        2    append     1      2  False
        >>> versions["message"][1]
        'the other pet'
        """
        if name is not None:
            name = parse_address(name).name
            if self.store.head(name) is None:
                raise read.list_not_found(self.store, name)
        sessions = None if session is None else {run.id for run in resolve_sessions(self.store, session)}
        return reports.versions(self.store, name, sessions)

    def descriptions(self, *, history: bool = False) -> pd.DataFrame:
        """Return descriptions of lists and sessions: the newest text of each label.

        Parameters
        ----------
        history : bool
            Also the texts that newer ones of the same label have replaced.

        Returns
        -------
        DataFrame
            list (str), label (str), text (str), session (str, that wrote it), time (datetime64[us, UTC]), about_session (str,
            in place of list).

        Raises
        ------
        InvalidInput
            If `history` is not True or False.

        Examples
        --------
        >>> saved = vault.save("losses", {"loss": 0.5}, description="loss of the first model")
        >>> vault.describe("losses", "loss of all models")
        >>> vault.descriptions(history=True)["text"].tolist()
        ['loss of the first model', 'loss of all models']
        """
        return reports.descriptions(self.store, history=validate.flag(history, "history"))

    def files(self, name: str | None = None) -> pd.DataFrame:
        """Return every file that a ``files=`` column names, as it was when it was saved.

        Parameters
        ----------
        name : str, optional
            A list, perhaps at a version. Default: every list that is not deleted.

        Returns
        -------
        DataFrame
            list (str), position (Int64), path (str), size_bytes (Int64), modified (datetime64[us, UTC]), sha256 (str), stored
            (bool, whether its content is kept), column (str), folder (str, that a relative path starts from), tag (str, of a file by
            address: what its storage says that another content would not have).

        Raises
        ------
        ListNotFound, ListDeleted, VersionNotFound
            If `name` is given and is not there.
        InvalidName, InvalidType
            If no list can have that name, or it is no text.
        VaultCorrupt
            If the rows are damaged.

        Examples
        --------
        >>> from pathlib import Path
        >>> size = Path("notes.txt").write_text("hello")
        >>> saved = vault.save("inputs", pd.DataFrame({"path": ["notes.txt"]}), files="path")
        >>> vault.files()[["list", "position", "path", "size_bytes"]]
             list  position       path  size_bytes
        0  inputs         0  notes.txt           5
        """
        names = list(self) if name is None else [name]
        return reports.files(
            self.store, read.resolve_all(self.store, [read.lookup(address) for address in names])
        )

    def open_file(self, sha256: str) -> BinaryIO:
        """Open the content of a file that was saved with ``copy=True``, for reading in binary.

        All of it is verified against its hash before the first byte is handed out: a caller that reads the beginning of a
        file, or from its middle, would not notice otherwise.

        Parameters
        ----------
        sha256 : str
            Of the content: 64 hexadecimal digits, as :meth:`files` shows them.

        Returns
        -------
        BinaryIO
            To be closed by the caller.

        Raises
        ------
        FileMissing
            If no such content is kept.
        VaultCorrupt
            If the content is damaged or lost, naming the rows it belongs to. Saving the same file again keeps it anew.
        InvalidInput
            If `sha256` is not 64 hexadecimal digits.

        Examples
        --------
        >>> from pathlib import Path
        >>> size = Path("notes.txt").write_text("hello")
        >>> saved = vault.save("inputs", pd.DataFrame({"path": ["notes.txt"]}), files="path", copy=True)
        >>> with vault.open_file(vault.files()["sha256"][0]) as file:
        ...     file.read()
        b'hello'
        """
        return kept_files.open_file(self.store, _sha256(sha256))

    def download(self, name: str, folder: str | PathLike[str]) -> Path:
        """Write the files whose contents a list keeps into a new folder.

        Those are files that were saved with ``copy=True``, and what :meth:`Run.log_model` and :meth:`Run.log_figure` wrote. Relative
        paths stay as they are below the folder; of absolute ones what all share is left out, and so of addresses. Each content is
        verified first. The folder is there as a whole at the end, or not at all.

        Parameters
        ----------
        name : str
            The list, perhaps at a version: ``"train/model@3"``.
        folder : path
            A folder that is not there yet, or is empty.

        Returns
        -------
        Path
            The folder.

        Raises
        ------
        ListNotFound, ListDeleted, VersionNotFound
            If `name` is not there.
        InvalidName, InvalidType
            If no list can have that name, or it is no text.
        InvalidInput
            If the list has no files, or some without their content, two rows have one path and other contents, a path leads out
            of the folder, or `folder` is not empty.
        VaultCorrupt
            If rows or contents are damaged.
        StorageError
            If the system cannot write there.

        Examples
        --------
        >>> from pathlib import Path
        >>> size = Path("model.json").write_text("[0.5]")
        >>> with vault.session("train") as s:
        ...     s.log_model("model", "model.json")
        >>> sorted(path.name for path in vault.download("train/model", "restored").iterdir())
        ['model.json']
        """
        target = Path(validate.path(folder, "folder"))
        version = read.resolve(self.store, name)
        with new_folder(target) as written:
            logged.download(self.store, version, written)
        self._note_read(version)
        return target

    def describe(self, name: str, text: str, vector: Any = None, *, label: str = "BASE") -> None:
        """Store a text about a list or a session, and perhaps a vector for it.

        A text with the same label takes the place of the one before; :meth:`descriptions` has both.

        Parameters
        ----------
        name : str
            A list, or a session: ``"train#2"``, or ``"train"`` for its latest run. A list of that name comes first.
        text : str
            What to say. It is found by ``search(description=…)``.
        vector : array_like of float, shape (dim,), optional
            An embedding of the text, for ``search(near={"description": vector})``.
        label : str
            Tells several texts about one list apart.

        Raises
        ------
        ListNotFound
            If there is neither a list nor a session of that name.
        InvalidName
            If no list or session can have that name.
        InvalidInput
            If the text or label is blank, or the vector holds anything but finite numbers.
        VaultReadOnly
            If the vault is open for reading.

        Examples
        --------
        >>> saved = vault.save("losses", {"loss": 0.5})
        >>> vault.describe("losses", "validation loss, lower is better")
        >>> vault.descriptions()[["list", "label", "text"]]
             list label                              text
        0  losses  BASE  validation loss, lower is better
        """
        self._check_writable()
        head = self.store.head(parse_address(name).name)
        if head is not None:
            target: dict[str, Any] = {"list_id": head.list_id}
        else:
            try:
                target = {"session_of": resolve_session(self.store, name).id}
            except SessionNotFound as error:
                missing = read.list_not_found(self.store, name)
                raise type(missing)(f"{missing} {error}") from None
        description = self._description(text, label=label, vector=vector, **target)
        self.store.describe(description, attempt=self._by()["attempt"])

    def _description(
        self, text: str, *, label: str = "BASE", vector: Any = None, **target: Any
    ) -> Description:
        text = validate.text(text, "A description")
        label = validate.text(label, "label=")
        numbers = None if vector is None else validate.vector(vector)
        return Description(label, text, vector=numbers, session_id=self._by()["session_id"], **target)


def _sha256(value: Any) -> str:
    if isinstance(value, str) and re.fullmatch("[0-9a-f]{64}", value):
        return value
    raise InvalidInput(
        f"A file's content is named by its SHA-256, 64 hexadecimal digits as vault.files() shows them, not {short_repr(value)}."
    )
