"""``df.vault`` and ``series.vault``: they hold the frame and hand each call to the current vault."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import pandas as pd

from tablevault_pd.vault import SaveOptions, current_vault

if TYPE_CHECKING:
    from typing import Unpack

    from tablevault_pd.lists import List


@pd.api.extensions.register_dataframe_accessor("vault")
class FrameAccessor:
    """Save a DataFrame in the current vault: ``df.vault.save("runs")``."""

    def __init__(self, frame: pd.DataFrame) -> None:
        self._frame = frame  # pandas 3 makes a new accessor on every access: state kept here would be lost

    def save(self, name: str, **options: Unpack[SaveOptions]) -> List:
        """Save every row as a new version of `name`. See :meth:`Vault.save`."""
        return current_vault().save(name, self._frame, **options)

    def append(self, name: str, **options: Unpack[SaveOptions]) -> List:
        """Add every row to the end of `name`. See :meth:`Vault.append`."""
        return current_vault().append(name, self._frame, **options)

    def search(self, text: str | None = None, **options: Any) -> pd.DataFrame:
        """Rows of the list that this frame was read from, best first. See :meth:`Vault.search`."""
        from tablevault_pd.search.frames import list_of

        return current_vault().search(text, lists=[list_of(self._frame)], **options)


@pd.api.extensions.register_series_accessor("vault")
class SeriesAccessor:
    """Save a Series in the current vault: texts become documents, vectors embeddings."""

    def __init__(self, series: pd.Series[Any]) -> None:
        self._series = series

    def save(self, name: str, **options: Unpack[SaveOptions]) -> List:
        """Save every value as a new version of `name`. See :meth:`Vault.save`."""
        return current_vault().save(name, self._series, **options)

    def append(self, name: str, **options: Unpack[SaveOptions]) -> List:
        """Add every value to the end of `name`. See :meth:`Vault.append`."""
        return current_vault().append(name, self._series, **options)

    def near(
        self, query: Any, k: int | None = None, *, metric: Literal["cosine", "dot", "l2"] = "cosine"
    ) -> pd.Series[Any]:
        """Scores of the vectors in this Series, nearest first; no vault is needed.

        Parameters
        ----------
        query : array_like of float, shape (dim,)
        k : int, optional
            How many. Default: every vector that is not missing.
        metric : {"cosine", "dot", "l2"}
            For ``"l2"`` the score is minus the distance.

        Returns
        -------
        Series of float64
            Named ``score``, with the labels of this Series as its index.

        Raises
        ------
        DimensionMismatch
            If no vector is as wide as `query`.

        Examples
        --------
        >>> words = pd.Series([[1.0, 0.1], [0.0, 1.0]], index=["cat", "car"])
        >>> words.vault.near([1.0, 0.0], k=1).round(3)
        cat    0.995
        Name: score, dtype: float64
        """
        from tablevault_pd.search.frames import near

        return near(self._series, query, k, metric)
