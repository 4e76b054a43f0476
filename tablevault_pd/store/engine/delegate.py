"""A store is made of parts, each of which answers some methods of the protocol."""

from __future__ import annotations

from typing import TYPE_CHECKING, Concatenate, Generic, ParamSpec, TypeVar, cast

from tablevault_pd.store.claims import ClaimStore
from tablevault_pd.store.code import CodeStore
from tablevault_pd.store.lineage import LineageStore
from tablevault_pd.store.lists import ListStore
from tablevault_pd.store.maintenance import MaintenanceStore
from tablevault_pd.store.names import NameStore
from tablevault_pd.store.search import SearchStore
from tablevault_pd.store.sessions import SessionStore

if TYPE_CHECKING:
    from collections.abc import Callable

Part = TypeVar("Part")
P = ParamSpec("P")
R = TypeVar("R")


class Delegate(Generic[P, R]):
    """A method of a store that one of its parts carries out.

    ``head = Delegate("_versions", ListStore.head)`` makes ``store.head`` the method ``head`` of ``store._versions``. The
    signature and the docstring are those of the method that is named, so neither is written twice.
    """

    def __init__(self, part: str, method: Callable[Concatenate[Part, P], R]) -> None:
        self._part, self._method = part, method
        self.__doc__ = method.__doc__

    def __get__(self, store: object, owner: type) -> Callable[P, R]:
        if store is None:
            return cast("Callable[P, R]", self._method)
        method: Callable[P, R] = getattr(getattr(store, self._part), self._method.__name__)
        return method


class PartedStore:
    """What the parts of every store answer. A store adds the calls that parts of other names answer in each."""

    pinned_to: str | None = None

    # -- lists and rows
    stage = Delegate("_committer", ListStore.stage)
    commit = Delegate("_committer", ListStore.commit)
    erase = Delegate("_eraser", ListStore.erase)
    head = Delegate("_versions", ListStore.head)
    version = Delegate("_versions", ListStore.version)
    version_at = Delegate("_versions", ListStore.version_at)
    versions = Delegate("_versions", ListStore.versions)
    version_columns = Delegate("_versions", ListStore.version_columns)
    find_versions = Delegate("_versions", ListStore.find_versions)
    lists = Delegate("_versions", ListStore.lists)
    list_summary = Delegate("_versions", ListStore.list_summary)
    names = Delegate("_versions", ListStore.names)
    keeping = Delegate("_blobs", ListStore.keeping)
    open_file = Delegate("_blobs", ListStore.open_file)

    # -- names of versions and lists
    tag_versions = Delegate("_names", NameStore.tag_versions)
    snapshot = Delegate("_names", NameStore.snapshot)
    drop_snapshot = Delegate("_names", NameStore.drop_snapshot)
    version_names = Delegate("_names", NameStore.version_names)
    find_named = Delegate("_names", NameStore.find_named)
    rename_list = Delegate("_names", NameStore.rename_list)
    renamed = Delegate("_names", NameStore.renamed)
    renames = Delegate("_names", NameStore.renames)
    put_names = Delegate("_names", NameStore.put_names)

    # -- sessions
    open_session = Delegate("_sessions", SessionStore.open_session)
    reopen_session = Delegate("_sessions", SessionStore.reopen_session)
    put_session = Delegate("_sessions", SessionStore.put_session)
    update_session = Delegate("_sessions", SessionStore.update_session)
    sessions = Delegate("_sessions", SessionStore.sessions)
    session_ids = Delegate("_sessions", SessionStore.session_ids)
    session_labels = Delegate("_sessions", SessionStore.session_labels)
    session_values = Delegate("_sessions", SessionStore.session_values)
    change_tags = Delegate("_sessions", SessionStore.change_tags)
    put_cell = Delegate("_sessions", SessionStore.put_cell)
    cells = Delegate("_sessions", SessionStore.cells)
    beat = Delegate("_control", SessionStore.beat)
    ask = Delegate("_control", SessionStore.ask)
    requests = Delegate("_control", SessionStore.requests)
    overview = Delegate("_control", SessionStore.overview)
    measures = Delegate("_control", SessionStore.measures)
    metric_names = Delegate("_control", SessionStore.metric_names)
    timelines = Delegate("_control", SessionStore.timelines)
    sources = Delegate("_control", SessionStore.sources)

    # -- the code that made rows
    written_code = Delegate("_slices", CodeStore.written_code)
    put_code = Delegate("_slices", CodeStore.put_code)
    search_slices = Delegate("_slices", CodeStore.search_slices)
    search_code_of_sessions = Delegate("_slices", CodeStore.search_code_of_sessions)
    confirm = Delegate("_slices", CodeStore.confirm)
    confirmations = Delegate("_slices", CodeStore.confirmations)

    # -- descriptions and search
    describe = Delegate("_descriptions", SearchStore.describe)
    descriptions = Delegate("_descriptions", SearchStore.descriptions)
    search_vectors = Delegate("vectors", SearchStore.search_vectors)
    count_nearer = Delegate("vectors", SearchStore.count_nearer)

    # -- lineage
    edges = Delegate("_lineage", LineageStore.edges)
    edges_of_batch = Delegate("_lineage", LineageStore.edges_of_batch)
    edge_summaries = Delegate("_lineage", LineageStore.edge_summaries)
    writers = Delegate("_lineage", LineageStore.writers)
    describe_lists = Delegate("_lineage", LineageStore.describe_lists)
    parent_generations = Delegate("_lineage", LineageStore.parent_generations)
    newest_of_generations = Delegate("_lineage", LineageStore.newest_of_generations)
    note_reads = Delegate("_lineage", LineageStore.note_reads)
    reads = Delegate("_lineage", LineageStore.reads)

    # -- claims
    work = Delegate("_claims", ClaimStore.work)
    worked_lists = Delegate("_claims", ClaimStore.worked_lists)
    align_work = Delegate("_claims", ClaimStore.align_work)
    claim = Delegate("_claims", ClaimStore.claim)
    give_back = Delegate("_claims", ClaimStore.give_back)
    undo_claim = Delegate("_claims", ClaimStore.undo_claim)
    release = Delegate("_claims", ClaimStore.release)
    finish = Delegate("_claims", ClaimStore.finish)
    put_done = Delegate("_claims", ClaimStore.put_done)
    claim_records = Delegate("_claims", ClaimStore.claim_records)
    holders = Delegate("_claims", ClaimStore.holders)
    data_version = Delegate("_claims", ClaimStore.data_version)

    # -- maintenance
    check = Delegate("_maintenance", MaintenanceStore.check)
    records_unread = Delegate("_maintenance", MaintenanceStore.records_unread)
    compact = Delegate("_maintenance", MaintenanceStore.compact)
    vacuum = Delegate("_maintenance", MaintenanceStore.vacuum)
    back_up = Delegate("_maintenance", MaintenanceStore.back_up)
