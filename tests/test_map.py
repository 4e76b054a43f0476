"""Functions mapped over the rows of a list: what is called, what is kept, what is replaced, on both stores."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections import Counter
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
from stores import remove_strays
from torture.harness import PROCESSES, times

import tablevault_pd as tv
from tablevault_pd.mapping.job import Claims
from tablevault_pd.store.work import Holder


class Counting:
    """Functions of a row that note what they were called with."""

    def __init__(self) -> None:
        self.calls: list[int] = []

    def lines(self, row: Any, *, plus: int = 0) -> list[dict[str, int]] | None:
        """As many rows as the number says, or None; 9 is an error."""
        self.calls.append(row.n)
        if row.n == 9:
            raise ValueError("nine")
        return expected_lines(row.n, plus) or None

    def taken(self) -> list[int]:
        calls, self.calls = self.calls, []
        return sorted(calls)


def expected_lines(n: int, plus: int = 0) -> list[dict[str, int]]:
    return [] if n == 9 else [{"line": 10 * n + part + plus} for part in range(n % 4)]


@pytest.fixture
def five(folder_vault: tv.Vault) -> tv.Vault:
    folder_vault.save("numbers", pd.DataFrame({"n": [1, 2, 0, 2, 5]}))
    return folder_vault


# ---------------------------------------------------------------- an oracle


@pytest.mark.slow
def test_results_and_calls_are_those_of_a_plain_oracle(vault):
    for seed in range(times(6, ordinary=2)):
        check_against_oracle(vault, Random(seed), f"{seed}", keyed=bool(seed % 2))


def check_against_oracle(vault: tv.Vault, random: Random, name: str, *, keyed: bool) -> None:
    source, made = f"numbers {name}", f"lines {name}"
    key: Any = {"key": "id"} if keyed else {}
    rows = [(number, random.randrange(10)) for number in range(6)]
    vault.save(source, as_frame(rows, keyed=keyed), **key)
    counting, plus, last_plus = Counting(), 0, 0
    settled: set[tuple[int, int]] = set()  # (n, plus) that need no call: results there, None or error before
    kept: dict[int, tuple[int, int]] = {}  # id -> (n, plus) of the results that are there
    for _ in range(times(10, ordinary=4)):
        options: Any = {"columns": ["n"], "version": "v1", "kwargs": {"plus": plus}, "on_error": "keep"}
        before = vault[made].version if made in vault else None
        named = before is not None and not vault.stale(made).empty
        vault.map(made, counting.lines, source, **options, commit_every=2)
        if before is not None and plus == last_plus:  # nobody knows the arguments of the next call
            assert named == (bool(counting.calls) or vault[made].version > before)
        assert vault.stale(made).empty
        last_plus = plus
        wanted = {n for _, n in rows}
        without = {each for each in settled if not expected_lines(each[0])}
        there = set(kept.values()) | without
        assert counting.taken() == sorted(n for n in wanted if (n, plus) not in there), (rows, plus)
        kept = {number: (n, plus) for number, n in rows if expected_lines(n)}
        settled |= {(n, plus) for n in wanted}
        results = vault.read(made)["line"].tolist()
        expected = [line["line"] for _, n in rows for line in expected_lines(n, plus)]
        assert sorted(results) == sorted(expected)
        edges = vault.lineage(made)
        sources = {
            number: vault.read(f"{source}@{number}")["n"].tolist() for number in set(edges["parent_version"])
        }
        parents = zip(edges["parent_version"], edges["parent_position"], strict=True)
        numbers = [sources[number][position] for number, position in parents]
        assert numbers == [(line - plus) // 10 for line in results]
        assert set(edges["basis"]) == {"stated"}
        errors = vault[made].errors()
        assert errors["position"].tolist() == [place for place, (_, n) in enumerate(rows) if n == 9]
        plus, rows = changed(vault, random, source, rows, plus, keyed=keyed)


def as_frame(rows: list[tuple[int, int]], *, keyed: bool) -> pd.DataFrame:
    frame = pd.DataFrame(rows, columns=["id", "n"]).astype("int64")
    return frame if keyed else frame[["n"]]


def changed(
    vault: tv.Vault, random: Random, source: str, rows: list[tuple[int, int]], plus: int, *, keyed: bool
) -> tuple[int, list[tuple[int, int]]]:
    """Change the list, or the arguments, in some way."""
    way = random.choice(["append", "change", "delete", "restore", "plus", "nothing"])
    if way == "plus":
        return random.randrange(3) * 1000, rows
    if way == "append":
        rows = [*rows, (max(number for number, _ in rows) + 1, random.randrange(10))]
        vault.append(source, as_frame(rows[-1:], keyed=keyed))
    elif way == "change":
        place = random.randrange(len(rows))
        rows = [*rows[:place], (rows[place][0], random.randrange(10)), *rows[place + 1 :]]
        vault.upsert(source, as_frame(rows, keyed=keyed)) if keyed else vault.save(
            source, as_frame(rows, keyed=keyed)
        )
    elif way == "delete" and len(rows) > 2:
        place = random.randrange(len(rows))
        vault.delete_rows(source, place)
        rows = [*rows[:place], *rows[place + 1 :]]
    elif way == "restore":
        number = random.randrange(1, vault[source].version + 1)
        vault.restore(source, number)
        frame = vault.read(source)
        ids = frame["id"] if keyed else range(len(frame))
        rows = list(zip(map(int, ids), map(int, frame["n"]), strict=True))
    return plus, rows


# ---------------------------------------------------------------- what a function gets and returns


def test_a_changed_row_replaces_its_result_in_place_and_the_others_stay_as_they_are(vault):
    vault.save(
        "articles", pd.DataFrame({"id": [1, 2, 3], "text": ["a", "bb", "ccc"], "note": ["x"] * 3}), key="id"
    )
    counting: list[str] = []

    def measure(row: Any) -> dict[str, int]:
        counting.append(row.text)
        return {"size": len(row.text)}

    def sizes() -> list[int]:
        counting.clear()
        return vault.map("sizes", measure, "articles", columns=["text"], version="1").read()["size"].tolist()

    assert (sizes(), counting) == ([1, 2, 3], ["a", "bb", "ccc"])
    vault.upsert("articles", pd.DataFrame({"id": [2], "text": ["bbbb"], "note": ["y"]}))
    assert (sizes(), counting) == ([1, 4, 3], ["bbbb"])
    version = vault["sizes"].version
    vault.upsert("articles", pd.DataFrame({"id": [1], "text": ["a"], "note": ["z"]}))
    assert (sizes(), counting, vault["sizes"].version) == ([1, 4, 3], [], version)
    parents = vault.lineage("sizes", depth=1)
    assert list(zip(parents["parent_position"], parents["parent_version"], strict=True)) == [
        (0, 1),
        (1, 2),
        (2, 1),
    ]
    vault.delete_rows("articles", 0)
    assert (sizes(), counting) == ([4, 3], [])
    vault.append(
        "articles", pd.DataFrame({"id": [7], "text": ["ccc"], "note": [""]})
    )  # of a content that is there
    assert (sizes(), counting) == ([4, 3, 3], [])
    assert vault.lineage("sizes", depth=1)["parent_position"].tolist() == [1, 2, 2]


def test_rows_come_as_named_tuples_as_dicts_and_as_frames(five):
    seen: list[Any] = []

    def note(row: Any) -> None:
        seen.append(row)

    with pytest.raises(tv.InvalidInput, match="No input has a result"):
        five.map("nothing", note, "numbers", version="1")
    assert [tuple(row) for row in seen] == [(1,), (2,), (0,), (5,)]
    assert seen[0].n == 1
    seen.clear()
    with pytest.raises(tv.InvalidInput, match="No input has a result"):
        five.map("nothing 2", note, "numbers", version="1", as_dict=True)
    assert seen == [{"n": 1}, {"n": 2}, {"n": 0}, {"n": 5}]
    frames: list[pd.DataFrame] = []

    def half(frame: pd.DataFrame) -> pd.DataFrame:
        frames.append(frame)
        return frame[frame["n"] > 0] / 2

    made = five.map("halves", half, "numbers", version="1", batch=3)
    assert made.read()["n"].tolist() == [0.5, 1.0, 1.0, 2.5]
    assert five.lineage("halves")["parent_position"].tolist() == [0, 1, 3, 4]
    assert [frame.index.tolist() for frame in frames] == [[0, 1, 2], [4]]
    assert five.map("halves", half, "numbers", version="1", batch=3).version == made.version
    assert len(frames) == 2

    def lost(frame: pd.DataFrame) -> pd.DataFrame:
        return frame.reset_index(drop=True).set_axis(frame.index + 100)

    with pytest.raises(ValueError, match="label 100"):
        five.map("lost", lost, "numbers", version="1", batch=3)


def test_results_have_the_named_index_of_the_list(folder_vault):
    vault = folder_vault
    vault.save("people", pd.DataFrame({"age": [30, 40]}, index=pd.Index(["ann", "bo"], name="name")))
    made = vault.map("older", lambda row: {"age": row.age + 1}, "people", version="1").read()
    assert made.to_dict("index") == {"ann": {"age": 31}, "bo": {"age": 41}}
    assert made.index.name == "name"


def test_the_notes_of_a_mapped_list_are_no_jobs_among_the_claims(five):
    five.claim("numbers", k=1)
    five.map("lines", lambda row: {"n": row.n}, "numbers", version="1")
    assert "lines/map" in set(five.lists()["name"])
    assert set(five.claims()["list"]) == {"numbers"}


def test_a_frame_is_mapped_by_its_rows_and_its_own_columns(vault):
    counting, five = Counting(), vault
    vault.save("numbers", pd.DataFrame({"n": [1, 2, 0, 2, 5], "other": ["x"] * 5}))
    part = five.read("numbers").query("n > 1")
    assert part.vault.map("lines", counting.lines, version="1").read()["line"].tolist() == [
        20,
        21,
        20,
        21,
        50,
    ]
    assert counting.taken() == [2, 5]
    five.map("lines", counting.lines, "numbers", version="1")
    assert counting.taken() == [0, 1]
    part.iloc[:1].assign(more=1).vault.map("lines", counting.lines, version="1")  # the others stay
    assert counting.taken() == [2]
    assert sorted(five.read("lines")["line"]) == [10, 20, 20, 21, 21, 50]
    for other in (pd.DataFrame({"n": [1]}), part.reset_index(drop=True), pd.concat([part, part])):
        with pytest.raises(tv.InvalidInput):
            five.map("lines", counting.lines, other, version="1")


def test_threads_and_tasks_do_each_row_once_and_many_at_a_time(folder_vault):
    vault = folder_vault
    vault.save("numbers", pd.DataFrame({"n": range(12)}))
    barrier = threading.Barrier(4)

    def wait(row: Any) -> dict[str, int]:
        barrier.wait(60)  # passes only if four run at a time
        assert tv.current_vault() is vault
        return {"line": row.n}

    assert sorted(vault.map("threads", wait, "numbers", version="1", workers=4).read()["line"]) == list(
        range(12)
    )
    together, most = 0, 0

    async def sleep(row: Any) -> dict[str, int]:
        nonlocal together, most
        together += 1
        most = max(most, together)
        await asyncio.sleep(0.01)
        together -= 1
        return {"line": row.n}

    assert sorted(vault.map("tasks", sleep, "numbers", version="1").read()["line"]) == list(range(12))
    assert 1 < most <= 16

    async def fail(row: Any) -> dict[str, int]:
        if row.n:
            raise ValueError(row.n)
        return {"line": 0}

    failed = vault.map("failed", fail, "numbers", version="1", on_error="keep")
    assert {text.count("  File ") for text in failed.errors()["traceback"]} == {1}


@pytest.mark.ci
def test_processes_run_functions_that_they_import(five):
    options: Any = {"version": "1", "processes": 1, "kwargs": {"plus": 3}, "on_error": "keep"}
    made = five.map("lines", in_process, "numbers", **options)
    assert sorted(made.read()["line"]) == [4, 5, 5, 8]
    assert set(made.read()["pid"]).isdisjoint({os.getpid()})
    [text] = made.errors()["traceback"]
    headers = [at for at, line in enumerate(text.splitlines()) if line.startswith("Traceback")]
    first = text.splitlines()[headers[0] + 1]
    assert first.startswith(f'  File "{__file__}", line ')
    assert first.endswith("in in_process")
    assert text.count("  File ") == 1


def in_process(row: Any, plus: int) -> dict[str, int]:
    if row.n == 0:
        raise ValueError(row.n)
    return {"line": row.n + plus, "pid": os.getpid()}


def test_what_cannot_be_a_list_of_results_is_told(folder_vault):
    folder_vault.save("none", pd.DataFrame({"n": pd.Series([], dtype="int64")}))
    with pytest.raises(tv.InvalidInput, match="no row to map over"):
        folder_vault.map("results", Counting().lines, "none", version="1")
    folder_vault.append("none", {"n": 1})
    with pytest.raises(tv.InvalidInput, match="'map_input', which map keeps"):
        folder_vault.map("results", lambda row: {"map_input": row.n}, "none", version="1")
    assert "results" not in folder_vault
    assert folder_vault.map("results", lambda row: {}, "none", version="1").read().shape == (1, 0)


def test_the_code_of_a_function_and_its_arguments_decide_whether_it_is_called_again(five):
    calls: list[int] = []

    def function(factor: int) -> Any:
        def scaled(row: Any) -> dict[str, int]:
            return {"line": factor * row.n}

        return scaled

    assert five.map("scaled", function(2), "numbers").read()["line"].tolist() == [2, 4, 0, 4, 10]
    version = five["scaled"].version
    assert five.map("scaled", function(2), "numbers").version == version
    assert five.map("scaled", function(3), "numbers").read()["line"].tolist() == [3, 6, 0, 6, 15]
    with pytest.raises(tv.InvalidInput, match="version="):
        five.map("scaled", lambda row: calls.append(row), "numbers")
    with pytest.raises(tv.InvalidInput, match="kwargs="):
        five.map("scaled", function(3), "numbers", kwargs={"client": object()})


# ---------------------------------------------------------------- errors


def test_errors_are_kept_and_not_retried_without_being_asked(vault):
    vault.save("numbers", pd.DataFrame({"n": [9, 1, 9, 3]}))
    counting = Counting()
    keep: Any = {"version": "1", "on_error": "keep"}
    vault.map("lines", counting.lines, "numbers", **keep)
    errors = vault["lines"].errors()
    assert errors[["list", "position", "error", "attempts"]].values.tolist() == [
        ["numbers", 0, "ValueError: nine", 1],
        ["numbers", 2, "ValueError: nine", 1],
    ]
    assert errors["traceback"].str.contains("in lines").all()
    for text in errors["traceback"]:
        first = text.splitlines()[1]
        assert first.startswith(f'  File "{__file__}", line '), (
            text
        )  # where the function is, not what called it
    assert vault.read("lines").columns.tolist() == ["line"]
    assert counting.taken() == [1, 3, 9]
    vault.map("lines", counting.lines, "numbers", **keep)
    assert counting.taken() == []
    vault.map("lines", counting.lines, "numbers", **keep, retry="errors")
    assert (counting.taken(), vault["lines"].errors()["attempts"].tolist()) == ([9], [2, 2])
    healed = vault.map("lines", lambda row: {"line": row.n}, "numbers", **keep, retry="errors")
    assert healed.read()["line"].tolist() == [10, 30, 31, 32, 9, 9]
    assert vault["lines"].errors().empty
    with pytest.raises(tv.InvalidInput, match="not made by map"):
        vault["numbers"].errors()


def test_rows_with_errors_instead_of_results_are_told_until_they_have_results(vault):
    vault.save("numbers", pd.DataFrame({"n": [9, 1, 9, 3]}))
    counting = Counting()
    options: Any = {"version": "1", "on_error": "keep"}
    for retry in (None, None, "errors"):
        told = r"^2 of 4 rows of 'numbers' have an error .* vault\['lines'\]\.errors\(\) .* retry='errors'"
        with pytest.warns(UserWarning, match=told):
            vault.map("lines", counting.lines, "numbers", **options, retry=retry)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        vault.map("lines", lambda row: {"line": row.n}, "numbers", **options, retry="errors")
        vault.map("lines", counting.lines, "numbers", **options)


class Unspeakable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")


def test_errors_of_any_text_are_kept_go_along_with_a_rename_and_are_named_by_erase(folder_vault):
    def quote(row: Any) -> dict[str, str]:
        if row.text == "fine":
            return {"text": "fine"}
        raise Unspeakable if row.text == "none" else ValueError(f"half \ud800 of {row.text}")

    texts = pd.DataFrame({"text": ["fine", "none", "private"]})
    folder_vault.save("texts", texts)
    keep: Any = {"version": "1", "on_error": "keep"}
    folder_vault.map("made", quote, "texts", **keep)
    with pytest.raises(tv.InvalidInput, match=r"'none/map'. has the errors"):
        folder_vault.map("none", quote, folder_vault.read("texts").query("text == 'none'"), **keep)
    assert folder_vault["made"].errors()["error"].tolist() == [
        "Unspeakable",
        r"ValueError: half \ud800 of private",
    ]
    folder_vault.rename("made", "quotes")
    folder_vault.rename("texts", "words")
    assert len(folder_vault["quotes"].errors()) == 2
    assert folder_vault.refresh("quotes", functions={"quotes": quote})[
        ["done", "errors"]
    ].values.tolist() == [[0, 0]]
    folder_vault.save("tales", pd.DataFrame({"text": ["fine", "of private things"]}))
    folder_vault.map("others", quote, "tales", **keep)
    answer = folder_vault.erase("words", rows=[2])
    errors = answer[answer["what"] == "errors"]
    assert errors[["list", "rows", "remains"]].values.tolist() == [
        ["quotes/map", 1, False],
        ["others/map", pd.NA, True],  # of a row of another list
    ]
    assert folder_vault["quotes"].errors()["error"].tolist() == ["Unspeakable"]
    kept = folder_vault.read("quotes/map", versions="all")
    assert not kept["traceback"].str.contains("private").any()
    with pytest.warns(UserWarning, match="1 of 2 rows"):
        folder_vault.map("quotes", quote, "words", **keep)


def test_a_commit_with_missing_texts_alone_fits_a_list_with_texts(folder_vault):
    folder_vault.save("texts", pd.DataFrame({"text": [None, "a", None, "b"], "n": range(4)}))
    options: Any = {"version": "1", "commit_every": 1}
    made = folder_vault.map("copies", lambda row: {"text": row.text, "n": row.n}, "texts", **options).read()
    assert made["text"].isna().tolist() == [True, False, True, False]
    assert made["text"].iloc[1::2].tolist() == ["a", "b"]


def test_an_error_is_raised_once_what_is_finished_is_committed(five):
    counting = Counting()
    five.append("numbers", pd.DataFrame({"n": [9, 7]}))
    with pytest.raises(ValueError, match="nine"):
        five.map("lines", counting.lines, "numbers", version="1")
    assert sorted(five.read("lines")["line"]) == [10, 20, 20, 21, 21, 50]
    assert counting.taken() == [0, 1, 2, 5, 9]
    with pytest.raises(ValueError, match="nine"):
        five.map("lines", counting.lines, "numbers", version="1")
    assert counting.taken() == [9]
    assert set(five.claims("lines/map")["state"]) == {"open"}


def test_a_result_whose_row_fails_after_a_change_goes(vault):
    vault.save("numbers", pd.DataFrame({"id": [1, 2], "n": [1, 3]}), key="id")
    counting = Counting()
    keep: Any = {"columns": ["n"], "version": "1", "on_error": "keep"}
    vault.map("lines", counting.lines, "numbers", **keep)
    vault.upsert("numbers", {"id": 1, "n": 9})
    assert vault.map("lines", counting.lines, "numbers", **keep).read()["line"].tolist() == [30, 31, 32]


# ---------------------------------------------------------------- other lists


def test_only_map_writes_to_its_lists(five):
    five.map("lines", Counting().lines, "numbers", version="1")
    for write in (five.save, five.append, five.upsert):
        with pytest.raises(tv.InvalidInput, match="map"):
            write("lines", pd.DataFrame({"line": [1]}))
    with pytest.raises(tv.InvalidInput, match="not made by map"):
        five.map("numbers", Counting().lines, "numbers", version="1")
    with pytest.raises(tv.ListNotFound):
        five.map("lines", Counting().lines, "number", version="1")
    five.delete("lines")
    with pytest.raises(tv.ListDeleted):
        five.map("lines", Counting().lines, "numbers", version="1")
    five.restore("lines", 1)
    assert "lines" in five


def test_what_is_kept_beside_results_is_not_shown_and_an_older_version_is_completed(five):
    counting = Counting()
    made = five.map("lines", counting.lines, "numbers", version="1", commit_every=1)
    lines = made.read()["line"].tolist()
    assert made.columns == ["line"]
    assert pa.RecordBatchReader.from_stream(made).read_all().column_names == ["line"]
    assert set(five.read("lines", versions="all")) == {"version", "row", "line"}
    counting.taken()
    five.restore("lines", 1)
    assert sorted(five.map("lines", counting.lines, "numbers", version="1").read()["line"]) == sorted(lines)
    assert 0 not in counting.taken()


def test_a_list_mapped_from_a_mapped_list_is_replaced_row_by_row(vault):
    vault.save("numbers", pd.DataFrame({"id": [1, 2], "n": [2, 3]}), key="id")
    first, second = Counting(), []

    def double(row: Any) -> dict[str, int]:
        second.append(row.line)
        return {"line": 2 * row.line}

    def both() -> list[int]:
        vault.map("lines", first.lines, "numbers", columns=["n"], version="1")
        return vault.map("doubles", double, "lines", version="1").read()["line"].tolist()

    assert both() == [40, 42, 60, 62, 64]
    second.clear()
    vault.upsert("numbers", {"id": 1, "n": 6})
    assert (both(), second) == ([120, 122, 60, 62, 64], [60, 61])


# ---------------------------------------------------------------- sessions


def test_a_stop_finishes_what_runs_and_gives_the_rest_back(five):
    counting = Counting()

    def stop(row: Any) -> Any:
        if len(counting.calls) == 1:
            five.stop("worker")
            deadline = time.monotonic() + 60
            while not run._recorder.has_request and time.monotonic() < deadline:
                time.sleep(0.01)
        return counting.lines(row)

    with pytest.raises(tv.SessionStopped), five.session("worker") as run:
        five.map("lines", stop, "numbers", version="1", commit_every=1)
    done = counting.taken()
    assert done == [1, 2]
    assert sorted(five.read("lines")["line"]) == [10, 20, 20, 21, 21]
    with five.session("worker"):
        five.map("lines", counting.lines, "numbers", version="1")
    assert counting.taken() == [0, 5]
    run_metrics = five.run("worker")
    assert run_metrics is not None


def test_metrics_and_an_interrupt(five):
    def interrupted(row: Any) -> dict[str, int]:
        if row.n == 5:
            raise KeyboardInterrupt
        return {"line": row.n}

    with pytest.raises(KeyboardInterrupt):
        five.map("lines", interrupted, "numbers", version="1")
    with five.session("worker"):
        five.map("lines", Counting().lines, "numbers", version="2")
    found = five.sessions("worker", columns=["metrics.map_inputs", "metrics.map_errors"])
    assert found.iloc[0].tolist() == [4, 0]


# ---------------------------------------------------------------- what is held


def claim_records(vault: tv.Vault) -> int:
    return len(vault.store.claim_records(vault.store.head("lines/map").list_id).rows)


def test_nothing_is_kept_of_claims_once_a_map_has_ended(vault):
    vault.save("numbers", pd.DataFrame({"n": [1, 9, 0, 3]}))
    counting = Counting()
    for version in "123":
        vault.map("lines", counting.lines, "numbers", version=version, on_error="keep")
        assert claim_records(vault) == 0
    with pytest.raises(ValueError, match="nine"):
        vault.map("lines", counting.lines, "numbers", version="4")
    assert claim_records(vault) == 0


def test_what_a_session_held_that_has_ended_is_done_by_the_next_and_forgotten(vault):
    vault.save("numbers", pd.DataFrame({"n": [1, 2, 3]}))
    counting = Counting()
    vault.map("lines", counting.lines, "numbers", version="1")
    notes, function = vault.store.head("lines/map"), 5
    with vault.session("dead") as run:
        claims = Claims(vault.store, notes, Holder(run._recorder.id, 0), 17, function)
        assert claims.take([7, 8], 2) == [7, 8]
    assert claim_records(vault) == 2
    with vault.session("living") as run:
        claims = Claims(vault.store, notes, Holder(run._recorder.id, 0), 18, function)
        assert claims.take([7, 8, 9], 3) == [7, 8, 9]
        claims.give_back([7])
        claims.give_back_all()
    assert claim_records(vault) == 0


# ---------------------------------------------------------------- several processes


def mapping(place: str, log: str, options: dict[str, Any], slow_s: float) -> None:
    """Take part in a map; each call is a line of a file."""

    def work(row: Any) -> dict[str, int]:
        with Path(log).open("a") as file:
            file.write(f"{row.n} {os.getpid()}\n")
        time.sleep(slow_s)
        return {"line": row.n}

    with tv.connect(place, capture="none", durability="fast", **options) as vault:
        vault.map("lines", work, "numbers", version="1", commit_every=3)


@pytest.mark.ci
@pytest.mark.skipif(not hasattr(os, "fork"), reason="signals of a POSIX system")
def test_processes_share_a_map_and_what_a_killed_one_held_is_done_by_the_others(vault, tmp_path):
    vault.save("numbers", pd.DataFrame({"n": range(40)}))
    password = os.environ.get("TABLEVAULT_PASSWORD")
    options = {} if password is None else {"password": password}
    log = tmp_path / "calls"

    def started(slow_s: float) -> Any:
        process = PROCESSES.Process(
            target=mapping, args=(vault.place, str(log), options, slow_s), daemon=True
        )
        process.start()
        return process

    workers = [started(0.01), started(0.01)]
    deadline = time.monotonic() + 120
    while ("lines" not in vault or len(vault["lines"]) < 9) and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(workers[0].pid, signal.SIGKILL)
    workers[0].join()
    workers[1].join(120)
    assert workers[1].exitcode == 0
    assert sorted(vault.read("lines")["line"]) == list(range(40))
    calls = [line.split() for line in log.read_text().splitlines()]
    twice = [n for n, count in Counter(n for n, _ in calls).items() if count > 1]
    killed = {n for n, pid in calls if int(pid) == workers[0].pid}
    assert set(twice) <= killed  # only what it had not committed
    assert len(twice) <= 3 + 1
    assert vault.lineage("lines")["parent_position"].tolist() == vault.read("lines")["line"].tolist()
    remove_strays(vault)


# ---------------------------------------------------------------- refresh, and functions of frames


def double(row: Any) -> dict[str, int]:
    return {"line": 2 * row.line}


def test_refresh_makes_lists_again_in_order_of_making(vault):
    vault.save("numbers", pd.DataFrame({"id": [1, 2], "n": [2, 3]}), key="id")
    counting = Counting()
    vault.map("lines", counting.lines, "numbers", columns=["n"], version="1")
    vault.map("doubles", double, "lines", version="1")
    vault.map("more", double, "doubles", version="1")
    vault.upsert("numbers", {"id": 1, "n": 1})
    again = vault.refresh("doubles")
    assert again[["list", "done", "errors"]].values.tolist() == [
        ["lines", 1, 0],
        ["doubles", 1, 0],
        ["more", 1, 0],
    ]
    assert vault.read("more")["line"].tolist() == [40, 120, 124, 128]
    assert vault.refresh("doubles")["done"].tolist() == [0, 0, 0]


def test_stale_and_refresh_judge_a_mapped_list_as_map_does(vault):
    frame = pd.DataFrame({"id": [1, 2, 3], "n": [2, 0, 3], "note": list("abc")})
    vault.save("numbers", frame, key="id")
    counting = Counting()
    vault.map("lines", counting.lines, "numbers", columns=["n"], version="1")
    vault.map("doubles", double, "lines", version="1")
    columns = ["list", "position", "reason", "of", "depth"]
    vault.upsert("numbers", frame.assign(note="z"))  # the function does not get it
    assert vault.stale().empty
    assert counting.taken() == [0, 2, 3]
    assert vault.refresh("lines")["done"].tolist() == [0, 0]
    vault.upsert("numbers", pd.DataFrame({"id": [1, 2, 4], "n": [1, 0, 5], "note": "z"}))
    assert vault.stale()[columns].values.tolist() == [
        ["lines", 0, "parent", "numbers@1[0]", 1],
        ["lines", 1, "parent", "numbers@1[0]", 1],
        ["lines", pd.NA, "new", "numbers@3[3]", 1],
        ["doubles", 0, "parent", "numbers@1[0]", 2],
        ["doubles", 1, "parent", "numbers@1[0]", 2],
    ]
    assert vault.refresh("doubles")["done"].tolist() == [2, 2]
    assert counting.taken() == [1, 5]
    assert vault.stale().empty
    vault.delete_rows("numbers", 0)
    assert vault.stale("lines")["reason"].tolist() == ["parent"]
    vault.refresh("lines")
    assert vault.stale().empty
    assert vault.read("doubles")["line"].tolist() == [60, 62, 64, 100]


def test_a_function_that_was_defined_anew_is_named_by_stale_and_taken_by_refresh(vault, monkeypatch):
    def function(factor: int) -> Any:
        def scaled(row: Any) -> dict[str, int]:
            return {"line": factor * row.n}

        scaled.__qualname__ = "scaled"  # as if it stood in the module
        monkeypatch.setattr(sys.modules[__name__], "scaled", scaled, raising=False)
        return scaled

    vault.save("numbers", pd.DataFrame({"n": [1, 2]}))
    vault.map("scaled", function(2), "numbers")
    assert vault.stale().empty
    function(3)
    assert (
        vault.stale()[["list", "reason", "of", "depth"]].values.tolist()
        == [["scaled", "code", "test_map:scaled", 0]] * 2
    )
    assert vault.refresh("scaled")["done"].tolist() == [2]
    assert vault.read("scaled")["line"].tolist() == [3, 6]
    assert vault.stale().empty


def test_refresh_needs_only_functions_of_lists_that_are_stale(here):
    with tv.connect(here / "v") as vault:
        vault.save("numbers", pd.DataFrame({"line": [1, 2]}))
        vault.map("inner", lambda row: {"line": row.line}, "numbers", version="1")
        vault.map("doubles", double, "inner", version="1")
    with tv.connect(here / "v") as vault:
        assert vault.refresh("doubles")["list"].tolist() == ["inner", "doubles"]
        vault.append("numbers", {"line": 3})
        with pytest.raises(tv.InvalidInput, match="makes 'inner'"):
            vault.refresh("doubles")


def test_refresh_runs_only_functions_that_this_process_knows(here):
    with tv.connect(here / "v") as vault:
        vault.save("numbers", pd.DataFrame({"line": [1, 2]}))
        vault.map("doubles", double, "numbers", version="1")
        vault.map("inner", lambda row: {"line": row.line}, "doubles", version="1")
    with tv.connect(here / "v") as vault:
        vault.append("numbers", {"line": 3})
        with pytest.raises(tv.InvalidInput, match=r"test_refresh_runs.*lambda.*makes 'inner'"):
            vault.refresh("doubles")
        assert len(vault["doubles"]) == 2
        vault.refresh("doubles", functions={"inner": lambda row: {"line": row.line}})
        assert vault.read("inner")["line"].tolist() == [2, 4, 6]
        for name, functions in (("numbers", {}), ("doubles", {"none": double}), ("doubles", [double])):
            with pytest.raises(tv.InvalidInput):
                vault.refresh(name, functions=functions)


def test_a_cached_function_is_called_once_for_equal_frames_and_arguments(vault):
    calls: list[int] = []

    @tv.cached(version="1")
    def top(frame: pd.DataFrame, k: int = 2) -> pd.DataFrame:
        calls.append(k)
        return frame.nlargest(k, "n")

    frame = pd.DataFrame({"n": [3, 1, 2]})
    assert [top(frame)["n"].tolist(), top(frame, k=2)["n"].tolist(), top(frame.copy(), 2)["n"].tolist()] == [
        [3, 2]
    ] * 3
    assert calls == [2]
    for other in (frame.astype("int8"), frame.iloc[::-1], frame.rename(index={0: 7}), frame.assign(m=1)):
        top(other)
    assert calls == [2] * 5
    assert top(frame, 1)["n"].tolist() == [3]
    vault.save("numbers", frame)
    assert top(vault.read("numbers")).vault.origin.startswith("cached/")
    assert top(frame, 1)["n"].tolist() == [3]
    assert calls == [2, 2, 2, 2, 2, 1, 2]
    with pytest.raises(tv.InvalidInput, match="argument k"):
        top(frame, object())

    def five(frame):
        return 5

    with pytest.raises(tv.InvalidType):
        tv.cached(version="1")(five)(frame)
    with pytest.raises(tv.InvalidType):
        tv.cached(5)
    for nameless in (
        lambda frame: frame,
        partial(five),
    ):  # their results would be in one list with those of others
        with pytest.raises(tv.InvalidInput, match=r"and .* has none\. Write it with def, below @tv\.cached"):
            tv.cached(version="1")(nameless)


def test_arguments_of_a_cached_call_that_differ_in_anything_are_other_calls(folder_vault):
    @tv.cached(version="1")
    def number_of_call(value: Any) -> pd.DataFrame:
        calls.append(value)
        return pd.DataFrame({"call": [len(calls), len(calls)]})

    calls: list[Any] = []
    frame = pd.DataFrame({"n": [1, 2]})
    empty = frame.iloc[:0]
    category = pd.DataFrame({"c": pd.Categorical(["a"], ["a"])})
    values = [
        frame, frame["n"], empty, empty.set_axis(pd.Index([], dtype="str"), axis=0), empty.rename_axis("id"),
        category, pd.DataFrame({"c": pd.Categorical(["a"], ["a", "b"])}), (1, 2), [1, 2], {1: 2}, {"1": 2}, 1, 1.0, True,
    ]  # fmt: skip
    for _ in range(2):
        assert [number_of_call(value)["call"].iloc[0] for value in values] == list(range(1, len(values) + 1))
    [name] = [each for each in folder_vault if each.startswith("cached/")]
    folder_vault.erase(name, rows=[0])  # of the call with True
    assert len(number_of_call(True)) == 2
    folder_vault.delete(name)
    assert [number_of_call(True)["call"].iloc[0] for _ in range(2)] == [len(values) + 2] * 2


# ---------------------------------------------------------------- the code of a function

SCRIPT = """
import pandas as pd
import tablevault_pd as tv
import helper

