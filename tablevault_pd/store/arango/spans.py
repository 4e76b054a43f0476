"""Runs of rows of one batch, and how they are grouped into requests."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

WINDOW_BYTES = 64 << 20  # JSON fetched before rows are handed on
WINDOW_ROWS = 100_000
ANSWER_BYTES = 8 << 20  # … in answers of about this size


@dataclass(frozen=True, slots=True)
class Span:
    """Some rows of one part of a batch."""

    batch: str
    schema: str
    dictionaries: dict[str, dict[str, Any]]
    low: int  #: rows of the batch
    high: int
    position: int  #: of the first row in the list
    sizes: dict[str, float]  #: bytes of JSON per row, by collection
    wanted: int = 0  #: which of the things that are read together it belongs to

    @property
    def rows(self) -> int:
        """How many."""
        return self.high - self.low

    def cut(self, rows: int) -> tuple[Span, Span]:
        """The first `rows` rows, and the others."""
        middle = self.low + rows
        head = replace(self, high=middle)
        rest = replace(self, low=middle, position=self.position + rows)
        return head, rest


def spans_of(row: dict[str, Any], number: int, shift: int) -> Iterator[Span]:
    """The parts of a batch, cut to the rows that are wanted, which are so many positions from their addresses."""
    first = 0
    sizes = {collection: size / row["rows"] for collection, size in row["sizes"].items()}
    for part in row["parts"]:
        low = max(first, row["low"] - row["start"])
        high = min(first + part["rows"], row["high"] - row["start"])
        if low < high:
            yield Span(
                row["key"],
                part["schema"],
                part["dictionaries"],
                low,
                high,
                row["start"] + low + shift,
                sizes,
                number,
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
    return span.wanted, span.schema, span.dictionaries


def runs_of(span: Span, rows: list[Any]) -> list[Span]:
    """The parts of a span that these rows of it are, in order."""
    at = np.fromiter((row[1] for row in rows), np.int64, len(rows))
    cuts = np.flatnonzero(np.diff(at) != 1) + 1
    return [
        replace(span, low=int(run[0]), high=int(run[-1]) + 1, position=span.position + int(run[0]) - span.low)
        for run in np.split(at, cuts)
        if len(run)
    ]


def batch_rows(spans: list[Span], collection: str) -> int:
    """Rows of one answer."""
    row_bytes = max(span.sizes.get(collection, 0.0) for span in spans)
    return int(min(10_000, max(10, ANSWER_BYTES / max(1.0, row_bytes))))
