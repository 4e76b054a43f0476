"""The positions of edges as every store keeps them: packed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tablevault_pd.errors import VaultCorrupt
from tablevault_pd.store.edges import EdgeTable, edge_table, lacks_positions
from tablevault_pd.store.engine.int_codec import unpack

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np


def edge_table_of(rows: Sequence[Sequence[Any]]) -> EdgeTable:
    """Edges as columns, from rows of these columns with the packed positions of children and parents at the end."""
    *plain, children, parents = zip(*rows, strict=True) if rows else [()] * 15
    return edge_table(plain, _positions_of(children, rows), _positions_of(parents, rows))


def _positions_of(packed: Sequence[bytes | None], edges: Sequence[Sequence[Any]]) -> list[np.ndarray | None]:
    """The positions of edges that begin with list and version. Raises VaultCorrupt."""
    return [
        None if data is None else unpack(data, f"The lineage of version {edge[1]} of the list {edge[0]}")
        for data, edge in zip(packed, edges, strict=True)
    ]


MISPLACED = "it is filed under other rows than it names, where nobody looks for it"


def unreadable(form: int, step: int, rows: int, children: bytes | None, parents: bytes | None) -> str | None:
    """What is wrong with the positions of a stored edge; None if nothing is."""
    try:
        unpacked = [
            None if data is None else unpack(data, "The lineage of it") for data in (children, parents)
        ]
    except VaultCorrupt as error:
        return str(error)
    return lacks_positions(form, step, rows, *unpacked)
