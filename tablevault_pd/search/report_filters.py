"""Filters and tags of reports: of the frames of lists and of sessions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tablevault_pd import progress
from tablevault_pd.errors import InvalidFilter, did_you_mean, short_repr
from tablevault_pd.filters import Names, parse_filter
from tablevault_pd.filters.tree import ColumnRef, Compare, Member, Node, Term, walk
from tablevault_pd.reading import reports

if TYPE_CHECKING:
    from collections.abc import Iterable

    import numpy as np
    import pandas as pd


def mask_of_report(report: str, frame: pd.DataFrame, filters: Any) -> np.ndarray:
    """Which rows of a report pass. Raises InvalidFilter, which says which report it is about."""
    try:
        condition = parse_filter(filters, Names.of(frame))
        assert condition is not None
        if condition.tree is not None:
            _refuse_lists(report, condition.tree)
        return condition.mask(frame)
    except InvalidFilter as error:
        raise type(error)(f"In the frame of {report}: {error}") from error


def _refuse_lists(report: str, tree: Node) -> None:
    """Refuse to compare a column of lists: pandas would keep no row, without a word."""
    for part in walk(tree):
        sides: tuple[Node, ...] = ()
        if isinstance(part, Compare):
            sides = (part.left, part.right)
        elif isinstance(part, Member):
            sides = (part.of, part.values)
        elif isinstance(part, Term):
            sides = (part.of,)
        for side in sides:
            if isinstance(side, ColumnRef) and side.label in reports.OBJECTS:
                name = str(side.label)
                argument = {"tags": "tags", "kinds": "kind"}.get(name)
                instead = (
                    f"found = vault.{report}(), then found[found[{name!r}].map(lambda values: 'x' in values)]"
                    if argument is None
                    else f"{argument}='x' beside the filter: vault.{report}({argument}='x')"
                )
                raise InvalidFilter(
                    f"The column {name!r} holds several values in each row, and a comparison would fit none. Write {instead}."
                )


def warn_of_unknown_tags(report: str, tags: Iterable[str], tags_there: Iterable[Iterable[str]]) -> None:
    """Warn of tags that nothing in a report has: its answer is empty."""
    every = {tag for some in tags_there for tag in some}
    for tag in tags:
        if tag not in every:
            hint = did_you_mean(tag, every) or f"vault.{report}() shows what there is."
            progress.warn(f"None of the {report} of this vault has the tag {short_repr(tag)}. {hint}")
