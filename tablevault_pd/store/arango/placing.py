"""Versions as batch documents, and back. No I/O."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tablevault_pd.store import Version
from tablevault_pd.store.times import from_time, to_time

Document = Mapping[str, Any]


def version_of(document: Document) -> Version:
    """The version that a batch document stands for."""
    return Version(
        document["list"], document["name"], document["version"], document["operation"], document["generation"],
        document["start"], document["rows"], document["total"], int(document["schema"], 16), document["session"],
        document["cell"], to_time(document["time"]), tuple(document["tags"]), document.get("message"),
        document["gone"], document.get("step"), document.get("line"),
    )  # fmt: skip


def document_of(version: Version, token: str, base: list[list[int]] | None) -> dict[str, Any]:
    """What a batch document says of its version; `base` are the runs that a restore begins with."""
    time = from_time(version.time)
    return {
        "list": version.list_id,
        "name": version.list,
        "version": version.version,
        "operation": version.operation,
        "generation": version.generation,
        "base": base,
        "start": version.start,
        "rows": version.rows,
        "total": version.total,
        "schema": schema_key(version.schema_id),
        "session": version.session_id,
        "cell": version.cell,
        "step": version.step,
        "line": version.line,
        "time": time,
        "committed": to_time(time).isoformat(),
        "tags": list(version.tags),
        "message": version.message,
        "token": token,
        "gone": version.gone,
        "emptied": False,
    }


def schema_key(schema_id: int) -> str:
    """The key of a schema's document."""
    return f"{schema_id:015x}"


def runs(version: Document, base: list[list[int]] | None) -> list[list[int]]:
    """(generation, first, end): which positions of a version lie in which generation, in order.

    `base` is that of the version's generation: the runs it was restored with.
    """
    below = base or []
    first = below[-1][2] if below else 0
    own = [version["generation"], first, version["total"]]
    return [*below, own] if own[1] < own[2] else list(below)
