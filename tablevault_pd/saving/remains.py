"""What is left of rows elsewhere once they are erased: rows made from them, code and texts that quote them, backups."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from tablevault_pd import frames
from tablevault_pd.display import counted
from tablevault_pd.lineage.report import RowsToTrace, joined_rows, lines
from tablevault_pd.reading import reports
from tablevault_pd.reading.read import rows_at_each
from tablevault_pd.store.engine.fts import has_words
from tablevault_pd.store.text_query import AnyOf, Phrase

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    import pandas as pd

    from tablevault_pd.store import Erasure, Store, Version

COLUMNS = ("what", "list", "versions", "rows", "remains", "detail")
QUOTED = 1000  # so many different texts of the rows are looked for
SHORTEST = 3  # … that have as many characters
NAMED = 10  # so many places are named one by one

#: what, list, versions, rows, whether it remains, detail
AnswerLine = tuple[str, str | None, list[int], int | None, bool, str | None]


@dataclass(frozen=True, slots=True)
class Remains:
    """What is known before rows are erased, and not afterwards."""

    head: Version | None = None
    rows: int = 0
    versions: tuple[int, ...] = ()  #: that showed them
    texts: tuple[str, ...] = ()  #: cells of theirs
    elsewhere: tuple[AnswerLine, ...] = ()
    notes: tuple[AnswerLine, ...] = ()  #: what map kept of them, and is erased, too

    def report(
        self, store: Store, erasure: Erasure | None, kept_texts: Iterable[tuple[str, str]] = ()
    ) -> pd.DataFrame:
        """The answer: what went, or without an erasure what would go, then what remains."""
        report_lines = [] if self.head is None else [*self._gone(erasure), *self.notes, *self.elsewhere]
        if report_lines:
            if (
                erasure is not None
                and erasure.categories
                and "categories" not in [line[0] for line in report_lines]
            ):
                detail = "categories are shared by lists on a server, and stay there"
                report_lines.append(("categories", None, [], None, True, detail))
            report_lines += _quoting(store, self.texts)
            quoting = {
                name for name, kept_text in kept_texts if any(text in kept_text for text in self.texts)
            }
            report_lines += [
                ("errors", name, [], None, True, "errors that map kept quote them")
                for name in sorted(quoting)
            ]
            report_lines.append(
                ("backups", None, [], None, True, "copies of the vault and exports made before have the rows")
            )
        return reports.answer(COLUMNS, report_lines, remains="bool")

    def _gone(self, erasure: Erasure | None) -> Iterator[AnswerLine]:
        assert self.head is not None
        name = self.head.list
        if erasure is None:
            yield "rows", name, list(self.versions), self.rows, True, "nothing was erased: dry_run=True"
            return
        yield (
            "rows",
            name,
            list(self.versions),
            self.rows,
            False,
            f"{name}@{erasure.version.version} was made without them",
        )
        for sha256, size in erasure.files:
            yield "kept file", name, [], None, False, f"{sha256}, {counted(size, 'byte')}"
        if erasure.remains is not None:
            yield (
                "stored bytes",
                name,
                [],
                None,
                True,
                f"{erasure.remains}; the next connect() overwrites them",
            )


def remains_of(
    store: Store,
    head: Version,
    selections: Sequence[tuple[Version, np.ndarray]],
    showing: Sequence[int],
    passed_over: Sequence[Version],
) -> Remains:
    """Look at rows that are about to be erased, each given in one version; `showing` are the versions that have any of them."""
    count = sum(len(positions) for _, positions in selections)
    report_lines = [*_children(store, selections)]
    if passed_over:
        report_lines.append(
            ("versions not searched", head.list, sorted(version.version for version in passed_over), None, True,
             "they lack a column of the filter: name their rows by rows=, a frame read from them")
        )  # fmt: skip
    texts: dict[str, None] = {}
    quoted = [(version, store.schema(version.schema_id), rows[:QUOTED]) for version, rows in selections]
    for table in rows_at_each(store, quoted):
        texts |= dict.fromkeys(_texts(table))
        report_lines += [line for line in _ordered_categories(head, table) if line not in report_lines]
    return Remains(head, count, tuple(showing), tuple(texts)[:QUOTED], tuple(report_lines))


def _children(store: Store, selections: Sequence[tuple[Version, np.ndarray]]) -> Iterator[AnswerLine]:
    """Rows of other lists that were made from them, at any distance."""
    traced = [
        RowsToTrace(
            np.full(len(positions), version.list_id),
            np.full(len(positions), version.version),
            positions,
            (version,),
        )
        for version, positions in selections
    ]
    if not traced:
        return
    down = lines(store, joined_rows(traced), direction="down")
    for name, group in down[~down["gone"]].groupby("child_list", sort=True):
        positions = group[["child_version", "child_position"]].drop_duplicates()
        whole = positions["child_position"].isna().any()
        versions = sorted(positions["child_version"].astype(int).unique().tolist())
        detail = "made from the whole list" if whole else "made from them"
        yield "children", str(name), versions, None if whole else len(positions), True, detail


def _texts(table: pa.Table) -> list[str]:
    """The texts in the cells, but for short ones."""
    texts: list[str] = []
    for field in table.schema:
        kind = field.type.value_type if pa.types.is_dictionary(field.type) else field.type
        if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
            cells = table.column(field.name).cast(pa.large_string()).unique().to_pylist()
            texts += [cell for cell in cells if cell is not None and len(cell) >= SHORTEST]
    return texts


def _ordered_categories(head: Version, table: pa.Table) -> Iterator[AnswerLine]:
    """Ordered categories belong to the column: they stay, whatever rows there are."""
    for field in table.schema:
        if pa.types.is_dictionary(field.type) and field.type.ordered:
            label = frames.field_labels(table.schema).get(field.name, field.name)
            yield (
                "categories",
                head.list,
                [],
                None,
                True,
                f"the ordered categories of the column {label!r} stay",
            )


def _quoting(store: Store, texts: Sequence[str]) -> Iterator[AnswerLine]:
    """Captured code, descriptions and messages that have one of these texts in them."""
    phrases = tuple(Phrase(" ".join(text.split())) for text in texts if has_words(text))
    cells = store.search_code(AnyOf(phrases)) if phrases else np.empty((0, 2), np.int64)
    if len(cells):
        labels = reports.labels_of(store, sorted(set(cells[:, 0].tolist())))
        places = [f"{labels.get(session)}, cell {cell}" for session, cell in cells[:NAMED].tolist()]
        more = "" if len(cells) <= NAMED else f" and {len(cells) - NAMED} more"
        yield "code", None, [], None, True, f"captured code quotes them: {'; '.join(places)}{more}"
    for described in store.descriptions():
        if any(text in described.text for text in texts):
            yield "description", None, [], None, True, f"a description quotes them: {described.label}"
    for version in store.versions():
        if version.message and any(text in version.message for text in texts):
            yield (
                "message",
                version.list,
                [version.version],
                None,
                True,
                "the message of a version quotes them",
            )
