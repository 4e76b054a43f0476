"""What to run in the first hour with a server: prints the plans and the figures that the layout assumes.

    TABLEVAULT_PASSWORD=… python tests/first_contact.py arangodb://root@localhost:8529

It makes a database of its own and drops it again. For each public call it prints how many requests were sent, how long
they took, and for each statement what the server's plan reads: the indexes, full scans (there should be none but those that
are named in ``tests/test_server_scans.py``), sorts, and what it counted while it ran. What to look at is told at the end.
"""

from __future__ import annotations

import argparse
import sys
import time
import uuid
from collections import defaultdict
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import numpy as np
import pandas as pd
from arango.aql import AQL
from arango.exceptions import ArangoError

import tablevault_pd as tv
from tablevault_pd.store.arango import layout, text_index, transport

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

COUNTERS = (
    "scanned_full",
    "scanned_index",
    "filtered",
    "lookups",
    "peak_memory_usage",
    "execution_time",
)
#: What the layout assumes, and the number in the output that proves it wrong.
ASSUMED = """
Look for
  * FULL SCAN of tv_batches, tv_payloads, tv_records, tv_embeddings, tv_documents or tv_files: none in save, append, head, read and lineage
  * the table at the end: of head, one version, one row, append and the step of a walk as many entries with 200 versions as with 20
  * how long the search index takes to show a document: less than the library allows for, or every search reads payloads
  * "(sorts)" in "head" and "one version": none, the index gives the order
  * the first text search after a save: the rows that were just saved are found
  * requests of each call: those of a list with 200 versions as of one with 20, but for "read", which has more to fetch
"""


class Watched:
    """All statements of a call with their values and counters, and all requests."""

    def __init__(self) -> None:
        self.requests = 0
        self.statements: dict[str, tuple[dict[str, Any], list[dict[str, Any]]]] = {}

    @contextmanager
    def watching(self) -> Iterator[Watched]:
        """Record what is sent meanwhile."""
        send, execute = transport.Transport.send_request, AQL.execute

        def counted(this: Any, *arguments: Any, **options: Any) -> Any:
            self.requests += 1
            return send(this, *arguments, **options)

        def recorded(this: Any, query: str, *arguments: Any, **options: Any) -> Any:
            cursor: Any = execute(this, query, *arguments, **options)
            _, counters = self.statements.setdefault(query, (options.get("bind_vars") or {}, []))
            counters.append(cursor.statistics() or {})
            return cursor

        transport.Transport.send_request, AQL.execute = counted, recorded
        try:
            yield self
        finally:
            transport.Transport.send_request, AQL.execute = send, execute


def plan_of(database: Any, statement: str, values: dict[str, Any]) -> str:
    """One line: how the server would run a statement."""
    try:
        plan: Any = database.aql.explain(statement, bind_vars=values)
    except ArangoError as error:
        return f"no plan: {error}"
    found = []
    for node in plan["nodes"]:
        if node["type"] == "EnumerateCollectionNode":
            found.append(f"FULL SCAN of {node['collection']}")
        elif node["type"] == "IndexNode":
            names = "/".join(index["name"] for index in node["indexes"])
            found.append(f"{node['collection']} by {names}{' backwards' if node.get('reverse') else ''}")
        elif node["type"] == "EnumerateViewNode":
            found.append(f"view {node['view']}")
        elif node["type"] == "SortNode":
            found.append("(sorts)")
    return ", ".join(found) or "reads nothing"


def report(database: Any, what: str, call: Callable[[], Any]) -> tuple[int, int]:
    """Print what a call costs, and how each of its statements runs; its requests, and the index entries that were read."""
    watched = Watched()
    began = time.perf_counter()
    try:
        with watched.watching():
            call()
    except tv.VaultError as error:
        print(f"\n{what}: FAILED with {type(error).__name__}: {error}")
        return watched.requests, -1
    took_ms = 1000 * (time.perf_counter() - began)
    print(f"\n{what}: {watched.requests} requests, {took_ms:.1f} ms")
    entries = 0
    for statement, (values, counters) in watched.statements.items():
        sums: dict[str, float] = defaultdict(float)
        for each in counters:
            for name in COUNTERS:
                sums[name] += float(each.get(name) or 0)
        entries += int(sums["scanned_index"] + sums["scanned_full"])
        told = ", ".join(f"{name} {value:.6g}" for name, value in sums.items() if value)
        print(f"  {len(counters)} x {' '.join(statement.split())[:88]}")
        print(f"      {plan_of(database, statement, values)}")
        print(f"      {told}")
    return watched.requests, entries


