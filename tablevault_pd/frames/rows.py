"""One row of plain values as a table, without a frame: what a loop that appends its results does all the time."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import pandas as pd
import pyarrow as pa

from tablevault_pd.frames.main import encode

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping

_PLAIN: dict[type, Any] = {bool: True, int: 0, float: 0.5, str: "text"}  #: types, each with some value of it


def encode_row(row: Mapping[Hashable, Any]) -> pa.Table | None:
    """The row as :func:`encode` makes it of ``pd.DataFrame([row])``; None if its values need to be looked at.

    Examples
    --------
    >>> from tablevault_pd.frames import encode_row
    >>> encode_row({"step": 1, "loss": 0.5}).schema.types
    [DataType(int64), DataType(double)]
    """
    labels, kinds = tuple(row), tuple(map(type, row.values()))
    if (
        not row
        or not all(kind in _PLAIN for kind in kinds)
        or any(type(label) is not str for label in labels)
    ):
        return None
    try:
        schema = _schema(labels, kinds, repr(pd.Index(["text"]).dtype))
        arrays = [pa.array([value], kind) for value, kind in zip(row.values(), schema.types, strict=True)]
    except (OverflowError, UnicodeEncodeError, pa.ArrowException):  # encode() says what is wrong, and where
        return None
    return pa.Table.from_arrays(arrays, schema=schema)


@lru_cache(maxsize=256)
def _schema(labels: tuple[str, ...], kinds: tuple[type, ...], text_dtype: str) -> pa.Schema:
    """The schema of such rows. What pandas makes of texts, labels too, depends on its options: on `text_dtype`."""
    return encode(
        pd.DataFrame([{label: _PLAIN[kind] for label, kind in zip(labels, kinds, strict=True)}])
    ).schema
