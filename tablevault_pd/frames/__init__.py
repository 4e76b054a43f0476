"""pandas frames as Arrow tables and back, exactly. Pure: no files, no store.

Every column is written by a codec (:mod:`codecs`, :mod:`objects`, :mod:`vectors`) and carries the spec that turns it back;
:mod:`labels` keeps the labels and the index, :mod:`evolve` says how frames of different dtypes live in one list.
"""

from .arrow import encode_arrow, to_arrow
from .equal import same
from .evolve import Merge, ValueCheck, align, merge, run_check
from .main import decode, encode, matrix
from .positions import fit_index
from .schemas import Column, columns, field_for, index_fields, select
from .texts import TextColumn, text_columns, texts
from .vectors import vectors_of

__all__ = [
    "Column",
    "Merge",
    "TextColumn",
    "ValueCheck",
    "align",
    "columns",
    "decode",
    "encode",
    "encode_arrow",
    "field_for",
    "fit_index",
    "index_fields",
    "matrix",
    "merge",
    "run_check",
    "same",
    "select",
    "text_columns",
    "texts",
    "to_arrow",
    "vectors_of",
]
