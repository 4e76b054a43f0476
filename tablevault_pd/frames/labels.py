"""Column labels and the row index: what becomes a field name, what becomes metadata, and the way back."""

from __future__ import annotations

import json
from collections.abc import Hashable, Iterable
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from tablevault_pd.errors import InvalidInput, UnsupportedColumn, shown
from tablevault_pd.frames import cells
from tablevault_pd.frames.categories import dtype_of, full_spec
from tablevault_pd.frames.codecs import Refused, Spec, decode_column, encode_array
from tablevault_pd.frames.freqs import freq_spec, with_freq

POSITION = "position"


# ---------------------------------------------------------------- labels


def label_json(label: Hashable) -> Any:
    """A label as JSON data. Raises Refused."""
    try:
        return cells.to_plain(label)
    except cells.Unstorable as error:
        raise Refused(f"the label: {error}") from None


def label_key(plain: Any) -> str:
    """A text that is equal for equal labels of equal type."""
    return json.dumps(plain, ensure_ascii=False, separators=(",", ":"))


def check_unique(columns: pd.Index) -> None:
    """Refuse duplicate labels, all of them by name."""
    if len(columns) < 100 and len({name for name in columns if type(name) is str}) == len(columns):
        return  # pandas would build a hash table first, which costs more than a whole one-row frame
    if not columns.is_unique:
        twice = list(dict.fromkeys(columns[columns.duplicated()]))
        raise InvalidInput(
            f"Column labels must be unique; these occur more than once: {', '.join(map(shown, twice))}. "
            "Rename them, e.g. df.columns = [...]."
        )


def unique_name(wanted: str, taken: set[str]) -> str:
    """`wanted`, or `wanted` with a number, such that it is not in `taken`; notes it there."""
    name, number = wanted, 1
    while name in taken:
        number += 1
        name = f"{wanted}_{number}"
    taken.add(name)
    return name


def field_names(labels: Iterable[Hashable]) -> list[str]:
    """Unique Arrow field names: texts as they are, other labels as text."""
    listed = list(labels)
    taken = {label for label in listed if type(label) is str}
    return [label if type(label) is str else unique_name(text_of(label), taken) for label in listed]


def text_of(label: Hashable) -> str:
    """A label as text that UTF-8 can hold."""
    text = str(label)
    return text.encode("utf-8", "replace").decode("utf-8")


def columns_spec(columns: pd.Index) -> Spec:
    """How to rebuild the columns Index once its labels are known."""
    if isinstance(columns, pd.MultiIndex):
        levels = [_level_spec(level) for level in _levels(columns)]
        return {"names": [label_json(name) for name in columns.names], "levels": levels}
    spec: Spec = {"names": [label_json(columns.name)]}
    if isinstance(columns, pd.RangeIndex):
        return spec | {"range": [columns.start, columns.step], "dtype": {"codec": "numpy", "dtype": "int64"}}
    return spec | _level_spec(columns)


def _levels(index: pd.Index) -> list[pd.Index]:
    """The values of every level, with its name."""
    # Names that are integers hide the level numbers, so they come off first.
    bare = index.set_names([None] * index.nlevels)
    return [bare.get_level_values(i).rename(name) for i, name in enumerate(index.names)]


def _level_spec(level: pd.Index) -> Spec:
    if level.dtype.kind == "O" and isinstance(level.dtype, np.dtype):
        return {"dtype": None}
    if isinstance(level.dtype, pd.StringDtype):
        return {"dtype": _text_spec(level.dtype)}
    return {"dtype": full_spec(level.array)} | freq_spec(level)


@lru_cache(maxsize=16)
def _text_spec(dtype: pd.StringDtype) -> Spec:
    return full_spec(pd.array([], dtype=dtype))


