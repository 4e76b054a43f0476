"""Slices and confirmations, as both stores keep and find them."""

from __future__ import annotations

import datetime as dt
from contextlib import closing
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from first_contact import Watched
from stores import database_of, new_place

from tablevault_pd.analysis.code_changes import code_changes
from tablevault_pd.code import Slice
from tablevault_pd.code.newer import name_of
from tablevault_pd.errors import VaultReadOnly
from tablevault_pd.search.query import parse_text
from tablevault_pd.store import (
    Batch,
    Beat,
    Cell,
    Confirmation,
    ModuleSource,
    Part,
    Session,
    Store,
    WrittenCode,
)
from tablevault_pd.store.arango import code_search
from tablevault_pd.store.arango.code import SLICES_OF, _statement
from tablevault_pd.store.text_query import Phrase

CATCH_UP = "FOR c IN tv_search SEARCH c.saved > 0 OPTIONS {waitForSync: true} LIMIT 1 RETURN 1"
NOW = dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.UTC)


def part(text: str, cell: int | None = 0, session: int | None = 1, path: str | None = None) -> Part:
    return Part(
        path, session, cell, 1, 2, "def", ("f",), text, f"tree of {text}", "id" if path is None else None
    )


def session(store: Store, name: str = "s") -> int:
    return store.open_session(Session(name, "u", "h", 1, NOW)).id


def found(store: Store, text: str) -> list[list[int]]:
    return store.search_slices(parse_text(text, "code", code=True)).tolist()


def found_sessions(store: Store, text: str) -> list[int]:
    return store.search_code_of_sessions(parse_text(text, "code", code=True)).tolist()


def test_slices_come_back_as_they_were_put(store):
    one, two = session(store), session(store)
    slices = [
        WrittenCode(
            one, 0, 3, (part("def f(): pass", 0, one), part("x = 1", None, None, "helper.py")), ("made",)
        ),
        WrittenCode(two, 5, 0, (part("def f(): pass", 5, two), part("y = 2", 1, one))),
        WrittenCode(two, -1, 0, ()),
    ]
    store.put_code(slices)
    store.put_code(slices)
    assert store.written_code([(two, 5, 0), (one, 0, 3), (two, -1, 0), (9, 9, 9)]) == sorted(
        slices, key=lambda code: (code.session_id, code.cell)
    ) or set(store.written_code([(two, 5, 0), (one, 0, 3), (two, -1, 0)])) == set(slices)
    other = WrittenCode(two, 5, 0, (part("z = 3", 5, two),))
    store.put_code([other])
    assert store.written_code([(two, 5, 0)]) == [other]


def test_a_part_of_a_notebook_is_named_by_the_count_that_it_shows(store):
    """In[7] where the cell has a count, also in the slice of another session; else its number within the session."""
    one, two = session(store), session(store)
    store.put_cell(Cell(one, 0, "f = 1", NOW, execution_count=7))
    store.put_cell(Cell(two, 0, "log(1)", NOW))
    unnamed = replace(part("log(1)", 0, two), names=())
    store.put_code(
        [WrittenCode(two, 0, 0, (part("f = 1", 0, one), unnamed, part("y = 2", None, None, "helper.py")))]
    )
    [code] = store.written_code([(two, 0, 0)])
    assert [name_of(one_part) for one_part in code.parts] == ["In[7]: f", "cell 0: log(1)", "helper.py: f"]
    assert code.parts[0] == part("f = 1", 0, one), "the count says nothing of what the code is"
    counted = replace(unnamed, text="log(2)", tree="another", count=9)
    [change] = code_changes(Slice((unnamed,)), Slice((counted,)))
    assert change.line[0] == "In[9]"
    [change] = code_changes(
        Slice((code.parts[0],)), Slice((replace(code.parts[0], tree="another", count=12),))
    )
    assert change.line[0] == "In[12]: f", "of the cell that ran last"
    assert Slice((counted,)).text.startswith("# In[9]\n")


