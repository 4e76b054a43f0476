"""Runs whose rows were equal to those there, on each store: what stands for them, and which causes they rule out."""

from __future__ import annotations

from itertools import count

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torture.harness import times
from warm import script

import tablevault_pd as tv
from tablevault_pd.code import Piece, Slicer
from tablevault_pd.store import WrittenCode

NUMBERS = count()


def fit(vault, right, name="fit", list_name="preds", **params):
    """A run that saves these rows."""
    with vault.session(name, params=params):
        return vault.save(list_name, pd.DataFrame({"right": right}).rename_axis("id"), inputs=False)


def causes(frame):
    return {
        (what, name)
        for what, name in zip(frame["what"], frame["name"], strict=True)
        if what in ("parameter", "code")
    }


def test_every_run_is_a_point_of_its_own(vault):
    for number, right in enumerate(([1, 0], [1, 0], [1, 1], [1, 1], [0, 0])):
        fit(vault, right, lr=number)
    found = vault.trend("preds", "right", per="session")
    assert found[["session", "version", "made", "value"]].to_numpy().tolist() == [
        ["fit#1", 1, "written", 0.5],
        ["fit#2", 1, "confirmed", 0.5],
        ["fit#3", 2, "written", 1.0],
        ["fit#4", 2, "confirmed", 1.0],
        ["fit#5", 3, "written", 0.0],
    ]
    assert found["time"].is_monotonic_increasing
    assert found["time"].is_unique
    assert vault.trend("preds", "right")["made"].tolist() == ["written"] * 3
    day = vault.trend("preds", "right", per="day")
    assert day[["version", "made"]].to_numpy().tolist() == [[3, "written"]]
    against = vault.trend("preds", "right", per="session", baseline="previous")
    assert against["delta"].tolist()[1:] == [0, 0.5, 0, -1]
    assert against["n_pairs"].tolist() == [0, 2, 2, 2, 2], "all rows of a confirmed version are pairs"
    assert vault.trend("preds@1", "right", per="session")["session"].tolist() == ["fit#1", "fit#2"]
    assert found.changes()["version"].tolist() == vault.trend("preds", "right").changes()["version"].tolist()


def test_a_session_stands_for_what_it_made_last(vault):
    """It confirmed version 1, then wrote version 2, which another one confirmed before it did so itself."""
    rows = [pd.DataFrame({"right": right}) for right in ([1, 0], [1, 1])]
    vault.save("preds", rows[0])
    with vault.session("fit"):
        vault.save("preds", rows[0])
        vault.save("preds", rows[1])
        with vault.session("other"):
            vault.save("preds", rows[1])
        vault.save("preds", rows[1])
    found = vault.trend("preds", "right", per="session")
    lines = found.loc[found["session"].isin(["fit#1", "other#1"]), ["session", "version", "made"]]
    assert lines.to_numpy().tolist() == [["fit#1", 2, "written"], ["other#1", 2, "confirmed"]]
    written = vault.run("fit").written()
    assert written[["version", "made"]].to_numpy().tolist() == [[1, "confirmed"], [2, "written"]]
    assert vault.run("other").written()[["version", "made"]].to_numpy().tolist() == [[2, "confirmed"]]


def test_sessions_that_confirmed_are_compared(vault):
    fit(vault, [1, 0], lr=0.1)
    fit(vault, [1, 0], lr=0.2)
    fit(vault, [1, 1], lr=0.3)
    same = vault.compare("fit#1", "fit#2")
    assert same["status"].tolist() == ["same", "same"]
    assert same.params_diff.to_numpy().tolist() == [["lr", 0.1, 0.2, True]]
    other = vault.compare("fit#2", "fit#3", measure="right")
    assert other.params_diff.to_numpy().tolist() == [["lr", 0.2, 0.3, False]]
    why = other.why().query("what == 'parameter'")
    assert why[["name", "a", "b"]].to_numpy().tolist() == [["lr", 0.2, 0.3]], (
        "the values of the sessions asked for"
    )
    for pair, line in {
        ("fit#1", "fit#2"): ["lr", 0.1, 0.2, True],
        ("fit#2", "fit#3"): ["lr", 0.2, 0.3, False],
        ("fit#2", "preds@2"): ["lr", 0.2, 0.3, False],
        ("preds@1", "preds@2"): ["lr", 0.1, 0.3, False],
    }.items():
        found = vault.differences(*pair).query("what == 'parameter'")
        assert found[["name", "a", "b", "ruled_out"]].to_numpy().tolist() == [line], pair


