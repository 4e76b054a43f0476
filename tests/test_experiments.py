"""What why() and differences say of random experiments, against what running them says."""

from __future__ import annotations

import json
import os
import re
import tempfile
from itertools import combinations
from pathlib import Path

import pytest
from experiments import IDLE, RESAVED, histories, write
from hypothesis import given, note, settings
from torture.harness import COUNTS, times
from warm import run

import tablevault_pd as tv

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="each run is a forked process")


def perform(folder, experiment, states):
    """Run all of it."""
    with tv.connect(folder / "v", session=False) as vault:
        for before, state in zip([None, *states], states, strict=False):
            changed = before is None or before != state
            for slot, kind in enumerate(experiment.kinds):
                if changed and before is not None and kind == RESAVED and state[slot] != before[slot]:
                    vault.save("items", experiment.items(state).assign(x=0), inputs=False)
                    vault.save("train", experiment.train(state) + 1, inputs=False)
            vault.save("items", experiment.items(state), inputs=False)
            vault.save("train", experiment.train(state), inputs=False)
            write(experiment, state, folder)
            code, errors = run(folder, "train.py", json.dumps(experiment.params(state)))
            assert code == 0, errors


def slots_named(lines, experiment, states):
    """The slots that lines of an answer name; a line that names none is an error."""
    slots = set()
    for line in lines.itertuples():
        kinds = {"parameter": r"p(\d+)", "package": r"theirs(\d+)"}
        if line.what in kinds:
            found = {int(number) for number in re.findall(kinds[line.what], line.name)}
        elif line.what == "code":
            found = {
                slot
                for text in (line.a, line.b)
                for token in re.findall(r"\b1\d{5}\b", text or "")
                for slot in [(int(token) - 100_000) // 100]
                if len({state[slot] for state in states}) > 1
            }
        elif line.what == "read":
            found = {slot for slot, kind in enumerate(experiment.kinds) if kind == "read"}
        elif line.what.startswith("row"):
            found = {slot for slot, kind in enumerate(experiment.kinds) if kind == "cell"}
        else:
            found = set()
        assert found, f"a line about nothing that changed: {line}"
        slots |= found
    return slots


def mixed(a, b, of_b):
    """The state of one run, with these slots as in another."""
    return tuple(b[slot] if slot in of_b else a[slot] for slot in range(len(a)))


def is_between(state, a, b, slots):
    return all(state[slot] in (a[slot], b[slot]) for slot in slots)


@given(histories())
@settings(max_examples=times(60, ordinary=12))
def test_the_true_cause_is_named_and_nothing_that_cannot_be_one(history):
    experiment, states = history
    note("\n".join(f"--- {name}\n{text}" for name, text in experiment.files(states[0]).items()))
    note(f"{experiment.kinds} {states}")
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "project"
        folder.mkdir()
        perform(folder, experiment, states)
        with tv.connect(folder / "v", mode="r") as vault:
            for one, two in combinations(range(len(states)), 2):
                check(vault, experiment, states, one, two)


def check(vault, experiment, states, one, two):
    """Compare two runs, row by row."""
    a, b = states[one], states[two]
    differ = {slot for slot in range(len(a)) if a[slot] != b[slot]}
    mattering = differ & experiment.mattering
    rows = [experiment.rows(state) for state in states]
    compared = vault.compare(f"train#{one + 1}", f"train#{two + 1}", measure="right")
    flipped = [at for at in range(4) if rows[one][at][1] != rows[two][at][1]]
    assert compared.index[compared["flip"].isin(["fixed", "broken"])].tolist() == [at + 1 for at in flipped]
    why = compared.why()
    for at in flipped:
        lines = why[why.index == at + 1]
        named = slots_named(lines, experiment, (a, b))
        true = {
            slot
            for slot in mattering
            if experiment.rows(mixed(b, a, {slot}))[at][1] != rows[two][at][1]
            or experiment.rows(mixed(a, b, {slot}))[at][1] != rows[one][at][1]
        }
        case = f"runs {one + 1} and {two + 1}, row {at + 1}: {named} named, {true} true, {differ} differ\n{lines}"
        idle = {slot for slot in named if experiment.kinds[slot] in (*IDLE, RESAVED)}
        assert not idle, case
        assert named <= differ, case
        if len(mattering) <= 2:
            assert named & true, case
            witnesses = [
                state
                for number, state in enumerate(states)
                if number not in (one, two) and is_between(state, a, b, experiment.mattering)
            ]
            assert true <= named or witnesses, case
        COUNTS["flips explained"] += 1
    # Of a session the functions are told whole, in which why() tells the statement: what they are about is the same.
    upstream = vault.differences(f"train#{one + 1}", f"train#{two + 1}").query("not ruled_out")
    told = slots_named(upstream[upstream["what"].isin(["parameter", "package", "code"])], experiment, (a, b))
    told |= {slot for slot, kind in enumerate(experiment.kinds) if kind in ("read", "cell")}
    assert slots_named(why, experiment, (a, b)) <= told, (one, two, why, upstream)
    if "train" not in upstream["name"].tolist():
        assert "read" not in why["what"].tolist(), (one, two, why, upstream)