def filled(vault: tv.Vault, versions: int) -> pd.DataFrame:
    """A frame of texts and vectors, saved in as many versions."""
    rng = np.random.default_rng(0)
    words = np.array(["solar", "wind", "storage", "growth", "paper", "model", "loss", "rain"])
    frame = pd.DataFrame(
        {
            "n": range(100),
            "text": [" ".join(rng.choice(words, 6)) for _ in range(100)],
            "vec": list(rng.normal(size=(100, 384)).astype(np.float32)),
        }
    )
    name = f"versions {versions}"
    vault.save(name, frame)
    for number in range(versions - 1):
        vault.append(name, {"n": number, "text": "one more row", "vec": frame["vec"][0]})
    return frame


def first_contact(url: str) -> None:
    """Make a database, measure, and drop it again."""
    parts = urlsplit(url)
    name = f"tv_first_contact_{uuid.uuid4().hex[:8]}"
    with tv.connect(parts._replace(path=f"/{name}").geturl(), create=True, session=False) as vault:
        client: Any = vault.store.client
        database = client.database()
        try:
            print(f"ArangoDB {database.version()}, {database.properties().get('sharding') or 'one server'}")
            view = database.view(layout.VIEW)
            print(f"view {layout.VIEW}: commit interval {view.get('commit_interval_msec')} ms")
            pings = []
            for _ in range(20):
                began = time.perf_counter()
                client.query("RETURN 1")
                pings.append(1000 * (time.perf_counter() - began))
            print(f"a request takes {np.median(pings):.2f} ms (median of 20), at most {max(pings):.2f} ms")
            print(
                f"the search index shows a document after {index_lag_ms(vault, database):.0f} ms; {text_index.LAG_MS} are allowed for"
            )
            costs = []
            for versions in (20, 200):
                frame = filled(vault, versions)
                costs.append(measure(database, vault, f"versions {versions}", frame))
            print("\ncall: requests and entries read, of 20 versions -> of 200 versions")
            for what, (requests, entries) in costs[0].items():
                more_requests, more_entries = costs[1][what]
                print(f"  {what}: {requests} and {entries} -> {more_requests} and {more_entries}")
            for collection in layout.COLLECTIONS:
                figures = database.collection(collection).statistics()
                print(f"{collection}: {database.collection(collection).count()} documents, {figures}")
        finally:
            client.run(lambda system: system.delete_database(name), database="_system")
    print(ASSUMED)


SHOWN = "FOR d IN tv_search SEARCH d.text_of > '' COLLECT WITH COUNT INTO n RETURN n"


def index_lag_ms(vault: tv.Vault, database: Any) -> float:
    """How long it takes until a row that is saved is in the search index."""
    vault.save("lag", {"text": "a word"})
    began = time.perf_counter()
    while not next(database.aql.execute(SHOWN)) and time.perf_counter() - began < 60:
        time.sleep(0.01)
    return 1000 * (time.perf_counter() - began)


def measure(database: Any, vault: tv.Vault, name: str, frame: pd.DataFrame) -> dict[str, tuple[int, int]]:
    """Print what the public calls cost on one list: requests and index entries of each."""
    print(f"\n======== {name}")
    calls: dict[str, Callable[[], Any]] = {
        "head": lambda: vault[name].version,
        "one version": lambda: vault.read(name, version=2, start=0, stop=1),
        "read one row": lambda: vault.read(name, start=110, stop=111),
        "read the last row": lambda: vault.read(name, start=-1),
        "read": lambda: vault.read(name),
        "append": lambda: vault.append(name, frame.head(1)),
        "text, at once": lambda: vault.search("solar", lists=name, k=10),
        "vectors": lambda: vault.search(near=frame["vec"][0], lists=name, k=10),
        "save with parents": lambda: vault.save(f"{name} made", vault.read(name).head(50)),
        "a step of a walk": lambda: vault.lineage(f"{name} made"),
        "versions": lambda: vault.versions(name),
        "lists": lambda: vault.lists(),
        "sessions": lambda: vault.sessions(),
        "files": lambda: vault.files(),
        "check": lambda: vault.check(),
    }
    vault.read(name, start=0, stop=1)  # the id and the schema of the list are known
    costs = {what: report(database, what, call) for what, call in calls.items()}
    watched = vault.search("solar", lists=name, k=1000)
    expected = int(vault.read(name)["text"].str.contains("solar").sum())
    print(f"\ntext search finds {len(watched)} rows, reading the list finds {expected}")
    return costs


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("url", help="arangodb://user@host:port of a user who may make databases")
    sys.exit(first_contact(parser.parse_args().url))
