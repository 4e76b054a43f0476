"""How many HTTP requests the ArangoDB store needs, and how much comes back, counted where both pass this process.

``python benchmarks/round_trips.py`` with TABLEVAULT_TEST_ARANGO_URL naming a server. Counts do not depend on the
machine, so there are no times here. (The file is not called requests.py: it would hide the package of that name.)
"""

from __future__ import annotations

import argparse
import os
import sys
import time
import uuid
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import numpy as np
import pandas as pd
import pyarrow as pa

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import tablevault_pd as tv  # found by the path set above
from tablevault_pd.analysis.best import best
from tablevault_pd.analysis.metrics import metrics
from tablevault_pd.filters.predicate import Condition, Where
from tablevault_pd.frames import encode
from tablevault_pd.lineage.report import RowsToTrace
from tablevault_pd.lineage.report import lines as walked
from tablevault_pd.search.query import parse_text
from tablevault_pd.store import Batch, Beat, Measures, Scope, Session, VectorQuery, Version
from tablevault_pd.store.arango import ArangoStore, transport
from tablevault_pd.store.edges import Edge, EdgeForm

if TYPE_CHECKING:
    from collections.abc import Callable

WALK_LIMITS = {5: 10, 20: 25}  # steps, requests: one for each step
METRICS_LIMIT = 10
SAVE_LIMIT = 12  # for 10,000 rows with a vector column of width 384; TableVault 0.2.6 needs 360,000


class Counter:
    """Counts what passes through the store's transport."""

    def __init__(self) -> None:
        self.sent = 0
        self.sent_bytes = 0
        self.received = 0
        self._send = transport.Transport.send_request
        transport.Transport.send_request = self._count

    @property
    def _count(self) -> Callable[..., Any]:
        def count(self_: Any, *arguments: Any, **options: Any) -> Any:
            self.sent += 1
            self.sent_bytes += len(options.get("data") or b"")
            answer = self._send(self_, *arguments, **options)
            self.received += len(answer.raw_body)
            return answer

        return count

    def of(self, work: Callable[[], Any]) -> tuple[int, int]:
        """The requests of one call, and the bytes of JSON in their answers."""
        sent, received = self.sent, self.received
        work()
        return self.sent - sent, self.received - received

    def of_public(self, work: Callable[[], Any]) -> tuple[int, int, int]:
        """The same of a public call, with the bytes that were sent."""
        sent = self.sent_bytes
        requests, received = self.of(work)
        return requests, self.sent_bytes - sent, received


def public_calls(url: str, rows: int) -> list[tuple[str, tuple[int, int, int], tuple[int, float]]]:
    """Requests, bytes sent and received of public calls, and what is allowed: requests, MB of both together."""
    counter = Counter()
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "id": np.arange(rows),
            "text": [f"solar storage paper {number}" for number in range(rows)],
            "vec": list(rng.normal(size=(rows, 384)).astype("float32")),
        }
    )
    near, lines = rng.normal(size=384), []
    one_list: dict[str, tuple[Callable[[tv.Vault], Any], tuple[int, float]]] = {
        "read them": (lambda vault: vault.read("papers"), (8, 25.0)),
        "search near, k=10": (lambda vault: vault.search(near=near, lists="papers", k=10), (8, 1.0)),
        "search a word in every row, k=10": (
            lambda vault: vault.search("solar", lists="papers", k=10),
            (8, 1.0),
        ),
        "append one row": (lambda vault: vault.append("papers", frame[:1]), (8, 1.0)),
    }
    many_lists: dict[str, tuple[Callable[[tv.Vault], Any], tuple[int, float]]] = {
        "lists() of 41": (lambda vault: vault.lists(), (8, 1.0)),
        "search a word in every row of 41 lists": (lambda vault: vault.search("solar", k=10), (8, 1.0)),
        "search near in 41 lists": (lambda vault: vault.search(near=near, k=10), (8, 1.0)),
        "files() of 41": (lambda vault: vault.files(), (8, 1.0)),
    }
    with tv.connect(url, create=True, session=False) as vault:
        save = counter.of_public(lambda: vault.save("papers", frame, inputs=False))
        lines.append((f"save {rows:,} rows with a 384-d vector column", save, (12, 75.0)))
        once = counter.of_public(lambda: vault.search("solar", k=10))
        lines.append(("search a word in every row, at once", once, (8, 25.0)))
        time.sleep(3.0)  # the search index has caught up
        for name, (call, limits) in one_list.items():
            lines.append((name, counter.of_public(partial(call, vault)), limits))
        for number in range(40):
            vault.save(f"list {number}", frame[:2].assign(path=__file__), files="path", inputs=False)
    time.sleep(3.0)
    for name, (call, limits) in {**one_list, **many_lists}.items():
        with tv.connect(url, session=False) as vault:
            lines.append((f"{name}, in a new process", counter.of_public(partial(call, vault)), limits))
    return lines