def test_what_a_confirmation_rules_out_is_marked_and_no_cause(vault):
    """Run 2 has another lr and the same rows; run 3 another depth, too, and others."""
    for lr, depth, right in ((1, 1, [1, 0]), (2, 1, [1, 0]), (2, 2, [0, 0])):
        fit(vault, right, lr=lr, depth=depth)
    compared = vault.compare("preds@1", "preds@2", measure="right")
    assert causes(compared.why()) - {("code", None)} == {("parameter", "depth")}
    expected = [["lr", 1, 2, True], ["depth", 1, 2, False]]
    assert compared.params_diff.to_numpy().tolist() == expected
    upstream = vault.differences("preds@1", "preds@2").query("what == 'parameter'")
    # What may be a cause comes first.
    assert upstream[["name", "a", "b", "ruled_out"]].to_numpy().tolist() == expected[::-1]


def test_where_no_difference_alone_can_be_the_cause_those_of_the_nearest_makers_are_told(vault):
    """Neither lr 2 nor depth 2 alone changes anything, and both together do."""
    for lr, depth, right in ((1, 1, [1]), (2, 1, [1]), (1, 2, [1]), (2, 2, [0])):
        fit(vault, right, lr=lr, depth=depth)
    why = vault.compare("preds@1", "preds@2", measure="right").why().query("what == 'parameter'")
    assert sorted(why[["name", "a", "b"]].to_numpy().tolist()) == [["depth", 1, 2], ["lr", 1, 2]]
    upstream = vault.differences("preds@1", "preds@2").query("what == 'parameter'")
    assert upstream[["name", "ruled_out"]].to_numpy().tolist() == [["lr", False], ["depth", False]]


def test_the_only_difference_is_the_cause_whatever_a_run_with_others_made(vault):
    """lr 1 with depth 1, and lr 2 with depth 2, are right; lr 1 with depth 2 is not."""
    for lr, depth, right in ((1, 1, [1]), (2, 2, [1]), (1, 2, [0])):
        fit(vault, right, lr=lr, depth=depth)
    assert parameters(vault, "preds@1", "preds@2") == ([(0, "depth")], {"depth": False})


@pytest.mark.parametrize("way", ["confirmed", "elsewhere"])
def test_a_run_with_a_third_value_of_another_difference_rules_nothing_out(vault, way):
    """lr is the cause, but for depth 3, where the rows are those of lr 1."""
    for lr, depth, right in ((1, 1, [1]), (1, 2, [2]), (2, 3, [1]), (2, 2, [0])):
        if way == "elsewhere" or depth != 2 or lr != 1:
            fit(vault, right, lr=lr, depth=depth)
    newest = len(vault.versions("preds"))
    assert newest == (2 if way == "confirmed" else 4)
    named, flags = parameters(vault, "preds@1", f"preds@{newest}")
    assert named == [(0, "lr"), (0, "depth")]
    assert flags == {"lr": False, "depth": False}


def test_a_confirmation_counts_for_the_rows_that_a_later_version_still_shows(vault):
    fit(vault, [1, 0], lr=1)
    fit(vault, [1, 0], lr=2)
    with vault.session("more", params={"lr": 3}):
        vault.append("preds", pd.DataFrame({"right": [1]}, index=pd.Index([2], name="id")), inputs=False)
    fit(vault, [0, 0, 0], lr=2)
    why = vault.compare("preds@2", "preds@3", measure="right").why().query("what == 'parameter'")
    assert list(zip(why.index, why["name"], why["a"], why["b"], strict=True)) == [(2, "lr", 3, 2)]
    upstream = vault.differences("preds@2", "preds@3").query("what == 'parameter'")
    assert not upstream["ruled_out"].any(), "behind the appended row it may be the cause"


def parameters(vault, a, b, measure="right"):
    """The parameters that why() and differences name, and whether these rule them out."""
    why = vault.compare(a, b, measure=measure).why().query("what == 'parameter'")
    upstream = vault.differences(a, b).query("what == 'parameter'")
    flags = dict(zip(upstream["name"], upstream["ruled_out"], strict=True))
    return list(zip(why.index.tolist(), why["name"], strict=True)), flags


