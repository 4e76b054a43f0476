"""What counts as a cause, and what cannot be one: inputs of equal content, and runs whose rows say something against a difference."""

from __future__ import annotations

import ast
from contextlib import contextmanager

import numpy as np
import pandas as pd
import pytest
from stores import BOTH, new_place
from warm import script

import tablevault_pd as tv
from tablevault_pd.analysis.code_changes import code_changes
from tablevault_pd.analysis.mixes import is_mix
from tablevault_pd.analysis.written_out import parameters_written
from tablevault_pd.code import Piece, Slicer
from tablevault_pd.lineage.of_rows import rows_to_trace
from tablevault_pd.lineage.report import lines_up

ARTICLES = pd.DataFrame({"text": ["good", "bad"]}, index=pd.Index([1, 2], name="id"))
OTHERS = ARTICLES.assign(text=["good", "sad"])


def predict(vault, right, link, **params):
    """A run that reads the articles; its rows are linked to one article each, to all of them, or to none."""
    with vault.session("fit", params=params):
        there = vault.read("articles")
        rows = pd.DataFrame({"right": right}, index=pd.Index([1, 2], name="id"))
        inputs = {"rows": {"articles": [[0], [1]]}, "list": ["articles"], "read": False}[link]
        assert len(there) == 2
        return vault.save("preds", rows, inputs=inputs)


def told(frame):
    """(what, name) of all lines but those of code: this file is the code of every run."""
    lines = zip(frame["what"], frame["name"], strict=True)
    return {(what, name) for what, name in lines if what != "code"}


@pytest.mark.parametrize("link", ["rows", "list", "read"])
def test_an_input_of_equal_content_in_another_version_is_no_cause(vault, link):
    """Other articles in between, then those of before: by a save, and by a restore."""
    vault.save("articles", ARTICLES)
    predict(vault, [True, True], link, lr=1)
    vault.save("articles", OTHERS)
    vault.save("articles", ARTICLES)
    predict(vault, [True, False], link, lr=2)
    vault.restore("articles", 1)
    predict(vault, [False, False], link, lr=3)
    for a, b in ((1, 2), (2, 3), (1, 3)):
        compared = vault.compare(f"preds@{a}", f"preds@{b}", measure="right")
        assert told(compared.why()) == {("parameter", "lr")}, (a, b)
        upstream = vault.differences(f"preds@{a}", f"preds@{b}").query("what != 'code'")
        flags = dict(zip(upstream["name"], upstream["ruled_out"], strict=True))
        assert flags == {"lr": False, "articles": True}, (a, b)
        sessions = vault.differences(f"fit#{a}", f"fit#{b}").query("what != 'code'")
        assert dict(zip(sessions["name"], sessions["ruled_out"], strict=True)) == flags


@pytest.mark.parametrize("link", ["rows", "list", "read"])
@pytest.mark.parametrize(
    "other",
    [OTHERS, ARTICLES.iloc[::-1], ARTICLES.assign(more=1), ARTICLES.astype({"text": "category"})],
    ids=["cell", "order", "column", "dtype"],
)
def test_an_input_of_other_content_may_be_a_cause(vault, link, other):
    vault.save("articles", ARTICLES)
    predict(vault, [True, True], link)
    vault.save("articles", other)
    predict(vault, [True, False], link)
    upstream = vault.differences("preds@1", "preds@2").query("name == 'articles'")
    assert not upstream["ruled_out"].any()
    assert len(upstream)
    if link != "rows":
        what = "input" if link == "list" else "read"
        why = vault.compare("preds@1", "preds@2", measure="right").why()
        assert told(why) == {(what, "articles")}


def test_what_is_above_inputs_of_equal_content_is_no_cause_either(vault):
    """The articles were made twice of different sources, and came out equal; the sources are above the labels, too."""
    for number, right in ((1, True), (2, False)):
        with vault.session("collect", params={"limit": number}):
            vault.save("sources", {"n": number}, inputs=False)
            vault.save("articles", OTHERS, inputs=False)
            vault.save("articles", ARTICLES, inputs={"sources": [[0], [0]]})
        with vault.session("fit"):
            vault.read("articles").assign(right=right).vault.save("preds")
    upstream = vault.differences("preds@1", "preds@2").query("what != 'code'")
    assert set(upstream["name"]) == {"articles", "limit", "sources"}
    assert upstream["ruled_out"].all()
    for number in (1, 2):
        with vault.session("fit"):
            rows = vault.read(f"articles@{2 * number}").assign(right=number)
            source = vault.versions("sources")["version"].tolist()[number - 1]
            rows.vault.save("both", inputs=[f"articles@{2 * number}", f"sources@{source}"])
    upstream = vault.differences("both@1", "both@2").query("what != 'code'")
    inputs = upstream[upstream["what"] == "input"]
    lines = zip(inputs["name"], inputs["depth"], inputs["ruled_out"], strict=True)
    assert set(lines) == {("articles", 1, True), ("sources", 1, False), ("sources", 2, True)}


