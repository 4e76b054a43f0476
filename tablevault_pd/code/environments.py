"""What sessions ran in, and how that differs between two of them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pandas as pd

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tablevault_pd.store import Session, Store

COLUMNS = ("what", "name", "a", "b")


def environment_diff(store: Store, a: int, b: int) -> pd.DataFrame:
    """What differs between the environments of two sessions, by id.

    Returns
    -------
    DataFrame
        what (python, package, git, argv, executable, platform, cwd, host, user), name (of the package, or of the part:
        ``commit``), a and b: text, missing where a side has none.
    """
    sessions = {session.id: session for session in store.sessions([a, b], info=True)}
    left, right = (dict(_facts(sessions[key])) for key in (a, b))
    keys = [key for key in dict.fromkeys([*left, *right]) if left.get(key) != right.get(key)]
    rows = [(*key, left.get(key), right.get(key)) for key in keys]
    return pd.DataFrame(rows, columns=list(COLUMNS)).astype(
        "str" if not rows else dict.fromkeys(COLUMNS, "str")
    )


def _facts(session: Session) -> Iterator[tuple[tuple[str, str], str]]:
    """((what, name), value) of all that is known."""
    info = session.info
    yield from _each("python", {"version": info.get("python")})
    yield from _each("package", info.get("packages") or {})
    yield from _each("git", info.get("git") or {})
    yield from _each("argv", {"argv": info.get("argv")})
    for name in ("executable", "platform", "cwd"):
        yield from _each(name, {name: info.get(name)})
    yield from _each("host", {"host": session.host})
    yield from _each("user", {"user": session.user})


def _each(what: str, values: dict[str, Any]) -> Iterator[tuple[tuple[str, str], str]]:
    for name, value in values.items():
        if value is not None:
            yield (what, name), value if isinstance(value, str) else json.dumps(value)
