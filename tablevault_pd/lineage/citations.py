"""Citations: the spans of characters that rows came from, each with its words."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from tablevault_pd import frames
from tablevault_pd.errors import InvalidInput, short_repr
from tablevault_pd.lineage.report import lines
from tablevault_pd.lineage.values import joined_values, readable_version
from tablevault_pd.reading import documents
from tablevault_pd.reading import read as reading

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator, Sequence

    import pyarrow as pa

    from tablevault_pd.lineage.report import RowsToTrace
    from tablevault_pd.store import Store, Version

COLUMNS = (
    "list",
    "position",
    "parent_list",
    "parent_version",
    "parent_position",
    "parent_start",
    "parent_stop",
)
SPAN = ["position", "parent_list", "parent_version", "parent_start", "parent_stop"]
OMITTED = "…"  # stands for characters that no row has, or none that is left


class CitedPart(NamedTuple):
    """What one row has of a span."""

    line: int  #: in the walk
    start: int
    text: str | None  #: None: it is gone

    @property
    def stop(self) -> int:
        """The character after its last one."""
        return self.start + len(self.text or "")


def citations(
    store: Store, traced: RowsToTrace, column: Hashable | None, columns: Sequence[Hashable] | None
) -> pd.DataFrame:
    """One line for each span that rows came from, with its words, glued where rows of the document overlap."""
    walk = lines(store, traced, depth=1)
    walk = walk[walk["parent_start"].notna().to_numpy()].reset_index(drop=True)
    pieces = _pieces(store, walk, column)
    firsts, words = [], []
    spans: Any = walk.groupby(SPAN).indices
    for (*_, start, stop), group in spans.items():
        for passage in _passages([pieces[line] for line in group.tolist()], int(start)):
            firsts.append(passage.line)
            words.append(passage.text(int(stop)))
    cited = walk.iloc[firsts].assign(text=pd.Series(words, firsts, dtype="str"))
    cited = cited.sort_values(SPAN, kind="stable", ignore_index=True)
    answer = cited[[*COLUMNS, "text"]]
    if columns is None:
        return answer
    return joined_values(store, answer.assign(gone=cited["gone"]), "parent", columns).drop(columns="gone")


def _pieces(store: Store, walk: pd.DataFrame, column: Hashable | None) -> list[CitedPart]:
    """What the row of each line has of its span."""
    pieces: dict[int, CitedPart] = {}
    places: Any = walk.groupby(["parent_list", "parent_version"]).indices
    versions = {key: store.version(key[0], int(key[1])) for key in places}
    _check_column(store, [version for version in versions.values() if version is not None], column)
    for key, group in places.items():
        version = versions[key]
        assert version is not None
        numbers = group.tolist()
        at = walk["parent_position"].to_numpy(np.int64)[group]
        bounds = walk[["parent_start", "parent_stop"]].to_numpy(np.int64)[group].tolist()
        for line, (first, stop), (start, text) in zip(
            numbers, bounds, _texts(store, version, at, column), strict=True
        ):
            begin = max(first - start, 0)
            part = None if text is None else text[begin : stop - start]
            pieces[line] = CitedPart(line, start + begin, part)
    return [pieces[line] for line in range(len(walk))]


def _check_column(store: Store, versions: Sequence[Version], column: Hashable | None) -> None:
    schemas = [store.schema(version.schema_id) for version in versions]
    labels = {text.label for schema in schemas for text in frames.columns(schema) if text.kind == "document"}
    if column is not None and labels and column not in labels:
        raise InvalidInput(
            f"column={short_repr(column)} is no column of documents in the lists that are cited. They have {sorted(labels, key=str)}."
        )


def _texts(
    store: Store, version: Version, positions: np.ndarray, column: Hashable | None
) -> Iterator[tuple[int, str | None]]:
    """(start, text) of each of these rows in its document; None for a text that is gone, or of which it is unknown where it stood."""
    schema = store.schema(version.schema_id)
    labels = {text.field: text.label for text in frames.columns(schema)}
    text_field = documents.document_field(store, version, column if _has_several(schema) else None)
    start_field = frames.start_field(schema, text_field)
    readable = readable_version(store, version.list, version.version, positions)
    if readable is None or (start_field is None and version.gone):
        yield from ((0, None) for _ in positions)
        return
    shown, at = readable
    fields = [text_field] if start_field is None else [text_field, start_field]
    [table] = reading.take_tables(store, [(shown, at, [labels[name] for name in fields])])
    if start_field is None:
        starts, placed = _starts_of_following(store, version, text_field, positions)
    else:
        starts, placed = frames.offsets_of(table.column(1)), np.ones(len(at), bool)
    for start, text, has_place in zip(
        starts.tolist(), table.column(0).to_pylist(), placed.tolist(), strict=True
    ):
        yield start, text if has_place else None


def _has_several(schema: pa.Schema) -> bool:
    return sum(text.kind == "document" for text in frames.columns(schema)) > 1


def _starts_of_following(
    store: Store, version: Version, field: str, positions: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Where texts that follow one another begin, and whether that is told: behind an erased row it is not."""
    places = documents.extents(store, version, field)
    [erased] = store.erased([version])
    placed = positions < erased.min(initial=version.total)
    numbers = np.searchsorted(places.positions, positions[placed])
    starts = np.zeros(len(positions), np.int64)
    starts[placed] = places.start[numbers]
    return starts, placed


@dataclass(slots=True)
class Passage:
    """What a document has of a span, put together row by row, in order of their starts."""

    line: int  #: the first one in the walk
    end: int  #: of what was put together, at first the start of the span
    words: list[str] = field(default_factory=list)
    furthest: CitedPart | None = None  #: the piece that ends last

    def agrees(self, piece: CitedPart) -> bool:
        """Whether a row has the same characters where it overlaps: rows of other documents do not."""
        if piece.text is None or self.furthest is None or self.furthest.text is None:
            return True
        there = self.furthest.text[piece.start - self.furthest.start :]
        return there[: len(piece.text)] == piece.text[: len(there)]

    def add(self, piece: CitedPart) -> None:
        """Put what a row has beyond the end so far behind it."""
        if piece.text is not None and piece.stop > self.end:
            self.words += [OMITTED] * (piece.start > self.end) + [
                piece.text[max(self.end - piece.start, 0) :]
            ]
            self.end, self.furthest = piece.stop, piece

    def text(self, stop: int) -> str | None:
        """The words of the span up to its end; None if nothing of it is left."""
        return "".join(self.words) + OMITTED * (self.end < stop) if self.words else None


def _passages(pieces: Sequence[CitedPart], start: int) -> list[Passage]:
    """The pieces of one span put together, those of each document by themselves."""
    passages: list[Passage] = []
    for piece in sorted(pieces, key=lambda piece: (piece.start, piece.line)):
        passage = next((passage for passage in passages if passage.agrees(piece)), None)
        if passage is None:
            passage = Passage(piece.line, start)
            passages.append(passage)
        passage.add(piece)
    return passages
