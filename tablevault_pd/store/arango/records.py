"""Records of the protocol as documents, and back: each field is an attribute, a time a number of microseconds, bytes are text.

A document may be damaged, or that of another program: :func:`reads` makes an error of that which names it. No I/O.
"""

from __future__ import annotations

import base64
from dataclasses import fields, is_dataclass
from datetime import datetime
from functools import cache, wraps
from types import NoneType
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

from tablevault_pd.errors import VaultCorrupt, short_repr
from tablevault_pd.store.times import from_time, to_time

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

R = TypeVar("R")
D = TypeVar("D")
P = ParamSpec("P")
_PLAIN = {"int": int, "str": str, "bool": bool, "float": float, "None": NoneType, "datetime": datetime}


def reads(collection: str) -> Callable[[Callable[Concatenate[D, P], R]], Callable[Concatenate[D, P], R]]:
    """Decorate what makes a record of a document, or of a row that begins with its key; or a table of many rows.

    It raises VaultCorrupt, which names the document, where an attribute is missing, or a field is not of its type. Of many rows
    it is the first that cannot be read by itself.
    """

    def decorate(read: Callable[Concatenate[D, P], R]) -> Callable[Concatenate[D, P], R]:
        @wraps(read)
        def checked(document: D, /, *args: P.args, **options: P.kwargs) -> R:
            try:
                record = read(document, *args, **options)
                _require_types(record)
            except (LookupError, TypeError, ValueError, AttributeError, OverflowError) as error:
                if isinstance(document, list) and len(document) > 1 and isinstance(document[0], (list, dict)):
                    for row in document:
                        checked([row], *args, **options)  # type: ignore[arg-type]  # a table is read of any rows
                raise _damaged(collection, document, error) from error
            return record

        return checked

    return decorate


def _damaged(collection: str, document: Any, error: Exception) -> VaultCorrupt:
    place = collection
    if isinstance(document, list) and len(document) == 1:
        [document] = document
    if isinstance(document, dict):
        place = document.get("_id") or f"{collection}/{document.get('_key') or document.get('key')}"
        if "metric" in document:
            place += (
                f" (the metric {short_repr(document['metric'])} of the session {document.get('session')})"
            )
    elif isinstance(document, list) and document and isinstance(document[0], (int, str)):
        place = f"{collection}/{document[0]}"
    lacking = f"it has no {short_repr(error.args[0])}" if isinstance(error, KeyError) else str(error)
    return VaultCorrupt(
        f"What {place} holds is damaged, or another program's: {lacking}. Remove it if it is no part of the vault; else restore "
        "the database from a backup. vault.check() lists all damage."
    )


def _require_types(record: Any) -> None:
    """Raise TypeError for a field that is not of its type. A whole number may come as 24.0."""
    for name, types in _types_of(record.__class__):
        value = getattr(record, name)
        if value.__class__ not in types and not (
            int in types and isinstance(value, float) and value.is_integer()
        ):
            raise TypeError(f"its {name} is {short_repr(value)}")


@cache
def _types_of(kind: Any) -> list[tuple[str, set[type]]]:
    """The fields of plain types."""
    if is_dataclass(kind):
        annotations = {field.name: str(field.type) for field in fields(kind)}
    else:
        annotations = kind.__annotations__ if hasattr(kind, "_fields") else {}
    names = [
        (name, str(getattr(text, "__forward_arg__", text)).split(" | ")) for name, text in annotations.items()
    ]
    types = [(name, {_PLAIN[one] for one in some}) for name, some in names if {*some} <= _PLAIN.keys()]
    return [(name, some | {int} if float in some else some) for name, some in types]


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
