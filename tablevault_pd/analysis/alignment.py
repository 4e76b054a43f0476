"""Which rows of several versions belong together: by columns, a key, the index, a common ancestor, or position."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from pandas.api import types

from tablevault_pd.analysis.ancestors import common_ancestors
from tablevault_pd.errors import InvalidInput, short_repr

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Sequence

    from tablevault_pd.analysis.sides import Side
    from tablevault_pd.store import Store

SHOWN_KEYS = 3
_EXACT = 2**53  # beyond it no float holds every integer


@dataclass(frozen=True, slots=True, eq=False)
class Alignment:
    """The rows of all sides, each key once: those of the first side in its order, then those that only others have."""

    keys: pd.Index
    rows: tuple[np.ndarray, ...]  #: for each side the number of its row with that key, -1 where it has none
    columns: tuple[Hashable, ...] = ()  #: the columns that the keys are made of


def align(store: Store, sides: Sequence[Side], on: Any) -> Alignment:
    """Align the rows of `sides`. Raises InvalidInput where nothing says how, or a key is there twice."""
    if isinstance(on, str) and on == "position":
        return _by_position(sides)
    if isinstance(on, str) and on == "lineage":
        return _by_lineage(store, sides)
    if on is not None:
        labels = on if isinstance(on, list) else [on]
        return _by_keys(sides, labels, _columns(sides, labels))
    key = _key_of_list(store, sides)
    if key:
        return _by_keys(sides, key, tuple(label for label in key if label in sides[0].frame.columns))
    names = sides[0].index_names
    if names and all(side.index_names == names for side in sides):
        return _by_keys(sides, list(names), ())
    return _by_lineage(store, sides, default=True)


def _columns(sides: Sequence[Side], labels: list[Hashable]) -> tuple[Hashable, ...]:
    if not labels:
        raise InvalidInput(
            "on= is an empty list. Name the columns that say which rows belong together, or leave it out."
        )
    for side in sides:
        unknown = [label for label in labels if not side.has(label)]
        if unknown:
            there = ", ".join(map(short_repr, list(side.frame.columns)[:20]))
            raise InvalidInput(
                f"on= names {', '.join(map(short_repr, unknown))}, which {side.name} has not. Its columns: {there}."
            )
    return tuple(labels)


def _key_of_list(store: Store, sides: Sequence[Side]) -> list[Hashable]:
    """The key that the list of a side has, the newest version first, if it tells the rows of all sides apart."""
    newest = sorted(sides, key=lambda side: 0 if side.version is None else -side.version.version)
    for key in dict.fromkeys(tuple(side.key_labels(store)) for side in newest):
        labels = list(key)
        if labels and all(_tells_apart(side, labels) for side in sides):
            return labels
    return []


def _tells_apart(side: Side, labels: list[Hashable]) -> bool:
    return all(side.has(label) for label in labels) and told_apart(side.key(labels)).is_unique


# -- by position


def _by_position(sides: Sequence[Side]) -> Alignment:
    longest = max(len(side.frame) for side in sides)
    place = np.arange(longest)
    rows = tuple(np.where(place < len(side.frame), place, -1) for side in sides)
    return Alignment(pd.RangeIndex(longest, name="position"), rows)


# -- by keys


def _by_keys(sides: Sequence[Side], labels: list[Hashable], columns: tuple[Hashable, ...]) -> Alignment:
    try:
        keys = _exact([side.key(labels) for side in sides])
        for side, key in zip(sides, keys, strict=True):
            _check_unique(side, key)
    except TypeError as error:
        raise InvalidInput(
            f"on= names {', '.join(map(short_repr, labels))}, and cells of dicts or vectors make no keys."
        ) from error
    for side, key in zip(sides, keys, strict=True):
        _check_kinds(sides[0], keys[0], side, key)
    joined, rows = joined_keys(keys)
    return Alignment(joined, rows, columns)


def _exact(keys: list[pd.Index]) -> list[pd.Index]:
    """Keys whose numbers are compared exactly: where pandas would round integers to floats they become objects."""
    levels = []
    for number in range(keys[0].nlevels):
        values = [key.get_level_values(number) for key in keys]
        wholes = [value.dropna() for value in values if types.is_integer_dtype(value.dtype)]
        mixed = any(types.is_float_dtype(value.dtype) for value in values)
        if mixed and any(
            len(whole_values) and (whole_values.max() > _EXACT or whole_values.min() < -_EXACT)
            for whole_values in wholes
        ):
            values = [value.astype(object).where(value.notna(), np.nan) for value in values]
        levels.append(values)
    if len(levels) == 1:
        return levels[0]
    return [pd.MultiIndex.from_arrays(arrays) for arrays in zip(*levels, strict=True)]


def joined_keys(keys: Sequence[pd.Index]) -> tuple[pd.Index, tuple[np.ndarray, ...]]:
    """All keys, each once, and where each of the indexes has them; -1 where it has not."""
    apart = [told_apart(key) for key in keys]
    joined, every = keys[0], apart[0]
    places = [np.arange(len(joined))]  # of the keys of each index among all
    for key, own in zip(keys[1:], apart[1:], strict=True):
        at = every.get_indexer(own)
        fresh = at < 0
        if fresh.any():
            at = np.where(fresh, len(joined) + np.cumsum(fresh) - 1, at)
            joined, every = _appended(joined, key[fresh]), _appended(every, own[fresh])
        places.append(at)
    rows = tuple(np.full(len(joined), -1, np.int64) for _ in keys)
    for of_side, at in zip(rows, places, strict=True):
        of_side[at] = np.arange(len(at))
    return joined, rows


def told_apart(keys: pd.Index) -> pd.Index:
    """Keys to look up: for pandas True is 1, and among the keys of a list it is another one."""
    if keys.nlevels > 1:
        levels = [keys.get_level_values(number) for number in range(keys.nlevels)]
        apart = [told_apart(level) for level in levels]
        same = all(one is other for one, other in zip(levels, apart, strict=True))
        return keys if same else pd.MultiIndex.from_arrays(apart)
    is_mixed = keys.dtype == object and types.infer_dtype(keys) not in ("string", "empty")
    if not (is_mixed or types.is_bool_dtype(keys.dtype)):
        return keys
    cells = [(bool, bool(key)) if isinstance(key, (bool, np.bool_)) else key for key in keys]
    return pd.Index(cells, dtype=object, name=keys.name, tupleize_cols=False)


def _appended(keys: pd.Index, more: pd.Index) -> pd.Index:
    if keys.nlevels > 1 or keys.dtype != object:
        return keys.append(more)
    both = [*keys, *more]  # append() would make objects that are all numbers floats
    return pd.Index(both, dtype=object, name=keys.name, tupleize_cols=False)


def _check_unique(side: Side, key: pd.Index) -> None:
    if not told_apart(key).is_unique:
        names = ", ".join(map(short_repr, key.names))
        raise InvalidInput(
            f"{side.name} has keys more than once in {names}: {_twice(key, _plain)}. Name further columns in on= that tell these "
            "rows apart, or drop the duplicates first."
        )


def _plain(key: Any) -> str:
    """A key as people write it: 1, and not np.int64(1)."""
    cells = key if isinstance(key, tuple) else (key,)
    texts = [short_repr(cell.item() if isinstance(cell, np.generic) else cell) for cell in cells]
    return f"({', '.join(texts)})" if isinstance(key, tuple) else texts[0]


def _twice(key: pd.Index, text: Callable[[Any], str]) -> str:
    """The keys that are there more than once, each with its rows: the first ones, and how many more there are."""
    codes, values = key.factorize(use_na_sentinel=False)
    twice = np.flatnonzero(np.bincount(codes) > 1)
    examples = [
        f"{text(values[code])} (rows {', '.join(map(str, np.flatnonzero(codes == code)[:4]))})"
        for code in twice[:SHOWN_KEYS]
    ]
    more = f" and {len(twice) - SHOWN_KEYS} more" if len(twice) > SHOWN_KEYS else ""
    return "; ".join(examples) + more


def _check_kinds(first: Side, one: pd.Index, side: Side, other: pd.Index) -> None:
    for number, name in enumerate(one.names):
        a, b = one.get_level_values(number), other.get_level_values(number)
        if (
            len(a)
            and len(b)
            and {_kind(a), _kind(b)} in ({"number", "text"}, {"time", "text"}, {"number", "time"})
        ):
            raise InvalidInput(
                f"The key {short_repr(name)} is {a.dtype} in {first.name} and {b.dtype} in {side.name}: no row of one can match "
                "a row of the other. Convert one of them, and compare the frames."
            )


def _kind(values: pd.Index) -> str:
    if types.is_numeric_dtype(values.dtype):
        return "number"
    if types.is_datetime64_any_dtype(values.dtype):
        return "time"
    return (
        "text" if types.is_string_dtype(values.dtype) and types.infer_dtype(values) == "string" else "other"
    )


# -- by lineage


def _is_key(side: Side, label: Hashable) -> bool:
    try:
        return side.key([label]).is_unique
    except TypeError:  # cells that cannot be hashed, such as vectors
        return False


def _by_lineage(store: Store, sides: Sequence[Side], *, default: bool = False) -> Alignment:
    names = " and ".join(side.name for side in sides)
    lost = [side.name for side in sides if side.version is None or side.positions is None]
    ancestors = None if lost else common_ancestors(store, sides)
    if ancestors is None:
        why = (
            f"it is not known which rows of the vault those of {lost[0]} are"
            if lost
            else "no list has one ancestor row for each row of both"
        )
        shared = [label for label in sides[0].frame.columns if all(side.has(label) for side in sides)]
        keys = [label for label in shared if all(_is_key(side, label) for side in sides)]
        example = f", for example on={short_repr(keys[0])}" if keys else ""
        what = "have no named index in common, and " if default else "cannot be aligned by lineage: "
        raise InvalidInput(
            f"{names} {what}{why}. Say which columns name a row{example}, or on='position' for rows in order; rows "
            "that are saved with a named index, as of frame.set_index('id'), need neither. "
            f"Columns in common: {', '.join(map(short_repr, shared[:20])) or 'none'}."
        )
    for side, key in zip(sides, ancestors.keys, strict=True):
        if not key.is_unique:
            raise InvalidInput(
                f"Several rows of {side.name} come from the same row of {ancestors.list!r}: "
                f"{_twice(key, ancestors.text)}. Name the columns that tell them apart in on=, or say on='position'."
            )
    joined, rows = joined_keys(ancestors.keys)
    return Alignment(ancestors.references(store.vault_id, joined), rows)
