"""Gates: whether a comparison is good enough to go on, said with a reason, or that this cannot be told."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import pandas as pd

from tablevault_pd import validate
from tablevault_pd.errors import GateFailed, InvalidInput, did_you_mean, short_repr

if TYPE_CHECKING:
    from collections.abc import Sequence

Outcome = Literal["pass", "fail", "cannot tell"]
EXIT_CODES: dict[str, int] = {"pass": 0, "fail": 1, "cannot tell": 3}
NUMBERS = (
    "n_pairs", "n_missing", "n_only_a", "n_only_b", "a", "b", "delta", "lo", "hi", "p", "p_holm", "fixed", "broken", "churn",
)  # fmt: skip
#: Numbers that are known without a single pair.
COUNTS = ("n_pairs", "n_missing", "n_only_a", "n_only_b")
_CONDITION = re.compile(r"\s*(\w+)\s*(<=|>=|<|>)\s*([-+]?[\w.]+(?:[eE][-+]?\d+)?)\s*")


@dataclass(frozen=True, slots=True)
class Gate:
    """What a gate says. It is true if the comparison passes, and only then."""

    outcome: Outcome
    reason: str

    def __bool__(self) -> bool:
        return self.outcome == "pass"


@dataclass(frozen=True, slots=True)
class Bound:
    """What a number of the summary must be: at least, or at most; `strict`: the limit itself does not pass."""

    column: str
    least: float | None = None
    most: float | None = None
    strict: bool = False

    def holds(self, value: float) -> bool:
        """Whether a number keeps it."""
        if self.strict and value in (self.least, self.most):
            return False
        return (self.least is None or value >= self.least) and (self.most is None or value <= self.most)

    def __str__(self) -> str:
        low = [] if self.least is None else [f"{'more than' if self.strict else 'at least'} {self.least:g}"]
        high = [] if self.most is None else [f"{'less than' if self.strict else 'at most'} {self.most:g}"]
        return " and ".join(low + high)


def bound_of(column: Any, least: Any, most: Any, bound: Any) -> Bound:
    """Check the arguments of :meth:`Comparison.gate`. Raises InvalidInput."""
    name = _column(column)
    if validate.choice(bound, "bound", ("estimate", "lo")) == "lo":
        if name != "delta" or most is not None:
            raise InvalidInput(
                "bound='lo' takes the lower end of the interval of delta: gate('delta', min=…, bound='lo')."
            )
        name = "lo"
    bounds = Bound(
        name,
        None if least is None else validate.number(least, "min"),
        None if most is None else validate.number(most, "max"),
    )
    if bounds.least is None and bounds.most is None:
        raise InvalidInput("Say what passes: min=, max= or both.")
    if bounds.least is not None and bounds.most is not None and bounds.least > bounds.most:
        raise InvalidInput(f"Nothing passes: min={bounds.least:g} is more than max={bounds.most:g}.")
    return bounds


def failing_condition(text: str) -> Bound:
    """The bound that ``"delta < -0.005"``, a condition under which a gate fails, leaves. Raises InvalidInput.

    Examples
    --------
    >>> failing_condition("broken > 3")
    Bound(column='broken', least=None, most=3.0, strict=False)
    """
    parts = _CONDITION.fullmatch(text)
    try:
        limit = float(parts[3]) if parts else math.nan
    except ValueError:
        limit = math.nan
    if parts is None or not math.isfinite(limit):
        raise InvalidInput(
            f"{short_repr(text)} is no condition: write a number of the summary, a sign and a limit, such as 'delta < -0.005'."
        )
    side = "least" if parts[2][0] == "<" else "most"
    return Bound(_column(parts[1]), **{side: limit}, strict=parts[2].endswith("="))


def _column(name: Any) -> str:
    if isinstance(name, str) and name in NUMBERS:
        return name
    hint = did_you_mean(name, NUMBERS) if isinstance(name, str) else ""
    raise InvalidInput(
        f"A gate judges a number of the summary: {', '.join(NUMBERS)}; not {short_repr(name)}. {hint}".rstrip()
    )


def of_measure(summary: pd.DataFrame, measure: Any) -> pd.DataFrame:
    """The lines of a summary that are about one measure; all of them without one. Raises InvalidInput."""
    if measure is None:
        return summary
    names = [name for name in summary["measure"].unique().tolist() if not pd.isna(name)]
    if measure not in names:
        hint = did_you_mean(measure, names) if isinstance(measure, str) else ""
        there = ", ".join(map(short_repr, names)) or "none: compare(…, measure=…) says what to measure"
        raise InvalidInput(
            f"measure={short_repr(measure)} is no measure of this comparison. {hint} There are {there}."
        )
    return pd.DataFrame(summary[summary["measure"] == measure])


def judge(summary: pd.DataFrame, bound: Bound, *, min_pairs: int) -> Gate:
    """Judge each line of a summary: one that fails fails all, and one that cannot be judged leaves it open."""
    judgements = [_judge_line(line, bound, min_pairs) for line in summary.to_dict("records")]
    if not judgements:
        return Gate("cannot tell", "The summary has no line to judge.")
    worst = max(judgements, key=lambda judged: ("pass", "cannot tell", "fail").index(judged.outcome))
    reasons = [judged.reason for judged in judgements if judged.outcome == worst.outcome]
    more = f" and {len(reasons) - 3} more" if len(reasons) > 3 else ""
    return Gate(worst.outcome, "; ".join(reasons[:3]) + more)


def joined(gates: Sequence[Gate]) -> Gate:
    """Several gates as one: the worst outcome, with the reasons for it."""
    worst = max(gates, key=lambda gate: ("pass", "cannot tell", "fail").index(gate.outcome))
    reasons = [gate.reason for gate in gates if gate.outcome == worst.outcome]
    return Gate(worst.outcome, "; ".join(reasons))


def _judge_line(line: dict[Any, Any], bound: Bound, min_pairs: int) -> Gate:
    what = _what(line)
    pairs, only_a, only_b = (int(line[name]) for name in ("n_pairs", "n_only_a", "n_only_b"))
    shown_pairs = f"{pairs} pairs"
    if only_a or only_b:
        shown_pairs += f" ({only_a} are only in {line['reference']}, {only_b} only in {line['other']})"
    if bound.column not in COUNTS:
        if pd.isna(line["measure"]) and bound.column != "churn":
            return Gate(
                "cannot tell", f"{what}: nothing was measured: give a measure, such as 'gold == pred'"
            )
        if pairs < min_pairs:
            return Gate("cannot tell", f"{what}: {shown_pairs}, and {min_pairs} are needed")
    value = line[bound.column]
    if pd.isna(value):
        return Gate("cannot tell", f"{what}: {bound.column} is missing")
    shown_value = f"{bound.column} is {float(value):.4g}"
    if bound.holds(float(value)):
        return Gate("pass", f"{what}: {shown_value}, {bound} as asked, from {shown_pairs}")
    return Gate("fail", f"{what}: {shown_value}, not {bound}, from {shown_pairs}")


def _what(line: dict[Any, Any]) -> str:
    measure = "rows" if pd.isna(line["measure"]) else line["measure"]
    where = "" if line["slice"] == "all" else f" ({line['slice']})"
    return f"{measure}{where} of {line['other']} against {line['reference']}"


def or_raise(gate: Gate) -> Gate:
    """The gate, if it passes. Raises GateFailed with its reason."""
    if not gate:
        raise GateFailed(f"The gate did not pass ({gate.outcome}): {gate.reason}.")
    return gate
