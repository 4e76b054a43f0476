"""Find which stored rows the rows of a frame are: by reference columns, or by origin and index.

A row is never guessed. An index names rows only if it descends from the index that was read (see
:mod:`~tablevault_pd.reading.origin`), and each of its values is a position, or a unique label, of that version.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from tablevault_pd.errors import InvalidInput, short_repr
from tablevault_pd.frames import arrays_of, cells_of, decode, index_fields
from tablevault_pd.frames import columns as columns_of
from tablevault_pd.reading import read as reading
from tablevault_pd.reading.origin import (
    POSITION,
    Origin,
    OriginLabel,
    marked,
    origin_of,
    read_of,
    without_other_attrs,
)
from tablevault_pd.refs import Ref, RefArray, is_refs
from tablevault_pd.validate import is_missing

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    from tablevault_pd.store import Store, Version

FEW_ROWS = 4096  # all columns of no more rows are compared at once


@dataclass(frozen=True, slots=True, eq=False)
class RowSelection:
    """Rows of one version that rows of a frame name; or, without `positions`, the version as a whole."""

    version: Version
    rows: np.ndarray | None = None  #: which rows of the frame; None: all of them, one parent each
    positions: np.ndarray | None = None


def origin_version(store: Store, obj: pd.DataFrame | pd.Series) -> tuple[Origin, Version] | None:
    """The version of this vault that a frame was read from; None if there is none, or it is of another vault."""
    origin = origin_of(obj)
    if origin is None or origin.vault_id != store.vault_id:
        return None
    key = (origin.list_id, origin.version)
    version = store.describe_lists(versions=[key]).versions.get(key)
    if version is None or Origin.of(store.vault_id, version) != origin:
        return None  # a copy of this vault wrote it
    return origin, version


def positions_of_index(
    store: Store, obj: pd.DataFrame | pd.Series, origin: Origin, version: Version
) -> np.ndarray | None:
    """The position that each label of a frame names; None if its index does not name rows of `version`."""
    index = obj.index
    read = read_of(index, origin)
    if read is not None and read.untouched(index):
        return np.asarray(read.positions, np.int64)  # be its labels repeated or missing
    if not index_fields(store.schema(version.schema_id)):
        positions = _positions(index, origin, version.total)
    elif version.gone or not marked(index, origin):
        return None
    else:
        positions = _labels(index, reading.read(store, version, columns=[]).index)
    return (
        None
        if positions is not None and _looks_like_group_numbers(store, obj, version, positions)
        else positions
    )


def _looks_like_group_numbers(
    store: Store, obj: pd.DataFrame | pd.Series, version: Version, positions: np.ndarray
) -> bool:
    """Whether the labels may be the numbers of groups: ``df.groupby(df.index // 10)`` keeps the index's name.

    They rise and are fewer than the rows read, and the columns that were read were overwritten. A filtered frame whose
    columns were overwritten looks the same; it loses its rows here rather than to name wrong ones, unless it is a slice,
    whose labels are those that were read and not equal numbers.
    """
    index = obj.index
    mark = index.name if index.nlevels == 1 else None
    if not len(index) or type(mark) is not OriginLabel or not pd.api.types.is_integer_dtype(index.dtype):
        return False
    if (
        len(index) >= mark.read.rows
        or mark.read.is_slice(index)
        or not (index.is_monotonic_increasing and index.is_unique)
    ):
        return False
    if version.gone:
        return True
    frame = obj.to_frame() if isinstance(obj, pd.Series) else obj
    labels = mark.read.columns
    if labels is None:
        labels = frozenset(column.label for column in columns_of(store.schema(version.schema_id)))
    shared = [number for number, label in enumerate(frame.columns) if label in labels]
    if not shared:
        return False
    frame = frame if len(shared) == frame.shape[1] else frame.iloc[:, shared]
    return not _content_matches(store, version, positions, frame)


def _content_matches(store: Store, version: Version, positions: np.ndarray, frame: pd.DataFrame) -> bool:
    """Whether the content says that these are those rows: all of it, or as much as no other row of the list has."""
    if len(frame) <= FEW_ROWS and _is_content(store, version, positions, frame):
        return True
    matching = [
        number
        for number in range(frame.shape[1])
        if _is_content(store, version, positions, frame.iloc[:, [number]])
    ]
    if len(matching) in (0, frame.shape[1]):
        return bool(matching)
    whole = reading.read(store, version, columns=list(frame.columns[matching]))
    columns = [whole.iloc[:, number] for number in range(whole.shape[1])]
    if any(column.dtype != np.dtype(object) and column.is_unique for column in columns):
        return True
    codes = _row_codes(whole, whole.iloc[:0])[0]
    return bool((np.bincount(codes)[codes[positions]] == 1).all())


def _is_content(store: Store, version: Version, positions: np.ndarray, frame: pd.DataFrame) -> bool:
    """Whether these columns of a frame are what those rows have there."""
    labels = list(frame.columns)
    [table] = reading.take_tables(store, [(version, positions, labels)])
    # known by object, unlike the schema of a table
    columns = columns_of(reading.wanted_schema(store, version, labels))
    if len(columns) == frame.shape[1] and all(
        _is_equal(cells_of(table, stored.field), array)
        for stored, array in zip(columns, arrays_of(frame), strict=True)
    ):
        return True
    rows = pd.RangeIndex(len(frame))
    before = decode([table], table.schema, positions=range(len(frame)), private=True).set_axis(rows, axis=0)
    old_codes, new_codes = _row_codes(before, frame.set_axis(rows, axis=0))
    return bool((old_codes == new_codes).all())


def _is_equal(cells: Any, array: Any) -> bool:
    """Whether a column has this dtype and these cells. Objects are not looked at: they may be arrays."""
    if cells.dtype != array.dtype:
        return False
    if not isinstance(cells, np.ndarray):
        return bool(cells.equals(array))
    kind = cells.dtype.kind
    return kind != "O" and np.array_equal(cells, array, equal_nan=kind in "fcmM")


def _positions(index: pd.Index, origin: Origin, total: int) -> np.ndarray | None:
    if index.nlevels != 1 or index.name != POSITION or not marked(index, origin):
        return None
    if not pd.api.types.is_integer_dtype(index.dtype) or index.hasnans:
        return None
    positions = index.to_numpy(dtype=np.int64)
    return positions if not len(positions) or (positions.min() >= 0 and positions.max() < total) else None


def _labels(index: pd.Index, parent: pd.Index) -> np.ndarray | None:
    """Labels of a list with an index of its own: its names, each label once in the parent, all of them there."""
    if list(index.names) != list(parent.names) or None in parent.names or not parent.is_unique:
        return None
    frequency = getattr(index, "freq", None)
    if frequency is not None and frequency != getattr(parent, "freq", None):
        return None  # resampled: its labels are times of the parent by accident
    if index.nlevels == 1 and index.dtype != parent.dtype:
        return None
    positions = parent.get_indexer(index)
    return None if (positions < 0).any() else positions.astype(np.int64)


# -- rows by content, whatever type their cells have


def _row_codes(before: pd.DataFrame, after: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """A number for each row of two frames with the same columns: equal for equal rows."""
    codes = np.zeros(len(before) + len(after), np.int64)
    for label in before.columns:
        column = _codes(_column(before, label), _column(after, label))
        both = codes * (int(column.max(initial=0)) + 2) + column + 1
        codes = pd.factorize(both)[0].astype(np.int64)
    return codes[: len(before)], codes[len(before) :]


def _column(frame: pd.DataFrame, label: Hashable) -> pd.Series:
    return pd.Series(frame[label])


def _codes(before: pd.Series, after: pd.Series) -> np.ndarray:
    if before.dtype == after.dtype and before.dtype != object:
        return np.asarray(pd.factorize(pd.concat([before, after], ignore_index=True))[0])
    cells = [_hashable(cell) for cell in (*before.tolist(), *after.tolist())]
    return np.asarray(pd.factorize(np.array([*cells, None], dtype=object)[:-1])[0])


def _hashable(cell: Any) -> Any:
    if isinstance(cell, np.ndarray):
        return f"{cell.dtype}{cell.shape}{cell.tobytes().hex()}"
    if isinstance(cell, (str, bytes)):
        return cell
    return None if is_missing(cell) else repr(cell)


# -- reference columns


def reference_columns(frame: pd.DataFrame, arrays: Sequence[Any] | None = None) -> list[int]:
    """Numbers of the columns that hold references, one or several a cell; `arrays` are those of the columns, if they are known."""
    frame = without_other_attrs(frame)
    dtypes = frame.dtypes if arrays is None else [array.dtype for array in arrays]
    return [
        number
        for number, dtype in enumerate(dtypes)
        if is_refs(dtype) or (dtype == np.dtype(object) and _holds_references(frame.iloc[:, number]))
    ]


def _holds_references(column: pd.Series) -> bool:
    first: Any = next((cell for cell in column.array if not missing(cell)), None)
    if _is_sequence(first):
        first = first[0]
    return isinstance(first, Ref)


def _is_sequence(cell: Any) -> bool:
    return isinstance(cell, (list, tuple, np.ndarray, RefArray)) and getattr(cell, "ndim", 1) > 0


def missing(cell: Any) -> bool:
    """Whether a cell holds nothing: a missing marker, or an empty sequence."""
    if _is_sequence(cell):
        return len(cell) == 0
    return is_missing(cell)


def references(column: pd.Series, label: Hashable) -> tuple[np.ndarray | None, RefArray]:
    """(rows, references) of a reference column; `rows` is None where each cell holds one."""
    if is_refs(column.dtype):
        return None, column.array
    cells = [_several(cell, row, label) for row, cell in enumerate(column.array)]
    rows = np.repeat(np.arange(len(cells)), [len(refs_of) for refs_of in cells])
    return rows, RefArray._from_sequence([ref for refs_of in cells for ref in refs_of])


def _several(cell: Any, row: int, label: Hashable) -> list[Any]:
    refs = list(cell) if _is_sequence(cell) else [cell]
    refs = [ref for ref in refs if not missing(ref)]
    if not all(isinstance(ref, Ref) for ref in refs):
        raise InvalidInput(
            f"Column {label!r} holds references to rows, but also {short_repr(cell)} (row {row}). Let it hold references alone."
        )
    return refs


def selections_of_refs(
    store: Store, rows: np.ndarray | None, refs: RefArray, what: str
) -> list[RowSelection]:
    """References as rows of versions of this vault. Raises InvalidInput for those that are none."""
    which, sources = refs.sources()
    positions = refs.positions
    selections = []
    own = [(source.list_id, source.version) for source in sources if source.vault_id == store.vault_id]
    versions = store.describe_lists(versions=own).versions if own else {}
    for number, source in enumerate(sources):
        if source.vault_id != store.vault_id:
            raise InvalidInput(
                f"{what} refers to rows of the list {source.list!r} of another vault, and lineage stays within one. "
                "Leave it out with df.drop(columns=…), or say inputs=False and drop it."
            )
        version = versions.get((source.list_id, source.version))
        here = np.flatnonzero(which == number)
        if version is None or int(positions[here].max()) >= version.total:
            raise InvalidInput(
                f"{what} refers to {source.list}@{source.version}, which has no such row in this vault."
            )
        if len(here) == len(refs):
            selections.append(RowSelection(version, rows, positions))
        else:
            selections.append(RowSelection(version, here if rows is None else rows[here], positions[here]))
    return selections


def resolve_rows(store: Store, obj: pd.DataFrame | pd.Series) -> list[RowSelection]:
    """What the rows of a frame are; empty if it was not read from this vault. Raises InvalidInput for one row as a Series."""
    obj = without_other_attrs(obj)
    origin_and_version = origin_version(store, obj)
    if isinstance(obj, pd.Series):
        if origin_and_version is not None:
            _check_no_row(store, obj, *origin_and_version)
        if is_refs(obj.dtype) or (obj.dtype == np.dtype(object) and _holds_references(obj)):
            return selections_of_refs(store, *references(obj, obj.name), "The Series of references")
    else:
        columns = reference_columns(obj)
        if columns:
            return selections_of_columns(store, obj, columns)
    if origin_and_version is None:
        return []
    origin, version = origin_and_version
    return [RowSelection(version, None, positions_of_index(store, obj, origin, version))]


def _check_no_row(store: Store, series: pd.Series, origin: Origin, version: Version) -> None:
    """Refuse ``df.loc[label]``: its index is the columns, its name may be a label or the name of an aggregate."""
    if series.name is None or read_of(series.index, origin) is not None:
        return
    columns = [column.label for column in columns_of(store.schema(version.schema_id))]
    labels = list(series.index)
    if labels == columns or (series.name not in columns and not set(columns).isdisjoint(labels)):
        row = f"df.loc[[{series.name!r}]]"
        raise InvalidInput(
            f"This Series is one row of a frame read from {version.label}, and does not say which. Keep it a "
            f"frame, {row} in place of {row.replace('[[', '[').replace(']]', ']')}; for all rows give the whole frame."
        )


def selections_of_columns(store: Store, frame: pd.DataFrame, columns: Sequence[int]) -> list[RowSelection]:
    """What reference columns say."""
    selections: list[RowSelection] = []
    for number in columns:
        label = frame.columns[number]
        selections += selections_of_refs(
            store, *references(frame.iloc[:, number], label), f"Column {label!r}"
        )
    return selections
