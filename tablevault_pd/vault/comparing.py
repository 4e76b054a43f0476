"""The part of a :class:`Vault` about differences between versions: compare, trend, differences."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from tablevault_pd import validate
from tablevault_pd.errors import InvalidInput
from tablevault_pd.names import check_name, check_version_name
from tablevault_pd.vault.base import VaultPart

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Mapping, Sequence

    import pandas as pd

    from tablevault_pd.analysis.comparison import Comparison
    from tablevault_pd.analysis.trend import Trend


class Comparing(VaultPart):
    """The part of a :class:`Vault` that compares versions and sessions."""

    def compare(
        self,
        a: Any,
        b: Any,
        *others: Any,
        lists: str | None = None,
        on: Hashable | Sequence[Hashable] = None,
        measure: str | Callable[[pd.DataFrame], Any] | Mapping[str, Any] | None = None,
        by: Hashable | Sequence[Hashable] = None,
        ignore: Hashable | Sequence[Hashable] = None,
        rtol: float = 0.0,
        atol: float = 0.0,
        margin: float | None = None,
    ) -> Comparison:
        """Compare the rows of two versions, or of more with the first of them.

        Parameters
        ----------
        a, b, *others : str, List, DataFrame, or session
            Versions: ``"preds@3"``, ``"preds"`` for the newest, what ``save`` returned, a frame that was read from the vault, or
            a session, which stands for what it wrote or confirmed (made again, with equal rows) last of the list that all sides have
            in common. `a` is the reference.
        lists : str, optional
            The list that sessions stand for, where they have several in common.
        on : name or list of names, "lineage" or "position", optional
            How rows are aligned: by columns; by the row of another list that they came from; by their place. Default: the key
            that the list has, else the named index, else lineage. ``["position"]`` is a column of that name.
        measure : str, function of a frame, ``pd.col`` expression, or dict of these, optional
            What is measured for each row, truth values or numbers: ``"gold == pred"``, ``"latency"``. A function may also return
            one number for a whole frame. A text is parsed as a filter is, and not run as code.
        by : name or list of names, optional
            Columns whose values slice the summary.
        ignore : name or list of names, optional
            Columns in which a difference does not count.
        rtol, atol : float
            Numbers are equal within ``max(rtol * max(|a|, |b|), atol)``; vectors within a cosine distance of `atol`, or if that is
            0, number by number.
        margin : float, optional
            Differences of the measure up to this size count as none: the summary says whether that is shown (two one-sided
            tests at 5 %).

        Returns
        -------
        Comparison
            A DataFrame, one row for each key, with ``.summary``, ``.gate(…)``, ``.why()``, ``.code_diff``, ``.params_diff``,
            ``.environment_diff``, ``.schema_diff`` and ``.plot``. Missing values equal each other, and a change of dtype alone
            changes no row.

        Raises
        ------
        ListNotFound, VersionNotFound, SessionNotFound
            If a side is not there.
        InvalidName
            If no list or session can have that name.
        InvalidInput
            If nothing says how rows are aligned or which list sessions stand for, a key is there twice, or a name is not there.

        Examples
        --------
        >>> old = vault.save("prices", pd.DataFrame({"item": ["tea", "jam"], "price": [2.5, 4.0]}))
        >>> new = vault.save("prices", pd.DataFrame({"item": ["tea", "rye"], "price": [2.75, 3.0]}))
        >>> vault.compare("prices@1", "prices@2", on="item")
               status  price_a  price_b
        item
        tea   changed      2.5     2.75
        jam   removed      4.0      NaN
        rye     added      NaN     3.00
        """
        from tablevault_pd.analysis.compare import Asked, compare
        from tablevault_pd.analysis.measures import measures_of
        from tablevault_pd.analysis.targets import sides_of

        options = Asked(
            _on(on),
            measures_of(measure),
            tuple(_names(by, "by")),
            frozenset(_names(ignore, "ignore")),
            _tolerance(rtol, "rtol"),
            _tolerance(atol, "atol"),
            None if margin is None else _tolerance(margin, "margin"),
        )
        sides = sides_of(self.store, [a, b, *others], None if lists is None else check_name(lists))
        return compare(self.store, sides, options, lambda: self._flush(info=True))

    def trend(
        self,
        lists: Any,
        measure: str | Callable[[pd.DataFrame], Any] | Mapping[str, Any],
        *,
        by: Hashable | Sequence[Hashable] = None,
        per: Literal["version", "session", "day"] = "version",
        baseline: str | int | None = None,
        band: Literal["bootstrap"] | None = None,
    ) -> Trend:
        """Measure every version of a list.

        Only the columns that the measure touches are read, and versions that only appended are read once together. Results are
        kept in memory by content and by the code of the measure, so that asking again costs next to nothing.

        Parameters
        ----------
        lists : name, pattern such as ``"preds-*"``, List, or list of these
            ``"preds@7"`` stands for the versions up to the seventh.
        measure : str, function of a frame, ``pd.col`` expression, or dict of these
            As for :meth:`compare`: what gives a value for each row counts by its mean.
        by : name or list of names, optional
            Measure each value of these columns too, as for :meth:`compare`.
        per : {"version", "session", "day"}
            Every version, or the last one that each session or (UTC) day wrote or confirmed: a session whose rows were equal
            to those of the newest version stands for that version.
        baseline : {"first", "previous"}, int or str, optional
            Add the difference from that version, in pairs where a key, a named index or lineage says which rows are the same.
            A number is that of a version, another text a tag or snapshot: ``"best"``.
        band : {"bootstrap"}, optional
            Add an interval at 95 % for each value, by drawing its rows again 2000 times with a fixed seed.

        Returns
        -------
        Trend
            A DataFrame: list, version, time, session, made (``"written"``, or ``"confirmed"`` by a session that made equal rows),
            measure, slice (``"all"``, ``"topic=sport"``), value, n (values that are not missing), with `band` lo and hi, with
            `baseline` delta, delta_lo, delta_hi and n_pairs, then error. A version where the measure fails has NaN, and the
            error as text. ``.changes()`` lists the versions that left the noise.

        Raises
        ------
        ListNotFound, ListDeleted, VersionNotFound
            If a list or version is not there.
        InvalidName
            If no list can have that name.
        InvalidInput
            If no version has a column that the measure names.

        Examples
        --------
        >>> for pred in (["a", "x"], ["a", "b"]):
        ...     saved = vault.save("preds", pd.DataFrame({"gold": ["a", "b"], "pred": pred}))
        >>> vault.trend("preds", "gold == pred")[["list", "version", "value", "n"]]
            list  version  value  n
        0  preds        1    0.5  2
        1  preds        2    1.0  2
        """
        from tablevault_pd.analysis.measures import measures_of
        from tablevault_pd.analysis.measuring import PER, Asked
        from tablevault_pd.analysis.targets import versions_of
        from tablevault_pd.analysis.trend import trend

        measures = measures_of(measure)
        if not measures:
            raise InvalidInput("Say what is measured: measure='gold == pred'.")
        options = Asked(
            measures,
            tuple(_names(by, "by")),
            validate.choice(per, "per", PER),
            _baseline(baseline),
            None if band is None else validate.choice(band, "band", ("bootstrap",)),
        )
        versions = versions_of(self.store, lists)
        return trend(self.store, versions, options, lambda: self._flush(info=True))

    def differences(self, a: Any, b: Any) -> pd.DataFrame:
        """Return all differences that are recorded upstream of two versions or sessions.

        The walk goes up from both at once: to the code, parameters and environment that made them, to what they were made
        from, to what made that, and so on, as far as the two sides have the same lists in other versions.

        Parameters
        ----------
        a, b : str, List, DataFrame that was read from the vault, or session
            As for :meth:`compare`: ``"preds@3"``, ``"train#2"``.

        Returns
        -------
        DataFrame
            One line per difference, the nearest first, and those that are ruled out last: what (parameter, code, input,
            rows changed, rows added, rows removed, package, python, git, argv, host), name, a, b (object: parameters as they
            were given, else texts; None where a side has none), depth (steps up, Int64), list, ruled_out (bool), evidence.
            A difference is ruled out as a cause where the vault knows that the rows came out as they did with the value of the
            other side, too: a session that made equal rows again had it. All differences are listed; those that are ruled out
            do not stand in :meth:`Comparison.why`. The column evidence says which session rules a difference out, or why it is
            left. Rows are given by their number and first keys or labels. Of a mapped list the arguments that rows were made
            with are parameters, too: ``ask(prompt)``.
            A list whose version is the same on both sides ends the walk.

        Raises
        ------
        ListNotFound, VersionNotFound, SessionNotFound
            If a side is not there.
        InvalidName
            If no list or session can have that name.
        InvalidInput
            If a side is neither a version nor a session.

        Examples
        --------
        >>> with vault.session("train", params={"lr": 0.1}):
        ...     old = vault.save("preds", {"pred": 1})
        >>> with vault.session("train", params={"lr": 0.2}):
        ...     new = vault.save("preds", {"pred": 2})
        >>> vault.differences(old, new).query("what == 'parameter'")
                what name    a    b  depth   list  ruled_out             evidence
        0  parameter   lr  0.1  0.2      0  preds      False  the only difference
        """
        from tablevault_pd.analysis.differences import differences
        from tablevault_pd.analysis.targets import pair_of

        self._flush(info=True)
        return differences(self.store, *pair_of(self.store, a, b))

    def environment_diff(self, a: Any, b: Any) -> pd.DataFrame:
        """What two sessions ran in, or those that wrote two versions, where it differs.

        Parameters
        ----------
        a, b : str, List, DataFrame that was read from the vault, or session
            As for :meth:`compare`: ``"preds@3"``, ``"train#2"``.

        Returns
        -------
        DataFrame
            what (str: package, python, git, argv, host), name (str: of the package, say), a and b (object: as recorded; None where a
            side has none), ruled_out (bool: no cause, as of :meth:`differences`).

        Raises
        ------
        ListNotFound, VersionNotFound, SessionNotFound
            If a side is not there.
        InvalidName
            If no list or session can have that name.
        InvalidInput
            If a side is neither a version nor a session.

        Examples
        --------
        >>> for number in range(2):
        ...     with vault.session("train"):
        ...         preds = vault.save("preds", {"pred": number})
        >>> vault.environment_diff("preds@1", "preds@2")
        Empty DataFrame
        Columns: [what, name, a, b, ruled_out]
        Index: []
        """
        from tablevault_pd.analysis.facts import PARAMETER
        from tablevault_pd.analysis.ruled_out import fact_table
        from tablevault_pd.analysis.targets import pair_of

        self._flush(info=True)
        return fact_table(self.store, pair_of(self.store, a, b), lambda fact: fact[0] != PARAMETER, what=True)


def _names(names: Any, what: str) -> list[Hashable]:
    """Return names of columns, given as one or as a list. A tuple is one name, as in pandas."""
    if names is None:
        return []
    return validate.labels(names, what) or [] if isinstance(names, list) else [validate.label(names, what)]


def _on(on: Any) -> Any:
    if on is None or (isinstance(on, str) and on in ("lineage", "position")):
        return on
    return _names(on, "on")


def _baseline(baseline: Any) -> str | int | None:
    if baseline is None:
        return None
    if isinstance(baseline, str):
        names = ("first", "previous")
        return baseline if baseline in names else check_version_name(baseline, "version that is the baseline")
    return validate.whole(baseline, "baseline", least=1)


def _tolerance(value: Any, what: str) -> float:
    tolerance = validate.number(value, what)
    if tolerance < 0:
        raise InvalidInput(f"{what}= is a number, 0 or more, not {tolerance}.")
    return tolerance
