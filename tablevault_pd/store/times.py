"""Times as stores keep them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def to_time(microseconds: int) -> datetime:
    """A stored time."""
    return _EPOCH + timedelta(microseconds=microseconds)


def from_time(time: datetime) -> int:
    """A time as it is stored: whole microseconds since 1970, UTC."""
    return (time.astimezone(UTC) - _EPOCH) // timedelta(microseconds=1)
