"""The content of versions as pieces, against plain lists of addresses."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torture.harness import times

from tablevault_pd.errors import VaultCorrupt
from tablevault_pd.store.engine import kept_layouts
from tablevault_pd.store.engine.int_codec import pack_pieces, unpack_pieces
from tablevault_pd.store.engine.kept_layouts import KeptLayouts
from tablevault_pd.store.pieces import EMPTY, OWN, Pieces

Address = tuple[int, int]
few = settings(max_examples=times(50))


@st.composite
def contents(draw: st.DrawFn) -> list[Address]:
    """Addresses, each once: runs of a few generations, in any order."""
    stored = [(generation, row) for generation in (1, 2, 7) for row in range(draw(st.integers(0, 12)))]
    cuts = sorted(draw(st.sets(st.integers(0, len(stored)), max_size=6)) | {0, len(stored)})
    runs = [stored[low:high] for low, high in pairwise(cuts)]
    kept = draw(st.permutations([run for run in runs if draw(st.integers(0, 3))]))
    return [address for run in kept for address in run]


def pieces_of(addresses: list[Address]) -> Pieces:
    return Pieces.of((generation, row, row + 1) for generation, row in addresses)


def listed(pieces: Pieces) -> list[Address]:
    return [(generation, row) for generation, first, stop in pieces for row in range(first, stop)]


def positions_in(draw: st.DataObject, rows: list[Address]) -> list[int]:
    return draw.draw(st.lists(st.integers(0, max(0, len(rows) - 1)), unique=True)) if rows else []


@few
@given(contents())
def test_pieces_show_what_they_were_made_of(rows: list[Address]) -> None:
    pieces = pieces_of(rows)
    assert listed(pieces) == rows
    assert pieces.total == len(rows)
    assert pieces.bounds.tolist() == list(np.cumsum([0, *(stop - first for _, first, stop in pieces)]))
    breaks = [at for at in range(1, len(rows)) if rows[at] != (rows[at - 1][0], rows[at - 1][1] + 1)]
    assert len(pieces) == (len(breaks) + 1 if rows else 0)  # none that continues the one before


@few
@given(contents(), contents())
def test_equal_content_has_equal_pieces(rows: list[Address], others: list[Address]) -> None:
    one, other = pieces_of(rows), pieces_of(others)
    assert (one == other) == (rows == others)
    assert hash(pieces_of(rows)) == hash(one)
    assert one != list(one)


@few
@given(contents(), st.data())
def test_addresses_and_positions(rows: list[Address], draw: st.DataObject) -> None:
    pieces = pieces_of(rows)
    at = np.array(positions_in(draw, rows), np.int64)
    generation, address = pieces.addresses(at)
    assert list(zip(generation.tolist(), address.tolist(), strict=True)) == [rows[i] for i in at]
    every = [(generation, row) for generation in (0, 1, 2, 3, 7, 8) for row in range(14)]
    expected = [rows.index(one) if one in rows else -1 for one in every]
    generations, addresses = np.array(every, np.int64).T
    assert pieces.positions(generations, addresses).tolist() == expected
    some = addresses[generations == 2]
    assert pieces.positions(2, some).tolist() == [
        rows.index((2, row)) if (2, row) in rows else -1 for row in some.tolist()
    ]


@few
@given(contents(), contents())
def test_what_two_versions_share(rows: list[Address], others: list[Address]) -> None:
    one, other = pieces_of(rows), pieces_of(others)
    here, there, count = one.overlaps(other)
    pairs = [
        (a + n, b + n)
        for a, b, rows_of_run in zip(here.tolist(), there.tolist(), count.tolist(), strict=True)
        for n in range(rows_of_run)
    ]
    assert pairs == [(at, others.index(row)) for at, row in enumerate(rows) if row in others]
    starts, stops = one.lacking(other)
    left = [at for low, high in zip(starts.tolist(), stops.tolist(), strict=True) for at in range(low, high)]
    assert left == [at for at, row in enumerate(rows) if row not in others]
    assert listed(one.take(starts, stops)) == [row for row in rows if row not in others]


@few
@given(contents())
def test_the_rows_of_one_generation(rows: list[Address]) -> None:
    pieces = pieces_of(rows)
    for generation in (1, 2, 3):
        first, stop = pieces.intervals(generation)
        shown = [
            row for low, high in zip(first.tolist(), stop.tolist(), strict=True) for row in range(low, high)
        ]
        assert shown == [row for number, row in rows if number == generation]
    assert dict(pieces.ends()) == {
        generation: 1 + max(r for g, r in rows if g == generation) for generation, _ in rows
    }


@few
@given(contents(), st.integers(-3, 40), st.integers(-3, 40))
def test_clip(rows: list[Address], start: int, stop: int) -> None:
    assert listed(pieces_of(rows).clip(start, stop)) == rows[max(start, 0) : max(stop, 0)]


@few
@given(contents(), st.data())
def test_remove(rows: list[Address], draw: st.DataObject) -> None:
    gone = positions_in(draw, rows)
    left = pieces_of(rows).remove(np.array(gone, np.int64))
    assert listed(left) == [row for at, row in enumerate(rows) if at not in gone]


@few
@given(contents(), st.integers(0, 5), st.data())
def test_replace(rows: list[Address], first: int, draw: st.DataObject) -> None:
    at = positions_in(draw, rows)
    expected = list(rows)
    for number, position in enumerate(at):
        expected[position] = (OWN, first + number)
    assert listed(pieces_of(rows).replace(np.array(at, np.int64), OWN, first)) == expected


@few
@given(contents(), contents())
def test_one_after_the_other(rows: list[Address], others: list[Address]) -> None:
    others = [row for row in others if row not in rows]
    both = pieces_of(rows) + pieces_of(others)
    assert listed(both) == rows + others
    assert both == pieces_of(rows + others)


@few
@given(contents())
def test_packed_pieces_come_back(rows: list[Address]) -> None:
    pieces = pieces_of(rows)
    assert unpack_pieces(pack_pieces(pieces), "it") == pieces


def test_packed_pieces_are_small_and_checked() -> None:
    changed = np.arange(0, 1_000_000, 500)
    pieces = Pieces.of([(1, 0, 1_000_000)]).replace(changed, OWN)
    data = pack_pieces(pieces)
    assert len(pieces) == 4000
    assert len(data) < 4000
    with pytest.raises(VaultCorrupt, match="The content of it is damaged"):
        unpack_pieces(data[:-1] + bytes([data[-1] ^ 1]), "The content of it")
    with pytest.raises(VaultCorrupt):
        unpack_pieces(b"", "it")


def test_nothing() -> None:
    assert EMPTY.total == 0
    assert list(EMPTY) == []
    assert EMPTY.addresses(np.empty(0, np.int64))[0].tolist() == []
    assert Pieces.of([(3, 5, 5)]) == EMPTY


def test_of_layouts_that_were_read_the_last_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_layouts, "MOST_LAYOUTS", 3)
    layouts, one = KeptLayouts(), Pieces.one(1, 0, 1)
    for number in range(10):
        layouts.keep({(1, number): one})
    assert list(layouts.of((1, number) for number in range(10))) == [(1, 7), (1, 8), (1, 9)]
    layouts.keep({(2, number): one for number in range(10)})
    assert list(layouts.of((key, number) for key in (1, 2) for number in range(10))) == [
        (2, 7),
        (2, 8),
        (2, 9),
    ]


def test_of_layouts_of_many_pieces_fewer_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_layouts, "MOST_PIECES", 5)
    layouts, two = KeptLayouts(), Pieces.of([(1, 0, 1), (1, 2, 3)])
    for number in range(4):
        layouts.keep({(1, number): two})
    assert list(layouts.of((1, number) for number in range(4))) == [(1, 2), (1, 3)]
    layouts.keep({(1, 4): Pieces.of([(1, 2 * row, 2 * row + 1) for row in range(9)])})  # the newest stays
    assert list(layouts.of((1, number) for number in range(5))) == [(1, 4)]
