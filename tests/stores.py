"""Stores to test: the embedded one always, the ArangoDB one where TABLEVAULT_TEST_ARANGO_URL names a server.

Each test gets a place of its own: a folder, or a database that is dropped afterwards. Unset, the ArangoDB half is
skipped; set and unreachable, it fails.
"""

from __future__ import annotations

import os
import uuid
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pyarrow as pa
import pytest
from fault_proxy import Faults

from tablevault_pd.store import Batch, Store, Version
from tablevault_pd.store.edges import EdgeQuery, EdgeTable
from tablevault_pd.store.embedded import EmbeddedStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from tablevault_pd import Vault


def _own_url() -> str:
    """The address of the server, or of this worker's own where several are named: then requests can be counted."""
    urls = os.environ.get("TABLEVAULT_TEST_ARANGO_URL", "").split()
    worker = os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")
    return urls[int(worker) % len(urls)] if urls else ""


ARANGO_URL = _own_url()
BOTH = ["embedded", pytest.param("arango", marks=pytest.mark.arango)]


@dataclass(frozen=True)
class Place:
    """Where a vault of one test lies, and how to open a store there."""

    opener: Callable[..., Store]
    address: str

    def open(self, **options: Any) -> Store:
        """Open it again, as another process would."""
        return self.opener(self.address, **options)


@contextmanager
def new_place(kind: str, folder: Path) -> Iterator[Place]:
    """A place for a new vault, gone afterwards."""
    if kind == "embedded":
        yield Place(EmbeddedStore, str(folder / f"{uuid.uuid4().hex}.vault"))
        return
    with new_database() as url:
        from tablevault_pd.store.arango import ArangoStore

        ArangoStore(url, create=True).close()
        yield Place(ArangoStore, url)


def remove_strays(vault: Vault) -> None:
    """Remove what killed processes had written and not committed. It is all that may be wrong with the vault."""
    if vault.place.startswith("arangodb:"):
        from tablevault_pd.store.arango import ArangoStore

        password = os.environ.get("TABLEVAULT_PASSWORD")
        with closing(ArangoStore(vault.place, password=password, stray_age_s=0)) as sweeper:
            found = {problem.severity for problem in sweeper.check(fix=True)}
    else:
        found = set(vault.check(fix=True)["severity"])
    assert found <= {"stray"}


@contextmanager
def new_database(*, faulty: bool = False) -> Iterator[str]:
    """The address of a database that does not exist yet, and is dropped afterwards.

    With `faulty` it is that of the proxy in front of the server.
    """
    if not ARANGO_URL:
        pytest.skip("TABLEVAULT_TEST_ARANGO_URL is not set: there is no ArangoDB to test with")
    parts = urlsplit(ARANGO_URL)
    name = f"tv_test_{uuid.uuid4().hex[:16]}"
    if faulty:
        login = parts.netloc.rpartition("@")[0]
        parts = parts._replace(scheme="arangodb", netloc=f"{login}@127.0.0.1:{proxy().port}")
    try:
        yield parts._replace(path=f"/{name}").geturl()
    finally:
        system().delete_database(name, ignore_missing=True)


def database_of(url: str) -> Any:
    """A driver's handle of the database at `url`, to look at it and to damage it."""
    from arango.client import ArangoClient

    parts = urlsplit(url)
    scheme = "https" if parts.scheme == "arangodbs" else "http"
    client = ArangoClient(hosts=f"{scheme}://{parts.hostname}:{parts.port or 8529}", resolver_max_tries=1)
    return client.db(parts.path.strip("/"), username=parts.username or "root", password=parts.password or "")


def batches_of(database: Any, name: str) -> list[str]:
    """The keys of the batches of a list."""
    [list_id] = [one["id"] for one in database.collection("tv_lists").all() if one.get("name") == name]
    return [each["_key"] for each in database.collection("tv_batches").all() if each.get("list") == list_id]


def system() -> Any:
    """A driver's handle of the server's first database."""
    return database_of(urlsplit(ARANGO_URL)._replace(path="/_system").geturl())


@cache
def proxy() -> Faults:
    """The proxy in front of the server, one in each process."""
    parts = urlsplit(ARANGO_URL)
    return Faults(parts.hostname or "", parts.port or 8529, tls=parts.scheme == "arangodbs")


@pytest.fixture
def faults() -> Iterator[Faults]:
    """Faults on demand, for databases from ``new_database(faulty=True)``."""
    if not ARANGO_URL:
        pytest.skip("TABLEVAULT_TEST_ARANGO_URL is not set: there is no ArangoDB to test with")
    found = proxy()
    found.clear()
    yield found
    found.clear()


# ---------------------------------------------------------------- shorthand


def edges_at(
    store: Store, list_id: int, generation: int, spans: Sequence[tuple[int, int]], *, side: Any
) -> EdgeTable:
    """The edges of some rows of one generation."""
    return store.edges([EdgeQuery(list_id, generation, spans)], side=side)


def put(store: Store, name: str, *tables: pa.Table, operation: str = "save", **options: Any) -> Version:
    """Commit `tables` as one batch."""
    if operation == "append" and "base" not in options:
        head = store.head(name)
        options["base"] = head.schema_id if head else None
    options.setdefault("token", uuid.uuid4().hex)
    options.setdefault("schema", tables[-1].schema)
    with store.stage() as stage:
        for table in tables:
            stage.write(table)
        return store.commit(Batch(list=name, operation=operation, **options), stage)  # type: ignore[arg-type]


def index_texts(store: Any) -> None:
    """Index the texts of all lists of a folder now, as its thread does a moment after the commits."""
    store.text._complete()


def keep(store: Store, path: Path, sha256: str) -> Version:
    """Keep a file with the row of a list of its name."""
    with store.keeping() as keeping, store.stage() as stage:
        keeping(path, sha256)
        table = pa.table({"sha256": [sha256]})
        stage.write(table)
        return store.commit(
            Batch(uuid.uuid4().hex, path.name, "save", schema=table.schema, files=keeping.files), stage
        )


def act(store: Store, name: str, operation: str, **options: Any) -> Version:
    """Commit a batch without rows."""
    options.setdefault("token", uuid.uuid4().hex)
    return store.commit(Batch(list=name, operation=operation, **options))  # type: ignore[arg-type]


def rows(
    store: Store, version: Version | None, columns: Sequence[str] | None = None, **window: Any
) -> list[Any]:
    """The rows of a version as dicts, with their positions checked to follow each other."""
    assert version is not None
    found: list[Any] = []
    at = window.get("start", 0)
    for chunk in store.scan(version, columns=columns, **window):
        assert list(chunk.positions) == list(range(at, at + len(chunk.positions)))
        if chunk.table.num_columns:
            assert chunk.table.num_rows == len(chunk.positions)
        found += chunk.table.to_pylist()
        at += len(chunk.positions)
    return found


def table_of(store: Store, version: Version | None) -> pa.Table:
    """A version whose rows all have one schema, as one table."""
    assert version is not None
    return pa.concat_tables([chunk.table for chunk in store.scan(version)])
