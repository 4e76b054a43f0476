"""Work in background threads: one at a time, done as often as it is asked for, and never locked by an interrupt or a fork."""

from __future__ import annotations

import os
import threading
import time

import pandas as pd
import pytest
from test_forks import in_child, wait_until
from test_session_interrupts import interrupted

from tablevault_pd import refs
from tablevault_pd.store.embedded import text as text_module
from tablevault_pd.store.engine.threads import Background


def test_one_thread_at_a_time_does_what_was_asked_for():
    entered, go_on = threading.Semaphore(0), threading.Semaphore(0)
    at_work, most = [], []

    def work() -> None:
        at_work.append(threading.get_ident())
        most.append(len(at_work))
        entered.release()
        assert go_on.acquire(timeout=60)
        at_work.remove(threading.get_ident())

    background = Background(work, "test")
    assert background.is_done
    background.ask()
    assert entered.acquire(timeout=60)
    for _ in range(10):  # while it is under way: once more is enough
        background.ask()
    assert not background.is_done
    go_on.release()
    assert entered.acquire(timeout=60)
    go_on.release()
    wait_until(lambda: background.is_done)
    background.join()
    assert most == [1, 1]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_work_that_fails_is_done_once_more_where_it_was_asked_for_meanwhile():
    entered, go_on, done = threading.Event(), threading.Event(), []

    def work() -> None:
        if not entered.is_set():
            entered.set()
            assert go_on.wait(60)
            raise ValueError("the first time")
        done.append(1)

    background = Background(work, "test")
    background.ask()
    assert entered.wait(60)
    background.ask()
    go_on.set()
    wait_until(lambda: background.is_done)
    assert done == [1]


def test_an_interrupt_on_any_line_of_asking_leaves_it_able_to_start():
    at, went_on = 0, True
    while went_on:
        done: list[int] = []
        background = Background(lambda done=done: done.append(1), "test")
        went_on = interrupted(background.ask, at, ("tablevault_pd.store.engine.threads",))
        background.ask()
        wait_until(lambda done=done, background=background: bool(done) and background.is_done)
        at += 1
    assert at > 5


def test_a_fork_while_the_texts_are_indexed_leaves_a_child_that_indexes(folder_vault):
    vault = folder_vault
    frame = pd.DataFrame({"text": [f"wind and word{number}" for number in range(3000)]})
    vault.save("a", frame)  # too long to be indexed with the commit
    text = vault.store.text._indexing
    with text._turn:  # as the thread does that indexes
        text._busy = True
        thread = threading.Thread(target=lambda: vault.save("b", frame))
        thread.start()
        thread.join()
        assert (
            in_child(lambda: [vault.save("c", frame).version, len(vault.search("word7", lists="c"))])
            == "[1, 1]"
        )
        text._busy = False
    assert len(vault.search("word7")) == 3


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_fork_while_another_thread_numbers_a_reference_leaves_a_child_that_can():
    """Whatever that thread holds is never released in the child."""
    inside, go_on, times = threading.Event(), threading.Event(), iter(range(10))

    class Slow(refs.Source):
        __slots__ = ()

        def __hash__(self) -> int:
            if next(times) > 0:  # it is looked for first
                inside.set()
                assert go_on.wait(60)
            return hash("slow")

    numbers: list[int] = []
    thread = threading.Thread(target=lambda: numbers.append(refs.number_of(Slow("v", 1, 1))))
    thread.start()
    assert inside.wait(60)

    def number_in_child() -> bool:
        found: list[int] = []
        other = threading.Thread(
            target=lambda: found.append(refs.number_of(refs.Source("w", 1, 1))), daemon=True
        )
        other.start()
        other.join(60)
        return bool(found)

    assert in_child(number_in_child) == "True"
    go_on.set()
    thread.join()
    assert refs.number_of(refs.Source("v", 2, 1)) not in numbers


def test_threads_that_number_the_same_sources_agree():
    sources = [refs.Source(f"vault {time.time_ns()}", number, 1) for number in range(500)]
    barrier, found = threading.Barrier(4), {}

    def number(key: int) -> None:
        barrier.wait(60)
        found[key] = [refs.number_of(source) for source in sources]

    threads = [threading.Thread(target=number, args=(key,)) for key in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found[0] == found[1] == found[2] == found[3]
    assert len(set(found[0])) == 500
    assert [refs._sources[number] for number in found[0]] == sources


@pytest.fixture
def lines(folder_vault, monkeypatch):
    """A list of many texts, which nothing has indexed."""
    monkeypatch.setattr(text_module, "IDLE_S", 600.0)
    monkeypatch.setattr(text_module, "PATIENCE_S", 0.0)
    frame = pd.DataFrame({"text": [f"word{number} among others of a text" for number in range(1200)]})
    folder_vault.save("a", frame, documents="text")
    return folder_vault.store.text


def test_indexing_gives_way_to_a_commit_of_this_process(folder_vault, lines, monkeypatch):
    """The portion ends with the step that is under way, and the next one goes on where it ended."""
    rows: list[int] = []
    add_rows = text_module.add_rows

    def noted(db, list_id, generation, start, table):
        rows.append(table.num_rows)
        add_rows(db, list_id, generation, start, table)
        if len(rows) == 2:
            folder_vault.append(
                "b", {"x": 1}, inputs=False
            )  # does not wait for the transaction that this is in

    monkeypatch.setattr(text_module, "add_rows", noted)
    with monkeypatch.context() as patched:
        patched.setattr(lines, "_yields", lambda: len(rows) > 0)  # one portion
        lines._complete()
    assert rows == [text_module.ROWS_A_STEP] * 2
    assert [*lines.upto().values()] == [sum(rows)]
    lines._complete()
    assert [*lines.upto().values()] == [1200]
    assert sum(rows) == 1200
    assert folder_vault.search("word7", lists="a")["position"].tolist() == [7]


def test_the_index_is_merged_step_by_step(folder_vault, lines, monkeypatch):
    """No portion merges by itself; the thread merges what portions left."""
    monkeypatch.setattr(text_module, "ROWS_BESIDE", 60)
    lines._complete()
    segments = lines._file.snapshot(
        lambda db: db.execute("SELECT count(DISTINCT segid) FROM prose_idx").fetchone()[0]
    )
    assert segments <= 8  # of twenty portions
    assert len(folder_vault.search("word7", lists="a")) == 1
    assert folder_vault.check().empty


def test_work_that_a_caller_completes_is_not_done_before_it_is() -> None:
    """A thread that waits for it does not go on meanwhile, and what is asked for meanwhile is done, too."""
    begun, may_end, done = threading.Event(), threading.Event(), []

    def work() -> None:
        begun.set()
        may_end.wait(60)
        done.append(1)

    background = Background(work, "test")
    background._asked = True  # as where no thread could be started
    caller = threading.Thread(target=background.complete)
    caller.start()
    assert begun.wait(60)
    assert not background.is_done
    background.ask()
    may_end.set()
    caller.join(60)
    deadline = time.monotonic() + 60
    while not background.is_done and time.monotonic() < deadline:
        time.sleep(0.001)
    assert done == [1, 1]
