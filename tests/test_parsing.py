"""Code is parsed beside other threads that parse, too: a cell of the user's, above all."""

from __future__ import annotations

import ast
import gc
import os
import sys
import threading

import pytest
from test_forks import in_child

from tablevault_pd.capture import parsing
from tablevault_pd.capture.parsing import parse

TEXT = "\n".join(f"x{i} = f(a{i} + (b * {i}))[c:{i}]" for i in range(50))


class Finalized:
    """Garbage in whose finalizer the other thread has its turn, as Python's own switches give it."""

    def __init__(self, turn: threading.Event, done: threading.Event) -> None:
        self.me, self.turn, self.done = self, turn, done

    def __del__(self) -> None:
        self.turn.set()
        self.done.wait(0.05)


@pytest.mark.skipif(
    sys.version_info >= (3, 12), reason="no garbage is collected while a tree is made from 3.12 on"
)
def test_a_parse_waits_for_one_in_the_midst_of_a_collection():
    turn, done = threading.Event(), threading.Event()

    def other() -> None:
        turn.wait(60)
        parse(TEXT)
        done.set()

    gc.collect()
    thread = threading.Thread(target=nested, args=(20, other))
    thread.start()
    threshold = gc.get_threshold()
    try:
        Finalized(turn, done)
        gc.set_threshold(10)  # so that it is collected while the tree is made
        ast.parse(TEXT)  # raised SystemError: AST constructor recursion depth mismatch
    finally:
        gc.set_threshold(*threshold)
        turn.set()
        thread.join()
    assert done.is_set()
    assert gc.isenabled()


def nested(depth: int, call) -> None:
    """Call from another depth than the main thread parses at."""
    if depth:
        nested(depth - 1, call)
    else:
        call()


def test_a_finalizer_may_parse():
    parsed = []

    class Parsing:
        def __init__(self) -> None:
            self.me = self

        def __del__(self) -> None:
            parsed.append(ast.dump(parse("x = 1")))

    Parsing()
    gc.collect()
    assert parsed == [ast.dump(ast.parse("x = 1"))]
    assert gc.isenabled()


def in_thread(work) -> None:
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()


@pytest.mark.parametrize("run", [lambda work: work(), in_thread], ids=["here", "thread"])
def test_whoever_has_collections_off_keeps_them_off(run):
    gc.disable()
    try:
        run(lambda: parse("x"))
        assert not gc.isenabled()
    finally:
        gc.enable()


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="collections are left alone from 3.12 on")
def test_collections_are_on_again_after_the_last_of_two_parses_and_in_a_forked_child(monkeypatch):
    inside, go_on, seen = [threading.Event(), threading.Event()], [threading.Event(), threading.Event()], []
    place = threading.local()

    def wait() -> None:
        if (number := getattr(place, "number", None)) is not None:
            inside[number].set()
            go_on[number].wait(60)

    def work(number: int) -> None:
        place.number = number
        parse("x")

    monkeypatch.setattr(parsing, "_wait", wait)
    threads = [threading.Thread(target=work, args=(number,)) for number in range(2)]
    try:
        for number, thread in enumerate(threads):
            thread.start()
            assert inside[number].wait(60)
        seen.append(gc.isenabled())
        if hasattr(os, "fork"):
            assert in_child(gc.isenabled) == "True"
        go_on[0].set()
        threads[0].join()
        seen.append(gc.isenabled())
    finally:
        for event in go_on:
            event.set()
        for thread in threads:
            thread.join()
    assert [*seen, gc.isenabled()] == [False, False, True]