def test_rows_that_come_back_in_a_later_version_count_for_the_earlier_one(vault):
    """A, B, A, C: the third version has the rows of the first, and was made with another lr."""
    for lr, depth, right in ((1, 1, [1, 0]), (1, 2, [0, 0]), (2, 1, [1, 0]), (2, 3, [1, 1])):
        fit(vault, right, lr=lr, depth=depth)
    assert parameters(vault, "preds@3", "preds@4") == ([(1, "depth")], {"depth": False})
    assert parameters(vault, "preds@1", "preds@4") == ([(1, "depth")], {"lr": True, "depth": False})
    assert vault.compare("fit#1", "fit#4").params_diff["ruled_out"].tolist() == [True, False]
    earlier = vault.compare("preds@4", "preds@1", measure="right").why().query("what == 'parameter'")
    assert earlier["name"].tolist() == ["depth"]


def test_one_change_after_the_other_stays_the_cause_where_a_third_takes_it_back(vault):
    """The prompt mends a row, and a model after it breaks it again: that says nothing against the prompt."""
    for prompt, model, right in (("a", "x", [0]), ("b", "x", [1]), ("b", "y", [0])):
        fit(vault, right, prompt=prompt, model=model)
    assert parameters(vault, "preds@1", "preds@2") == ([(0, "prompt")], {"prompt": False})
    assert parameters(vault, "preds@2", "preds@3") == ([(0, "model")], {"model": False})


def test_a_run_of_another_version_counts_for_the_rows_that_are_equal_there(vault):
    """Row 0 comes back with the third version, row 1 does not."""
    for lr, depth, right in ((1, 1, [1, 1]), (2, 1, [1, 0]), (2, 2, [0, 2])):
        fit(vault, right, lr=lr, depth=depth)
    named, flags = parameters(vault, "preds@1", "preds@3")
    assert named == [(0, "depth"), (1, "lr"), (1, "depth")]
    assert flags == {"lr": False, "depth": False}


def test_without_a_key_only_a_whole_version_counts(vault):
    """The rows of the third version are those of the first in another order: which is which is not known."""
    for lr, depth, right in ((1, 1, [1, 0, 0]), (1, 2, [1, 1, 1]), (2, 1, [0, 1, 0]), (2, 3, [0, 0, 0])):
        with vault.session("fit", params={"lr": lr, "depth": depth}):
            vault.save("preds", pd.DataFrame({"right": right}), inputs=False)
    why = vault.compare("preds@1", "preds@4", on="position", measure="right").why()
    assert why.query("what == 'parameter'")["name"].tolist() == ["lr", "depth"]


def test_a_run_with_other_inputs_does_not_count(vault):
    """With other articles lr 2 gave the rows of lr 1: this says nothing against lr."""
    for lr, text, right in ((1, "x", [1]), (2, "x", [0]), (2, "y", [1])):
        vault.save("articles", pd.DataFrame({"text": [text]}).rename_axis("id"))
        with vault.session("fit", params={"lr": lr}):
            vault.save("preds", pd.DataFrame({"right": right}).rename_axis("id"), inputs={"articles": [[0]]})
    assert parameters(vault, "preds@1", "preds@2") == ([(0, "lr")], {"lr": False})


FACTS = ("p", "q", "call", "clean", "fit")
CALL = FACTS.index("call")
SHOWN = dict(
    zip(
        FACTS,
        [
            ("parameter", "p"),
            ("parameter", "q"),
            ("code", "t.py"),
            ("code", "t.py: clean"),
            ("code", "t.py: Tool.fit"),
        ],
        strict=True,
    )
)
TEXT = """
class Tool:
    rate = 1
    def fit(self, x):
        return x + {fit}
def clean(x):
    return x + {clean}
start(1)
log({call})
rows = Tool().fit(clean(1))
save(rows)
"""


def put_code(vault, name, state):
    """Keep as the code of what was saved last a program with these forms of its function and of a call."""
    version = vault.store.head(name)
    confirmations = vault.store.confirmations([version.list_id])
    maker = confirmations[-1] if confirmations and confirmations[-1].version == version.version else version
    text = TEXT.format(call=state[2], clean=state[3], fit=state[4])
    made = Slicer([Piece(text, "t.py", maker.session_id, maker.cell)]).of_everything()
    vault.store.put_code([WrittenCode(maker.session_id, maker.cell, maker.line or 0, made.parts)])
    return maker


def makers_of(versions, number, first, second):
    """The model: who made a version or the same rows in another, and had of every fact what one of the two versions had."""
    right, makers = versions[number]
    a, b = (versions[place][1][0] for place in (first, second))
    others = [state for value, states in versions if value == right for state in states]
    return [makers[0], *(state for state in others if is_between(state, a, b))]


