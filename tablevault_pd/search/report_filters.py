"""Filters of reports: of the frames of lists and of sessions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tablevault_pd.errors import InvalidFilter
from tablevault_pd.filters import Names, parse_filter

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd


def mask_of_report(report: str, frame: pd.DataFrame, filters: Any) -> np.ndarray:
    """Which rows of a report pass. Raises InvalidFilter, which says which report it is about."""
    try:
        condition = parse_filter(filters, Names.of(frame))
        assert condition is not None
        return condition.mask(frame)
    except InvalidFilter as error:
        raise type(error)(f"In the frame of {report}: {error}") from error
