"""How rows are forgotten for good: which stored rows are meant, the commit, and what is left of them elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from tablevault_pd import frames
from tablevault_pd.errors import InvalidInput
from tablevault_pd.filters import UnknownColumn
from tablevault_pd.keys.digests import matches
from tablevault_pd.keys.key_index import NO_KEYS, KeyIndex
from tablevault_pd.lineage.same import same_rows
from tablevault_pd.reading.filtering import filter_for, masks_of_versions
from tablevault_pd.saving.commit import Write, batch_of, head_of, retrying
from tablevault_pd.saving.delete_rows import rows_named
from tablevault_pd.saving.remains import AnswerLine, Remains, remains_of
from tablevault_pd.store.pieces import EMPTY, Pieces

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pandas as pd

    from tablevault_pd.store import Erasure, Store, Version

#: Rows of one version.
Selection = tuple["Version", np.ndarray]


#: Erases what other lists keep of the rows that are about to go, and returns lines of the answer.
EraseAlso = Callable[[Sequence[Selection]], Sequence[AnswerLine]]


def erase(
    store: Store,
    what: Write,
    *,
    rows: Any,
    filters: Any,
    dry_run: bool = False,
    also: EraseAlso = lambda _: (),
    kept_texts: Iterable[tuple[str, str]] = (),
) -> pd.DataFrame:
    """Erase rows of a list in all of its versions, and return what went and what remains.

    `also` comes first: a call that is killed after it can be made again, and finds the rows. `kept_texts` are texts that other lists
    keep, and may quote the rows.
    """
    first = head_of(store, what)
    assert first is not None
    done: list[tuple[Erasure | None, Remains]] = []

    def attempt(head: Version | None) -> Version:
        assert head is not None
        history = _History.of(store, head)
        selected, passed_over = _selected(history, rows, filters)
        erased = _every_state(history, selected).without(history.erased)
        if not erased.total:
            return head
        selections = history.selections(erased)
        remains = remains_of(store, head, selections, passed_over)
        if dry_run:
            done.append((None, remains))
            return head
        remains = replace(remains, notes=tuple(also(selections)))
        content = history.contents[-1]
        left = content.without(erased)
        batch = replace(
            batch_of(what),
            expect=head.version,
            pieces=left,
            removed=content.total - left.total,
            erases=erased,
        )
        erasure = store.erase(batch)
        done.append((erasure, remains))
        return erasure.version

    retrying(store, what, attempt, first)
    return Remains().report(store, None) if not done else done[-1][1].report(store, done[-1][0], kept_texts)


@dataclass(frozen=True, slots=True, eq=False)
class _History:
    """The versions of a list whose rows can be read, oldest first, and what each shows."""

    store: Store
    versions: Sequence[Version]
    contents: Sequence[Pieces]
    erased: Pieces  #: rows that were erased before

    @classmethod
    def of(cls, store: Store, head: Version) -> _History:
        versions = [
            version for version in store.versions(head.list) if not version.gone and not version.deleted
        ]
        contents = store.pieces(versions)
        erased = zip(contents, store.erased(versions), strict=True)
        return cls(store, versions, contents, _joined(content.at(positions) for content, positions in erased))

    @property
    def head(self) -> Version:
        return self.versions[-1]

    def selections(self, rows: Pieces) -> list[Selection]:
        """Each of these stored rows once, in the newest version that shows it."""
        selections, left = [], rows
        for version, content in zip(reversed(self.versions), reversed(self.contents), strict=True):
            positions = content.positions_of(left)
            if len(positions):
                selections.append((version, positions))
                left = left.without(content)
        return selections

    def stored(self, selections: Sequence[Selection]) -> Pieces:
        """The stored rows that are shown at these positions."""
        contents = self.store.pieces([version for version, _ in selections])
        return _joined(
            content.at(positions) for content, (_, positions) in zip(contents, selections, strict=True)
        )


def _joined(parts: Iterable[Pieces]) -> Pieces:
    """The rows of all parts, each once, in order of address."""
    rows = EMPTY
    for part in parts:
        rows = rows + part.without(rows)
    return rows.by_address()


def _selected(history: _History, rows: Any, filters: Any) -> tuple[Pieces, list[Version]]:
    """The stored rows that were named, and the versions that lack a column of the filter."""
    if rows is not None:
        return history.stored(rows_named(history.store, history.head, rows)), []
    if filter_for(history.store, history.head, filters) is None:
        raise InvalidInput("filters= is empty: say which rows are to be erased.")
    selections, passed_over, judged = [], [], EMPTY
    for version, content in zip(reversed(history.versions), reversed(history.contents), strict=True):
        new = content.without(judged)
        if not new.total:
            continue
        try:
            condition = filter_for(history.store, version, filters)
        except UnknownColumn:
            passed_over.append(version)
            continue
        assert condition is not None
        selections.append(
            (version, np.flatnonzero(masks_of_versions(history.store, [(version, condition)])[0]))
        )
        judged = judged + new
    return history.stored(selections), passed_over


# -- the same rows in other versions


def _every_state(history: _History, rows: Pieces) -> Pieces:
    """These rows in every version: by the key of the list, else by their content, matched in order."""
    schema = history.store.schema(history.head.schema_id)
    fields = frames.key_fields(schema)
    every = rows if not fields else _joined([rows, _of_key(history, rows, fields)])
    parts = [every]
    for version, positions in history.selections(every):
        for other, content in zip(history.versions, history.contents, strict=True):
            if other.version == version.version or not content.without(every).total:
                continue
            there = same_rows(history.store, version, other, positions)
            parts.append(content.at(np.unique(there[there >= 0])))
    return _joined(parts)


def _of_key(history: _History, rows: Pieces, fields: Sequence[str]) -> Pieces:
    """All stored rows that have the key of one of these."""
    index: KeyIndex = NO_KEYS
    for version, content in zip(reversed(history.versions), reversed(history.contents), strict=True):
        schema = history.store.schema(version.schema_id)  # keys are compared by value, whatever their dtype
        if set(fields) <= set(schema.names):
            index = index.extended(history.store, version, content, schema, fields)
    at = index.content.positions_of(rows)
    numbers, _ = matches(index.digests, index.digests[:, at])
    return index.content.at(np.unique(numbers))
