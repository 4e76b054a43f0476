"""Lists and whole vaults as files for other programs: what is in them, what a format cannot hold, and the manifest."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import tablevault_pd as tv

if TYPE_CHECKING:
    from pathlib import Path

FRAME = pd.DataFrame(
    {
        "n": np.array([2**53 + 1, -1, 3]),
        "x": [0.1 + 0.2, np.nan, 2.0],
        "word": ["a", None, "c, d"],
        "when": pd.to_datetime(["2024-01-01", None, "2024-01-03"]).tz_localize("Europe/Berlin"),
        "grade": pd.Categorical(["low", "high", "low"], ["low", "high"], ordered=True),
        "vec": [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]],
    }
)


@pytest.mark.parametrize(("name", "load"), [("x.parquet", pd.read_parquet), ("x.arrow", pd.read_feather)])
def test_pandas_reads_the_same_values_from_parquet_and_arrow(vault, tmp_path, name, load):
    saved = vault.save("a", FRAME)
    vault.append("a", FRAME.assign(n=[7, 8, 9]))
    report = saved.export(tmp_path / name)
    read = load(tmp_path / name)
    assert report["column"].tolist() == list(FRAME)
    assert report["exact"].all()
    pd.testing.assert_frame_equal(read.drop(columns="vec"), FRAME.drop(columns="vec"), check_dtype=False)
    assert [list(cell) for cell in read["vec"]] == FRAME["vec"].tolist()
    assert (
        read.dtypes[["n", "x", "when", "grade"]].tolist()
        == FRAME.dtypes[["n", "x", "when", "grade"]].tolist()
    )


def test_csv_and_json_lines_have_every_digit_and_say_what_they_cannot_hold(folder_vault, tmp_path):
    saved = folder_vault.save("a", FRAME.set_index("word"))
    report = saved.export(tmp_path / "x.csv")
    assert report.set_index("column")["exact"].to_dict() == {
        "word": False, "n": True, "x": True, "when": False, "grade": False, "vec": False,
    }  # fmt: skip
    read = pd.read_csv(tmp_path / "x.csv")
    assert list(read) == ["word", "n", "x", "when", "grade", "vec"]
    assert read["n"].tolist() == FRAME["n"].tolist()
    assert read["x"].tolist()[::2] == FRAME["x"].tolist()[::2]
    assert [json.loads(text) for text in read["vec"]] == FRAME["vec"].tolist()
    saved.export(tmp_path / "x.jsonl", columns=["n", "vec"])
    lines = [json.loads(line) for line in (tmp_path / "x.jsonl").read_text().splitlines()]
    assert lines[0] == {"word": "a", "n": 2**53 + 1, "vec": [1.0, 2.0]}
    assert lines[1]["word"] is None


def test_index_levels_are_columns_and_told_as_such(folder_vault, tmp_path):
    index = pd.MultiIndex.from_product([["a", "b"], pd.to_datetime(["2020-01-01"])], names=["k", "when"])
    saved = folder_vault.save("a", pd.DataFrame({("x", "y"): [1, 2]}, index=index))
    told = {name: saved.export(tmp_path / name) for name in ("x.parquet", "x.csv")}
    assert told["x.parquet"]["column"].tolist() == ["k", "when", ("x", "y")]
    assert told["x.parquet"]["exact"].all()
    assert told["x.parquet"]["dtype"].tolist() == ["str", "datetime64[us]", "int64"]
    assert told["x.csv"]["exact"].tolist() == [False, False, True]
    assert pd.read_parquet(tmp_path / "x.parquet")["when"].equals(index.to_frame(index=False)["when"])
    assert (tmp_path / "x.csv").read_text().splitlines()[0] == "k,when,x.y"


def test_a_folder_that_is_not_there_is_named(folder_vault, tmp_path):
    with pytest.raises(
        tv.StorageError, match=r"writing .*a\.csv: \[Errno 2\] There is no such folder: '.*nowhere'$"
    ):
        folder_vault.save("a", FRAME).export(tmp_path / "nowhere" / "a.csv")


def test_some_rows_columns_and_versions_are_exported(vault, tmp_path):
    vault.save("a", pd.DataFrame({"n": range(10), "m": range(10)}))
    vault.append("a", pd.DataFrame({"n": range(10, 20), "m": range(10)}))
    vault["a"].export(tmp_path / "x.parquet", columns=["m"], filters="n > 7 and n < 12")
    assert pq.read_table(tmp_path / "x.parquet").to_pydict() == {"m": [8, 9, 0, 1]}
    vault["a"].export(tmp_path / "y.csv", version=1, filters="n == n.max()")
    assert (tmp_path / "y.csv").read_text() == "n,m\n9,9\n"
    vault["a"].export(tmp_path / "none.csv", filters="n > 100")
    assert (tmp_path / "none.csv").read_text() == "n,m\n"


def test_erased_rows_are_in_no_file(vault, tmp_path):
    vault.save("people", pd.DataFrame({"name": ["Ann", "Bo", "Cy"], "n": [1, 2, 3]}))
    vault.append("people", {"name": "Di", "n": 4})
    vault.erase("people", filters="name == 'Bo'")
    for version in (1, 2, 3):
        vault["people"].export(tmp_path / "x.csv", version=version, overwrite=True)
        names = "name,n\nAnn,1\nCy,3\n" + "Di,4\n" * (version > 1)
        assert (tmp_path / "x.csv").read_text() == names
    assert vault.sql('SELECT name, n FROM "people@2" ORDER BY n').values.tolist() == [
        ["Ann", 1],
        ["Cy", 3],
        ["Di", 4],
    ]


def test_rows_without_columns_are_refused(folder_vault, tmp_path):
    folder_vault.save("bare", pd.DataFrame(index=pd.RangeIndex(3)))
    with pytest.raises(tv.InvalidInput, match="3 rows and no columns"):
        folder_vault["bare"].export(tmp_path / "x.parquet")
    assert not (tmp_path / "x.parquet").exists()


def test_categories_that_differ_between_commits_fit_into_one_arrow_file(folder_vault, tmp_path):
    for words in (["a", "b"], ["c", "a"]):
        codes = pa.array(words).dictionary_encode()
        folder_vault.append("a", pa.table({"w": codes, "p": pd.Categorical(words)}))
    folder_vault["a"].export(tmp_path / "x.arrow")
    with pa.ipc.open_file(tmp_path / "x.arrow") as file:
        assert file.read_all()["w"].to_pylist() == ["a", "b", "c", "a"]


def test_nothing_is_overwritten_unless_asked_and_nothing_half_written_stays(folder_vault, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    saved = folder_vault.save("a", {"n": 1})
    saved.export(out / "x.csv")
    before = (out / "x.csv").read_text()
    folder_vault.append("a", {"n": 2})
    with pytest.raises(tv.InvalidInput, match="overwrite=True"):
        folder_vault["a"].export(out / "x.csv")
    with pytest.raises(tv.InvalidInput, match=r"\.parquet"):
        folder_vault["a"].export(out / "x.docx")
    assert (out / "x.csv").read_text() == before
    folder_vault["a"].export(out / "x.csv", overwrite=True)
    assert (out / "x.csv").read_text() == "n\n1\n2\n"
    interval = pd.arrays.ArrowExtensionArray(pa.array([(1, 2, 3)], pa.month_day_nano_interval()))
    odd = folder_vault.save("odd", pd.DataFrame({"gap": interval, "n": [1]}))
    with pytest.raises(tv.InvalidInput, match="'gap'"):
        odd.export(out / "x.parquet")
    with pytest.raises(tv.StorageError):
        odd.export(tmp_path / "nowhere" / "x.csv")
    assert [path.name for path in out.iterdir()] == ["x.csv"]
    odd.export(out / "x.parquet", columns=["n"])


#: Words of RO-Crate 1.1, looked up in its context; others have to be defined.
TERMS = {
    "about", "agent", "author", "conformsTo", "contentSize", "dateModified", "datePublished", "description", "encodingFormat", "endTime",
    "hasPart", "identifier", "license", "name", "object", "result", "startTime", "version",
}  # fmt: skip


def test_the_manifest_describes_every_file(folder_vault: tv.Vault, tmp_path: Path) -> None:
    folder_vault.save("words", ["a", "b"])
    with folder_vault.session("count"):
        folder_vault.read("words").assign(n=1).vault.save("counts")
    index = folder_vault.export(tmp_path / "out").set_index("list")["file"]
    crate = json.loads((tmp_path / "out" / "ro-crate-metadata.json").read_text())
    graph = crate["@graph"]
    assert {name for entity in graph for name in entity if not name.startswith("@")} <= TERMS | crate[
        "@context"
    ][1].keys()
    entities = {entity["@id"]: entity for entity in graph}
    named = {part["@id"] for part in entities["./"]["hasPart"]}
    assert named == {path.name for path in (tmp_path / "out").iterdir()} - {"ro-crate-metadata.json"}
    for name in named:
        data = (tmp_path / "out" / name).read_bytes()
        assert entities[name]["sha256"] == hashlib.sha256(data).hexdigest()
    [action] = [entity for entity in graph if entity.get("name") == "count#1"]
    assert action["object"] == {"@id": index["words"]}  # one is no list of one, as RO-Crate recommends
    assert action["result"] == {"@id": index["counts"]}
    assert entities["./"]["author"] == action["agent"]
    assert entities[entities["./"]["license"]["@id"]]["@type"] == "CreativeWork"
    assert entities[action["agent"]["@id"]]["@type"] == "Person"
