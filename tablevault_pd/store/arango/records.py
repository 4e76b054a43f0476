"""Records of the protocol as documents, and back: each field is an attribute, a time a number of microseconds, bytes are text.

No I/O.
"""

from __future__ import annotations

import base64
from dataclasses import fields
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar

from tablevault_pd.errors import VaultCorrupt
from tablevault_pd.store.times import from_time, to_time

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

R = TypeVar("R")


def attributes_of(record: Any) -> dict[str, Any]:
    """The attributes of a document for the fields of a dataclass."""
    plain, times = _fields(record.__class__)
    values = {attribute: getattr(record, name) for name, attribute in plain}
    for name, attribute in times:
        time = getattr(record, name)
        values[attribute] = None if time is None else from_time(time)
    return values


def record_of(kind: Callable[..., R], document: Mapping[str, Any]) -> R:
    """The dataclass that the attributes of a document stand for, whatever else is in it."""
    plain, times = _fields(kind)
    values = {name: document[attribute] for name, attribute in plain}
    for name, attribute in times:
        time = document[attribute]
        values[name] = None if time is None else to_time(time)
    return kind(**values)


@cache
def _fields(kind: Any) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """Each field with its attribute, that of `session_id` being ``session``; and those that are times."""
    parts: tuple[list[tuple[str, str]], list[tuple[str, str]]] = [], []
    for field in fields(kind):
        parts["datetime" in str(field.type)].append((field.name, field.name.removesuffix("_id")))
    return parts


def to_text(data: bytes) -> str:
    """Bytes as a document holds them."""
    return base64.b64encode(data).decode("ascii")


def to_bytes(text: str | None, where: str) -> bytes:
    """The bytes that a document holds. Raises VaultCorrupt: `where` is what is damaged."""
    try:
        return base64.b64decode(text or "", validate=True)
    except (ValueError, TypeError) as error:
        raise VaultCorrupt(f"{where} is damaged: {error}. Restore the database from a backup.") from error
