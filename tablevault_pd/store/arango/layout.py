"""Collections, indexes and graph of a vault, and how they come into being: idempotently, never dropping anything."""

from __future__ import annotations

import hashlib
import time
import uuid
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from tablevault_pd.errors import (
    StoreError,
    StoreUnavailable,
    VaultCorrupt,
    VaultFormatError,
    VaultNotFound,
    VaultReadOnly,
)
from tablevault_pd.progress import warn
from tablevault_pd.store.arango.client import execute
from tablevault_pd.store.arango.server_errors import (
    DUPLICATE_NAME,
    GRAPH_EXISTS,
    NO_COLLECTION,
    UNIQUE,
    ExpectedError,
)
from tablevault_pd.store.arango.transport import IMPATIENT_S

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from arango.database import StandardDatabase

    from tablevault_pd.store.arango.client import Client

FORMAT = 2

META, LISTS, BATCHES, DETAILS = "tv_meta", "tv_lists", "tv_batches", "tv_details"
SCHEMAS, DICTIONARIES, PAYLOADS = "tv_schemas", "tv_dictionaries", "tv_payloads"
RECORDS, DOCUMENTS, EMBEDDINGS, FILES = "tv_records", "tv_documents", "tv_embeddings", "tv_files"
SESSIONS, CELLS, DESCRIPTIONS = "tv_sessions", "tv_cells", "tv_descriptions"
BLOBS, EDGES = "tv_blobs", "tv_edges"
INFOS, REQUESTS, LATEST, MEASURES = "tv_infos", "tv_requests", "tv_latest", "tv_measures"
SOURCES, SESSION_SOURCES = "tv_sources", "tv_session_sources"
STATEMENTS, SLICES = "tv_statements", "tv_slices"
WRITTEN_CODE, CONFIRMATIONS = "tv_written_code", "tv_confirmations"
VERSION_NAMES, RENAMES = "tv_version_names", "tv_renames"
WORK, WORK_SAME_ROWS, CLAIMS = "tv_work", "tv_work_same_rows", "tv_claims"
GRAPH, VIEW = "tv_lineage", "tv_search"

#: The mirror: one plain JSON document per row or cell. The rows themselves are in the payloads.
MIRROR = (RECORDS, DOCUMENTS, EMBEDDINGS, FILES)
#: The collections that hold the rows of batches; every other one is small beside them.
ITEMS = (PAYLOADS, *MIRROR)

# One shard: a unique index over several shards must contain the shard key, and these decide what is committed.
_CATALOGUE = (
    META, LISTS, BATCHES, DETAILS, SCHEMAS, SESSIONS, INFOS, CELLS, DESCRIPTIONS, REQUESTS, LATEST, SESSION_SOURCES,
    WRITTEN_CODE, CONFIRMATIONS, VERSION_NAMES, RENAMES, WORK, WORK_SAME_ROWS, CLAIMS,
)  # fmt: skip
_SPREAD = (*ITEMS, DICTIONARIES, BLOBS, MEASURES, SOURCES, STATEMENTS, SLICES)

#: All collections of a vault.
COLLECTIONS = (*_CATALOGUE, *_SPREAD, EDGES)

# Persistent indexes, as all servers since 3.0 have them, by their attributes; those of (list, version) are the commit.
_UNIQUE = {
    LISTS: ("digest", "id"),
    BATCHES: ("list version", "list token"),
    SESSIONS: ("digest run", "id"),
    CELLS: ("session cell",),
}
_INDEXES = {
    BATCHES: (
        "list generation start", "list generation end", "list layout", "list gone", "session", "reader", "line",
        "text_changed",
    ),
    EDGES: ("parent_list parent_generation parent_level parent_bin", "batch number"),
    DETAILS: ("batch",),
    PAYLOADS: ("named", "batch column"),
    RECORDS: ("batch row",),
    DOCUMENTS: ("batch field row",),
    EMBEDDINGS: ("batch field row",),
    FILES: ("batch field row",),
    SESSIONS: ("opening", "outcome"),
    CELLS: ("saved",),
    STATEMENTS: ("saved",),
    SOURCES: ("saved",),
    DESCRIPTIONS: ("seq", "batch"),
    DICTIONARIES: ("digest n",),
    BLOBS: ("upload n", "n upload"),
    REQUESTS: ("session acknowledged id",),
    LATEST: ("session", "digest"),
    MEASURES: ("digest session", "session"),
    SESSION_SOURCES: ("session", "sha256"),
    SLICES: ("statements[*]", "open"),
    WRITTEN_CODE: ("slice", "session"),
    CONFIRMATIONS: ("list seq",),
    VERSION_NAMES: ("digest", "list"),
    RENAMES: ("digest",),
    WORK_SAME_ROWS: ("list",),
    CLAIMS: ("list state session", "list state generation row", "list generation row"),
}  # fmt: skip