def test_what_a_run_wrote_before_it_read_it_is_the_same_as_for_one_that_found_it(vault):
    """The first run makes the articles, and the second one finds them; each has a list of its own that it reads again."""
    for number in (1, 2):
        with vault.session("fit", params={"lr": number}):
            if "articles" not in vault:
                vault.save("articles", ARTICLES, inputs=False)
            assert len(vault.read("articles")) == 2
            vault.save("scratch", {"n": number}, inputs=False)
            vault.read("scratch")
            rows = pd.DataFrame({"right": [True, number == 1]}, index=pd.Index([1, 2], name="id"))
            vault.save("preds", rows, inputs=False)
    assert told(vault.compare("preds@1", "preds@2", measure="right").why()) == {("parameter", "lr")}
    for pair in (("preds@1", "preds@2"), ("fit#1", "fit#2")):
        assert told(vault.differences(*pair)) == {("parameter", "lr")}


def test_what_a_run_wrote_and_read_is_a_cause_where_another_one_read_other_rows(vault):
    with vault.session("fit"):
        vault.save("articles", ARTICLES, inputs=False)
        vault.read("articles")
        vault.save("preds", pd.DataFrame({"right": [True]}, index=pd.Index([1], name="id")), inputs=False)
    vault.save("articles", OTHERS, inputs=False)
    with vault.session("fit"):
        vault.read("articles")
        vault.save("preds", pd.DataFrame({"right": [False]}, index=pd.Index([1], name="id")), inputs=False)
    why = vault.compare("preds@1", "preds@2", measure="right").why().query("what == 'read'")
    assert why[["name", "a", "b"]].to_numpy().tolist() == [["articles", "articles@1", "articles@2"]]
    assert ("read", "articles") in told(vault.differences("preds@1", "preds@2"))


BLOCK = """
import tablevault_pd as tv
factor = {factor}
vault = tv.connect({place!r}, session=False, create=True)
for number in (1, 2):
    with vault.session("train", params={{"number": number}}):
        rows = [{{"x": number * factor}}]
        if number:
            vault.save("preds", rows)
later = {later}
"""


def test_a_session_that_a_with_opens_has_what_stands_in_its_block(tmp_path):
    """Python calls the end of a ``with`` the place of its header: that is not how far the program has come."""
    for factor, later in ((1, 1), (2, 2)):
        script(tmp_path, BLOCK.format(factor=factor, later=later, place="v"))
    with tv.connect(tmp_path / "v", mode="r") as vault:
        for a, b in (("train#1", "train#3"), ("train#2", "train#4")):
            found = vault.differences(a, b)
            assert list(zip(found["what"], found["name"], strict=True)) == [("code", "train.py: factor")]
            changed = [line for line in vault.code_diff(a, b).splitlines()[2:] if line[0] in "+-"]
            assert changed == ["-factor = 1", "+factor = 2"]
        assert vault.sessions(code="number * factor")["session"].tolist() == [
            f"train#{run}" for run in (1, 2, 3, 4)
        ]


# -- definitions that both programs have


@contextmanager
def in_both(place):
    """The address of a vault for processes of their own: of a folder, or of a database."""
    vault = tv.connect(place.address, session=False, create=True)
    try:
        yield vault
    finally:
        vault.close()


CELLS = [
    "import pandas as pd\nimport tablevault_pd as tv\nvault = tv.connect({place!r}, session='train')",
    "SCALE = {scale}\nOTHER = 3",
    "def make(x):\n    return {body}",
    "rows = pd.DataFrame({{'x': [4.0, 40.0]}}, index=pd.Index([1, 2], name='id'))\nrows['right'] = make(rows['x'])",
    "{saving}",
]
SAVINGS = {
    "kernel": "rows.vault.save('preds', inputs=False)",
    "run": "with vault.session('fit'):\n    rows.vault.save('preds', inputs=False)",
}
FORMS = ((1, "x > 1 * SCALE"), (10, "x > 1 * SCALE"), (10, "x > 50"))


def run_notebook(folder, cells):
    nbclient, nbformat = pytest.importorskip("nbclient"), pytest.importorskip("nbformat")
    notebook = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(text, id=f"cell{number}") for number, text in enumerate(cells)]
    )
    nbclient.NotebookClient(
        notebook, timeout=120, kernel_name="python3", resources={"metadata": {"path": str(folder)}}
    ).execute()


