"""The rules of a commit, for every store: which version a batch becomes, and when it is refused. Called under the store's lock."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np

from tablevault_pd.errors import Conflict, InvalidInput, ListDeleted, ListNotFound, VersionNotFound
from tablevault_pd.store import Batch, Version
from tablevault_pd.store.pieces import EMPTY, OWN, Pieces

if TYPE_CHECKING:
    from collections.abc import Callable

_TICK = timedelta(microseconds=1)


class AlreadyNewest(Exception):
    """What a restore is to bring back is what the newest version, `head`, shows: no version is made."""

    def __init__(self, head: Version) -> None:
        super().__init__(head.list)
        self.head = head


def check_commit(batch: Batch, head: Version | None) -> None:
    """Refuse a batch that does not fit the list as it stands now. Raises ListNotFound, ListDeleted, Conflict."""
    if head is None:
        if batch.operation in ("delete", "restore", "delete_rows", "erase"):
            raise ListNotFound(
                f"No list named {batch.list!r} in this vault. vault.lists() shows what is there."
            )
    elif head.deleted and batch.operation not in ("save", "restore"):
        raise ListDeleted.named(batch.list)
    check_expected(batch.list, batch.expect, head)
    present = head.schema_id if head else None
    changed = batch.base is not None and batch.base != (present or 0)
    if changed if batch.operation == "save" else batch.operation == "append" and batch.base != present:
        raise Conflict(f"The columns of the list {batch.list!r} have changed: another writer was faster.")


def check_expected(name: str, expect: int | None, head: Version | None) -> None:
    """Raise Conflict if the newest version of a list is not the expected one; 0 stands for a list that never was."""
    newest = head.version if head is not None else 0
    if expect is None or expect == newest:
        return
    if head is None:
        what = f"There is no list {name!r}, and version {expect} of it was expected."
    else:
        deleted = ", which deleted it" if head.deleted else ""
        expected = f"version {expect} was expected" if expect else "no such list was expected"
        cause = "another writer was faster" if expect < newest else "that one is not there yet"
        what = f"The newest version of {name!r} is {newest}{deleted}, and {expected}: {cause}."
    raise Conflict(
        f"{what} Nothing was written. Read the newest version, make the change again, and save that."
    )


def check_restore_target(batch: Batch, target: Version | None) -> Version:
    """The version that a restore is to bring back. Raises VersionNotFound."""
    if target is None:
        raise VersionNotFound(f"The list {batch.list!r} has no version {batch.target}.")
    if target.gone:
        raise VersionNotFound(f"The rows of {target.label} were removed by vacuum; it cannot be restored.")
    return target


def check_pieces(batch: Batch, present: Pieces, rows: int) -> Pieces:
    """What an upsert, delete_rows or erase is to show. Raises InvalidInput unless it is each row of the batch, and rows of `present`."""
    pieces = batch.pieces
    if pieces is None or batch.expect is None:
        raise InvalidInput(
            f"A batch of the operation {batch.operation!r} says which pieces it shows, and of which version."
        )
    own = int((pieces.stop - pieces.first)[pieces.generation == OWN].sum())
    overlap = int(pieces.overlaps(present + Pieces.of([(OWN, 0, rows)]))[2].sum())
    if not pieces.are_distinct or own != rows or overlap != pieces.total:
        raise InvalidInput(
            f"The pieces of {batch.list!r} must show each of the {rows} rows of the batch once, and otherwise rows of version "
            f"{batch.expect}, each at most once. Nothing was written."
        )
    return pieces


def placed_version(
    batch: Batch,
    head: Version | None,
    target: Version | None,
    *,
    list_id: int,
    rows: int,
    schema_id: int | None,
    now: datetime,
    content_of: Callable[[Version], Pieces],
    erased: Callable[[], Pieces],
    after: int = 0,
) -> tuple[Version, Pieces | None]:
    """The version that a batch becomes, and its layout, if it makes one: of a copy, a restore, or anything else.

    `target` is the version to restore, `content_of` reads what a version shows, `erased` the erased rows of the list. `schema_id`
    is that of ``batch.schema``, `now` the store's time, `after` the highest number that was given before.
    Raises AlreadyNewest, Conflict, InvalidInput, VersionNotFound.
    """
    if batch.original is not None:
        assert schema_id is not None
        return _copied_version(batch, batch.original, head, list_id, rows, schema_id)
    content = None  # what is to be shown, where that is not what is there and the rows
    if batch.operation == "restore":
        target = check_restore_target(batch, target)
        content = content_of(target)
        if head is not None and _is_newest(batch, head, target) and content == content_of(head):
            raise AlreadyNewest(head)
        content = content.without(erased()) if target.erased else content
    elif batch.operation in ("upsert", "delete_rows", "erase"):
        content = check_pieces(batch, EMPTY if head is None else content_of(head), rows)
    number = max(head.version if head else 0, after) + 1
    if schema_id is None:
        before = head if target is None else target
        assert before is not None  # a batch that makes a list has a schema
        schema_id = before.schema_id
    tags = batch.tags if batch.tags is not None else (head.tags if head else ())
    if head is not None:  # time never runs backwards within a list, whatever the clock does
        now = max(now, head.time + _TICK)
    tail = head if content is None and batch.operation in ("append", "delete") else None  # what it lengthens
    generation, layout, first, start, shown = (
        (number, None, 0, 0, 0)
        if tail is None
        else (tail.generation, tail.layout, tail.first, tail.start + tail.rows, tail.total)
    )
    version = Version(
        list_id, batch.list, number, batch.operation, generation, start, rows, shown + rows, schema_id, batch.session_id,
        batch.cell, now, tags, batch.message, step=batch.step, line=batch.line, layout=layout, first=first,
        changed=batch.changed, removed=batch.removed,
    )  # fmt: skip
    return (version, None) if content is None else _shown(version, content)


def _is_newest(batch: Batch, head: Version, target: Version) -> bool:
    """Whether a restore of `target` would change nothing, should both show the same stored rows."""
    same_rows = (head.total, head.schema_id) == (target.total, target.schema_id)
    return same_rows and not head.deleted and batch.message in (None, head.message)


def _copied_version(
    batch: Batch, original: Version, head: Version | None, list_id: int, rows: int, schema_id: int
) -> tuple[Version, Pieces | None]:
    """The version that a copy of one from another vault becomes, and its layout, if it makes one."""
    if head is not None and head.version >= original.version:
        raise Conflict(
            f"The list {batch.list!r} has a version {original.version} already. Nothing was written."
        )
    if rows != original.rows:
        raise InvalidInput(
            f"Version {original.version} of {batch.list!r} has {original.rows} rows of its own, and {rows} came. Nothing was written."
        )
    version = replace(
        original,
        list_id=list_id,
        list=batch.list,
        schema_id=schema_id,
        session_id=batch.session_id,
        cell=batch.cell,
        tags=batch.tags or (),
    )
    return version, batch.pieces


def _shown(version: Version, content: Pieces) -> tuple[Version, Pieces | None]:
    """A version that starts a generation and shows `content`. What is shown last of its own rows is its tail."""
    generation = np.where(content.generation == OWN, version.generation, content.generation)
    shown = Pieces(generation, content.first, content.stop)
    tail = len(shown) > 0 and (generation[-1], shown.stop[-1]) == (version.generation, version.rows)
    first = int(shown.first[-1]) if tail else version.rows
    layout = shown.clip(0, shown.total - (version.rows - first))
    number = version.version if len(layout) else None
    made = replace(version, layout=number, first=first, total=shown.total)
    return made, layout if len(layout) else None
