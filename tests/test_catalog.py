"""What lists and sessions are found by: who wrote them, what they are about, what holds for their parents; and whose sessions are."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap

import pandas as pd
import pytest

import tablevault_pd as tv


@pytest.fixture
def filled(vault):
    """Two sweeps with two children each; lists described by text and vector."""
    for sweep, word, vector in [("sweep-a", "storms", [1.0, 0.0]), ("sweep-b", "cats", [0.6, 0.8])]:
        with vault.session(sweep) as boss:
            vault.save(
                f"{sweep}/rows",
                pd.DataFrame({"n": [1, 2]}),
                description=f"all about {word}",
                tags=["raw", word],
            )
            vault.describe(f"{sweep}/rows", f"{word} as a vector", vector, label="vector")
        for number in range(2):
            with vault.session(f"{sweep}-{number}", parent=boss):
                vault.append(f"{sweep}/rows", {"n": number})
    with vault.session("loner"):
        vault.save("texts", ["a storm", "a cat"], inputs=False)
        vault.describe("loner", "looks for storms in texts", [0.0, 1.0])
    return vault


def names(frame: pd.DataFrame) -> list[str]:
    return frame["name"].tolist()


# -- lists


def test_lists_are_ranked_by_the_words_of_their_descriptions(filled):
    for name, text in [
        ("x", "storms storms and more storms"),
        ("y", "one storm among very many other things that happened"),
        ("z", "sun"),
    ]:
        filled.save(name, {"a": 1}, description=text, inputs=False)
    found = filled.lists("storm")
    assert names(found)[0] == "x"
    assert names(found)[-1] == "y"
    assert sorted(names(found)) == ["sweep-a/rows", "x", "y"]
    assert (found["score"].diff().dropna() <= 0).all()
    assert names(filled.lists("storm -many")) == names(found)[:-1]
    assert names(filled.lists("su*")) == ["z"]
    assert names(filled.lists("storm", filters="rows == 1")) == ["x", "y"]
    assert filled.lists("nothing of that kind").empty
    assert list(found.columns) == [*filled.lists().columns, "score"]


def test_lists_near_a_vector_and_by_both(filled):
    near = filled.lists(near=[0.6, 0.8])
    assert names(near) == ["sweep-b/rows", "sweep-a/rows"]
    assert near["score"].round(9).tolist() == [1.0, 0.6]
    both = filled.lists("storms", near=[0.6, 0.8])
    assert sorted(names(both)) == ["sweep-a/rows", "sweep-b/rows"]
    assert both["score"].round(6).tolist() == [round(1 / 61 + 1 / 62, 6), round(1 / 61, 6)]
    with pytest.raises(tv.InvalidInput, match="one vector here"):
        filled.lists(near=[[0.6, 0.8]])


def test_lists_are_found_by_tags_kinds_and_the_columns_of_the_report(filled):
    filled.save("words", pd.DataFrame({"w": ["a"], "v": [[1.0, 2.0]]}), inputs=False)
    filled.tag("words@1", "best")
    assert names(filled.lists(tags="raw")) == ["sweep-a/rows", "sweep-b/rows"]
    assert names(filled.lists(tags=["raw", "cats"])) == ["sweep-b/rows"]
    assert names(filled.lists(tags="best")) == ["words"]
    assert names(filled.lists(kind="document")) == ["texts"]
    assert names(filled.lists(kind=["embedding", "document"])) == ["texts", "words"]
    assert names(filled.lists(filters="rows > 2 and session == 'sweep-b-1#1'")) == ["sweep-b/rows"]
    filled.delete("texts")
    assert names(filled.lists(kind="document")) == []
    assert names(filled.lists(kind="document", deleted=True)) == ["texts"]
    with pytest.raises(tv.InvalidFilter, match="In the frame of lists"):
        filled.lists(filters="size > 2")
    with pytest.raises(tv.InvalidInput, match="kind="):
        filled.lists(kind="documents")


# -- versions of sessions


def test_versions_are_those_that_the_sessions_made(filled):
    every = filled.versions("sweep-a/rows")
    assert every["session"].tolist() == ["sweep-a#1", "sweep-a-0#1", "sweep-a-1#1"]
    for session, numbers in [
        ("sweep-a", [1]),
        ("sweep-a-*", [2, 3]),
        (["sweep-a-1#1", "loner"], [3]),
        ("sweep-b-0", []),
    ]:
        expected = every[every["version"].isin(numbers)].reset_index(drop=True)
        pd.testing.assert_frame_equal(filled.versions("sweep-a/rows", session=session), expected)
        pd.testing.assert_frame_equal(filled["sweep-a/rows"].versions(session=session), expected)
    assert filled.versions(session="sweep-?-1")["list"].tolist() == ["sweep-a/rows", "sweep-b/rows"]
    assert filled.versions(session=filled.sessions("loner"))["list"].tolist() == ["texts"]
    with pytest.raises(tv.SessionNotFound, match="sweep-a"):
        filled.versions(session="sweep-c")


# -- sessions by what they wrote and by their parents


def test_sessions_are_found_by_descriptions_of_what_they_wrote_and_of_themselves(filled):
    assert names(filled.sessions(description="storm")) == ["sweep-a", "sweep-a-0", "sweep-a-1", "loner"]
    assert names(filled.sessions("sweep-*", description="cat")) == ["sweep-b", "sweep-b-0", "sweep-b-1"]
    assert names(filled.sessions(description="storm", parent="sweep-a")) == ["sweep-a-0", "sweep-a-1"]
    assert filled.sessions(description="dogs").empty
    assert filled.sessions(description="cat", columns=["name"])["name"].tolist() == [
        "sweep-b",
        "sweep-b-0",
        "sweep-b-1",
    ]


def test_sessions_near_a_vector_come_nearest_first_with_their_score(filled):
    found = filled.sessions(near=[0.0, 2.0])
    assert names(found) == ["loner", "sweep-b", "sweep-b-0", "sweep-b-1", "sweep-a", "sweep-a-0", "sweep-a-1"]
    assert found["score"].round(9).tolist() == [1.0, 0.8, 0.8, 0.8, 0.0, 0.0, 0.0]
    assert names(filled.sessions(near=[1.0, 0.0], filters="run == 1", parent="sweep-b")) == [
        "sweep-b-0",
        "sweep-b-1",
    ]
    assert list(filled.sessions("loner", near=[0.0, 1.0], columns=["name"]).columns) == ["name", "score"]
    assert filled.sessions(near=[1.0, 0.0, 0.0]).empty  # no description has a vector of that length
    with pytest.raises(tv.InvalidInput, match="one vector here"):
        filled.sessions(near=[[1.0, 0.0], [0.0, 1.0]])
    with pytest.raises(tv.InvalidInput, match="no direction"):
        filled.sessions(near=[0.0, 0.0])


@pytest.mark.ci
def test_sessions_are_found_by_the_code_and_the_name_of_their_parent(tmp_path):
    script = tmp_path / "boss.py"
    script.write_text(
        textwrap.dedent("""
        import sys
        import tablevault_pd as tv
        vault = tv.connect("v", session=sys.argv[1])
        margin_of_error = int(sys.argv[2])
        with vault.session("child", parent=vault.sessions(sys.argv[1])):
            vault.append("rows", {"n": margin_of_error})
    """)
    )
    for name, number in [("boss-1", "1"), ("boss-2", "2")]:
        subprocess.run([sys.executable, script, name, number], check=True, cwd=tmp_path, timeout=60)
    other = tmp_path / "other.py"
    other.write_text(
        textwrap.dedent("""
        import tablevault_pd as tv
        vault = tv.connect("v", session="other")
        with vault.session("orphan"):
            vault.append("rows", {"n": 3})
    """)
    )
    subprocess.run([sys.executable, other], check=True, cwd=tmp_path, timeout=60)
    with tv.connect(tmp_path / "v", session=False) as vault:
        assert names(vault.sessions(parent_code="margin_of_error", code_in="session")) == ["child", "child"]
        assert names(vault.sessions(parent_code="margin_of_error", code_in="cell", parent="boss-2*")) == [
            "child"
        ]
        assert names(vault.sessions(parent="boss-*")) == ["child", "child"]
        assert vault.sessions(parent_code="nowhere").empty
        with pytest.raises(tv.InvalidInput, match="code_in"):
            vault.sessions(code_in="cell")


# -- whose sessions are


def test_the_user_of_a_session_is_whom_connect_names_else_the_environment_else_the_system(place, monkeypatch):
    from tablevault_pd.capture.environment import user_name

    with tv.connect(place.address, session="a") as vault, vault.session("inner"):
        assert vault.sessions()["user"].tolist() == [user_name()] * 2
    monkeypatch.setenv("TABLEVAULT_USER", "grace")
    with tv.connect(place.address, session="b") as vault:
        assert vault.sessions("b")["user"].tolist() == ["grace"]
    with tv.connect(place.address, session="c", user="Ada Lovelace") as vault:
        with vault.session("inner"):
            pass
        assert vault.run("inner").user == vault.run("c").user == "Ada Lovelace"
        with pytest.raises(tv.InvalidInput, match="recorded with user='Ada Lovelace'"):
            tv.connect(place.address, session="c", user="grace")
    for wrong in ("", 5, " "):
        with pytest.raises(tv.InvalidInput, match="user="):
            tv.connect(place.address, user=wrong)


@pytest.mark.ci
def test_processes_of_a_session_have_its_user(tmp_path):
    child = "import json, tablevault_pd as tv; print(json.dumps(tv.connect('v').sessions()['user'].tolist()))"
    script = tmp_path / "boss.py"
    script.write_text(
        f"import subprocess, sys, tablevault_pd as tv\nvault = tv.connect('v', user='ada')\n"
        f"subprocess.run([sys.executable, '-c', {child!r}], check=True)\n"
    )
    done = subprocess.run(
        [sys.executable, script], check=True, cwd=tmp_path, timeout=60, capture_output=True, text=True
    )
    assert json.loads(done.stdout) == ["ada", "ada"]
