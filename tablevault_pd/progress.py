"""What the library says while it works: progress bars (tqdm's, where it is installed and somebody looks) and warnings."""

from __future__ import annotations

import os
import sys
import time
import warnings
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

_PACKAGE = os.path.join(os.path.dirname(__file__), "")
PATIENCE_S = 1.0  # work that is done sooner shows no bar
#: What a stream raises that is None, has no isatty(), was closed, or whose reader has gone.
_NO_STREAM = (AttributeError, OSError, ValueError)


class Bar:
    """Counts steps, and shows them once the work has taken longer than a moment.

    >>> with Bar("reading", total=2, unit="rows") as bar:
    ...     bar(2)
    """

    def __init__(self, what: str, *, total: int | None = None, unit: str = "it") -> None:
        self._what = what
        self._total = total
        self._unit = unit
        self._done = 0
        self._started = time.monotonic()
        self._bar: Any = None
        self._wanted = _somebody_looks()

    def __call__(self, steps: int = 1) -> None:
        """Say that so many steps more are done."""
        self._done += steps
        if not self._wanted:
            return
        try:
            if self._bar is not None:
                self._bar.update(steps)
            elif time.monotonic() - self._started > PATIENCE_S:
                self._show()
        except _NO_STREAM:
            self._bar, self._wanted = None, False

    def _show(self) -> None:
        make = _tqdm()
        if make is None:
            self._wanted = False
            return
        self._bar = make(
            total=self._total,
            desc=self._what,
            unit=f" {self._unit}",
            unit_scale=True,
            leave=False,
            initial=self._done,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            with suppress(*_NO_STREAM):
                self._bar.close()


def say(text: str) -> None:
    """Print a line to ``sys.stderr``. Never raises: the stream may be None, closed, or an object of the user's."""
    try:
        print(text, file=sys.stderr)
    except _NO_STREAM:
        return


def _somebody_looks() -> bool:
    """Tell whether a bar would be seen. ``sys.stderr`` may be None, closed, or an object of the user's with ``write`` alone."""
    if "ipykernel" in sys.modules:
        return True
    try:
        return bool(sys.stderr.isatty())
    except _NO_STREAM:
        return False


def _tqdm() -> Callable[..., Any] | None:
    try:
        from tqdm.auto import tqdm
    except ImportError:
        return None
    return tqdm  # type: ignore[no-any-return]  # tqdm ships no types


def warn(message: str, category: type[Warning] = UserWarning) -> None:
    """Warn, and name the line that called the library, however deep inside of it this is."""
    level, frame = 2, sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_PACKAGE):
        level, frame = level + 1, frame.f_back
    warnings.warn(message, category, stacklevel=level)
