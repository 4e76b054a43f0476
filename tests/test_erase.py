"""Rows that are forgotten for good: what no version shows any more, what is left where, and calls that are killed."""

from __future__ import annotations

import random
import struct
from base64 import b64decode
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from stores import database_of, new_place
from torture.harness import PROCESSES, times

import tablevault_pd as tv
from tablevault_pd.lineage.same import same_rows
from tablevault_pd.saving import erase as erasing_calls
from tablevault_pd.store import Cell
from tablevault_pd.store.embedded import fsio as io
from tablevault_pd.store.embedded.erase import Eraser
from tablevault_pd.store.engine import erasing
from tablevault_pd.vault.context import VaultContext

if TYPE_CHECKING:
    from pathlib import Path

TEXT, NUMBER = "Zanzibar", 0x5A616E7A69626172
VECTOR = [1.2345678e9, -2.3456789e9]
SIZE = 6000  # a segment of its own

PEOPLE = pd.DataFrame({"name": ["Ann", "Bo", "Cy", "Di"], "age": [30, 40, 50, 60]})


def _traces(folder: Path) -> list[str]:
    """Files that have anything of the marked rows in them."""
    patterns = [TEXT.encode(), TEXT.lower().encode(), struct.pack("<q", NUMBER), struct.pack("<2f", *VECTOR)]
    return [
        f"{path.name}: {pattern!r}"
        for path in folder.rglob("*")
        if path.is_file()
        for pattern in patterns
        if pattern in path.read_bytes()
    ]


