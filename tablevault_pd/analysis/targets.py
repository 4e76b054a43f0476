"""Which versions a caller means: by name, handle, frame, or the session that wrote them."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

import pandas as pd

from tablevault_pd import validate
from tablevault_pd.analysis.makings import Making, makings_of
from tablevault_pd.analysis.sides import Side
from tablevault_pd.errors import InvalidInput, InvalidType, ListDeleted, SessionNotFound, short_repr
from tablevault_pd.keys.mapped import is_notes
from tablevault_pd.lineage.resolve_rows import origin_version
from tablevault_pd.names import parse_address
from tablevault_pd.reading import read as reading
from tablevault_pd.reading.reference import ListReference
from tablevault_pd.session.lookup import is_pattern, resolve_session
from tablevault_pd.store import Session, Version

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tablevault_pd.store import Store

Target = Making | Session


def target_of(store: Store, which: Any) -> Version | Session:
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


def _named(store: Store, which: str) -> Version | Session:
    address = parse_address(which)
    if store.head(address.name) is not None or address.pinned:
        return reading.resolve(store, which)
    try:
        return resolve_session(store, which)
    except SessionNotFound:
        if re.search(r"#\d+$", which):
            raise  # a run is meant
        raise reading.list_not_found(store, which) from None


def sides_of(store: Store, given: Sequence[Any], name: str | None = None) -> list[Side]:
    """The sides of a comparison. A session stands for what it wrote or confirmed of the list `name`, or of the one that all have."""
    targets = [None if isinstance(side, pd.DataFrame) else target_of(store, side) for side in given]
    if name is not None and not any(isinstance(target, Session) for target in targets):
        raise InvalidInput(
            f"lists={short_repr(name)} says which list sessions stand for, and no session is compared."
        )
    makings = _made(store, targets, name)
    sides = []
    for side, making in zip(given, makings, strict=True):
        if making is not None:
            sides.append(Side.of_making(store, making))
        else:
            sides.append(Side.of_frame(store, side, f"frame {chr(ord('a') + len(sides))}"))
    return sides


def pair_of(store: Store, a: Any, b: Any) -> tuple[Target, Target]:
    """Two versions, or two sessions. A session beside a version stands for what it wrote to that list."""
    targets = [
        _of_frame(store, side) if isinstance(side, pd.DataFrame) else target_of(store, side)
        for side in (a, b)
    ]
    one, two = targets
    if isinstance(one, Session) and isinstance(two, Session):
        return one, two
    made_a, made_b = _made(store, targets)
    assert made_a is not None
    assert made_b is not None
    return made_a, made_b


def made_in_common(store: Store, a: Session, b: Session) -> list[tuple[Making, Making]]:
    """What two sessions made last of each list that both made."""
    newest = _newest_by_session(store, {a.id: a.id, b.id: b.id})
    return [(newest[a.id][name], newest[b.id][name]) for name in sorted(_in_common(store, newest, set()))]


def _of_frame(store: Store, frame: pd.DataFrame) -> Version:
    origin = origin_version(store, frame)
    if origin is None:
        raise InvalidInput("This frame was not read from the vault: it is not known what it came from.")
    return origin[1]


def _made(
    store: Store, targets: Sequence[Version | Session | None], name: str | None = None
) -> list[Making | None]:
    """The targets, with each session replaced by what it made last."""
    sessions = [target for target in targets if isinstance(target, Session)]
    if not sessions:
        return [Making(target) if isinstance(target, Version) else None for target in targets]
    lists = {name} if name else {target.list for target in targets if isinstance(target, Version)}
    newest = _newest_by_session(store, {session.id: session.id for session in sessions})
    common = _in_common(store, newest, lists)
    if not common:  # what their workers made
        newest = _newest_by_session(store, _families(store, [session.id for session in sessions]))
        common = _in_common(store, newest, lists)
    if len(common) != 1:
        labels = ", ".join(session.label for session in sessions)
        names = ", ".join(map(short_repr, sorted(common)))
        if not common:
            what = "no list in common" if name is None else f"no rows of {name!r}, or not each of them"
            raise InvalidInput(f"{labels} wrote {what}. Name the versions, such as 'preds@3'.")
        raise InvalidInput(
            f"{labels} have {len(common)} lists in common: {names}. Say which is compared: lists={short_repr(min(common))}."
        )
    (list_name,) = common
    return [
        _visible(newest[target.id][list_name])
        if isinstance(target, Session)
        else None
        if target is None
        else Making(target)
        for target in targets
    ]


def _newest_by_session(store: Store, counted_for: dict[int, int]) -> dict[int, dict[str, Making]]:
    """For each session the newest version of each list that it made; `counted_for` says which session a maker belongs to."""
    newest: dict[int, dict[str, Making]] = {session: {} for session in counted_for.values()}
    for making in makings_of(store, store.versions()):  # of each list the newest come last
        session = None if making.session_id is None else counted_for.get(making.session_id)
        if session is not None:
            before = newest[session].get(making.version.list)
            if before is None or before.version != making.version or before.confirmation is not None:
                newest[session][making.version.list] = making
    return newest


def _in_common(store: Store, newest: dict[int, dict[str, Making]], lists: set[str]) -> set[str]:
    """The lists that all made, or those of `lists`. Notes that map keeps count only where they are named."""
    first, *others = newest.values()
    common = set(first).intersection(*others)
    return common & lists if lists else {name for name in common if not is_notes(store, first[name].version)}


def _families(store: Store, sessions: Sequence[int]) -> dict[int, int]:
    """These sessions and all below them, such as workers of a pool, each with the nearest of `sessions` above it."""
    family = {session: session for session in sessions}
    for session in store.sessions():  # in order of opening: a parent comes before its children
        if session.parent in family:
            family.setdefault(session.id, family[session.parent])
    return family


def _visible(making: Making) -> Making:
    if making.version.deleted:
        raise ListDeleted.named(making.version.list)
    return making


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
