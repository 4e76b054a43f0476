"""pandas frames as Arrow tables and back, exactly. Pure: no files, no store.

Every column is written by a codec (:mod:`codecs`, :mod:`times`, :mod:`categories`, :mod:`objects`, :mod:`vectors`,
:mod:`arrow`) and has the spec that decodes it. :mod:`encode` and :mod:`decode` do so for whole frames, :mod:`labels` for labels
and the index, :mod:`documents` for the places of texts. :mod:`schema_evolution` fits frames of different dtypes into one list,
by the rules of :mod:`promotion`.
"""

from tablevault_pd.frames.arrow import encode_arrow
from tablevault_pd.frames.codecs import arrays_of, frame_of
from tablevault_pd.frames.decode import (
    TextColumn,
    cells_of,
    decode,
    empty,
    matrix,
    text_column,
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
from tablevault_pd.frames.key_cells import key_column, key_columns
from tablevault_pd.frames.promotion import fields_with_values
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
    dtype_text,
    field_for,
    field_labels,
    fields_beside,
    index_fields,
    index_names,
    key_fields,
    language_of,
    level_fields,
    nested_columns,
    once_for_each_schema,
    part_of,
    placed,
    reset_index,
    select,
    spec_of,
    with_key,
    with_language,
)
from tablevault_pd.frames.vectors import vectors_of
