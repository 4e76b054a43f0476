"""Which rows of a list a frame of claimed rows stands for, and who holds them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from tablevault_pd.errors import ClaimLost, InvalidInput, InvalidType, short_repr
from tablevault_pd.lineage.declared import Rows
from tablevault_pd.lineage.resolve_rows import origin_version, positions_of_index, resolve_rows
from tablevault_pd.reading.origin import origin_of, read_of
from tablevault_pd.store.work import Finish, Holder
from tablevault_pd.work.order import order_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tablevault_pd.store import Store, Version

Frame = pd.DataFrame | pd.Series


def rows_in_hand(store: Store, frame: Frame, holder: Holder | None) -> list[Finish]:
    """The rows that a frame stands for, and who holds them: who claimed the frame, else `holder`.

    Raises InvalidInput if it cannot be told which rows those are, ClaimLost if nothing was ever claimed of their list.
    """
    if not isinstance(frame, (pd.DataFrame, pd.Series)):
        raise InvalidType(
            f"A frame of claimed rows is needed here, or some of its rows, not {short_repr(frame)}."
        )
    holder = _holder_of(frame) or holder
    if holder is None:
        raise InvalidInput(
            "These rows were not claimed: vault.claim(name) returns rows that are yours to do."
        )
    finishes = [_in_hand(store, *rows, holder) for rows in _rows(store, frame)]
    if len(frame) and not finishes:
        raise InvalidInput(
            "It cannot be told which rows of a list these are: the frame was not read from this vault, or pandas dropped "
            "where it came from, as merge does. Give what vault.claim(name) returned, or claim with refs=True and keep the column "
            "of references."
        )
    return [finish for finish in finishes if len(finish.rows)]


def finished_by(store: Store, obj: Any, inputs: Any, holder: Holder | None) -> tuple[Finish, ...]:
    """What a save with ``finish=True`` finishes: the claimed frames in ``inputs=``, else `obj` if it is made of one."""
    frames = [frame for frame in _frames(obj if inputs is None else inputs) if _holder_of(frame) is not None]
    if not frames:
        raise InvalidInput(
            "finish=True finishes the claimed rows that inputs= names, and it names none. Say inputs=mine, "
            "where mine = vault.claim(name), or part of it."
        )
    finishes: list[Finish] = []
    for frame in frames:
        for finish in rows_in_hand(store, frame, holder):
            listed = {
                row for other in finishes if other.list_id == finish.list_id for row in other.rows.pairs()
            }
            finishes.append(finish.where([row not in listed for row in finish.rows.pairs()]))
    return tuple(finish for finish in finishes if len(finish.rows))


def _frames(inputs: Any) -> Iterator[Frame]:
    if isinstance(inputs, (list, tuple)):
        for member in inputs:
            yield from _frames(member)
    elif isinstance(inputs, Rows):
        yield inputs.frame
    elif isinstance(inputs, (pd.DataFrame, pd.Series)):
        yield inputs


def _holder_of(frame: Frame) -> Holder | None:
    """Who claimed a frame; None if it was only read."""
    origin = origin_of(frame)
    read = None if origin is None else read_of(frame.index, origin)
    return None if read is None or read.holder is None else Holder(*read.holder)


def _rows(store: Store, frame: Frame) -> Iterator[tuple[Version, np.ndarray]]:
    """The version and the positions of the rows. Where there is an index that was read, references are of no interest."""
    origin = origin_version(store, frame)
    positions = None if origin is None else positions_of_index(store, frame, *origin)
    if origin is not None and positions is not None:
        yield origin[1], positions
        return
    for rows in resolve_rows(store, frame):
        if rows.positions is None:
            raise InvalidInput(
                f"It cannot be told any more which rows of {rows.version.list!r} these are: the index that they were claimed "
                "with is gone. Keep it, or claim with refs=True and keep the column of references."
            )
        yield rows.version, rows.positions


def _in_hand(store: Store, version: Version, positions: np.ndarray, holder: Holder) -> Finish:
    positions = np.unique(positions)
    work = store.work(version.list_id)
    if work is None:
        raise ClaimLost.at(version.list, positions.tolist())
    rows = order_of(store, version, work).addresses(positions)
    return Finish(version.list_id, rows, holder, version.list, positions)
