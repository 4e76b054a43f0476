"""A process that ends while threads of the library work ends as it would without them."""

from __future__ import annotations

import subprocess
import sys

import pytest

import tablevault_pd as tv

pytestmark = pytest.mark.ci  # processes in numbers

WAYS = {"return": ("", 0), "error": ("raise ValueError('meant')", 1)}

PIECES = """
import os, sys, threading, time
from tablevault_pd.store.engine import threads

begun = threading.Event()

def work():
    begun.set()
    while not background.stop.is_set():
        time.sleep(0.001)
    time.sleep(0.05)  # the rest of a piece
    print("ended", flush=True)

background = threads.Background(work, "test")
background.ask()
begun.wait()
"""

BUSY = """
import sys, time, numpy as np, pandas as pd, tablevault_pd as tv
from tablevault_pd.store.embedded import text
from tablevault_pd.store.engine import ann_index
ann_index.SMALLEST, text.IDLE_S = 400, 0.0
rng = np.random.default_rng(0)
vault = tv.connect(sys.argv[1], session="s", capture="none")
vectors = rng.standard_normal((20_000, 32)).astype(np.float32)
vault.save("x", pd.DataFrame({"vec": list(vectors)}))
vault.save("t", pd.DataFrame({"text": [f"some words of the text {number}" for number in range(20_000)]}))
vault.search(near=vectors[0], k=1, lists="x", approx=True)
[column] = vault.store.vectors.columns.values()
index = column.ann["cosine"]
while not (index._building._busy and vault.store.text._indexing._busy):
    time.sleep(0.001)
"""


def run(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", script, *arguments], capture_output=True, text=True, timeout=60
    )


@pytest.mark.parametrize("way", WAYS)
def test_the_end_waits_for_a_piece_of_work(way):
    script, code = WAYS[way]
    ended = run(PIECES + script)
    assert (ended.returncode, ended.stdout) == (code, "ended\n")


def test_no_work_begins_once_the_end_has_come():
    ended = run("import atexit\natexit.register(lambda: (background.ask(), print('asked')))\n" + PIECES)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "ended\nasked\n", "")


def test_the_end_does_not_wait_for_ever():
    stuck = PIECES.replace("not background.stop.is_set()", "True")
    ended = run(stuck + "threads.END_S = 0.1")
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")


@pytest.mark.skipif(sys.platform == "win32", reason="needs fork")
def test_a_forked_child_waits_for_no_thread_of_its_parent():
    child = """
threads.END_S = 1e9
if os.fork() == 0:
    sys.exit(0)
print(os.wait()[1])
"""
    ended = run(PIECES + child)
    assert (ended.returncode, ended.stdout) == (0, "0\nended\n")


@pytest.mark.parametrize("way", WAYS)
def test_a_process_ends_while_indexes_are_built(tmp_path, way):
    script, code = WAYS[way]
    ended = run(BUSY + script, str(tmp_path / "v"))
    wanted = ["ValueError: meant"] if way == "error" else []
    assert ended.returncode == code
    assert [
        line for line in ended.stderr.splitlines() if line and not line.startswith((" ", "Traceback"))
    ] == wanted


COLLECTING = """
import gc, threading
from tablevault_pd.capture.stacks import innermost_frames

class Holder:
    pass

def garbage():
    for _ in range(20):
        holder = Holder()
        holder.local, holder.itself = threading.local(), holder
        holder.local.value = 1

def stacks():
    return innermost_frames()

gc.set_threshold(1000)
kept = []
for left in range(12):
    gc.collect()
    garbage()
    while gc.get_count()[0] < 1000 - left:  # so many objects before the next collection
        kept.append([])
    assert threading.get_ident() in stacks()
    assert gc.isenabled()
"""


def test_the_stacks_of_threads_are_read_without_a_garbage_collection_in_between():
    """On Python 3.11 the process would hang where it freed a threading.local."""
    done = subprocess.run([sys.executable, "-c", COLLECTING], timeout=60, check=False)
    assert done.returncode == 0


LATE = """
import atexit, sys
import tablevault_pd as tv
vault = tv.connect(sys.argv[1], capture="none")

class Late:
    def __init__(self):
        self.me = self  # it lives until Python takes all modules apart

    def __del__(self, calls=(lambda: vault.append("late", {"n": 1}), lambda: vault.session("late").__enter__(), lambda: vault.lists())):
        for call in calls:
            try:
                call()
            except Exception as error:
                print(f"{type(error).__name__}: {error}")

late = Late()
atexit.register(lambda: vault.append("at exit", {"n": 1}))
"""


def test_a_call_while_python_takes_itself_apart_is_refused_and_does_not_hang(tmp_path):
    """As from a ``__del__``: background threads may have been ended with a lock in hand."""
    done = subprocess.run(
        [sys.executable, "-c", LATE, str(tmp_path / "v")],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert [line.partition(":")[0] for line in done.stdout.splitlines()] == ["VaultClosed"] * 3, done.stdout
    assert "Python is ending" in done.stdout
    assert done.stderr == ""
    with tv.connect(tmp_path / "v", session=False) as vault:
        assert list(vault) == ["at exit"]
        assert vault.check().empty
