"""Refuse names of lists that are addresses of columns (``papers.vec``), and the reverse."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tablevault_pd import frames
from tablevault_pd.errors import InvalidName

if TYPE_CHECKING:
    import pyarrow as pa

    from tablevault_pd.store import Store


def check_addresses(store: Store, name: str, schema: pa.Schema, present: pa.Schema | None) -> None:
    """Refuse a new list's name that is the address of a column, and a new column whose address is the name of a list.

    `present` is the schema that the list has now; None for a new one. Raises InvalidName.
    """
    if present is None:
        _check_name(store, name)
    elif present.equals(schema):
        return
    labels = set() if present is None else _labels(present)
    addresses = {f"{name}.{label}": label for label in _labels(schema) - labels}
    if not addresses:
        return
    hidden = addresses.keys() & set(store.names(f"{name}."))
    if hidden:
        address = min(hidden)
        raise InvalidName(
            f"The list {address!r} exists, so the column {addresses[address]!r} of {name!r} could not be addressed. Rename one of them."
        )


def _check_name(store: Store, name: str) -> None:
    for dot in (number for number, character in enumerate(name) if character == "."):
        head = store.head(name[:dot])
        if head is not None and name[dot + 1 :] in _labels(store.schema(head.schema_id)):
            raise InvalidName(
                f"{name!r} cannot name a list: it is the address of the column {name[dot + 1 :]!r} of the list {name[:dot]!r}."
            )


def _labels(schema: pa.Schema) -> set[str]:
    return {str(column.label) for column in frames.columns(schema)}
