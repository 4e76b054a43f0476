"""The command line: what it prints for people and for machines, what it exits with, what it leaves alone."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import tablevault_pd as tv
from tablevault_pd.cli import commands, wording
from tablevault_pd.cli.command_list import COMMANDS
from tablevault_pd.cli.commands import main, parser
from tablevault_pd.cli.output import display_width, pad_or_cut, plain, table
from tablevault_pd.display import printable

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A vault of a few lists, closed again, and named by TABLEVAULT_URL."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("COLUMNS", raising=False)
    folder = tmp_path / "runs.vault"
    monkeypatch.setenv("TABLEVAULT_URL", str(folder))
    with tv.connect(folder, session="train") as vault:
        frame = pd.DataFrame({"step": range(30), "loss": [1 / (step + 1) for step in range(30)]})
        vault.save("losses", frame.head(10), description="loss by step", tags=["dev"])
        vault.append("losses", frame.tail(20))
        vault.save("words", pd.DataFrame({"word": ["cat", None], "vec": [[1.0, 0.5], [0.0, 1.0]]}))
    return folder


@pytest.fixture
def run(place, capsys):
    """Run one command; gives exit code, standard output and standard error."""

    def call(*arguments: str) -> tuple[int, str, str]:
        code = main(list(arguments))
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return call


def objects(output: str) -> list[dict]:
    return json.loads(output)


# -- each command


def test_lists_names_every_list_and_what_it_holds(run):
    code, out, err = run("lists")
    lines = out.splitlines()
    assert (code, err) == (0, "")
    assert lines[0].split()[:3] == ["name", "version", "kinds"]
    assert [line.split()[0] for line in lines[1:]] == ["losses", "words"]
    assert "record, embedding" in lines[2]
    assert "loss by step" in lines[1]


def test_lists_as_json_has_all_settled_columns(run):
    found = objects(run("lists", "--json")[1])
    assert [(each["name"], each["rows"], each["version"]) for each in found] == [
        ("losses", 30, 2),
        ("words", 2, 1),
    ]
    assert list(found[0]) == [
        "name", "version", "kinds", "rows", "columns", "bytes", "created", "updated", "session", "deleted", "description", "tags",
    ]  # fmt: skip
    assert found[0]["columns"] == ["step", "loss"]
    assert found[0]["tags"] == ["dev"]
    assert found[0]["deleted"] is False


def test_show_prints_the_first_rows_and_says_how_many_there_are(run):
    _, out, _ = run("show", "losses")
    lines = out.splitlines()
    assert lines[0].split() == ["position", "step", "loss"]
    assert [int(line.split()[1]) for line in lines[1:-1]] == list(range(20))
    assert lines[-1].startswith("20 of 30 rows")


@pytest.mark.parametrize(
    ("rows", "steps"), [("2", [0, 1]), ("-2", [28, 29]), ("0", list(range(30))), ("99", list(range(30)))]
)
def test_show_prints_as_many_rows_as_asked(run, rows, steps):
    assert [each["step"] for each in objects(run("show", "losses", "-n", rows, "--json")[1])] == steps


def test_show_reads_an_earlier_version(run):
    assert len(objects(run("show", "losses@1", "--json")[1])) == 10


def test_show_gives_machines_every_row_of_a_long_list(run, place):
    with tv.connect(place) as vault:
        vault.save("long", pd.DataFrame({"n": np.arange(120_001)}))
    rows = list(csv.reader(io.StringIO(run("show", "long", "--csv")[1])))
    assert rows[0] == ["position", "n"]
    assert [int(row[1]) for row in rows[1:]] == list(range(120_001))


def test_show_takes_some_columns_and_some_rows(run):
    _, out, _ = run("show", "losses", "--filters", "step >= 3 and step < 5", "-c", "loss", "step", "--json")
    assert objects(out) == [{"position": 3, "loss": 0.25, "step": 3}, {"position": 4, "loss": 0.2, "step": 4}]
    assert (
        run("show", "losses", "-n1", "--csv", "--columns", "loss,step")[1] == "position,loss,step\n0,1.0,0\n"
    )


def test_show_finds_columns_that_are_not_text_or_have_commas(run, place):
    with tv.connect(place) as vault:
        vault.save("odd", pd.DataFrame([[1, 2, 3]], columns=[7, "a,b", "c"]))
    assert objects(run("show", "odd", "-c", "a,b", "7", "--json")[1]) == [{"position": 0, "a,b": 2, "7": 1}]


def test_versions_of_one_list_and_of_all(run):
    found = objects(run("versions", "losses", "--json")[1])
    assert [(each["version"], each["operation"], each["total"]) for each in found] == [
        (1, "save", 10),
        (2, "append", 30),
    ]
    assert len(objects(run("versions", "--json")[1])) == 3


def test_sessions_and_the_code_of_one(tmp_path, run):
    script = tmp_path / "train.py"
    source = "import tablevault_pd as tv\n\ntv.connect().save('made', {'x': 1})\n"
    script.write_text(source)
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, script], check=True, env=environment)
    names = [each["session"] for each in objects(run("sessions", "--json")[1])]
    assert names == ["train#1", "train#2"]
    assert run("code", "train")[1] == source
    assert run("code", "train", "-n", "1")[1] == source.splitlines(keepends=True)[0]
    assert run("code", "train", "-n", "-1")[1] == source.splitlines(keepends=True)[-1]
    assert "code --whole made" in run("code", "made")[2]
    whole = run("code", "--whole", "made")[1]
    assert whole.splitlines()[0] == "# train.py"
    assert "made" in whole
    assert [each["path"] for each in objects(run("code", "train#2", "--whole", "--json")[1])] == [
        "train.py"
    ] * 2
    assert run("code-diff", "train#2", "made")[1].strip() == "The code is the same."
    script.write_text(source.replace("'x': 1", "'x': 2"))
    subprocess.run([sys.executable, script], check=True, env=environment)
    diff = run("code-diff", "made@1", "made@2")[1]
    assert "-tv.connect().save('made', {'x': 1})" in diff.splitlines()
    assert run("stale")[1].strip() == "Nothing is out of date."
    assert objects(run("stale", "made", "--json")[1]) == []


def test_check_of_a_sound_vault(run):
    assert run("check") == (0, "All is sound.\n", "")
    assert run("check", "--json") == (0, "[]\n", "")


def test_check_exits_with_1_when_a_segment_is_damaged(run, place):
    with tv.connect(place) as vault:
        vault.save("big", pd.DataFrame({"n": np.arange(100_000)}))
    (segment,) = place.glob("segments/**/*.arrow")
    data = bytearray(segment.read_bytes())
    data[len(data) // 2] ^= 1
    segment.write_bytes(data)
    code, out, _ = run("check")
    assert code == 1
    assert "damage" in out
    assert "big" in out
    assert run("check", "--json")[0] == 1
    assert run("show", "losses")[0] == 0  # the rest stays readable


def test_check_fix_removes_strays_and_only_then(run, place):
    stray = place / "segments" / f"{'0' * 32}.arrow"
    stray.write_bytes(b"left behind by a crash")
    code, out, _ = run("check")
    assert code == 0
    assert "1 stray" in out
    assert stray.exists()
    assert run("check", "--fix")[0] == 0
    assert not stray.exists()
    assert run("check")[1] == "All is sound.\n"


def test_check_tells_what_could_not_be_checked(run, place, tmp_path, monkeypatch):
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    (folder / "notes.txt").write_text("hello", encoding="utf-8")
    with tv.connect(place) as vault, monkeypatch.context() as here:
        here.chdir(folder)
        vault.save("notes", pd.DataFrame({"path": ["notes.txt"]}), files="path")
    folder.rename(tmp_path / "gone")
    code, out, _ = run("check")
    assert code == 0
    assert "0 damaged, 0 stray, 1 not checked." in out


def test_vacuum_frees_nothing_before_yes(run, place):
    with tv.connect(place) as vault:
        vault.save("losses", {"step": 0, "loss": 0.0})
    _, out, _ = run("vacuum")
    assert "nothing was removed" in out
    assert run("show", "losses@1", "-n1")[0] == 0
    assert run("vacuum", "--keep", "3", "--yes")[1] == "There is nothing to free.\n"
    assert "freed" in run("vacuum", "--yes")[1]
    assert run("show", "losses@1", "-n1")[0] == 1
    assert run("show", "losses")[1].endswith("1 row.\n")


def test_vacuum_frees_deleted_lists_only_when_asked(run, place):
    run("delete", "losses", "--message", "wrong labels")
    assert run("vacuum", "--yes")[1] == "There is nothing to free.\n"
    assert "would go as a whole: losses." in run("vacuum", "--deleted")[1]
    assert run("restore", "losses@1", "--message", "they were right")[0] == 0
    with tv.connect(place) as vault:
        assert vault.versions("losses")["message"].tolist()[-2:] == ["wrong labels", "they were right"]
    run("delete", "losses")
    assert "went as a whole: losses." in run("vacuum", "--deleted", "--yes")[1]
    assert run("restore", "losses@1")[0] == 1


def test_compact_keeps_rows_and_versions(run, place):
    with tv.connect(place) as vault:
        for n in range(20):
            vault.append("many", {"n": n})
    (done,) = objects(run("compact", "many", "--json")[1])
    assert done["list"] == "many"
    assert done["parts_after"] < done["parts_before"]
    assert [each["n"] for each in objects(run("show", "many@7", "--json")[1])] == list(range(7))


def test_export_writes_files_that_pandas_reads(run, tmp_path):
    found = objects(run("export", "out", "--format", "csv", "--json")[1])
    files = {each["list"]: each["file"] for each in found}
    assert set(files) == {"losses", "words"}
    assert pd.read_csv(tmp_path / "out" / files["losses"])["step"].tolist() == list(range(30))


def test_a_list_and_a_vault_are_moved(run, tmp_path):
    assert run("export", "x.csv", "--list", "losses@1", "-c", "step", "--filters", "step > 7")[0] == 0
    assert (tmp_path / "x.csv").read_text() == "step\n8\n9\n"
    assert run("export", "out", "--filters", "step > 7")[0] == 2
    assert "verified" in run("backup", "copy.vault")[1]
    assert [
        each["versions"] for each in objects(run("copy", "part.vault", "--lists", "words", "--json")[1])
    ] == [1]
    code, out, _ = run("merge", "runs.vault", "--vault", "part.vault", "--json")
    assert (code, {each["copied_to"]: each["versions"] for each in objects(out)}) == (
        0,
        {"losses": 2, "words": 0},
    )
    assert run("merge", "runs.vault", "part.vault", "--vault", "new.vault")[0] == 0  # which was not there
    assert "words" in run("lists", "--vault", "new.vault")[1]


def test_a_vault_in_the_place_of_words_or_of_a_list_is_told_how_it_is_named(run, place, monkeypatch):
    code, out, error = run("lists", "runs.vault")
    assert (code, out) == (2, "")
    assert (
        "runs.vault is a vault, and TEXT are words of a description. A vault is named by --vault runs.vault"
        in error
    )
    assert "runs.vault is a vault. A vault is named by --vault runs.vault" in run("show", "runs.vault")[2]
    monkeypatch.delenv("TABLEVAULT_URL")
    assert "--vault runs.vault" in run("versions", "runs.vault")[2]  # ./vault is not there
    assert "losses" in run("lists", "--vault", "runs.vault")[1]


def test_characters_of_a_document_are_shown(run, place):
    with tv.connect(place) as vault:
        vault.save("novel", pd.DataFrame({"chunk": ["It was late. ", "She left."]}), documents="chunk")
    shown = objects(run("show", "novel", "--chars", "7", "16", "--json")[1])
    assert [row["char_text"] for row in shown] == ["late. ", "She"]
    assert len(objects(run("show", "novel", "--chars", "7", "16", "-n", "1", "--json")[1])) == 1
    assert "beyond the end" in run("show", "novel", "--chars", "7", "99")[2]


def test_what_is_to_be_moved_and_is_not_there_is_named(run, tmp_path):
    for command in (
        ["merge", "none.vault", "--vault", "new.vault"],
        ["copy", "new.vault", "--vault", "none.vault"],
    ):
        code, _, err = run(*command)
        assert code == 1
        assert "There is no vault at" in err
        assert "none.vault" in err
        assert "mode=" not in err
    code, _, err = run("import", "trackio", "none", "--vault", "new.vault")
    assert code == 2
    assert "none" in err
    with pytest.raises(SystemExit):
        run("import", "paper", "none")
    assert not (tmp_path / "none.vault").exists()


def test_delete_hides_and_restore_brings_back(run):
    assert run("delete", "words")[0] == 0
    assert run("show", "words")[0] == 1
    assert [each["name"] for each in objects(run("lists", "--json")[1])] == ["losses"]
    assert [each["name"] for each in objects(run("lists", "--deleted", "--json")[1])] == ["losses", "words"]
    code, _, err = run("restore", "words")
    assert code == 2
    assert "restore words@1" in err
    assert run("restore", "words@1")[0] == 0
    assert len(objects(run("show", "words", "--json")[1])) == 2
    assert run("restore", "losses", "1")[0] == 0
    assert len(objects(run("show", "losses", "--json")[1])) == 10


def test_rows_by_key_are_followed_and_left_out(run, place):
    with tv.connect(place, session=False) as vault:
        rows = pd.DataFrame({"doc": ["a", "b"], "n": [1, 2], "done": [True, False], "text": ["x", "y"]})
        vault.save("chunks", rows, key=["doc", "n", "done"])
    code, out, _ = run("delete-rows", "chunks", "--filters", "doc == 'a'", "--reason", "asked to", "--json")
    assert code == 0
    assert [objects(out)[0][name] for name in ("operation", "removed", "message")] == [
        "delete_rows",
        1,
        "asked to",
    ]
    states = objects(run("history", "chunks", "a", "1", "true", "--json")[1])
    assert [(each["version"], each["text"]) for each in states] == [(1, "x"), (2, None)]
    assert "1 row left out; chunks@2 still has them" in "".join(
        map(str, run("delete-rows", "chunks", "--rows", "0"))
    )
    assert "nothing was changed" in "".join(map(str, run("delete-rows", "chunks", "--filters", "doc == 'a'")))
    for arguments in (
        ("chunks", "a"),
        ("chunks", "a", "one", "true"),
        ("chunks", "a", "1", "yes"),
        ("words", "a"),
    ):
        assert run("history", *arguments)[0] == 2
    assert run("delete-rows", "chunks")[0] == 2


def test_rows_are_erased_with_a_yes(run, place):
    with tv.connect(place, session=False) as vault:
        vault.save("people", pd.DataFrame({"name": ["Ann", "Bo"]}))
    code, _, told = run("erase", "people", "--rows", "0")
    assert (code, "1 row of 1 version of 'people'" in told) == (2, True)
    with tv.connect(place, mode="r") as vault:
        assert "tablevault-pd" not in set(vault.sessions()["name"])  # a refusal is no failed run
    code, out, _ = run(
        "erase", "people", "--filters", "name == 'Ann'", "--reason", "asked to", "--yes", "--json"
    )
    assert code == 0
    # Whether this command is code that was captured depends on how pytest was started.
    assert [each["what"] for each in objects(out) if each["what"] != "code"] == ["rows", "backups"]
    with tv.connect(place, session=False) as vault:
        assert vault.read("people@1")["name"].tolist() == ["Bo"]
        assert vault.versions("people")["message"].tolist()[1] == "asked to"
    assert "nothing was changed" in "".join(
        map(str, run("erase", "people", "--filters", "name == 'Ann'", "--yes"))
    )


# -- what they have in common


@pytest.mark.parametrize(
    "arguments",
    [
        ("lists",),
        ("show", "losses"),
        ("versions",),
        ("sessions",),
        ("check",),
        ("vacuum",),
        ("export", "out"),
    ],
)
def test_commands_that_read_open_no_session(run, arguments):
    before = objects(run("sessions", "--json")[1])
    assert run(*arguments)[0] == 0
    assert objects(run("sessions", "--json")[1]) == before


def test_commands_that_make_versions_open_one_and_those_that_look_after_a_vault_do_not(run):
    for arguments in (
        ("check", "--fix"),
        ("vacuum", "--yes"),
        ("compact",),
        ("stop", "train"),
        ("pause", "*"),
    ):
        assert run(*arguments)[0] == 0
    assert [each["name"] for each in objects(run("sessions", "--json")[1])] == ["train"]
    run("delete", "words")
    assert [each["name"] for each in objects(run("sessions", "--json")[1])] == ["train", "tablevault-pd"]


@pytest.mark.parametrize(
    ("arguments", "said", "exit_code"),
    [
        (("show", "lossses"), "Did you mean 'losses'", 1),
        (("show", "losses@9"), "no version 9", 1),
        (("show", "losses", "-c", "los"), "no column 'los'", 2),
        (("show", "losses", "--filters", "nothing > 1"), "nothing", 2),
        (("show", "losses", "--filters", ""), "empty", 2),
        (("code", "trian"), "Did you mean 'train'", 1),
        (("code", "train#9"), "no run 9", 1),
        (("versions", "a@b@c"), "'@'", 2),
        (("vacuum", "--keep", "0"), "--keep", 2),
        (("export", "."), "not an empty folder", 2),
        (("--vault", "elsewhere", "lists"), "elsewhere. Name a vault with --vault PLACE", 1),
        (("--vault", "elsewhere", "delete", "words"), "no vault", 1),
        (("sessions", "trian"), "Did you mean 'train'", 1),
        (("sessions", "--parent", "trian"), "Did you mean 'train'", 1),
        (("sessions", "--since", "soon"), "--since", 2),
        (("sessions", "--until", "NaT"), "--until", 2),
        (("sessions", "--tag", " "), "blank", 2),
        (("sessions", "--filters", "metrics.acc >"), "metrics.acc >", 2),
        (("sessions", "--filters", "params.nothing > 1"), "nothing", 2),
        (("search", "a", "--kind", "table"), "--kind", 2),
        (("search", "a", "--session", "trian"), "Did you mean 'train'", 1),
        (("search", "a", "--since", "soon"), "--since", 2),
        (("search", "a", "-k", "-1"), "--limit", 2),
        (("search", "a", "-k", str(10**30)), "--limit is a whole number", 2),
        (("search", "--near", "[1, "), "JSON", 2),
        (("search",), "what to search for", 2),
        (("lineage", "losses", "99"), "99", 2),
        (("lineage", "losses", "--depth", "0"), "--depth", 2),
        (("stop", "trian"), "Did you mean 'train'", 1),
        (("stop", "train", "--wait", "nan"), "--wait", 2),
        (("pause", "train", "--wait", "-1"), "--wait", 2),
        (("stop", "train", "--exit-code", "256"), "--exit-code", 2),
        (("restore", "losses", "0"), "VERSION is a whole number", 2),
    ],
)
def test_an_error_is_one_message_and_an_exit_code(run, tmp_path, arguments, said, exit_code):
    code, out, err = run(*arguments)
    assert (code, out) == (exit_code, "")
    assert err.startswith("tablevault-pd: ")
    assert said in err
    assert "Traceback" not in err
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize(
    "arguments", [(), ("nonsense",), ("show",), ("lists", "--json", "--csv"), ("show", "losses", "-n", "x")]
)
def test_arguments_that_make_no_sense_exit_with_2(run, arguments):
    with pytest.raises(SystemExit) as exit_:
        run(*arguments)
    assert exit_.value.code == 2


@pytest.mark.parametrize(
    ("word", "said"),
    [
        (
            "shwo",
            "There is no command 'shwo'. Did you mean 'show'? tablevault-pd --help lists all commands.",
        ),
        ("ls", "Did you mean 'lists'?"),
        ("run", "Did you mean 'sessions'?"),
        ("it's", 'There is no command "it\'s". tablevault-pd --help'),
        ("\x1b[2Jlits", r"There is no command '\x1b[2Jlits'. tablevault"),
        (None, "Say what to do. tablevault-pd --help lists all commands."),
    ],
)
def test_an_unknown_command_says_which_may_be_meant(run, capsys, word, said):
    with pytest.raises(SystemExit) as left:
        run(*[word] if word else [])
    assert left.value.code == 2
    printed = capsys.readouterr().err
    assert said in printed
    assert printed.count("\n") == 1


def test_an_unknown_option_says_which_may_be_meant_and_how_its_command_is_called(run, capsys):
    with pytest.raises(SystemExit):
        run("versions", "losses", "--sesion=train")
    printed = capsys.readouterr().err
    assert printed.startswith("usage: tablevault-pd versions ")
    assert "--sesion=train. Did you mean '--session'" in printed


def test_a_choice_that_is_missing_is_named_by_what_it_may_be(run, capsys):
    with pytest.raises(SystemExit):
        run("best", "acc")
    assert "required: min|max" in capsys.readouterr().err


@pytest.mark.parametrize(("command", "needed"), [("lineage", "name"), ("tag", "WHICH"), ("compare", "A, B")])
def test_what_may_be_left_out_is_not_asked_for(run, capsys, command, needed):
    with pytest.raises(SystemExit):
        run(command)
    assert f"the following arguments are required: {needed}\n" in capsys.readouterr().err


def test_a_word_too_many_says_how_a_vault_is_named(run, capsys):
    with pytest.raises(SystemExit):
        run("indexes", "exp.vault")
    assert "unrecognized arguments: exp.vault. A vault is named by --vault PLACE." in capsys.readouterr().err


def test_an_option_that_is_not_there_leads_to_the_help_of_its_command(run, capsys):
    with pytest.raises(SystemExit):
        run("lineage", "words", "--positions", "0")
    printed = capsys.readouterr().err
    assert "arguments: --positions 0. tablevault-pd lineage --help tells what it takes." in printed
    assert "--vault PLACE." not in printed


@pytest.mark.parametrize(
    ("command", "columns"),
    [
        ("search", ["step,loss"]),
        ("search", ["step", "-c", "loss"]),
        ("search", ["step", "loss"]),
        ("sessions", ["run,session"]),
        ("sessions", ["run", "session"]),
    ],
)
def test_columns_are_separated_by_commas_or_said_one_by_one(run, command, columns):
    only = ["--lists", "losses", "-k", "1"] if command == "search" else []
    row = objects(run(command, *only, "--json", "-c", *columns)[1])[0]
    assert set(",".join(columns).replace("-c,", "").split(",")) <= set(row)


def test_lineage_shows_columns_of_the_parents(run, place):
    with tv.connect(place, session=False) as vault:
        vault.save("best", {"n": 1}, inputs={"losses": [2]})
    row = objects(run("lineage", "best", "0", "--json", "-c", "step,loss")[1])[0]
    assert (row["parent_position"], row["step"], row["loss"]) == (2, 2, 1 / 3)


def test_files_names_what_columns_of_files_hold(run, place, tmp_path):
    assert run("files")[:2] == (0, "No column names files.\n")
    (tmp_path / "notes.txt").write_text("hello")
    with tv.connect(place, session=False) as vault:
        vault.save("inputs", {"path": "notes.txt"}, files="path", copy=True)
    for name in ([], ["inputs"], ["inputs@1"]):
        [row] = objects(run("files", *name, "--json")[1])
        assert (row["list"], row["path"], row["size_bytes"], row["stored"]) == (
            "inputs",
            "notes.txt",
            5,
            True,
        )
    assert run("files", "inptus")[0] == 1


def test_a_column_with_a_comma_in_its_name_is_one_column(run, place):
    with tv.connect(place, session=False) as vault:
        vault.save("odd", {"a,b": 7, "a": 1})
    assert objects(run("search", "--lists", "odd", "--json", "-c", "a,b")[1])[0]["a,b"] == 7


def test_all_lists_are_not_written_under_the_name_of_a_file(run, tmp_path):
    code, _, err = run("export", "all.CSV")
    assert (code, (tmp_path / "all.CSV").exists()) == (2, False)
    assert "all lists are written to a folder. --list NAME writes one list to a file." in err


def test_options_may_stand_before_or_after_the_command(run, place, monkeypatch):
    monkeypatch.delenv("TABLEVAULT_URL")
    outputs = {
        run("--vault", str(place), "--json", "lists")[1],
        run("lists", "--json", "--vault", str(place))[1],
        run("--json", "lists", "--vault", str(place))[1],
    }
    assert len(outputs) == 1
    assert len(objects(outputs.pop())) == 2


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_every_command_has_help(command, capsys):
    with pytest.raises(SystemExit) as exit_:
        main([command.name, "--help"])
    assert exit_.value.code == 0
    assert command.help[1:] in " ".join(capsys.readouterr().out.split())


def test_the_module_runs_and_stops_quietly_when_the_pipe_closes(place):
    with tv.connect(place) as vault:
        vault.save("long", pd.DataFrame({"n": np.arange(200_000)}))
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "tablevault_pd", "show", "long", "--csv"]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stderr is not None
    assert [process.stdout.readline() for _ in range(2)] == [b"position,n\n", b"0,0\n"]
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait(60) == 141


# -- how values are printed


def test_machines_get_every_kind_of_value(run, place):
    frame = pd.DataFrame(
        {
            "float": [1.5, np.nan, np.inf],
            "whole": pd.array([2**60, None, -1], "Int64"),
            "flag": [True, False, True],
            "time": pd.DatetimeIndex(
                ["2026-01-02T03:04:05.000006", None, "1999-12-31T00:00:00.000001"]
            ).as_unit("us"),
            "nested": [{"a": [1, None]}, None, {"b": "é"}],
            "bytes": [b"\x00\xff", None, b""],
            "text": ["a\nb", None, "\x1b[31m"],
        }
    )
    with tv.connect(place) as vault:
        vault.save("kinds", frame)
    first, second, third = objects(run("show", "kinds", "--json")[1])
    assert first | {"nested": None} == {
        "position": 0, "float": 1.5, "whole": 2**60, "flag": True, "time": "2026-01-02T03:04:05.000006", "nested": None,
        "bytes": "00ff", "text": "a\nb",
    }  # fmt: skip
    assert first["nested"] == {"a": [1, None]}
    assert {name for name, value in second.items() if value is None} == {
        "float",
        "whole",
        "time",
        "nested",
        "bytes",
        "text",
    }
    assert (third["float"], third["text"], third["nested"]) == ("Infinity", "\x1b[31m", {"b": "é"})
    rows = list(csv.DictReader(io.StringIO(run("show", "kinds", "--csv")[1])))
    assert rows[0]["nested"] == '{"a": [1, null]}'
    assert rows[0]["flag"] == "true"
    assert rows[1]["whole"] == ""


def test_a_table_moves_no_cursor(run, place):
    with tv.connect(place) as vault:
        vault.save(
            "nasty", pd.DataFrame({"text": ["\x1b[2Jgone", "a\nb\tc", "\u202eabc"], "x\x1b": [1, 2, 3]})
        )
    out = run("show", "nasty")[1]
    assert out.replace("\n", "").isprintable()
    assert len(out.splitlines()) == 5
    assert "\\x1b[2Jgone" in out
    assert "a\\nb\\tc" in out


def test_an_index_of_its_own_and_levels_of_columns_are_shown(run, place):
    columns = pd.MultiIndex.from_tuples([("a", "x"), ("a", "y")])
    index = pd.MultiIndex.from_tuples([("k", 1), ("l", 2)], names=["key", None])
    with tv.connect(place) as vault:
        vault.save("multi", pd.DataFrame([[1, 2], [3, 4]], index=index, columns=columns))
    assert objects(run("show", "multi", "--json")[1])[1] == {"key": "l", "index_1": 2, "a.x": 3, "a.y": 4}
    assert run("show", "multi")[1].splitlines()[0].split() == ["key", "index_1", "a.x", "a.y"]


def test_no_value_hides_another_of_the_same_name(run, place):
    with tv.connect(place) as vault:
        frame = pd.DataFrame([[1, 2, 3, 4]], columns=[1, "1", "a", "1 (int)"], index=pd.Index([9], name="a"))
        vault.save("same", frame.assign(d=[{"k": 1}]))
    found = {"a (index)": 9, "1 (int 2)": 1, "1": 2, "a": 3, "1 (int)": 4, "d": {"k": 1}}
    assert objects(run("show", "same", "--json")[1]) == [found]
    assert next(csv.reader(io.StringIO(run("show", "same", "--csv")[1]))) == list(found)
    assert plain({1: "a", "1": "b", 2: "c"}) == {"1 (int)": "a", "1": "b", "2": "c"}


def test_times_are_marked_as_utc(run):
    row = run("versions", "words")[1].splitlines()[1]
    assert re.search(r"\d\d:\d\d:\d\dZ\b", row)
    assert objects(run("versions", "words", "--json")[1])[0]["time"].endswith("+00:00")


def test_a_warning_is_one_line(run):
    code, out, err = run("search", "--filters", "nothing > 1", "--kind", "record")
    assert (code, out) == (0, "Nothing was found.\n")
    assert err.startswith("tablevault-pd: warning: ")
    assert ".py" not in err


def test_an_empty_list_still_shows_its_columns(run, place):
    with tv.connect(place) as vault:
        vault.save("empty", pd.DataFrame({"a": pd.Series([], dtype="int64")}))
    assert run("show", "empty")[1].splitlines() == ["position  a", "0 rows."]
    assert run("show", "empty", "--json")[1] == "[]\n"
    assert run("show", "empty", "--csv")[1] == "position,a\n"


def test_a_table_fits_the_terminal_and_never_cuts_a_number():
    columns: dict[str, pd.Series] = {
        "name": pd.Series(["a rather long name of a list", "日本語のリストの名前はこちら"]),
        "number": pd.Series([123456789012345678, -1]),
        "text": pd.Series(["lorem ipsum " * 20, "é" * 50]),
        "other": pd.Series([0.5, np.nan]),
    }
    columns["session"] = pd.Series(["evaluate-prompts#12", "evaluate-prompts#9"])
    for width in (40, 60, 80, 200):
        lines = list(table(list(columns), list(columns.values()), width))
        assert max(map(display_width, lines)) <= width
        assert "123456789012345678" in "\n".join(lines)
        assert ("evaluate-prompts#12" in "\n".join(lines)) == (width > 40)  # a name is typed again


@pytest.mark.parametrize(
    ("text", "width", "expected"),
    [
        ("abc", 5, "abc  "),
        ("abcdef", 4, "abc…"),
        ("日本語", 6, "日本語"),
        ("日本語", 5, "日本…"),
        ("日本語", 4, "日… "),
    ],
)
def test_text_is_cut_to_the_cells_it_may_take(text, width, expected):
    assert pad_or_cut(text, width, right=False) == expected


def test_what_does_not_print_is_escaped():
    assert printable("plain – ü") == "plain – ü"
    assert printable("\x07\u200b\\") == "\\x07\\u200b\\"


def test_plain_values_are_json():
    values = [
        np.float32(0.5),
        np.int8(3),
        np.array([[1, 2]]),
        {1: pd.NaT},
        pd.Timedelta("1h"),
        (1,),
        float("-inf"),
        pd.NA,
    ]
    assert json.loads(json.dumps([plain(value) for value in values])) == [
        0.5, 3, [[1, 2]], {"1": None}, "0 days 01:00:00", [1], "-Infinity", None,
    ]  # fmt: skip


def test_the_commands_of_search_lineage_and_control(folder_vault, capsys):
    folder_vault.save(
        "news", pd.DataFrame({"title": ["Storm at sea", "Sunny day"], "vec": [[1.0, 0.0], [0.0, 1.0]]})
    )
    folder_vault.read("news").head(1).vault.save("picked")
    with folder_vault.session("sweep-1", params={"lr": 0.1}) as session:
        session.log(acc=0.95)
    place = folder_vault.place

    def run(*words: str) -> list[dict]:
        assert main(["--vault", place, "--json", *words]) == 0
        return json.loads(capsys.readouterr().out)

    assert [(row["list"], row["position"]) for row in run("search", "storms", "--lists", "news")] == [
        ("news", 0)
    ]
    assert [
        row["position"] for row in run("search", "--near", "[0.1, 0.9]", "--lists", "news", "--k", "1")
    ] == [1]
    assert main(["--vault", place, "search", "--near", "[0.1, 0.9]", "--lists", "news"]) == 0
    assert "[0, 1]" in capsys.readouterr().out  # the vector, shown in a table
    with pytest.raises(SystemExit):
        main(
            ["--vault", place, "search", "storms", "--list", "news"]
        )  # no option is guessed from its beginning
    assert "--list" in capsys.readouterr().err
    assert [row["parent_list"] for row in run("lineage", "picked")] == ["news"]
    assert [row["session"] for row in run("sessions", "--filters", "`metrics.acc` > 0.9")] == ["sweep-1#1"]
    assert [row["state"] for row in run("stop", "sweep-1")] == ["finished"]
    assert run("pause", "nobody-*") == []
    assert main(["--vault", place, "stop", "nobody"]) == 1
    assert "nobody" in capsys.readouterr().err


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_every_command_says_what_it_does_and_what_each_argument_is(command, capsys):
    with pytest.raises(SystemExit) as left:
        main([command.name, "--help"])
    assert left.value.code == 0
    text = capsys.readouterr().out
    words = " ".join(text.split())
    assert f"usage: tablevault-pd {command.name}" in text
    assert f"Example: tablevault-pd {command.example}" in words
    assert parser().parse_args(shlex.split(command.example)).command is command
    assert " ".join(command.help.split())[1:] in words
    sub = next(each for each in parser()._actions if isinstance(each.choices, dict)).choices[command.name]
    assert [each.dest for each in sub._actions if not each.help] == [], "arguments without a help text"


def test_the_readme_lists_every_command():
    table = (Path(__file__).parents[1] / "README.md").read_text()
    table = table[table.index("| command | what it does |") :].partition("\n\n")[0]
    assert [command.name for command in COMMANDS if f"`{command.name}`" not in table] == []


#: Wrong arguments of each command, whose errors come from the library.
WRONG = {
    "lists": [["--filters", "rows >"], ["--kind", "table"], ["--tag", " "]],
    "show": [["keyed@9"], ["gone"], ["moved"], ["keyed@nope"], ["keyed", "--chars", "0", "2"], ["keyed", "--filters", "n = 1"]],
    "versions": [["lossses"], ["keyed", "--session", "trian"]],
    "files": [["lossses"]],
    "claims": [["lossses"]],
    "follow": [["lossses"], ["losses", "--since", "soon", "--timeout", "0"], ["losses", "--filters", "no > 1"]],
    "release": [["losses", "--session", "trian"]],
    "sessions": [["trian"], ["--filters", "params.no > 1"], ["-c", "nothing"]],
    "metrics": [["loss"], ["--sessions", "trian"], ["--x", "nothing"], ["--agg", "most"]],
    "best": [["loss", "min"], ["loss", "min", "--smooth", "0"], ["loss", "min", "--of-rows", "lossses"]],
    "compare": [["losses@1", "losses@2", "--measure", "gold == pred"], ["losses@1", "losses@2", "--on", "nothing"], ["train", "losses"]],
    "trend": [["losses", "--measure", "gold"], ["losses", "--measure", "loss", "--by", "session"]],
    "differences": [["losses@9", "losses@1"], ["losses", "nothing"]],
    "code": [["trian"], ["--whole", "lossses"]],
    "code-diff": [["losses@1", "nothing"]],
    "git-diff": [["trian"], ["words"], ["train", "--folder", "nowhere"]],
    "stale": [["lossses"]],
    "search": [
        ["tea", "--lists", "gone"], ["--near", "[1.0]", "--lists", "words"], ["a", "-c", "nothing"], ["a", "--in", "vec"], ["--in", "word"],
        ["a", "--match", "any", "--min-score", "nan"], ["--code-in", "cell", "a"], ["--match", "any"], [" "],
    ],
    "ui": [["--port", "-1"]],
    "sql": [["SELECT * FROM lossses"], ["DELETE FROM losses"], ["SELECT $x"], ["SELECT * FROM read_csv('a.csv')"]],
    "lineage": [["losses", "99"], ["losses", "--depth", "0"], ["losses", "--to", "lossses"]],
    "stop": [["trian"], ["train", "--wait", "nan"], ["train", "--exit-code", "256"]],
    "pause": [["trian"]],
    "resume": [["trian"]],
    "check": [],
    "indexes": [],
    "vacuum": [["--keep", "0"]],
    "compact": [["lossses"]],
    "backup": [["."]],
    "copy": [["other.vault", "--lists", "lossses"]],
    "merge": [["nowhere.vault"]],
    "import": [["tensorboard", "nowhere"]],
    "export": [["."], ["a.csv", "--list", "lossses"], ["a.csv", "--list", "words@9"]],
    "delete": [["lossses"], ["gone"]],
    "restore": [["losses", "9"], ["losses", "0"], ["moved", "1"]],
    "rename": [["losses", "words"], ["losses", "a@b"]],
    "snapshot": [["paper"], ["7"]],
    "snapshots": [],
    "tag": [["losses@2", "best"], ["losses@2", "paper"], ["losses", "best", "draft"], ["train"], ["losses@9", "x"]],
    "untag": [["nothing"], ["losses@nothing"], ["losses"]],
    "history": [["losses", "1"], ["keyed", "9"], ["keyed", "x"], ["keyed", "1", "2"]],
    "delete-rows": [["losses"], ["losses", "--rows", "99"], ["losses", "--filters", "no > 1"]],
    "erase": [["losses"], ["losses", "--rows", "0"], ["losses", "--filters", "no > 1", "--yes"]],
}  # fmt: skip
PYTHON = re.compile(r"vault\.[a-z]|\(…|…\)|\b[a-z_]+=(?!=)|\b(?:read|save|tag|connect)\(")


def test_errors_speak_of_commands_and_options(run, place):
    with tv.connect(place, session=False) as vault:
        vault.upsert("keyed", {"n": 1, "word": "a"}, key="n")
        vault.save("old", {"n": 1})
        vault.rename("old", "moved to")
        vault.save("gone", {"n": 1})
        vault.delete("gone")
        vault.snapshot("paper")
        vault.tag("losses@1", "best")
    assert WRONG.keys() == {command.name for command in COMMANDS}
    for command, calls in WRONG.items():
        for words in calls:
            code, _, err = run(command, *words)
            assert code, (command, words)
            assert err.startswith("tablevault-pd: ")
            err = re.sub(r"Python's \w+ with \w+=", "", err)  # what has no command is said to be Python's
            assert PYTHON.search(re.sub(r"(?<!\w)'[^']*'", "", err)) is None, err


def test_what_python_says_is_said_in_options_and_commands():
    parsers = commands._parsers(parser())
    for said, expected in {
        "Say replace=True to move 'a=True'.": "Say --replace to move 'a=True'.",
        "vault.versions('my preds') shows which it has.": "tablevault-pd versions 'my preds' shows which it has.",
        "vault.restore('a', version) or save() starts anew": "tablevault-pd restore a VERSION or Python's save starts anew",
        "save(…, documents='text') makes one.": "Python's save with documents='text' makes one.",
        "vault.vacuum(deleted=True, dry_run=False)": "tablevault-pd vacuum --deleted --yes",
        "the session's `with vault.session(name):` and float('nan')": "the session's Python's session and float('nan')",
    }.items():
        assert wording.in_shell(said, parsers, "tag") == expected


def test_listings_have_one_option_for_their_length(run, place):
    with tv.connect(place, session=False) as vault:
        vault.read("losses").assign(half=0.5).vault.save("halves")
    for command in [
        ["show", "losses"],
        ["lineage", "halves"],
        ["lists"],
        ["versions"],
        ["search", "--filters", "step > 0"],
    ]:
        assert len(objects(run(*command, "--limit", "1", "--json")[1])) == 1
        assert len(run(*command, "-n", "1")[1].splitlines()) <= 3
    code, out, _ = run("lineage", "halves")
    assert (code, len(out.splitlines()), out.splitlines()[-1]) == (0, 22, "20 of 30 lines; -n shows more.")
    assert len(objects(run("lineage", "halves", "--json")[1])) == 30
    assert [row["position"] for row in objects(run("lineage", "halves", "-n", "-2", "--json")[1])] == [28, 29]
    assert len(run("lineage", "halves", "-n", "0")[1].splitlines()) == 31


def test_untag_answers_with_what_it_is_about(run):
    run("snapshot", "paper")
    run("tag", "losses@1", "best")
    code, out, _ = run("untag", "losses@best", "--json")
    assert code == 0
    assert [(row["list"], row["version"]) for row in objects(out)] == [("losses", 1)]


def test_names_of_versions_and_lists(run):
    code, out, _ = run("--json", "snapshot", "paper")
    assert code == 0
    assert {row["list"] for row in json.loads(out)} == {"losses", "words"}
    assert run("snapshot", "paper")[0] == 1
    assert run("snapshot", "paper", "--replace")[0] == 0
    assert run("tag", "losses@1", "best")[0] == 0
    assert run("tag", "losses@2", "best")[0] == 1
    assert run("tag", "losses@2", "best", "--replace")[0] == 0
    assert "step" in run("show", "losses@best")[1]
    assert run("restore", "losses@best")[0] == 0
    assert run("rename", "losses", "curves")[0] == 0
    code, _, err = run("show", "losses")
    assert code == 1
    assert "it is called 'curves' now" in err
    code, out, _ = run("lists", "--snapshot", "paper", "--json")
    assert sorted(row["name"] for row in json.loads(out)) == ["curves", "words"]
    code, _, err = run("delete", "words", "--snapshot", "paper")
    assert code == 2
    assert "Leave --snapshot out" in err
    assert run("lists", "--snapshot", "papre")[0] == 1
    assert json.loads(run("snapshots", "--json")[1])[0]["name"] == "paper"
    assert run("untag", "paper")[0] == run("untag", "curves@best")[0] == 0
    assert "No snapshots" in run("snapshots")[1]


@pytest.mark.parametrize("form", [(), ("--json",), ("--csv",)], ids=str)
def test_an_output_that_is_closed_is_no_error(run, monkeypatch, form):
    monkeypatch.setattr(sys, "stdout", None)  # as after `>&-`
    assert run("lists", *form) == (0, "", "")
    assert main(["show", "losses", *form]) == 0
    assert sys.stdout is None


def test_an_error_is_not_printed_as_an_answer_where_errors_are_closed(run, monkeypatch):
    monkeypatch.setattr(sys, "stderr", None)
    assert run("show", "nope") == (1, "", "")
