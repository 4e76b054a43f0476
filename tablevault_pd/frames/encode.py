"""Encode a frame as an Arrow table, column by column, each with the spec that :func:`decode` needs."""

from __future__ import annotations

import struct
import sys
from collections.abc import Callable, Collection, Hashable, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa

from tablevault_pd import validate
from tablevault_pd.errors import InvalidInput, UnsupportedColumn, short_repr
from tablevault_pd.frames import labels, objects, schemas, vectors
from tablevault_pd.frames.codecs import CannotEncode, Encoded, Spec, arrays_of, encode_array

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    from tablevault_pd.frames.vectors import EmbeddingOption

PANDAS_3 = int(pd.__version__.partition(".")[0]) >= 3
_TEXT = frozenset([str])
_PLAIN: dict[type, Any] = {bool: True, int: 0, float: 0.5, str: "text"}  #: types, each with some value of it


def encode(
    df: pd.DataFrame,
    *,
    embeddings: Any = None,
    documents: Any = (),
    prepared: Mapping[Hashable, pa.Array] | None = None,
    arrays: Sequence[Any] | None = None,
) -> pa.Table:
    """Encode a frame as an Arrow table, with the metadata that :func:`decode` needs. Shares memory with `df` where possible.

    Parameters
    ----------
    df : DataFrame
    embeddings : None, bool, label, list of labels, or dict
        None: detect vector columns. False: there are none. Labels: these are vectors (also of ints). A dict has an option per column:
        False, True, or the float width to narrow to ("float16", "float32", "float64").
    documents : label or list of labels
        Text columns whose cells are documents.
    prepared : mapping of label to struct array, optional
        File columns: path, size_bytes, modified, sha256, stored, one row per row of `df`.
    arrays : sequence, optional
        What :func:`arrays_of` returned for the frame.

    Raises
    ------
    UnsupportedColumn
        If a value cannot be stored exactly. The message names all such columns, each with its first bad row.
    InvalidInput
        If labels occur twice or an option names no column.

    Examples
    --------
    >>> from tablevault_pd.frames import encode
    >>> encode(pd.DataFrame({"a": [1, 2], "vec": [[0.5, 1.0], None]})).schema.types
    [DataType(int64), FixedSizeListType(fixed_size_list<item: double>[2])]
    """
    with _Refusing("the column labels"):
        listed, names, spec = labels.described(df.columns)
    options, default = embedding_options(embeddings, df.columns)
    texts = document_labels(documents, df.columns)
    ready = prepared or {}
    columns = arrays_of(df) if arrays is None else arrays

    def encode_one(number: int, label: Hashable) -> Encoded:
        values = columns[number]
        if label in ready:
            return objects.encode_files(ready[label], values)
        return encode_column(values, options.get(label, default), document=label in texts)

    with _Refusing("the index"):
        index, levels = labels.index_spec(df.index, set(names))
    return build(listed, names, encode_one, spec, index, levels, len(df))


class _Refusing:
    """Raises UnsupportedColumn, with `what`, for CannotEncode."""

    def __init__(self, what: str) -> None:
        self._what = what

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, CannotEncode):
            where = "" if error.row is None else f", row {error.row}"
            raise UnsupportedColumn(f"Nothing was stored. In {self._what}{where}: {error.reason}.") from None


def build(
    listed: list[Hashable],
    names: list[str],
    encode_one: Callable[[int, Hashable], Encoded],
    columns: Spec,
    index: Spec | None,
    levels: list[tuple[str, Any, Spec]],
    n_rows: int,
) -> pa.Table:
    """Encode every column and make the table; report all columns that cannot be encoded."""
    arrays, fields, bad = [], [], []
    for number, (label, name) in enumerate(zip(listed, names, strict=True)):
        try:
            array, spec = encode_one(number, label)
            if type(label) is not str:
                spec = {**spec, "label": labels.label_json(label)}
        except CannotEncode as error:
            bad.append((label, error))
            continue
        arrays.append(array)
        fields.append(_field(name, array.type, spec, label, bad))
    if bad:
        raise _refusal(bad)
    for name, array, spec in levels:
        arrays.append(array)
        fields.append(schemas.with_spec(name, array.type, spec))
    if not fields:
        arrays, fields = [pa.nulls(n_rows)], [schemas.hidden_field()]
    return pa.Table.from_arrays(arrays, schema=schemas.with_meta(fields, columns, index))


