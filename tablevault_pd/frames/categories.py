"""Categoricals: codes over an Arrow dictionary that holds the categories.

Unordered categories are stored with the rows alone, as the dictionary of every chunk: the schema of a list stays small, and
does not change with new categories. The spec also holds ordered categories, since two orders are compared before rows are
added; categories that Arrow dictionaries cannot hold (intervals); and an empty set of categories, which fits all others.
"""

from __future__ import annotations

import base64
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from tablevault_pd.errors import VaultCorrupt
from tablevault_pd.frames import buffers, cells
from tablevault_pd.frames.codecs import (
    CannotEncode,
    Codec,
    Encoded,
    Spec,
    codec_of,
    decode_column,
    encode_array,
    encodes_dtype,
    register,
)
from tablevault_pd.frames.times import freq_spec, with_freq


@register
class _CategoryCodec(Codec):
    name = "category"

    def dtype(self, spec: Spec, kind: pa.DataType) -> Any:
        return pd.CategoricalDtype(categories_of(spec) if "categories" in spec else None, spec["ordered"])

    def text(self, spec: Spec, kind: pa.DataType) -> str:
        return "category"

    def storage(self, spec: Spec) -> pa.DataType:
        kind = value_type(spec)
        return pa.dictionary(pa.int32(), kind, spec["ordered"]) if _flat(kind) else pa.int32()

    def decode(self, column: pa.ChunkedArray, spec: Spec, *, private: bool) -> Any:
        if "categories" in spec:
            try:
                return pd.Categorical.from_codes(codes_of(column), dtype=self.dtype(spec, None))
            except ValueError as error:  # pandas follows codes without a look
                raise VaultCorrupt(
                    f"A categorical column has codes of no category: {error}. Restore a backup."
                ) from error
        codes, categories = opened(column, spec)
        return pd.Categorical.from_codes(codes, dtype=pd.CategoricalDtype(categories), validate=False)


@encodes_dtype(pd.CategoricalDtype)
def _encode_categories(values: Any) -> Encoded:
    array, inner = encode_array(values.categories.array)
    words = buffers.single(pa.chunked_array([array]) if isinstance(array, pa.Array) else array)
    spec = {"codec": "category", "ordered": bool(values.ordered), "values": _describe_type(inner, words.type)}
    spec |= freq_spec(values.categories) | _name_spec(values.categories)
    if values.ordered or not _flat(words.type) or not len(words):
        spec["categories"] = pack(words)
    return Encoded(_coded(np.asarray(values.codes), words, ordered=bool(values.ordered)), spec)


def _name_spec(categories: pd.Index) -> Spec:
    if categories.name is None:
        return {}
    try:
        return {"name": cells.name_plain(categories.name)}
    except cells.CannotSerialize as error:
        raise CannotEncode(f"the name of the categories: {error}") from None


def _named(categories: pd.Index, spec: Spec) -> pd.Index:
    """Return the categories with the name and the frequency that the spec has."""
    if "name" in spec:
        categories = categories.rename(cells.from_plain(spec["name"]))
    return with_freq(categories, spec.get("freq"))


def _coded(codes: np.ndarray, words: pa.Array, *, ordered: bool) -> pa.Array:
    """Return the Arrow array of these codes (-1: missing)."""
    missing = codes < 0
    valid = ~missing if missing.any() else None
    indices = buffers.to_arrow(codes.astype("i4", copy=False), pa.int32(), valid)
    if not _flat(words.type):
        return indices
    return pa.DictionaryArray.from_arrays(indices, words, ordered=ordered, safe=False)


def from_codes(codes: np.ndarray, spec: Spec) -> pa.Array:
    """Return the Arrow array of these codes (-1: missing) under a category spec; without categories, if the spec has none."""
    words = unpack(spec["categories"]) if "categories" in spec else pa.array([], value_type(spec))
    return _coded(codes, words, ordered=spec["ordered"])


def codes_of(column: pa.ChunkedArray) -> np.ndarray:
    """Return the codes of an encoded categorical whose chunks share their categories, -1 where missing."""
    if pa.types.is_dictionary(column.type):
        chunks = [chunk.indices for chunk in column.chunks]
        column = pa.chunked_array(chunks, column.type.index_type)
    codes = buffers.column_values(column, np.dtype(column.type.to_pandas_dtype()), private=False)
    if codes.dtype.kind == "u":  # written by other tools; -1 marks missing cells
        codes = codes.astype("i8")
    if column.null_count:
        codes[~buffers.column_valid(column)] = -1
    return codes


