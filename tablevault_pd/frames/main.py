"""encode and decode: a frame becomes an Arrow table column by column, and comes back the same way."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa

from tablevault_pd.errors import InvalidInput, MissingDependency, UnsupportedColumn, shown
from tablevault_pd.frames import files, labels, objects, schemas, vectors
from tablevault_pd.frames.codecs import Encoded, Refused, Spec, decode_column, encode_array, unwrapped
from tablevault_pd.frames.column_options import document_labels, embedding_wishes
from tablevault_pd.frames.timezones import UnknownZone

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence

    from tablevault_pd.frames.vectors import Wish


def encode(
    df: pd.DataFrame,
    *,
    embeddings: Any = None,
    documents: Any = (),
    prepared: Mapping[Hashable, pa.Array] | None = None,
) -> pa.Table:
    """The frame as an Arrow table with the metadata that :func:`decode` needs. Shares memory with `df` where it can.

    Parameters
    ----------
    df : DataFrame
    embeddings : None, bool, label, list of labels, or dict
        None: find vector columns. False: there are none. Labels: these are (also of ints). A dict says it per column:
        False, True, or the float width to narrow to ("float16", "float32", "float64").
    documents : label or list of labels
        Text columns whose cells are documents.
    prepared : mapping of label to struct array, optional
        File columns: path, size_bytes, modified, sha256, stored, one row per row of `df`.

    Raises
    ------
    UnsupportedColumn
        If something cannot be stored exactly. All such columns are named, each with its first bad row.
    InvalidInput
        If labels occur twice or an option names no column.

    Examples
    --------
    >>> from tablevault_pd.frames import encode
    >>> encode(pd.DataFrame({"a": [1, 2], "vec": [[0.5, 1.0], None]})).schema.types
    [DataType(int64), FixedSizeListType(fixed_size_list<item: double>[2])]
    """
    labels.check_unique(df.columns)
    with _refusing("the column labels"):
        listed = labels.listed(df.columns)
    wishes, default = embedding_wishes(embeddings, df.columns)
    texts = document_labels(documents, df.columns)
    ready = prepared or {}

    # By number: some labels of a MultiIndex with missing entries cannot be looked up.
    columns = (
        [df.iloc[:, at].array for at in range(df.shape[1])]
        if df.columns.nlevels > 1
        else [series.array for _, series in df.items()]
    )

    def encode_one(at: int, label: Hashable) -> Encoded:
        values = unwrapped(columns[at])
        if label in ready:
            return files.encode_files(ready[label], values)
        return encode_column(values, wishes.get(label, default), document=label in texts)

    with _refusing("the column labels"):
        spec = labels.columns_spec(df.columns)
    with _refusing("the index"):
        index, levels = labels.index_spec(df.index, set(labels.field_names(listed)))
    return build(listed, encode_one, spec, index, levels, len(df))


@contextmanager
def _refusing(what: str) -> Iterator[None]:
    """A refusal of something that is no column, as the error that users see."""
    try:
        yield
    except Refused as error:
        at = "" if error.row is None else f", row {error.row}"
        raise UnsupportedColumn(f"Nothing was stored. In {what}{at}: {error.reason}.") from None


def build(
    listed: list[Hashable],
    encode_one: Callable[[int, Hashable], Encoded],
    columns: Spec,
    index: Spec | None,
    levels: list[tuple[str, Any, Spec]],
    n_rows: int,
) -> pa.Table:
    """Encode every column, report all that cannot be, and put the table together."""
    arrays, fields, bad = [], [], []
    for at, (label, name) in enumerate(zip(listed, labels.field_names(listed), strict=True)):
        try:
            array, spec = encode_one(at, label)
            if type(label) is not str:
                spec = {**spec, "label": labels.label_json(label)}
        except Refused as error:
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
    name: str, kind: pa.DataType, spec: Spec, label: Hashable, bad: list[tuple[Hashable, Refused]]
) -> pa.Field | None:
    try:
        return schemas.with_spec(name, kind, spec)
    except UnicodeEncodeError:
        bad.append(
            (label, Refused("the label holds a lone surrogate, which no UTF-8 text can; rename the column"))
        )
        return None


def _refusal(bad: list[tuple[Hashable, Refused]]) -> UnsupportedColumn:
    lines = [
        f"column {shown(label)}{'' if e.row is None else f', row {e.row}'}: {e.reason}" for label, e in bad
    ]
    if len(lines) == 1:
        return UnsupportedColumn(f"Nothing was stored. In {lines[0]}.")
    return UnsupportedColumn(
        f"Nothing was stored. {len(lines)} columns cannot be:\n" + "\n".join(f"- {x}" for x in lines)
    )


def encode_column(values: Any, wish: Wish = None, *, document: bool = False) -> Encoded:
    """Encode one column as its values and the caller's wish say. Raises Refused."""
    if document:
        return _as_document(encode_array(values), values)
    dtype = values.dtype
    if dtype.kind == "O" and isinstance(dtype, np.dtype):
        return _encode_objects(np.asarray(values), wish)
    encoded = encode_array(values)
    if wish is not False and isinstance(dtype, pd.ArrowDtype):
        return arrow_vectors(encoded, wish)
    if wish is not None and wish is not False:
        raise Refused(
            f"embeddings= names it, but its dtype is {dtype}; cells must be sequences of numbers of one length"
        )
    return encoded


def _encode_objects(values: np.ndarray, wish: Wish) -> Encoded:
    survey = objects.Survey(values)
    if wish is not False and (wish is not None or vectors.may_be_vectors(survey)):
        found = vectors.encode_vectors(survey, wish)
        if found is not None:
            return found
    return objects.encode_surveyed(survey)


