"""Tags of sessions, and names of versions of lists: added and removed whenever."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from unicodedata import normalize

from tablevault_pd import validate
from tablevault_pd.errors import InvalidInput, SessionNotFound, short_repr
from tablevault_pd.names import check_version_name, parse_address
from tablevault_pd.reading import read as reading
from tablevault_pd.reading import reports as answers
from tablevault_pd.reading.reference import ListReference
from tablevault_pd.session.lookup import resolve_sessions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    import pandas as pd

    from tablevault_pd.session.recorder import Recorder
    from tablevault_pd.store import Session, Store, Version

TAGGED = ("name", "tags")


def tag(
    store: Store,
    which: Any,
    add: Sequence[str],
    remove: Any,
    running: Callable[[], Iterable[Recorder]],
    *,
    replace: bool,
    session_id: int | None,
    attempt: int | None,
) -> pd.DataFrame:
    """See :meth:`Vault.tag`. `running` returns the sessions of this process, whose tags are updated."""
    added, removed = validate.tags(add) or (), validate.tags(remove) or ()
    if not (added or removed):
        raise InvalidInput("Say which tags to add, vault.tag('train', 'best'), or to remove: remove='draft'.")
    both = set(added) & set(removed)
    if both:
        raise InvalidInput(f"The tag {short_repr(min(both))} is to be added and removed. Say one of them.")
    versions, others = _versions(store, which)
    sessions = _sessions(store, others) if others else []
    keys = [(version.list_id, version.version) for version in versions]
    if versions:
        names = _names(versions, added)
        store.tag_versions(
            keys,
            add=names,
            remove=[normalize("NFC", label) for label in removed],
            replace=replace,
            session_id=session_id,
            attempt=attempt if names else None,
        )
    if sessions or removed:
        ids = [session.id for session in sessions]
        store.change_tags(sessions=ids, add=added, remove=removed)
        store.change_tags(versions=keys, remove=removed)
    now = store.sessions([session.id for session in sessions]) if sessions else []
    tags_now = {session.id: session.tags for session in now}
    for recorder in running():
        if not recorder.ended and recorder.row.id in tags_now:
            recorder.tags_changed(tags_now[recorder.row.id])
    rows = [(session.label, list(session.tags)) for session in now]
    return answers.answer(TAGGED, rows + _tagged(store, versions))


def _names(versions: Sequence[Version], added: Sequence[str]) -> list[str]:
    """The names to give to versions: each stands for one version of a list."""
    names = [check_version_name(label, "version") for label in added]
    lists = [version.list for version in versions]
    twice = next((label for label in lists if lists.count(label) > 1), None)
    if names and twice is not None:
        raise InvalidInput(
            f"{short_repr(names[0])} cannot be two versions of {short_repr(twice)}: a name stands for one. Tag them apart."
        )
    return names


def _sessions(store: Store, others: list[Any]) -> list[Session]:
    try:
        return resolve_sessions(store, others, runs="latest")
    except SessionNotFound as error:
        lists = [item for item in others if isinstance(item, str) and reading.exists(store, item)]
        if not lists:
            raise
        raise SessionNotFound(
            f"{error} {short_repr(lists[0])} is a list: say which version of it to name, as in {short_repr(f'{lists[0]}@1')}."
        ) from None


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


def _tagged(store: Store, versions: Sequence[Version]) -> list[tuple[str, list[str]]]:
    """The versions with the labels they were saved with, and then their names."""
    if not versions:
        return []
    tags, _ = answers.names_of_versions(store)
    tagged = []
    for version in versions:
        now = store.version(version.list, version.version)
        given = tags[version.list_id, version.version]
        tagged.append((version.label, [*(now.tags if now else ()), *given]))
    return tagged
