"""The embedded store: a vault in a folder, with a catalogue in SQLite and rows in Arrow."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from tablevault_pd.store.embedded import folders
from tablevault_pd.store.embedded.blobs import BlobStore
from tablevault_pd.store.embedded.catalog import BUSY_TIMEOUT_S, SqliteCatalog
from tablevault_pd.store.embedded.claims import ClaimBook
from tablevault_pd.store.embedded.code import SliceStore
from tablevault_pd.store.embedded.commit import Committer
from tablevault_pd.store.embedded.control import SessionControl
from tablevault_pd.store.embedded.copies import KEYS, CopyFiles
from tablevault_pd.store.embedded.edges import LineageEdges
from tablevault_pd.store.embedded.erase import Eraser
from tablevault_pd.store.embedded.index_files import VectorIndexFiles
from tablevault_pd.store.embedded.index_report import IndexReport
from tablevault_pd.store.embedded.journal import Journal
from tablevault_pd.store.embedded.maintenance import MaintenanceTasks
from tablevault_pd.store.embedded.names import NameCatalog
from tablevault_pd.store.embedded.parts import VaultParts
from tablevault_pd.store.embedded.reader import Reader
from tablevault_pd.store.embedded.schemas import Schemas
from tablevault_pd.store.embedded.sessions import Descriptions, SessionRecords
from tablevault_pd.store.embedded.text import TextSearch
from tablevault_pd.store.embedded.text_file import TextFile
from tablevault_pd.store.embedded.values import SessionValues
from tablevault_pd.store.embedded.versions import Versions
from tablevault_pd.store.engine.delegate import Delegate
from tablevault_pd.store.engine.vector_scan import VectorScan

if TYPE_CHECKING:
    import os

    from tablevault_pd.store import Problem


class EmbeddedStore:
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
        self._reader = Reader(catalog, self._schemas, self._versions, segments)
        self._sessions = SessionRecords(catalog)
        self._descriptions = Descriptions(catalog)
        self._control = SessionControl(catalog)
        self._values = SessionValues(catalog)
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
            self.folder, segments, self.files, catalog, self.journal, self._schemas, self._versions, self.text
        )  # fmt: skip
        self._maintenance = MaintenanceTasks(parts, _check_folder)
        self._index_report = IndexReport(parts)
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
        self.catalog.close()

    # -- lists and rows
    stage = Delegate("_committer", Committer.stage)
    commit = Delegate("_committer", Committer.commit)
    erase = Delegate("_eraser", Eraser.erase)
    erased = Delegate("_versions", Versions.erased)
    head = Delegate("_versions", Versions.head)
    version = Delegate("_versions", Versions.version)
    version_at = Delegate("_versions", Versions.version_at)
    versions = Delegate("_versions", Versions.versions)
    version_columns = Delegate("_versions", Versions.version_columns)
    find_versions = Delegate("_versions", Versions.find_versions)
    pieces = Delegate("_reader", Reader.pieces)
    lists = Delegate("_versions", Versions.lists)
    list_summary = Delegate("_versions", Versions.list_summary)
    names = Delegate("_versions", Versions.names)
    schema = Delegate("_schemas", Schemas.schema)
    schemas = Delegate("_schemas", Schemas.schemas)
    scan = Delegate("_reader", Reader.scan)
    scan_many = Delegate("_reader", Reader.scan_many)
    keeping = Delegate("_blobs", BlobStore.keeping)
    open_file = Delegate("_blobs", BlobStore.open_file)

    # -- names of versions and lists
    tag_versions = Delegate("_names", NameCatalog.tag_versions)
    snapshot = Delegate("_names", NameCatalog.snapshot)
    drop_snapshot = Delegate("_names", NameCatalog.drop_snapshot)
    version_names = Delegate("_names", NameCatalog.version_names)
    find_named = Delegate("_names", NameCatalog.find_named)
    rename_list = Delegate("_names", NameCatalog.rename_list)
    renamed = Delegate("_names", NameCatalog.renamed)
    renames = Delegate("_names", NameCatalog.renames)
    put_names = Delegate("_names", NameCatalog.put_names)

    load_key_index = Delegate("_keys", CopyFiles.load)
    keep_key_index = Delegate("_keys", CopyFiles.keep)

    # -- sessions
    open_session = Delegate("_sessions", SessionRecords.open_session)
    reopen_session = Delegate("_sessions", SessionRecords.reopen_session)
    put_session = Delegate("_sessions", SessionRecords.put_session)
    update_session = Delegate("_sessions", SessionRecords.update_session)
    sessions = Delegate("_sessions", SessionRecords.sessions)
    change_tags = Delegate("_sessions", SessionRecords.change_tags)
    put_cell = Delegate("_sessions", SessionRecords.put_cell)
    cells = Delegate("_sessions", SessionRecords.cells)
    beat = Delegate("_control", SessionControl.beat)
    ask = Delegate("_control", SessionControl.ask)
    requests = Delegate("_control", SessionControl.requests)
    overview = Delegate("_control", SessionControl.overview)
    measures = Delegate("_control", SessionControl.measures)
    metric_names = Delegate("_control", SessionControl.metric_names)
    timelines = Delegate("_control", SessionControl.timelines)
    sources = Delegate("_control", SessionControl.sources)
    session_ids = Delegate("_values", SessionValues.session_ids)
    session_labels = Delegate("_values", SessionValues.session_labels)
    session_values = Delegate("_values", SessionValues.session_values)

    # -- the code that made rows
    written_code = Delegate("_slices", SliceStore.written_code)
    put_code = Delegate("_slices", SliceStore.put_code)
    search_slices = Delegate("_slices", SliceStore.search_slices)
    search_code_of_sessions = Delegate("_slices", SliceStore.search_code_of_sessions)
    confirm = Delegate("_slices", SliceStore.confirm)
    confirmations = Delegate("_slices", SliceStore.confirmations)

    # -- descriptions and search
    describe = Delegate("_descriptions", Descriptions.describe)
    descriptions = Delegate("_descriptions", Descriptions.descriptions)
    search_descriptions = Delegate("_descriptions", Descriptions.search_descriptions)
    search_text = Delegate("text", TextSearch.search_text)
    search_code = Delegate("text", TextSearch.search_code)
    spans_written = Delegate("_versions", Versions.spans_written)
    search_vectors = Delegate("vectors", VectorScan.search_vectors)
    count_nearer = Delegate("vectors", VectorScan.count_nearer)
    indexes = Delegate("_index_report", IndexReport.indexes)

    # -- lineage
    edges = Delegate("_lineage", LineageEdges.edges)
    edges_of_batch = Delegate("_lineage", LineageEdges.edges_of_batch)
    edge_summaries = Delegate("_lineage", LineageEdges.edge_summaries)
    writers = Delegate("_lineage", LineageEdges.writers)
    describe_lists = Delegate("_lineage", LineageEdges.describe_lists)
    parent_generations = Delegate("_lineage", LineageEdges.parent_generations)
    newest_of_generations = Delegate("_lineage", LineageEdges.newest_of_generations)
    note_reads = Delegate("_lineage", LineageEdges.note_reads)
    reads = Delegate("_lineage", LineageEdges.reads)

    # -- claims
    work = Delegate("_claims", ClaimBook.work)
    worked_lists = Delegate("_claims", ClaimBook.worked_lists)
    align_work = Delegate("_claims", ClaimBook.align_work)
    claim = Delegate("_claims", ClaimBook.claim)
    give_back = Delegate("_claims", ClaimBook.give_back)
    undo_claim = Delegate("_claims", ClaimBook.undo_claim)
    release = Delegate("_claims", ClaimBook.release)
    finish = Delegate("_claims", ClaimBook.finish)
    put_done = Delegate("_claims", ClaimBook.put_done)
    claim_records = Delegate("_claims", ClaimBook.claim_records)
    holders = Delegate("_claims", ClaimBook.holders)
    data_version = Delegate("_claims", ClaimBook.data_version)

    # -- maintenance
    check = Delegate("_maintenance", MaintenanceTasks.check)
    records_unread = Delegate("_maintenance", MaintenanceTasks.records_unread)
    compact = Delegate("_maintenance", MaintenanceTasks.compact)
    vacuum = Delegate("_maintenance", MaintenanceTasks.vacuum)
    back_up = Delegate("_maintenance", MaintenanceTasks.back_up)


def _check_folder(folder: Path) -> list[Problem]:
    with closing(EmbeddedStore(folder)) as store:
        return store.check()
