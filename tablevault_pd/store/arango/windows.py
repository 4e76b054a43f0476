"""Runs of rows of one batch, and how they are grouped into requests."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from tablevault_pd.store.arango.records import reads, to_bytes
from tablevault_pd.store.engine.int_codec import unpack

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

WINDOW_BYTES = 64 << 20  # fetched before rows are handed on
WINDOW_ROWS = 1 << 20
ANSWER_BYTES = 8 << 20  # … in answers of about this size


@dataclass(frozen=True, slots=True)
class Span:
    """Some rows of one part of a batch."""

    batch: str
    schema: str
    dictionaries: Mapping[str, Mapping[str, Any]]
    groups: Mapping[int, int]  #: rows in each payload, by column
    sizes: Mapping[int, float]  #: bytes of a row in these
    part: range  #: the rows of the batch that are in the part
    low: int  #: rows of the batch
    high: int
    position: int  #: of the first row in the list
    run: int = 0  #: the number of the run of rows that it belongs to
    erased: str | None = None  #: the numbers of erased rows of the batch, packed

    @property
    def rows(self) -> int:
        """How many."""
        return self.high - self.low

    def payloads(self, place: int) -> range:
        """The first rows of the payloads of a column that hold rows of the span."""
        if self.low == self.high:
            return range(0)
        size = self.groups[place]
        first = self.part.start + (self.low - self.part.start) // size * size
        return range(first, self.high, size)

    def cut(self, rows: int) -> tuple[Span, Span]:
        """The first `rows` rows, and the others."""
        middle = self.low + rows
        head = replace(self, high=middle)
        rest = replace(self, low=middle, position=self.position + rows)
        return head, rest

    def between(self, low: int, high: int) -> Span:
        """Those rows of the span that lie between two rows of the batch."""
        low, high = max(low, self.low), min(high, self.high)
        return replace(self, low=low, high=high, position=self.position + low - self.low)


@reads("tv_batches")
def spans_of(row: dict[str, Any], number: int, shift: int) -> Iterator[Span]:
    """The parts of a batch, cut to the rows that are wanted, which are so many positions from their addresses."""
    first = 0
    for part in row["parts"]:
        low = max(first, row["low"] - row["start"])
        high = min(first + part["rows"], row["high"] - row["start"])
        if low < high:
            yield Span(
                row["key"],
                part["schema"],
                part["dictionaries"],
                {place: rows for place, rows, _ in part["payloads"]},
                {place: size / part["rows"] for place, _, size in part["payloads"]},
                range(first, first + part["rows"]),
                low,
                high,
                row["start"] + low + shift,
                number,
                row["erased"],
            )
        first += part["rows"]


def windows(spans: list[tuple[Span, float]]) -> Iterator[list[Span]]:
    """Spans, given with the bytes of a row, in groups that are fetched together."""
    window: list[Span] = []
    rows, size = 0, 0.0
    waiting = spans[::-1]
    while waiting:
        span, row_bytes = waiting.pop()
        room = min(WINDOW_ROWS - rows, int((WINDOW_BYTES - size) / max(1.0, row_bytes)))
        if room < 1 and window:
            yield window
            window, rows, size = [], 0, 0.0
            waiting.append((span, row_bytes))
            continue
        if max(1, room) < span.rows:
            span, rest = span.cut(max(1, room))
            waiting.append((rest, row_bytes))
        window.append(span)
        rows, size = rows + span.rows, size + span.rows * row_bytes
    if window:
        yield window


def erased_in(spans: Iterable[Span]) -> np.ndarray | None:
    """The numbers of erased rows in all of these spans together; None if there are none."""
    parts, before = [], 0
    for span in spans:
        if span.erased is not None:
            numbers = unpack_numbers(span.erased)
            parts.append(numbers[(numbers >= span.low) & (numbers < span.high)] - span.low + before)
        before += span.rows
    return np.concatenate(parts) if parts else None


def unpack_numbers(packed: str) -> np.ndarray:
    """The numbers of erased rows of a batch. Raises VaultCorrupt."""
    where = "A list of erased rows"
    return unpack(to_bytes(packed, where), where)


def together(spans: Iterable[Span]) -> Iterator[list[Span]]:
    """Neighbours that make one chunk: alike, and one after the other."""
    some: list[Span] = []
    for span in spans:
        if some and (_kind(span) != _kind(some[-1]) or span.position != some[-1].position + some[-1].rows):
            yield some
            some = []
        some.append(span)
    if some:
        yield some


def _kind(span: Span) -> Any:
    return span.run, span.schema, span.dictionaries
