"""The embedded store: a vault in a folder, with a catalogue in SQLite and rows in Arrow."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from tablevault_pd.store import ListStore, SearchStore
from tablevault_pd.store.embedded import folders
from tablevault_pd.store.embedded.blobs import BlobStore
from tablevault_pd.store.embedded.catalog import BUSY_TIMEOUT_S, SqliteCatalog
from tablevault_pd.store.embedded.claims import ClaimBook
from tablevault_pd.store.embedded.code import SliceStore
from tablevault_pd.store.embedded.commit import Committer
from tablevault_pd.store.embedded.control import SessionControl
from tablevault_pd.store.embedded.copies import KEYS, CopyFiles, VectorIndexFiles
from tablevault_pd.store.embedded.edges import LineageEdges
from tablevault_pd.store.embedded.erase import Eraser
from tablevault_pd.store.embedded.journal import Journal
from tablevault_pd.store.embedded.maintenance import MaintenanceTasks
from tablevault_pd.store.embedded.names import NameCatalog
from tablevault_pd.store.embedded.parts import VaultParts
from tablevault_pd.store.embedded.reader import Reader
from tablevault_pd.store.embedded.schemas import Schemas
from tablevault_pd.store.embedded.segments import OpenedFiles
from tablevault_pd.store.embedded.sessions import Descriptions, SessionRecords
from tablevault_pd.store.embedded.text import TextSearch
from tablevault_pd.store.embedded.text_file import TextFile
from tablevault_pd.store.embedded.versions import Versions
from tablevault_pd.store.engine.delegate import Delegate, PartedStore
from tablevault_pd.store.engine.vector_scan import VectorScan

if TYPE_CHECKING:
    import os

    from tablevault_pd.store import Problem


class EmbeddedStore(PartedStore):
    """A vault in the folder `folder`. See :class:`tablevault_pd.store.Store` for the contract of each method."""

    watch_s = 0.0  # to look for requests costs nothing
    supports_pushdown = False  # rows do not travel: a range that is left out is one that is not looked at

    def __init__(
        self,
        folder: str | os.PathLike[str],
        *,
        read_only: bool = False,
        timeout_s: float = BUSY_TIMEOUT_S,
        durability: str = "full",
    ) -> None:
        self.folder = Path(folder).absolute()
        self.read_only = read_only
        self.timeout_s = timeout_s
        self.scratch = self.folder
        folders.prepare(self.folder, read_only=read_only, timeout_s=timeout_s)
        self.catalog = SqliteCatalog(
            self.folder, read_only=read_only, timeout_s=timeout_s, durability=durability
        )
        try:
            if not read_only:
                self.catalog.create()
            self.vault_id = self.catalog.verify()
        except BaseException:
            self.catalog.close()
            raise
        self.segments = self.folder / "segments"
        self.files = self.folder / "files"
        self.journal = Journal(self.folder)
        self.journal.notice(self.catalog)
        self._make_parts()
        if not read_only:
            self._eraser.finish_interrupted()

    def _make_parts(self) -> None:
        catalog, segments = self.catalog, self.segments
        self._versions = Versions(catalog)
        self._names = NameCatalog(catalog)
        self._schemas = Schemas(catalog)
        self._opened = OpenedFiles(segments)
        self._reader = Reader(catalog, self._schemas, self._versions, self._opened, segments)
        self._sessions = SessionRecords(catalog)
        self._descriptions = Descriptions(catalog)
        self._control = SessionControl(catalog)
        self._slices = SliceStore(catalog)
        self._claims = ClaimBook(catalog)
        self._keys = CopyFiles(self.folder / KEYS, read_only=self.read_only)
        self._blobs = BlobStore(catalog, self.folder)
        self._lineage = LineageEdges(catalog)
        self.text = TextSearch(catalog, self._reader, TextFile(catalog, self.vault_id, self.timeout_s))
        index_files = VectorIndexFiles(catalog, self.folder, read_only=self.read_only)
        self.vectors = VectorScan(self._reader, index_files)
        self._committer = Committer(
            catalog, self._schemas, self._versions, self.journal, segments, self.text.index_later
        )
        parts = VaultParts(
            self.folder, segments, self.files, catalog, self.journal, self._schemas, self._versions, self.text, self._opened,
        )  # fmt: skip
        self._maintenance = MaintenanceTasks(parts, _check_folder)
        self._eraser = Eraser(parts, self._committer, self.vectors)

    @property
    def place(self) -> str:
        """The folder."""
        return str(self.folder)

    def is_current(self) -> bool:
        """Return whether the catalogue that was opened still lies in the folder."""
        return self.catalog.is_current()

    def close(self) -> None:
        """Close the catalogue, and the indexes in memory."""
        self.text.close()
        self.vectors.close()
        self._opened.close()
        self.catalog.close()

    # -- what parts of these names answer here: the others are in PartedStore
    erased = Delegate("_versions", ListStore.erased)
    pieces = Delegate("_reader", ListStore.pieces)
    schema = Delegate("_schemas", ListStore.schema)
    schemas = Delegate("_schemas", ListStore.schemas)
    scan = Delegate("_reader", ListStore.scan)
    scan_many = Delegate("_reader", ListStore.scan_many)
    load_key_index = Delegate("_keys", CopyFiles.load)
    keep_key_index = Delegate("_keys", CopyFiles.keep)
    search_descriptions = Delegate("_descriptions", SearchStore.search_descriptions)
    search_text = Delegate("text", SearchStore.search_text)
    search_code = Delegate("text", SearchStore.search_code)
    spans_written = Delegate("_versions", ListStore.spans_written)
    indexes = Delegate("_maintenance", SearchStore.indexes)


def _check_folder(folder: Path) -> list[Problem]:
    with closing(EmbeddedStore(folder)) as store:
        return store.check()