def is_between(state, a, b):
    """Whether a maker had of every fact what one of two others had."""
    return all(value in of_both for value, *of_both in zip(state, a, b, strict=True))


@given(st.data())
@settings(max_examples=times(200, ordinary=4), deadline=None, suppress_health_check=list(HealthCheck))
def test_the_real_cause_is_named_and_none_that_a_run_disproves(vault, data):
    """Rows follow from one fact of five; a model notes who made which version with what."""
    name = f"list{next(NUMBERS)}"
    real = data.draw(st.integers(0, 4))
    outcome = data.draw(st.lists(st.integers(0, 1), min_size=3, max_size=3))
    states = data.draw(st.lists(st.tuples(*[st.integers(0, 2)] * 5), min_size=2, max_size=7))
    versions: list[tuple[int, list[tuple[int, ...]]]] = []
    for state in states:
        right = outcome[state[real]]
        fit(vault, [right], "run", name, p=state[0], q=state[1])
        vault.save("flush", {"x": 1})
        put_code(vault, name, state)
        if not versions or versions[-1][0] != right:
            versions.append((right, []))
        versions[-1][1].append(state)
    if len(versions) < 2:
        return
    first = data.draw(st.integers(0, len(versions) - 2))
    a, b = (makers_of(versions, number, first, first + 1) for number in (first, first + 1))
    disproved = {
        fact: bool({state[number] for state in a} & {state[number] for state in b})
        for number, fact in enumerate(FACTS)
    }
    compared = vault.compare(f"{name}@{first + 1}", f"{name}@{first + 2}", measure="right")
    named = causes(compared.why())
    for number, fact in enumerate(FACTS):
        differs = a[0][number] != b[0][number]
        assert (SHOWN[fact] in named) == (differs and not disproved[fact]), (fact, a, b, named)
    assert SHOWN[FACTS[real]] in named
    found = vault.differences(f"{name}@{first + 1}", f"{name}@{first + 2}")
    flags = dict(zip(zip(found["what"], found["name"], strict=True), found["ruled_out"], strict=True))
    for number, fact in enumerate(FACTS):
        if a[0][number] != b[0][number]:
            assert flags[SHOWN[fact]] == disproved[fact], (fact, a, b)


def index(vault, docs, only=None):
    """Cut the documents, or those of these names, into chunks, each with the document that it is of as its parent."""
    vault.upsert(
        "docs", pd.DataFrame({"doc": list(docs), "text": list(docs.values())}), key="doc", inputs=False
    )
    there = vault.read("docs")
    there = there if only is None else there[there["doc"].isin(only)]
    cut = there.assign(text=there["text"].str.split("."))["text"].explode()
    chunks = pd.DataFrame({"doc": there["doc"].reindex(cut.index), "text": cut})
    chunks["n"] = chunks.groupby("doc").cumcount()
    parents = [[int(position)] for position in cut.index]
    vault.upsert("chunks", chunks.reset_index(drop=True), key=["doc", "n"], inputs={"docs": parents})


def test_a_chunk_that_an_upsert_keeps_is_as_new_as_the_upsert(vault):
    index(vault, {"a": "x.y.z", "b": "u.v"})
    index(vault, {"a": "x.Y.z"}, only=["a"])  # x and z are made again, of the new text
    assert vault.stale("chunks").empty
    [confirmed] = vault.store.confirmations()
    assert (confirmed.version, confirmed.rows) == (2, ((0, 1), (2, 3)))
    assert vault.versions("chunks")["confirmed"].isna().all(), "no run made all of a version again"
    vault.upsert("docs", pd.DataFrame({"doc": ["a"], "text": ["x.Y.Z"]}), inputs=False)
    assert vault.stale("chunks")[["position", "reason", "of"]].to_numpy().tolist() == [
        [position, "parent", "docs@2[0]"] for position in range(3)
    ]
    index(vault, {"c": "w"})  # all of them
    assert vault.stale("chunks").empty


def elsewhere(versions, row, value):
    """Who made a row so, in whatever version."""
    return [state for version in versions for state in version[row][1] if version[row][0] == value]


