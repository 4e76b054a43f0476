"""Parameters of a session, as the user gives and changes them."""

from __future__ import annotations

import re
from argparse import Namespace
from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from copy import deepcopy
from dataclasses import fields, is_dataclass
from functools import partial
from types import MethodType, ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd

from tablevault_pd.capture.redact import MASK, is_secret_name, masked_shapes
from tablevault_pd.errors import InvalidInput, InvalidType, short_repr
from tablevault_pd.progress import warn

_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")  #: in the text of an object, another one in each process
_FUNCTION = re.compile(r"<(?:bound method|(?:built-in )?function|cyfunction) (?:[^<>]|<lambda>|<locals>)+>")
_warned_of: set[type] = set()  # whose objects have no text of their own
DEEPEST = 100  # levels of nested parameters


class Params(MutableMapping[str, Any]):
    """Parameters by name. Values are converted to what JSON can hold; others become texts.

    `check` is called before every change, and may refuse it.

    Examples
    --------
    >>> Params({"lr": 0.1, "layers": (64, 64)})
    {'lr': 0.1, 'layers': [64, 64]}
    """

    def __init__(
        self, values: Any = None, *, redact: bool = True, check: Callable[[], None] = lambda: None
    ) -> None:
        self._redact = redact
        self._check: Callable[[], None] = lambda: None
        self._values: dict[str, Any] = {}
        for name, value in as_mapping(values).items():
            self[name] = value
        self._taken = self.plain()
        self._check = check

    def __getitem__(self, name: str) -> Any:
        return self._values[name]

    def __setitem__(self, name: str, value: Any) -> None:
        if not isinstance(name, str):
            raise InvalidType(f"The name of a parameter is a text, not {short_repr(name)}.")
        self._check()
        plain_value = _masked(name, plain(value)) if self._redact else plain(value)
        # A new dict: the background thread may be reading the old one.
        self._values = {**self._values, name: plain_value}

    def __delitem__(self, name: str) -> None:
        if name not in self._values:
            raise KeyError(name)
        self._check()
        self._values = {other: value for other, value in self._values.items() if other != name}

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return repr(self._values)

    def plain(self) -> dict[str, Any]:
        """Return a copy as plain JSON values."""
        while True:
            try:
                return deepcopy(self._values)
            except RuntimeError:  # another thread added to a dict inside
                continue

    @property
    def changed(self) -> bool:
        """Whether they, or values nested in them, changed since the last :meth:`take`."""
        return self._values != self._taken

    def take(self) -> dict[str, Any]:
        """Return a copy to send to the store."""
        self._taken = self.plain()
        return self._taken


def _masked(name: str, value: Any) -> Any:
    """Mask texts with the name or the shape of a secret, also in nested dicts and lists."""
    if isinstance(value, dict):
        return {key: _masked(key, item) for key, item in value.items()}
    if isinstance(value, list):
        return [_masked(name, item) for item in value]
    if not isinstance(value, str):
        return value
    return MASK if is_secret_name(name) else masked_shapes(value)


def as_mapping(params: Any) -> Mapping[Any, Any]:
    """Convert a mapping, a dataclass or a namespace to a mapping. Raises InvalidType."""
    if params is None:
        return {}
    if isinstance(params, Mapping):
        return params
    if isinstance(params, (Namespace, SimpleNamespace)):
        return vars(params)
    if is_dataclass(params) and not isinstance(params, type):
        return {field.name: getattr(params, field.name) for field in fields(params)}
    raise InvalidType(
        f"params= is a dict, a dataclass instance or an argparse.Namespace, not {short_repr(params)}. "
        "vars(…) makes a dict of most other objects."
    )


