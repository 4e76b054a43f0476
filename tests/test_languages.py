"""Texts in other languages than English: words are stemmed by the rules of the list's own language, and asked for alike."""

from __future__ import annotations

import importlib
import sys

import pandas as pd
import pytest

import tablevault_pd as tv
from tablevault_pd.store.engine import fts, languages

snowballstemmer = pytest.importorskip("snowballstemmer", reason="the extra languages is not installed")

GERMAN = ["Die alten Häuser stehen am Fluss", "Ein Haus brannte", "Katzen schlafen gern", "house prices"]
SOME = [
    "les maisons généralement",
    "книги читателями",
    "kitaplarımız evlerinde",
    "التلاميذ والكتاب",
    "casas rápidamente",
]
ENGLISH = ["Two houses by the river", "The Haus of cats", "a cat sleeps"]


def found(vault: tv.Vault, text: str, **options: object) -> list[tuple[str, int]]:
    hits = vault.search(text, **options)
    return sorted(zip(hits["list"], hits["position"], strict=True))


@pytest.fixture
def texts(vault):
    vault.save("german", GERMAN, language="german")
    vault.save("english", ENGLISH, inputs=False)
    return vault


def test_each_list_is_asked_in_its_own_language(texts):
    assert texts["german"].language == "german"
    assert f": {len(GERMAN)} rows in german>" in repr(texts["german"])
    assert (texts["english"].language, "english>" in repr(texts["english"])) == ("english", False)
    assert found(texts, "Haus") == [("english", 1), ("german", 0), ("german", 1)]
    assert found(texts, "Häusern") == [("german", 0), ("german", 1)]  # English has no such rule
    assert found(texts, "houses") == [("english", 0), ("german", 3)]
    assert found(texts, "sleeping") == [("english", 2)]
    assert found(texts, "Katze") == [("german", 2)]
    assert found(texts, "cats", lists="english") == [("english", 1), ("english", 2)]
    assert found(texts, "haus -alte") == [("english", 1), ("german", 1)]
    assert found(texts, '"alte Häuser"') == [("german", 0)]
    assert found(texts, "katze OR house") == [("english", 0), ("german", 2), ("german", 3)]
    assert found(texts, "Katz* schlafe") == [("german", 2)]
    assert found(texts, "brennende Häuser", match="any") == [("english", 1), ("german", 0), ("german", 1)][1:]


def test_snippets_mark_the_word_as_it_stands(texts):
    assert texts.search("haus alt", lists="german", snippet=True)["snippet"].tolist() == [
        "Die [alten] [Häuser] stehen am Fluss"
    ]
    assert texts.search("schlaf*", lists="german", snippet=True)["snippet"].tolist() == [
        "Katzen [schlafen] gern"
    ]
    hits = texts.search("haus", snippet=True).set_index(["list", "position"])["snippet"]
    assert hits["german", 1] == "Ein [Haus] brannte"
    assert hits["english", 1] == "The [Haus] of cats"


def test_the_words_of_a_record_are_of_the_column_that_fits_best(vault):
    rows = pd.DataFrame({"title": ["Der Fluss", "Häuser"], "body": ["Viele Häuser", "am Fluss"], "n": [1, 2]})
    vault.save("news", rows, language="german")
    hits = vault.search("haus", lists="news").set_index("position")
    assert hits["column"].to_dict() == {0: "body", 1: "title"}
    assert len(vault.search("haus fluss", lists="news")) == 2


def test_the_language_belongs_to_the_list_and_another_one_indexes_it_anew(vault):
    frame = pd.DataFrame({"n": [1, 2], "t": ["Häuser", "Katzen"]})
    vault.save("t", frame, language="german", key="n")
    vault.append("t", {"n": 3, "t": "viele Häuser"})
    vault.upsert("t", {"n": 2, "t": "ein Haus"})
    assert found(vault, "Hauses") == [("t", 0), ("t", 1), ("t", 2)]
    assert vault.append("t", {"n": 4, "t": "Hauses"}, language="german").version == 4
    with pytest.raises(tv.SchemaMismatch, match="are in german, and language='french' is another one"):
        vault.append("t", {"n": 5, "t": "maison"}, language="french")
    now = vault.read("t")
    assert vault.save("t", now).version == 4  # the same rows in the same language
    assert vault.save("t", now, language="english").version == 5
    assert found(vault, "Hauses") == [("t", 3)]
    assert found(vault, "Hauses", lists="t@4") == [("t", 0), ("t", 1), ("t", 2), ("t", 3)]
    vault.restore("t", 4)
    assert found(vault, "Hauses") == [("t", 0), ("t", 1), ("t", 2), ("t", 3)]
    vault.erase("t", filters="n == 2")
    assert [position for _, position in found(vault, "Hauses", lists="t@4")] == [0, 2, 3]
    vault.vacuum(keep=1, dry_run=False)
    assert len(found(vault, "Hauses")) == 3


