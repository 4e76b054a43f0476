"""The rules of names, for every store: when a version, the whole vault or a list may have a name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tablevault_pd.errors import (
    ListDeleted,
    ListNotFound,
    ListRenamed,
    NameTaken,
    VersionNotFound,
    short_repr,
)
from tablevault_pd.store import Freed
from tablevault_pd.store.engine.commit_rules import check_expected

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from tablevault_pd.store import Batch, Version, VersionName


def check_tag(name: str, version: Version, there: Sequence[VersionName], *, replace: bool) -> bool:
    """Whether to write that `name` is a tag of `version`, given what the name stands for now. Raises NameTaken."""
    _check_no_snapshot(name, there)
    if version.deleted:
        raise ListDeleted.named(version.list)
    if version.gone:
        raise VersionNotFound.vacuumed(version.list, version.version)
    other = next((tag for tag in there if tag.list_id == version.list_id), None)
    if other is None or other.version == version.version:
        return other is None
    if replace:
        return True
    raise NameTaken(
        f"{short_repr(f'{other.list}@{name}')} is version {other.version} already, and not {version.version}. Say replace=True to "
        "move the name, or take another one."
    )


def check_untag(name: str, version: Version, there: Sequence[VersionName]) -> None:
    """Refuse to take the name of a snapshot from one list alone. Raises NameTaken."""
    key = (version.list_id, version.version)
    _check_no_snapshot(name, [tag for tag in there if (tag.list_id, tag.version) == key])


def _check_no_snapshot(name: str, there: Sequence[VersionName]) -> None:
    if any(tag.snapshot for tag in there):
        raise NameTaken(
            f"{short_repr(name)} is a snapshot of the whole vault, not a tag of one list. vault.snapshots() shows it, "
            f"vault.untag({short_repr(name)}) removes it."
        )


def check_snapshot(
    name: str, heads: Sequence[Version], there: Sequence[VersionName], *, replace: bool
) -> None:
    """Refuse a snapshot of nothing, and a name that stands for something else. Raises ListNotFound, NameTaken."""
    tagged = next((tag for tag in there if not tag.snapshot), None)
    if tagged is not None:
        raise NameTaken(
            f"{short_repr(name)} is a tag: {tagged.list}@{tagged.version} has it. Take another name for the snapshot, or remove "
            f"the tag with vault.untag({short_repr(f'{tagged.list}@{name}')})."
        )
    if there and not replace:
        raise NameTaken(
            f"There is a snapshot {short_repr(name)}, of {there[0].time:%Y-%m-%d %H:%M:%S} UTC. Say replace=True to take it anew, "
            "or take another name."
        )
    if not heads:
        raise ListNotFound("This vault has no list that a snapshot could name.")


def check_rename(
    old: str, new: str, head: Version | None, taken: Version | None, now: str | None, expect: int | None
) -> None:
    """Refuse a rename of a list at `head`; `taken` has the new name, `now` is what a list `old` was renamed to."""
    if head is None:
        raise ListNotFound.named(old, ()) if now is None else ListRenamed.to(old, now)
    if head.deleted:
        raise ListDeleted.named(old)
    check_expected(old, expect, head)
    if taken is not None:
        deleted = ", deleted and still restorable" if taken.deleted else ""
        raise NameTaken(
            f"There is a list {short_repr(new)}{deleted}. Nothing was renamed; take another name."
        )


def check_not_renamed(batch: Batch, now: str | None) -> None:
    """Refuse a commit to a list that is not there any more under that name; one with ``expect=0`` makes another list."""
    if now is not None and batch.expect != 0:
        raise ListRenamed.to(batch.list, now)


def kept_by_name(name: str, named: Collection[int], others: Collection[int]) -> list[Freed]:
    """What a vacuum says of versions that it keeps for nothing but their names, beside `others`, which it keeps anyway."""
    only = tuple(sorted(set(named) - set(others)))
    return [Freed("kept by name", name, only, 0, 0)] if only else []