def _field(
    name: str, kind: pa.DataType, spec: Spec, label: Hashable, bad: list[tuple[Hashable, CannotEncode]]
) -> pa.Field | None:
    try:
        return schemas.with_spec(name, kind, spec)
    except UnicodeEncodeError:
        bad.append(
            (
                label,
                CannotEncode("the label holds a lone surrogate, which no UTF-8 text can; rename the column"),
            )
        )
        return None


def _refusal(bad: list[tuple[Hashable, CannotEncode]]) -> UnsupportedColumn:
    lines = [
        f"column {short_repr(label)}{'' if e.row is None else f', row {e.row}'}: {e.reason}"
        for label, e in bad
    ]
    if len(lines) == 1:
        return UnsupportedColumn(f"Nothing was stored. In {lines[0]}.")
    return UnsupportedColumn(
        f"Nothing was stored. {len(lines)} columns cannot be:\n" + "\n".join(f"- {x}" for x in lines)
    )


def encode_column(values: Any, option: EmbeddingOption = None, *, document: bool = False) -> Encoded:
    """Encode one column. Raises CannotEncode."""
    if document:
        return as_document(encode_array(values), values)
    dtype = values.dtype
    if dtype.kind == "O" and isinstance(dtype, np.dtype):
        return _encode_objects(np.asarray(values), option)
    encoded = encode_array(values)
    if option is not False and isinstance(dtype, pd.ArrowDtype):
        return arrow_vectors(encoded, option)
    if option is not None and option is not False:
        raise CannotEncode(
            f"embeddings= names it, but its dtype is {dtype}; cells must be sequences of numbers of one length"
        )
    return encoded


def _encode_objects(values: np.ndarray, option: EmbeddingOption) -> Encoded:
    cells = objects.CellTypes(values)
    if option is not False and (option is not None or vectors.may_be_vectors(cells)):
        encoded = vectors.encode_vectors(cells, option)
        if encoded is not None:
            return encoded
    return objects.encode_cells(cells)


def arrow_vectors(encoded: Encoded, option: EmbeddingOption) -> Encoded:
    """Mark an Arrow list column as embedding if its rows are vectors. Raises CannotEncode if `option` demands it and they are not."""
    array, spec = encoded
    is_demanded = option is not None
    if is_demanded and vectors.is_list(array.type):
        array = vectors.arrow_floats(array, option)
    dim = vectors.arrow_dim(array)
    if dim is None:
        if is_demanded:
            raise CannotEncode(
                f"embeddings= names it, but the cells ({array.type}) are no vectors of one length without nulls"
            )
        return encoded
    return Encoded(array, {**spec, "kind": "embedding", "dim": dim})


def as_document(encoded: Encoded, values: Any = None) -> Encoded:
    """Return an encoded column as documents. Raises CannotEncode if its cells are no texts."""
    kind = encoded.array.type
    if encoded.spec["codec"] == "json":
        raise _no_texts(objects.CellTypes(np.asarray(values)))
    if not (is_text(kind) or pa.types.is_null(kind)):
        raise CannotEncode(f"documents= names it, but it holds other things than text ({kind})")
    return Encoded(encoded.array, {**encoded.spec, "kind": "document"})


def _no_texts(cells: objects.CellTypes) -> CannotEncode:
    gone = cells.missing()
    for row, value in enumerate(cells.values):
        if not gone[row] and type(value) is not str:
            return CannotEncode(
                f"documents= names it, but this is a {type(value).__name__}; leave the column out of documents=",
                row,
            )
    return vectors.two_markers(cells)


def is_text(kind: pa.DataType) -> bool:
    """Return whether an Arrow type is text, dictionary-encoded or not."""
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


# -- the options of columns


_WIDTHS = ("float16", "float32", "float64")


def embedding_options(
    embeddings: Any, labels: Collection[Hashable]
) -> tuple[dict[Hashable, EmbeddingOption], EmbeddingOption]:
    """Return the options of single columns, and the option of all others. Raises InvalidInput."""
    if embeddings is None or embeddings is True:
        return {}, None
    if embeddings is False:
        return {}, False
    if isinstance(embeddings, Mapping):
        options = {label: _option(label, value) for label, value in embeddings.items()}
    else:
        options = dict.fromkeys(_named(embeddings, labels), True)
    _check_known("embeddings", options, labels)
    return options, None