@pytest.mark.parametrize("kind", BOTH)
@pytest.mark.parametrize("way", ["script", "kernel", "run"])
def test_a_definition_that_both_programs_have_is_no_cause(tmp_path, kind, way):
    """In a script, and in a notebook whose kernel opened the session or a run in it; on each store."""
    with new_place(kind, tmp_path) as place, in_both(place) as vault:
        for scale, body in FORMS:
            values = {"scale": scale, "body": body, "place": place.address}
            cells = [text.format(**values, saving=SAVINGS.get(way, SAVINGS["kernel"])) for text in CELLS]
            if way == "script":
                script(tmp_path, "\n".join(cells))
            else:
                run_notebook(tmp_path, cells)
        names = {}
        for a, b in ((1, 2), (2, 3)):
            found = vault.compare(f"preds@{a}", f"preds@{b}", measure="right").why()
            assert set(found["what"]) == {"code"}
            names[a, b] = {name.rpartition(": ")[2] for name in found["name"]}
        assert names == {(1, 2): {"SCALE"}, (2, 3): {"make"}}
        flags = vault.differences("preds@2", "preds@3").query("what == 'code'")
        assert {
            name.rpartition(": ")[2]: flag
            for name, flag in zip(flags["name"], flags["ruled_out"], strict=True)
        } == {"SCALE": True, "make": False}


@pytest.mark.parametrize(
    ("own", "is_mixed"),
    [
        ("fit(1, 1)", True),
        ("fit(2, 2)", True),
        ("fit(2, 1)", True),
        ("fit(3, 1)", False),
        ("fit(2, 1, 0)", False),
        ("fit(1, 1)\nfit(2, 2)", False),
        ("x = 1\nfit(2, 1)", False),
        ("other(1, 1)", False),
    ],
)
def test_a_statement_is_a_mix_if_each_piece_of_it_is_as_in_one_of_two_others(own, is_mixed):
    slices = [Slicer([Piece(text, "t.py", 1, 0)]).of_everything() for text in (own, "fit(1, 1)", "fit(2, 2)")]
    assert is_mix(*slices) == is_mixed


def test_each_method_of_a_class_may_be_as_in_one_of_two_others():
    text = "class Box:\n    rate = {}\n    def grow(self):\n        return {}\n    def new(self):\n        return {}\nBox()"
    cases = {(1, 1, 1): True, (2, 1, 1): True, (2, 1, 2): True, (3, 1, 1): False}
    a, b = ((1, 1, 1), (2, 2, 2))
    for own, is_mixed in cases.items():
        slices = [Slicer([Piece(text.format(*form), "t.py", 1, 0)]).of_everything() for form in (own, a, b)]
        assert is_mix(*slices) == is_mixed, own


@pytest.mark.parametrize("style", ["main", "called"])
def test_what_two_runs_executed_is_a_cause_where_a_statement_inside_of_it_is(tmp_path, style):
    """Of a session the whole function is told, of a row the statements in it: both are about one change."""
    text = """
        import tablevault_pd as tv
        def main(vault, seen):
            with vault.session("train"):
                rows = [{{"x": {x}}}]
                print({printed})
                vault.save("preds", rows)
        vault = tv.connect("v", session=False, create=True)
        {call}
    """
    call = "main(vault, 1)" if style == "called" else 'if __name__ == "__main__":\n            main(vault, 1)'
    for x, printed in ((1, 1), (2, 1), (2, 2)):
        script(tmp_path, text.format(x=x, printed=printed, call=call))
    with tv.connect(tmp_path / "v", mode="r") as vault:
        for b, ruled_out in ((2, False), (3, True)):
            found = vault.differences("train#1" if b == 2 else "train#2", f"train#{b}")
            lines = found[["what", "name", "ruled_out"]].to_numpy().tolist()
            assert lines == [["code", "train.py: main", ruled_out]]


LABELLED = """
    import pandas as pd
    import tablevault_pd as tv
    note = {note!r}
    vault = tv.connect("v", session="train", create=True)
    rows = pd.DataFrame({{"right": [{right}, True]}}, index=pd.Index([1, 2], name="id"))
    {save}
"""


@pytest.mark.parametrize(
    "save",
    [
        'vault.save("preds", rows, message=note, inputs=False)',
        'vault.save("preds", rows, message={note!r}, tags=[{note!r}], inputs=False)',
        'rows.vault.save("preds", description={note!r}, inputs=False)',
        'tv.current_vault().save("preds", rows, message={note!r}, inputs=False)',
        'with vault.session("fit", tags=[note]):\n        vault.save("preds", rows, inputs=False)',
    ],
)
def test_what_a_write_is_about_is_no_cause_and_makes_nothing_stale(tmp_path, save):
    """Its message, tags and description change no row, nor does what they are made from."""
    for note, right in (("first", True), ("second", False)):
        script(tmp_path, LABELLED.format(note=note, right=right, save=save.format(note=note)))
    with tv.connect(tmp_path / "v", session=False) as vault:
        why = vault.compare("preds@1", "preds@2", measure="right").why()
        assert list(zip(why["what"], why["name"], strict=True)) == [("code", "train.py: rows")]
        changed = [line for line in vault.code_diff("preds@1", "preds@2").splitlines() if line[0] in "+-"]
        assert len(changed) == 4, changed
    script(tmp_path, LABELLED.format(note="third", right=False, save=save.format(note="third")))
    with tv.connect(tmp_path / "v", session=False) as vault:
        assert vault.stale().empty


