"""Time zones as JSON: the same zone of the same library comes back, so that dtypes compare equal."""

from __future__ import annotations

import datetime as dt
import zoneinfo
from functools import lru_cache
from importlib import import_module
from os.path import isabs
from typing import Any


class UnknownZone(Exception):
    """This machine does not have a zone that another one stored; the text is its name."""


def to_json(tz: dt.tzinfo) -> list[Any]:
    """Return a JSON list that names `tz`. Raises ValueError for zones that exist in this process only."""
    if tz is dt.UTC:
        return ["utc"]
    if isinstance(tz, zoneinfo.ZoneInfo) and _is_named(tz):
        return ["zoneinfo", tz.key]
    if isinstance(tz, dt.timezone):
        offset = tz.utcoffset(None)
        default = dt.timezone(offset).tzname(None)
        name = tz.tzname(None)
        fixed = ["fixed", offset.days * 86400 + offset.seconds, offset.microseconds]
        return fixed if name == default else [*fixed, name]
    library = type(tz).__module__.partition(".")[0]
    named = _NAMED.get(library)
    zone = named(tz) if named else None
    if zone is None:
        raise ValueError(
            f"the time zone {tz!r} cannot be stored; convert to UTC or a named zone with .dt.tz_convert('Europe/Berlin')"
        )
    return zone


def _is_named(tz: zoneinfo.ZoneInfo) -> bool:
    """Return whether the key of a zone identifies it: ``ZoneInfo.from_file`` takes any key."""
    try:
        tz.__reduce__()  # refused for those from files
    except Exception:  # noqa: BLE001  # the error of a module that has no other use here
        return False
    return bool(tz.key)


def _pytz(tz: Any) -> list[Any] | None:
    if getattr(tz, "zone", None):
        return ["pytz", tz.zone]
    minutes = getattr(tz, "_minutes", None)
    return None if minutes is None else ["pytz-fixed", minutes]


def _dateutil(tz: Any) -> list[Any] | None:
    kind = type(tz).__name__
    if kind == "tzutc":
        return ["dateutil-utc"]
    if kind == "tzoffset":
        return ["dateutil-fixed", tz.tzname(None), int(tz.utcoffset(None).total_seconds())]
    path = getattr(tz, "_filename", None)
    if kind != "tzfile" or not isinstance(path, str):
        return None
    key = path.partition("zoneinfo/")[2] or path
    try:
        return ["dateutil", key] if not isabs(key) and from_json(["dateutil", key]) == tz else None
    except UnknownZone:
        return None


_NAMED = {"pytz": _pytz, "dateutil": _dateutil}


def from_json(name: list[Any]) -> dt.tzinfo:
    """Return the zone that :func:`to_json` named. Raises UnknownZone."""
    zone: dt.tzinfo = _from_json(tuple(name))
    return zone


@lru_cache(maxsize=256)
def _from_json(name: tuple[Any, ...]) -> Any:
    kind, *rest = name
    if kind == "utc":
        return dt.UTC
    if kind == "zoneinfo":
        return _zoneinfo(rest[0])
    if kind == "fixed":
        return dt.timezone(dt.timedelta(seconds=rest[0], microseconds=rest[1]), *rest[2:])
    if kind.startswith("dateutil"):
        return _from_dateutil(kind, rest)
    if kind.startswith("pytz"):
        return _from_pytz(kind, rest)
    raise ValueError(f"unknown kind of time zone {kind!r}")


def _zoneinfo(key: str) -> zoneinfo.ZoneInfo:
    try:
        return zoneinfo.ZoneInfo(key)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        raise UnknownZone(key) from None


def _from_dateutil(kind: str, rest: list[Any]) -> Any:
    tz: Any = import_module("dateutil.tz")  # comes with pandas, without types
    if kind == "dateutil-utc":
        return tz.tzutc()
    if kind == "dateutil-fixed":
        return tz.tzoffset(rest[0], rest[1])
    zone = tz.gettz(rest[0])
    if zone is None:
        raise UnknownZone(rest[0])
    return zone


def _from_pytz(kind: str, rest: list[Any]) -> Any:
    try:
        pytz: Any = import_module("pytz")
    except ImportError:  # pandas 3 does without pytz: the same zone from the standard library
        return _zoneinfo(rest[0]) if kind == "pytz" else dt.timezone(dt.timedelta(minutes=rest[0]))
    if kind == "pytz-fixed":
        return pytz.FixedOffset(rest[0])
    try:
        return pytz.timezone(rest[0])
    except pytz.UnknownTimeZoneError:
        raise UnknownZone(rest[0]) from None


def arrow_name(name: list[Any]) -> str:
    """Return the name under which Arrow's consumers know the zone that :func:`to_json` named."""
    if name[0] in ("zoneinfo", "pytz", "dateutil"):
        return str(name[1])
    if name[0] == "fixed" and name[1] % 60 == 0 and not name[2]:
        minutes = abs(name[1]) // 60
        return f"{'-' if name[1] < 0 else '+'}{minutes // 60:02d}:{minutes % 60:02d}"
    return "UTC"  # the instants are right; only the wall clock needs our own metadata
