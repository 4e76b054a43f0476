"""Words are found in every script, however they are typed, and shown as they were written."""

from __future__ import annotations

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torture.harness import times

from tablevault_pd.search.query import parse_text
from tablevault_pd.search.snippets import snippets
from tablevault_pd.store.engine import fts

FOUND = {
    "ฉันชอบกินข้าว": ["กินข้าว", "ชอบ", "ข้า*"],
    "ພາສາລາວ": ["ພາສາ", "ລາວ"],
    "ខ្ញុំស្រលាញ់ភាសាខ្មែរ": ["ភាសា", "ខ្មែរ"],
    "ကျွန်တော်မြန်မာစကားပြောတယ်": ["မြန်မာ"],
    "東京都は大きい": ["京都", "大き*"],
    "𠮷野家へ行く": ["𠮷野"],  # beyond the first 65 536 characters
    "葛\U000e0100城市": ["葛城"],  # a variant of the character
    "ﾃｷｽﾄﾃﾞｰﾀ": ["テキスト", "データ", "ﾃﾞｰﾀ"],
    "Ｗｉｄｅ ＡＢＣ": ["wide", "abc", "ａｂｃ"],
    "the ﬁnance oﬃce": ["finance", "ﬁnances", "office", "ofﬁ*"],
    "my soft\u00adware": ["software", "soft\u00adware", "softw*"],
    "हिन्दी में काल": ["हिन्दी", "काल"],
    "كِتَابٌ جميل": ["كتاب", "كِتَاب", "جميل"],
    "Straße nach İstanbul": ["STRASSE", "straße", "istanbul"],
    "un e\u0301cole a\u030a": ["école", "ecole", "å"],
    "한국어 텍스트": ["국어"],
}
ABSENT = ["ขาว", "कल", "吉野", "京东", "softer"]


def test_words_of_every_script_are_found(vault):
    texts = list(FOUND)
    vault.save("t", pd.DataFrame({"text": texts}))
    for row, queries in enumerate(FOUND.values()):
        for query in queries:
            answer = vault.search(query, snippet=True)
            assert answer["position"].tolist() == [row], query
            shown = answer["snippet"][0]
            assert "[" in shown
            assert shown.replace("[", "").replace("]", "").strip("…") in texts[row]
    for query in ABSENT:
        assert vault.search(query).empty, query


QUESTIONS = {
    "中国的首都是哪里？": "北京是中国的首都。",
    "GPT-4是什么时候发布的": "GPT-4 于三月发布",
    "富士山はどこですか": "日本で一番高い山は富士山です",
    "ﾃｷｽﾄ・ﾃﾞｰﾀは?": "テキストのデータ",
    "ข้าวอยู่ที่ไหน": "ฉันชอบกินข้าว",
    "대한민국의 수도는?": "서울은 대한민국 수도",
    "猫?": "黒い猫",
}


def test_a_question_without_blanks_finds_what_shares_pairs_of_its_characters(vault):
    answers = list(QUESTIONS.values())
    vault.save("t", pd.DataFrame({"text": [*answers, "nothing of the kind"]}))
    for row, question in enumerate(QUESTIONS):
        found = vault.search(question, match="any", snippet=True)
        assert found["position"][0] == row
        assert len(answers) not in found["position"].tolist()
        assert "[" in found["snippet"][0]
    assert vault.search("中国的首都是哪里？").empty  # all words: the run as it stands
    assert vault.search('"中国的首都是哪里？"', match="any").empty
    assert 0 not in vault.search("首都有猫 -中国的", match="any")["position"].tolist()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("中国的", ["中国", "国的"]),
        ("中", ["中"]),
        ("中，国的!", ["中", "国的"]),
        ("タ・イヌ", ["タ", "イヌ"]),
        ("GPT-4在中国", ["gpt-4", "在中", "中国"]),
        ("few_shot", ["few_shot"]),
        ("𠮷野家", ["𠮷野", "野家"]),
    ],
)
def test_what_a_word_stands_for_where_any_of_its_pieces_is_enough(text, words):
    assert fts.pieces(text) == words


@pytest.mark.parametrize(
    ("query", "text", "shown"),
    [
        ("กินข้าว", "ฉันชอบกินข้าว", "ฉันชอบ[กินข้าว]"),
        ("office", "the oﬃce", "the [oﬃce]"),
        ("データ", "ﾃｷｽﾄﾃﾞｰﾀ", "ﾃｷｽﾄ[ﾃﾞｰﾀ]"),
        ("software", "a soft\u00adware, b", "a [soft\u00adware], b"),
        ("strasse", "Die STRAßE", "Die [STRAßE]"),
        ("ecole", "l'e\u0301cole", "l'[e\u0301cole]"),
        ("x", "\1x\2 \3é", "\1[x]\2 \3é"),
    ],
)
def test_a_snippet_is_a_part_of_the_text_as_it_was_written(query, text, shown):
    assert snippets(parse_text(query), [text]) == [shown]


ODD = "ﬁﾃﾞﾞ½é́Straße İ\u00adกิข้ำ葛\U000e0100\u3099か가\u1100\u1161\u11a8\u0301 []"


@given(st.text(st.one_of(st.characters(exclude_categories=["Cs"]), st.sampled_from(ODD)), max_size=30))
@settings(max_examples=times(80))
def test_a_text_finds_itself_and_is_shown_unchanged(text):
    words = [word for word in text.split() if fts.has_words(word) and not set(word) & set('"-*\0\ue000')]
    for word in words:
        [shown] = snippets(parse_text(f'"{word}"'), [text[:]])
        assert shown is not None
        assert "[" in shown
