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
    told = {name: _told(store, name, value) for name, value in bound.arguments.items()}
    return f"call-{xxhash.xxh3_128_hexdigest(json.dumps([number, told], sort_keys=True).encode())}"


def kept_result(store: Store, name: str, key: str) -> Version | None:
    """The version with the result of a call; None if there is none."""
    for version in reversed(store.versions(name)):
        if key in version.tags and not version.gone and not version.deleted:
            return version
    return None


def _told(store: Store, name: str, value: Any) -> Any:
    if isinstance(value, (pd.DataFrame, pd.Series)):
        return _content(store, value)
    try:
        return json.loads(json.dumps(value))
    except (TypeError, ValueError):
        raise InvalidInput(
            f"The argument {name} of a cached call is {short_repr(value)}. What a result depends on is a DataFrame, a Series, or made of "
            "numbers, texts, lists and dicts."
        ) from None


def _content(store: Store, value: pd.DataFrame | pd.Series) -> dict[str, str]:
    """Columns, dtypes, and the rows in their order with their labels."""
    frame = value.to_frame() if isinstance(value, pd.Series) else value
    frame, _ = LineageRecorder(store, False).of_frame(frame)
    table = frames.encode(frame)
    columns = [(repr(column.label), column.dtype, column.kind) for column in frames.columns(table.schema)]
    labels = contents(frame.index.to_frame(index=False)) if len(frame) else np.empty(0)
    rows = xxhash.xxh3_128_hexdigest(contents(frame).tobytes() + labels.tobytes())
    return {"columns": json.dumps(columns), "rows": rows}
