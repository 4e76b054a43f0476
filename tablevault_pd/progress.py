"""Progress bars (by tqdm, where it is installed and the output is a terminal or notebook) and warnings."""

from __future__ import annotations

import os
import sys
import time
import warnings
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Self

from tablevault_pd.imports import for_own_use

if TYPE_CHECKING:
    from types import FrameType, TracebackType

_PACKAGE = os.path.join(os.path.dirname(__file__), "")
UNNAMED = ("<stdin>", "<string>", "<console>")  #: what Python calls code that is in no file
DELAY_S = 1.0  # shorter work shows no bar
#: What a stream raises that is None, has no isatty(), was closed, or whose reader has gone.
NO_STREAM = (AttributeError, OSError, ValueError)


class Bar:
    """Counts steps, and shows them with tqdm once the work has taken longer than a moment.

    What is done in one step has nothing to show, and pays nothing for a bar.

    >>> with Bar("reading", total=2, unit="rows") as bar:
    ...     bar(2)
    """

    def __init__(self, what: str, *, total: int | None = None, unit: str = "it") -> None:
        self._options = {"desc": what, "total": total, "unit": f" {unit}", "unit_scale": True}
        self._started = time.monotonic()
        self._first = 0  # steps that were done at once
        self._bar: Any = None
        self._steps = 0

    def __call__(self, steps: int = 1) -> None:
        """Count further steps."""
        self._steps += 1
        try:
            if self._steps == 1:
                self._first = steps
                return
            if self._steps == 2:
                delay = max(DELAY_S - (time.monotonic() - self._started), 0)
                self._bar = _tqdm(initial=self._first, delay=delay, **self._options)
            if self._bar is not None:
                self._bar.update(steps)
        except NO_STREAM:
            self._bar = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            with suppress(*NO_STREAM):
                self._bar.close()


def _tqdm(**options: Any) -> Any:
    """Return a bar of tqdm; None where it is not installed, or the output is no terminal or notebook."""
    if sys.stderr is None:
        return None
    notebook = _in_notebook()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of tqdm.auto: a notebook without widgets gets a bar of text
            with for_own_use():
                from tqdm.auto import tqdm
    except ImportError:
        return None
    # tqdm shows no bar where the stream is no terminal, as in a notebook.
    return tqdm(leave=False, disable=False if notebook else None, **options)


def _in_notebook() -> bool:
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return hasattr(shell, "kernel")


def say(text: str) -> None:
    """Print a line to ``sys.stderr``. Never raises: the stream may be None, closed, or an object of the user's."""
    try:
        print(text, file=sys.stderr)
    except NO_STREAM:
        return


def warn(message: str, category: type[Warning] = UserWarning) -> None:
    """Warn, with the line that called the library as the place."""
    level, _ = _caller()
    warnings.warn(message, category, stacklevel=level)


def calling_line() -> tuple[str, int] | None:
    """The file and the line that called the library; None at a prompt and in ``exec``, where many statements are line 1."""
    _, frame = _caller()
    file = frame.f_code.co_filename
    return None if file in UNNAMED else (file, frame.f_lineno)


def _caller() -> tuple[int, FrameType]:
    """The frame that called the library, and its number as ``stacklevel`` in the function that asks."""
    level, frame = 2, sys._getframe(2)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_PACKAGE):
        level, frame = level + 1, frame.f_back
    return level, frame
