"""What a session was told: its parameters, as a dict whose changes find their way into the vault."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from typing import Any

import numpy as np

from tablevault_pd.errors import InvalidInput, shown

_SECRET = re.compile(
    r"(?i)(pass(word|wd|phrase)?|secret|token|api_?key|access_?key|private_?key|credential)s?$"
)
MASK = "[masked]"


class Params(MutableMapping[str, Any]):
    """Parameters by name. Values are kept as JSON keeps them; what JSON does not know becomes its text.

    Examples
    --------
    >>> Params({"lr": 0.1, "layers": (64, 64)})
    {'lr': 0.1, 'layers': [64, 64]}
    """

    def __init__(self, values: Mapping[str, Any] | None = None, *, redact: bool = True) -> None:
        self._redact = redact
        self._values: dict[str, Any] = {}
        self.update(values or {})
        self.changed = False

    def __getitem__(self, name: str) -> Any:
        return self._values[name]

    def __setitem__(self, name: str, value: Any) -> None:
        if not isinstance(name, str):
            raise InvalidInput(f"The name of a parameter is a text, not {shown(name)}.")
        plain = _plain(value)
        if self._redact and isinstance(plain, str) and _SECRET.search(name):
            plain = MASK
        self._values = {
            **self._values,
            name: plain,
        }  # a new dict: the background thread may be reading the old one
        self.changed = True

    def __delitem__(self, name: str) -> None:
        if name not in self._values:
            raise KeyError(name)
        self._values = {kept: value for kept, value in self._values.items() if kept != name}
        self.changed = True

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return repr(self._values)

    def plain(self) -> dict[str, Any]:
        """A copy as plain JSON values."""
        return dict(self._values)


def _plain(value: Any) -> Any:
    if isinstance(value, (np.generic, np.ndarray)):
        return _plain(value.tolist())
    if value is None or isinstance(value, (bool, int, float, str)):
        return value if type(value) in (bool, int, float, str, type(None)) else _base(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, (Sequence, set, frozenset)) and not isinstance(value, (bytes, bytearray)):
        return [_plain(each) for each in value]
    return str(value)


def _base(value: Any) -> Any:
    """The plain number or text behind a subclass, such as a member of an enum."""
    for kind in (bool, int, float, str):
        if isinstance(value, kind):
            return kind(value)
    return str(value)


def checked_tags(tags: str | Sequence[str] | None) -> tuple[str, ...]:
    """Tags as a tuple of texts. Raises InvalidInput."""
    found = () if tags is None else (tags,) if isinstance(tags, str) else tuple(tags)
    if not all(isinstance(tag, str) for tag in found):
        raise InvalidInput(f"tags= is a text or a list of texts, not {shown(tags)}.")
    return found
