"""pandas frames as Arrow tables and back, exactly. Pure: no files, no store.

Every column is written by a codec (:mod:`codecs`, :mod:`times`, :mod:`categories`, :mod:`objects`, :mod:`vectors`,
:mod:`arrow`) and has the spec that decodes it. :mod:`encode` and :mod:`decode` do so for whole frames, :mod:`labels` for labels
and the index, :mod:`documents` for the places of texts. :mod:`schema_evolution` fits frames of different dtypes into one list,
by the rules of :mod:`promotion`.
"""

from tablevault_pd.frames.arrow import encode_arrow
from tablevault_pd.frames.decode import (
    TextColumn,
    cells_of,
    decode,
    empty,
    matrix,
    text_columns,
    texts,
    to_arrow,
)
from tablevault_pd.frames.documents import (
    lengths_of,
    offsets_of,
    reach_of,
    same_but_reach,
    start_field,
    with_documents,
    with_offsets,
)
from tablevault_pd.frames.encode import encode, encode_row
from tablevault_pd.frames.equal import equal_rows, same
from tablevault_pd.frames.levels import placed, reset_index
from tablevault_pd.frames.schema_evolution import (
    Merge,
    ValueCheck,
    align,
    encode_cell,
    fit_index,
    loosened,
    merge,
    run_check,
    without_numbers,
)
from tablevault_pd.frames.schemas import (
    Column,
    as_stored,
    beside,
    columns,
    contents,
    field_for,
    field_labels,
    fields_beside,
    index_fields,
    index_names,
    key_fields,
    nested_columns,
    part_of,
    select,
    spec_of,
    with_key,
)
from tablevault_pd.frames.vectors import vectors_of

__all__ = [
    "Column",
    "Merge",
    "TextColumn",
    "ValueCheck",
    "align",
    "as_stored",
    "beside",
    "cells_of",
    "columns",
    "contents",
    "decode",
    "empty",
    "encode",
    "encode_arrow",
    "encode_cell",
    "encode_row",
    "equal_rows",
    "field_for",
    "field_labels",
    "fields_beside",
    "fit_index",
    "index_fields",
    "index_names",
    "key_fields",
    "lengths_of",
    "loosened",
    "matrix",
    "merge",
    "nested_columns",
    "offsets_of",
    "part_of",
    "placed",
    "reach_of",
    "reset_index",
    "run_check",
    "same",
    "same_but_reach",
    "select",
    "spec_of",
    "start_field",
    "text_columns",
    "texts",
    "to_arrow",
    "vectors_of",
    "with_documents",
    "with_key",
    "with_offsets",
    "without_numbers",
]