# What some of them hold beside their attributes, so that they alone answer: what a list has in all versions, who wrote its rows,
# and zone maps. Batch documents may be large, and payloads are. Stored values: 3.10 or later.
_STORED = {
    (LISTS, "id"): "name lost",
    (BATCHES, "list version"): "so_far",
    (BATCHES, "list generation start"): "rows version session cell time line emptied",
    (PAYLOADS, "batch column"): "row rows zones",
}

#: The view's analyzer: it cuts at blanks the words that :mod:`tablevault_pd.store.engine.tokenizer` has made.
ANALYZER = "tv_words"
#: That of code as it stands: it makes a term of each three neighbouring characters, without regard to case.
TRIPLES = "tv_triples"
_TRIPLES = {
    "pipeline": [
        {"type": "norm", "properties": {"locale": "en", "case": "lower", "accent": True}},
        {
            "type": "ngram",
            "properties": {"min": 3, "max": 3, "preserveOriginal": False, "streamType": "utf8"},
        },
    ]
}
_WORDS = {"fields": {name: {"analyzers": [ANALYZER]} for name in ("stems", "words")} | {"text_of": {}}}
_CODE = {
    "fields": {name: {"analyzers": [ANALYZER]} for name in ("parts", "wholes")}
    | {"text": {"analyzers": [TRIPLES]}, "saved": {}}
}
_LINKS = {
    RECORDS: _WORDS,
    DOCUMENTS: _WORDS,
    FILES: _WORDS,
    CELLS: _CODE,
    STATEMENTS: _CODE,
    SOURCES: _CODE,
}

#: What the view holds beside the words, so that texts are counted and ranked without their documents. It cannot be added later.
_RANKED = [{"fields": ["text_of", "row", "column", "length"]}, {"fields": ["stems"]}, {"fields": ["words"]}]

#: Without the order of words in a text and its length, the server could not rank: neither can be added later.
_FEATURES = ["frequency", "norm", "position"]

#: Names this layout. A vault lists the layouts that it has, so that a release with another one adds what is missing.
_LAYOUT = (COLLECTIONS, _UNIQUE, _INDEXES, list(_STORED.items()), _LINKS, _RANKED, _FEATURES, _TRIPLES)
LAYOUT = hashlib.sha256(repr(_LAYOUT).encode()).hexdigest()[:16]

# Before, numbers in an index could be out of order, which could make the server read-only for good.
OLDEST = (3, 12, 4)
#: What is known of later releases: those before the first are told the second.
DEFECTS = (
    ((3, 12, 6), "has no vector index that approx=True could use, so that every search is exact"),
    (
        (3, 12, 9),
        "lets every user run JavaScript on the server, unless it was started with --javascript.enabled=false",
    ),
)
_told: set[str] = set()  # the releases whose defects this process was told

# 3.12; works on every version
READ_META = """
FOR m IN tv_meta FILTER m._key == "vault"
RETURN {vault: m.vault, format: m.format, layouts: m.layouts, erasing: m.erasing, now: DATE_NOW(), release: VERSION()}
"""
# 3.12; works on every version
SERVER_VERSION = "RETURN VERSION()"
# 3.12; works on every version
NEXT_VIEW = """
UPSERT {_key: "views"} INSERT {_key: "views", value: 1} UPDATE {value: OLD.value + 1} IN tv_meta
"""
ADD_LAYOUT = """
FOR m IN tv_meta FILTER m._key == "vault"
  UPDATE m WITH {layouts: {[@layout]: true}} IN tv_meta OPTIONS {mergeObjects: true}
"""


