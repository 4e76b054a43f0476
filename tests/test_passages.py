"""Cited passages and staleness: words that still stand in their document make nothing stale, wherever they are in it now."""

from __future__ import annotations

import random

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tablevault_pd as tv
from tablevault_pd.lineage.passages import shared_blocks

TEXT = (
    "The harbour was built in 1902. It is closed in winter. The lighthouse still works at night. "
    "Boats leave at six for the islands. The keeper of the lighthouse is called Ann."
)


def chunks_of(doc: str, text: str, size: int = 40, step: int = 30) -> pd.DataFrame:
    starts = list(range(0, max(len(text) - (size - step), 1), step))
    return pd.DataFrame(
        {
            "doc": doc,
            "n": range(len(starts)),
            "start": starts,
            "chunk": [text[at : at + size] for at in starts],
        }
    )


def index(vault: tv.Vault, **texts: str) -> None:
    frame = pd.concat([chunks_of(doc, text) for doc, text in texts.items()], ignore_index=True)
    vault.upsert("chunks", frame, key=["doc", "n"], drop_missing="doc", documents={"chunk": "start"})


QUOTES = [
    "built in 1902",
    "closed in winter",
    "lighthouse still works at night",
    "six for the islands",
    "Ann",
]


@pytest.fixture
def cited(vault):
    """Five answers, each with its passage of the document a; another document has the same words."""
    index(vault, a=TEXT, b=f"Copy. {TEXT}")
    spans = [(at := TEXT.index(quote), at + len(quote)) for quote in QUOTES]
    vault.save(
        "answers", pd.DataFrame({"answer": QUOTES}), inputs={"chunks": tv.chars(spans, filters="doc == 'a'")}
    )
    return vault


def stale(vault: tv.Vault) -> list[str]:
    found = vault.stale("answers")
    assert set(found["reason"]) <= {"parent"}
    return [QUOTES[row] for row in found["position"].drop_duplicates()]


EDITS = {
    "nothing": (lambda text: text, []),
    "a sentence is added at the end": (lambda text: text + " She is 90.", []),
    "a longer beginning moves all": (lambda text: "Once upon a time. " + text, []),
    "a shorter beginning moves all": (lambda text: text.replace("The harbour was", "It was"), []),
    "words around it": (lambda text: text.replace("six for", "six o'clock for"), ["six for the islands"]),
    "two places": (
        lambda text: text.replace("harbour was", "old harbour was").replace("Ann", "Eve"),
        ["Ann"],
    ),
    "inside of it": (lambda text: text.replace("still works", "works"), ["lighthouse still works at night"]),
    "a passage goes to the end": (
        lambda text: (
            text.replace("It is closed in winter. ", "") + " It is closed in winter. " + "More. " * 9
        ),
        ["closed in winter"],
    ),
}


def test_an_answer_is_stale_where_its_words_changed_and_not_where_they_moved(cited):
    for edit, (change, changed) in EDITS.items():
        index(cited, a=change(TEXT))
        assert stale(cited) == changed, edit
    index(cited, a=TEXT)
    assert stale(cited) == []


def test_words_that_only_another_document_has_do_not_stand(cited):
    index(cited, a="Nothing of it is left, not one word, but a few more of them.")
    assert stale(cited) == QUOTES
    index(cited, a=TEXT)
    cited.delete_rows("chunks", filters="doc == 'a'")
    assert stale(cited) == QUOTES
    cited.restore("chunks", 1)
    assert stale(cited) == []
    cited.erase("chunks", filters="doc == 'a' and n == 0")
    assert stale(cited) == QUOTES[:2]  # chunk 0 had the beginning of the second
    index(cited, a="Changed. " + TEXT[30:])
    assert stale(cited) == QUOTES[:2]  # chunk 0 had the beginning of the second
    cited.delete("chunks")
    assert stale(cited) == QUOTES


def test_what_a_moved_passage_is_made_from_still_counts(vault):
    vault.save("pages", [{"page": 1}])
    index_of = lambda text: vault.upsert(  # noqa: E731
        "chunks", chunks_of("a", text), key=["doc", "n"], documents={"chunk": "start"}, inputs="pages"
    )
    index_of(TEXT)
    at = TEXT.index(QUOTES[2])
    vault.save("answers", [{"a": 1}], inputs={"chunks": tv.chars(at, at + len(QUOTES[2]))})
    index_of("Moved. " + TEXT)
    assert vault.stale("answers").empty
    vault.save("pages", [{"page": 2}])
    assert set(vault.stale("answers")["of"]) == {"pages@1"}
    assert set(vault.stale("answers")["depth"]) == {2}


def test_texts_that_follow_one_another_are_one_document_and_without_a_key_rows_count(vault):
    vault.save("poem", ["One line. ", "Two lines. ", "Three."])
    vault.save(
        "shelf",
        pd.concat([chunks_of("a", TEXT), chunks_of("b", "Else. " + TEXT)]),
        documents={"chunk": "start"},
    )
    span = tv.chars([(10, 19)], filters="doc == 'a'")
    vault.save("answers", [{"a": 1}], inputs={"poem": tv.chars([(10, 23)])})
    vault.save("others", [{"a": 1}], inputs={"shelf": span})
    vault.save("poem", ["Nought. One line. Two lines", ". Three."])
    vault.save(
        "shelf",
        pd.concat([chunks_of("a", "Now " + TEXT), chunks_of("b", "Else. " + TEXT)]),
        documents={"chunk": "start"},
    )
    assert vault.stale("answers").empty
    assert vault.stale("others")["of"].tolist() == ["shelf@1[0]"]
    vault.save("poem", ["Nought. One line. Two, lines. Three."])
    assert vault.stale("answers")["of"].tolist() == ["poem@1[1]", "poem@1[2]"]


@given(
    st.lists(st.sampled_from(["a ", "bb ", "ccc. ", "d", "\0", "e\n"]), max_size=30).map("".join),
    st.integers(0, 2**32),
)
def test_shared_blocks_stand_in_both_texts_in_one_order(text, seed):
    draw = random.Random(seed)
    first, last = sorted(draw.choices(range(len(text) + 1), k=2))
    other = text[:first] + draw.choice(["", "x", "a bb ", text[:5]]) + text[last:]
    blocks = shared_blocks(text, other)
    assert all(
        size and text[here : here + size] == other[there : there + size] for here, there, size in blocks
    )
    ends = [(here + size, there + size) for here, there, size in blocks]
    assert all(
        one[0] <= here and one[1] <= there for one, (here, there, _) in zip(ends, blocks[1:], strict=False)
    )
    assert sum(size for *_, size in blocks) >= first + len(text) - last or text == other