def test_code_is_found_by_slice_and_by_whole_session(store):
    one, two, three = (session(store, name) for name in "abc")
    for key in (one, two, three):
        store.put_cell(Cell(key, 0, "import helper\nother_thing = 1", NOW))
    store.beat([
        Beat(
            one, 1, sources=(ModuleSource(one, "helper.py", "a" * 64, "def clean(): pass\ndef unused(): pass", "helper"),),
            code=(WrittenCode(one, 0, 2, (part("def clean(): pass", None, None, "helper.py"), part("save(clean())"))),
                  WrittenCode(one, -1, 0, (part("def clean(): pass", None, None, "helper.py"),))), outcome="finished",
        ),
        Beat(two, 1, code=(WrittenCode(two, 0, 0, (part("save(1)"),)), WrittenCode(two, -1, 0, (part("save(1)"),))),
             outcome="finished"),
        Beat(three, 1, outcome="finished"),
    ])  # fmt: skip
    assert found(store, "clean") == [[one, -1, 0], [one, 0, 2]]
    assert found(store, "clean save") == [[one, 0, 2]]
    assert found(store, "save -clean") == [[two, -1, 0], [two, 0, 0]]
    assert found(store, '"save(clean"') == [[one, 0, 2]]
    assert found(store, "unused") == []
    assert found_sessions(store, "unused") == [one]
    assert found_sessions(store, "unused other_thing") == [one]
    assert found_sessions(store, "other_thing") == [one, two, three]
    assert found_sessions(store, "other_thing -unused") == [two, three]


def test_what_a_slice_does_not_tell_is_found_by_the_whole_session(store):
    ended, running = session(store), session(store)
    for key in (ended, running):
        store.put_cell(Cell(key, 0, "exec(text_of_clean)", NOW))
    unresolved = WrittenCode(ended, 0, 0, (part("save(made)"),), ("made",))
    store.beat(
        [Beat(ended, 1, code=(unresolved, WrittenCode(ended, -1, 0, (part("a"),))), outcome="finished")]
    )
    assert found(store, "text_of_clean") == [[ended, 0, 0], [running, -1, 0]]
    assert found(store, "nowhere") == []


def test_confirmations_are_kept_in_order(store):
    key = session(store)
    with store.stage() as rows:
        rows.write(pa.table({"a": [1]}))
        version = store.commit(
            Batch("t", "x", "save", pa.schema([("a", pa.int64())]), session_id=key, cell=2, line=7), rows
        )
    assert (version.cell, version.line) == (2, 7)
    assert store.version("x", 1).line == 7
    assert np.array_equal(store.spans_written([version]).line, [7])
    store.confirm(Confirmation(version.list_id, 1, key, 3, None))
    store.confirm(Confirmation(version.list_id, 1, key, 4, 9))
    kept = store.confirmations([version.list_id])
    assert [(each.version, each.session_id, each.cell, each.line) for each in kept] == [
        (1, key, 3, None),
        (1, key, 4, 9),
    ]
    assert all(each.time is not None for each in kept)
    assert store.confirmations() == kept
    assert store.confirmations([999]) == []


def test_rows_that_a_place_confirmed_are_kept_together(place):
    store = place.open()
    key = session(store)
    with store.stage() as rows:
        rows.write(pa.table({"a": list(range(9))}))
        version = store.commit(Batch("t", "x", "save", pa.schema([("a", pa.int64())])), rows)
    here = Confirmation(version.list_id, 1, key, 3, None)
    store.confirm(replace(here, rows=((4, 6),)))
    store.confirm(replace(here, cell=4))
    store.confirm(replace(here, rows=((0, 2), (5, 7))))
    store.confirm(replace(here, rows=((8, 9),), made_from=((version.list_id, 1),)))
    expected = [
        (4, None, ()),
        (3, ((0, 2), (4, 7)), ()),
        (3, ((8, 9),), ((version.list_id, 1),)),
    ]
    for reader in (store, place.open(read_only=True)):
        confirmed = reader.confirmations([version.list_id])
        assert [(one.cell, one.rows, one.made_from) for one in confirmed] == expected
        assert reader.confirmations([999]) == []
    store.confirm(replace(here, rows=None, made_from=((version.list_id, 1),)))
    assert [one.rows for one in store.confirmations()] == [None, ((0, 2), (4, 7)), None]
    assert store.check() == []


def test_a_store_that_is_read_keeps_nothing(place):
    with_rows = place.open()
    key = session(with_rows)
    reader = place.open(read_only=True)
    for call in (
        lambda: reader.put_code([WrittenCode(key, 0, 0, ())]),
        lambda: reader.confirm(Confirmation(1, 1, key, 0, None)),
    ):
        with pytest.raises(VaultReadOnly):
            call()
    reader.close()
    with_rows.close()


