"""A check finds every kind of damage, all of it in one report; what is a copy is mended, and nothing else."""

from __future__ import annotations

import json
import shutil
import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest
from stores import index_texts

import tablevault_pd as tv
from tablevault_pd.cli.commands import main
from tablevault_pd.keys import key_index
from tablevault_pd.store import Cell, Part, WrittenCode
from tablevault_pd.store.embedded import catalog_texts

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

ROWS = 40_000  # they make a file of their own


def rows(number: int) -> pd.DataFrame:
    return pd.DataFrame({"n": number, "x": np.arange(ROWS) * 1.5})


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A vault with a list for each kind of damage."""
    folder = tmp_path_factory.mktemp("check")
    (folder / "note.txt").write_text("a note")
    before, key_index._LACKING_ROWS = key_index._LACKING_ROWS, 1
    try:
        with tv.connect(folder / "v", capture="none", session=False) as vault:
            for name in ("missing", "cut", "flipped", "zones"):
                vault.save(name, rows(0))
            vault.save("inline", {"n": 1})
            for number in range(3):
                vault.append("gap", {"n": number})
            vault.append("hole", {"n": 0})
            vault.append("hole", {"n": 1})
            vault.save("child", vault.read("inline"))
            keyed = pd.DataFrame({"id": range(20), "value": 0})
            vault.save("keyed", keyed, key="id")
            vault.upsert("keyed", keyed.assign(value=1).head(3), key="id")
            vault.save("rows", {"n": 1})
            vault.save("kept", pd.DataFrame({"path": [str(folder / "note.txt")]}), files="path", copy=True)
            vault.save("jobs", pd.DataFrame({"n": [1, 2]}))
            vault.save("words", pd.DataFrame({"text": ["a zebra and so on", "a horse and so on"]}))
            for name in ("erased", "not erased", "marked"):
                vault.save(name, keyed, key="id")
                vault.erase(name, filters="id == 1")
            vault.save("filed", vault.read("inline"))
            vault.save("layout", keyed, key="id")
            vault.upsert("layout", keyed.assign(value=1).head(3), key="id")
            vectors = np.random.default_rng(0).normal(size=(30, 4)).astype("float32")
            vault.save("vectors", pd.DataFrame({"vector": list(vectors)}))
            index_texts(vault.store)
            with vault.session("logged") as session:
                session.log(loss=0.5)
        (folder / "v" / "indexes").mkdir(exist_ok=True)
    finally:
        key_index._LACKING_ROWS = before
    return folder / "v"


def execute(place: Path, statement: str, *values: object) -> None:
    """Change the catalogue, which a disk does without asking for its keys."""
    execute_in(place / "catalog.db", statement, *values)


def execute_in(path: Path, statement: str, *values: object) -> None:
    with closing(sqlite3.connect(path)) as db, db:
        assert db.execute(statement, values).rowcount, statement


LIST = "(SELECT id FROM lists WHERE name = ?)"


def number_of(place: Path, name: str) -> int:
    with closing(sqlite3.connect(place / "catalog.db")) as db:
        return int(db.execute("SELECT id FROM lists WHERE name = ?", (name,)).fetchone()[0])


def segment_of(place: Path, name: str) -> Path:
    with closing(sqlite3.connect(place / "catalog.db")) as db:
        (file,) = db.execute(
            f"SELECT file FROM segments WHERE list = {LIST}", (name,)
        ).fetchone()  # a constant
    return place / "segments" / f"{file}.arrow"


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def change_zones(place: Path) -> None:
    with closing(sqlite3.connect(place / "catalog.db")) as db:
        (text,) = db.execute(
            "SELECT zones FROM segments WHERE file = ?", (segment_of(place, "zones").stem,)
        ).fetchone()
    zones = json.loads(text)
    zones[0][1][1][3] /= 2  # the largest of a column
    execute(
        place,
        "UPDATE segments SET zones = ? WHERE file = ?",
        json.dumps(zones),
        segment_of(place, "zones").stem,
    )


def kept(place: Path) -> Path:
    return next(place.glob("files/*/*"))


#: What is done to the vault, by what is told of it: (severity, list, whether it is mended).
Damage = tuple[str, str, str | None, bool]
DAMAGES: dict[Damage, Callable[[Path], object]] = {
    ("damage", "missing segment", "missing", False): lambda place: segment_of(place, "missing").unlink(),
    ("damage", "damaged segment", "cut", False): lambda place: segment_of(place, "cut").write_bytes(b""),
    ("damage", "damaged segment", "flipped", False): lambda place: flip(segment_of(place, "flipped")),
    ("damage", "damaged segment", "inline", False): lambda place: execute(
        place, f"UPDATE segments SET data = x'00' WHERE list = {LIST}", "inline"
    ),
    ("damage", "zone map", "zones", True): change_zones,
    ("damage", "missing rows", "hole", False): lambda place: execute(
        place, f"DELETE FROM segments WHERE start = 1 AND list = {LIST}", "hole"
    ),
    ("damage", "missing versions", "gap", True): lambda place: [
        execute(place, f"DELETE FROM batches WHERE version = 2 AND list = {LIST}", "gap"),
        (place / "commits.log").unlink(),  # which would tell more of it
    ],
    ("damage", "damaged version", "rows", False): lambda place: execute(
        place, f"UPDATE batches SET total = 7 WHERE list = {LIST}", "rows"
    ),
    ("damage", "damaged content", "layout", False): lambda place: execute(
        place, f"DELETE FROM layouts WHERE list = {LIST}", "layout"
    ),
    ("damage", "damaged edge", "child", False): lambda place: execute(
        place, f"UPDATE edges SET parent = 90 WHERE list = {LIST}", "child"
    ),
    ("damage", "damaged edge", "filed", False): lambda place: execute(
        place, f"UPDATE edges SET parent_bin = 90 WHERE list = {LIST}", "filed"
    ),
    ("damage", "damaged version", "erased", False): lambda place: execute(
        place, f"UPDATE batches SET erased = 3 WHERE version = 1 AND list = {LIST}", "erased"
    ),
    ("damage", "erased rows", "not erased", False): lambda place: execute(
        place, f"UPDATE segments SET erased = NULL WHERE list = {LIST}", "not erased"
    ),
    ("damage", "damaged content", "marked", False): lambda place: execute(
        place, f"UPDATE erased SET pieces = x'07' WHERE list = {LIST}", "marked"
    ),
    ("damage", "damaged kept file", "kept", False): lambda place: kept(place).write_bytes(b"another"),
    ("damage", "text index", None, True): lambda place: execute_in(
        place / "text.db", "DELETE FROM prose_data WHERE id = (SELECT max(id) FROM prose_data)"
    ),
    ("damage", "digests of keys", "keyed", True): lambda place: flip(
        next(place.glob(f"keys/{number_of(place, 'keyed')}-*"))
    ),
    ("damage", "approximate index", "vectors", True): lambda place: _damaged_index(place),
    ("damage", "unreadable record", None, False): lambda place: execute(
        place, "UPDATE sessions SET params = '{' WHERE name = 'logged'"
    ),
    ("damage", "catalogue", None, False): lambda place: execute(
        place, "INSERT INTO reads VALUES (99, 99, 1)"
    ),
    ("damage", "claims", "jobs", True): lambda place: _claims_of_nobody(place),
    ("stray", "file of no commit", None, True): lambda place: (
        place / "segments" / f"{'0' * 32}.arrow"
    ).write_bytes(b"stray"),
}  # fmt: skip


def _damaged_index(place: Path) -> None:
    (place / "indexes" / f"{number_of(place, 'vectors')}-1-0-0123456789abcdef").write_bytes(b"no index")


def _claims_of_nobody(place: Path) -> None:
    execute(place, f"INSERT INTO work SELECT id, 1, 0 FROM lists WHERE id = {LIST}", "jobs")
    claim = f"INSERT INTO claims SELECT id, 1, 0, 1, 99, 0, 1, 0 FROM lists WHERE id = {LIST}"
    execute(place, claim, "jobs")


@pytest.fixture
def damaged(world: Path, tmp_path: Path) -> Path:
    """A copy with all of it."""
    shutil.copytree(world, tmp_path / "v")
    for damage in DAMAGES.values():
        damage(tmp_path / "v")
    return tmp_path / "v"


def told(problems: pd.DataFrame) -> set[Damage]:
    columns = problems[["severity", "what", "list", "fixed"]].astype(object)
    return set(columns.where(columns.notna(), None).itertuples(index=False, name=None))


@pytest.mark.parametrize("kind", DAMAGES, ids=lambda kind: f"{kind[1]}-{kind[2]}")
def test_each_kind_of_damage_is_told_and_nothing_else(world: Path, tmp_path: Path, kind: Damage) -> None:
    place = tmp_path / "v"
    shutil.copytree(world, place)
    DAMAGES[kind](place)
    with tv.connect(place, session=False) as vault:
        first = told(vault.check())
        assert first == {(*kind[:3], False)}
        assert told(vault.check(fix=True)) == {kind}
        assert told(vault.check()) == (set() if kind[3] else first)


def test_damage_is_told_of_the_version_that_wrote_it(tmp_path: Path) -> None:
    with tv.connect(tmp_path / "v", session=False) as vault:
        for n in range(3):
            vault.append("x", {"n": n})
        execute(tmp_path / "v", "UPDATE segments SET data = x'00' WHERE start = 2")
        assert vault.check()[["list", "version"]].to_numpy().tolist() == [["x", 3]]


def test_all_damage_is_told_in_one_report(
    damaged: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)  # pytest-xdist sets it: then columns would be cut
    with tv.connect(damaged, session=False) as vault:
        assert told(vault.check()) >= {(*kind[:3], False) for kind in DAMAGES}
    assert main(["--vault", str(damaged), "check"]) == 1
    capsys.readouterr()
    assert main(["--vault", str(damaged), "check", "--fix"]) == 1
    assert "damaged segment" in capsys.readouterr().out


def test_what_is_mended_is_right_afterwards(damaged: Path) -> None:
    with tv.connect(damaged, session=False) as vault:
        vault.check(fix=True)
        assert vault.read("zones", filters="x > 59990")["x"].tolist() == [
            59991.0,
            59992.5,
            59994.0,
            59995.5,
            59997.0,
            59998.5,
        ]
        assert vault.search("zebra", lists="words")["position"].tolist() == [0]
        assert vault.upsert("keyed", pd.DataFrame({"id": [1], "value": [9]}), key="id").read()["id"].is_unique
        assert vault.append("gap", {"n": 9}).version == 4
        with pytest.raises(tv.VaultCorrupt, match="rows, and its content has 1"):
            vault.read("rows")


@pytest.mark.parametrize(
    ("table", "lost"),
    [
        ("prose", "TRUE"),
        ("plain", "id = 10"),
        ("code_words", "TRUE"),
        ("code_triples", "id = 10"),
    ],
)
def test_an_index_without_its_first_records_is_made_anew(
    world: Path, tmp_path: Path, table: str, lost: str
) -> None:
    """FTS5 can neither empty nor drop it: "vtable constructor failed"."""
    shutil.copytree(world, tmp_path / "v")
    with tv.connect(tmp_path / "v", session=False) as vault:
        vault.describe("words", "a list of striped animals")
        with vault.session("quoting") as run:
            vault.store.put_cell(Cell(run.id, 1, "zebra = stripes + 1", datetime.now(UTC)))
    execute(tmp_path / "v", f"DELETE FROM {table}_data WHERE {lost}")
    with tv.connect(tmp_path / "v", session=False) as vault:
        assert told(vault.check(fix=True)) == {("damage", "text index", None, True)}
        assert vault.check().empty
        assert vault.lists(text="striped")["name"].tolist() == ["words"]
        assert len(vault.sessions(code="stripes")) == 1
        vault.describe("words", "another text")


@pytest.mark.parametrize(
    ("damage", "detail"),
    [
        ("UPDATE statements SET names = 'x' WHERE tree = 'digest'", "statement of a session, "),
        ("UPDATE slices SET parts = '{}' WHERE id = 1", "slice 1"),
        ("UPDATE slices SET unresolved = '[' WHERE id = 1", "slice 1"),
        ("UPDATE rows_confirmed SET rows = '0'", "confirmation keyed@1"),
        ("UPDATE rows_confirmed SET made_from = ''", "confirmation keyed@1"),
    ],
)
def test_code_and_confirmations_that_cannot_be_decoded_are_told(
    tmp_path: Path, damage: str, detail: str
) -> None:
    with tv.connect(tmp_path / "v", session="making") as vault:
        vault.save("keyed", pd.DataFrame({"key": [1, 2], "x": [3, 4]}), key="key")
        vault.upsert("keyed", pd.DataFrame({"key": [1], "x": [3]}))
        vault.store.put_code(
            [WrittenCode(1, 1, 0, (Part(None, 1, 1, 1, 1, "assign", ("x",), "x = y", "digest"),), ("y",))]
        )
    execute(tmp_path / "v", damage)
    with tv.connect(tmp_path / "v", session=False) as vault:
        ((what, where),) = vault.check()[["what", "detail"]].to_numpy().tolist()
        assert what == "unreadable record"
        assert where.startswith(detail)


def test_an_index_that_cannot_be_made_anew_is_told_with_the_rest(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(world, tmp_path / "v")
    execute(tmp_path / "v", "DELETE FROM prose_data")
    monkeypatch.setattr(catalog_texts, "_put_first_records", lambda db: None)
    segment_of(tmp_path / "v", "missing").unlink()
    with tv.connect(tmp_path / "v", session=False) as vault:
        assert told(vault.check(fix=True)) == {
            ("damage", "text index", None, False),
            ("damage", "missing segment", "missing", False),
        }
        vault.append("words", pd.DataFrame({"text": ["another zebra"]}))  # rows do without it
        assert vault.search("zebra", lists="words")["position"].tolist() == [2, 0]


def test_a_sound_vault_has_nothing_to_tell(world: Path) -> None:
    with tv.connect(world, mode="r") as vault:
        assert vault.check().empty
    assert main(["--vault", str(world), "check"]) == 0