@pytest.mark.parametrize(
    "call",
    [
        "chat.append('user', message={text!r})",
        "notes.save({text!r}, message={text!r})",
        "vault.save('preds', rows, inputs={text!r})",
        "vault.save('preds', rows, message=(word := {text!r}))",
        "vault.read('preds', tags={text!r})",
    ],
)
def test_what_is_no_text_about_a_write_counts(call):
    """Methods of other objects may do anything with their arguments, and other arguments of a write may count."""
    one, two = (Slicer([Piece(call.format(text=text), "t.py", 1, 0)]).of_everything() for text in "ab")
    assert one != two


@pytest.mark.parametrize(
    ("frame", "key", "shown"),
    [
        (pd.DataFrame({"x": [1, 2, 3]}), None, "1: 2"),
        (pd.DataFrame({"x": [1, 2, 3]}, index=pd.Index(["a", "b", "c"], name="id")), None, "1: 'c'"),
        (pd.DataFrame({"x": [1, 2, 3]}, index=list("abc")), None, "1: 'c'"),
        (pd.DataFrame({"x": [1, 2, 3], "id": [7, 8, 9]}), "id", "1: 9"),
        (
            pd.DataFrame({"x": [1, 2, 3], "n": [7, 8, 9]}, index=pd.Index(list("abc"), name="id")),
            ["id", "n"],
            "1: ('c', 9)",
        ),
        (
            pd.DataFrame(
                {"x": [1, 2, 3]}, index=pd.date_range("2026-01-01", periods=3, name="day", tz="UTC")
            ),
            None,
            "1: 2026-01-03 00:00:00+00:00",
        ),
    ],
    ids=["position", "named index", "labels", "key", "key of both", "times"],
)
def test_rows_that_changed_are_named_as_the_user_names_them(vault, frame, key, shown):
    vault.save("items", frame, key=key)
    vault.read("items").vault.save("all")
    vault.save("items", frame.assign(x=[1, 2, 4]), key=key)
    vault.read("items").vault.save("all")
    [line] = vault.differences("all@1", "all@2").query("what == 'rows changed'")[["a", "b"]].to_numpy()
    assert line.tolist() == [shown, shown]


def test_rows_of_a_mapped_list_that_changed_are_named_by_their_index(vault):
    """What map keeps beside its results is their key, and nobody sees it."""
    for frame in (ARTICLES, OTHERS):
        vault.save("articles", frame, key="id", inputs=False)
        vault.map("answers", lambda row: {"pred": row.text}, "articles", version="1")
        vault.read("answers").vault.save("judged")
    [line] = (
        vault.differences("judged@1", "judged@2")
        .query("what == 'rows changed' and name == 'answers'")[["a", "b"]]
        .to_numpy()
    )
    assert line.tolist() == ["1: 2", "1: 2"]


def ask(row, prompt):
    return {"pred": row.text.upper() if prompt == "loud" else row.text}


@pytest.mark.parametrize("rows", ["articles", "some"])
def test_what_map_called_its_function_with_is_a_cause(vault, rows):
    """Of the list itself and of one below it; the whole list is mapped, or a part of it, whose options are not kept."""
    vault.save("articles", ARTICLES)
    for prompt in ("quiet", "loud"):
        with vault.session("eval", params={"seed": 1}):
            given = rows if rows == "articles" else vault.read("articles").query("id < 9")
            vault.map("answers", ask, given, kwargs={"prompt": prompt})
            vault.read("answers").vault.save("judged")
    cause = ["parameter", "ask(prompt)", "quiet", "loud"]
    for name, depth in (("answers", 0), ("judged", 1)):
        compared = vault.compare(f"{name}@1", f"{name}@2", on="id", measure="pred == pred.str.upper()")
        why = compared.why().query("what == 'parameter'")
        assert len(why) == 2
        assert why[["what", "name", "a", "b", "depth", "list"]].drop_duplicates().to_numpy().tolist() == [
            [*cause, depth, "answers"]
        ]
        upstream = vault.differences(f"{name}@1", f"{name}@2").query("what == 'parameter'")
        assert upstream[["what", "name", "a", "b", "depth", "list", "ruled_out"]].to_numpy().tolist() == [
            [*cause, depth, "answers", False]
        ]
    vault.erase("answers", rows=[1])
    params = vault.compare("answers@1", "answers@2").params_diff
    assert params.to_numpy().tolist() == [[*cause[1:], False]]
    sessions = vault.differences("eval#1", "eval#2").query("what == 'parameter'")
    assert sessions[["name", "list", "ruled_out"]].to_numpy().tolist() == [["ask(prompt)", "answers", False]]


