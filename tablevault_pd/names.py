"""Names of lists, sessions and versions: which are allowed, and how ``news@3`` and ``news@best`` are parsed."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from tablevault_pd.errors import InvalidName, InvalidType, short_repr

MAX_BYTES = 200
_BIDI = set("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_ZERO_WIDTH = set("\u200b\u200c\u200d\u2060\ufeff")
_NUMBER = re.compile(r"[1-9][0-9]{0,17}")


@dataclass(frozen=True, slots=True)
class Address:
    """A parsed address: a list, perhaps one version of it, by its number or by a name of its own."""

    name: str
    version: int | None = None
    version_name: str | None = None  #: a tag of the version, or a snapshot

    @property
    def pinned(self) -> bool:
        """Whether one version is meant, and not the newest."""
        return self.version is not None or self.version_name is not None


def check_name(name: object, what: str = "list") -> str:
    """Check a name and return it in NFC. Raises InvalidName with the broken rule, InvalidType for no str."""
    if not isinstance(name, str):
        first = (
            " The name stands first: save(name, rows)." if what == "list" and hasattr(name, "columns") else ""
        )
        shown = "" if first else f": {short_repr(name)}"
        raise InvalidType(f"The name of a {what} is a str, not {type(name).__name__}{shown}.{first}")
    return _checked(name, what) if type(name) is str else _checked.__wrapped__(name, what)


@lru_cache(maxsize=1024)  # a loop writes to the same list again and again
def _checked(name: str, what: str) -> str:
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        raise InvalidName(
            f"{short_repr(name)} cannot name a {what}: it has half of a surrogate pair in it."
        ) from None
    normal = unicodedata.normalize("NFC", name)
    problem = _problem(normal, max(size, len(normal.encode())))
    if problem:
        raise InvalidName(f"{short_repr(name)} cannot name a {what}: {problem}.")
    return normal


def _problem(name: str, size: int) -> str | None:
    if not name:
        return "it is empty"
    if name != name.strip():
        return "it begins or ends with a blank"
    if size > MAX_BYTES:
        return f"it takes {size} bytes, and {MAX_BYTES} is the limit"
    if "@" in name:
        return "'@' separates a list from its version, as in news@3 and news@best"
    for character in name:
        if character in _BIDI:
            return f"it has the bidirectional control U+{ord(character):04X} in it"
        if character in _ZERO_WIDTH:
            return f"it has the invisible character U+{ord(character):04X} in it"
        category = unicodedata.category(character)
        if category == "Cc" or category in ("Zl", "Zp"):
            return f"it has the control character U+{ord(character):04X} in it"
    return None


def check_version_name(name: object, what: str = "version") -> str:
    """The name of a version or snapshot in the form it is kept in: as :func:`check_name`, and no number."""
    checked = check_name(name, what)
    if checked.lstrip("+-").isdigit():
        raise InvalidName(
            f"{short_repr(name)} cannot name a {what}: numbers are those of versions, from 1 on."
        )
    return checked


def parse_address(address: object) -> Address:
    """Parse an address such as ``news@3`` or ``news@best``: a list, and perhaps a version."""
    return _parsed(address) if type(address) is str else _parsed.__wrapped__(address)


@lru_cache(maxsize=1024)
def _parsed(address: object) -> Address:
    if not isinstance(address, str) or "@" not in address:
        return Address(check_name(address))
    name, _, version = address.partition("@")
    if _NUMBER.fullmatch(version):
        return Address(check_name(name), int(version))
    if name and not version:
        raise InvalidName(
            f"{short_repr(address)} names no version: a number or a name follows the @, as in {name}@3. {name} alone is the newest one."
        )
    return Address(check_name(name), version_name=check_version_name(version))


def encodable(value: Any) -> Any:
    r"""Return plain JSON in which lone surrogates are replaced by their escapes, such as ``\ud83d``.

    >>> encodable({"tags": ["half an emoji: \ud83d", "whole"]})
    {'tags': ['half an emoji: \\ud83d', 'whole']}
    """
    if isinstance(value, str):
        return value if value.isascii() else value.encode("utf-8", "backslashreplace").decode("utf-8")
    if isinstance(value, Mapping):
        return {encodable(key): encodable(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(encodable(item) for item in value)
    return value
