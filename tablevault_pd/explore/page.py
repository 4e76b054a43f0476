"""What a page is, and where: its name and its arguments, as they stand behind the question mark of a URL."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias
from urllib.parse import parse_qsl, urlencode

from tablevault_pd.explore import html

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tablevault_pd.explore.html import Cell

Explored: TypeAlias = Any  #: a :class:`Vault`, whose room lies above this one: pages ask it as users do
HOME = "lists"
MAX_LENGTH = 20_000  #: of what stands behind the question mark; a longer one is no address of ours
_PAGE = "view"


@dataclass(frozen=True, slots=True)
class Page:
    """What is shown at one address."""

    title: str
    python: str  #: the line that gives the same frame
    blocks: Sequence[Any]  #: HTML (markupsafe.Markup) and Bokeh figures, from top to bottom
    live: bool = False  #: whether it may be different in a moment: something is running
    actions: dict[str, str] = field(default_factory=dict)
    problem: str | None = None  #: what is wrong with the address, where that is what the page says


def call(function: str, *values: Any, **named: Any) -> str:
    """Return a call as one would type it, without what is None, False or empty."""
    given = [repr(value) for value in values]
    given += [f"{name}={value!r}" for name, value in named.items() if value not in (None, False, "", [])]
    return f"{function}({', '.join(given)})"


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


def list_link(name: Any, _: int) -> Cell:
    """Return the cell of a list: its name, which leads to its page."""
    return html.link(to("list", name=name), name) if isinstance(name, str) else ""


def session_link(label: Any, _: int) -> Cell:
    """Return the cell of a session: its label, which leads to its page."""
    return html.link(to("run", which=label), label) if isinstance(label, str) and label else ""
