"""What a write returns, writes that expect a version, and saves of rows that are there already."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from torture.harness import PROCESSES

import tablevault_pd as tv

PAGE = Path(__file__).resolve().parents[1] / "docs" / "lists.md"


# -- handles


def test_concurrent_appends_return_one_version_each(folder_vault: tv.Vault) -> None:
    """The handle says what its own commit made, and not what is newest when it is looked at."""
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda n: folder_vault.append("a", {"n": n}), range(200)))
    assert sorted(each.version for each in made) == list(range(1, 201))
    assert all(len(each) == each.version for each in made)
    for number, each in list(enumerate(made))[::40]:
        assert each.read()["n"].iloc[-1] == number


def test_a_handle_stays_at_its_commit(vault: tv.Vault) -> None:
    first = vault.save("a", pd.DataFrame({"x": [1, 2]}))
    second = first.append({"x": 3})
    third = second.save(pd.DataFrame({"y": ["p"]}))
    assert [(each.version, len(each), each.columns) for each in (first, second, third)] == [
        (1, 2, ["x"]),
        (2, 3, ["x"]),
        (3, 1, ["y"]),
    ]
    assert first.read()["x"].tolist() == [1, 2]
    assert "version 1: 2 rows" in repr(first)
    assert "version 3: 1 row>" in repr(vault["a"])
    assert [len(part) for part in second.batches(2)] == [2, 1]
    assert second.search(columns=["x"])["x"].tolist() == [1, 2, 3]
    assert vault.restore("a", 1).version == 4
    assert len(first.versions()) == 4
    assert vault["a"].version == 4  # asked for by name: live
    live = vault["a"]
    vault.append("a", {"x": 9})
    assert (live.version, len(live)) == (5, 3)
    assert vault.save("copy", first).read()["x"].tolist() == [1, 2]
    assert vault.lineage("copy", depth=1)["parent_version"].tolist() == [1, 1]


def test_a_handle_whose_rows_were_vacuumed_says_so(vault: tv.Vault) -> None:
    first = vault.save("a", {"x": 1})
    vault.save("a", {"x": 2})
    vault.vacuum(dry_run=False)
    assert (first.version, len(first)) == (1, 1)
    with pytest.raises(tv.VersionNotFound, match="vacuum"):
        first.read()


# -- expect


def write(vault: tv.Vault, how: str, expect: Any) -> Any:
    row = pd.DataFrame({"x": [len(vault.versions())]})
    if how == "accessor":
        return row.vault.save("a", expect=expect)
    if how == "handle":
        return vault["a"].append(row, expect=expect)
    if how in ("save", "append"):
        return getattr(vault, how)("a", row, expect=expect)
    return vault.delete("a", expect=expect) if how == "delete" else vault.restore("a", 1, expect=expect)


@pytest.mark.parametrize("how", ["save", "append", "accessor", "handle", "restore", "delete"])
def test_a_write_that_expects_another_version_is_refused(vault: tv.Vault, how: str) -> None:
    vault.save("a", {"x": -1})
    vault.save("a", {"x": -2})
    for expect in (0, 1, 3):
        with pytest.raises(tv.Conflict, match=r"newest version of 'a' is 2.*expected.*Nothing was written"):
            write(vault, how, expect)
    assert len(vault.versions("a")) == 2
    write(vault, how, 2)
    assert len(vault.versions("a")) == 3


def test_expect_0_is_a_list_that_never_was(vault: tv.Vault) -> None:
    with pytest.raises(tv.Conflict, match="no list 'a', and version 1"):
        vault.save("a", {"x": 1}, expect=1)
    assert vault.save("a", {"x": 1}, expect=0).version == 1
    with pytest.raises(tv.Conflict, match="newest version of 'a' is 1"):
        vault.append("a", {"x": 1}, expect=0)
    vault.delete("a", expect=1)
    with pytest.raises(tv.Conflict, match="is 2, which deleted it"):
        vault.save("a", {"x": 1}, expect=0)
    assert vault.restore("a", 1, expect=2).version == 3


def test_what_is_no_version_is_refused(vault: tv.Vault) -> None:
    vault.save("a", {"x": 1})
    for wrong in (-1, 1.0, "1", True):
        for how in ("save", "append", "restore", "delete"):
            with pytest.raises(tv.InvalidInput, match="expect="):
                write(vault, how, wrong)


def test_an_unchanged_save_that_expects_another_version_is_refused(vault: tv.Vault) -> None:
    vault.save("a", {"x": 1})
    assert vault.save("a", {"x": 1}, expect=1).version == 1
    with pytest.raises(tv.Conflict):
        vault.save("a", {"x": 1}, expect=2)


def test_a_widening_append_keeps_what_was_expected(vault: tv.Vault) -> None:
    vault.save("a", {"x": 1})
    with pytest.raises(tv.Conflict):
        vault.append("a", {"x": 1.5}, expect=7)
    assert vault.append("a", {"x": 1.5}, expect=1).version == 2


def count(place: str, recipe: str) -> None:
    """In a process of its own: ten increments."""
    names: dict[str, Any] = {"tv": tv}
    exec(recipe, names)
    with tv.connect(place, durability="fast") as vault:
        for _ in range(10):
            names["add_one"](vault)


def test_increments_of_several_processes_are_all_kept(here: Path) -> None:
    """The recipe of docs/lists.md, in four processes at once."""
    text = PAGE.read_text(encoding="utf-8")
    (recipe,) = [part.partition("```")[0] for part in text.split("```python") if "def add_one" in part]
    recipe = recipe[recipe.index("def add_one") :].partition("\n\n\n")[0]
    with tv.connect(here / "v") as vault:
        vault.save("state", {"n": 0})
        workers = [PROCESSES.Process(target=count, args=(str(here / "v"), recipe)) for _ in range(4)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        assert [worker.exitcode for worker in workers] == [0, 0, 0, 0]
        assert vault.read("state")["n"].tolist() == [40]
        assert vault["state"].version == 41


# -- the same rows again


def test_a_description_of_unchanged_rows_is_kept(vault: tv.Vault) -> None:
    rows = pd.DataFrame({"x": [1, 2]})
    for text in ("first", "second", "second"):
        assert vault.save("a", rows, description=text).version == 1
        assert vault.descriptions()["text"].tolist() == [text]
        assert vault.lists()["description"].tolist() == [text]
    assert vault.save("a", rows).version == 1
    assert vault.descriptions()["text"].tolist() == ["second"]
    assert vault.search(description="second", lists="a")["position"].tolist() == [0, 1]


def test_other_tags_of_unchanged_rows_are_a_new_version(vault: tv.Vault) -> None:
    rows = pd.DataFrame({"x": [1, 2]})
    assert vault.save("a", rows, tags="raw").version == 1
    assert vault.save("a", rows, tags=["raw"]).version == 1
    assert vault.save("a", rows).version == 1
    assert vault.save("a", rows, tags="clean", description="now clean").version == 2
    assert vault.lists()[["version", "description"]].to_numpy().tolist() == [[2, "now clean"]]
    assert [each.tags for each in vault.store.versions("a")] == [("raw",), ("clean",)]


def test_other_parents_of_unchanged_rows_are_a_new_version(vault: tv.Vault) -> None:
    vault.save("docs", {"x": 1})
    rows = pd.DataFrame({"x": [1, 2]})
    assert vault.save("a", rows).version == 1
    assert vault.save("a", rows, inputs="docs").version == 2
    assert vault.save("a", rows, inputs="docs").version == 2
    assert vault.save("a", rows).version == 2  # says nothing about parents
    assert vault.save("a", rows, inputs=False).version == 3  # says that there are none
    assert vault.save("a", rows, inputs=False).version == 3
    assert vault.lineage("a").empty
    assert len(vault.lineage("a@2")) == 2
