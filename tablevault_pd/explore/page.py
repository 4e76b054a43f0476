"""What a page is, and what it may ask of a vault."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tablevault_pd.store import Store


@dataclass(frozen=True, slots=True)
class Page:
    """What is shown at one address."""

    title: str
    python: str  #: the line that gives the same frame
    blocks: Sequence[Any]  #: HTML (markupsafe.Markup) and Bokeh figures, from top to bottom
    live: bool = False  #: whether it may be different in a moment: something is running
    actions: dict[str, str] = field(default_factory=dict)
    problem: str | None = None  #: what is wrong with the address, where that is what the page says


class Explored(Protocol):
    """What pages ask of a vault: its public calls."""

    @property
    def store(self) -> Store:
        """Where it is kept."""

    @property
    def place(self) -> str:
        """Its folder or address, without a password."""

    def lists(self, *given: Any, **named: Any) -> Any:
        """All lists."""

    def versions(self, *given: Any, **named: Any) -> Any:
        """The versions of a list."""

    def descriptions(self, *given: Any, **named: Any) -> Any:
        """What was said about lists."""

    def open_file(self, sha256: str) -> Any:
        """The content of a kept file."""

    def sessions(self, *given: Any, **named: Any) -> Any:
        """Sessions with parameters and last metrics."""

    def run(self, *given: Any, **named: Any) -> Any:
        """One session."""

    def metrics(self, *given: Any, **named: Any) -> Any:
        """Logged values."""

    def bands(self, *given: Any, **named: Any) -> Any:
        """Means over seeds."""

    def best(self, *given: Any, **named: Any) -> Any:
        """The best step of each session."""

    def trend(self, *given: Any, **named: Any) -> Any:
        """A measure of every version."""

    def compare(self, *given: Any, **named: Any) -> Any:
        """Two versions, row by row."""

    def differences(self, *given: Any, **named: Any) -> Any:
        """What differs upstream."""

    def code_diff(self, *given: Any, **named: Any) -> Any:
        """How the code differs."""

    def graph(self, *given: Any, **named: Any) -> Any:
        """Which lists were made from which."""

    def lineage(self, *given: Any, **named: Any) -> Any:
        """Relatives of rows."""

    def stale(self, *given: Any, **named: Any) -> Any:
        """What is to be made again."""

    def stop(self, *given: Any, **named: Any) -> Any:
        """Ask a session to stop."""

    def pause(self, *given: Any, **named: Any) -> Any:
        """Ask a session to pause."""

    def resume(self, *given: Any, **named: Any) -> Any:
        """Ask a session to go on."""


def call(function: str, *values: Any, **named: Any) -> str:
    """Return a call as one would type it, without what is None, False or empty."""
    given = [repr(value) for value in values]
    given += [f"{name}={value!r}" for name, value in named.items() if value not in (None, False, "", [])]
    return f"{function}({', '.join(given)})"
