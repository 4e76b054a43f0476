"""The answer of ``vault.compare``: a frame of aligned rows that sums itself up, however it was filtered since."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import pandas as pd

from tablevault_pd import validate
from tablevault_pd.analysis import gate
from tablevault_pd.analysis.answers import mark
from tablevault_pd.analysis.arguments import ARGUMENT
from tablevault_pd.analysis.facts import PARAMETER
from tablevault_pd.analysis.summary import summary
from tablevault_pd.code import Slice, code_diff
from tablevault_pd.display import comparison_html
from tablevault_pd.errors import InvalidInput
from tablevault_pd.reading.reports import typed

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tablevault_pd.analysis.context import Context
    from tablevault_pd.analysis.facts import Fact
    from tablevault_pd.analysis.plots import FramePlots


class Comparison(pd.DataFrame):
    """Rows of two or more versions side by side: one line for each key, in the order of the first version.

    The index is the key: the named index, the columns of `on`, the ``ancestor`` (a reference) or the ``position``. Columns:
    ``status`` (same, changed, added, removed), ``flip`` where something was measured (fixed, broken, same_right, same_wrong
    for truth values; up, down, same for numbers), then each column as ``name_a`` and ``name_b``. With more than two versions
    there are ``status_b``, ``status_c`` and so on, each against the first. What is left after filtering sums itself up.

    Examples
    --------
    >>> old = vault.save("preds", pd.DataFrame({"id": [1, 2], "gold": ["a", "b"], "pred": ["a", "a"]}))
    >>> new = vault.save("preds", pd.DataFrame({"id": [1, 2], "gold": ["a", "b"], "pred": ["a", "b"]}))
    >>> compared = vault.compare(old, new, on="id", measure="gold == pred")
    >>> compared[["status", "flip", "pred_a", "pred_b"]]
         status        flip pred_a pred_b
    id
    1      same  same_right      a      a
    2   changed       fixed      a      b
    >>> compared.summary[["measure", "n_pairs", "a", "b", "delta", "fixed", "broken"]]
           measure  n_pairs    a    b  delta  fixed  broken
    0  gold == pred       2  0.5  1.0    0.5      1       0
    """

    _metadata: ClassVar[list[str]] = ["_context"]
    _context: Context | None = None

    @property
    def _constructor(self) -> Callable[..., Comparison]:
        return Comparison

    def _about(self, context: Context) -> Comparison:
        self._context = context
        return self

    def _known(self) -> Context:
        if self._context is None:
            raise InvalidInput(
                "This frame was made of a comparison, and is none any more. Ask the comparison itself, or its rows filtered."
            )
        return self._context

    def _repr_html_(self) -> str | None:
        plain: Any = pd.DataFrame(self)
        rows: str | None = plain._repr_html_()
        if self._context is None or rows is None:
            return rows
        columns = [name for name in ("flip", "status") if name in self.columns]
        counts = plain[columns[0]].value_counts() if columns else pd.Series(dtype="int64")
        said = {str(name): int(count) for name, count in counts.items() if count}
        return comparison_html(self._context.layout.names, said, rows)

    @property
    def summary(self) -> pd.DataFrame:
        """What the rows come to: a line for each measure, slice of `by` and other version.

        measure, slice (``"all"``, ``"topic=sport"``), reference, other, n_pairs, n_missing (pairs without a value on one side),
        n_only_a, n_only_b, a and b (means over the pairs), delta (b - a), lo and hi (95 %), p, p_holm (corrected for all lines),
        test, fixed, broken, churn (the share of pairs whose value, or row, changed), equivalent (within `margin`).
        """
        return summary(self, self._known().layout)

    def gate(
        self,
        column: str = "delta",
        *,
        measure: str | None = None,
        min: float | None = None,
        max: float | None = None,
        bound: str = "estimate",
        min_pairs: int = 20,
        slices: bool = False,
        raises: bool = False,
    ) -> gate.Gate:
        """Whether a number of the summary is good enough: pass, fail, or cannot tell.

        Parameters
        ----------
        column : str
            ``"delta"``, ``"broken"``, ``"churn"``, ``"b"`` and so on: a number of :attr:`summary`.
        measure : str, optional
            Judge this one of several measures, by its name in :attr:`summary`. Default: all of them.
        min, max : float, optional
            The least and the most that passes. One of them is needed.
        bound : {"estimate", "lo"}
            Whether delta itself is judged, or the lower end of its interval.
        min_pairs : int
            With fewer pairs it cannot be told.
        slices : bool
            Whether each slice of `by` must pass too, and not all rows together alone.
        raises : bool
            Whether anything but a pass is an error.

        Returns
        -------
        Gate
            True if it passes. It has ``.outcome`` (``"pass"``, ``"fail"``, ``"cannot tell"``) and ``.reason``.

        Raises
        ------
        GateFailed
            With ``raises=True``.
        InvalidInput

        Examples
        --------
        >>> old = vault.save("preds", pd.DataFrame({"id": range(40), "right": [True] * 40}))
        >>> new = vault.save("preds", pd.DataFrame({"id": range(40), "right": [True] * 36 + [False] * 4}))
        >>> gate = vault.compare(old, new, on="id", measure="right").gate("delta", min=-0.005)
        >>> gate.outcome, gate.reason
        ('fail', 'right of preds@2 against preds@1: delta is -0.1, not at least -0.005, from 40 pairs')
        """
        bounds = gate.bound_of(column, min, max, bound)
        pairs = validate.whole(min_pairs, "min_pairs", least=0)
        everything = validate.flag(slices, "slices")
        lines = gate.of_measure(self._judged(slices=everything), measure)
        outcome = gate.judge(lines, bounds, min_pairs=pairs)
        return gate.or_raise(outcome) if validate.flag(raises, "raises") else outcome

    def _judged(self, *, slices: bool) -> pd.DataFrame:
        lines = self.summary
        return lines if slices else lines[lines["slice"] == "all"]

    @property
    def plot(self) -> FramePlots:  # type: ignore[override]  # the pictures of a comparison, and not those of any frame
        """Pictures of the rows left: ``.plot()`` draws the flips. See :class:`FramePlots`.

        The pictures of pandas are at ``pd.DataFrame(comparison).plot``.
        """
        from tablevault_pd.analysis.plots import FramePlots

        return FramePlots(mark(self.copy(deep=False), "compare"), self._known().vault)

    def why(self, side: str = "b") -> pd.DataFrame:
        """For each row that flipped, what it was made from that changed, and the code and parameters that made it.

        Without a measure, for each row that changed.

        Parameters
        ----------
        side : str
            The letter of the version that is compared with the first, where there are more than two.

        Returns
        -------
        DataFrame
            One line per row and difference, under the row's key: flip, what (row changed, row added, row removed: of its own
            ancestors, cell by cell; rows changed, rows added, rows removed: how many, of what many rows came from alike, such as
            a training set, column by column; input: a whole list; read: a list that the session read, though no row of it is a parent;
            code; parameter; package; python; nothing recorded), name (of the column, list, definition, parameter; an empty
            text where nothing is recorded), a, b, depth (steps up), list, row_a and row_b (``articles@1[3]``), evidence (why it is
            left as a cause: whether it is the only one, or which others no session tells apart from it).
            ``why().value_counts(["what", "name"])`` says which difference stands behind how many flips.

        Raises
        ------
        InvalidInput
            If there is no side of that letter, or one of both is a frame that was not read from the vault.

        Examples
        --------
        >>> texts = vault.save("texts", pd.DataFrame({"text": ["good", "bad"]}, index=pd.Index([1, 2], name="id")))
        >>> old = vault.save("marks", vault.read("texts").assign(right=True))
        >>> texts = vault.save("texts", pd.DataFrame({"text": ["good", "sad"]}, index=pd.Index([1, 2], name="id")))
        >>> new = vault.save("marks", vault.read("texts").assign(right=[True, False]))
        >>> why = vault.compare(old, new, measure="right").why()
        >>> why[["flip", "what", "name", "a", "b", "row_b"]]
              flip         what  name    a    b       row_b
        id
        2   broken  row changed  text  bad  sad  texts@2[1]
        """
        from tablevault_pd.analysis.why import why

        return why(self, self._known(), self._side(side))

    def _side(self, letter: str) -> int:
        letters = [self._known().layout.letter(number) for number in range(1, len(self._known().sides))]
        return letters.index(validate.choice(letter, "side", letters)) + 1

    # -- what else changed

    @property
    def schema_diff(self) -> pd.DataFrame:
        """The columns that came, went or have another dtype: column, what (added, removed, dtype), then a dtype for each side."""
        sides = self._known().sides
        labels = dict.fromkeys(label for side in sides for label in side.dtypes)
        rows = [(label, [side.dtypes.get(label) for side in sides]) for label in labels]
        rows = [(label, dtypes) for label, dtypes in rows if len(set(dtypes)) > 1]
        columns: dict[str, Any] = {
            "column": pd.Series([label for label, _ in rows], dtype=object),
            "what": typed("what", [_what(dtypes) for _, dtypes in rows]),
        }
        for number in range(len(sides)):
            columns[chr(ord("a") + number)] = typed("dtype", [dtypes[number] for _, dtypes in rows])
        return pd.DataFrame(columns)

    @property
    def params_diff(self) -> pd.DataFrame:
        """The parameters in which the sessions that made the versions differ: name, a, b …, as they were given, ruled_out.

        ruled_out (bool): no cause, for the same rows were also made with the value of the other side.
        """
        return self._fact_table(lambda fact: fact[0] in (PARAMETER, ARGUMENT), what=False)

    @property
    def environment_diff(self) -> pd.DataFrame:
        """What the sessions ran in, where it differs: what (package, python, git, argv, host), name, a, b … as recorded, ruled_out."""
        return self._fact_table(lambda fact: fact[0] not in (PARAMETER, ARGUMENT), what=True)

    def _fact_table(self, is_shown: Callable[[Fact], bool], *, what: bool) -> pd.DataFrame:
        from tablevault_pd.analysis.ruled_out import fact_table

        context = self._known()
        return fact_table(context.vault(), [side.made for side in context.sides], is_shown, what=what)

    @property
    def code_diff(self) -> str:
        """The code that made the rows as a unified diff, of each version with the first; empty where it is the same.

        Of two versions, a notebook shows it side by side.
        """
        context = self._known()
        store = context.vault()
        slices = [Slice() if one.made is None else one.made.code(store) for one in context.sides]
        first, *others = context.sides
        diffs = [
            code_diff(slices[0], code_slice, first.name, side.name)
            for side, code_slice in zip(others, slices[1:], strict=True)
        ]
        return diffs[0] if len(diffs) == 1 else "\n".join(diff for diff in diffs if diff)


def _what(dtypes: Sequence[str | None]) -> str:
    if dtypes[0] is None:
        return "added"
    return "removed" if None in dtypes else "dtype"
