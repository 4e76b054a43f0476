"""Rows that have the same cells in some columns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from pandas.api import types

from tablevault_pd.errors import InvalidInput, short_repr

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    import pandas as pd


def rows_by_cells(keys: pd.DataFrame, labels: Sequence[Hashable], argument: str) -> dict[Any, np.ndarray]:
    """The numbers of the rows of each combination of cells, missing ones too.

    Raises InvalidInput where cells are lists, dicts or vectors; `labels` are what the columns of `keys` are called there.
    """
    for column in keys.columns:
        if isinstance(keys[column].dtype, types.CategoricalDtype):  # pandas leaves out its missing cells
            keys = keys.astype({column: object})
    try:
        groups = keys.groupby(list(keys.columns), dropna=False, sort=True, observed=True).indices
    except TypeError as error:
        raise InvalidInput(
            f"{argument} names {', '.join(map(short_repr, labels))}, and cells of lists, dicts or vectors make no slices."
        ) from error
    return {cells: np.asarray(rows) for cells, rows in groups.items()}
