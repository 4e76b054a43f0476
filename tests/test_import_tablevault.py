"""Databases that the package tablevault 0.2.6 wrote itself are imported: golden/tablevault-0.2.6-*.json are two moments of one.

``tests/golden_tablevault.py`` says what was written, and writes them anew.
"""

from __future__ import annotations

import json
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

import pandas as pd
import pytest
from stores import database_of, new_database, system

import tablevault_pd as tv
from tablevault_pd.importers import tablevault_lists

GOLDEN = Path(__file__).parent / "golden"
pytestmark = pytest.mark.arango


def load(url: str, moment: int) -> None:
    """Make the database at `url` hold what was dumped at a moment."""
    name = urlsplit(url).path.strip("/")
    if not system().has_database(name):
        system().create_database(name)
    database = database_of(url)
    text = (GOLDEN / f"tablevault-0.2.6-{moment}.json").read_text(encoding="utf-8")
    for collection, content in json.loads(text).items():
        if database.has_collection(collection):
            database.delete_collection(collection)
        database.create_collection(collection, edge=content["edge"]).insert_many(content["documents"])


@pytest.fixture
def source():
    with new_database() as url:
        load(url, 1)
        yield url


@pytest.fixture(params=["folder", "server"])
def target(request, here):
    if request.param == "folder":
        yield here / "v"
        return
    with new_database() as url:
        tv.connect(url, create=True, session=False).close()
        yield url


def parents(vault, name):
    found = vault.lineage(name, depth=1)
    return list(zip(found["position"], found["parent_list"], found["parent_position"], strict=True))


def test_a_database_is_imported_and_then_what_came_since(here, source, target):
    (here / "notes.txt").write_text("hello")
    report = tv.import_tablevault(source, target).set_index("source")
    assert report["rows"].to_dict() == {
        "ingest": 1, "fails": 1, "note@book": 4, "papers": 5, "novel": 4, "vectors": 4, "sources": 2, "empty": 0, "dropped": 0, "a@b": 2,
    }  # fmt: skip
    assert report["imported_as"][["ingest", "note@book", "a@b"]].tolist() == [
        "ingest#1",
        "note_book#1",
        "a_b",
    ]
    assert report["left_out"][lambda column: column != ""].to_dict() == {
        "papers": "1 parents in deleted lists",
        "sources": "1 files that are not here, of which the location is kept, 1 parents of the kind process",
        "empty": "the list is empty, 1 descriptions",
        "dropped": "the list was deleted, and TableVault keeps no rows of it",
    }
    with tv.connect(target, mode="r") as vault:
        lists_are_as_they_were(vault)
        sessions_are_as_they_were(vault)
        before = vault.versions(), vault.sessions(), vault.descriptions()
    assert tv.import_tablevault(source, target)["rows"].sum() == 0
    with tv.connect(target, mode="r") as vault:
        for old, new in zip(before, (vault.versions(), vault.sessions(), vault.descriptions()), strict=True):
            pd.testing.assert_frame_equal(old, new)
    load(source, 2)
    report = tv.import_tablevault(source, target).set_index("source")
    assert report["rows"][lambda column: column > 0].to_dict() == {
        "later": 1, "killed": 1, "papers": 2, "novel": 1, "empty": 2,
    }  # fmt: skip
    assert tv.import_tablevault(source, target)["rows"].sum() == 0
    with tv.connect(target, mode="r") as vault:
        what_came_since_is_there(vault)
    if isinstance(target, Path):
        content = b"".join(path.read_bytes() for path in target.rglob("*") if path.is_file())
        assert b"hunter2-of-ada" not in content
        assert urlsplit(source).password.encode() not in content


def lists_are_as_they_were(vault):
    papers = vault.read("papers")
    assert papers.index.name == "item"
    assert papers["title"].tolist() == ["Storms", "Calm", "Both", "Last", "Odd"]
    assert papers["year"].equals(pd.Series([2001, None, 2003, 2004, 2005], papers.index, "Int64"))
    assert papers["authors"].tolist() == [["Ada", "Bo"], [], ["Cy"], ["Di"], []]
    versions = vault.versions("papers")
    assert versions["session"].tolist() == ["ingest#1", "ingest#1", "fails#1"]
    assert versions["rows"].tolist() == [2, 2, 1]  # the third came from the first two
    assert parents(vault, "papers") == [(2, "papers", 0), (2, "papers", 1)]
    offsets = vault["novel"].offsets()
    assert (offsets["start"].tolist(), offsets["stop"].tolist()) == ([0, 10, 20, 30], [15, 25, 35, 45])
    assert vault.versions("novel")["rows"].tolist() == [
        4
    ]  # one commit, though items of two lists were added in turns
    assert [list(vector) for vector in vault.read("vectors")["embedding"]] == [
        [1, n / 4, -2] for n in range(4)
    ]
    # characters 2 to 10 lie in the first chunk, 12 to 20 in the first and second, and so on
    assert parents(vault, "vectors") == [
        (0, "novel", 0), (1, "novel", 0), (1, "novel", 1), (2, "novel", 1), (2, "novel", 2), (3, "novel", 2), (3, "novel", 3),
    ]  # fmt: skip
    places = vault.lineage("vectors", depth=1)[["parent_start", "parent_stop"]].drop_duplicates()
    assert places.to_numpy().tolist() == [[2, 10], [12, 20], [22, 30], [32, 40]]
    assert parents(vault, "sources") == [(1, "novel", n) for n in range(4)]
    assert set(vault.lineage("sources", depth=1)["parent_stop"]) == {45}  # not 1000: the text is no longer
    assert vault.read("sources")["location"].tolist() == ["notes.txt", "/nowhere/gone.txt"]
    assert vault.files("sources")["path"].tolist() == ["notes.txt"]
    assert parents(vault, "a_b") == [(0, "papers", n) for n in (1, 2, 3)]
    assert vault.search("rained", lists="novel")["position"].tolist() == [3]
    described = vault.descriptions()[["list", "about_session", "label", "text"]]
    assert described.astype(object).fillna("").to_numpy().tolist() == [
        ["papers", "", "BASE", "What was read"],
        ["papers", "", "TOPIC", "Weather only"],
        ["", "ingest#1", "BASE", "Reads the sources"],
    ]


