"""How rows are forgotten for good: which stored rows are meant, the commit, and what is left of them elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from tablevault_pd import frames
from tablevault_pd.errors import InvalidInput, VaultError, VersionNotFound
from tablevault_pd.filters import UnknownColumn
from tablevault_pd.keys.digests import NO_DIGESTS, key_digests, matches
from tablevault_pd.reading.filtering import filter_for, rows_passing
from tablevault_pd.reading.read import list_not_found
from tablevault_pd.saving.commit import WriteRequest, batch_of, head_of, retrying
from tablevault_pd.saving.delete_rows import rows_named
from tablevault_pd.saving.remains import AnswerLine, Remains, remains_of
from tablevault_pd.saving.same_stored import same_stored_rows
from tablevault_pd.saving.stored_rows import NO_ROWS, StoredRows

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pandas as pd

    from tablevault_pd.filters import Filter
    from tablevault_pd.store import Erasure, Store, Version

#: Rows of one version.
Selection = tuple["Version", np.ndarray]


#: Erases what other lists keep of the rows that are about to go, and returns lines of the answer.
EraseAlso = Callable[[Sequence[Selection]], Sequence[AnswerLine]]


def erase(
    store: Store,
    request: WriteRequest,
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
    first = head_of(store, request)
    assert first is not None
    done: list[tuple[Erasure | None, Remains]] = []

    def planned_anew(head: Version | None) -> Version:
        """Plan again where a vacuum has taken versions meanwhile."""
        assert head is not None
        while True:
            versions = _readable(store, head)
            if not versions:  # renamed meanwhile
                raise list_not_found(store, head.list)
            try:
                return attempt(head, versions)
            except VersionNotFound:
                if _readable(store, head) == versions:
                    raise

    def attempt(head: Version, readable: Sequence[Version]) -> Version:
        history = StoredRows(store, readable)
        selected, passed_over = _selected(history, rows, filters)
        numbers = _every_state(history, selected)
        numbers = numbers[~history.erased[numbers]]
        if not len(numbers):
            return head
        selections = [(place.version, place.positions) for place in history.places(numbers)]
        showing = np.flatnonzero(history.showing(history.marked(numbers)))
        versions = [history.versions[which].version for which in showing.tolist()]
        remains = remains_of(store, head, selections, versions, passed_over)
        if dry_run:
            done.append((None, remains))
            return head
        remains = replace(remains, notes=tuple(also(selections)))
        content, erased = history.contents[-1], history.pieces_of(numbers)
        left = content.without(erased)
        batch = replace(
            batch_of(request),
            expect=head.version,
            pieces=left,
            removed=content.total - left.total,
            erases=erased,
        )
        erasure = store.erase(batch)
        done.append((erasure, remains))
        return erasure.version

    retrying(store, request, planned_anew, first)
    if not done:
        return Remains().report(store, None)
    erasure, remains = done[-1]
    try:
        return remains.report(store, erasure, kept_texts)
    except VaultError as error:
        if erasure is None:
            raise
        made = f"{request.list}@{erasure.version.version}"
        raise type(error)(
            f"The rows are erased, {made} was made without them; what else may quote them was not looked for. {error}"
        ) from error


def _readable(store: Store, head: Version) -> list[Version]:
    """The versions of a list whose rows can be read, oldest first."""
    versions = store.versions(head.list)
    return [version for version in versions if not version.gone and not version.deleted]


def _selected(history: StoredRows, rows: Any, filters: Any) -> tuple[np.ndarray, list[Version]]:
    """The numbers of the stored rows that were named, and the versions that lack a column of the filter."""
    store, head = history.store, history.versions[-1]
    if rows is not None:
        named = rows_named(store, head, rows)
        contents = store.pieces([version for version, _ in named])
        numbers = [history.numbers_of(content, at) for content, (_, at) in zip(contents, named, strict=True)]
        return np.unique(np.concatenate([NO_ROWS, *numbers])), []
    if filter_for(store, head, filters) is None:
        raise InvalidInput("filters= is empty: say which rows are to be erased.")
    conditions: dict[int, Filter | None] = {}
    for version in reversed(history.versions):
        if version.schema_id not in conditions:
            conditions[version.schema_id] = _filter_for(store, version, filters)
    can_tell = np.array([conditions[version.schema_id] is not None for version in history.versions])
    newest = history.newest_of_all if can_tell.all() else history.newest(can_tell)
    places = list(history.places(np.flatnonzero(newest >= 0), newest))
    filtered = [
        (place.version, condition) for place in places if (condition := conditions[place.version.schema_id])
    ]
    passing = rows_passing(store, filtered, [place.positions for place in places])
    selected = [
        place.numbers[np.searchsorted(place.positions, positions)]
        for place, positions in zip(places, passing, strict=True)
    ]
    untold = history.showing((newest < 0) & (history.newest_of_all >= 0)) & ~can_tell
    passed_over = [history.versions[which] for which in np.flatnonzero(untold).tolist()]
    return np.unique(np.concatenate([NO_ROWS, *selected])), passed_over


def _filter_for(store: Store, version: Version, filters: Any) -> Filter | None:
    try:
        return filter_for(store, version, filters)
    except UnknownColumn:
        return None


# -- the same rows in other versions


def _every_state(history: StoredRows, selected: np.ndarray) -> np.ndarray:
    """The numbers of these rows in every version: by the key of the list, else by their content, matched in order."""
    schema = history.store.schema(history.versions[-1].schema_id)
    fields = frames.key_fields(schema)
    every = np.union1d(selected, _of_key(history, selected, fields)) if fields else selected
    return np.union1d(every, same_stored_rows(history, every, fields))


def _of_key(history: StoredRows, selected: np.ndarray, fields: Sequence[str]) -> np.ndarray:
    """All stored rows that have the key of one of these."""
    store = history.store
    # Keys are compared by value, whatever their dtype.
    has_key = np.array(
        [set(fields) <= set(store.schema(version.schema_id).names) for version in history.versions]
    )
    newest = history.newest_of_all if has_key.all() else history.newest(has_key)
    places = list(history.places(np.flatnonzero((newest >= 0) & ~history.erased), newest))
    parts = [(fields, frames.part_of(store.schema(place.version.schema_id), fields)) for place in places]
    numbers, digests = [NO_ROWS], [NO_DIGESTS]
    read = history.tables(places, parts)
    for _, group in groupby(read, key=lambda rows: tuple(rows[1].schema.types)):
        of_rows, tables = zip(*group, strict=True)
        numbers += of_rows
        digests.append(key_digests(frames.key_columns(pa.concat_tables(tables), fields)))
    of, keys = np.concatenate(numbers), np.concatenate(digests, axis=1)
    return np.asarray(of[np.unique(matches(keys, keys[:, np.isin(of, selected)])[0])])