@pytest.mark.arango
def test_a_server_finds_slices_by_indexes_and_looks_at_no_others(tmp_path):
    with new_place("arango", tmp_path) as place, closing(place.open(create=True)) as store:
        for number in range(30):
            made_by = session(store)
            parts = (part("import x", 0, made_by), part(f"y = {number}", 0, made_by))
            store.put_code([WrittenCode(made_by, 0, 3, parts, ("gone",) if number == 7 else ())])
            store.put_code([WrittenCode(made_by, -1, 0, parts)])
            store.update_session(made_by, outcome="finished")
        key = _statement(part("y = 9"))["_key"]
        values = {"keys": [key], "everything": False}
        costs = store.client.run(lambda db: db.aql.execute(SLICES_OF, bind_vars=values).statistics())
        assert costs["scanned_full"] == 0
        assert costs["scanned_index"] <= 4  # one with the statement, and one with a name out of reach
        assert found(store, "9") == [[10, -1, 0], [10, 0, 3]]


def run_code(store: Store, codes: list[str]) -> None:
    """Keep each code as the cell of a session of its own, with its slice."""
    for text in codes:
        made_by = session(store)
        store.put_cell(Cell(made_by, 0, text, NOW))
        store.put_code([WrittenCode(made_by, 0, 0, (part(text, 0, made_by),))])
        store.update_session(made_by, outcome="finished")


@pytest.mark.arango
def test_what_a_server_reads_to_find_a_literal_does_not_grow_with_other_code(tmp_path, monkeypatch):
    monkeypatch.setattr(code_search, "LAST", 3)
    monkeypatch.setattr(code_search, "LAG_MS", 0)
    reads = []
    for others in (6, 20):
        with new_place("arango", tmp_path) as place, closing(place.open()) as store:
            run_code(store, ["fit(few_shot=3)", *(f"fit(zero={number})" for number in range(others))])
            list(database_of(place.address).aql.execute(CATCH_UP))
            parsed = parse_text('few_sho "Shot=3" "t(few_"', code=True)
            store.search_code(parsed)  # the first one counts all code, once
            with Watched().watching() as watched:
                assert store.search_code(parsed).tolist() == [[1, 0]]
            [(_, [counters])] = watched.statements.values()
            assert counters["scanned_full"] == 0
            reads.append(counters["scanned_index"])
    assert reads[0] == reads[1]


@pytest.mark.arango
def test_literals_are_found_in_a_vault_of_an_older_release_before_and_after_it_is_completed(tmp_path):
    with new_place("arango", tmp_path) as place:
        database = database_of(place.address)
        links = database.view("tv_search")["links"]
        words = {"parts": {"analyzers": ["tv_words"]}, "wholes": {"analyzers": ["tv_words"]}, "saved": {}}
        older = {name: {"fields": words} for name in ("tv_cells", "tv_statements", "tv_sources")}
        newer = {"fields": {**links["tv_records"]["fields"], "tint": {"analyzers": ["identity"]}}}
        database.update_arangosearch_view("tv_search", {"links": {**older, "tv_records": newer}})
        database.delete_analyzer("tv_triples")
        database.collection("tv_meta").update({"_key": "vault", "layouts": {"older": True}}, merge=False)
        reader = place.open(read_only=True)
        writer = place.open()
        run_code(writer, ["fit(few_shot=3)", "fit()"])
        for store in (reader, writer):
            assert store.search_code(parse_text('"shot=3)"', code=True)).tolist() == [[1, 0]]
            store.close()
        fields = {name: link["fields"] for name, link in database.view("tv_search")["links"].items()}
        assert fields["tv_cells"]["text"]["analyzers"] == ["tv_triples"]
        assert fields["tv_cells"]["parts"]["analyzers"] == ["tv_words"]
        assert "tint" in fields["tv_records"]  # of a release that nobody knows yet


@pytest.mark.parametrize(
    "text", ["STRASSE = 'Straße Ωμέγα 3\u00b2'", "a = {'x':\n\t1}", "naïve_ñandú = '𝒳𝒴𝒵 日本語版'"]
)
def test_each_piece_of_a_text_is_found_as_it_stands(store, text):
    run_code(store, [text, "other"])
    for at in range(0, len(text) - 3, 2):
        for piece in (text[at : at + 3], text[at : at + 9]):
            query = Phrase(piece)
            assert store.search_code(query).tolist() == [[1, 0]], piece
