"""Ctrl-C at random moments of every call on a server: nothing acknowledged is lost or doubled, and the vault goes on."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest
from stores import new_database

import tablevault_pd as tv
from torture.harness import COUNTS, Acks, check_goes_on, check_rows, run, times

pytest.importorskip("arango")
pytestmark = pytest.mark.arango

VICTIM = """
import itertools, random, sys, warnings
from pathlib import Path
import numpy as np, pandas as pd
import tablevault_pd as tv
from torture.harness import Acks
from torture.interrupts import interrupt_calls
place, acks, wanted, seed = sys.argv[1], Acks(Path(sys.argv[2])), int(sys.argv[3]), int(sys.argv[4])
warnings.simplefilter("ignore")  # a session that could not be ended in time says so
r = random.Random(seed)
numbers = itertools.count(1)
rows = pd.DataFrame({"n": 0, "x": np.arange(400)})
vectors = pd.DataFrame({"v": list(np.eye(3))})
vault = None

def append():
    number = next(numbers)
    vault.append("a", {"n": number, "t": f"word{number % 7} and more"})
    acks.add(number)

def save():
    number = next(numbers)
    vault.save("rows", rows.assign(n=number))

def restore():
    vault.restore("rows", 1)

def search():
    assert len(vault.search("more", lists="a", k=3)) == 3

def near():
    assert vault.search(near=[1.0, 0.5, 0.0], lists="vectors", k=2)["position"].tolist() == [0, 1]

def log():
    number = next(numbers)
    tv.log(value=number)

def read():
    assert vault.read("rows", columns=["x"], start=7, stop=9)["x"].tolist() == [7, 8]

def session():
    number = next(numbers)
    with vault.session("inner") as inner:
        inner.log(x=number)
        vault.append("b", {"n": number})

def sessions():
    vault.sessions()

def close():
    vault.close()

def connected():
    global vault
    if vault is None or vault.closed:
        vault = tv.connect(place, session="victim", timeout_s=60, durability="fast")

calls = [append] * 6 + [save, restore, search, near, log, read, session, sessions]
connected()
vault.save("vectors", vectors)
for call in [save, append, append, append]:
    call()
made = interrupt_calls(calls, connected, close, interrupts=wanted, r=r)
for _ in range(3):  # it goes on in this process
    connected()
    append()
    search()
    close()
print(made)
"""


def test_interrupts_on_a_server(tmp_path, monkeypatch):
    interrupts = times(50, ordinary=12)
    # A database for some of them each: searches take the longer, the more rows were appended.
    for done in range(0, interrupts, 100):
        count, seed = min(100, interrupts - done), 20_240_917 + done
        print("seed", seed)
        acks = tmp_path / f"acks{done}"
        with new_database() as url:
            monkeypatch.setenv("TABLEVAULT_PASSWORD", urlsplit(url).password or "")
            tv.connect(url, create=True, session=False).close()
            made = int(run(VICTIM, url, acks, count, seed))
            COUNTS.update({"interrupts": count, "calls between interrupts": made})
            assert len(Acks(acks).all()) > count
            with tv.connect(url) as vault:
                check_rows(vault, "a", Acks(acks).all())
                assert set(vault.check()["severity"]) <= {"stray"}
            check_goes_on(url, "a")