# ---------------------------------------------------------------- categories that are stored with the rows


def opened(column: pa.ChunkedArray, spec: Spec) -> tuple[np.ndarray, pd.Index]:
    """Codes, and the categories of all chunks in the order in which the chunks bring them."""
    categories = pd.Index(_index(pa.array([], column.type.value_type), spec))
    codes: list[np.ndarray] = [np.zeros(0, "i4")]
    places: np.ndarray | None = None
    last = None
    for chunk in column.chunks:
        if last is None or not chunk.dictionary.equals(last):
            last = chunk.dictionary
            categories, places = _joined(categories, _index(last, spec))
        chunk_codes = codes_of(pa.chunked_array([chunk.indices]))
        codes.append(chunk_codes if places is None else np.append(places, -1)[chunk_codes])
    whole = codes[1] if len(codes) == 2 else np.concatenate(codes)
    return whole, _named(categories, spec)


def _joined(there: pd.Index, more: pd.Index) -> tuple[pd.Index, np.ndarray | None]:
    """Return the union of both, and the codes of `more` in it; None if they do not change."""
    if not len(there) and more.is_unique:
        return more, None
    # Not by their Arrow values: pandas takes 1 and True, or 0.0 and -0.0, for one category.
    extra = more[there.get_indexer(more) < 0].unique() if len(there) else more.unique()
    joined = (
        index_of(np.concatenate([there.array, extra.array])) if more.dtype == "O" else there.append(extra)
    )
    return joined, joined.get_indexer(more)


def _index(words: pa.Array, spec: Spec) -> pd.Index:
    return index_of(decode_column(pa.chunked_array([words]), spec["values"]))


def index_of(values: Any) -> pd.Index:
    """Return an Index of exactly these values and this dtype."""
    index: pd.Index = pd.Index(values, dtype=values.dtype, copy=False, tupleize_cols=False)
    return index


# ---------------------------------------------------------------- categories that the spec holds


def categories_of(spec: Spec) -> pd.Index:
    """Return the categories in a spec."""
    return _named(_index(unpack(spec["categories"]), spec), spec)


def has_none(spec: Spec) -> bool:
    """Return whether a spec has an empty set of categories."""
    return "categories" in spec and not len(unpack(spec["categories"]))


def category_spec(categories: pd.Index, *, ordered: bool) -> Spec:
    """Return the spec of a categorical with these categories."""
    return encode_array(pd.Categorical.from_codes(np.zeros(0, "i8"), categories, ordered=ordered)).spec


def value_type(spec: Spec) -> pa.DataType:
    """Return the Arrow type of the categories."""
    inner = spec["values"]
    return _type_of(inner) if inner["codec"] == "arrow" else codec_of(inner).storage(inner)


def value_dtype(spec: Spec) -> Any:
    """Return the pandas dtype of the categories."""
    return dtype_of(spec["values"])


def _flat(kind: pa.DataType) -> bool:
    """Return whether `kind` may be the value type of an Arrow dictionary that other tools read."""
    return not (pa.types.is_nested(kind) or pa.types.is_null(kind))


# ---------------------------------------------------------------- specs of a dtype, without an Arrow type or rows


def full_spec(values: Any) -> Spec:
    """Return a spec from which the dtype of a pandas array can be rebuilt without its rows."""
    array, spec = encode_array(values)
    if spec["codec"] == "category" and "categories" not in spec:
        return spec | {"categories": pack(array.dictionary)}
    return _describe_type(spec, array.type)


def dtype_of(spec: Spec) -> Any:
    """Return the pandas dtype of a :func:`full_spec`."""
    return codec_of(spec).dtype(spec, _type_of(spec) if spec["codec"] == "arrow" else None)


def _describe_type(spec: Spec, kind: pa.DataType) -> Spec:
    return spec | {"type": pack(pa.array([], kind))} if spec["codec"] == "arrow" else spec


def _type_of(spec: Spec) -> pa.DataType:
    return unpack(spec["type"]).type


def pack(array: pa.Array) -> str:
    """Return an Arrow array as text: an IPC stream in base64."""
    batch = pa.record_batch([array], names=["values"])
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return base64.b64encode(sink.getvalue()).decode("ascii")


@lru_cache(maxsize=64)
def unpack(packed: str) -> pa.Array:
    """Return the array of a packed column."""
    with pa.ipc.open_stream(base64.b64decode(packed)) as reader:
        return buffers.single(reader.read_all().column(0))