def table(rows: int, width: int = 384) -> pa.Table:
    """Ids, texts and vectors."""
    vectors = np.random.default_rng(0).normal(size=(rows, width)).astype("float32")
    texts = [f"text number {number}" for number in range(rows)]
    return encode(pd.DataFrame({"id": np.arange(rows), "text": texts, "vec": list(vectors)}))


def commit(
    store: ArangoStore, name: str, rows: pa.Table, operation: Any = "save", edges: tuple[Edge, ...] = ()
) -> Version:
    """Save or append."""
    head = store.head(name) if operation == "append" else None
    base = head.schema_id if head else None
    batch = Batch(uuid.uuid4().hex, name, operation, rows.schema, base=base, edges=edges)
    with store.stage() as stage:
        stage.write(rows)
        return store.commit(batch, stage)


def read(store: ArangoStore, name: str, **window: Any) -> None:
    """Read the newest version to its end."""
    head = store.head(name)
    assert head is not None
    for _ in store.scan(head, **window):
        pass


def counted(store: ArangoStore, rows: int) -> list[tuple[str, tuple[int, int], int | None]]:
    """Lines of the table: work, requests and bytes, limit."""
    counter = Counter()
    many, one = table(rows), table(1)
    some: Where = ((Condition(("id",), "number", "in", tuple(range(0, rows, 100))),),)
    lines: list[tuple[str, tuple[int, int], int | None]] = [
        (
            f"save {rows:,} rows with a 384-d vector column",
            counter.of(lambda: commit(store, "papers", many)),
            SAVE_LIMIT,
        ),
        ("read them back", counter.of(lambda: read(store, "papers")), None),
        ("read one column of them", counter.of(lambda: read(store, "papers", columns=["id"])), None),
        ("read the 1 % that a filter keeps", counter.of(lambda: read(store, "papers", where=some)), None),
        ("read ten of the rows", counter.of(lambda: read(store, "papers", start=100, stop=110)), None),
        ("append one row", counter.of(lambda: commit(store, "papers", one, "append")), None),
    ]
    for _ in range(100):
        commit(store, "log", one, "append")
    lines.append(("read 100 commits of one row", counter.of(lambda: read(store, "log")), None))
    lines.append(("lists()", counter.of(store.lists), None))
    return lines + searches(store, counter) + walks(store, counter, rows) + curves(store, counter)


def searches(store: ArangoStore, counter: Counter) -> list[tuple[str, tuple[int, int], int | None]]:
    """Ten rows by words, and ten by vector."""
    head = store.head("papers")
    assert head is not None
    scopes = [Scope(head)]
    near = [VectorQuery(0, "vec", np.random.default_rng(1).normal(size=(1, 384)))]
    words = parse_text('"number 77" OR 78')
    return [
        ("find rows by words", counter.of(lambda: store.search_text(words, scopes, k=10)), None),
        (
            "find the ten nearest rows",
            counter.of(lambda: store.search_vectors(near, scopes, metric="cosine", k=10)),
            None,
        ),
        ("find code", counter.of(lambda: store.search_code(parse_text("model.fit", code=True))), None),
    ]


