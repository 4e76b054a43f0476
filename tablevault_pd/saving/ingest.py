"""Convert any object that can be saved to a stream of chunks: rows in Arrow, with their parents."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from tablevault_pd import frames, validate
from tablevault_pd.errors import InvalidInput, short_repr
from tablevault_pd.lineage.record import NO_PARENTS, LineageRecorder, Parents
from tablevault_pd.reading.origin import without_other_attrs
from tablevault_pd.saving import ingest_arrow
from tablevault_pd.saving.file_columns import FileState, file_column
from tablevault_pd.saving.ingest_rows import (
    as_mapping,
    cannot_save,
    check_label,
    frame_of_mappings,
    frame_of_texts,
    frame_of_tuples,
)

if TYPE_CHECKING:
    import pyarrow as pa

    from tablevault_pd.frames.documents import Documents

ROWS_PER_CHUNK = 10_000  # single rows from an iterator are gathered into chunks of this many
_NUMBERS = (int, float, np.integer, np.floating)

#: The column that a Series without a name, a list of texts or a matrix becomes.
COLUMN_OF_KIND = {"document": "document", "embedding": "embedding", "file": "file", "record": "value"}


@dataclass(frozen=True, slots=True)
class ColumnOptions:
    """The options of a save for columns."""

    embeddings: Any = None
    documents: Documents = field(default_factory=dict)
    files: tuple[Hashable, ...] = ()
    copy: bool = False  #: whether contents of files are kept in the vault

    @classmethod
    def only(
        cls, *, embeddings: Any = False, documents: Any = (), files: Any = (), copy: bool = False
    ) -> ColumnOptions:
        """Return options that detect no other kinds."""
        return cls(embeddings, dict.fromkeys(documents), files, copy)


@dataclass(frozen=True, slots=True)
class IngestedChunk:
    """Some rows of a save."""

    table: pa.Table
    parents: Parents = NO_PARENTS
    files: tuple[FileState, ...] = ()  #: files whose contents are to be kept


def column_names(value: Any, option: str) -> tuple[Hashable, ...]:
    """Return one name or several, as a tuple."""
    if value is None or value is False:
        return ()
    if isinstance(value, (list, set, frozenset)):
        return tuple(value)
    if isinstance(value, (str, int, tuple)) and value is not True:
        return (value,)
    raise InvalidInput(f"{option}= names a column or a list of columns, not {short_repr(value)}.")


def document_columns(value: Any) -> dict[Hashable, Hashable | None]:
    """Return the columns of documents, each with the one of its offsets, or None."""
    if not isinstance(value, Mapping):
        return dict.fromkeys(column_names(value, "documents"))
    for text, start in value.items():
        if start is not None and (not validate.is_hashable(start) or isinstance(start, bool)):
            raise InvalidInput(
                f"documents={{{short_repr(text)}: {short_repr(start)}}}: give the name of the column of offsets, or None."
            )
    return dict(value)


def ingest(
    obj: Any, options: ColumnOptions, lineage: LineageRecorder, *, kind: str | None = None
) -> Iterator[IngestedChunk]:
    """Return the rows of `obj` as chunks, one or many. Raises InvalidInput, UnsupportedColumn, FileMissing."""
    return _Ingestion(options, lineage, kind).chunks(obj)


@dataclass(frozen=True, slots=True)
class _Ingestion:
    """Encodes the rows of one save with its options."""

    options: ColumnOptions
    lineage: LineageRecorder
    kind: str | None

    def chunks(self, obj: Any) -> Iterator[IngestedChunk]:
        if isinstance(obj, pd.DataFrame):
            self._check_kind(None, obj)
            yield self._frame(obj, self.options)
        elif isinstance(obj, pd.Series):
            yield self._series(obj)
        elif isinstance(obj, np.ndarray):
            self._check_kind("embedding", obj)
            yield self._matrix(obj)
        elif ingest_arrow.is_arrow(obj):
            yield from self._arrow(obj)
        elif (row := as_mapping(obj)) is not None:
            self._check_kind(None, obj)
            yield self._row(row)
        elif isinstance(obj, (str, bytes, bytearray)) or not isinstance(obj, Iterable) or hasattr(obj, "agg"):
            raise cannot_save(obj)
        else:
            yield from self._items(obj)

    def _check_kind(self, kind: str | None, obj: Any) -> None:
        """Refuse a ``kind=`` without effect: `obj` becomes `kind`, or columns whose options have names of their own."""
        if self.kind not in (None, kind):
            raise InvalidInput(
                f"kind={self.kind!r} says what the values of a Series are, and {short_repr(obj)} is none. Save pd.Series(values) with it, "
                "or name the columns of a frame with documents=, embeddings= or files=."
            )

    # -- one object

    def _frame(
        self, frame: pd.DataFrame, options: ColumnOptions, *, made_here: bool = False
    ) -> IngestedChunk:
        frame = without_other_attrs(frame)
        arrays = frames.arrays_of(frame)
        frame, parents = self.lineage.of_frame(frame, made_here=made_here, arrays=arrays)
        starts = [start for start in options.documents.values() if start is not None]
        absent = [name for name in (*options.documents, *starts, *options.files) if name not in frame.columns]
        if absent:
            raise InvalidInput(f"documents= or files= names {absent}, and the frame has no such column.")
        columns = {name: file_column(frame[name], name, stored=options.copy) for name in options.files}
        prepared = {name: array for name, (array, _) in columns.items()}
        table = frames.encode(
            frame,
            embeddings=options.embeddings,
            documents=list(options.documents),
            prepared=prepared,
            arrays=arrays if len(arrays) == frame.shape[1] else None,  # else some were references
        )
        table = frames.with_offsets(table, options.documents)
        files = tuple(state for _, states in columns.values() for state in states) if options.copy else ()
        return IngestedChunk(table, parents, files)

    def _series(self, series: pd.Series) -> IngestedChunk:
        series = without_other_attrs(series)
        kind = self.kind or _kind_of(series)
        if kind not in COLUMN_OF_KIND:
            raise InvalidInput(f"kind= is one of {', '.join(COLUMN_OF_KIND)}, not {short_repr(kind)}.")
        name = COLUMN_OF_KIND[kind] if series.name is None else series.name
        check_label(name)
        frame = series.to_frame(name)
        frame.attrs = series.attrs
        options = {
            "document": ColumnOptions.only(documents=(name,)),
            "embedding": ColumnOptions.only(embeddings=[name]),
            "file": ColumnOptions.only(files=(name,), copy=self.options.copy),
            "record": ColumnOptions.only(),
        }
        return self._frame(frame, options[kind])

    def _row(self, row: Mapping[Any, Any]) -> IngestedChunk:
        """Encode a single row, without a frame where possible."""
        options = self.options
        no_embeddings = options.embeddings is None or options.embeddings is False
        plain = no_embeddings and not options.documents and not options.files
        table = frames.encode_row(row) if plain else None
        if table is None:
            return self._frame(frame_of_mappings([row]), options, made_here=True)
        return IngestedChunk(table, self.lineage.of_table(table))

    def _matrix(self, matrix: np.ndarray) -> IngestedChunk:
        if matrix.ndim != 2 or matrix.dtype.kind not in "iuf":
            raise InvalidInput(
                f"An array is saved as one vector per row, so it has two dimensions and holds numbers; this one has the shape "
                f"{matrix.shape} and dtype {matrix.dtype}. Make a DataFrame of other arrays."
            )
        if isinstance(matrix, np.ma.MaskedArray) and np.ma.getmaskarray(matrix).any():
            raise InvalidInput(
                "An array with masked values is saved as one vector per row, and a vector has a number in each place. "
                "Fill them, matrix.filled(0.0), or make a DataFrame of it: pd.DataFrame(matrix) has NaN there."
            )
        return self._vectors(list(np.asarray(matrix)), integers=True)

    def _vectors(self, rows: Sequence[Any], *, integers: bool) -> IngestedChunk:
        """Encode sequences of numbers as one embedding column. Integers become floats, exactly, only with `integers` or embeddings=."""
        widths = sorted({len(row) for row in rows})
        if len(widths) > 1:
            raise InvalidInput(
                f"The vectors have different lengths: {widths[:5]}. A list of vectors is saved as one column of one width."
            )
        name = COLUMN_OF_KIND["embedding"]
        embeddings = self.options.embeddings
        named = embeddings not in (None, True, False)
        if not (named or integers or _have_floats(rows)):
            raise InvalidInput(
                f"Lists of integers are no vectors of floats, unless embeddings=[{name!r}] says so. Save rows as tuples, or make a "
                "DataFrame of them: pd.DataFrame(rows)."
            )
        frame = pd.DataFrame({name: pd.Series(list(rows), dtype=object)})
        table = frames.encode(frame, embeddings=embeddings if named else [name])
        return IngestedChunk(table, self.lineage.of_table(table))

    # -- Arrow

    def _arrow(self, obj: Any) -> Iterator[IngestedChunk]:
        if ingest_arrow.is_column(obj):
            yield self._series(ingest_arrow.series(obj))
            return
        self._check_kind(None, obj)
        for table in ingest_arrow.tables(obj):
            yield self._arrow_table(table)

    def _arrow_table(self, table: pa.Table) -> IngestedChunk:
        options = self.options
        if options.files:
            encoded = frames.encode_arrow(table, embeddings=False)
            frame = frames.decode([encoded], encoded.schema, positions=range(encoded.num_rows))
            return self._frame(frame, options, made_here=True)
        parents = self.lineage.of_table(table)
        encoded = frames.encode_arrow(table, embeddings=options.embeddings, documents=list(options.documents))
        return IngestedChunk(frames.with_offsets(encoded, options.documents), parents)

    # -- iterables

    def _items(self, items: Iterable[Any]) -> Iterator[IngestedChunk]:
        """Gather rows, texts and vectors into chunks; other items are chunks by themselves."""
        iterator = iter(items)
        try:
            first = next(iterator)
        except StopIteration:
            yield self._frame(pd.DataFrame(), self.options, made_here=True)
            return
        group: list[Any] = []
        form: _Form | None = None  # of the items in the group
        for item in chain([first], iterator):
            form_of_item = _form(item)
            if form is not None and (form_of_item is not form or len(group) >= ROWS_PER_CHUNK):
                yield form(self, group)
                group = []
            if form_of_item is None:
                yield from self.chunks(item)
            else:
                if form_of_item is not form:
                    self._check_kind(_KIND_OF_FORM.get(form_of_item), item)
                group.append(item)
            form = form_of_item
        if form is not None:
            yield form(self, group)

    def _mappings(self, group: list[Any]) -> IngestedChunk:
        rows = [as_mapping(item) or {} for item in group]
        return self._frame(frame_of_mappings(rows), self.options, made_here=True)

    def _tuples(self, group: list[Any]) -> IngestedChunk:
        return self._frame(frame_of_tuples(group), self.options, made_here=True)

    def _texts(self, group: list[Any]) -> IngestedChunk:
        name = COLUMN_OF_KIND["document"]
        frame = frame_of_texts(group, name)
        return self._frame(frame, ColumnOptions.only(documents=(name,)), made_here=True)

    def _listed_vectors(self, group: list[Any]) -> IngestedChunk:
        for number, item in enumerate(group):
            wrong = [cell for cell in item if not isinstance(cell, _NUMBERS) or isinstance(cell, bool)]
            if wrong:
                raise InvalidInput(
                    f"Item {number}, {short_repr(item)}, is neither a vector (it holds {short_repr(wrong[0])}) nor a row. "
                    "Save rows as tuples or dicts, or make a DataFrame of them: pd.DataFrame(rows)."
                )
        return self._vectors(group, integers=False)


_SEQUENCES = (list, tuple, np.ndarray, pd.Series, pd.Index)


def is_columns(obj: Any) -> bool:
    """Whether pandas would take a dict for columns: its values are sequences of one length."""
    return (
        isinstance(obj, Mapping)
        and all(isinstance(cell, _SEQUENCES) and getattr(cell, "ndim", 1) == 1 for cell in obj.values())
        and len({len(cell) for cell in obj.values()}) == 1
    )


def _kind_of(series: pd.Series) -> str:
    """Return the default kind of a column with such cells: texts are documents, vectors embeddings."""
    try:
        cells = series.dropna()
    except ArithmeticError:  # a signalling NaN among Decimals, which pandas cannot test
        return "record"
    if isinstance(series.dtype, pd.StringDtype) or (len(cells) and all(type(cell) is str for cell in cells)):
        return "document"
    table = frames.encode(pd.DataFrame({"cells": series.array}))
    return "embedding" if frames.columns(table.schema)[0].kind == "embedding" else "record"


def _have_floats(rows: Sequence[Any]) -> bool:
    return any(isinstance(number, (float, np.floating)) for row in rows for number in row)


#: Gathers items of one form into a chunk.
_Form = Callable[[_Ingestion, list[Any]], IngestedChunk]

#: The kind of column that a form makes of items, if it makes one column.
_KIND_OF_FORM: dict[_Form, str] = {_Ingestion._texts: "document", _Ingestion._listed_vectors: "embedding"}


def _form(item: Any) -> _Form | None:
    """Return the form that gathers items such as this one; None for an item that is a chunk by itself."""
    if isinstance(item, str):
        return _Ingestion._texts
    if isinstance(item, np.ndarray) or ingest_arrow.is_arrow(item):
        return _Ingestion._listed_vectors if _is_vector(item) else None
    if as_mapping(item) is not None:
        return _Ingestion._mappings
    if isinstance(item, tuple):
        return _Ingestion._tuples
    if isinstance(item, list) and item and not _is_table(item[0]):
        return _Ingestion._listed_vectors
    return None


def _is_vector(item: Any) -> bool:
    return isinstance(item, np.ndarray) and item.ndim == 1


def _is_table(first: Any) -> bool:
    """Return whether a list with this first item has rows or frames as items."""
    return (
        isinstance(first, (tuple, list, pd.DataFrame, pd.Series, np.ndarray)) or as_mapping(first) is not None
    )
