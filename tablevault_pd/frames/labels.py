"""Encode column labels and the row index as field names and metadata, and decode them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from tablevault_pd.errors import InvalidInput, UnsupportedColumn, short_repr
from tablevault_pd.frames import cells
from tablevault_pd.frames.categories import dtype_of, full_spec, index_of
from tablevault_pd.frames.codecs import CannotEncode, Spec, decode_column, encode_array, nullable
from tablevault_pd.frames.times import freq_spec, with_freq

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable

    import pyarrow as pa

POSITION = "position"


# ---------------------------------------------------------------- labels


def label_json(label: Hashable) -> Any:
    """Return a label as JSON data. Raises CannotEncode."""
    if label is None:
        return None
    try:
        return cells.name_plain(label)
    except cells.CannotSerialize as error:
        raise CannotEncode(f"the label: {error}") from None


def label_key(plain: Any) -> str:
    """Return a text that is equal for equal labels of equal type."""
    return json.dumps(plain, ensure_ascii=False, separators=(",", ":"))


def check_unique(columns: pd.Index, listed: list[Hashable]) -> None:
    """Raise InvalidInput for duplicate labels, naming all of them; `listed` are the labels."""
    if len(listed) < 100 and len({name for name in listed if type(name) is str}) == len(listed):
        return  # pandas would build a hash table first, which costs more than a whole one-row frame
    if not columns.is_unique:
        twice = list(dict.fromkeys(columns[columns.duplicated()]))
        raise InvalidInput(
            f"Column labels must be unique; these occur more than once: {', '.join(map(short_repr, twice))}. "
            "Rename them, e.g. df.columns = [...]."
        )


def unique_name(base: str, taken: set[str]) -> str:
    """Return `base`, with a number if it is in `taken`, and add the name to `taken`."""
    name, number = base, 1
    while name in taken:
        number += 1
        name = f"{base}_{number}"
    taken.add(name)
    return name


def field_names(labels: Iterable[Hashable]) -> list[str]:
    """Unique Arrow field names: texts as they are, other labels as text."""
    listed = list(labels)
    taken = {label for label in listed if type(label) is str}
    return [label if type(label) is str else unique_name(text_of(label), taken) for label in listed]


def text_of(label: Hashable) -> str:
    """Return a label as text that UTF-8 can hold."""
    text = str(label)
    return text.encode("utf-8", "replace").decode("utf-8")


def listed(columns: pd.Index) -> list[Hashable]:
    """Return the labels exactly: pandas converts integers to floats in a level with missing ones."""
    labels: list[Hashable] = list(columns)
    if not isinstance(columns, pd.MultiIndex):
        return labels
    for number, (level, own) in enumerate(_levels(columns)):
        if own:
            parts = [np.nan if part is pd.NA else part for part in level.tolist()]
            labels = [
                (*label[:number], part, *label[number + 1 :])  # type: ignore[index]  # tuples
                for label, part in zip(labels, parts, strict=True)
            ]
    return labels


def described(columns: pd.Index) -> tuple[list[Hashable], list[str], Spec]:
    """The labels exactly, the names of their fields, and :func:`columns_spec`. Raises CannotEncode, InvalidInput."""
    labels = listed(columns)
    check_unique(columns, labels)
    return labels, field_names(labels), columns_spec(columns)


def columns_spec(columns: pd.Index) -> Spec:
    """Return the spec from which the columns Index is rebuilt, given its labels. Raises CannotEncode."""
    if isinstance(columns, pd.MultiIndex):
        levels = [_level_spec(level) | own for level, own in _levels(columns)]
        return {"names": [label_json(name) for name in columns.names], "levels": levels}
    spec: Spec = {"names": [label_json(columns.name)]}
    if isinstance(columns, pd.RangeIndex):
        return spec | {"range": [columns.start, columns.step], "dtype": {"codec": "numpy", "dtype": "int64"}}
    return spec | _level_spec(columns)


def _levels(index: pd.MultiIndex) -> list[tuple[pd.Index, Spec]]:
    """Return the values and the name of every level, and a spec with its dtype where the values cannot have that."""
    # Names that are integers hide the level numbers, so they come off first.
    bare = index.set_names([None] * index.nlevels)
    levels = [_level_values(bare, number) for number in range(index.nlevels)]
    return [(level.rename(name), own) for (level, own), name in zip(levels, index.names, strict=True)]


def _level_values(index: pd.MultiIndex, number: int) -> tuple[pd.Index, Spec]:
    level, values = index.levels[number], index.get_level_values(number)
    if values.dtype == level.dtype:
        return values, {}
    own = {"level": str(level.dtype)}  # some are missing, and the dtype holds no missing values
    if isinstance(level.dtype, np.dtype):
        dtype: Any = nullable(level.dtype)
        return pd.Index(
            pd.array(level.to_numpy(), dtype=dtype).take(index.codes[number], allow_fill=True)
        ), own
    if not level.astype(values.dtype).astype(level.dtype).equals(level):
        raise CannotEncode(
            f"level {number} of dtype {level.dtype} has missing entries and integers that no float holds; fill them first"
        )
    return values, own


def _with_own_levels(index: pd.MultiIndex, specs: list[Spec]) -> pd.MultiIndex:
    """Return the index with the dtypes of its levels that :func:`_level_values` recorded."""
    for number, spec in enumerate(specs):
        if "level" in spec:
            own: pd.Index = index.levels[number].astype(spec["level"])
            index = index.set_levels(own, level=number, verify_integrity=False)
    return index


def _level_spec(level: pd.Index) -> Spec:
    if level.dtype.kind == "O" and isinstance(level.dtype, np.dtype):
        return {"dtype": None}
    if isinstance(level.dtype, pd.StringDtype):
        return {"dtype": _text_spec(level.dtype)}
    return {"dtype": full_spec(level.array)} | freq_spec(level)


_text_specs: dict[tuple[str, bool], Spec] = {}


def _text_spec(dtype: pd.StringDtype) -> Spec:
    variant = dtype.storage, dtype.na_value is pd.NA  # pandas takes long to hash a dtype
    if variant not in _text_specs:
        _text_specs[variant] = full_spec(pd.array([], dtype=dtype))
    return _text_specs[variant]


def columns_index(labels: list[Hashable], spec: Spec) -> pd.Index:
    """Return the columns Index of these labels."""
    names = [cells.from_plain(name) for name in spec["names"]]
    if "levels" in spec:
        levels = spec["levels"]
        parts = [_level([label[i] for label in labels], level) for i, level in enumerate(levels)]  # type: ignore[index]  # tuples
        return _with_own_levels(pd.MultiIndex.from_arrays(parts), levels).set_names(names)
    if "range" in spec:
        start, step = spec["range"]
        index = pd.RangeIndex(start, start + step * len(labels), step, name=names[0])
        if list(index) == labels:
            return index
    return _level(labels, spec).rename(names[0])


def _level(labels: list[Any], spec: Spec) -> pd.Index:
    if spec["dtype"] is None:
        return pd.Index(_objects(labels), dtype=object, tupleize_cols=False)
    dtype = dtype_of(spec["dtype"])
    # pandas would convert integers and NaN to floats first.
    if "level" in spec and not isinstance(dtype, pd.IntervalDtype):
        labels = [pd.NA if label is np.nan or label != label else label for label in labels]
    index = pd.Index(labels, dtype=dtype) if labels else pd.Index(pd.array([], dtype=dtype))
    return with_freq(index, spec.get("freq"))


def _objects(labels: list[Any]) -> np.ndarray:
    return np.fromiter(labels, dtype=object, count=len(labels))


# ---------------------------------------------------------------- row index


def is_default(index: pd.Index) -> bool:
    """Return whether the index is unnamed and 0..n-1, or has positions: it is not stored."""
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
    """Return the metadata of an index, and its fields as (name, array, spec). Raises UnsupportedColumn."""
    if is_default(index):
        return None, []
    multi = isinstance(index, pd.MultiIndex)
    levels = _levels(index) if isinstance(index, pd.MultiIndex) else [(index, {})]
    fields = []
    for number, (level, own) in enumerate(levels):
        label = level.name if isinstance(level.name, str) else f"level_{number}" if multi else "index"
        name = unique_name(text_of(label), taken)
        try:
            array, spec = encode_array(level.array)
        except CannotEncode as error:
            where = "" if error.row is None else f", row {error.row}"
            raise UnsupportedColumn(
                f"Nothing was stored. In index level {short_repr(level.name)}{where}: {error.reason}."
            ) from None
        fields.append((name, array, spec | own | {"index": number}))
    meta: Spec = {"names": [label_json(name) for name in index.names]}
    if multi:
        meta["multi"] = True
    if isinstance(index, pd.RangeIndex):
        meta["range"] = [index.start, index.step]
    return meta | freq_spec(index), fields


def build_index(columns: list[tuple[pa.ChunkedArray, Spec]], meta: Spec, *, private: bool) -> pd.Index:
    """Return the row index from its fields."""
    names = [cells.from_plain(name) for name in meta["names"]]
    levels = [index_of(decode_column(column, spec, private=private)) for column, spec in columns]
    if meta.get("multi"):
        whole = pd.MultiIndex.from_arrays(levels)
        return _with_own_levels(whole, [spec for _, spec in columns]).set_names(names)
    index = _as_range(levels[0], *meta["range"]) if "range" in meta else levels[0]
    return with_freq(index.rename(names[0]), meta.get("freq"))


def _as_range(index: pd.Index, start: int, step: int) -> pd.Index:
    if not len(index):
        return pd.RangeIndex(start, start, step)
    ranged = pd.RangeIndex(index[0], index[0] + step * len(index), step)
    return ranged if np.array_equal(ranged.to_numpy(), index.to_numpy()) else index


def positions_index(positions: np.ndarray | range) -> pd.Index:
    """Return the index of a frame whose list has no index."""
    if isinstance(positions, range):
        return pd.RangeIndex(positions.start, positions.stop, positions.step, name=POSITION)
    index: pd.Index = pd.Index(np.asarray(positions, dtype="i8"), name=POSITION, copy=False)
    return index
