"""Links of some rows of a batch: those of all its rows, told of the rows that are written."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from torture.harness import times

from tablevault_pd.lineage.parent_links import ParentLink
from tablevault_pd.store.edges import STATED

TOTAL = 8


@st.composite
def links(draw: st.DrawFn) -> ParentLink:
    child = draw(st.integers(0, TOTAL - 1))
    rows = draw(st.integers(1, TOTAL - child))
    link = ParentLink(1, 1, STATED, child, rows)
    form = draw(st.sampled_from(["whole", "span", "each", "rowwise", "pairs"]))
    if form == "whole":
        return replace(link, whole=True)
    if form == "span":
        return replace(link, span=(2, 5))
    parents = np.array(draw(st.lists(st.integers(0, 20), min_size=rows, max_size=rows)))
    if form == "pairs":
        children = np.array(draw(st.lists(st.integers(0, rows - 1), min_size=rows, max_size=rows)))
        return replace(link, parents=parents, children=children)
    return replace(link, parents=parents, all_parents=form == "each")


def _pairs(link: ParentLink) -> set[tuple[int, int]]:
    """(child, parent) of all that a link says; -1: the whole list."""
    children = range(link.child, link.child + link.rows)
    if link.whole:
        return {(child, -1) for child in children}
    if link.span is not None:
        return {(child, parent) for child in children for parent in range(*link.span)}
    if link.all_parents:
        return {(child, parent) for child in children for parent in link.parents.tolist()}
    offsets = range(link.rows) if link.children is None else link.children.tolist()
    return {
        (link.child + offset, parent) for offset, parent in zip(offsets, link.parents.tolist(), strict=True)
    }


@settings(max_examples=times(80))
@given(links(), st.permutations(range(TOTAL)), st.integers(0, TOTAL))
def test_a_claim_of_some_rows_says_of_each_what_the_whole_said(link, order, count):
    rows = np.array(order[:count], np.int64)
    numbers = {row: number for number, row in enumerate(rows.tolist())}
    expected = {(numbers[child], parent) for child, parent in _pairs(link) if child in numbers}
    taken = list(link.taken(rows, TOTAL))
    assert {pair for part in taken for pair in _pairs(part)} == expected
    assert all(part.child + part.rows <= count for part in taken)