def plain(value: Any, depth: int = 0) -> Any:
    """Convert a value to plain JSON. Raises InvalidInput if it is nested too deeply, or contains itself."""
    if depth > DEEPEST:
        raise InvalidInput(
            f"A parameter is nested more than {DEEPEST} levels deep, or contains itself. Nothing of it was kept."
        )
    if isinstance(value, (pd.Series, pd.Index)):
        value = value.to_numpy(dtype=object)
    if isinstance(value, np.ndarray) and value.ndim:
        return [plain(item, depth + 1) for item in value]
    if isinstance(value, (np.generic, np.ndarray)):
        value = _cell(value[()] if isinstance(value, np.ndarray) else value)
    if value is None or isinstance(value, (bool, int, float, str)):
        return value if type(value) in (bool, int, float, str, type(None)) else _base(value)
    if isinstance(value, (Mapping, Namespace, SimpleNamespace)) or (
        is_dataclass(value) and not isinstance(value, type)
    ):
        items = as_mapping(value)
        names = [_key(key, depth) for key in items]
        if len(set(names)) < len(names):  # two objects of one class
            names = list(map(str, items))
        by_name = {name: plain(item, depth + 1) for name, item in zip(names, items.values(), strict=True)}
        if len(by_name) < len(items):
            raise InvalidInput(f"Two keys of a parameter are the same text: {short_repr(list(items))}.")
        return by_name
    if isinstance(value, (set, frozenset)):  # in an order of its own in each process
        return sorted((plain(item, depth + 1) for item in value), key=_place)
    if isinstance(value, Sequence) and not isinstance(value, (bytes, bytearray)):
        return [plain(item, depth + 1) for item in value]
    return _text(value, depth)


def _text(value: Any, depth: int) -> str:
    """Return a text that is alike for equal values in each process."""
    if isinstance(value, ModuleType):
        return value.__name__
    if isinstance(value, partial):
        named = [f"{name}={plain(item, depth + 1)}" for name, item in value.keywords.items()]
        items = [str(plain(item, depth + 1)) for item in (value.func, *value.args)]
        return f"functools.partial({', '.join([*items, *named])})"
    name = getattr(value, "__qualname__", None) if callable(value) else None
    if isinstance(name, str) and not hasattr(value, "__origin__"):  # a function or class, and no list[int]
        module = getattr(value, "__module__", None)
        name = f"{module}.{name}" if isinstance(module, str) else name
        if isinstance(value, MethodType) and not isinstance(value.__self__, type):
            _warn_of(type(value.__self__), name)
        return name
    text = str(value)
    plain_text = _ADDRESS.sub("", text)
    kind: Any = type(value)
    if kind.__repr__ is object.__repr__ and kind.__str__ is object.__str__:
        plain_text = f"{kind.__module__}.{kind.__qualname__}"
    if _ADDRESS.search(_FUNCTION.sub("", text)):
        _warn_of(kind, plain_text)
    return plain_text


def _warn_of(kind: type, text: str) -> None:
    """Warn once that the value of such objects is not recorded."""
    if kind not in _warned_of:
        _warned_of.add(kind)
        warn(
            f"Of a parameter that is an object of {kind.__qualname__} only {short_repr(text)} is recorded, and not its value: "
            "its own text has an address in memory, another one in each process. Pass what it is made of, such as vars(…) or "
            "the arguments it was made with, or give the class a __repr__."
        )


def _key(key: Any, depth: int) -> str:
    return str(key) if isinstance(key, (str, int, float, tuple)) else str(plain(key, depth + 1))


def _place(item: Any) -> tuple[bool, float, str, str]:
    """Where an item of a set stands: numbers in their order, then the others in that of their texts."""
    number = isinstance(item, (int, float)) and item == item
    return not number, item if number else 0, str(item), type(item).__name__


def _cell(value: Any) -> Any:
    """Convert a scalar of NumPy to one of Python; times to text, since ``item()`` gives nanoseconds. A masked one is None."""
    if value is np.ma.masked:
        return None
    if isinstance(value, (np.datetime64, np.timedelta64)):
        return str(value)
    return float(value) if isinstance(value, np.longdouble) else getattr(value, "item", lambda: value)()


def _base(value: Any) -> Any:
    """Return the plain number or text behind a subclass, such as a member of an enum."""
    for kind in (bool, int, float, str):
        if isinstance(value, kind):
            return kind(value)
    return str(value)