def sessions_are_as_they_were(vault):
    sessions = vault.sessions().set_index("session")
    assert sessions["state"].to_dict() == {
        "ingest#1": "finished",
        "fails#1": "failed",
        "note_book#1": "finished",
    }
    assert sessions["parent"].astype(object).fillna("").tolist() == ["", "ingest#1", "ingest#1"]
    assert sessions["error"]["fails#1"] == "ValueError: no more papers"
    assert set(sessions["user"]) == {"ada"}
    written = pd.Timestamp("2026-11-29", tz="UTC")  # the database that it is read from was made just now
    assert (sessions["started"].dt.floor("D") == written).all()
    cells = vault.cells("note_book")
    assert cells["cell"].tolist() == [0, 1, 2, 3]
    assert cells["outcome"].tolist() == ["ok", "ok", "error", "ok"]
    assert cells["error"][2] == "division by zero"
    assert 'vault.create_record_list("papers"' in vault.cells("ingest")["text"].item()
    assert vault.versions("a_b")["cell"].tolist() == [1, 3]


def what_came_since_is_there(vault):
    assert vault.check().empty
    papers = vault.read("papers")
    # There is a text among the numbers, so that the column is one of objects from then on. The last item has an index of its own.
    assert papers["year"].tolist() == [2001, None, 2003, 2004, 2005, "about 2010", 2011]
    assert papers.index.tolist() == [0, 1, 2, 3, 4, 5, 9]
    assert vault.read("papers@3")["year"].dtype == "Int64"
    assert parents(vault, "papers") == [(2, "papers", 0), (2, "papers", 1), (5, "papers", 4)]
    assert vault.read("empty")["a"].tolist() == [0.5, 1.5]  # the third was never finished
    assert vault["novel"].offsets()["start"].tolist() == [0, 10, 20, 30, 45]
    assert vault.descriptions()["text"].tolist()[-2:] == ["Nothing yet", "Still about weather"]
    sessions = vault.sessions().set_index("session")
    assert sessions["outcome"].isna().to_dict()["killed#1"]
    assert sessions["parent"]["later#1"] == "note_book#1"


def test_an_import_that_was_interrupted_goes_on(here, source, monkeypatch):
    load(source, 2)
    tv.import_tablevault(source, here / "whole")
    write, left = tablevault_lists.write, [0]

    def write_or_stop(*arguments):
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        return write(*arguments)

    monkeypatch.setattr(tablevault_lists, "write", write_or_stop)
    for allowed in (0, 1, 5):
        left[0] = allowed
        with pytest.raises(KeyboardInterrupt):
            tv.import_tablevault(source, here / "v")
    left[0] = 1000
    tv.import_tablevault(source, here / "v")
    assert tv.import_tablevault(source, here / "v")["rows"].sum() == 0
    with ExitStack() as stack:
        whole, vault = (stack.enter_context(tv.connect(here / name, mode="r")) for name in ("whole", "v"))
        assert list(whole) == list(vault)
        for name in whole:
            pd.testing.assert_frame_equal(vault.read(name), whole.read(name))
            assert parents(vault, name) == parents(whole, name)
        assert vault.descriptions()["text"].tolist() == whole.descriptions()["text"].tolist()


def test_other_lists_of_these_names_are_never_touched(here, source):
    with tv.connect(here / "v", session=False) as vault:
        vault.save("novel", ["mine"])
        with pytest.raises(tv.NameTaken, match=r"'novel'.*tv\.merge"):
            tv.import_tablevault(source, vault)
        assert list(vault) == ["novel"]
        assert vault.sessions().empty
    tv.import_tablevault(source, here / "w")
    with tv.connect(here / "w", session=False) as vault:
        vault.append("novel", pd.DataFrame({"text": ["x"], "start": [50]}, index=pd.Index([7], name="item")))
        with pytest.raises(tv.NameTaken, match="changed them"):
            tv.import_tablevault(source, vault)


def test_what_is_no_database_of_tablevault_is_named(here, source):
    system_url = urlsplit(source)._replace(path="/_system").geturl()
    with pytest.raises(tv.InvalidInput, match="no vault of TableVault") as raised:
        tv.import_tablevault(system_url, here / "v")
    assert urlsplit(source).password not in str(raised.value)
    with new_database() as url:
        tv.connect(url, create=True, session=False).close()
        with pytest.raises(tv.InvalidInput, match=r"tv\.copy"):
            tv.import_tablevault(url, here / "v")
    with pytest.raises(tv.InvalidInput, match="arangodb://"):
        tv.import_tablevault("http://ada:hunter2@localhost/x", here / "v")
