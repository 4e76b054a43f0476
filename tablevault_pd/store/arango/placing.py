"""Versions as batch documents, and back. No I/O."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tablevault_pd.errors import VaultCorrupt
from tablevault_pd.store import Version
from tablevault_pd.store.engine.int_codec import pack_pieces, unpack_pieces
from tablevault_pd.store.times import from_time, to_time

if TYPE_CHECKING:
    from tablevault_pd.store.pieces import Pieces

Document = Mapping[str, Any]


def version_of(document: Document) -> Version:
    """The version that a batch document stands for."""
    return Version(
        document["list"], document["name"], document["version"], document["operation"], document["generation"],
        document["start"], document["rows"], document["total"], int(document["schema"], 16), document["session"],
        document["cell"], to_time(document["time"]), tuple(document["tags"]), document.get("message"),
        document["gone"], document.get("step"), document.get("line"), document["layout"], document["first"],
        document["changed"], document["removed"], document.get("erased", 0),
    )  # fmt: skip


def document_of(version: Version, token: str, layout: Pieces | None) -> dict[str, Any]:
    """What a batch document says of its version; `layout` are the pieces that it, and those that lengthen it, begin with."""
    time = from_time(version.time)
    return {
        "list": version.list_id,
        "name": version.list,
        "version": version.version,
        "operation": version.operation,
        "generation": version.generation,
        "layout": version.layout,
        "pieces": None if layout is None else base64.b64encode(pack_pieces(layout)).decode("ascii"),
        "first": version.first,
        "start": version.start,
        "rows": version.rows,
        "total": version.total,
        "changed": version.changed,
        "removed": version.removed,
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


def layout_of(pieces: str | None, where: str) -> Pieces:
    """The layout that a batch document holds. Raises VaultCorrupt: `where` is what is damaged."""
    try:
        return unpack_pieces(base64.b64decode(pieces or "", validate=True), where)
    except ValueError as error:
        raise VaultCorrupt(f"{where} is damaged: {error}. Restore the database from a backup.") from error
