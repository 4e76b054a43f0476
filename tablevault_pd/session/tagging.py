"""Add and remove tags of sessions and versions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tablevault_pd import validate
from tablevault_pd.errors import InvalidInput, shown
from tablevault_pd.names import parse_address
from tablevault_pd.reading import read as reading
from tablevault_pd.reading import reports as answers
from tablevault_pd.reading.reference import ListReference
from tablevault_pd.session.lookup import resolve_sessions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    import pandas as pd

    from tablevault_pd.session.recorder import Recorder
    from tablevault_pd.store import Store, Version

TAGGED = ("name", "tags")


def tag(
    store: Store, which: Any, add: Sequence[str], remove: Any, running: Callable[[], Iterable[Recorder]]
) -> pd.DataFrame:
    """See :meth:`Vault.tag`. `running` returns the sessions of this process, whose tags are updated."""
    added, removed = validate.tags(add) or (), validate.tags(remove) or ()
    if not (added or removed):
        raise InvalidInput("Say which tags to add, vault.tag('train', 'best'), or to remove: remove='draft'.")
    both = set(added) & set(removed)
    if both:
        raise InvalidInput(f"The tag {shown(min(both))} is to be added and removed. Say one of them.")
    versions, others = _versions(store, which)
    sessions = resolve_sessions(store, others, runs="latest") if others else []
    store.change_tags(
        sessions=[session.id for session in sessions],
        versions=[(version.list_id, version.version) for version in versions],
        add=added,
        remove=removed,
    )
    now = store.sessions([session.id for session in sessions]) if sessions else []
    tags_now = {session.id: session.tags for session in now}
    for recorder in running():
        if not recorder.ended and recorder.row.id in tags_now:
            recorder.tags_changed(tags_now[recorder.row.id])
    rows = [(session.label, list(session.tags)) for session in now]
    rows += [(f"{version.list}@{version.version}", list(version.tags)) for version in _again(store, versions)]
    return answers.answer(TAGGED, rows)


def _versions(store: Store, which: Any) -> tuple[list[Version], list[Any]]:
    """Split `which` into versions of lists and sessions."""
    several = which if isinstance(which, (list, tuple, set)) else [which]
    versions: list[Version] = []
    sessions: list[Any] = []
    for item in several:
        if isinstance(item, ListReference):
            versions.append(item._version())
        elif isinstance(item, str) and "@" in item:
            versions.append(_version(store, item))
        else:
            sessions.append(item)
    return versions, sessions


def _version(store: Store, address: str) -> Version:
    parsed = parse_address(address)
    version = None if parsed.version is None else store.version(parsed.name, parsed.version)
    return version or reading.resolve(store, address)  # raises the error


def _again(store: Store, versions: Iterable[Version]) -> list[Version]:
    current = [store.version(version.list, version.version) for version in versions]
    return [version for version in current if version is not None]