def columns_index(labels: list[Hashable], spec: Spec) -> pd.Index:
    """The columns Index of these labels."""
    names = [cells.from_plain(name) for name in spec["names"]]
    if "levels" in spec:
        levels = spec["levels"]
        parts = [_level([label[i] for label in labels], level) for i, level in enumerate(levels)]  # type: ignore[index]  # tuples
        return pd.MultiIndex.from_arrays(parts, names=names)
    if "range" in spec:
        start, step = spec["range"]
        found = pd.RangeIndex(start, start + step * len(labels), step, name=names[0])
        if list(found) == labels:
            return found
    return _level(labels, spec).rename(names[0])


def _level(labels: list[Any], spec: Spec) -> pd.Index:
    if spec["dtype"] is None:
        return pd.Index(_objects(labels), dtype=object, tupleize_cols=False)
    dtype = dtype_of(spec["dtype"])
    index = pd.Index(labels, dtype=dtype) if labels else pd.Index(pd.array([], dtype=dtype))
    return with_freq(index, spec.get("freq"))


def _objects(labels: list[Any]) -> np.ndarray:
    return np.fromiter(labels, dtype=object, count=len(labels))


# ---------------------------------------------------------------- row index


def is_default(index: pd.Index) -> bool:
    """Whether the index is none of the frame's own: 0..n-1 unnamed, or positions."""
    if isinstance(index, pd.MultiIndex):
        return False
    if isinstance(index, pd.RangeIndex) and index.name is None:
        return index.start == 0 and index.step == 1
    return (
        index.name == POSITION
        and type(index.name) is str
        and index.dtype.kind in "iu"
        and isinstance(index.dtype, np.dtype)
    )


def index_spec(index: pd.Index, taken: set[str]) -> tuple[Spec | None, list[tuple[str, Any, Spec]]]:
    """Schema metadata of an index of its own, and its fields as (name, array, spec). Raises UnsupportedColumn."""
    if is_default(index):
        return None, []
    levels = _levels(index)
    fields = []
    for number, level in enumerate(levels):
        wanted = (
            level.name
            if isinstance(level.name, str)
            else ("index" if len(levels) == 1 else f"level_{number}")
        )
        name = unique_name(text_of(wanted), taken)
        try:
            array, spec = encode_array(level.array)
        except Refused as error:
            at = "" if error.row is None else f", row {error.row}"
            raise UnsupportedColumn(f"Index level {shown(level.name)}{at}: {error.reason}") from None
        fields.append((name, array, spec | {"index": number}))
    meta: Spec = {"names": [label_json(name) for name in index.names]}
    if isinstance(index, pd.MultiIndex):
        meta["multi"] = True
    if isinstance(index, pd.RangeIndex):
        meta["range"] = [index.start, index.step]
    return meta | freq_spec(index), fields


def build_index(columns: list[tuple[pa.ChunkedArray, Spec]], meta: Spec, *, private: bool) -> pd.Index:
    """The row index from its fields."""
    names = [cells.from_plain(name) for name in meta["names"]]
    levels = [_as_index(decode_column(column, spec, private=private)) for column, spec in columns]
    if meta.get("multi"):
        return pd.MultiIndex.from_arrays(levels, names=names)
    index = _as_range(levels[0], *meta["range"]) if "range" in meta else levels[0]
    return with_freq(index.rename(names[0]), meta.get("freq"))


def _as_index(values: Any) -> pd.Index:
    index: pd.Index = pd.Index(values, dtype=values.dtype, copy=False, tupleize_cols=False)
    return index


def _as_range(index: pd.Index, start: int, step: int) -> pd.Index:
    if not len(index):
        return pd.RangeIndex(start, start, step)
    found = pd.RangeIndex(index[0], index[0] + step * len(index), step)
    return found if np.array_equal(found.to_numpy(), index.to_numpy()) else index


def positions_index(positions: np.ndarray | range) -> pd.Index:
    """The index of a frame whose list has none of its own."""
    if isinstance(positions, range):
        return pd.RangeIndex(positions.start, positions.stop, positions.step, name=POSITION)
    index: pd.Index = pd.Index(np.asarray(positions, dtype="i8"), name=POSITION, copy=False)
    return index
