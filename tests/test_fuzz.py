"""The seeds of the fuzzers, and random texts: each is parsed, or refused by an error of ours."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torture import fuzz_parsers
from torture.harness import times


@pytest.mark.parametrize("text", fuzz_parsers.FILTERS, ids=range(len(fuzz_parsers.FILTERS)))
def test_a_filter_is_parsed_or_refused(text):
    fuzz_parsers.filter_text(text)


@pytest.mark.parametrize("text", fuzz_parsers.TEXTS, ids=range(len(fuzz_parsers.TEXTS)))
def test_a_text_to_search_for_is_parsed_or_refused(text):
    fuzz_parsers.search_text(text)


ANY = st.text(st.characters(codec=None), max_size=60)
PARTS = st.sampled_from(
    [
        *"()[]`'\"@.,:*-+~&|<>=!\\\n\0 ",
        "OR",
        "AND",
        "NEAR",
        "not ",
        " in ",
        "n",
        "s",
        "str",
        "1",
        "é",
        "在",
        "\ue000",
    ]
)


@given(ANY | st.lists(PARTS, max_size=30).map("".join))
@settings(max_examples=times(20_000, ordinary=100))
def test_any_text_is_parsed_or_refused(text):
    fuzz_parsers.filter_text(text)
    fuzz_parsers.search_text(text)
