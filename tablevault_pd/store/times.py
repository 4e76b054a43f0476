"""Times as stores keep them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def to_time(microseconds: int) -> datetime:
    """A stored time."""
    return _EPOCH + timedelta(microseconds=microseconds)


def to_times(microseconds: Sequence[int | None]) -> list[datetime | None]:
    """Stored times, None where there is none: for thousands of them."""
    since_epoch = np.array(microseconds, dtype="timedelta64[us]").tolist()
    return [None if passed is None else _EPOCH + passed for passed in since_epoch]


def from_time(time: datetime) -> int:
    """A time as it is stored: whole microseconds since 1970, UTC."""
    return (time.astimezone(UTC) - _EPOCH) // timedelta(microseconds=1)
