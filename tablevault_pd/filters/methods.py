"""Names that a filter text may use beside columns: methods and attributes of columns, functions, constants.

All are pure, and their results are no larger than their arguments. Each method is listed with the options that may be named.
"""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from collections.abc import Callable

Methods = dict[str, tuple[str, ...]]

_ELEMENTWISE: Methods = {
    "abs": (),
    "astype": ("dtype",),
    "between": ("left", "right", "inclusive"),
    "clip": ("lower", "upper"),
    "eq": ("other",),
    "fillna": ("value",),
    "ge": ("other",),
    "gt": ("other",),
    "isin": ("values",),
    "isna": (),
    "isnull": (),
    "le": ("other",),
    "lt": ("other",),
    "ne": ("other",),
    "notna": (),
    "notnull": (),
    "round": ("decimals",),
}
_OF_ALL_ROWS: Methods = {
    "all": (),
    "any": (),
    "count": (),
    "cummax": (),
    "cummin": (),
    "cumsum": (),
    "diff": ("periods",),
    "duplicated": ("keep",),
    "max": (),
    "mean": (),
    "median": (),
    "min": (),
    "nunique": (),
    "quantile": ("q",),
    "rank": ("ascending", "method", "na_option", "pct"),
    "shift": ("periods",),
    "std": ("ddof",),
    "sum": (),
    "var": ("ddof",),
}
_PATTERN = ("pat", "case", "flags", "na", "regex")
_TEXT: Methods = {
    "capitalize": (),
    "casefold": (),
    "contains": _PATTERN,
    "count": ("pat", "flags"),
    "endswith": ("pat", "na"),
    "find": ("sub", "start", "end"),
    "fullmatch": ("pat", "case", "flags", "na"),
    "get": ("i",),
    "isalnum": (),
    "isalpha": (),
    "isdecimal": (),
    "isdigit": (),
    "islower": (),
    "isnumeric": (),
    "isspace": (),
    "istitle": (),
    "isupper": (),
    "len": (),
    "lower": (),
    "lstrip": ("to_strip",),
    "match": ("pat", "case", "flags", "na"),
    "removeprefix": ("prefix",),
    "removesuffix": ("suffix",),
    "rfind": ("sub", "start", "end"),
    "rstrip": ("to_strip",),
    "slice": ("start", "stop", "step"),
    "startswith": ("pat", "na"),
    "strip": ("to_strip",),
    "swapcase": (),
    "title": (),
    "upper": (),
}
_TIME: Methods = {
    "ceil": ("freq",),
    "day_name": (),
    "floor": ("freq",),
    "month_name": (),
    "normalize": (),
    "round": ("freq",),
    "strftime": ("date_format",),
    "total_seconds": (),
}
_TIME_PARTS = {
    "date", "day", "day_of_week", "day_of_year", "days", "days_in_month", "hour",
    "is_leap_year", "is_month_end", "is_month_start", "is_quarter_end", "is_quarter_start", "is_year_end", "is_year_start",
    "microsecond", "microseconds", "minute", "month", "nanosecond", "nanoseconds", "quarter", "second", "seconds", "time",
    "year",
}  # fmt: skip

_DATE_PARTS = ("year", "month", "day", "hour", "minute", "second", "microsecond")
#: Deprecated names in pandas.
ALIASES = {
    "dayofweek": "day_of_week",
    "weekday": "day_of_week",
    "dayofyear": "day_of_year",
    "daysinmonth": "days_in_month",
}

#: Methods by accessor; "" are those of a column itself.
METHODS: dict[str, Methods] = {"": _ELEMENTWISE | _OF_ALL_ROWS, "str": _TEXT, "dt": _TIME, "cat": {}}
ATTRIBUTES: dict[str, set[str]] = {"": set(), "str": set(), "dt": {*_TIME_PARTS, *ALIASES}, "cat": {"codes"}}
ACCESSORS = ("str", "dt", "cat")
#: Methods and attributes of each row by itself, with any accessor.
ROWWISE = {*_ELEMENTWISE, *(_TEXT.keys() - {"count"}), *_TIME, *_TIME_PARTS, *ALIASES, *ACCESSORS}
DTYPES = ("str", "string", "category", "bool", "boolean", "object", "int", "int8", "int16", "int32", "int64", "Int64",
          "uint8", "uint16", "uint32", "uint64", "float", "float32", "float64", "Float64")  # fmt: skip

FUNCTIONS = {
    name: getattr(np, name)
    for name in ("sin", "cos", "tan", "exp", "log", "expm1", "log1p", "sqrt", "sinh", "cosh", "tanh", "arcsin", "arccos",
                 "arctan", "arccosh", "arcsinh", "arctanh", "abs", "log10", "floor", "ceil", "arctan2")
}  # fmt: skip
#: Functions that make a constant of literals, with the options that may be named.
TIMES: dict[str, tuple[Callable[..., dt.datetime], tuple[str, ...]]] = {
    "Timestamp": (pd.Timestamp, ("tz", "unit", *_DATE_PARTS, "nanosecond")),
    "datetime": (dt.datetime, _DATE_PARTS),
}
CONSTANTS = {"inf": np.inf, "Inf": np.inf}
