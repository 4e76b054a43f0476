"""What a function does, as a number: results of another one are made again."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import xxhash

from tablevault_pd.code.functions import function_key
from tablevault_pd.errors import InvalidInput, short_repr
from tablevault_pd.keys.mapped import told

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tablevault_pd.session import Recorder


def function_number(
    function: Any, version: str | None, kwargs: Mapping[str, Any], run: Recorder | None
) -> int:
    """A number of 64 bits: another one for another version or, without one, another code; and for other arguments."""
    code = ["code", code_of(function, run)] if version is None else ["version", version]
    text = json.dumps([code, arguments_text(kwargs)])
    return int(np.uint64(xxhash.xxh3_64_intdigest(text.encode())).astype(np.int64))


def code_of(function: Any, run: Recorder | None) -> str:
    """What tells the code of a function, with all that it uses, from other code. Raises InvalidInput if that cannot be told."""
    module, name = getattr(function, "__module__", None), getattr(function, "__qualname__", None)
    code_slice = run.slice_of_function(module, name) if run is not None and module and name else None
    if code_slice is not None:
        return code_slice.digest
    key = function_key(function)
    if key is None:
        raise InvalidInput(
            f"It cannot be told what {name_of(function)} depends on: it uses objects that may change, or is made by code that is not "
            "recorded. Say version='v1', and another version when its results are to be made again."
        )
    return xxhash.xxh3_128_hexdigest(repr(key).encode())


def name_of(function: Any) -> str:
    """``module:name`` of a function."""
    name = getattr(function, "__qualname__", None)
    return short_repr(function) if name is None else f"{getattr(function, '__module__', '?')}:{name}"


def arguments_text(kwargs: Mapping[str, Any]) -> str:
    """The further arguments as text: equal for equal ones. Raises InvalidInput for what JSON cannot hold."""
    try:
        return json.dumps(told(dict(kwargs)))
    except (TypeError, ValueError) as error:
        raise InvalidInput(
            f"kwargs={short_repr(kwargs)} are part of what a result depends on, so they are numbers, texts, lists and dicts: {error}. "
            "Have the function use other objects by itself, and say version=."
        ) from None
