"""Names: exactly those the design refuses are refused, every other Unicode name works and stays a mere value."""

from __future__ import annotations

import sys
import unicodedata
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tablevault_pd as tv
from tablevault_pd.names import check_name, parse_address

ONE = pd.DataFrame({"x": [1]})
HOSTILE = [
    "../../etc/passwd", "/abs/olute", "a/b\\c:d", "..", ".", "CON", "nul.txt", "x\"; DROP TABLE batches; --", "`a`'b'", "@@coll"[2:],
    "%s", "${x}", "{0}", "SELECT", "ß", "SS", "日本語", "👩 code", "é", "a.b.c", "#1", "a#2", "*", "?", "-rf", "~", "news 3", "x" * 200,
]  # fmt: skip
REFUSED = {
    "": "empty", " a": "blank", "a ": "blank", "\ta": "blank", "a@b": "@", "news@x": "@", "a\x00b": "control", "a\nb": "control",
    "a\x85b": "control", "a\u202eb": "bidirectional", "a\u200fb": "bidirectional", "a\u200bb": "invisible", "a\ufeffb": "invisible",
    "a\ud800": "surrogate", "é" * 101: "200", "x" * 201: "200",
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_are_only_values(folder_vault, tmp_path, name):
    before = set(tmp_path.rglob("*"))
    folder_vault.save(name, ONE)
    assert folder_vault.lists()["name"].tolist() == [unicodedata.normalize("NFC", name)]
    assert folder_vault.read(name)["x"].tolist() == [1]
    assert folder_vault.read(f"{name}@1")["x"].tolist() == [1]
    assert folder_vault.versions(name)["list"].tolist() == [name]
    folder_vault.delete(name)
    folder_vault.restore(name, 1)
    inside = Path(folder_vault.place)
    assert all(inside in path.parents or path == inside for path in set(tmp_path.rglob("*")) - before)


@pytest.mark.parametrize("name", REFUSED, ids=[ascii(name[:8]) for name in REFUSED])
def test_refused_names_say_why(vault, name):
    with pytest.raises(tv.InvalidName, match=REFUSED[name]):
        vault.save(name, ONE)
    assert vault.lists().empty


@pytest.mark.parametrize("name", [3, None, b"a", Path("a"), 1.5, ("a",)])
def test_a_name_is_a_str(vault, name):
    with pytest.raises(TypeError, match="str"):
        vault.save(name, ONE)


def test_composed_and_decomposed_letters_are_one_name(vault):
    vault.save(unicodedata.normalize("NFD", "café"), ONE)
    assert vault.read(unicodedata.normalize("NFC", "café"))["x"].tolist() == [1]
    assert "cafe" not in vault


def refused_by_the_design(name: str) -> bool:
    """The rule in the design's own words, written again without the code under test."""
    bidirectional = {0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A)}
    zero_width = {0x200B, 0x200C, 0x200D, 0x2060, 0xFEFF}
    control = {"Cc", "Zl", "Zp", "Cs"}
    return (
        not name
        or "@" in name
        or name[0].isspace()
        or name[-1].isspace()
        or any(ord(c) in bidirectional | zero_width or unicodedata.category(c) in control for c in name)
        or max(len(unicodedata.normalize(form, name).encode("utf-8", "replace")) for form in ("NFC",)) > 200
        or len(name.encode("utf-8", "replace")) > 200
    )


@given(st.text(st.characters(codec=None, min_codepoint=0, max_codepoint=sys.maxunicode), max_size=80))
def test_the_rule_is_the_designs(name):
    try:
        kept = check_name(name)
    except tv.InvalidName:
        assert refused_by_the_design(name)
    else:
        assert not refused_by_the_design(name)
        assert kept == unicodedata.normalize("NFC", name)


def test_addresses():
    assert parse_address("news@3").version == 3
    assert parse_address("a.b@12").name == "a.b"
    for wrong in ("news@0", "news@-1", "news@03", "news@", "a@1@2"):
        with pytest.raises(tv.InvalidName):
            parse_address(wrong)


def test_a_name_that_hides_a_column_is_refused(vault):
    vault.save("papers", pd.DataFrame({"vec": [[1.0, 2.0]], "a.b": [1]}))
    with pytest.raises(tv.InvalidName, match=r"column 'vec' of the list 'papers'"):
        vault.save("papers.vec", ONE)
    with pytest.raises(tv.InvalidName):
        vault.append("papers.a.b", ONE)
    vault.save("papers.other", ONE)
    with pytest.raises(tv.InvalidName, match="could not be addressed"):
        vault.append("papers", pd.DataFrame({"other": [1]}))
    assert len(vault["papers"]) == 1