def test_a_copy_keeps_the_language(texts, tmp_path):
    tv.copy(texts, tmp_path / "copied")
    with tv.connect(tmp_path / "copied", mode="r") as copied:
        assert found(copied, "Häusern") == [("german", 0), ("german", 1)]


@pytest.mark.parametrize(
    ("language", "text", "question"),
    [
        ("french", "Les maisons étaient belles", "maison belle"),
        ("russian", "книги лежали на столах", "книга стол"),
        ("hindi", "लड़कों ने किताबें पढ़ीं", "लड़का"),
        ("arabic", "قرأ الطلاب الكتب؟ نعم", "كتب؟"),
        ("turkish", "evlerimizden geldik", "ev"),
        ("spanish", "¿corriendo? «niños» corren", "niño correr"),
    ],
)
def test_words_of_many_scripts_are_found_by_other_forms(vault, language, text, question):
    vault.save("t", [text, "something else"], language=language)
    assert found(vault, question) == [("t", 0)]
    assert "[" in vault.search(question, snippet=True)["snippet"].item()


@pytest.mark.parametrize("code", ["de", "de-DE", "germn"])
def test_a_code_or_a_slip_names_the_language_that_is_meant(folder_vault, code):
    with pytest.raises(tv.InvalidInput, match=f"not '{code}'. Did you mean 'german'"):
        folder_vault.save("t", ["Haus"], language=code)


def test_stems_are_told_apart_by_their_language_and_text_keeps_its_places():
    german, french = (languages.stems("häuser, katzen_1 x", each) for each in ("german", "french"))
    assert german == "haus\ue00b, katz\ue00b_1\ue00b x\ue00b"
    assert french != german
    text = "Zwei ﬁne Häuser!"
    indexed, sources = fts.prose_sources(text, "german")
    assert indexed == languages.stems(fts.prose(text), "german")
    assert len(sources) == len(indexed)
    assert sources == sorted(sources)
    assert text[sources[indexed.index("haus")] :].startswith("Häuser")


@pytest.mark.parametrize("language", languages.LANGUAGES)
def test_stems_of_c_are_those_of_python(language):
    """A vault may be filled where PyStemmer is installed, and searched where it is not."""
    in_c = pytest.importorskip("Stemmer", reason="PyStemmer is not installed")
    if language not in in_c.algorithms():
        pytest.skip("of another release of Snowball")
    assert type(snowballstemmer.stemmer(language)) is in_c.Stemmer
    module = importlib.import_module(f"snowballstemmer.{language}_stemmer")
    in_python = getattr(module, f"{language.title()}Stemmer")()
    words = {word for text in (*GERMAN, *ENGLISH, *SOME) for word in text.lower().split()}
    words |= {word + end for word in words for end in ("en", "es", "ing", "ami", "ları", "ами", "ements")}
    for word in sorted(words):
        assert in_c.Stemmer(language).stemWord(word) == in_python.stemWord(word), word


def test_what_is_no_language_is_refused(folder_vault, monkeypatch):
    for wrong, told in [
        ("German", "Did you mean 'german'"),
        (5, "language= is one of"),
        ("klingon", "english"),
    ]:
        with pytest.raises(tv.InvalidInput, match=told):
            folder_vault.save("t", ["text"], language=wrong)
    monkeypatch.setitem(sys.modules, "snowballstemmer", None)
    monkeypatch.setattr(languages, "_local", type("Fresh", (), {})())
    with pytest.raises(tv.MissingDependency, match=r"tablevault-pd\[languages\]"):
        folder_vault.save("t", ["text"], language="dutch")
    folder_vault.save("t", ["text"], language="english")
    assert "t" in folder_vault
