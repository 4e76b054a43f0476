"""Which version a batch becomes: the rules of a list, for every store. Pure: a store says what it knows, under its own lock."""

from __future__ import annotations

from datetime import datetime, timedelta

from tablevault_pd.errors import Conflict, ListDeleted, ListNotFound, VersionNotFound
from tablevault_pd.store import Batch, Version

_TICK = timedelta(microseconds=1)


def check_commit(batch: Batch, head: Version | None) -> None:
    """Refuse a batch that does not fit the list as it stands now. Raises ListNotFound, ListDeleted, Conflict."""
    if head is None:
        if batch.operation in ("delete", "restore"):
            raise ListNotFound(
                f"No list named {batch.list!r} in this vault. vault.lists() shows what is there."
            )
    elif head.deleted and batch.operation in ("append", "delete"):
        raise ListDeleted.named(batch.list)
    check_expected(batch.list, batch.expect, head)
    if batch.operation == "append" and batch.base != (head.schema_id if head else None):
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
        what = (
            f"The newest version of {name!r} is {newest}{deleted}, and {expected}: another writer was faster."
        )
    raise Conflict(
        f"{what} Nothing was written. Read the newest version, make the change again, and save that."
    )


def check_restore_target(batch: Batch, target: Version | None) -> Version:
    """The version that a restore is to bring back. Raises VersionNotFound."""
    if target is None:
        raise VersionNotFound(f"The list {batch.list!r} has no version {batch.target}.")
    if target.gone:
        raise VersionNotFound(
            f"The rows of {target.list}@{target.version} were removed by vacuum; it cannot be restored."
        )
    return target


def next_version(
    batch: Batch,
    head: Version | None,
    *,
    list_id: int,
    rows: int,
    schema_id: int | None,
    now: datetime,
    target: Version | None = None,
    after: int = 0,
) -> Version:
    """The version that a batch of so many rows becomes after `head`; for a restore, of the checked `target`.

    `schema_id` is that of ``batch.schema``, `now` the store's time, `after` the highest number that was given before.
    """
    number = max(head.version if head else 0, after) + 1
    generation, start, total = number, 0, rows
    if target is not None:
        start = total = target.total
        schema_id = target.schema_id if schema_id is None else schema_id
    elif head is not None and batch.operation in ("append", "delete"):
        generation, start, total = head.generation, head.total, head.total + rows
    if schema_id is None:
        assert head is not None  # whoever makes a list says what it holds
        schema_id = head.schema_id
    tags = batch.tags if batch.tags is not None else (head.tags if head else ())
    if head is not None:  # time never runs backwards within a list, whatever the clock does
        now = max(now, head.time + _TICK)
    return Version(
        list_id, batch.list, number, batch.operation, generation, start, rows, total, schema_id, batch.session_id, batch.cell,
        now, tags, batch.message, step=batch.step, line=batch.line,
    )  # fmt: skip
