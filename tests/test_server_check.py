"""A check of a vault on a server recomputes what its documents count, and tells which list and version is wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pandas as pd
import pytest
from stores import database_of, new_database

pytest.importorskip("arango")

import tablevault_pd as tv
from tablevault_pd.store.arango import strays

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.arango


def of_batches(version: int, change: str) -> str:
    return f"FOR b IN tv_batches FILTER b.name == @list AND b.version == {version} UPDATE b WITH {change} IN tv_batches"


def of_lists(change: str) -> str:
    return f"FOR l IN tv_lists FILTER l.name == @list UPDATE l WITH {change} IN tv_lists"


def of_batch(collection: str, version: int, change: str) -> str:
    return f"""FOR b IN tv_batches FILTER b.name == @list AND b.version == {version}
      FOR i IN {collection} FILTER i.batch == b._key LIMIT 1 UPDATE i WITH {change} IN {collection}"""


#: How each list is damaged, and all that is told of it.
DAMAGES: dict[str, tuple[str, set[tuple[str, int | None]]]] = {
    "sum of bytes": (of_batches(2, "{so_far: [b.so_far[0] + 1, 0, 0, 0, 0]}"), {("damaged totals", 2)}),
    "no sums": (of_batches(2, "{so_far: null}"), {("damaged totals", 2)}),
    "bytes": (of_batches(2, "{bytes: b.bytes + 1}"), {("damaged totals", 2)}),
    "words": (
        of_batches(2, "{text_words: b.text_words + 1}"),
        {("missing words", 2), ("damaged totals", 2)},
    ),
    "length": (of_batch("tv_records", 2, "{length: i.length + 1}"), {("missing words", 2)}),
    "edges": (of_batches(2, "{edges: 2}"), {("missing edges", 2), ("damaged totals", 2)}),
    "filed edge": (of_batch("tv_edges", 2, "{parent_bin: 7}"), {("damaged edge", 2)}),
    "basis": (of_batch("tv_edges", 2, '{basis: "read"}'), {("damaged edge", 2)}),
    "end": (of_batches(2, "{end: b.end - 1}"), {("missing rows", 2)}),
    "total": (of_batches(2, "{total: 2}"), {("damaged version", 2)}),
    "lost": (of_lists("{lost: [l.lost[0], l.lost[1], l.lost[2] + 1, l.lost[3]]}"), {("damaged totals", None)}),
    "erased": (of_batches(1, "{erased: 3}"), {("damaged version", 1)}),
    "not erased": (of_lists("{erased: null}"), {("damaged version", 1)}),
    "marked": (of_batches(1, "{holds_erased: false}"), {("damaged version", 1)}),
    "layout": (of_batches(2, '{pieces: "AAAA"}'), {("damaged version", 2)}),
}  # fmt: skip
ERASED = ("lost", "erased", "not erased", "marked", "layout")


@pytest.fixture
def vault(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[tv.Vault, Callable[..., object]]]:
    """A vault with a list for each kind of damage, and a way to run a statement."""
    with new_database() as url:
        monkeypatch.setenv("TABLEVAULT_PASSWORD", urlsplit(url).password or "")
        with tv.connect(url, create=True, capture="none", session=False, durability="fast") as vault:
            vault.save("source", pd.DataFrame({"n": range(4)}))
            for name in DAMAGES:
                vault.save(name, pd.DataFrame({"id": range(3), "text": ["lamp", "oil lamp", "tide"]}))
                if name in ERASED:
                    vault.erase(name, filters="id == 1")
                else:
                    more = pd.DataFrame({"id": [3], "text": ["ebb and flow"]})
                    vault.append(name, more, inputs={"source": [2]})
            yield vault, lambda statement, **values: database_of(url).aql.execute(statement, bind_vars=values)


def test_what_documents_count_is_counted_again(vault, monkeypatch: pytest.MonkeyPatch) -> None:
    opened, execute = vault
    assert opened.check().empty
    for name, (statement, _) in DAMAGES.items():
        assert execute(statement, list=name).statistics()["modified"] == 1, name
    for page in (1000, 1):
        monkeypatch.setattr(strays, "PAGE", page)
        problems = opened.check()
        assert set(problems["severity"]) == {"damage"}
        versions = problems["version"].astype(object).where(problems["version"].notna(), None)
        # Of a total that is wrong the next version is told, too.
        told = set(zip(problems["list"], problems["what"], versions, strict=True))
        assert told >= {(name, *one) for name, (_, problem) in DAMAGES.items() for one in problem}
        assert {name for name, _, _ in told} == set(DAMAGES)
