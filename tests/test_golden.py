"""Vaults of the present formats, kept as they were written: what this release reads of them is what was saved.

``python tests/test_golden.py`` writes new ones, for a new format: the old ones stay, and are read for ever.
"""

from __future__ import annotations

import json
import os
import re
import sys
import tempfile
import zipfile
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pandas as pd
import pytest
from stores import database_of, new_database

import tablevault_pd as tv
from tablevault_pd.store import Cell
from tablevault_pd.store.session_types import Part, WrittenCode

pytest.importorskip("arango")

from tablevault_pd.store.arango.layout import COLLECTIONS

GOLDEN = Path(__file__).parent / "golden"
FOLDER, SERVER = GOLDEN / "folder-1.zip", GOLDEN / "server-2.zip"
ROWS = 3000  # enough for a file of its own, and on a server for several row groups


def saved() -> pd.DataFrame:
    """What the vaults hold, made anew."""
    numbers = np.arange(ROWS)
    frame = pd.DataFrame(
        {
            "n": numbers,
            "f": np.where(numbers % 7 == 0, np.nan, numbers / 8 - 4),
            "whole": pd.array([None if row % 5 == 0 else row for row in range(ROWS)], "Int64"),
            "flag": numbers % 2 == 0,
            "word": [f"apple {row % 10}" for row in range(ROWS)],
            "kind": pd.Categorical([("b", "a")[row % 2] for row in range(ROWS)], ["b", "a", "unused"]),
            "when": pd.date_range("2020-01-01", periods=ROWS, freq="h", tz="Europe/Berlin"),
            "params": [{"lr": row / 4, "name": "ß"} if row % 3 else None for row in range(ROWS)],
            "vec": list(np.stack([numbers, numbers % 3, -numbers], axis=1).astype("float32")),
            "doc": [f"The {row}th text about solar storage." for row in range(ROWS)],
        }
    )
    frame.iloc[[0, -1], frame.columns.get_loc("f")] = [-0.0, np.inf]
    return frame


def fill(vault: tv.Vault) -> None:
    """Save it in three versions."""
    frame = saved()
    vault.save("papers", frame[: ROWS - 100], documents=["doc"], message="first")
    vault.append("papers", frame[ROWS - 100 :].reset_index(drop=True))
    vault.save("papers", frame[:10], documents=["doc"], inputs=False)