def arrow_vectors(encoded: Encoded, wish: Wish) -> Encoded:
    """Mark an Arrow list column as embedding if its rows are vectors. Raises Refused if they were said to be."""
    array, spec = encoded
    asked = wish is not None
    if asked and vectors.is_list(array.type):
        array = vectors.arrow_floats(array, wish)
    dim = vectors.arrow_dim(array)
    if dim is None:
        if asked:
            raise Refused(
                f"embeddings= names it, but the cells ({array.type}) are no vectors of one length without nulls"
            )
        return encoded
    return Encoded(array, {**spec, "kind": "embedding", "dim": dim})


def _as_document(encoded: Encoded, values: Any = None) -> Encoded:
    kind = encoded.array.type
    if encoded.spec["codec"] == "json":
        raise _no_texts(objects.Survey(np.asarray(values)))
    if not (is_text(kind) or pa.types.is_null(kind)):
        raise Refused(f"documents= names it, but it holds other things than text ({kind})")
    return Encoded(encoded.array, {**encoded.spec, "kind": "document"})


def _no_texts(survey: objects.Survey) -> Refused:
    gone = survey.missing()
    for row, value in enumerate(survey.values):
        if not gone[row] and type(value) is not str:
            return Refused(
                f"documents= names it, but this is a {type(value).__name__}; leave the column out of documents=",
                row,
            )
    return vectors.two_markers(survey)


def is_text(kind: pa.DataType) -> bool:
    """Whether an Arrow type is text, dictionary-encoded or not."""
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def decode(
    tables: Sequence[pa.Table], schema: pa.Schema, *, positions: np.ndarray | range, private: bool = False
) -> pd.DataFrame:
    """The frame that these tables hold, always writable.

    Parameters
    ----------
    tables : sequence of Table
        The rows in order, aligned to `schema` (see :func:`align`); fields beyond `schema` are passed over.
    schema : Schema
        As :func:`encode` made it, or a :func:`select` of it.
    positions : range or integer array, one per row
        The index ``position`` of the frame when the list has no index of its own.
    private : bool
        Whether the tables' memory belongs to this call alone: then NumPy columns of a single chunk are views of it.

    Raises
    ------
    MissingDependency
        If this machine lacks the time zone of a column, a label or the index.

    Examples
    --------
    >>> from tablevault_pd.frames import decode, encode
    >>> table = encode(pd.DataFrame({"a": [1, 2]}))
    >>> decode([table], table.schema, positions=range(2)).a.tolist()
    [1, 2]
    """
    meta = schemas.meta_of(schema)
    levels = (
        [(gather(tables, f), spec) for f, spec in schemas.level_fields(schema)] if meta.get("index") else []
    )
    pairs = schemas.data_fields(schema)
    series = {}
    what = "The index"
    try:
        if levels:
            index = labels.build_index(levels, meta["index"], private=private)
        else:
            index = labels.positions_index(positions)
        for at, (field, spec) in enumerate(pairs):
            what = f"Column {field.name!r}"
            series[at] = _series(decode_column(gather(tables, field), spec, private=private), index)
        frame = pd.DataFrame(series, index=index, copy=False)
        what = "The column labels"
        frame.columns = labels.columns_index([schemas.exact_label(*pair) for pair in pairs], meta["columns"])
    except UnknownZone as error:
        raise MissingDependency(
            f"{what} cannot be read on this machine, which lacks the time zone {shown(str(error))}. "
            "Install the time zones with: pip install tzdata"
        ) from None
    return frame


def empty(schema: pa.Schema) -> pd.DataFrame:
    """A frame of no rows with the columns of `schema`; of dtype object where this machine lacks a column's time zone."""
    table = schema.empty_table()
    try:
        return decode([table], schema, positions=range(0))
    except MissingDependency:
        return pd.DataFrame(
            {each.label: _empty(table, schema, each.label) for each in schemas.columns(schema)}
        )


def _empty(table: pa.Table, schema: pa.Schema, label: Hashable) -> Any:
    try:
        return decode([table], schemas.select(schema, [label]), positions=range(0)).iloc[:, 0]
    except MissingDependency:
        return pd.Series([], dtype=object)


def _series(values: Any, index: pd.Index) -> Any:
    # pandas would make text of an object array; a Series of dtype object stays one.
    if values.dtype == object:
        return pd.Series(values, index=index, dtype=object, copy=False)
    return values


def gather(tables: Sequence[pa.Table], field: pa.Field) -> pa.ChunkedArray:
    """One column of all tables, without chunks that say nothing."""
    keep = pa.types.is_dictionary(field.type)  # without rows it still says which categories there are
    chunks = [chunk for table in tables for chunk in table.column(field.name).chunks if keep or len(chunk)]
    return pa.chunked_array(chunks, field.type)


def matrix(tables: Sequence[pa.Table], field: str) -> np.ndarray:
    """The vectors of an embedding column as one (n, dim) matrix, to be read only; a view for one chunk without gaps.

    Examples
    --------
    >>> from tablevault_pd.frames import encode, matrix
    >>> matrix([encode(pd.DataFrame({"vec": [[0.5, 1.0], None]}))], "vec")
    array([[0.5, 1. ],
           [nan, nan]])
    """
    if not tables:
        raise InvalidInput("matrix() needs at least one table")
    kind = tables[0].schema.field(field)
    return vectors.matrix_of(gather(tables, kind), schemas.spec_of(kind)["dim"])
