"""R16: the command line of comparisons: exit codes 0, 1 and 3, and Markdown that no text breaks."""

from __future__ import annotations

import json

import pandas as pd
import pytest

from tablevault_pd.analysis.markdown import escaped, fenced, table
from tablevault_pd.cli.commands import main


@pytest.fixture
def place(folder_vault):
    rows = pd.DataFrame({"id": range(40), "gold": ["a"] * 40, "pred": ["a"] * 40, "topic": ["s", "t"] * 20})
    folder_vault.save("preds", rows)
    folder_vault.save("preds", rows.assign(pred=["x"] * 4 + ["a"] * 36))
    folder_vault.save("preds", rows.drop(columns="pred"))
    return str(folder_vault.place)


def run(place, capsys, *words):
    code = main(["--vault", place, *words])
    return code, capsys.readouterr()


COMPARE = ("compare", "preds@1", "preds@2", "--on", "id", "--measure", "gold == pred")


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ((), 0),
        (("--fail-if", "delta < -0.2"), 0),
        (("--fail-if", "delta < -0.005"), 1),
        (("--fail-if", "delta < -0.2", "--fail-if", "broken > 3"), 1),
        (("--fail-if", "broken >= 4"), 1),
        (("--fail-if", "broken > 4"), 0),
        (("--fail-if", "delta < -0.2", "--min-pairs", "41"), 3),
        (("--fail-if", "nonsense < 3"), 2),
        (("--fail-if", "delta is bad"), 2),
    ],
)
def test_r16_exit_codes(place, capsys, words, code):
    assert run(place, capsys, *COMPARE, *words)[0] == code


def test_r16_a_missing_measure_cannot_be_told(place, capsys):
    words = (
        "compare",
        "preds@1",
        "preds@3",
        "--on",
        "id",
        "--measure",
        "gold == pred",
        "--fail-if",
        "delta < 0",
    )
    code, printed = run(place, capsys, *words)
    assert code == 3
    assert "cannot tell" in printed.out
    assert "missing there" in printed.err


def test_r16_slices(place, capsys):
    words = (*COMPARE, "--by", "topic", "--fail-if", "delta < -0.15")
    assert run(place, capsys, *words)[0] == 0
    _, printed = run(place, capsys, *words, "--json")
    assert [line["slice"] for line in json.loads(printed.out)] == ["all", "topic=s", "topic=t"]
    assert run(place, capsys, *COMPARE, "--by", "topic", "--fail-if", "delta < -0.05", "--slices")[0] == 1


def test_r16_markdown_for_a_pull_request(place, capsys):
    code, printed = run(place, capsys, *COMPARE, "--fail-if", "delta < -0.005", "--markdown")
    assert code == 1
    assert printed.out.startswith("### preds&#64;2 against preds&#64;1\n")
    assert "❌ **fail**: gold == pred of" in printed.out
    assert "from 40 pairs" in printed.out  # the reason is not cut
    assert "| measure | slice |" in printed.out.replace("&#95;", "_")


def test_what_stands_behind_the_flips_is_shown_under_the_summary(folder_vault, capsys):
    rows = pd.DataFrame({"id": range(3), "text": ["good", "bad", "fine"]}).set_index("id")
    folder_vault.save("texts", rows)
    for words in (["good"], ["good", "fine"]):
        with folder_vault.session("mark", params={"words": words, "seed": 1}):
            texts = folder_vault.read("texts")
            folder_vault.save(
                "marks", texts.assign(pred=texts["text"].isin(words), right=texts["text"].isin(words))
            )
    compare = (folder_vault.place, capsys, "compare", "marks@1", "marks@2", "--measure", "right")
    _, printed = run(*compare)
    lines = [line.split() for line in printed.out.splitlines()]
    assert lines[-2:] == [
        ["flip", "what", "name", "rows", "a", "b"],
        ["fixed", "parameter", "words", "1", "good", "good,", "fine"],
    ]
    _, printed = run(*compare, "--json")
    assert len(json.loads(printed.out)) == 1  # the summary
    _, printed = run(*compare, "--why", "--json")
    [line] = json.loads(printed.out)
    assert (line["id"], line["name"], line["b"]) == (2, "words", ["good", "fine"])
    code, printed = run(folder_vault.place, capsys, "compare", "marks@1", "marks@1", "--why")
    assert (code, printed.out) == (0, "No row changed for which a reason could be looked for.\n")


def test_the_rows_that_changed(place, capsys):
    _, printed = run(place, capsys, *COMPARE, "--changed")
    assert "4 of 40 rows changed." in printed.out
    _, printed = run(place, capsys, *COMPARE, "--changed", "--json")
    assert [line["id"] for line in json.loads(printed.out)] == [0, 1, 2, 3]


@pytest.mark.parametrize("words", [("--changed", "--why"), ("--why", "--markdown")], ids="".join)
def test_one_answer_is_printed_at_a_time(place, capsys, words):
    with pytest.raises(SystemExit, match="2"):
        run(place, capsys, *COMPARE, *words)
    assert "not allowed with argument" in capsys.readouterr().err


def test_a_condition_may_be_about_one_of_several_measures(place, capsys):
    measures = ["--measure", "accuracy: gold == pred", "--measure", "length: id < 40"]
    compare = [place, capsys, "compare", "preds@1", "preds@2", "--on", "id", *measures]
    assert run(*compare, "--fail-if", "accuracy: b < 1")[0] == 1
    assert run(*compare, "--fail-if", "length: b < 1")[0] == 0


def test_trend_and_differences(place, capsys):
    _, printed = run(
        place, capsys, "trend", "preds@2", "--measure", "gold == pred", "--baseline", "1", "--json"
    )
    assert [(line["version"], line["value"]) for line in json.loads(printed.out)] == [(1, 1.0), (2, 0.9)]
    code, printed = run(place, capsys, "trend", "preds", "--measure", "accuracy: gold == pred", "--changes")
    assert code == 0
    assert printed.out.split("\n")[1].startswith("preds        2         1")
    code, printed = run(place, capsys, "trend", "preds@1", "--measure", "gold == pred", "--changes")
    assert (code, printed.out) == (0, "No version left the noise.\n")
    code, printed = run(place, capsys, "differences", "preds@1", "preds@1")
    assert (code, printed.out) == (0, "Nothing recorded differs.\n")


EVIL = [
    "a|b",
    "x\ny",
    "`rm`",
    "<script>",
    "[link](http://x)",
    "**bold**",
    "@everyone",
    "![](http://x)",
    "\\|",
    "# h",
    "$x$",
    "&amp;",
]


@pytest.mark.parametrize("text", EVIL)
def test_hostile_texts_are_escaped_in_markdown(text):
    kept = escaped(text)
    assert not set(kept) & set("|\n`<>[]*@!\\$")
    assert kept.count("#") == kept.count("&#")
    lines = table(pd.DataFrame({text: [text], "n": [1]})).split("\n")
    assert len(lines) == 3
    assert {line.count("|") for line in lines} == {3}


def test_a_fence_is_longer_than_what_it_holds():
    assert fenced("```\n````\nx").split("\n")[0] == "`````diff"
