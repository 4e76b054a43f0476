"""Collections, indexes and graph of a vault, and how they come into being: idempotently, never dropping anything."""

from __future__ import annotations

import time
import uuid
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from tablevault_pd.errors import StoreUnavailable, VaultCorrupt, VaultFormatError, VaultNotFound
from tablevault_pd.store.arango.client import (
    DUPLICATE_NAME,
    GRAPH_EXISTS,
    NO_COLLECTION,
    UNIQUE,
    Client,
    Said,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from arango.database import StandardDatabase

FORMAT = 1

META, LISTS, BATCHES, SCHEMAS, DICTIONARIES = (
    "tv_meta",
    "tv_lists",
    "tv_batches",
    "tv_schemas",
    "tv_dictionaries",
)
RECORDS, DOCUMENTS, EMBEDDINGS, FILES = "tv_records", "tv_documents", "tv_embeddings", "tv_files"
SESSIONS, CELLS, DESCRIPTIONS, BLOBS, EDGES = (
    "tv_sessions",
    "tv_cells",
    "tv_descriptions",
    "tv_blobs",
    "tv_edges",
)
INFOS, REQUESTS, LATEST, MEASURES = "tv_infos", "tv_requests", "tv_latest", "tv_measures"
SOURCES, SESSION_SOURCES = "tv_sources", "tv_session_sources"
STATEMENTS, SLICES, WRITTEN_CODE, CONFIRMATIONS = (
    "tv_statements",
    "tv_slices",
    "tv_written_code",
    "tv_confirmations",
)
VERSION_NAMES, RENAMES = "tv_version_names", "tv_renames"
GRAPH, VIEW = "tv_lineage", "tv_search"

#: The collections that hold one document per row or cell; every other one is small beside them.
ITEMS = (RECORDS, DOCUMENTS, EMBEDDINGS, FILES)

# One shard: a unique index over several shards must contain the shard key, and these decide what is committed.
_CATALOGUE = (
    META, LISTS, BATCHES, SCHEMAS, SESSIONS, INFOS, CELLS, DESCRIPTIONS, REQUESTS, LATEST, SESSION_SOURCES,
    WRITTEN_CODE, CONFIRMATIONS, VERSION_NAMES, RENAMES,
)  # fmt: skip
_SPREAD = (*ITEMS, DICTIONARIES, BLOBS, MEASURES, SOURCES, STATEMENTS, SLICES)

#: All collections of a vault.
COLLECTIONS = (*_CATALOGUE, *_SPREAD, EDGES)

# Persistent indexes, as all servers since 3.0 have them.
_INDEXES: dict[str, tuple[tuple[tuple[str, ...], bool], ...]] = {
    LISTS: ((("digest",), True), (("id",), True)),
    BATCHES: (
        (("list", "version"), True),  # the commit: one version, one batch
        (("list", "token"), True),
        (("list", "generation", "start"), False),
        (("session",), False),
        (("list", "operation"), False),  # the restores among many appends
        (("list", "gone"), False),
        (("reader",), False),
    ),
    EDGES: (
        (("parent_list", "parent_generation", "parent_level", "parent_bin"), False),
        (("batch",), False),
    ),
    RECORDS: ((("batch", "row"), False),),
    DOCUMENTS: ((("batch", "field", "row"), False),),
    EMBEDDINGS: ((("batch", "field", "row"), False),),
    FILES: ((("batch", "field", "row"), False),),
    SESSIONS: ((("digest", "run"), True), (("id",), True), (("opening",), False)),
    CELLS: ((("session", "cell"), True),),
    DESCRIPTIONS: ((("seq",), False), (("batch",), False)),
    DICTIONARIES: ((("digest", "n"), False),),
    BLOBS: ((("upload", "n"), False),),
    REQUESTS: ((("session", "acknowledged", "id"), False),),
    LATEST: ((("session",), False), (("digest",), False)),
    MEASURES: ((("digest", "session"), False), (("session",), False)),
    SESSION_SOURCES: ((("session",), False), (("sha256",), False)),
    WRITTEN_CODE: ((("slice",), False), (("session",), False)),
    CONFIRMATIONS: ((("list", "seq"), False),),
    VERSION_NAMES: ((("digest",), False), (("list",), False)),
    RENAMES: ((("digest",), False),),
}

# How much text there is, told by the index alone: batch documents may be large. Stored values: 3.10 or later.
_TEXTS = {"sparse": True, "storedValues": ["text_words"]}

#: The view's analyzer: it cuts at blanks the words that :mod:`tablevault_pd.store.engine.tokenizer` has made.
ANALYZER = "tv_words"
_WORDS, _CODE = (
    {"fields": {name: {"analyzers": [ANALYZER]} for name in names}}
    for names in (("stems", "words"), ("parts", "wholes"))
)
_LINKS = {
    RECORDS: _WORDS,
    DOCUMENTS: _WORDS,
    FILES: _WORDS,
    DESCRIPTIONS: _WORDS,
    CELLS: _CODE,
    STATEMENTS: _CODE,
    SOURCES: _CODE,
}

# 3.12; works on every version
READ_META = """
FOR m IN tv_meta FILTER m._key == "vault"
RETURN {vault: m.vault, format: m.format, now: DATE_NOW()}
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


def open_vault(client: Client) -> tuple[str, Clock]:
    """Lay out the database if it is no vault yet; the vault's id and the server's time."""
    found = _read_meta(client)
    if found is None:
        if client.read_only:
            raise VaultNotFound(f"There is no vault in {client.address}. mode='rw' makes one.")
        _lay_out(client)
        found = _read_meta(client)
        if found is None:
            raise VaultCorrupt(f"The vault in {client.address} lost its tv_meta document while it was made.")
    if not isinstance(found["format"], int) or not isinstance(found["vault"], str):
        raise VaultFormatError(f"{client.address} has a collection tv_meta, but it is not that of a vault.")
    if found["format"] > FORMAT:
        raise VaultFormatError(
            f"The vault in {client.address} has format {found['format']}; this tablevault_pd reads up to format "
            f"{FORMAT}. Install a newer release: pip install -U tablevault-pd"
        )
    return found["vault"], Clock(found["now"])


def vault_id(client: Client) -> str | None:
    """The id of the vault in the database; None if there is none."""
    found = _read_meta(client)
    return None if found is None else str(found["vault"])


def _read_meta(client: Client) -> dict[str, Any] | None:
    try:
        rows = client.query(READ_META, expect=(NO_COLLECTION,), patient=False)
    except Said:
        return None
    except (KeyError, TypeError) as error:
        raise StoreUnavailable(
            f"There is no ArangoDB at {client.address}: what answered has JSON, but not that of a query. Is the port right?"
        ) from error
    return rows[0] if rows else None


def _lay_out(client: Client) -> None:
    for name in COLLECTIONS:
        _once(client, partial(_make_collection, name=name))
    for name, indexes in _INDEXES.items():
        for fields, unique in indexes:
            client.run(partial(_make_index, collection=name, fields=fields, unique=unique))
    client.run(partial(_make_index, collection=BATCHES, fields=("text_items",), unique=False, more=_TEXTS))
    _once(client, _make_graph)
    # The same analyzer again is no error, another one of this name is.
    client.run(
        lambda db: db.create_analyzer(ANALYZER, "delimiter", {"delimiter": " "}, ["frequency", "position"])
    )
    if not _once(client, lambda db: db.create_arangosearch_view(VIEW, properties={"links": _LINKS})):
        # It was there already, perhaps with other links: those stay.
        client.run(lambda db: db.update_arangosearch_view(VIEW, {"links": _LINKS}))
    for counter in ("lists", "sessions", "descriptions", "requests", "confirmations"):
        client.insert(META, {"_key": counter, "value": 0}, mode="ignore")
    # Last: a vault is there when this document is. Of two that are made at once, the first one stays.
    client.insert(META, {"_key": "vault", "vault": uuid.uuid4().hex, "format": FORMAT}, mode="ignore")


def _make_collection(db: StandardDatabase, name: str) -> None:
    db.create_collection(name, edge=name == EDGES, shard_count=1 if name in _CATALOGUE else None)


def _make_index(
    db: StandardDatabase,
    collection: str,
    fields: tuple[str, ...],
    unique: bool,
    more: Mapping[str, Any] = MappingProxyType({}),
) -> None:
    name = "tv_" + "_".join(fields)
    definition = {"type": "persistent", "fields": list(fields), "unique": unique, "name": name, **more}
    db.collection(collection).add_index(definition)  # makes nothing if the index is there


def _make_graph(db: StandardDatabase) -> None:
    edges = {
        "edge_collection": EDGES,
        "from_vertex_collections": [BATCHES],
        "to_vertex_collections": [BATCHES, LISTS],
    }
    db.create_graph(GRAPH, edge_definitions=[edges])


def _once(client: Client, make: Callable[[StandardDatabase], Any]) -> bool:
    """Make something unless it is there already: made earlier, by another process, or by a request we never heard of."""
    try:
        client.run(make, expect=(DUPLICATE_NAME, GRAPH_EXISTS))
    except Said:
        return False
    return True


def create_database(client: Client, *, one_shard: bool) -> None:
    """Make the vault's database if the user may do so. On a cluster, `one_shard` keeps it on one DB-Server."""
    name = client.address.database
    # "sharding" needs 3.12.5 in the Community Edition; a single server ignores it.
    try:
        client.run(
            lambda db: (
                db.has_database(name) or db.create_database(name, sharding="single" if one_shard else None)
            ),
            expect=(DUPLICATE_NAME, UNIQUE),
            patient=False,
            database="_system",
        )
    except Said:
        return