def walks(store: ArangoStore, counter: Counter, rows: int) -> list[tuple[str, tuple[int, int], int | None]]:
    """From one row and from all of them, over lists each row of which was made from a row of the list before."""
    numbers = pa.table({"x": np.arange(rows)})
    lines: list[tuple[str, tuple[int, int], int | None]] = []
    for hops, limit in WALK_LIMITS.items():
        version = commit(store, f"hops{hops}_0", numbers)
        for hop in range(hops):
            order = np.random.default_rng(hop).permutation(rows)
            edge = Edge(
                version.list_id, version.version, 1, True, EdgeForm.PAIRS, 0, rows, 0, rows, parents=order
            )
            version = commit(store, f"hops{hops}_{hop + 1}", numbers, edges=(edge,))
        for what, positions in {"one row": np.array([7]), f"{rows:,} rows": np.arange(rows)}.items():
            size = len(positions)
            asked = RowsToTrace(np.full(size, version.list_id), np.full(size, version.version), positions)
            requests = counter.of(lambda asked=asked: walked(store, asked))
            lines.append((f"walk from {what} {hops} hops up, shuffled at each", requests, limit))
    return lines


def curves(store: ArangoStore, counter: Counter) -> list[tuple[str, tuple[int, int], int | None]]:
    """The metrics of a thousand sessions, of 20 values each."""
    now = datetime.now(UTC)
    beats = []
    for seed in range(1000):
        key = store.open_session(Session("sweep", "ann", "node", 1, now, params={"seed": seed})).id
        steps, values = np.arange(20), np.random.default_rng(seed).normal(size=20)
        measures = tuple(Measures(key, name, steps, steps, values) for name in ("loss", "acc"))
        beats.append(Beat(key, 1, measures=measures, outcome="finished"))
    for start in range(0, len(beats), 100):
        store.beat(beats[start : start + 100])
    return [
        ("metrics of 1,000 sessions", counter.of(lambda: metrics(store, None, ["loss"])), METRICS_LIMIT),
        ("their best steps", counter.of(lambda: best(store, None, "loss", "min", at=["acc"])), METRICS_LIMIT),
    ]


def main() -> int:
    """Print the table; 1 if a limit is exceeded."""
    parser = argparse.ArgumentParser(description="Count the HTTP requests of the ArangoDB store.")
    parser.add_argument("--rows", type=int, default=10_000, help="rows to save (default: 10000)")
    parser.add_argument("--write", action="store_true", help="put the tables into README.md")
    arguments = parser.parse_args()
    rows = arguments.rows
    url = os.environ.get("TABLEVAULT_TEST_ARANGO_URL")
    if not url:
        print("TABLEVAULT_TEST_ARANGO_URL names no server: nothing to count.", file=sys.stderr)
        return 2
    name = f"tv_bench_{uuid.uuid4().hex[:12]}"
    store = ArangoStore(urlsplit(url)._replace(path=f"/{name}").geturl(), create=True)
    try:
        lines = counted(store, rows)
    finally:
        store.client.run(lambda system: system.delete_database(name), database="_system")
        store.close()
    name = f"tv_bench_{uuid.uuid4().hex[:12]}"
    address = urlsplit(url)._replace(path=f"/{name}").geturl()
    try:
        public = public_calls(address, rows)
    finally:
        store = ArangoStore(url)
        store.client.run(lambda system: system.delete_database(name), database="_system")
        store.close()
    texts = [
        "| public call | requests | limit | MB sent | MB received | limit of both |\n|---|---:|---:|---:|---:|---:|"
    ]
    for work, (requests, sent, received), (most, most_mb) in public:
        texts.append(
            f"| {work} | {requests} | {most} | {sent / 1e6:,.2f} | {received / 1e6:,.2f} | {most_mb:g} |"
        )
    texts.append("\n| work | requests | limit | kB received |\n|---|---:|---:|---:|")
    texts += [
        f"| {work} | {requests} | {limit or ''} | {received / 1000:,.1f} |"
        for work, (requests, received), limit in lines
    ]
    texts.append(f"\n{datetime.now(UTC):%Y-%m-%d}")
    print("\n".join(texts))
    if arguments.write:
        from run import write

        write("round_trips", "\n".join(texts))
    beyond = any(limit is not None and requests > limit for _, (requests, _), limit in lines)
    dear = any(
        requests > most or (sent + received) / 1e6 > most_mb
        for _, (requests, sent, received), (most, most_mb) in public
    )
    return int(beyond or dear)


if __name__ == "__main__":
    sys.exit(main())
