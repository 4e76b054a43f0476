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
    values = (
        (attribute, getattr(record, name), is_time) for name, attribute, is_time in _fields(record.__class__)
    )
    return {attribute: _if(from_time, value) if is_time else value for attribute, value, is_time in values}


def record_of(kind: Callable[..., R], document: Mapping[str, Any]) -> R:
    """The dataclass that the attributes of a document stand for, whatever else is in it."""
    values = ((name, document[attribute], is_time) for name, attribute, is_time in _fields(kind))
    return kind(**{name: _if(to_time, value) if is_time else value for name, value, is_time in values})


@cache
def _fields(kind: Any) -> list[tuple[str, str, bool]]:
    """Each field, its attribute, which of `session_id` is ``session``, and whether it is a time."""
    return [
        (field.name, field.name.removesuffix("_id"), "datetime" in str(field.type)) for field in fields(kind)
    ]


def _if(convert: Callable[[Any], Any], value: Any) -> Any:
    return None if value is None else convert(value)


def to_text(data: bytes) -> str:
    """Bytes as a document holds them."""
    return base64.b64encode(data).decode("ascii")


def to_bytes(text: str | None, where: str) -> bytes:
    """The bytes that a document holds. Raises VaultCorrupt: `where` is what is damaged."""
    try:
        return base64.b64decode(text or "", validate=True)
    except (ValueError, TypeError) as error:
        raise VaultCorrupt(f"{where} is damaged: {error}. Restore the database from a backup.") from error
