"""Which versions a caller means: by name, handle, frame, or the session that wrote them."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

import pandas as pd

from tablevault_pd import validate
from tablevault_pd.analysis.sides import Side
from tablevault_pd.errors import InvalidInput, InvalidType, ListDeleted, SessionNotFound, short_repr
from tablevault_pd.lineage.resolve_rows import origin_version
from tablevault_pd.names import parse_address
from tablevault_pd.reading import read as reading
from tablevault_pd.reading.reference import ListReference
from tablevault_pd.session.lookup import is_pattern, resolve_session
from tablevault_pd.store import Session, Version

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tablevault_pd.store import Store

Target = Version | Session


def target_of(store: Store, which: Any) -> Target:
    """The version or session that a name, a handle or a session means."""
    if isinstance(which, ListReference):
        if which.vault_id != store.vault_id:
            raise InvalidInput(f"{which.name!r} is a list of another vault.")
        return which._version()
    if isinstance(which, str):
        return _named(store, which)
    if isinstance(which, Session) or hasattr(type(which), "vault_id"):
        return resolve_session(store, which)
    raise InvalidType(
        "Say what is compared: a version such as 'preds@3', a list, a frame that was read from the vault, or a session such as "
        f"'train#2', not {short_repr(which)}."
    )


def _named(store: Store, which: str) -> Target:
    address = parse_address(which)
    if store.head(address.name) is not None or address.pinned:
        return reading.resolve(store, which)
    try:
        return resolve_session(store, which)
    except SessionNotFound:
        raise reading.list_not_found(store, which) from None


def sides_of(store: Store, given: Sequence[Any]) -> list[Side]:
    """The sides of a comparison. A session stands for what it wrote to the one list that all sides have in common."""
    targets = [None if isinstance(side, pd.DataFrame) else target_of(store, side) for side in given]
    versions = _written(store, targets)
    sides = []
    for side, version in zip(given, versions, strict=True):
        if isinstance(version, Version):
            sides.append(Side.of_version(store, version))
        else:
            sides.append(Side.of_frame(store, side, f"frame {chr(ord('a') + len(sides))}"))
    return sides


def pair_of(store: Store, a: Any, b: Any) -> tuple[Target, Target]:
    """Two versions, or two sessions. A session beside a version stands for what it wrote to that list."""
    targets = [
        _of_frame(store, side) if isinstance(side, pd.DataFrame) else target_of(store, side)
        for side in (a, b)
    ]
    if not all(isinstance(target, Session) for target in targets):
        targets = [target for target in _written(store, targets) if target is not None]
    one, two = targets
    return one, two


def _of_frame(store: Store, frame: pd.DataFrame) -> Version:
    origin = origin_version(store, frame)
    if origin is None:
        raise InvalidInput("This frame was not read from the vault: it is not known what it came from.")
    return origin[1]


def _written(store: Store, targets: Sequence[Target | None]) -> list[Version | None]:
    """The targets, with each session replaced by the version that it wrote last."""
    sessions = [target for target in targets if isinstance(target, Session)]
    if not sessions:
        return [target for target in targets if not isinstance(target, Session)]
    lists = {target.list for target in targets if isinstance(target, Version)}
    newest = _newest_by_session(store, {session.id: session.id for session in sessions})
    common = _in_common(newest, lists)
    if not common:  # what their workers wrote
        newest = _newest_by_session(store, _families(store, [session.id for session in sessions]))
        common = _in_common(newest, lists)
    if len(common) != 1:
        labels = ", ".join(session.label for session in sessions)
        names = ", ".join(map(short_repr, sorted(common)))
        problem = f"have {len(common)} lists in common: {names}" if common else "wrote no list in common"
        raise InvalidInput(
            f"{labels} {problem}. Name the versions, such as 'preds@3': vault.run(…).written().{_equal_rows(store, sessions)}"
        )
    (name,) = common
    return [
        _visible(newest[target.id][name]) if isinstance(target, Session) else target for target in targets
    ]


def _equal_rows(store: Store, sessions: Sequence[Session]) -> str:
    """Say which sessions saved only rows that were there already, and so wrote no version of them."""
    names = {(version.list_id, version.version): version.list for version in store.versions()}
    labels = {session.id: session.label for session in sessions}
    return "".join(
        f" {labels[equal.session_id]} saved rows equal to those of {names[place]}@{equal.version}, which made no new version."
        for equal in store.confirmations()
        if equal.session_id in labels and (place := (equal.list_id, equal.version)) in names
    )


def _newest_by_session(store: Store, counted_for: dict[int, int]) -> dict[int, dict[str, Version]]:
    """For each session the newest version of each list that it wrote; `counted_for` says which session a writer belongs to."""
    newest: dict[int, dict[str, Version]] = {session: {} for session in counted_for.values()}
    for version in store.versions():
        session = None if version.session_id is None else counted_for.get(version.session_id)
        if session is not None:
            before = newest[session].get(version.list)
            if before is None or before.version < version.version:
                newest[session][version.list] = version
    return newest


def _in_common(newest: dict[int, dict[str, Version]], lists: set[str]) -> set[str]:
    common = set.intersection(*(set(versions) for versions in newest.values()))
    return common & lists if lists else common


def _families(store: Store, sessions: Sequence[int]) -> dict[int, int]:
    """These sessions and all below them, such as workers of a pool, each with the nearest of `sessions` above it."""
    family = {session: session for session in sessions}
    for session in store.sessions():  # in order of opening: a parent comes before its children
        if session.parent in family:
            family.setdefault(session.id, family[session.parent])
    return family


def _visible(version: Version) -> Version:
    if version.deleted:
        raise ListDeleted.named(version.list)
    return version


def versions_of(store: Store, given: Any) -> list[Version]:
    """All versions of lists, or of lists whose names fit a pattern; with ``"preds@7"`` those up to the seventh."""
    versions: dict[tuple[int, int], Version] = {}
    names = validate.items(given)
    if not names:
        raise InvalidInput("lists= names no list.")
    for list_name in names:
        for name, last in _named_lists(store, list_name):
            for version in store.versions(name):
                if not version.deleted and (last is None or version.version <= last):
                    versions[version.list_id, version.version] = version
    return list(versions.values())


def _named_lists(store: Store, which: Any) -> list[tuple[str, int | None]]:
    if isinstance(which, ListReference):
        target = target_of(store, which)
        assert isinstance(target, Version)
        newest = store.head(target.list)
        pinned = newest is not None and newest.version != target.version
        return [(target.list, target.version if pinned else None)]
    if not isinstance(which, str):
        raise InvalidType(
            f"lists= holds names, patterns such as 'preds-*', or List handles, not {short_repr(which)}."
        )
    address = parse_address(which)
    if store.head(address.name) is not None:
        version = reading.resolve(store, which)  # a deleted list is an error, as wherever one is named
        return [(address.name, version.version if address.pinned else None)]
    heads = [state.head for state in store.lists()] if is_pattern(which) else []
    matches = [head.list for head in heads if fnmatchcase(head.list, which) and not head.deleted]
    if not matches:
        raise reading.list_not_found(store, address.name)
    return [(name, None) for name in matches]
