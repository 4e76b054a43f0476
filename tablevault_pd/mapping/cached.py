"""Calls of a function of frames, by what they were given."""

from __future__ import annotations

import inspect
import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import xxhash

from tablevault_pd import frames
from tablevault_pd.errors import InvalidInput, short_repr
from tablevault_pd.keys.mapped import told
from tablevault_pd.lineage.record import LineageRecorder
from tablevault_pd.mapping.inputs import contents

if TYPE_CHECKING:
    from collections.abc import Callable

    from tablevault_pd.store import Store, Version


def list_of(function: Any) -> str:
    """The list that the results of a function are kept in."""
    name = getattr(function, "__qualname__", type(function).__name__).replace("<locals>.", "")
    return f"cached/{getattr(function, '__module__', '')}.{name}"


def call_key(store: Store, function: Callable[..., Any], number: int, args: Any, kwargs: Any) -> str:
    """What tells a call from others: the function's number, and the content of each argument. Raises InvalidInput."""
    bound = inspect.signature(function).bind(*args, **kwargs)
    bound.apply_defaults()
    arguments = {name: _told(store, name, value) for name, value in bound.arguments.items()}
    return f"call-{xxhash.xxh3_128_hexdigest(json.dumps([number, arguments], sort_keys=True).encode())}"


def kept_result(store: Store, name: str, key: str) -> Version | None:
    """The version with the result of a call; None if there is none, or the list was deleted, or rows erased, since it was made."""
    for version in reversed(store.versions(name)):
        if version.deleted:
            return None
        if key in version.tags and version.operation == "save" and not version.gone:
            [erased] = store.erased([version])
            return None if len(erased) else version
    return None


def _told(store: Store, name: str, value: Any) -> Any:
    if isinstance(value, (pd.DataFrame, pd.Series)):
        return _content(store, value)
    try:
        return told(value)
    except (TypeError, ValueError):
        raise InvalidInput(
            f"The argument {name} of a cached call is {short_repr(value)}. What a result depends on is a DataFrame, a Series, or made of "
            "numbers, texts, lists and dicts."
        ) from None


def _content(store: Store, value: pd.DataFrame | pd.Series) -> dict[str, Any]:
    """Columns, dtypes, categories, and the rows in their order with their labels; a Series is no frame of one column."""
    frame = value.to_frame() if isinstance(value, pd.Series) else value
    frame, _ = LineageRecorder(store, False).of_frame(frame)
    table = frames.encode(frame)
    columns = [(repr(column.label), column.dtype, column.kind) for column in frames.columns(table.schema)]
    levels = [frame.index.get_level_values(number) for number in range(frame.index.nlevels)]
    index = [(repr(level.name), str(level.dtype)) for level in levels]
    dtypes = [*frame.dtypes.tolist(), *(level.dtype for level in levels)]
    labels = contents(frame.index.to_frame(index=False)) if len(frame) else np.empty(0)
    rows = xxhash.xxh3_128_hexdigest(contents(frame).tobytes() + labels.tobytes())
    of = repr(value.name) if isinstance(value, pd.Series) else None
    return {
        "columns": columns,
        "index": index,
        "categories": list(map(_categories, dtypes)),
        "rows": rows,
        "series": of,
    }


def _categories(dtype: Any) -> Any:
    """The categories of a dtype, used or not; None if it has none."""
    if not isinstance(dtype, pd.CategoricalDtype):
        return None
    values = contents(pd.DataFrame({"category": dtype.categories}))
    return [xxhash.xxh3_128_hexdigest(values.tobytes()), str(dtype.categories.dtype), bool(dtype.ordered)]