def test_what_map_called_its_function_with_is_no_cause_where_rows_came_out_the_same(vault):
    """By sessions and by versions alike: notes that map keeps are other ones, and no list that somebody compares."""
    vault.save("articles", ARTICLES)
    for seed, prompt in ((1, "quiet"), (2, "soft")):
        with vault.session("eval", params={"seed": seed}):
            vault.map("answers", ask, "articles", kwargs={"prompt": prompt})
    assert set(vault.compare("eval#1", "eval#2")["status"]) == {"same"}
    for pair in (("answers@1", "answers@2"), ("eval#1", "eval#2")):
        upstream = vault.differences(*pair).query("what == 'parameter'")
        assert dict(zip(upstream["name"], upstream["ruled_out"], strict=True)) == {
            "seed": True,
            "ask(prompt)": True,
        }
    params = vault.compare("answers@1", "answers@2").params_diff
    assert dict(zip(params["name"], params["ruled_out"], strict=True)) == {"seed": True, "ask(prompt)": True}


def test_rows_that_map_made_with_the_same_arguments_name_none(vault):
    """Only one row was made again with another prompt; and arguments are told as they were given."""
    vault.upsert("articles", ARTICLES, key="id")
    vault.map("answers", ask, "articles", kwargs={"prompt": ("quiet", 1)})
    vault.map("answers", ask, vault.read("articles").query("id == 2"), kwargs={"prompt": "loud"})
    vault.upsert("articles", ARTICLES[:1].assign(text="fine"))
    vault.map("answers", ask, vault.read("articles").query("id == 1"), kwargs={"prompt": ("quiet", 1)})
    last = vault["answers"].version
    why = vault.compare("answers@1", f"answers@{last}", on="id").why().query("what == 'parameter'")
    assert why.reset_index()[["id", "name", "a", "b"]].to_numpy().tolist() == [
        [2, "ask(prompt)", ("quiet", 1), "loud"]
    ]


def test_the_evidence_says_which_run_rules_a_difference_out_and_why_the_rest_is_left(vault):
    """One run made the rows of the first side with the rate of the other, one those of the other with the first seed."""
    vault.save("articles", ARTICLES)
    for right, rate, words, seed in (
        ([True, True], 1, "a", 0),
        ([True, True], 2, "a", 0),
        ([True, False], 2, "b", 1),
        ([True, False], 2, "b", 0),
        ([False, False], 3, "c", 2),
    ):
        predict(vault, right, "rows", rate=rate, words=words, seed=seed)

    def evidence(frame):
        return {(line.name, line.evidence) for line in frame[frame["what"] == "parameter"].itertuples()}

    alone = ("words", "the only one that is not ruled out")
    others = {("rate", "fit#2 had b and made the rows of a"), ("seed", "fit#4 had a and made the rows of b")}
    assert evidence(vault.differences("preds@1", "fit#3")) == {alone, *others}
    assert evidence(vault.differences("fit#1", "fit#3")) == {alone, *others}
    assert evidence(vault.compare("fit#1", "fit#3", measure="right").why()) == {alone}
    assert evidence(vault.compare("fit#2", "fit#4", measure="right").why()) == {
        ("words", "the only difference")
    }
    left = {(name, "one of 3 that no run tells apart") for name in ("rate", "words", "seed")}
    assert evidence(vault.differences("fit#1", "fit#5")) == left
    assert evidence(vault.compare("fit#1", "fit#5", measure="right").why()) == left


def test_the_evidence_of_what_worked_together_names_the_others(vault):
    """Each of two parameters alone changed nothing."""
    vault.save("articles", ARTICLES)
    for right, rate, words in (([True, True], 1, "a"), ([True, True], 2, "a"), ([True, True], 1, "b")):
        predict(vault, right, "read", rate=rate, words=words)
    predict(vault, [True, False], "read", rate=2, words="b")
    why = vault.compare("fit#1", "fit#4", measure="right").why().query("what == 'parameter'")
    told_by = dict(zip(why["name"], why["evidence"], strict=True))
    assert told_by == {"rate": "only together with words", "words": "only together with rate"}
    upstream = vault.differences("fit#1", "fit#4").query("what == 'parameter'")
    assert dict(zip(upstream["name"], upstream["evidence"], strict=True)) == told_by


def test_the_evidence_of_inputs_says_whether_their_rows_differ(vault):
    vault.save("articles", ARTICLES)
    predict(vault, [True, True], "rows")
    vault.save("articles", OTHERS)
    vault.save("articles", ARTICLES)
    predict(vault, [True, False], "rows")
    vault.save("articles", OTHERS)
    predict(vault, [False, False], "rows")
    for a, b, said in (
        ("preds@1", "preds@2", "both versions show the same rows"),
        ("preds@2", "preds@3", "it shows other rows"),
    ):
        [line] = vault.differences(a, b).query("what == 'input'")["evidence"]
        assert line == said
    why = vault.compare("preds@1", "preds@3", measure="right").why().query("what == 'row changed'")
    assert why["evidence"].tolist() == ["the row was made from it"]


