"""``vault.trend``: a measure of each version of a list."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pandas as pd

from tablevault_pd.analysis.answers import mark
from tablevault_pd.analysis.makings import Making, last_of_each_session, makings_of
from tablevault_pd.analysis.measuring import About, Asked, Line, Measuring
from tablevault_pd.analysis.statistics import NOTHING
from tablevault_pd.analysis.trend_changes import changes
from tablevault_pd.errors import InvalidInput, short_repr
from tablevault_pd.reading import read as reading
from tablevault_pd.reading.reports import labels_of, typed

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tablevault_pd.store import Store, Version


class Trend(pd.DataFrame):
    """A measure of each version of a list, the oldest first; :meth:`changes` says which of them left the noise.

    What pandas makes of it keeps what it is about, so that a filtered trend can still be asked for its changes.
    """

    _metadata: ClassVar[list[str]] = ["_about"]
    _about: About | None = None

    @property
    def _constructor(self) -> Callable[..., Trend]:
        return Trend

    def changes(self) -> pd.DataFrame:
        """The versions whose measure left the noise of the version before, each with the difference of its code.

        Rows that both versions have are compared in pairs, as in :meth:`Vault.compare`; appended rows with those before them.
        p-values are corrected for the number of steps (Holm), and the steps below 0.05 are listed.

        Returns
        -------
        DataFrame
            list, version, previous (Int64), time, session, measure, slice, value, delta, lo, hi, p_holm, code_diff.

        Examples
        --------
        >>> for wrong in (2, 3, 40):
        ...     rows = pd.DataFrame({"right": [False] * wrong + [True] * (100 - wrong)})
        ...     saved = vault.save("preds", rows.rename_axis("id"))
        >>> vault.trend("preds", "right").changes()[["version", "previous", "value", "delta"]]
           version  previous  value  delta
        0        3         2    0.6  -0.37
        """
        if self._about is None or not {"list", "version", "measure", "slice"} <= set(self.columns):
            raise InvalidInput(
                "This frame was made of a trend, and is none any more: it needs its columns list, version, "
                "measure and slice."
            )
        return changes(self, self._about)


def trend(store: Store, versions: Sequence[Version], options: Asked, flush: Callable[[], None]) -> Trend:
    """Measure every version."""
    chosen = _chosen(store, versions, options.per)
    measured = Measuring(store, list(dict.fromkeys(making.version for making in chosen)), options)
    lines = _lines(measured, chosen)
    failed = [line for line in lines if line.point.error is not None]
    if lines and len(failed) == len(lines) and measured.wrong is not None:
        raise measured.wrong
    frame = _frame(store, lines, options)
    if options.baseline is not None:
        frame = _with_baseline(measured, frame, lines)
    answer = Trend(frame)
    answer._about = About(store, flush, options)
    names = ", ".join(dict.fromkeys(measure.name for measure in options.measures))
    return mark(answer, "trend", names)  # type: ignore[return-value]  # the same frame


def _chosen(store: Store, versions: Sequence[Version], per: str) -> list[Making]:
    """All versions, or the last one that each session or day wrote or confirmed, in order of list and version."""
    if per == "version":
        return [Making(version) for version in sorted(versions, key=lambda at: (at.list, at.version))]
    makings = makings_of(store, versions)
    if per == "session":
        return last_of_each_session(makings)
    days: dict[tuple[Any, ...], Making] = {}
    for making in makings:
        key = (making.version.list_id, making.time.date())
        if key not in days or days[key].version != making.version:
            days.pop(key, None)
            days[key] = making
    return list(days.values())


def _lines(measured: Measuring, chosen: Sequence[Making]) -> list[Line]:
    """The lines of each version, once for each who made it."""
    of_version: dict[Version, list[Line]] = {}
    for line in measured.lines():
        of_version.setdefault(line.version, []).append(line)
    return [replace(line, making=making) for making in chosen for line in of_version[making.version]]


# -- the answer


def _frame(store: Store, lines: Sequence[Line], options: Asked) -> pd.DataFrame:
    makings = [line.making or Making(line.version) for line in lines]
    sessions = labels_of(store, [making.session_id for making in makings])
    columns: dict[str, Any] = {
        "list": typed("list", [line.version.list for line in lines]),
        "version": pd.array([line.version.version for line in lines], dtype="Int64"),
        "time": typed("time", [making.time for making in makings]),
        "session": typed("session", [sessions.get(making.session_id) for making in makings]),
        "made": typed("made", [making.made for making in makings]),
        "measure": typed("measure", [line.measure.name for line in lines]),
        "slice": typed("slice", [line.slice for line in lines]),
        "value": np.array([line.point.value for line in lines], np.float64),
        "n": pd.array([line.point.n for line in lines], dtype="Int64"),
    }
    if options.band is not None:
        columns["lo"] = np.array([line.point.lo for line in lines], np.float64)
        columns["hi"] = np.array([line.point.hi for line in lines], np.float64)
    columns["error"] = typed("error", [line.point.error for line in lines])
    return pd.DataFrame(columns)


def _with_baseline(measured: Measuring, frame: pd.DataFrame, lines: Sequence[Line]) -> pd.DataFrame:
    fixed = _fixed_baselines(measured, lines)
    effects = [(NOTHING, 0)] * len(lines)
    with measured.drawing("comparing with the baseline", len(lines)):
        for numbers in groups_of(lines):
            usable = [number for number in numbers if lines[number].point.error is None]
            for place, number in enumerate(usable):
                base = _base(
                    measured.asked.baseline, fixed, [lines[usable_number] for usable_number in usable], place
                )
                if base is not None:
                    line = lines[number]
                    effects[number] = (
                        line.point.against_itself
                        if base == line.version
                        else measured.effect(base, line.version, line.measure, line.slice)
                    )
    error = frame.pop("error")
    return frame.assign(
        delta=[effect.delta for effect, _ in effects],
        delta_lo=[effect.lo for effect, _ in effects],
        delta_hi=[effect.hi for effect, _ in effects],
        n_pairs=pd.array([pairs for _, pairs in effects], dtype="Int64"),
        error=error,
    )


def groups_of(lines: Sequence[Line]) -> list[list[int]]:
    """The numbers of the lines of each list, measure and slice, in order of version."""
    groups: dict[tuple[Any, ...], list[int]] = {}
    for number, line in enumerate(lines):
        groups.setdefault((line.version.list_id, line.measure.name, line.slice), []).append(number)
    return list(groups.values())


def _fixed_baselines(measured: Measuring, lines: Sequence[Line]) -> dict[int, int]:
    """By list the version that is the baseline, where a number or a name says which. Raises if no list has it."""
    baseline = measured.asked.baseline
    if baseline in (None, "first", "previous") or not lines:
        return {}
    lists = {line.version.list_id: line.version.list for line in lines}
    if isinstance(baseline, int):
        numbers: list[int | None] = [baseline] * len(lists)
    else:
        numbers = measured.store.find_named([(name, str(baseline)) for name in lists.values()])
        if not any(numbers):
            # raises, and says what there is
            reading.resolve(measured.store, f"{next(iter(lists.values()))}@{baseline}")
    there = {(line.version.list_id, line.version.version) for line in lines}
    fixed = {
        list_id: number
        for list_id, number in zip(lists, numbers, strict=True)
        if number is not None and (list_id, number) in there
    }
    if not fixed:
        measured_numbers = sorted({number for _, number in there})
        raise InvalidInput(
            f"baseline={short_repr(baseline)} is none of the versions that are measured: {short_repr(measured_numbers)}."
        )
    return fixed


def _base(
    baseline: str | int | None, fixed: dict[int, int], lines: Sequence[Line], place: int
) -> Version | None:
    """What a version is compared with."""
    if baseline == "first":
        return lines[0].version
    if baseline == "previous":
        return lines[place - 1].version if place else None
    number = fixed.get(lines[place].version.list_id)
    return next((line.version for line in lines if line.version.version == number), None)
