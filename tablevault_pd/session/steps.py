"""The current step of a session, by context: each thread and each asyncio task has its own."""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Mapping

#: The current step by key of the session. Mappings are replaced, never changed: contexts share them.
_steps: ContextVar[Mapping[int, int]] = ContextVar("tablevault_steps", default={})  # noqa: B039  # never changed


def current_step(key: int) -> int | None:
    """Return the step of a session in this context; None if there is none."""
    return _steps.get().get(key)


def forget_step(key: int) -> None:
    """Drop the step of a session that ended, in this context."""
    _set(key, None)


def _set(key: int, step: int | None) -> None:
    others = {other: number for other, number in _steps.get().items() if other != key}
    _steps.set(others if step is None else {**others, key: step})


class Step:
    """The current step, set by :meth:`Run.step`. Leaving its ``with`` restores the step before."""

    def __init__(self, key: int, step: int) -> None:
        self._key, self._step = key, step
        self._before = current_step(key)
        _set(key, step)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        _set(self._key, self._before)

    def __repr__(self) -> str:
        return f"<Step {self._step}>"