@given(st.data())
@settings(max_examples=times(150, ordinary=3), deadline=None, suppress_health_check=list(HealthCheck))
def test_rows_count_as_made_by_those_who_made_them_again(vault, data):
    """Runs upsert some rows of four; each row follows from one of two parameters, and a model keeps who made it."""
    name = f"list{next(NUMBERS)}"
    real = data.draw(st.lists(st.integers(0, 1), min_size=4, max_size=4))
    outcome = data.draw(st.lists(st.integers(0, 1), min_size=3, max_size=3))
    states = st.tuples(st.integers(0, 2), st.integers(0, 2))
    runs = data.draw(
        st.lists(st.tuples(states, st.sets(st.integers(0, 3), min_size=1)), min_size=2, max_size=7)
    )
    rows: dict[int, tuple[int, list[tuple[int, int]]]] = {}  # what each row is, and who made it so
    versions: list[dict[int, tuple[int, list[tuple[int, int]]]]] = []
    for state, some in [((0, 0), {0, 1, 2, 3}), *runs]:
        right = {row: outcome[state[real[row]]] for row in sorted(some)}
        changed = False
        for row, value in right.items():
            if row not in rows or rows[row][0] != value:
                rows, changed = rows | {row: (value, [])}, True
            rows[row][1].append(state)
        versions += [dict(rows)] if changed else []
        with vault.session("run", params={"p": state[0], "q": state[1]}):
            vault.upsert(
                name, pd.DataFrame({"id": list(right), "right": list(right.values())}), key="id", inputs=False
            )
    if len(versions) < 2:
        return
    compared = vault.compare(f"{name}@1", f"{name}@{len(versions)}", measure="right")
    why = compared.why().query("what == 'parameter'")
    for row in range(4):
        (value_a, a), (value_b, b) = versions[0][row], versions[-1][row]
        one, two = a[0], b[0]
        a, b = (
            [first, *(state for state in elsewhere(versions, row, value) if is_between(state, one, two))]
            for first, value in ((one, value_a), (two, value_b))
        )
        named = set(why.loc[why.index == row, "name"])
        ruled_out = [bool({state[fact] for state in a} & {state[fact] for state in b}) for fact in (0, 1)]
        expected = {fact for number, fact in enumerate("pq") if not ruled_out[number]}
        assert named == (expected if value_a != value_b else set()), (row, a, b)
        assert value_a == value_b or "pq"[real[row]] in named


TRAIN = """
import pandas as pd
import tablevault_pd as tv
import feats
vault = tv.connect("v", session="train")
rows = pd.DataFrame({"id": [1, 2], "x": [4.0, 40.0]}).set_index("id")
rows["right"] = feats.make(rows["x"]).astype(int)
rows.vault.save("preds", inputs=False)
"""
FEATS = "SCALE = {scale}\n\n\ndef make(x):\n    return {body}\n"


def test_a_definition_that_nothing_uses_any_more_is_no_cause(tmp_path):
    """It left the slice because the code that used it changed; a run with another value of it does not count then."""
    for scale, body in ((1, "x > 1 * SCALE"), (10, "x > 1 * SCALE"), (1, "x > 1 * SCALE"), (1, "x > 7")):
        (tmp_path / "feats.py").write_text(FEATS.format(scale=scale, body=body))
        script(tmp_path, TRAIN)
    (tmp_path / "feats.py").write_text("def make(x):\n    return x > 0\n")
    script(tmp_path, TRAIN)
    with tv.connect(tmp_path / "v", mode="r") as vault:
        compared = vault.compare("preds@3", "preds@4", measure="right")
        assert causes(compared.why()) == {("code", "feats.py: make")}
        found = vault.differences("preds@3", "preds@4").set_index("name")["ruled_out"]
        assert found[["feats.py: make", "feats.py: SCALE"]].tolist() == [False, True]
        # where the program lacks it, too, it may be one
        compared = vault.compare("preds@2", "preds@5", measure="right")
        assert causes(compared.why()) == {("code", "feats.py: make"), ("code", "feats.py: SCALE")}


def test_a_statement_that_binds_its_name_earlier_or_later_is_a_cause(tmp_path):
    """Both programs have it, but the order counts where the slice binds the name otherwise."""
    change = 'rows["x"] = rows["x"] / 10\n'
    save = 'rows.vault.save("preds", inputs=False)\n'
    head = TRAIN.replace("import feats\n", "").partition("rows[")[0]
    script(tmp_path, head + save + change)
    script(tmp_path, head + change + save)
    with tv.connect(tmp_path / "v", mode="r") as vault:
        named = causes(vault.compare("preds@1", "preds@2", measure="x").why())
    assert ("code", "train.py: rows") in named