@pytest.fixture(params=["folder", pytest.param("server", marks=pytest.mark.arango)])
def golden(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A vault as it was kept."""
    with ExitStack() as stack:
        if request.param == "folder":
            with zipfile.ZipFile(FOLDER) as kept:
                kept.extractall(tmp_path / "kept")
            place = str(tmp_path / "kept")
        else:
            place = stack.enter_context(new_database())
            monkeypatch.setenv("TABLEVAULT_PASSWORD", urlsplit(place).password or "")
            with zipfile.ZipFile(SERVER) as kept:
                restore(place, json.loads(kept.read("documents.json")))
        yield stack.enter_context(tv.connect(place, session=False))


def restore(url: str, collections: dict[str, list[dict[str, Any]]]) -> None:
    """Put documents in the place of those of a new vault."""
    tv.connect(url, create=True, session=False).close()
    database = database_of(url)
    for name, documents in collections.items():
        database.collection(name).truncate()
        database.collection(name).import_bulk(documents, halt_on_error=True)


def test_a_kept_vault_is_read_as_it_was_saved(golden: tv.Vault) -> None:
    frame = saved()
    expected = frame.rename_axis("position")
    expected["kind"] = expected["kind"].astype(pd.CategoricalDtype(["b", "a", "unused"]))
    pd.testing.assert_frame_equal(golden.read("papers", version=2), expected)
    pd.testing.assert_frame_equal(golden.read("papers"), expected[:10])
    few = golden.read("papers", version=2, filters="n >= 2950 and flag", columns=["n", "vec"])
    assert few["n"].tolist() == list(range(2950, ROWS, 2))
    assert golden.versions("papers")["rows"].tolist() == [ROWS - 100, 100, 10]
    assert golden.search("2951th", lists="papers@2")["position"].tolist() == [2951]
    nearest = golden.search(near=[2951.0, 2.0, -2951.0], lists="papers@2", k=1, metric="l2")
    assert nearest["position"].tolist() == [2951]
    assert golden.check().empty


@pytest.mark.arango
def test_the_page_names_all_that_lies_on_a_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (Path(__file__).parent.parent / "docs" / "format.md").read_text(encoding="utf-8")
    rows = [line.split("|") for line in page.splitlines() if line.startswith("| `tv_")]
    named = {row[1].strip(" `"): set(re.findall(r"`(\w+)`", row[2])) for row in rows if len(row) == 4}
    assert named.keys() == set(COLLECTIONS)
    with new_database() as url:
        monkeypatch.setenv("TABLEVAULT_PASSWORD", urlsplit(url).password or "")
        with tv.connect(url, create=True, session="writer") as vault:
            fill(vault)
            use(vault, tmp_path)
        database = database_of(url)
        stored = {name: set().union(*database.collection(name)) - SERVERS_OWN for name in COLLECTIONS}
    stored["tv_embeddings"] = {re.sub(r"\d+", "384", name) for name in stored["tv_embeddings"]}
    assert {name: some - named[name] for name, some in stored.items() if some - named[name]} == {}
    assert {name for name, some in stored.items() if not some} <= RARE
    unknown = {
        f"{name}.{one}" for name, some in stored.items() if name not in RARE for one in named[name] - some
    }
    assert unknown <= {"tv_batches.swept", "tv_blobs.touched", "tv_embeddings.vector_384"}


SERVERS_OWN = {"_id", "_key", "_rev", "_from", "_to"}
#: What the calls of :func:`use` leave nothing in.
RARE = {
    "tv_details",
    "tv_requests",
    "tv_confirmations",
    "tv_work_same_rows",
    "tv_session_sources",
    "tv_sources",
}


def use(vault: tv.Vault, folder: Path) -> None:
    """Leave something of most kinds in a vault."""
    (folder / "note").write_text("kept")
    vault.save("files", pd.DataFrame({"path": [str(folder / "note")]}), files="path", copy=True, inputs=False)
    vault.save("keyed", pd.DataFrame({"id": range(4), "text": ["lamp"] * 4}), key="id", inputs=False)
    vault.upsert("keyed", pd.DataFrame({"id": [3, 9], "text": ["fox", "tide"]}))
    vault.map("sizes", lambda row: {"size": len(row["text"])}, "keyed", as_dict=True, version="1")
    vault.claim("keyed", 1)
    vault.erase("keyed", filters="id == 9")
    vault.describe("keyed", "lamps")
    vault.tag("keyed@1", "gold")
    vault.rename("files", "notes")
    tv.log({"loss": 0.5})
    read = vault.read("keyed")
    vault.save("made", read[read["id"] > 1])
    vault.store.put_cell(Cell(1, 0, "lamp = 1", datetime.now(UTC)))
    vault.store.put_code(
        [WrittenCode(1, 0, 1, (Part("a.py", None, None, 1, 1, "assign", (), "lamp = 1", "0"),), ())]
    )


def _write_golden() -> None:
    with tempfile.TemporaryDirectory() as folder:
        with tv.connect(folder + "/v", session=False) as vault:
            fill(vault)
            vault.search("apple", k=1)
        with zipfile.ZipFile(FOLDER, "w", zipfile.ZIP_DEFLATED) as kept:
            for path in sorted(Path(folder, "v").rglob("*")):
                if path.suffix != ".lock":
                    kept.write(path, path.relative_to(Path(folder, "v")))
    with new_database() as url:
        os.environ["TABLEVAULT_PASSWORD"] = urlsplit(url).password or ""
        with tv.connect(url, create=True, session=False) as vault:
            fill(vault)
        database = database_of(url)
        names = sorted(each["name"] for each in database.collections() if each["name"].startswith("tv_"))
        dump = {
            name: [
                {key: value for key, value in one.items() if key not in ("_id", "_rev")}
                for one in database.collection(name)
            ]
            for name in names
        }
        with zipfile.ZipFile(SERVER, "w", zipfile.ZIP_DEFLATED) as kept:
            kept.writestr("documents.json", json.dumps({name: some for name, some in dump.items() if some}))


if __name__ == "__main__":
    sys.exit(_write_golden())