def _option(label: Hashable, value: Any) -> EmbeddingOption:
    if value is None or isinstance(value, bool):
        return value
    try:
        name = np.dtype(value).name
    except TypeError:
        name = ""
    if name not in _WIDTHS:
        raise InvalidInput(
            f"embeddings={{{short_repr(label)}: {short_repr(value)}}}: give False, True or one of {', '.join(_WIDTHS)}."
        )
    dtype: np.dtype = np.dtype(name)
    return dtype


def document_labels(documents: Any, labels: Collection[Hashable]) -> set[Hashable]:
    """Return the labels named by ``documents=``. Raises InvalidInput."""
    if documents is None or documents is False or (isinstance(documents, list | tuple) and not documents):
        return set()
    named = set(_named(documents, labels))
    _check_known("documents", named, labels)
    return named


def _named(option: Any, labels: Collection[Hashable]) -> list[Hashable]:
    if isinstance(option, str | bytes) or not hasattr(option, "__iter__"):
        return [validate.label(option, "embeddings")]
    if isinstance(option, tuple) and option and option in labels:
        return [option]  # one label of a column MultiIndex
    return [validate.label(label, "embeddings") for label in validate.items(option)]


def _check_known(option: str, named: Collection[Hashable], labels: Collection[Hashable]) -> None:
    unknown = [label for label in named if label not in labels]
    if unknown:
        there = ", ".join(map(short_repr, list(labels)[:20]))
        raise InvalidInput(
            f"{option}= names {', '.join(map(short_repr, unknown))}, but there is no such column. There are: {there or 'none'}."
        )


# -- one row


def encode_row(row: Mapping[Hashable, Any]) -> pa.Table | None:
    """Return the row as :func:`encode` makes it of ``pd.DataFrame([row])``; None if that depends on more than the types of its values.

    Examples
    --------
    >>> from tablevault_pd.frames import encode_row
    >>> encode_row({"step": 1, "loss": 0.5}).schema.types
    [DataType(int64), DataType(double)]
    """
    labels, kinds = tuple(row), tuple(map(type, row.values()))
    if not row or not _PLAIN.keys() >= set(kinds) or not _TEXT.issuperset(map(type, labels)):
        return None
    try:
        schema, types = _schema(labels, kinds, _dtype_of_texts())
        columns = list(map(_array_of_one, row.values(), types))
    except (OverflowError, UnicodeEncodeError, pa.ArrowException):  # encode() says what is wrong, and where
        return None
    return pa.Table.from_arrays(columns, schema=schema)


#: The bytes of a value in Arrow's memory.
_BYTES: dict[type, Callable[[Any], bytes]] = {
    bool: (b"\0", b"\1").__getitem__,
    int: lambda number: number.to_bytes(8, sys.byteorder, signed=True),
    float: struct.Struct("=d").pack,
}


def _array_of_one(value: Any, kind: pa.DataType) -> pa.Array:
    """Return one value as an array: of its bytes where possible, which takes a third of the time."""
    as_bytes = _BYTES.get(type(value))
    if as_bytes is None:
        return pa.array([value], kind)
    return pa.Array.from_buffers(kind, 1, [None, pa.py_buffer(as_bytes(value))])


def _dtype_of_texts() -> Hashable:
    """Return what tells the dtype that pandas gives to texts now: it depends on its options."""
    if PANDAS_3:
        return getattr(pd.api.types.pandas_dtype(str), "storage", None)
    dtype = pd.Index(["text"]).dtype
    return repr(dtype), getattr(dtype, "storage", None)


@lru_cache(maxsize=256)
def _schema(
    labels: tuple[str, ...], kinds: tuple[type, ...], text_dtype: Hashable
) -> tuple[pa.Schema, list[pa.DataType]]:
    """Return the schema of such rows, and the types of their columns.

    What pandas makes of texts, labels too, depends on its options: on `text_dtype`.
    """
    row = {label: _PLAIN[kind] for label, kind in zip(labels, kinds, strict=True)}
    schema = encode(pd.DataFrame([row])).schema
    return schema, schema.types