SETTINGS = """
    import pandas as pd
    import tablevault_pd as tv
    CONFIG = {config}
    vault = tv.connect("v", session=False, create=True)
    with vault.session("fit", params={{"limit": CONFIG["limit"]}}):
        right = [x < CONFIG["limit"] * CONFIG["model"]["scale"] for x in (1, 5, 20)]
        print("done", CONFIG["name"])
        rows = pd.DataFrame({{"right": right}}, index=pd.Index([1, 2, 3], name="id"))
        vault.save("preds", rows, message={message!r}, inputs=False)
"""


def run_with(folder, message=None, **config):
    script(folder, SETTINGS.format(config=config, message=message))


def test_of_a_dict_of_settings_the_items_are_named(tmp_path):
    """Inside of another one, too; what a run shows to be no cause is left out, and what is a parameter is told once."""
    run_with(tmp_path, name="one", limit=10, model={"scale": 1, "depth": 1})
    run_with(tmp_path, name="two", limit=10, model={"scale": 1, "depth": 1})
    run_with(tmp_path, name="two", limit=10, model={"scale": 3, "depth": 2})
    run_with(tmp_path, name="two", limit=10, model={"scale": 1, "depth": 2})
    run_with(tmp_path, name="two", limit=3, model={"scale": 1, "depth": 2})

    def causes(a, b):
        why = vault.compare(a, b, measure="right").why()
        return set(zip(why["what"], why["name"], why["evidence"], strict=True))

    with tv.connect(tmp_path / "v", mode="r") as vault:
        upstream = vault.differences("fit#1", "fit#2")
        assert upstream[["name", "a", "b", "ruled_out"]].to_numpy().tolist() == [
            ["train.py: CONFIG['name']", "'one'", "'two'", True]
        ]
        alone = "the only one that is not ruled out"
        assert causes("fit#2", "fit#3") == {("code", "train.py: CONFIG['model']['scale']", alone)}
        assert causes("fit#4", "fit#5") == {
            ("parameter", "limit", "the only difference"),
            ("code", "train.py: CONFIG['limit']", "the same change as parameter limit"),
        }


def test_a_message_makes_a_version_of_equal_rows_and_rules_out_what_differs(tmp_path):
    """Each of the two runs made the rows of the other."""
    run_with(tmp_path, "first", name="one", limit=10, model={"scale": 1})
    run_with(tmp_path, "second", name="two", limit=10, model={"scale": 1})
    with tv.connect(tmp_path / "v", mode="r") as vault:
        assert vault.versions("preds")["version"].tolist() == [1, 2]
        [line] = vault.differences("preds@1", "preds@2").to_dict("records")
        assert (line["ruled_out"], line["evidence"]) == (True, "fit#1 had a and made the rows of b")


@pytest.mark.parametrize(
    ("a", "b", "names"),
    [
        ("C = {'x': 1, 'y': 2}", "C = {'x': 2, 'y': 1}", ["C['x']", "C['y']"]),
        ("C = {'x': 1, 'y': 2}", "C = {'y': 2, 'x': 1}", ["C"]),  # the order may count
        ("C = {'x': 1, 'y': 2}", "C = {'x': 1, 'y': 2, 'z': 3}", ["C['z']"]),
        ("C = dict(x=1, y=dict(z=2, u=3))", "C = dict(x=1, y=dict(z=4, u=3))", ["C['y']['z']"]),
        ("C: dict = {'x': 1, 'y': 2}", "C: dict = {'x': 1, 'y': 3}", ["C['y']"]),
        ("C = {'x': 1, **{'y': 2}}", "C = {'x': 1, **{'y': 3}}", ["C"]),
        ("C = {'x': 1, 'x': 2}", "C = {'x': 1, 'x': 3}", ["C"]),
        ("C = {1: 1, 2: 2}", "C = {1: 1, 2: 3}", ["C"]),
        ("C = {'x': 1, 'y': 2}", "C = load()", ["C"]),
        ("C = D = {'x': 1, 'y': 2}", "C = D = {'x': 1, 'y': 3}", ["C, D"]),
        ("C = {}; C['m'] = {'x': 1, 'y': 2}", "C = {}; C['m'] = {'x': 1, 'y': 3}", ["C"]),
        (
            "C = {}; C['m'] = {'x': 1, 'y': 2}",
            "C = {}; C['m'] = {'x': 1, 'y': 2}; C['n'] = {'x': 1, 'y': 3}",
            ["C"],
        ),
    ],
)
def test_what_differs_in_a_dict_is_told_by_its_keys_where_nothing_else_does(a, b, names):
    one, two = (Slicer([Piece(f"{text}\nsave(C)", "t.py", 1, 0)]).of_everything() for text in (a, b))
    assert sorted(change.line[0].rpartition(": ")[2] for change in code_changes(one, two)) == names


