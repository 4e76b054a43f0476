"""Flatten nested dicts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


def flat(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return nested dicts as one, keys joined by dots: ``{"opt": {"lr": 1}}`` is ``{"opt.lr": 1}``.

    A dict stays one value where it is empty, or where a key of that name is there already.
    """
    if dict not in map(type, values.values()):
        return dict(values)
    flattened: dict[str, Any] = {}
    for key, value in values.items():
        inner = flat(value) if isinstance(value, dict) else {}
        inner = {f"{key}.{name}": leaf for name, leaf in inner.items()}
        if inner and not inner.keys() & (flattened.keys() | values.keys()):
            flattened |= inner
        else:
            flattened[key] = value
    return flattened