def _marked(size: int) -> pd.DataFrame:
    """Rows, the second and the last of which have markers in every column."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "id": np.arange(size),
            "name": [f"person {number}" for number in range(size)],
            "kind": pd.Categorical(["plain"] * size, categories=["plain", f"{TEXT} kind"]),
            "number": rng.integers(0, 99, size),
            "vec": list(rng.normal(size=(size, 2)).astype("float32")),
            "note": [f"Notes of {number}" for number in range(size)],
        }
    )
    for row in (1, size - 1):
        frame.loc[row, ["name", "kind", "number"]] = [f"{TEXT} {row}", f"{TEXT} kind", NUMBER]
        frame.at[row, "vec"] = np.array(VECTOR, "float32")
        frame.loc[row, "note"] = f"Somebody told of {TEXT}"
    return frame


def _fill(vault: tv.Vault, size: int) -> None:
    frame = _marked(size)
    vault.save("people", frame, key="id", documents="note", embeddings="vec")
    vault.append("people", _marked(3).assign(id=[size, size + 1, size + 2]))
    vault.upsert("people", frame.loc[[1]].assign(name=f"{TEXT} by another name"))
    vault.delete_rows("people", [0])


# -- what goes


@pytest.mark.parametrize("size", [8, SIZE])
def test_no_byte_of_erased_rows_is_left(tmp_path, size):
    vault = tv.connect(tmp_path / "v", session=False)
    _fill(vault, size)
    assert len(vault.search(TEXT, lists=["people@1"])) == 2
    before = {number: vault.read(f"people@{number}") for number in range(1, 5)}
    assert _traces(tmp_path)
    answer = vault.erase("people", filters="number > 99", reason="asked to")
    assert _traces(tmp_path) == []
    assert answer[["what", "rows", "remains"]].values.tolist() == [
        ["rows", 5, False],  # two states of the row that was changed
        ["backups", pd.NA, True],
    ]
    assert answer["versions"][0] == [1, 2, 3, 4]
    for number, frame in before.items():
        left = vault.read(f"people@{number}")
        assert left["id"].tolist() == frame.loc[frame["number"] < 99, "id"].tolist()
        assert left.index.tolist() == frame.index[frame["number"] < 99].tolist()
        assert list(left["kind"].cat.categories) == ["plain"]
        assert len(vault[f"people@{number}"]) == len(left)
    assert vault.search(TEXT, lists=["people@1"]).empty
    assert len(vault.search(near=VECTOR, lists=["people@1"], k=size)) == size - 2
    assert vault.versions("people")["operation"].tolist()[-1] == "erase"
    assert vault.versions("people")["message"].tolist()[-1] == "asked to"
    assert vault.read("people").index.tolist() == list(range(len(vault["people"])))
    assert vault.check().empty
    vault.compact()
    vault.close()
    with tv.connect(tmp_path / "v", session=False) as again:
        assert again.read("people@2").index.tolist() == before[2].index[before[2]["number"] < 99].tolist()
        again.vacuum(dry_run=False)
        assert again.check().empty
    assert _traces(tmp_path) == []


def test_other_rows_keep_their_places(vault):
    vault.save("people", PEOPLE)
    refs = vault.read("people", refs=True)["ref"]
    vault.erase("people", filters="name == 'Bo'")
    old = vault.read("people@1", refs=True)
    assert old["name"].to_dict() == {0: "Ann", 2: "Cy", 3: "Di"}
    assert [str(ref) for ref in old["ref"]] == [str(refs[row]) for row in (0, 2, 3)]
    assert vault.read("people@1", start=1, stop=3)["name"].to_dict() == {2: "Cy"}
    assert vault.read("people@1", filters="age > 30", columns=["name"])["name"].to_dict() == {
        2: "Cy",
        3: "Di",
    }
    assert [len(part) for part in vault["people@1"].batches(2)] == [1, 2]
    assert vault.read("people")["name"].to_dict() == {0: "Ann", 1: "Cy", 2: "Di"}
    assert vault.read("people", versions="all")["name"].tolist() == ["Ann", "Cy", "Di"] * 2
    assert pa.table(vault["people@1"])["age"].to_pylist() == [30, 50, 60]
    assert vault.sql("SELECT position, age FROM it", it=vault["people@1"])["age"].tolist() == [30, 50, 60]
    assert vault.lists()["rows"].tolist() == [3]
    assert vault.search("Ann OR Cy OR Bo", lists=["people@1"], columns=["age"])["age"].tolist() == [30, 50]


def test_rows_of_old_versions_go_as_well(vault):
    """A filter looks at every version, whether the newest has the row or not."""
    vault.save("people", PEOPLE)
    vault.delete_rows("people", filters="name == 'Bo'")
    vault.save("people", PEOPLE.tail(1).reset_index(drop=True))
    answer = vault.erase("people", filters="name in ('Bo', 'Di')")
    assert answer["rows"][0] == 3  # Di was stored twice
    assert [vault.read(f"people@{number}")["name"].tolist() for number in (1, 2, 3, 4)] == [
        ["Ann", "Cy"],
        ["Ann", "Cy"],
        [],
        [],
    ]
    assert vault.versions("people")["removed"].tolist() == [0, 1, 0, 1]


def test_a_row_goes_in_all_its_states(vault):
    vault.upsert("people", PEOPLE, key="name")
    vault.upsert("people", {"name": "Bo", "age": 41})
    vault.save("people", PEOPLE.iloc[::-1].reset_index(drop=True))
    vault.erase("people", rows=[2])  # Bo, in the newest version
    assert [len(vault.read(f"people@{number}").query("name == 'Bo'")) for number in (1, 2, 3, 4)] == [0] * 4
    with pytest.raises(tv.InvalidInput, match="ever had the key"):
        vault.history("people", key="Bo")
    assert vault.history("people", key="Cy")["version"].tolist() == [1]
    vault.upsert("people", {"name": "Bo", "age": 1})  # that name is free again
    assert vault.history("people", key="Bo")["age"].tolist() == [1]


def test_without_a_key_equal_rows_are_the_same(vault):
    vault.save("people", PEOPLE)
    vault.save("people", pd.concat([PEOPLE.iloc[::-1], PEOPLE.tail(1)], ignore_index=True))
    vault.erase("people", vault.read("people@1").query("name == 'Di'"))
    assert vault.read("people@1")["name"].tolist() == ["Ann", "Bo", "Cy"]
    assert vault.read("people@2")["name"].tolist() == ["Cy", "Bo", "Ann", "Di"]  # the first Di was the one


def _random_history(vault: tv.Vault, name: str, draw: random.Random, key: str | None) -> None:
    """Versions in which rows repeat, change, go and come again, and a column is added."""
    for step in range(draw.randint(6, 12)):
        rows = draw.randint(1, 5)
        frame = pd.DataFrame(
            {"id": draw.sample(range(6), rows), "x": [draw.randint(0, 2) for _ in range(rows)]}
        )
        if draw.random() < 0.4 and step > 3:
            frame["y"] = draw.choice([1, 2])
        if key is None and draw.random() < 0.5:
            frame["id"] = 1
        head = vault[name].version if name in vault else 0
        how = draw.choice(["save", "append", "change", "delete", "restore"] if head else ["save"])
        if how == "delete" and len(vault[name]):
            vault.delete_rows(name, [draw.randrange(len(vault[name]))])
        elif how == "restore":
            vault.restore(name, draw.randint(1, head))
        elif how == "append" and key is None:
            vault.append(name, frame, inputs=False)
        elif how == "change" and key is not None:
            vault.upsert(name, frame, inputs=False)
        else:
            vault.save(name, frame, key=key, inputs=False)


def _same_by_pairs(vault: tv.Vault, name: str, position: int, key: str | None) -> dict[int, list[int]]:
    """The oracle: what is left of each version, found row by row, in one pair of versions after the other."""
    store = vault.store
    versions = store.versions(name)
    shown = [
        list(zip(*(side.tolist() for side in content.addresses(np.arange(content.total))), strict=True))
        for content in store.pieces(versions)
    ]
    gone = {shown[-1][position]}
    if key:
        value = vault.read(name)[key].iloc[position]
        for version, rows in zip(versions, shown, strict=True):
            same = np.flatnonzero(vault.read(name, version=version.version)[key].to_numpy() == value)
            gone |= {rows[row] for row in same.tolist()}
    for row in sorted(gone):
        number = max(number for number, rows in enumerate(shown) if row in rows)
        at = np.array([shown[number].index(row)])
        for other, rows in zip(versions, shown, strict=True):
            there = int(same_rows(store, versions[number], other, at)[0])
            if there >= 0:
                gone.add(rows[there])
    return {
        version.version: [at for at, row in enumerate(rows) if row not in gone]
        for version, rows in zip(versions, shown, strict=True)
    }


@pytest.mark.slow
@pytest.mark.parametrize("key", [None, "id"])
def test_what_goes_is_what_is_the_same_in_any_pair_of_versions(vault, key):
    for seed in range(times(20, ordinary=4)):
        name, draw = f"a {seed}", random.Random(f"{seed} {key}")
        _random_history(vault, name, draw, key)
        if len(vault[name]):
            position = draw.randrange(len(vault[name]))
            expected = _same_by_pairs(vault, name, position, key)
            vault.erase(name, rows=[position])
            assert {
                number: vault.read(name, version=number).index.tolist() for number in expected
            } == expected


def test_erased_rows_are_no_matter_in_a_wider_type(vault):
    """Nothing stands where their cells were, which not every type can say; and rows beside them are read along on a server."""
    vault.save("t", pd.DataFrame({"n": range(1, 7)}))
    vault.erase("t", [1])
    vault.append("t", pd.DataFrame({"n": [1.5]}))  # a column of floats from here on
    vault.erase("t", filters="n == 3")
    vault.delete_rows("t", filters="n == 4")
    vault.erase("t", filters="n == 1")
    assert vault.read("t")["n"].tolist() == [5, 6, 1.5]
    every = vault.read("t", versions="all")
    assert every.groupby("version")["n"].apply(list).tolist()[-2:] == [[5, 6, 1.5], [5, 6, 1.5]]
    assert vault.lineage(vault["t"]).empty


def test_what_is_restored_lacks_them(vault):
    vault.save("people", PEOPLE)
    vault.append("people", {"name": "Ed", "age": 70})
    vault.erase("people", filters="age == 40")
    made = vault.restore("people", 1)
    assert vault.read("people")["name"].tolist() == ["Ann", "Cy", "Di"]
    assert (len(made), vault.versions("people")["total"].tolist()) == (3, [3, 4, 4, 3])
    vault.append("people", {"name": "Flo", "age": 80})
    vault.erase("people", filters="age == 80")
    assert vault.read("people@5")["name"].tolist() == ["Ann", "Cy", "Di"]
    assert vault.read("people").index.tolist() == [0, 1, 2]


def test_rows_of_a_list_that_was_deleted_for_a_while_can_be_read_after_it(vault):
    """On a server, a delete ends where the rows before it end; these are written last then, and come second."""
    vault.save("people", PEOPLE)
    vault.delete("people")
    vault.restore("people", 1)
    vault.erase("people", filters="age == 40")
    for name in ("people", "people@1"):
        assert vault.read(name)["name"].tolist() == ["Ann", "Cy", "Di"]


def test_all_rows_may_go(vault):
    vault.save("people", PEOPLE.assign(kind=pd.Categorical(["a", "b", "a", "b"])))
    vault.erase("people", rows=range(4))
    for name in ("people", "people@1"):
        assert vault.read(name).shape == (0, 3)
    vault.append("people", {"name": "Ann", "age": 1, "kind": "c"})
    assert vault.read("people")["kind"].tolist() == ["c"]


def test_a_row_that_is_not_there_makes_no_version(vault):
    vault.save("people", PEOPLE)
    answer = vault.erase("people", filters="age > 99")
    assert answer.empty
    assert list(answer) == ["what", "list", "versions", "rows", "remains", "detail"]
    vault.erase("people", [0])
    assert vault.erase("people", vault.read("people@1").head(0)).empty
    assert vault["people"].version == 2


def test_a_handle_from_before_shows_them_no_more(vault):
    saved = vault.save("people", PEOPLE)
    vault.erase("people", filters="name == 'Bo'")
    assert saved.read()["age"].tolist() == [30, 50, 60]
    assert saved.read(filters="age > 30")["age"].tolist() == [50, 60]


def test_lineage_stays_and_says_that_they_are_gone(vault):
    vault.save("people", PEOPLE)
    vault.save("ages", vault.read("people")[["age"]])
    vault.erase("people", filters="name == 'Bo'")
    parents = vault.lineage("ages", columns=["name"])
    assert parents["parent_position"].tolist() == [0, 1, 2, 3]
    assert parents["gone"].tolist() == [False, True, False, False]
    assert parents["name"].isna().tolist() == [False, True, False, False]
    assert vault.stale("ages")[["position", "reason"]].values.tolist() == [[1, "parent"]]
    assert vault.compare("people@1", "people", on="name").index.tolist() == ["Ann", "Cy", "Di"]
    assert vault.trend("people", "age.sum()")["value"].tolist() == [140, 140]


def test_a_dry_run_says_what_would_go_and_tags_stay_with_what_was_tagged(vault):
    vault.save("people", PEOPLE, tags=["first"])
    vault.append("people", {"name": "Ed", "age": 70})
    answer = vault.erase("people", filters="age > 30", dry_run=True)
    assert answer[["what", "rows", "remains"]].values.tolist() == [
        ["rows", 4, True], ["backups", pd.NA, True]
    ]  # fmt: skip
    assert answer["versions"][0] == [1, 2]
    assert vault["people"].version == 2
    assert vault.erase("people", filters="age > 99", dry_run=True).empty
    vault.erase("people", filters="age > 30")
    assert vault.versions("people")["tags"].tolist() == [["first"], ["first"], []]


# -- what remains


def test_the_answer_names_what_remains(vault):
    grades = pd.CategoricalDtype(["low", "high"], ordered=True)
    vault.save("people", pd.DataFrame({"age": [1, 2]}))
    vault.save(
        "people", PEOPLE.assign(grade=pd.Series(["low"] * 4, dtype=grades)), message="with Ann Banister"
    )
    frame = vault.read("people").assign(name=["Ann Banister", *PEOPLE["name"][1:]])
    vault.save("people", frame, description="Ann Banister was the first")
    vault.save("ages", vault.read("people")[["age"]])
    vault.save("means", {"mean": 45.0}, inputs=["ages"])
    with vault.session("quoting") as run:
        text = "people.query(\"name == 'Ann Banister'\")"
        vault.store.put_cell(Cell(run.id, 7, text, pd.Timestamp.now("UTC").to_pydatetime()))
    answer = vault.erase("people", filters="name == 'Ann Banister'")
    lines = {line.what: line for line in answer.itertuples()}
    assert list(lines) == [
        "rows", "children", "versions not searched", "categories", "code", "description", "message", "backups"
    ]  # fmt: skip
    children = answer[answer["what"] == "children"]
    assert children[["list", "versions"]].values.tolist() == [["ages", [1]], ["means", [1]]]
    assert children["rows"].tolist() == [1, pd.NA]
    assert lines["versions not searched"].versions == [1]
    assert lines["code"].detail == "captured code quotes them: quoting#1, cell 7"
    assert lines["message"].versions == [2]
    assert answer["remains"].tolist() == [False] + [True] * (len(answer) - 1)


def test_kept_files_go_when_nobody_else_shows_them(vault, tmp_path):
    for name in ("one", "two", "both"):
        (tmp_path / name).write_text(f"{TEXT} {name}")
    paths = [str(tmp_path / name) for name in ("one", "two", "both")]
    vault.save("scans", pd.DataFrame({"who": [1, 2, 3], "scan": paths}), files="scan", copy=True)
    vault.save("others", pd.DataFrame({"scan": paths[2:]}), files="scan", copy=True)
    answer = vault.erase("scans", filters="who != 2")
    assert answer["what"].tolist() == ["rows", "kept file", "backups"]
    files = vault.files()
    assert sorted(files["list"]) == ["others", "scans"]
    assert sorted(files["stored"]) == [True, True]
    assert vault.check().empty
    assert vault.vacuum(dry_run=False).empty


# -- what is refused


def test_what_cannot_be_meant_is_refused(vault):
    vault.save("people", PEOPLE)
    for arguments in (
        {},
        {"rows": [0], "filters": "age > 1"},
        {"rows": [4]},
        {"filters": ""},
        {"rows": PEOPLE},
    ):
        with pytest.raises(tv.InvalidInput):
            vault.erase("people", **arguments)
    with pytest.raises(tv.InvalidFilter):
        vault.erase("people", filters="height > 1")
    with pytest.raises(tv.ListNotFound):
        vault.erase("persons", rows=[0])
    with pytest.raises(tv.Conflict):
        vault.erase("people", rows=[0], expect=7)
    vault.delete("people")
    with pytest.raises(tv.ListDeleted):
        vault.erase("people", rows=[0])
    assert vault.read("people@1").equals(vault.read("people@1"))


# -- calls that are killed, and others that come between

POINTS = ["created", "before-commit", "after-commit", "erased", "remove"]


def _erase(place: Path, point: str) -> None:
    """In a process of its own: an erase that dies at a point."""
    vault = tv.connect(place, session=False)
    io._fault_name, io._fault_action = point, "exit"
    vault.erase("people", filters="number > 99")


@pytest.mark.parametrize("point", POINTS)
def test_a_call_that_is_killed_is_finished_later(tmp_path, point):
    with tv.connect(tmp_path / "v", session=False) as vault:
        _fill(vault, SIZE)
    process = PROCESSES.Process(target=_erase, args=(tmp_path / "v", point))
    process.start()
    process.join(60)
    assert process.exitcode == 137
    committed = POINTS.index(point) >= POINTS.index("after-commit")
    with tv.connect(tmp_path / "v", session=False) as vault:
        assert (vault["people"].version == 5) == committed
        assert len(vault.read("people@1")) == SIZE - 2 * committed
        if not committed:
            vault.erase("people", filters="number > 99")
        assert set(vault.check(fix=True)["what"]) <= {"file of no commit"}
        assert vault.check().empty
    assert _traces(tmp_path) == []


@pytest.mark.parametrize("by", ["filters", "rows"])
def test_a_vacuum_that_comes_between_is_no_harm(vault, monkeypatch, by):
    """Versions that it takes while an erase reads them are left out of a new plan."""
    for more in range(3):
        vault.upsert("people", PEOPLE.assign(age=PEOPLE["age"] + more), key="name")
    planned, real = [], erasing_calls.StoredRows

    def after_a_vacuum(store, versions):
        rows = real(store, versions)
        if not planned:
            vault.vacuum(dry_run=False)
        planned.append(len(versions))
        return rows

    monkeypatch.setattr(erasing_calls, "StoredRows", after_a_vacuum)
    which = {"filters": "name == 'Bo'"} if by == "filters" else {"rows": [1]}
    vault.erase("people", **which)
    assert planned == [3, 1]
    assert vault.read("people")["name"].tolist() == ["Ann", "Cy", "Di"]
    with pytest.raises(tv.VersionNotFound, match="vacuum"):
        vault.read("people", version=1)


def test_compaction_that_comes_between_is_no_harm(tmp_path, monkeypatch):
    vault = tv.connect(tmp_path / "v", session=False)
    _fill(vault, 8)
    for number in range(3):
        vault.append("people", _marked(3).head(1).assign(id=100 + number))
    rewrites = Eraser._rewrites
    calls: list[int] = []

    def compacted(self: Any, *arguments: Any) -> Any:
        found = rewrites(self, *arguments)
        calls.append(len(vault.compact()))
        return found

    monkeypatch.setattr(Eraser, "_rewrites", compacted)
    vault.erase("people", filters="number > 99")
    assert len(calls) == 2
    assert _traces(tmp_path) == []
    assert vault.check().empty
    vault.close()


# -- on a server


def _texts_of_server(url: str) -> str:
    """All that the documents of a vault hold, payloads decompressed."""
    codec = pa.Codec("zstd")
    database, parts = database_of(url), []
    for name in [each["name"] for each in database.collections() if each["name"].startswith("tv_")]:
        for document in database.collection(name).all():
            parts.append(repr(document))
            if "checksum" in document:
                data = codec.decompress(b64decode(document["data"]), decompressed_size=document["bytes"])
                parts.append(data.to_pybytes().decode("latin-1"))
    return "\n".join(parts)


@pytest.mark.arango
@pytest.mark.parametrize("interrupted", [False, True])
def test_nothing_of_erased_rows_is_left_on_a_server(tmp_path, monkeypatch, interrupted):
    pytest.importorskip("arango")
    from tablevault_pd.store.arango.erase import Eraser as ServerEraser

    with new_place("arango", tmp_path) as place:
        vault = tv.Vault(VaultContext((place.address, "one"), place.open(), {}), None)
        frame = _marked(8).drop(columns="kind")
        vault.save("people", frame, key="id", documents="note", embeddings="vec")
        vault.upsert("people", frame.loc[[1]].assign(name=f"{TEXT} by another name"))
        assert TEXT in _texts_of_server(place.address)
        if interrupted:

            def killed(self: ServerEraser, document: dict[str, Any], new: list[Any]) -> bool:
                raise KeyboardInterrupt

            with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
                patch.setattr(ServerEraser, "_put", killed)
                vault.erase("people", filters="number > 99")
            assert vault.read("people@1")["id"].tolist() == [0, 2, 3, 4, 5, 6]
            assert TEXT in _texts_of_server(place.address)
            place.open().close()  # whoever opens it next goes on
        else:
            vault.erase("people", filters="number > 99")
        left = _texts_of_server(place.address)
        assert TEXT not in left
        assert TEXT.lower() not in left
        assert struct.pack("<q", NUMBER).decode("latin-1") not in left
        assert struct.pack("<2f", *VECTOR).decode("latin-1") not in left
        assert vault.read("people@1").index.tolist() == [0, 2, 3, 4, 5, 6]
        assert vault.search(TEXT, lists=["people@1"]).empty
        assert len(vault.search(near=VECTOR, lists=["people@1"], k=9)) == 6
        assert vault.check().empty
        vault.close()


@pytest.mark.arango
def test_a_batch_that_is_damaged_does_not_keep_others_from_being_erased(tmp_path, monkeypatch):
    pytest.importorskip("arango")
    from tablevault_pd.store.arango.erase import Eraser as ServerEraser

    with new_place("arango", tmp_path) as place:
        vault = tv.Vault(VaultContext((place.address, "one"), place.open(), {}), None)
        names = ["Anna Angstrom", "Bo Berg", "Cy Curtis"]
        for name in names:
            vault.append("people", {"name": name})

        def killed(self: ServerEraser) -> None:
            raise KeyboardInterrupt

        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(ServerEraser, "_overwrite", killed)
            vault.erase("people", rows=vault.read("people"))
        payloads = database_of(place.address).collection("tv_payloads")
        [first, *_] = sorted(payloads.all(), key=lambda document: document["batch"])
        payloads.update({"_key": first["_key"], "checksum": "0" * 16})
        place.open().close()  # whoever opens it next goes on
        assert [name in _texts_of_server(place.address) for name in names] == [True, False, False]
        payloads.update({"_key": first["_key"], "checksum": first["checksum"]})
        place.open().close()
        assert not any(name in _texts_of_server(place.address) for name in names)
        assert vault.check().empty
        vault.close()


@pytest.mark.arango
def test_erasing_the_states_of_a_row_asks_a_server_twice_for_each_at_most(tmp_path, sent):
    """The batches that hold them are read together; each is written by itself."""
    with new_place("arango", tmp_path) as place:
        vault = tv.Vault(VaultContext((place.address, "one"), place.open(), {}), None)
        requests = []
        for states in (5, 15):
            for number in range(states):
                vault.upsert("people", pd.DataFrame({"id": [states], "name": [f"name {number}"]}), key="id")
            sent.clear()
            vault.erase("people", filters=f"id == {states}")
            requests.append(len(sent))
        assert requests[1] - requests[0] <= 2 * (15 - 5) + 2
        assert vault.check().empty
        vault.close()


# -- the rows of a table


@pytest.mark.parametrize(
    "column",
    [
        pa.array([1, 2, 3, 4]),
        pa.array([1.5, None, 3.5, 4.5]),
        pa.array(["a", "b", "c", "d"], pa.string_view()),
        pa.array([b"a", b"b", b"c", b"d"], pa.binary_view()),
        pa.array([[1.0, 2.0]] * 4, pa.list_(pa.float32(), 2)),
        pa.array([{"x": 1}, {"x": 2}, None, {"x": 4}]),
        pa.array(["a", "b", "c", "a"]).dictionary_encode(),
        pa.RunEndEncodedArray.from_arrays(pa.array([2, 4], pa.int32()), pa.array(["a", "b"])),
        pa.array([True, False, None, True]),
    ],
    ids=lambda column: str(column.type)[:20],
)
def test_blanked_rows_are_missing_and_others_as_they_were(column):
    table = pa.table({"x": column})
    found = erasing.blanked(table, np.array([1, 2]))
    assert found.schema.equals(table.schema)
    assert found["x"].to_pylist() == [column[0].as_py(), None, None, column[3].as_py()]
    found.validate(full=True)


def test_categories_without_rows_go_and_codes_stay_right():
    column = pa.array(["a", "b", None, "c", "a"]).dictionary_encode()
    table = pa.table({"x": pa.chunked_array([column, column.slice(3)])})
    used = erasing.categories_in_use([table.slice(0, 1), table.slice(3, 1)])
    found = erasing.pruned(erasing.blanked(table, np.array([1])), used)
    assert found["x"].to_pylist() == ["a", None, None, "c", "a", "c", "a"]
    assert found["x"].chunk(0).dictionary.to_pylist() == ["a", "c"]
    assert not erasing.has_unused(found, used)
