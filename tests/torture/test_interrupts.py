"""Interrupts at random moments of every call: nothing acknowledged is lost, and the vault goes on."""

from __future__ import annotations

import tablevault_pd as tv
from torture.harness import COUNTS, Acks, check_goes_on, check_rows, check_sound, run, times

VICTIM = """
import os, random, signal, sys, time, warnings
import numpy as np, pandas as pd
import tablevault_pd as tv
from torture.harness import Acks
place, acks, wanted, seed = sys.argv[1], Acks(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
warnings.simplefilter("ignore")  # a session that could not be ended in time says so
r = random.Random(seed)

class Alarm(BaseException):
    pass

def interrupt(number, frame):
    raise Alarm

signal.signal(signal.SIGALRM, interrupt)
number = interrupts = 0
failed = []
large = pd.DataFrame({"n": 0, "x": np.arange(40_000)})
vault = None

def append():
    vault.append("a", {"n": number, "t": f"word{number % 7} and more"})
    acks.add(number)

def save():
    vault.save("large", large.assign(n=number))

def search():
    vault.search("more", lists="a", k=3)

def log():
    tv.log(value=number)

def read():
    vault.read("a", columns=["n"])

def inner():
    with vault.session("inner", params={"number": number}) as run:
        run.log(loss=number)

def describe():
    vault.describe("a", f"as of {number}")
    vault.tag("victim", f"as of {number % 5}")

def keep():
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
        vault = tv.connect(place, session="victim", timeout_s=5, durability="fast")

rare = [inner, describe, keep, compact, vacuum, mend]
calls = [append] * 12 + [save, search, log, read] * 2 + rare
connected()
for call in calls:  # what is imported at the first call is not what this is about
    number += 1
    call()
while interrupts < wanted:
    connecting = r.random() < 0.1
    try:
        if connecting:
            close()
        else:
            connected()
        signal.setitimer(signal.ITIMER_REAL, r.uniform(0.0002, 0.04 if connecting else 0.006), 0.1)
        connected()
        while True:
            number += 1
            (close if r.random() < 0.005 else r.choice(calls))()
            connected()
    except Alarm:
        interrupts += 1
    except Exception as error:
        failed.append(f"after {interrupts} interrupts: {error!r}")
        if len(failed) > 5:
            break
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
assert not failed, failed
for _ in range(3):  # it goes on in this process
    connected()
    number += 1
    append()
    search()
    close()
print(interrupts, "interrupts,", number, "calls")
"""


def test_two_hundred_interrupts(tmp_path):
    seed = 20_240_917
    print("seed", seed)
    place, acks = tmp_path / "v", tmp_path / "acks"
    interrupts, _, calls, _ = run(VICTIM, place, acks, times(200), seed).split()
    COUNTS.update({"interrupts": int(interrupts), "interrupted calls": int(calls)})
    with tv.connect(place) as vault:
        check_rows(vault, "a", Acks(acks).all())
        check_sound(vault)
        assert len(vault.search("word3", lists="a", k=5)) > 0
    check_goes_on(place, "a")
