"""Which version a batch becomes: the rules of the list, applied to what the server knows. No I/O."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from tablevault_pd.errors import Conflict, ListDeleted, ListNotFound, VersionNotFound
from tablevault_pd.store import Batch, Version

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
Document = Mapping[str, Any]
Run = tuple[int, int, int]  #: (generation, first position, end)


def to_time(microseconds: int) -> datetime:
    """A stored time."""
    return _EPOCH + timedelta(microseconds=microseconds)


def from_time(time: datetime) -> int:
    """A time as it is stored: whole microseconds since 1970, UTC."""
    return (time.astimezone(UTC) - _EPOCH) // timedelta(microseconds=1)


def version_of(document: Document) -> Version:
    """The version that a batch document stands for."""
    return Version(
        document["list"], document["name"], document["version"], document["operation"], document["generation"],
        document["start"], document["rows"], document["total"], int(document["schema"], 16), document["session"],
        document["cell"], to_time(document["time"]), tuple(document["tags"]), document["gone"],
    )  # fmt: skip


def expect(head: Document | None, batch: Batch) -> None:
    """Refuse a batch that does not fit the list as it stands now."""
    if head is None:
        if batch.operation in ("delete", "restore"):
            raise ListNotFound(
                f"No list named {batch.list!r} in this vault. vault.lists() shows what is there."
            )
    elif head["operation"] == "delete" and batch.operation in ("append", "delete"):
        raise ListDeleted.named(batch.list)
    if batch.expect is not None and batch.expect != (head["version"] if head else 0):
        raise Conflict(
            f"The list {batch.list!r} is no longer at version {batch.expect}: another writer was faster."
        )
    if batch.operation == "append" and batch.base != (int(head["schema"], 16) if head else None):
        raise Conflict(f"The columns of the list {batch.list!r} have changed: another writer was faster.")


def placed(seen: Document, batch: Batch, list_id: int, rows: int, schema: str | None) -> dict[str, Any]:
    """The batch document's attributes, given what the server was `seen` to hold."""
    head = seen["head"]
    number = head["version"] + 1 if head else 1
    generation, start, total, base = number, 0, rows, None
    if batch.operation == "restore":
        target = _restorable(seen["target"], batch)
        total, base = target["total"], runs(target, seen["target_base"])
        schema = schema or target["schema"]
        start = total
    elif head and batch.operation == "append":
        generation, start, total = head["generation"], head["total"], head["total"] + rows
    elif head and batch.operation == "delete":
        generation, start, total = head["generation"], head["total"], head["total"]
    time = seen["now"] * 1000
    if head:  # time never runs backwards within a list, whatever the clock does
        time = max(time, head["time"] + 1)
    return {
        "list": list_id,
        "name": batch.list,
        "version": number,
        "operation": batch.operation,
        "generation": generation,
        "base": base,
        "start": start,
        "rows": rows,
        "total": total,
        "schema": schema or head["schema"],
        "session": batch.session_id,
        "cell": batch.cell,
        "time": time,
        "committed": to_time(time).isoformat(),
        "tags": list(batch.tags if batch.tags is not None else (head["tags"] if head else ())),
        "token": batch.token,
        "gone": False,
        "emptied": False,
    }


def _restorable(target: Document | None, batch: Batch) -> Document:
    if target is None:
        raise VersionNotFound(f"The list {batch.list!r} has no version {batch.target}.")
    if target["gone"]:
        raise VersionNotFound(
            f"The rows of {batch.list}@{batch.target} were removed by vacuum; it cannot be restored."
        )
    return target


def runs(version: Document, base: list[list[int]] | None) -> list[list[int]]:
    """(generation, first, end): which positions of a version lie in which generation, in order.

    `base` is that of the version's generation: the runs it was restored with.
    """
    below = base or []
    first = below[-1][2] if below else 0
    own = [version["generation"], first, version["total"]]
    return [*below, own] if own[1] < own[2] else list(below)