class Clock:
    """The server's time, asked once and carried on by this machine's monotonic clock."""

    def __init__(self, server_ms: int) -> None:
        self._offset_s = server_ms / 1000 - time.monotonic()

    def now_ms(self) -> int:
        """Milliseconds since 1970."""
        return int((time.monotonic() + self._offset_s) * 1000)

    def now_us(self) -> int:
        """Microseconds since 1970; as exact as milliseconds between machines, but in order within a process."""
        return int((time.monotonic() + self._offset_s) * 1_000_000)


class Opened(NamedTuple):
    """What a store knows of its vault once that is open."""

    vault_id: str
    clock: Clock
    erasing: bool  #: whether erased rows are still to be overwritten
    complete: bool  #: whether it has all that this release lays out


def open_vault(client: Client) -> Opened:
    """Lay out what the database lacks to be a vault of this release."""
    meta = _read_meta(client)
    if meta is None:
        if client.read_only:
            raise VaultNotFound(f"There is no vault in {client.address}. mode='rw' makes one.")
        check_release(client, client.query(SERVER_VERSION)[0])
        lay_out(client)
        meta = _read_meta(client)
        if meta is None:
            raise VaultCorrupt(f"The vault in {client.address} lost its tv_meta document while it was made.")
    if not isinstance(meta["format"], int) or not isinstance(meta["vault"], str):
        raise VaultFormatError(f"{client.address} has a collection tv_meta, but it is not that of a vault.")
    if meta["format"] > FORMAT:
        raise VaultFormatError(
            f"The vault in {client.address} has format {meta['format']}; this tablevault_pd reads up to format "
            f"{FORMAT}. Install a newer release: pip install -U tablevault-pd"
        )
    check_release(client, meta["release"])
    layouts = meta["layouts"] if isinstance(meta["layouts"], dict) else {}
    complete = LAYOUT in layouts or (not client.read_only and _add_missing(client))
    return Opened(meta["vault"], Clock(meta["now"]), bool(meta["erasing"]), complete)


def check_release(client: Client, release: str) -> None:
    """Refuse a server that is too old, and warn of known defects once."""
    numbers = release_numbers(release)
    if numbers < OLDEST:
        raise StoreError(
            f"The server of {client.address} is ArangoDB {release}. A vault needs 3.12.4 or later: data written by earlier "
            "releases can make a server read-only for good. See "
            "https://docs.arangodb.com/3.12/release-notes/version-3.12/incompatible-changes-in-3-12/"
        )
    defects = [defect for before, defect in DEFECTS if numbers < before]
    if defects and release not in _told:
        _told.add(release)
        warn(f"The server of {client.address}, ArangoDB {release}, {' and '.join(defects)}.")


def release_numbers(release: str) -> tuple[int, ...]:
    """``3.12.6-1`` as (3, 12, 6)."""
    return tuple(int(part) for part in release.partition("-")[0].split(".") if part.isdigit())


def _add_missing(client: Client) -> bool:
    """Add what an older release did not make. Who may not do that can still use the rest: then it is False."""
    try:
        lay_out(client)
        client.query(ADD_LAYOUT, layout=LAYOUT)
    except VaultReadOnly:
        warn(
            f"The vault in {client.address} was made by another release, and some of its collections or indexes may be missing. "
            "Have an admin connect to it once with this release."
        )
        return False
    return True


def vault_id(client: Client) -> str | None:
    """The id of the vault in the database; None if there is none."""
    meta = _read_meta(client)
    return None if meta is None else str(meta["vault"])


def _read_meta(client: Client) -> dict[str, Any] | None:
    try:
        rows = client.query(READ_META, expect=(NO_COLLECTION,), unreachable_s=IMPATIENT_S)
    except ExpectedError:
        return None
    except (KeyError, TypeError) as error:
        raise StoreUnavailable(
            f"There is no ArangoDB at {client.address}: what answered has JSON, but not that of a query. Is the port right?"
        ) from error
    return rows[0] if rows else None


