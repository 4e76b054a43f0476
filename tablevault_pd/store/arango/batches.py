"""Versions as batch documents, and back. No I/O."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tablevault_pd.errors import VaultCorrupt, short_repr
from tablevault_pd.store import Version
from tablevault_pd.store.arango.records import reads, to_bytes, to_text
from tablevault_pd.store.engine.int_codec import pack_pieces, unpack_pieces
from tablevault_pd.store.times import from_time, to_time

if TYPE_CHECKING:
    from tablevault_pd.store.pieces import Pieces

# What a batch document says of its version, without the name of its list: that is in the list's document alone.
SHAPE = 'UNSET(b, "parts", "pieces", "reads")'
NAME = 'DOCUMENT("tv_lists", TO_STRING(b.list)).name'
NAMED = f"MERGE({SHAPE}, {{name: {NAME}}})"
# The newest version of @list, or of the list that a loop goes over.
HEAD = f"FIRST(FOR b IN tv_batches FILTER b.list == list SORT b.version DESC LIMIT 1 RETURN {SHAPE})"
# A batch document, with what of it may lie beside it.
WHOLE_BATCH = """MERGE(UNSET(b, "pieces", "reads"),
    b.parts == null OR b.holds_erased ? KEEP(DOCUMENT("tv_details", b._key), "parts", "erased_rows") : {})"""
WHOLE_NAMED = f"MERGE({WHOLE_BATCH}, {{name: {NAME}}})"
BATCHES_BY_KEY = f"FOR b IN tv_batches FILTER b._key IN @keys RETURN {WHOLE_NAMED}"

# The batches that hold rows of @ranges: [number, list, generation, first, end] each. They are a range of an index, whose first
# entry is looked up by the end of the rows.
BATCHES_OF_RANGES = """
FOR w IN @ranges
  LET lowest = FIRST(
    FOR f IN tv_batches FILTER f.list == w[1] AND f.generation == w[2] AND f.end > w[3] AND f.rows > 0
    SORT f.end LIMIT 1 RETURN f.start)
  FOR b IN tv_batches OPTIONS {maxProjections: 9}
    FILTER b.list == w[1] AND b.generation == w[2] AND b.start >= lowest AND b.start < w[4] AND b.rows > 0"""

Document = Mapping[str, Any]


@reads("tv_batches")
def version_of(document: Document) -> Version:
    """The version that a batch document stands for."""
    return Version(
        document["list"], list_name(document["name"], document["list"]), document["version"], document["operation"], document["generation"],
        document["start"], document["rows"], document["total"], int(document["schema"], 16), document["session"],
        document["cell"], to_time(document["time"]), tuple(document["tags"]), document.get("message"),
        document["gone"], document.get("step"), document.get("line"), document["layout"], document["first"],
        document["changed"], document["removed"], document.get("erased", 0),
    )  # fmt: skip


def list_name(name: Any, list_id: int) -> str:
    """The name of a list, as its document has it. Raises VaultCorrupt."""
    if isinstance(name, str):
        return name
    raise VaultCorrupt(
        f"The name of a list is {short_repr(name)}: its document, tv_lists/{list_id}, is missing or damaged. Restore the database "
        "from a backup. vault.check() lists all damage."
    )


def document_of(version: Version, token: str, layout: Pieces | None) -> dict[str, Any]:
    """What a batch document says of its version; `layout` are the pieces that it, and those that lengthen it, begin with."""
    time = from_time(version.time)
    return {
        "list": version.list_id,
        "version": version.version,
        "operation": version.operation,
        "generation": version.generation,
        "layout": version.layout,
        "pieces": None if layout is None else to_text(pack_pieces(layout)),
        "first": version.first,
        "start": version.start,
        "rows": version.rows,
        "end": version.start + version.rows,
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


def so_far(document: Document, head: Document | None) -> list[int]:
    """What a list has with this batch, after `head`: the totals of both.

    What a vacuum or an erase removes is counted by the document of the list, as `lost`; so nobody need add up all batches.
    """
    own = own_totals(document)
    before = head["so_far"] if head is not None else [0] * len(own)
    return [one + more for one, more in zip(before, own, strict=True)]


def own_totals(document: Document) -> list[int]:
    """What a batch has: bytes, batches with texts, texts, words, and edges."""
    texts = document.get("text_items") or 0
    words = document["text_words"] if texts else 0
    return [document["bytes"], int(texts > 0), texts, words, document["edges"]]


def schema_key(schema_id: int) -> str:
    """The key of a schema's document."""
    return f"{schema_id:015x}"


def layout_of(pieces: str | None, where: str) -> Pieces:
    """The layout that a batch document holds. Raises VaultCorrupt: `where` is what is damaged."""
    return unpack_pieces(to_bytes(pieces, where), where)
