"""Names of lists and sessions where a string is typed at an IPython prompt or in a notebook: ``vault.read("<Tab>``."""

from __future__ import annotations

import re
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from tablevault_pd.errors import SessionStopped, VaultError
from tablevault_pd.vault.vault import Vault

if TYPE_CHECKING:
    from collections.abc import Callable

#: The first argument of a call, as far as it was typed: vault.read("ne, tv.read("ne, frame.vault.append("ne
_CALL = re.compile(r"""(?<![\w.])(\w+)(\.vault)?\.(\w+)\(\s*(["'])((?:(?!\4)[^\\]|\\.)*)\Z""")
_OF_FRAMES = ("save", "append", "upsert")
_OF_LISTS = (
    *_OF_FRAMES, "claim", "claims", "compare", "delete", "delete_rows", "describe", "descriptions", "erase", "files", "follow", "graph",
    "history", "lineage", "map", "read", "refresh", "release", "rename", "restore", "stale", "tag", "trend", "versions",
)  # fmt: skip
_OF_SESSIONS = ("cells", "pause", "resume", "run", "sessions", "stop")


#: What IPython's completer asks of a matcher. It goes before those of files and of keys.
_MATCHER = {"matcher_api_version": 2, "matcher_priority": 200, "matcher_identifier": "tablevault_pd"}


def complete_names(current: Callable[[], Vault | None]) -> None:
    """Have IPython, if this process runs in it, complete the names of a vault; `current` is that of ``tv.read`` and ``df.vault``."""
    shell: Any = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    matchers = getattr(getattr(shell, "Completer", None), "custom_matchers", None)
    if matchers is None or any(vars(matcher).items() >= _MATCHER.items() for matcher in matchers):
        return

    def match(context: Any) -> dict[str, Any]:
        call = _CALL.search(context.text_until_cursor)
        typed = "" if call is None else call[5]
        names = [] if call is None else _names(shell.user_ns.get(call[1]), call[2], call[3], current)
        written = [_escaped(name, call[4]) for name in names] if call else []
        completions = [_Completion(name) for name in written if name.startswith(typed)]
        return {"completions": completions, "matched_fragment": typed, "suppress": bool(completions)}

    vars(match).update(_MATCHER)
    matchers.append(match)


def _escaped(name: str, quote: str) -> str:
    """Return a name as it stands between quotes in code."""
    return name.replace("\\", "\\\\").replace(quote, f"\\{quote}")


def _names(owner: object, frame: str | None, call: str, current: Callable[[], Vault | None]) -> list[str]:
    """Return the names that the first argument of a call can have; `frame` is ``.vault`` in a call of ``df.vault``."""
    if isinstance(owner, Vault):
        vault = owner if frame is None else None
    else:
        ours = call in _OF_FRAMES if frame else owner is sys.modules["tablevault_pd"] and call == "read"
        vault = current() if ours else None
    # A vault that is closed, a server that does not answer, and a session that was stopped complete nothing.
    with suppress(VaultError, SessionStopped):
        if vault is not None and call in _OF_LISTS:
            return list(vault)
        if vault is not None and call in _OF_SESSIONS:
            return list(dict.fromkeys(vault.sessions(columns=["name"])["name"]))
    return []


class _Completion:
    """One name, as IPython's completer takes it."""

    type = "string"

    def __init__(self, text: str) -> None:
        self.text = text
