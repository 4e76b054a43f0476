"""The accessors ``df.vault`` and ``series.vault``, which pass each call to the current vault."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, NoReturn

import pandas as pd

from tablevault_pd.errors import did_you_mean
from tablevault_pd.keywords import public, takes
from tablevault_pd.vault.options import (
    DEFAULTS,
    FrameSearchOptions,
    LineageOptions,
    MapOptions,
    SaveOptions,
    UpsertOptions,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Mapping, Sequence
    from typing import Unpack

    from tablevault_pd.analysis.plots import FramePlots
    from tablevault_pd.vault.lists import List
    from tablevault_pd.vault.vault import Vault


def _current_vault() -> Vault:
    from tablevault_pd.api import current_vault  # not above: see _LATER in tablevault_pd/__init__.py

    return current_vault()


def _vault_to_read() -> Vault:
    from tablevault_pd.api import current_vault_to_read

    return current_vault_to_read()


class _Relatives:
    """The calls of ``df.vault`` and ``series.vault`` about the origin of rows."""

    _obj: pd.DataFrame | pd.Series[Any]

    def __getattr__(self, name: str) -> NoReturn:
        """Say what is meant: many calls are those of a vault, and not of rows."""
        from tablevault_pd.vault.vault import Vault

        is_call = not name.startswith("_") and hasattr(Vault, name)
        hint = f"It is a call of a vault: tv.current_vault().{name}(…)." if is_call else ""
        hint = hint or did_you_mean(name, [name for name in dir(type(self)) if not name.startswith("_")])
        raise AttributeError(f"A {type(self).__name__} has no attribute {name!r}. {hint}".rstrip(), name=name)

    def __repr__(self) -> str:
        """Name the calls: what stands at the prompt after ``df.vault``."""
        calls = ", ".join(name for name in dir(type(self)) if not name.startswith("_"))
        return f"<{type(self).__name__} of {len(self._obj)} rows: {calls}>"

    # -- lineage

    @property
    def origin(self) -> str | None:
        """``"news@3"``: the list and version that this was read from; None if it was not read from the current vault.

        Examples
        --------
        >>> news = vault.save("news", ["Storm", "Sun"])
        >>> vault.read("news").head(1).vault.origin
        'news@1'
        """
        from tablevault_pd.lineage import of_rows

        return of_rows.frame_origin(_vault_to_read().store, self._obj)

    @property
    def refs(self) -> pd.Series[Any] | pd.DataFrame:
        """Return references to the rows of the vault that these rows are: a Series of dtype ``vault_ref``.

        A frame with several reference columns gives those columns. Raises InvalidInput where the rows are not from the vault.

        Examples
        --------
        >>> news = vault.save("news", ["Storm", "Sun"])
        >>> vault.read("news").iloc[[1]].vault.refs
        position
        1    news[1]
        Name: ref, dtype: vault_ref
        """
        from tablevault_pd.lineage import of_rows

        return of_rows.frame_refs(_vault_to_read().store, self._obj)

    @takes(LineageOptions, DEFAULTS)
    def parents(self, depth: int | None = 1, **options: Unpack[LineageOptions]) -> pd.DataFrame:
        """Return the rows that these rows were made from, `depth` steps away: all of them with None. See :meth:`Vault.lineage`.

        Examples
        --------
        >>> words = vault.save("words", pd.DataFrame({"word": ["storm", "sun", "rain"]}))
        >>> wet = vault.read("words").query("word != 'sun'").vault.save("wet")
        >>> wet.read().vault.parents(read=True)[["position", "parent_list", "parent_position", "word"]]
           position parent_list  parent_position   word
        0         0       words                0  storm
        1         1       words                2   rain
        """
        return self.lineage(depth, **options)

    @takes(LineageOptions, DEFAULTS)
    def children(self, depth: int | None = 1, **options: Unpack[LineageOptions]) -> pd.DataFrame:
        """Return the rows that were made from these rows, `depth` steps away: all of them with None. See :meth:`Vault.lineage`.

        Examples
        --------
        >>> words = vault.save("words", pd.DataFrame({"word": ["storm", "sun", "rain"]}))
        >>> wet = vault.read("words").query("word != 'sun'").vault.save("wet")
        >>> vault.read("words").loc[[2]].vault.children()[["position", "child_list", "child_position"]]
           position child_list  child_position
        0         2        wet               1
        """
        return self.lineage(depth, "down", **options)

    def lineage(
        self,
        depth: int | None = None,
        direction: Literal["up", "down"] = "up",
        to: str | None = None,
        *,
        read: bool = False,
        columns: Sequence[Hashable] | None = None,
        basis: Literal["stated", "inferred", "read"] = "inferred",
    ) -> pd.DataFrame:
        """Return all relatives of these rows, up or down. See :meth:`Vault.lineage`.

        Examples
        --------
        >>> words = vault.save("words", ["storm", "sun"])
        >>> sizes = vault.read("words").assign(size=5).vault.save("sizes")
        >>> vault.read("sizes").head(1).vault.lineage()[["position", "depth", "parent_list", "parent_position"]]
           position  depth parent_list  parent_position
        0         0      1       words                0
        """
        from tablevault_pd.lineage import of_rows

        vault = _vault_to_read()
        return of_rows.frame_lines(
            vault.store,
            self._obj,
            direction=direction,
            depth=depth,
            to=to,
            read=read,
            columns=columns,
            basis=basis,
        )

    def code(self, *, whole: bool = False) -> pd.DataFrame:
        """Return the cells whose code wrote these rows, or with ``whole=True`` all the code that made them: their slice.

        Parameters
        ----------
        whole : bool
            Also the earlier statements that the writing code needs: functions of other cells and of the project's own
            modules, and what was assigned. What it does not need is left out.

        Returns
        -------
        DataFrame
            The columns of :meth:`Vault.cells`. With ``whole=True`` one line for each statement, in order of execution:
            session, cell, path (of a script or module), line, names (that it defines or changes), text. A last line
            without a text holds the names that no captured code defines, if there are any.

        Raises
        ------
        InvalidInput
            If the rows are not from the vault.

        Examples
        --------
        >>> news = vault.save("news", ["Storm"])
        >>> vault.read("news").vault.code().columns.tolist()[:3]
        ['session', 'cell', 'text']
        """
        from tablevault_pd import validate
        from tablevault_pd.lineage import of_rows

        whole = validate.flag(whole, "whole")
        vault = _vault_to_read()
        vault._flush()
        return (of_rows.frame_slice if whole else of_rows.frame_code)(vault.store, self._obj)

    def sessions(self) -> pd.DataFrame:
        """Return the sessions that wrote these rows.

        Returns
        -------
        DataFrame
            As of :meth:`Vault.sessions`.

        Raises
        ------
        InvalidInput
            If the rows are not from the vault.

        Examples
        --------
        >>> with vault.session("scrape"):
        ...     news = vault.save("news", ["Storm"])
        >>> vault.read("news").vault.sessions()["session"].tolist()
        ['scrape#1']
        """
        from tablevault_pd.lineage import of_rows

        vault = _vault_to_read()
        vault._flush()
        return of_rows.frame_sessions(vault.store, self._obj)


@pd.api.extensions.register_dataframe_accessor("vault")
@public("df.vault")
class FrameAccessor(_Relatives):
    """Save a DataFrame in the current vault: ``df.vault.save("runs")``.

    Of a frame that was read from a vault, it also tells which rows its rows are, where they came from and which code wrote
    them. The accessor holds the frame and nothing else: every call goes to the vault that was connected last.
    """

    def __init__(self, frame: pd.DataFrame) -> None:
        # pandas 3 makes a new accessor on every access: state kept here would be lost
        self._frame = self._obj = frame

    @takes(SaveOptions, DEFAULTS)
    def save(self, name: str, **options: Unpack[SaveOptions]) -> List:
        """Save every row as a new version of `name`. See :meth:`Vault.save`.

        Examples
        --------
        >>> pd.DataFrame({"step": [1, 2], "loss": [0.9, 0.4]}).vault.save("losses")
        <List 'losses', version 1: 2 rows>
          step  int64
          loss  float64
        """
        return _current_vault().save(name, self._frame, **options)

    @takes(SaveOptions, DEFAULTS)
    def append(self, name: str, **options: Unpack[SaveOptions]) -> List:
        """Add every row to the end of `name`. See :meth:`Vault.append`.

        Examples
        --------
        >>> losses = pd.DataFrame({"loss": [0.9, 0.4]}).vault.append("losses")
        >>> len(pd.DataFrame({"loss": [0.3]}).vault.append("losses"))
        3
        """
        return _current_vault().append(name, self._frame, **options)

    @takes(MapOptions, DEFAULTS | {"drop_missing": True})
    def map(self, name: str, function: Callable[..., Any], **options: Unpack[MapOptions]) -> List:
        """Call a function for each of these rows, which were read from a list, and keep what it returns. See :meth:`Vault.map`.

        Examples
        --------
        >>> words = vault.save("words", pd.DataFrame({"word": ["storm", "sun", "rain"]}))
        >>> def measure(row):
        ...     return {"length": len(row.word)}
        >>> tv.read("words").query("word != 'sun'").vault.map("lengths", measure, version="v1").read()["length"].tolist()
        [5, 4]
        """
        return _current_vault().map(name, function, self._frame, **options)

    @takes(UpsertOptions, DEFAULTS)
    def upsert(self, name: str, **options: Unpack[UpsertOptions]) -> List:
        """Bring every row into `name` by its key. See :meth:`Vault.upsert`.

        Examples
        --------
        >>> labels = pd.DataFrame({"id": [1, 2], "label": ["cat", "dog"]}).vault.upsert("labels", key="id")
        >>> pd.DataFrame({"id": [2, 3], "label": ["fox", "owl"]}).vault.upsert("labels").read()
                  id label
        position
        0          1   cat
        1          2   fox
        2          3   owl
        """
        return _current_vault().upsert(name, self._frame, **options)

    @property
    def plot(self) -> FramePlots:
        """Pictures of an answer of the vault: ``vault.metrics("loss").vault.plot()``. See :class:`FramePlots`."""
        from tablevault_pd.analysis.plots import FramePlots

        return FramePlots(self._frame, lambda: _vault_to_read().store)

    @takes(FrameSearchOptions, DEFAULTS)
    def search(
        self, text: str | Mapping[Hashable, str] | None = None, **options: Unpack[FrameSearchOptions]
    ) -> pd.DataFrame:
        """Search these rows, which were read from a list, best first. See :meth:`Vault.search`.

        Examples
        --------
        >>> news = vault.save("news", ["Storm at sea", "Sunny days", "A storm again"])
        >>> vault.read("news").iloc[1:].vault.search("storm")[["position", "value"]]
           position          value
        0         2  A storm again
        """
        from tablevault_pd.search.frames import search_frame

        return search_frame(_vault_to_read().store, self._frame, text, options)


@pd.api.extensions.register_series_accessor("vault")
@public("series.vault")
class SeriesAccessor(_Relatives):
    """Save a Series in the current vault: texts become documents, vectors embeddings."""

    def __init__(self, series: pd.Series[Any]) -> None:
        self._series = self._obj = series

    @takes(SaveOptions, DEFAULTS)
    def save(self, name: str, **options: Unpack[SaveOptions]) -> List:
        """Save every value as a new version of `name`. See :meth:`Vault.save`."""
        return _current_vault().save(name, self._series, **options)

    @takes(SaveOptions, DEFAULTS)
    def append(self, name: str, **options: Unpack[SaveOptions]) -> List:
        """Add every value to the end of `name`. See :meth:`Vault.append`."""
        return _current_vault().append(name, self._series, **options)

    def near(
        self, query: Any, k: int | None = None, *, metric: Literal["cosine", "dot", "l2"] = "cosine"
    ) -> pd.Series[Any]:
        """Return scores of the vectors in this Series, nearest first; no vault is needed.

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
        InvalidInput
            If `query` is not one vector of finite numbers, or `k` or `metric` cannot be used.

        Examples
        --------
        >>> words = pd.Series([[1.0, 0.1], [0.0, 1.0]], index=["cat", "car"])
        >>> words.vault.near([1.0, 0.0], k=1).round(3)
        cat    0.995
        Name: score, dtype: float64
        """
        from tablevault_pd.search.frames import near

        return near(self._series, query, k, metric)
