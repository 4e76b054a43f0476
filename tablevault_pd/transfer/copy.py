"""A vault copied: into another one, from a folder to a server and back, several into one, or as it is into a new folder."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from itertools import chain
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import numpy as np

from tablevault_pd.errors import InvalidInput, ListNotFound, NameTaken, short_repr
from tablevault_pd.keys.mapped import is_notes, notes_name
from tablevault_pd.names import check_name
from tablevault_pd.new_files import new_folder
from tablevault_pd.progress import Bar, warn
from tablevault_pd.store.work import ClaimState
from tablevault_pd.transfer.list_copy import ListCopier
from tablevault_pd.transfer.session_copy import copy_code, copy_sessions

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence
    from pathlib import Path

    from tablevault_pd.store import Problem, Store, Version
    from tablevault_pd.store.work import ClaimRecords

#: What :func:`copy_vault` tells of each list.
COLUMNS = ("source", "list", "copied_to", "versions", "rows", "parents_left_out")
ROWS_AT_ONCE = 10_000
#: What the same version has in both vaults.
_FACTS = attrgetter("version", "time", "operation", "generation", "start", "rows", "total")


def check_lists(source: Store, lists: Sequence[str] | None) -> None:
    """Raise ListNotFound if the source has no such list."""
    names = source.names()
    for name in lists or ():
        if name not in names:
            raise ListNotFound.named(name, names)


def copy_vault(
    source: Store, target: Store, lists: Sequence[str] | None, *, prefix: str | None = None
) -> list[tuple[Any, ...]]:
    """Copy lists, or all, with everything about them. Return a row of :data:`COLUMNS` for each.

    A list whose name belongs to another one in the target is called ``prefix/name`` there. Without a prefix NameTaken is raised,
    and nothing is written.
    """
    if source.vault_id == target.vault_id and source.place == target.place:
        raise InvalidInput(f"The vault {source.place} cannot be copied into itself.")
    versions = _versions(source, lists)
    names = _names(source, target, versions, prefix)
    done = done_rows(source, names.keys())
    chosen = None if lists is None else _sessions_of(source, versions, done)
    sessions = copy_sessions(source, target, chosen)
    with Bar("copying", total=sum(version.rows for version in versions), unit="rows") as bar:
        copier = ListCopier(source, target, names, sessions, bar)
        copier.copy(versions)
    ids = _Ids(copier.ids, sessions)
    places = {
        (version.session_id, version.cell, version.line)
        for version in versions
        if version.session_id in sessions and version.cell is not None and version.line is not None
    }
    copy_code(source, target, places, sessions)
    _copy_tags(target, versions, ids)
    _copy_descriptions(source, target, ids)
    _copy_confirmations(source, target, ids)
    _copy_names(source, target, ids)
    _copy_reads(source, target, ids)
    copy_work(source, target, done, ids.lists, ids.sessions)
    called = {version.list_id: version.list for version in versions}
    counts = copier.versions, copier.rows, copier.left_out
    return [
        (source.place, called[list_id], name, *(count[list_id] for count in counts))
        for list_id, name in names.items()
    ]


@dataclass(frozen=True, slots=True)
class _Ids:
    """Ids in the target, by those in the source."""

    lists: Mapping[int, int]
    sessions: Mapping[int, int]

    def session(self, session_id: int | None) -> int | None:
        """The session in the target; None for one that was not copied."""
        return None if session_id is None else self.sessions.get(session_id)


def _versions(source: Store, lists: Sequence[str] | None) -> list[Version]:
    """All versions of some lists, or of all, in order of time; of lists made by map with the notes on them. Raises ListNotFound."""
    check_lists(source, lists)
    versions = source.versions()
    if lists is None:
        return versions
    notes = {
        version.list
        for version in versions
        if version.list in map(notes_name, lists) and is_notes(source, version)
    }
    return [version for version in versions if version.list in notes.union(lists)]


def _sessions_of(source: Store, versions: Iterable[Version], done: Mapping[int, ClaimRecords]) -> set[int]:
    """The sessions that wrote these versions or finished rows of them, and those that these were begun in."""
    parents = {session.id: session.parent for session in source.sessions()}
    chosen: set[int] = set()
    finished = (session for records in done.values() for session in np.unique(records.session_id).tolist())
    for session in chain((version.session_id for version in versions), finished):
        while session is not None and session not in chosen:
            chosen.add(session)
            session = parents.get(session)
    return chosen


# -- which list is which


def _names(source: Store, target: Store, versions: Sequence[Version], prefix: str | None) -> dict[int, str]:
    """What each list is called in the target, by its id in the source. One that was renamed since the last copy is renamed there."""
    histories: dict[int, list[Version]] = {}
    for version in versions:
        histories.setdefault(version.list_id, []).append(version)
    before: dict[int, list[str]] = {}
    for rename in source.renames():
        before.setdefault(rename.list_id, []).append(rename.old)
    names: dict[int, str] = {}
    taken = []
    renamed: list[tuple[str, str]] = []
    for list_id, history in histories.items():
        name = history[-1].list
        choices = [name] if prefix is None else [name, check_name(f"{prefix}/{name}")]
        own = next((choice for choice in choices if _is_same(history, target.versions(choice))), None)
        old = next(
            (former for former in before.get(list_id, ()) if _is_same(history, target.versions(former))), None
        )
        free = next((choice for choice in choices if target.head(choice) is None), None)
        moved = target.renamed(name)
        if own is not None:
            names[list_id] = own
        elif moved is not None and _is_same(history, target.versions(moved)):
            names[list_id] = moved
        elif free is None:
            taken.append(name)
        else:
            names[list_id] = free
            renamed += [] if old is None else [(old, free)]
    if taken:
        raise NameTaken(
            f"The vault {target.place} has other lists of these names, or changed them after they were copied: "
            f"{', '.join(map(short_repr, taken[:10]))}. Nothing was written. Rename them there, or fold both vaults into one with "
            "tv.merge, which gives such lists another name."
        )
    for old_name, new_name in renamed:
        target.rename_list(old_name, new_name)
    return names


def _is_same(history: Sequence[Version], there: Sequence[Version]) -> bool:
    """Whether a list of the target has the first versions of a list of the source, or all of them and more."""
    common = min(history[-1].version, there[-1].version) if there else 0
    facts = [
        [_FACTS(version) for version in versions if version.version <= common]
        for versions in (history, there)
    ]
    return bool(facts[0]) and facts[0] == facts[1]


# -- what is told about lists and sessions


def _copy_tags(target: Store, versions: Sequence[Version], ids: _Ids) -> None:
    tagged = [version for version in versions if version.tags]
    copies = target.versions() if tagged else []
    present = {(copy.list_id, copy.version): copy.tags for copy in copies}
    for version in tagged:
        place = ids.lists[version.list_id], version.version
        missing = [tag for tag in version.tags if tag not in present[place]]
        if missing:
            target.change_tags(versions=[place], add=missing)


def _copy_descriptions(source: Store, target: Store, ids: _Ids) -> None:
    present = Counter(target.descriptions(history=True))
    for description in source.descriptions(history=True):
        moved = replace(
            description,
            list_id=None if description.list_id is None else ids.lists.get(description.list_id),
            session_of=ids.session(description.session_of),
            session_id=ids.session(description.session_id),
        )
        if moved.list_id is None and moved.session_of is None:
            continue  # about something that is not copied
        if present[moved]:
            present[moved] -= 1
        else:
            target.describe(moved)


def _copy_confirmations(source: Store, target: Store, ids: _Ids) -> None:
    present = set(target.confirmations(list(ids.lists.values())))
    for confirmation in source.confirmations(list(ids.lists)):
        moved = replace(
            confirmation,
            list_id=ids.lists[confirmation.list_id],
            session_id=ids.session(confirmation.session_id),
            made_from=tuple(
                (ids.lists[list_id], number)
                for list_id, number in confirmation.made_from
                if list_id in ids.lists
            ),
        )
        if moved not in present:
            target.confirm(moved)


def _copy_names(source: Store, target: Store, ids: _Ids) -> None:
    """Copy names of versions, and what lists were called, but for names that stand for something else in the target."""
    names = [
        replace(name, list_id=ids.lists[name.list_id], session_id=ids.session(name.session_id))
        for name in source.version_names()
        if name.list_id in ids.lists
    ]
    renames = [
        replace(rename, list_id=ids.lists[rename.list_id], session_id=ids.session(rename.session_id))
        for rename in source.renames()
        if rename.list_id in ids.lists
    ]
    snapshots = {name.name: name.snapshot for name in target.version_names()}
    names = [name for name in names if snapshots.get(name.name, name.snapshot) == name.snapshot]
    if names or renames:
        target.put_names(names, renames)


def _copy_reads(source: Store, target: Store, ids: _Ids) -> None:
    lists = {state.head.list: ids.lists.get(state.head.list_id) for state in source.lists()}
    reads: dict[int, list[tuple[int, int]]] = {}
    for session, name, version in source.reads(list(ids.sessions)):
        list_id = lists.get(name)
        if list_id is not None:
            reads.setdefault(ids.sessions[session], []).append((list_id, version))
    for session, places in reads.items():
        target.note_reads(session, places)


# -- a backup: a copy in a new folder, taken while others write


def backup(store: Store, folder: Path) -> list[Problem]:
    """Copy a vault to a new folder, and return what is wrong with the copy; damage is warned of, too."""
    with new_folder(folder) as temporary:
        problems = store.back_up(temporary)
        if problems is None:
            raise InvalidInput(
                f"The vault {store.place} is on a server, which has no files to be copied. tv.copy(vault, folder) copies it commit "
                "by commit; the server's own arangodump copies the database."
            )
    if problems:
        warn(
            f"The backup {folder} has {len(problems)} problems, which the vault {store.place} has, too: see its check().",
            RuntimeWarning,
        )
    return problems


# -- which rows are done: claims that are held belong to sessions of the old place, and stay there


def done_rows(store: Store, lists: Collection[int]) -> dict[int, ClaimRecords]:
    """Return the rows that are done, by list."""
    done = {}
    for list_id in store.worked_lists():
        if list_id in lists:
            records = store.claim_records(list_id)
            done[list_id] = records[
                np.flatnonzero((records.state == ClaimState.DONE) & (records.rows.generation >= 0))
            ]
    return {list_id: records for list_id, records in done.items() if len(records.rows)}


def copy_work(
    source: Store,
    target: Store,
    done: Mapping[int, ClaimRecords],
    lists: Mapping[int, int],
    sessions: Mapping[int, int],
) -> None:
    """Mark the rows as done that are so in the source, unless somebody holds them in the target. Addresses of rows are the same."""
    present = done_rows(target, lists.values())
    for list_id, records in done.items():
        own = lists[list_id]
        _align(source, target, list_id, own)
        before = set(present[own].rows.pairs()) if own in present else set()
        new = records[np.array([pair not in before for pair in records.rows.pairs()], bool)]
        ids = np.array([sessions.get(session, -1) for session in new.session_id.tolist()], np.int64)
        new = replace(new, session_id=ids)
        for first in range(0, len(new.rows), ROWS_AT_ONCE):
            target.put_done(own, new[first : first + ROWS_AT_ONCE])


def _align(source: Store, target: Store, list_id: int, own: int) -> None:
    """Let the work on a list of the target be at the generation that it is at in the source, unless it is at a later one."""
    there, here = source.work(list_id), target.work(own)
    if there is not None and (here is None or here.generation < there.generation):
        target.align_work(
            own, after=None if here is None else here.generation, generation=there.generation, same=there.same
        )