@pytest.mark.parametrize(
    ("a", "b", "names"),
    [
        ("fit(1, 'x')", "fit(2, 'x')", {"lr"}),
        ("fit(1, [1, 2])", "fit(2, [3])", {"lr", "layers"}),
        ("fit(1, 3)", "fit(2, 4)", set()),  # 3 and 4 are of no parameter
        ("fit(1)", "fit(2, 2)", set()),
        ("fit(1)", "other(2)", set()),
        ("fit(1)", "fit(True)", set()),
        ("x = -1", "x = -2", {"low"}),
        ("x = f(1) + 1", "x = g(1) + 1", set()),
    ],
)
def test_code_is_the_same_change_as_a_parameter_only_where_nothing_else_in_it_differs(a, b, names):
    parameters = {"lr": (1, 2), "layers": ([1, 2], [3]), "low": (-1, -2)}
    assert parameters_written(ast.parse(a), ast.parse(b), parameters) == names


CHAIN = """
    import sys
    import pandas as pd
    import tablevault_pd as tv

    def chunk(docs):
        return pd.DataFrame({{"text": [text[:{size}] for text in docs["text"]]}})

    vault = tv.connect("v", session=False, create=True)
    with vault.session("cut"):
        chunk(vault.read("docs")).vault.save("chunks", inputs=["docs"])
    with vault.session("answer", params={{"k": {k}}}):
        chunks = vault.read("chunks")
        right = [len(text) > {k} for text in chunks["text"]]
        rows = pd.DataFrame({{"right": right}}, index=pd.Index([1, 2], name="id"))
        rows.vault.save("answers", inputs={above})
"""


@pytest.mark.parametrize(
    ("above", "what"),
    [("False", "read"), ("['chunks']", "input"), ("{'chunks': [[0], [1]]}", "row changed")],
    ids=["read", "list", "rows"],
)
def test_what_made_the_list_that_was_read_is_a_cause_too(tmp_path, above, what):
    """Chunks that only their run, the whole list or each row is linked to: the function that makes them is the reason."""
    with tv.connect(tmp_path / "v", session=False) as vault:
        vault.save("docs", pd.DataFrame({"text": ["alpha beta", "gamma"]}))
    for size, k in ((3, 4), (9, 4), (9, 20)):
        script(tmp_path, CHAIN.format(size=size, k=k, above=above))
    with tv.connect(tmp_path / "v", mode="r") as vault:
        why = vault.compare("answer#1", "answer#2", lists="answers", measure="right").why()
        name = "text" if what == "row changed" else "chunks"
        assert set(zip(why["what"], why["name"], why["depth"], strict=True)) == {
            (what, name, 0 if what == "read" else 1),
            ("code", "train.py: chunk", 1),
        }
        upstream = vault.differences("answers@1", "answers@2").query("what == 'code'")
        assert set(zip(upstream["name"], upstream["depth"], strict=True)) == {("train.py: chunk", 1)}
        why = vault.compare("answer#2", "answer#3", lists="answers", measure="right").why()
        assert "train.py: chunk" not in why["name"].tolist()
        assert ("parameter", "k") in set(zip(why["what"], why["name"], strict=True))


def test_what_made_a_list_that_a_run_wrote_and_read_again_is_a_cause(tmp_path):
    """In one session, and without a link: the rows depend on the function that made the chunks."""
    with tv.connect(tmp_path / "v", session=False) as vault:
        vault.save("docs", pd.DataFrame({"text": ["alpha beta", "gamma"]}))
    text = CHAIN.replace('    with vault.session("cut"):', "    if True:").replace(
        "session=False", "session='all'"
    )
    text = text.replace('with vault.session("answer", params={{"k": {k}}}):', "if True:")
    for size in (3, 9):
        script(tmp_path, text.format(size=size, k=4, above="False"))
    with tv.connect(tmp_path / "v", mode="r") as vault:
        why = vault.compare("answers@1", "answers@2", measure="right").why()
        assert set(zip(why["what"], why["name"], strict=True)) == {("code", "train.py: chunk")}
        upstream = vault.differences("answers@1", "answers@2")
        assert set(zip(upstream["what"], upstream["name"], strict=True)) == {("code", "train.py: chunk")}


def test_what_made_the_rows_that_came_and_went_is_a_cause(vault):
    """Rows of another list are above the same answer: they share no key, and both were there alone."""
    for size in (1, 2):
        with vault.session("cut", params={"size": size}):
            texts = pd.DataFrame({"text": ["a" * size, "b" * size, "c" * size]})
            vault.save("chunks", texts.set_index(pd.Index([3 * size, 3 * size + 1, 3 * size + 2], name="at")))
        with vault.session("answer"):
            rows = pd.DataFrame({"right": [size == 1]}, index=pd.Index([1], name="id"))
            vault.save("answers", rows, inputs={"chunks": [[0, 1]]})
    why = vault.compare("answers@1", "answers@2", measure="right").why().query("what != 'code'")
    assert why["what"].value_counts().to_dict() == {"row removed": 2, "row added": 2, "parameter": 1}
    [line] = why[why["what"] == "parameter"][["name", "depth", "list"]].to_numpy().tolist()
    assert line == ["size", 1, "chunks"]