SCALE = 2
unrelated = {unrelated}


def own(row):
    print("own", end=" ")
    return {{"n": SCALE * row.n}}


def helped(row):
    print("helped", end=" ")
    return {{"n": helper.clean(row.n)}}


client = object()


def with_client(row):
    print("with_client", end=" ")
    return {{"n": row.n, "there": client is not None}}


vault = tv.connect("v")
vault.save("numbers", pd.DataFrame({{"n": [1]}}))
for name, function in (("own", own), ("helped", helped), ("with client", with_client)):
    vault.map(name, function, "numbers")
"""


def test_in_a_script_a_function_is_its_code_with_what_it_uses_of_the_projects_own(here):
    def called(unrelated: int, helper: str) -> list[str]:
        (here / "helper.py").write_text(
            f"def clean(n):\n    return {helper}\n\n\ndef other():\n    return {unrelated}\n"
        )
        (here / "script.py").write_text(SCRIPT.format(unrelated=unrelated))
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "PYTHONDONTWRITEBYTECODE": "1"}
        done = subprocess.run(
            [sys.executable, "script.py"], env=environment, capture_output=True, text=True, check=True
        )
        return done.stdout.split()

    assert called(1, "n + 1") == ["own", "helped", "with_client"]
    assert called(2, "n + 2") == ["helped"]
