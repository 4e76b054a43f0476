"""pandas frames as Arrow tables and back, exactly. Pure: no files, no store.

Every column is written by a codec (:mod:`codecs`, :mod:`times`, :mod:`categories`, :mod:`objects`, :mod:`vectors`) and carries
the spec that turns it back; :mod:`labels` keeps the labels and the index, :mod:`schema_evolution` says how frames of different dtypes
live in one list.
"""

from tablevault_pd.frames.arrow import encode_arrow, to_arrow
from tablevault_pd.frames.decode import decode, empty, matrix
from tablevault_pd.frames.encode import encode, encode_row
from tablevault_pd.frames.equal import same
from tablevault_pd.frames.schema_evolution import Merge, ValueCheck, align, fit_index, merge, run_check
from tablevault_pd.frames.schemas import (
    Column,
    as_stored,
    columns,
    contents,
    field_for,
    index_fields,
    index_names,
    nested_columns,
    select,
)
from tablevault_pd.frames.texts import TextColumn, text_columns, texts
from tablevault_pd.frames.vectors import vectors_of

__all__ = [
    "Column",
    "Merge",
    "TextColumn",
    "ValueCheck",
    "align",
    "as_stored",
    "columns",
    "contents",
    "decode",
    "empty",
    "encode",
    "encode_arrow",
    "encode_row",
    "field_for",
    "fit_index",
    "index_fields",
    "index_names",
    "matrix",
    "merge",
    "nested_columns",
    "run_check",
    "same",
    "select",
    "text_columns",
    "texts",
    "to_arrow",
    "vectors_of",
]
