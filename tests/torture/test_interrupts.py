"""Interrupts at random moments of every call: nothing acknowledged is lost, and the vault goes on."""

from __future__ import annotations

import pytest

import tablevault_pd as tv
from torture.harness import COUNTS, SEED, Acks, check_goes_on, check_rows, check_sound, parts, run

VICTIM = """
import itertools, random, sys, warnings
import numpy as np, pandas as pd
import tablevault_pd as tv
from torture.harness import Acks
from torture.interrupts import interrupt_calls
place, acks, wanted, seed = sys.argv[1], Acks(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
warnings.simplefilter("ignore")  # a session that could not be ended in time says so
r = random.Random(seed)

class Alarm(BaseException):
    pass

numbers = itertools.count(1)
large = pd.DataFrame({"n": 0, "x": np.arange(40_000)})
vault = None

def append():
    number = next(numbers)
    vault.append("a", {"n": number, "t": f"word{number % 7} and more"})
    acks.add(number)

def save():
    number = next(numbers)
    vault.save("large", large.assign(n=number))

def search():
    vault.search("more", lists="a", k=3)

def log():
    number = next(numbers)
    tv.log(value=number)

def read():
    vault.read("a", columns=["n"])

def inner():
    number = next(numbers)
    with vault.session("inner", params={"number": number}) as run:
        run.log(loss=number)

def describe():
    number = next(numbers)
    vault.describe("a", f"as of {number}")
    vault.tag("victim", f"as of {number % 5}")

def keep():
    number = next(numbers)
    path = f"{place}-{number}.txt"
    with open(path, "w") as file:
        file.write(str(number))
    vault.save("kept", pd.DataFrame({"path": [path]}), files="path", copy=True)

def compact():
    vault.compact()

def vacuum():
    vault.vacuum(keep=2, dry_run=False)

def mend():
    vault.check(fix=True)

def close():
    vault.close()

def connected():
    global vault
    if vault is None or vault.closed:
        vault = tv.connect(place, session="victim", timeout_s=60, durability="fast")

rare = [inner, describe, keep, compact, vacuum, mend]
calls = [append] * 12 + [save, search, log, read] * 2 + rare
made = interrupt_calls(calls, connected, close, interrupts=wanted, r=r, error=Alarm)
for _ in range(3):  # it goes on in this process
    connected()
    append()
    search()
    close()
print(made)
"""


@pytest.mark.parametrize(("number", "interrupts"), list(enumerate(parts(200, 400, ordinary=40))))
def test_interrupts(tmp_path, number, interrupts):
    print(f"repeat it with TABLEVAULT_SEED={SEED + number}")
    place, acks = tmp_path / "v", tmp_path / "acks"
    made = int(run(VICTIM, place, acks, interrupts, SEED + number))
    COUNTS.update({"interrupts": interrupts, "calls between interrupts": made})
    assert len(Acks(acks).all()) > interrupts
    with tv.connect(place) as vault:
        check_rows(vault, "a", Acks(acks).all())
        check_sound(vault)
        assert len(vault.search("word3", lists="a", k=5)) > 0
    check_goes_on(place, "a")