def lay_out(client: Client) -> None:
    """Make what a vault consists of and is not there."""
    for name in COLLECTIONS:
        _once(client, partial(_make_collection, name=name))
    for kind in (_UNIQUE, _INDEXES):
        for name, indexes in kind.items():
            for attributes in indexes:
                client.run(
                    partial(_make_index, collection=name, attributes=attributes, unique=kind is _UNIQUE)
                )
    _once(client, _make_graph)
    # The same analyzer again is no error, another one of this name is.
    client.run(lambda db: db.create_analyzer(ANALYZER, "delimiter", {"delimiter": " "}, _FEATURES))
    client.run(lambda db: db.create_analyzer(TRIPLES, "pipeline", _TRIPLES, []))
    view = {"links": _LINKS, "storedValues": _RANKED}
    if not client.run(_has_view):
        client.query(NEXT_VIEW)  # before it is made: what was seen in another one counts no more
    if not _once(client, lambda db: db.create_arangosearch_view(VIEW, properties=view)):
        _complete_view(client)
    for counter in ("lists", "sessions", "descriptions", "requests", "confirmations"):
        client.insert(META, {"_key": counter, "value": 0}, mode="ignore")
    # Last: a vault is there when this document is. Of two that are made at once, the first one stays.
    made = {"_key": "vault", "vault": uuid.uuid4().hex, "format": FORMAT, "layouts": {LAYOUT: True}}
    client.insert(META, made, mode="ignore")


def _has_view(db: StandardDatabase) -> bool:
    views: list[dict[str, Any]] = db.views()  # type: ignore[assignment]
    return any(view["name"] == VIEW for view in views)


def _make_collection(db: StandardDatabase, name: str) -> None:
    db.create_collection(name, edge=name == EDGES, shard_count=None if name in _SPREAD else 1)


def _make_index(db: StandardDatabase, collection: str, attributes: str, unique: bool) -> None:
    fields = attributes.split()
    name = "tv_" + "_".join(field.removesuffix("[*]") for field in fields)
    definition: dict[str, Any] = {"type": "persistent", "fields": fields, "unique": unique, "name": name}
    if (collection, attributes) in _STORED:
        definition["storedValues"] = _STORED[collection, attributes].split()
    db.collection(collection).add_index(definition)  # makes nothing if the index is there


def _make_graph(db: StandardDatabase) -> None:
    edges = {
        "edge_collection": EDGES,
        "from_vertex_collections": [BATCHES],
        "to_vertex_collections": [BATCHES, LISTS],
    }
    db.create_graph(GRAPH, edge_definitions=[edges])


def _complete_view(client: Client) -> None:
    """Add what the links of the view lack: the server then indexes the documents of these links anew.

    What another release added stays, as that relies on it.
    """
    view: Any = client.run(lambda db: db.view(VIEW))
    there = view["links"]
    links = {name: _joined(there.get(name, {}), link) for name, link in _LINKS.items()}
    changed = {name: link for name, link in links.items() if link != there.get(name)}
    if changed:
        client.query(NEXT_VIEW)
        client.run(lambda db: db.update_arangosearch_view(VIEW, {"links": changed}))
        client.query(NEXT_VIEW)  # what was seen between the two may have been in the former links


def _joined(there: Mapping[str, Any], link: Mapping[str, Any]) -> dict[str, Any]:
    """A link as it is, with the fields and analyzers of another one."""
    fields = {name: dict(field) for name, field in there.get("fields", {}).items()}
    for name, field in link["fields"].items():
        own = fields.setdefault(name, dict(field))
        lacking = [one for one in field.get("analyzers", ()) if one not in own.get("analyzers", ())]
        if lacking:
            own["analyzers"] = [*own.get("analyzers", ()), *lacking]
    return {**there, "fields": fields}


def _once(client: Client, make: Callable[[StandardDatabase], Any]) -> bool:
    """Make something unless it is there already: made earlier, by another process, or by a request we never heard of."""
    try:
        client.run(make, expect=(DUPLICATE_NAME, GRAPH_EXISTS))
    except ExpectedError:
        return False
    return True


def create_database(
    client: Client, *, one_shard: bool, replication_factor: int | None, write_concern: int | None
) -> None:
    """Make the vault's database if the user may do so. On a cluster, `one_shard` keeps it on one DB-Server."""
    name = client.address.database

    def make(system: StandardDatabase) -> None:
        check_release(client, execute(system, SERVER_VERSION, {}, runtime_s=IMPATIENT_S)[0])
        if not system.has_database(name):
            system.create_database(
                name,
                sharding="single" if one_shard else None,  # a single server ignores these three
                replication_factor=replication_factor,
                write_concern=write_concern,
            )

    try:
        expect = (DUPLICATE_NAME, UNIQUE)
        client.run(make, expect=expect, unreachable_s=IMPATIENT_S, database="_system")
    except ExpectedError:
        return