def test_what_many_rows_came_from_alike_and_another_run_row_by_row_is_no_cause(vault):
    """The same articles are above the answers: of all at once, and of each that was saved alone."""
    vault.save("articles", ARTICLES)
    answers = pd.DataFrame({"right": [True, True]}, index=pd.Index([1, 2], name="id"))
    with vault.session("fit", params={"lr": 1}):
        vault.save("answers", answers, inputs=[vault.read("articles")])
    with vault.session("fit", params={"lr": 2}):
        articles = vault.read("articles")
        vault.save("answers", ~answers[:1], inputs=[articles])
        vault["answers"].append(~answers[1:], inputs=[articles])
    for a, b in (("answers@1", "answers@3"), ("answers@3", "answers@1")):
        assert told(vault.compare(a, b, measure="right").why()) == {("parameter", "lr")}


def test_rows_of_a_training_set_without_a_key_changed_in_their_place(vault):
    vault.save("test", pd.DataFrame({"x": [1, 2, 3]}))
    for label in (0, 1):
        with vault.session("fit"):
            vault.save("train", pd.DataFrame({"text": list("abcd"), "label": [0, label, label, 0]}))
            test, train = vault.read("test"), vault.read("train").iloc[[0, 1, 3]]  # not in one run
            vault.save("preds", test.assign(right=bool(label)), inputs=[tv.rows(test), train])
    why = vault.compare("preds@1", "preds@2", measure="right").why().query("what != 'code'")
    assert (
        why[["what", "name", "a", "b"]].to_numpy().tolist() == [["rows changed", "label", "1: 1", "1: 1"]] * 3
    )


def test_what_stands_above_all_flips_alike_is_one_line_for_each_flip(vault):
    """Three columns of a training set: one changed in two rows, a row came and one went; each prediction came from all of it."""
    tests = pd.DataFrame({"x": range(30)}, index=pd.Index(range(100, 130), name="id"))
    train = pd.DataFrame({"text": "t", "label": range(40)}, index=pd.Index(range(40), name="id"))
    vault.save("test", tests)
    after = train.drop(5).assign(label=lambda rows: rows["label"] + rows.index.isin([2, 3]))
    after.loc[77] = ["t", 1]
    for rows, cut in ((train, 10), (after, 20)):
        with vault.session("fit"):
            vault.save("train", vault.save("raw", rows).read())
            test, read = vault.read("test"), vault.read("train")
            vault.save("preds", test.assign(right=test["x"] < cut), inputs=[tv.rows(test), read])
    found = vault.compare("preds@1", "preds@2", measure="right")
    why = found.why()
    counted = why[why["what"].str.startswith("row")]
    lines = [
        ("rows changed", "label", "2: 2, 3", "2: 2, 3"),
        ("rows removed", "{}", "1: 5", None),
        ("rows added", "{}", None, "1: 77"),
    ]
    expected = [
        (what, name.format(above), a, b, depth, above)
        for depth, above in ((1, "train"), (2, "raw"))
        for what, name, a, b in lines
    ]
    for key in range(110, 120):
        of_flip = counted.loc[[key], ["what", "name", "a", "b", "depth", "list"]].astype(object)
        assert list(of_flip.where(of_flip.notna(), None).itertuples(index=False, name=None)) == expected
    assert set(why.value_counts(["what", "name"])[["rows changed", "rows added"]]) == {10, 20}
    assert set(counted.index) == set(range(110, 120))
    own, common = lines_up(found._known().vault(), rows_to_trace(vault["preds"]._version(), np.arange(30)))
    assert (len(own), [len(lines) for _, lines in common]) == (30, [80]), "not one for each of both"


@pytest.mark.parametrize(
    ("values", "versions"),
    [
        (
            ({1: 1, 2: 2}, {1: 1, 2: 2}, {1: 1, 2: 9}),
            (1, 2),
        ),  # a row of the first run changed, which the second made, too
        (({1: 1, 2: 2}, {1: 5, 2: 2}, {1: 5, 2: 2, 3: 3}), (2, 3)),  # one came, after one of the second
    ],
    ids=["made again", "added"],
)
def test_of_a_list_with_rows_of_several_runs_those_count_that_wrote_what_differs(vault, values, versions):
    """Run 2 and 3 have the same learning rate; run 1, of which rows are in all versions, had another one."""
    for rows, rate in zip(values, (1, 2, 2), strict=True):
        with vault.session("fit", params={"lr": rate}):
            vault.upsert("data", pd.DataFrame({"id": list(rows), "x": list(rows.values())}), key="id")
            read = vault.read("data")
            vault.save("preds", read.assign(pred=read["x"] * rate))
    a, b = versions
    for list_name, above in (("data", set()), ("preds", {"data"})):
        one, two = (a, b) if list_name == "data" else (2, 3)
        upstream = vault.differences(f"{list_name}@{one}", f"{list_name}@{two}")
        assert {name for _, name in told(upstream[~upstream["ruled_out"]])} == above
        assert "|" not in "".join(map(str, [*upstream["a"], *upstream["b"]]))
