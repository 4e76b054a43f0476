"""Where a page is: its name and its arguments, as they stand behind the question mark of a URL."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlencode

if TYPE_CHECKING:
    from collections.abc import Mapping

HOME = "lists"
MAX_LENGTH = 20_000  #: of what stands behind the question mark; a longer one is no address of ours
_PAGE = "view"


@dataclass(frozen=True, slots=True)
class PageAddress:
    """A page and its arguments, in order; one that is there several times has several values."""

    page: str = HOME
    arguments: tuple[tuple[str, str], ...] = ()

    @classmethod
    def parse(cls, query: str) -> PageAddress:
        """Return the address that a query string such as ``"?view=list&name=preds"`` says."""
        pairs = parse_qsl(query[:MAX_LENGTH].removeprefix("?"), keep_blank_values=False)
        pages = [value for name, value in pairs if name == _PAGE]
        return cls(pages[-1] if pages else HOME, tuple(pair for pair in pairs if pair[0] != _PAGE))

    @property
    def query(self) -> str:
        """The query string, with its question mark."""
        return "?" + urlencode([(_PAGE, self.page), *self.arguments])

    def get(self, name: str, default: str = "") -> str:
        """Return the last value of an argument."""
        values = self.all(name)
        return values[-1] if values else default

    def all(self, name: str) -> list[str]:
        """Return all values of an argument."""
        return [value for key, value in self.arguments if key == name]

    def number(self, name: str, default: int = 0) -> int:
        """Return an argument that is a whole number of at least 0; what is none counts as the default."""
        text = self.get(name)
        return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else default

    def with_(self, **changes: object) -> PageAddress:
        """Return this page with other arguments; None takes one out."""
        others = [pair for pair in self.arguments if pair[0] not in changes]
        return PageAddress(self.page, (*others, *_pairs(changes)))


def to(page: str, **arguments: object) -> PageAddress:
    """Return the address of a page. A list is an argument with several values; None is none."""
    return PageAddress(page, tuple(_pairs(arguments)))


def _pairs(arguments: Mapping[str, object]) -> list[tuple[str, str]]:
    pairs = []
    for name, value in arguments.items():
        values = value if isinstance(value, list) else [value]
        pairs += [(name, str(item)) for item in values if item is not None and item != ""]
    return pairs
