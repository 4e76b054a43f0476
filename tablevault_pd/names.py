"""Names of lists and sessions: what may be one, and how ``news@3`` and ``papers.vec`` are read."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tablevault_pd.errors import InvalidName, InvalidType, shown

MAX_BYTES = 200
_BIDI = set("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_ZERO_WIDTH = set("\u200b\u200c\u200d\u2060\ufeff")
_VERSION = re.compile(r"(?P<name>.+)@(?P<version>[1-9][0-9]*)\Z", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Address:
    """A parsed address: a list, perhaps one version or one column of it."""

    name: str
    version: int | None = None


def check_name(name: object, what: str = "list") -> str:
    """Check a name and return it in NFC. Raises InvalidName with the broken rule, InvalidType for no str."""
    if not isinstance(name, str):
        raise InvalidType(f"The name of a {what} is a str, not {type(name).__name__}: {shown(name)}")
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        raise InvalidName(
            f"{shown(name)} cannot name a {what}: it has half of a surrogate pair in it."
        ) from None
    normal = unicodedata.normalize("NFC", name)
    problem = _problem(normal, max(size, len(normal.encode())))
    if problem:
        raise InvalidName(f"{shown(name)} cannot name a {what}: {problem}.")
    return normal


def _problem(name: str, size: int) -> str | None:
    if not name:
        return "it is empty"
    if name != name.strip():
        return "it begins or ends with a blank"
    if size > MAX_BYTES:
        return f"it takes {size} bytes, and {MAX_BYTES} is the limit"
    if "@" in name:
        return "'@' separates a list from its version, as in news@3"
    for character in name:
        if character in _BIDI:
            return f"it has the bidirectional control U+{ord(character):04X} in it"
        if character in _ZERO_WIDTH:
            return f"it has the invisible character U+{ord(character):04X} in it"
        category = unicodedata.category(character)
        if category == "Cc" or category in ("Zl", "Zp"):
            return f"it has the control character U+{ord(character):04X} in it"
    return None


def parse_address(address: object) -> Address:
    """Parse an address such as ``news@3``: a list, and perhaps a version."""
    if isinstance(address, str):
        match = _VERSION.match(address)
        if match:
            return Address(check_name(match["name"]), int(match["version"]))
    return Address(check_name(address))


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
