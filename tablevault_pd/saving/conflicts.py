"""What stands against a write: who was faster, where a Conflict says which version was expected, and names that mean a column."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from tablevault_pd import frames
from tablevault_pd.errors import Conflict, InvalidName, ListRenamed, short_repr

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pyarrow as pa

    from tablevault_pd.store import Session, Store, Version

SHOWN = 3


@contextmanager
def telling_who(store: Store, name: str, expect: int | None) -> Iterator[None]:
    """Add to a Conflict which versions came after the one expected, when, and from which sessions."""
    try:
        yield
    except Conflict as error:
        if expect is None:
            raise
        newer = [version for version in store.versions(name) if version.version > expect]
        if not newer:
            raise (renamed(store, name) or error) from None
        sessions = {
            session.id: session
            for session in store.sessions([one.session_id for one in newer if one.session_id])
        }
        lines = [_told(version, sessions) for version in newer[:SHOWN]]
        more = f" and {len(newer) - SHOWN} more" if len(newer) > SHOWN else ""
        raise Conflict(f"{error} Since then: {', '.join(lines)}{more}.") from error


def renamed(store: Store, name: str) -> ListRenamed | None:
    """The error for a list that was renamed, and no other one has its old name; None if that is not so."""
    now = store.renamed(name)
    return None if now is None else ListRenamed.to(name, now)


def _told(version: Version, sessions: dict[int, Session]) -> str:
    session = sessions.get(version.session_id or 0)
    who = f" by {short_repr(session.label)} ({session.user}@{session.host})" if session is not None else ""
    return f"version {version.version} ({version.operation}){who} at {version.time:%Y-%m-%d %H:%M:%S} UTC"


# -- names of lists that are addresses of columns (``papers.vec``), and the reverse


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
