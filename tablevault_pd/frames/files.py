"""File columns: paths with what was known of the files when they were saved."""

from __future__ import annotations

import pathlib
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from tablevault_pd.frames import buffers
from tablevault_pd.frames.categories import dtype_of, full_spec
from tablevault_pd.frames.codecs import CannotEncode, Codec, Encoded, Spec, register
from tablevault_pd.frames.objects import MARKERS, CellTypes, objects

FILE_TYPE = pa.struct(
    [
        ("path", pa.string()),
        ("size_bytes", pa.int64()),
        ("modified", pa.timestamp("us", "UTC")),
        ("sha256", pa.string()),
        ("stored", pa.bool_()),
        ("folder", pa.string()),  # that a relative path starts from
    ]
)


def encode_files(array: pa.Array, values: Any) -> Encoded:
    """A prepared file column; `values` are the cells it came from. Raises CannotEncode."""
    if len(array) != len(values):
        raise CannotEncode(f"{len(array)} files were prepared for {len(values)} rows")
    array = array.cast(FILE_TYPE)
    if values.dtype != object:
        return Encoded(
            array, {"codec": "file", "kind": "file", "cells": "text", "text": full_spec(values[:0])}
        )
    survey = CellTypes(np.asarray(values))
    is_path = bool(survey.kinds) and all(issubclass(kind, pathlib.PurePath) for kind in survey.kinds)
    cells = "path" if is_path else "str"
    return Encoded(array, {"codec": "file", "kind": "file", "cells": cells, "missing": survey.marker})


@register
class _FileCodec(Codec):
    """The path comes back as it was given: str, pathlib.Path, or a string dtype."""

    name = "file"

    def dtype(self, spec: Spec, kind: pa.DataType) -> Any:
        return dtype_of(spec["text"]) if "text" in spec else np.dtype(object)

    def storage(self, spec: Spec) -> pa.DataType:
        return FILE_TYPE

    def decode(self, column: pa.ChunkedArray, spec: Spec, *, private: bool) -> Any:
        paths = [row and row["path"] for row in column.to_pylist()]
        if "text" in spec:
            return pd.array(paths, dtype=self.dtype(spec, column.type))
        make = pathlib.Path if spec["cells"] == "path" else str
        found = objects([path if path is None else make(path) for path in paths])
        found[~buffers.column_valid(column)] = MARKERS[spec["missing"]]
        return found
