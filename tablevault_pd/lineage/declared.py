"""Parents that the user declares with ``inputs=``: each form of it is parsed and checked before a row is written."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa

from tablevault_pd.errors import InvalidInput, short_repr
from tablevault_pd.keywords import public_call
from tablevault_pd.lineage.cited import Chars, parents_of_chars
from tablevault_pd.lineage.parent_links import ParentLink
from tablevault_pd.lineage.resolve_rows import RowSelection, resolve_rows
from tablevault_pd.reading import read as reading
from tablevault_pd.reading.origin import marked, origin_of
from tablevault_pd.reading.reference import ListReference
from tablevault_pd.store.edges import STATED

if TYPE_CHECKING:
    from tablevault_pd.store import Store, Version

FORMS = (
    "a frame read from this vault, tablevault_pd.rows(frame), a list's name, {name: positions} (an array, a slice, the name "
    "of a column of the saved frame, or tablevault_pd.chars(…)), a list of several of these, or False for none"
)

#: Makes the links of a batch, given how many rows it has, and the frame they came in if it was a single one.
BatchParents = Callable[[int, pd.DataFrame | None], Iterator[ParentLink]]


class Rows:
    """A frame that states parents row by row. Made by :func:`rows`."""

    def __init__(self, frame: pd.DataFrame | pd.Series) -> None:
        self.frame = frame

    def __repr__(self) -> str:
        return f"<rows of a frame, {len(self.frame):,} in number>"


@public_call("tablevault_pd.rows")
def rows(frame: pd.DataFrame | pd.Series) -> Rows:
    """State parents row by row: ``inputs=tv.rows(frame)`` means that row `i` saved came from row `i` of `frame`.

    A bare frame means that every row saved came from all of its rows.

    Parameters
    ----------
    frame : DataFrame or Series
        Read from the vault, perhaps filtered or sorted since, or with a column of references (``read(…, refs=True)``). As
        long as what is saved.

    Returns
    -------
    Rows
        To be given as ``inputs=``, alone or in a list.

    Raises
    ------
    InvalidInput
        If `frame` is no DataFrame or Series. Saving raises it if the lengths differ, or if it cannot be told which rows of
        the vault those of `frame` are.

    Examples
    --------
    >>> articles = vault.save("articles", pd.DataFrame({"text": ["storm", "sun", "rain"]}))
    >>> test = tv.read("articles").iloc[[2, 0]]
    >>> saved = vault.save("scores", [{"score": 0.9}, {"score": 0.4}], inputs=tv.rows(test))
    >>> vault.lineage("scores")[["position", "parent_position", "basis"]]
       position  parent_position   basis
    0         0                2  stated
    1         1                0  stated
    """
    if not isinstance(frame, (pd.DataFrame, pd.Series)):
        raise InvalidInput(
            f"rows() takes a DataFrame or a Series that was read from a vault, not {short_repr(frame)}."
        )
    return Rows(frame)


@dataclass(frozen=True, slots=True)
class PositionsColumn:
    """``{"news": "column"}``: a column of the saved frame holds the positions."""

    version: Version
    column: str

    def links(self, saved: pd.DataFrame | pa.Table) -> Iterator[ParentLink]:
        """What the cells of that column say of the rows of `saved`. Raises InvalidInput."""
        what = f"inputs={{{self.version.list!r}: {self.column!r}}}"
        names = saved.column_names if isinstance(saved, pa.Table) else saved.columns
        if self.column not in names:
            raise InvalidInput(
                f"{what} names the column {self.column!r}, which what is saved does not have. "
                f"It has {', '.join(map(repr, names))}."
            )
        cells = saved.column(self.column) if isinstance(saved, pa.Table) else saved[self.column]
        what = f"{what}: the column {self.column!r}"
        rows, positions = _cells(cells, what)
        _check(positions, self.version, what)
        yield _link(self.version, len(cells), children=rows, parents=positions)


@dataclass(frozen=True, slots=True)
class DeclaredParents:
    """What ``inputs=`` says, read and checked as far as it can be before the rows are known."""

    of_batch: tuple[BatchParents, ...] = ()
    columns: tuple[PositionsColumn, ...] = ()


NOTHING_DECLARED = DeclaredParents()


def declared_parents(store: Store, inputs: Any) -> DeclaredParents:
    """Read `inputs`. Raises InvalidInput, ListNotFound, VersionNotFound, ListDeleted."""
    if inputs is False or inputs is None:
        return NOTHING_DECLARED
    if isinstance(inputs, Mapping):
        return _of_mapping(store, inputs)
    if not isinstance(inputs, (list, tuple)):
        return DeclaredParents(tuple(_of_object(store, inputs)))
    parts = [declared_parents(store, member) for member in inputs]
    if not all(
        isinstance(member, (pd.DataFrame, pd.Series, Rows, ListReference, str, Mapping)) for member in inputs
    ):
        raise InvalidInput(
            f"inputs={short_repr(inputs)} is a list of things that name no parents. Use {FORMS}."
        )
    return DeclaredParents(
        tuple(parents for part in parts for parents in part.of_batch),
        tuple(column for part in parts for column in part.columns),
    )


def _of_object(store: Store, inputs: Any) -> list[BatchParents]:
    if isinstance(inputs, Rows):
        return [_row_by_row(rows, len(inputs.frame)) for rows in _selections(store, inputs.frame)]
    if isinstance(inputs, (pd.DataFrame, pd.Series)):
        return [_of_frame(store, rows, inputs) for rows in _selections(store, inputs)]
    if isinstance(inputs, ListReference):
        if inputs.vault_id != store.vault_id:
            raise InvalidInput(
                f"inputs= names the list {inputs.name!r} of another vault, and lineage stays within one."
            )
        return [_whole(inputs._version())]
    if isinstance(inputs, str):
        return [_whole(reading.resolve(store, inputs))]
    raise InvalidInput(f"inputs={short_repr(inputs)} names no parents. Use {FORMS}.")


def _selections(store: Store, obj: pd.DataFrame | pd.Series) -> list[RowSelection]:
    selections = resolve_rows(store, obj)
    if not selections and len(obj):
        raise InvalidInput(
            "inputs= is a frame that was not read from this vault, so its rows cannot be told. "
            "Use the frame that tablevault_pd.read returned, or name the list and positions: inputs={'news': [0, 1]}."
        )
    return selections


def _link(version: Version, rows: int, **parents: Any) -> ParentLink:
    return ParentLink(version.list_id, version.version, STATED, 0, rows, **parents)


def _whole(version: Version) -> BatchParents:
    def links(rows: int, _: pd.DataFrame | None) -> Iterator[ParentLink]:
        yield _link(version, rows, whole=True)

    return links


def _of_frame(store: Store, selection: RowSelection, frame: pd.DataFrame | pd.Series) -> BatchParents:
    """Every row saved came from all rows of `frame`; row by row only if the saved frame has the same rows of one read."""
    version, positions = selection.version, selection.positions
    if positions is None:
        return _whole(version)

    def links(rows: int, saved: pd.DataFrame | None) -> Iterator[ParentLink]:
        if saved is not None and _same_rows(store, frame, saved):
            yield _pairs(version, rows, selection.rows, positions)
        else:
            yield _link(version, rows, all_parents=True, parents=positions[positions >= 0])

    return links


def _same_rows(store: Store, frame: pd.DataFrame | pd.Series, saved: pd.DataFrame) -> bool:
    """Whether the indexes prove that the rows are the same: of one version, each once, in one order."""
    origin = origin_of(frame)
    if origin is None or origin != origin_of(saved) or origin.vault_id != store.vault_id:
        return False
    descended = marked(frame.index, origin) and marked(saved.index, origin)
    return descended and saved.index.is_unique and saved.index.equals(frame.index)


def _row_by_row(selection: RowSelection, size: int) -> BatchParents:
    version, positions = selection.version, selection.positions
    if positions is None:
        raise InvalidInput(
            f"rows() has a frame made of {version.label} whose index no longer says which rows of it they are. "
            "Read it with refs=True before a groupby, merge or reset_index, or state positions: inputs={'news': [0, 1]}."
        )

    def links(rows: int, _: pd.DataFrame | None) -> Iterator[ParentLink]:
        if rows != size:
            raise InvalidInput(
                f"rows() has a frame of {size:,} rows, and {rows:,} rows are saved. Without rows(), every row saved came from all "
                "rows of the frame."
            )
        yield _pairs(version, rows, selection.rows, positions)

    return links


def _pairs(version: Version, rows: int, children: np.ndarray | None, parents: np.ndarray) -> ParentLink:
    present = parents >= 0
    if not present.all():
        rows_with_parent = np.arange(len(parents)) if children is None else children
        children, parents = rows_with_parent[present], parents[present]
    return _link(version, rows, children=children, parents=parents)


def _of_mapping(store: Store, inputs: Mapping[Any, Any]) -> DeclaredParents:
    of_batch: list[BatchParents] = []
    columns: list[PositionsColumn] = []
    for name, positions in inputs.items():
        version = name._version() if isinstance(name, ListReference) else reading.resolve(store, name)
        if isinstance(positions, Chars):
            of_batch.append(parents_of_chars(store, version, positions))
        elif isinstance(positions, str):
            columns.append(PositionsColumn(version, positions))
        elif isinstance(positions, slice):
            of_batch.append(_slice(version, positions))
        elif isinstance(positions, (bool, np.bool_)) or positions is None:
            raise InvalidInput(
                f"inputs={{{version.list!r}: {positions}}} names no rows. For the whole list: inputs={version.list!r}."
            )
        else:
            of_batch.append(_positions(version, positions))
    return DeclaredParents(tuple(of_batch), tuple(columns))


def _slice(version: Version, positions: slice) -> BatchParents:
    what = f"inputs={{{version.list!r}: {positions}}}"
    if positions.step not in (None, 1):
        raise InvalidInput(f"{what}: a slice of parents has no step. Name the positions in an array instead.")
    first = 0 if positions.start is None else positions.start
    end = version.total if positions.stop is None else positions.stop
    if (
        not all(isinstance(bound, (int, np.integer)) for bound in (first, end))
        or not 0 <= first <= end <= version.total
    ):
        raise InvalidInput(f"{what} does not lie within the {version.total} rows of {version.label}.")

    def links(rows: int, _: pd.DataFrame | None) -> Iterator[ParentLink]:
        yield _link(version, rows, span=(int(first), int(end)))

    return links


def _positions(version: Version, positions: Any) -> BatchParents:
    what = f"inputs={{{version.list!r}: …}}"
    if isinstance(positions, (int, np.integer)):
        positions, alone = [positions], True
    elif not hasattr(positions, "__len__"):
        raise InvalidInput(f"{what}: {short_repr(positions)} holds no positions. Use {FORMS}.")
    else:
        alone = False
    children, parents = _cells(positions, what)
    _check(parents, version, what)

    def links(rows: int, _: pd.DataFrame | None) -> Iterator[ParentLink]:
        if alone:
            yield _link(version, rows, all_parents=True, parents=parents)
            return
        if len(positions) != rows:
            raise InvalidInput(
                f"{what} has {len(positions)} positions for {rows} saved rows. It takes one cell for each row, in row order; "
                "a cell may be a list of several positions."
            )
        yield _pairs(version, rows, children, parents)

    return links


def _check(positions: np.ndarray, version: Version, what: str) -> None:
    bad = positions[(positions < 0) | (positions >= version.total)]
    if len(bad):
        raise InvalidInput(
            f"{what} names the position {bad[0]}, and {version.label} has {version.total} rows "
            f"(0 to {version.total - 1})."
        )


def _cells(cells: Any, what: str) -> tuple[np.ndarray | None, np.ndarray]:
    """(rows, positions): of cells that hold a whole number, several, or none."""
    if isinstance(cells, (pa.Array, pa.ChunkedArray)):
        cells = pd.Series(cells.to_pandas(), dtype=None)
    values = cells if isinstance(cells, (pd.Series, np.ndarray)) else _series(cells)
    series = (
        values if isinstance(values, pd.Series) else pd.Series(list(values) if values.ndim > 1 else values)
    )
    if series.dtype == object or isinstance(series.dtype, pd.ArrowDtype):
        listed = [_listed(cell) for cell in series.tolist()]
        if any(cell is not None for cell in listed):
            return _nested(series.tolist(), listed, what)
        series = series.convert_dtypes()  # whole numbers among missing ones
    numbers, missing = _whole_numbers(series, what)
    if missing.any():
        present = np.flatnonzero(~missing)
        return present, numbers[present]
    return None, numbers


def _series(cells: Any) -> pd.Series:
    listed = list(cells)
    return pd.Series(listed, dtype="int64" if not listed else object if any(map(_is_list, listed)) else None)


def _is_list(cell: Any) -> bool:
    return isinstance(cell, (list, tuple, np.ndarray, pd.Series, range, set, frozenset))


def _listed(cell: Any) -> list[Any] | None:
    return list(cell) if _is_list(cell) else None


def _nested(cells: list[Any], listed: list[list[Any] | None], what: str) -> tuple[np.ndarray, np.ndarray]:
    rows, positions = [], []
    for row, (cell, several) in enumerate(zip(cells, listed, strict=True)):
        for position in [cell] if several is None else several:
            rows.append(row)
            positions.append(position)
    numbers, missing = _whole_numbers(pd.Series(positions, dtype=object).infer_objects(), what)
    return np.asarray(rows, np.int64)[~missing], numbers[~missing]


def _whole_numbers(series: pd.Series, what: str) -> tuple[np.ndarray, np.ndarray]:
    missing = series.isna().to_numpy(bool)
    if pd.api.types.is_bool_dtype(series.dtype) or (
        not missing.all() and not pd.api.types.is_numeric_dtype(series.dtype)
    ):
        raise InvalidInput(
            f"{what} holds {series.dtype} values. Positions are whole numbers, counted from 0."
        )
    if series.dtype.kind == "f":
        floats = series.to_numpy(dtype="float64", na_value=np.nan)
        broken = floats[~missing & (floats % 1 != 0)]
        if len(broken):
            raise InvalidInput(f"{what} holds {broken[0]}. Positions are whole numbers, counted from 0.")
        return np.where(missing, -1, floats).astype(np.int64), missing
    if missing.any():
        return series.astype("Int64").to_numpy(dtype=np.int64, na_value=-1), missing
    return series.to_numpy(dtype=np.int64), missing
