"""Erasing rows of a vault on a server: payloads are written anew without their cells, and the mirror loses their documents.

One transaction makes the version and marks the rows in the batches that hold them: that is the commit, and from then on nobody
sees them. Batch after batch is overwritten afterwards; until all are, the vault's document says which are left, and whoever
opens the vault next goes on.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from tablevault_pd.errors import VaultError
from tablevault_pd.store import Erasure
from tablevault_pd.store.arango import payloads
from tablevault_pd.store.arango.batches import BATCHES_BY_KEY, WHOLE_BATCH, layout_of, version_of
from tablevault_pd.store.arango.layout import BATCHES, DETAILS, LISTS, MIRROR, PAYLOADS
from tablevault_pd.store.arango.records import to_text
from tablevault_pd.store.arango.strays import NOW
from tablevault_pd.store.arango.vacuum import LOSE, unused_files
from tablevault_pd.store.arango.windows import unpack_numbers
from tablevault_pd.store.engine import erasing, int_codec
from tablevault_pd.store.engine.commit_rules import check_commit
from tablevault_pd.store.pieces import EMPTY, Pieces

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

    from tablevault_pd.store import Batch, Version
    from tablevault_pd.store.arango.client import Transaction
    from tablevault_pd.store.arango.commit import Committer
    from tablevault_pd.store.arango.parts import VaultParts

# All statements: 3.12; nothing in them is newer than 3.8.
ERASED = "FOR l IN tv_lists FILTER l.id IN @lists RETURN [l.id, l.erased]"
MARK = """
LET batches = (FOR m IN @marks UPDATE {_key: m[0]} WITH {erased: m[1], holds_erased: m[2] != null} IN tv_batches)
LET numbers = (
  FOR m IN @marks
    FILTER m[2] != null
    UPSERT {_key: m[0]} INSERT {_key: m[0], batch: m[0], erased_rows: m[2]} UPDATE {erased_rows: m[2]} IN tv_details
)
LET lists = (FOR l IN tv_lists FILTER l.id == @list UPDATE l WITH {erased: @erased} IN tv_lists)
FOR m IN tv_meta FILTER m._key == "vault"
  UPDATE m WITH {erasing: UNION_DISTINCT(NOT_NULL(m.erasing, []), @pending)} IN tv_meta
"""
BATCHES_OF = f"FOR b IN tv_batches FILTER b.list == @list SORT b.version RETURN {WHOLE_BATCH}"
PENDING = 'FOR m IN tv_meta FILTER m._key == "vault" RETURN NOT_NULL(m.erasing, [])'
REMOVE_PENDING = """
FOR m IN tv_meta FILTER m._key == "vault"
  UPDATE m WITH {erasing: MINUS(NOT_NULL(m.erasing, []), [@key])} IN tv_meta
"""
FILES_NAMED = (
    "FOR p IN tv_payloads FILTER p.batch IN @batches AND p.named == true FOR f IN p.files RETURN DISTINCT f"
)
PUT_PAYLOADS = 'FOR d IN @documents INSERT d INTO tv_payloads OPTIONS {overwriteMode: "replace"}'
# What one statement removed: [collection's count, those with words, their words].
REMOVE_MIRRORED = """
FOR i IN @@items
  FILTER i.batch == @batch AND i.row IN @rows
  REMOVE i IN @@items
  RETURN [OLD.stems != null ? 1 : 0, NOT_NULL(OLD.length, 0)]
"""
SET_COUNTS = """
FOR b IN tv_batches FILTER b._key == @key
  UPDATE b WITH {items: @items, text_items: @text_items, text_words: @text_words,
    text_changed: b.text_items == @text_items ? b.text_changed : DATE_NOW()} IN tv_batches
"""
AT_ONCE = 50  # payloads in one request: some 8 MB


class Eraser:
    """Erases rows of a vault on a server."""

    def __init__(self, vault: VaultParts, committer: Committer) -> None:
        self._vault, self._committer = vault, committer
        self._client = vault.client

    def erased(self, versions: Sequence[Version]) -> list[np.ndarray]:
        """Return the positions of erased rows. One request; none where no version has any."""
        return erasing.erased_positions(versions, self._vault.rows.pieces, self._erased_of)

    def _erased_of(self, lists: Sequence[int]) -> dict[int, Pieces]:
        """The stored rows of lists that were erased."""
        rows = self._client.query(ERASED, lists=list(lists))
        return {
            list_id: EMPTY if packed is None else layout_of(packed, "What was erased of a list")
            for list_id, packed in rows
        }

    def erase(self, batch: Batch) -> Erasure:
        """Commit the batch and forget the rows that it erases."""
        self._client.writable()
        head = self._vault.versions.head(batch.list)
        check_commit(batch, head)
        assert head is not None
        assert batch.erases is not None
        documents = self._client.query(BATCHES_OF, list=head.list_id, batch_rows=1000)
        before = self._erased_of([head.list_id])[head.list_id]
        every = (before + batch.erases.without(before)).by_address()
        marks = self._marks(documents, every)
        holding = [key for key, _, numbers in marks if numbers is not None]
        files = set(self._client.query(FILES_NAMED, batches=holding))

        def also(handle: Transaction) -> None:
            handle.query(
                MARK,
                marks=marks,
                list=head.list_id,
                erased=to_text(int_codec.pack_pieces(every)),
                pending=holding,
            )

        version = self._committer.commit_also(batch, also)
        self._overwrite()
        # Categories are shared between lists, and stay.
        categories = any(part["dictionaries"] for document in documents for part in document["parts"])
        return Erasure(version, self._unused(files), categories=categories)

    def _marks(self, documents: Sequence[dict[str, Any]], every: Pieces) -> list[list[Any]]:
        """[key, how many erased rows the version shows, the numbers of erased rows that the batch holds] of each batch."""
        contents = self._vault.rows.pieces([version_of(document) for document in documents])
        marks = []
        for document, content in zip(documents, contents, strict=True):
            own = Pieces.of(
                [(document["generation"], document["start"], document["start"] + document["rows"])]
            )
            numbers = own.positions_of(every)
            held = len(numbers) and not document["emptied"]
            packed = to_text(int_codec.pack(numbers)) if held else None
            marks.append([document["_key"], int(content.overlaps(every)[2].sum()), packed])
        return marks

    # -- what is left

    def finish_interrupted(self) -> None:
        """Go on with what an interrupted call has left to be overwritten. Nobody waits for it: what fails is tried again."""
        with suppress(VaultError):
            self._overwrite()

    def _overwrite(self) -> None:
        """Overwrite the rows of all batches that are marked."""
        for key in self._client.query(PENDING)[0]:
            while not all(map(self._overwrite_batch, self._client.query(BATCHES_BY_KEY, keys=[key]))):
                pass  # more of its rows were erased meanwhile, or all removed
            self._client.query(REMOVE_PENDING, key=key)

    def _overwrite_batch(self, document: dict[str, Any]) -> bool:
        """Overwrite the rows that are marked in a batch document. Whether these are all."""
        if document["emptied"]:  # a vacuum has removed them
            return True
        key = document["_key"]
        numbers = unpack_numbers(document["erased_rows"])
        try:
            new = self._payloads(document, numbers)
        except VaultError:
            [present] = self._client.query(BATCHES_BY_KEY, keys=[key])
            if present["emptied"]:
                return True
            raise
        rows = numbers.tolist()

        def work(handle: Transaction) -> bool:
            [present] = handle.query(BATCHES_BY_KEY, keys=[key])
            if present["emptied"] or present["erased_rows"] != document["erased_rows"]:
                return False
            for at in range(0, len(new), AT_ONCE):
                handle.query(PUT_PAYLOADS, documents=new[at : at + AT_ONCE])
            items = dict(present["items"])
            texts, words = before = present.get("text_items") or 0, present.get("text_words") or 0
            for collection in MIRROR:
                removed = handle.query(REMOVE_MIRRORED, batch=key, rows=rows, binds={"@items": collection})
                if removed:
                    items[collection] -= len(removed)
                    texts -= sum(one for one, _ in removed)
                    words -= sum(length for _, length in removed)
            handle.query(SET_COUNTS, key=key, items=items, text_items=texts or None, text_words=words or None)
            if before[0] != texts:
                lost = [0, int(not texts), before[0] - texts, before[1] - words]
                handle.query(LOSE, list=document["list"], lost=lost)
            return True

        return self._client.transact(
            (LISTS, BATCHES, DETAILS, PAYLOADS, *MIRROR), work, what=f"the list {document['name']!r}"
        )

    def _payloads(self, document: dict[str, Any], numbers: np.ndarray) -> list[dict[str, Any]]:
        """The payloads of a batch that hold erased rows, without their cells."""
        version, first, made = version_of(document), 0, []
        for part in document["parts"]:
            here = numbers[(numbers >= first) & (numbers < first + part["rows"])] - first
            if len(here):
                start = document["start"] + first
                chunks = self._vault.rows.rows_of_generation(
                    version, document["generation"], start, start + part["rows"], None
                )
                table = (
                    pa.concat_tables([chunk.table for chunk in chunks]).unify_dictionaries().combine_chunks()
                )
                schema = self._vault.rows.schema(int(part["schema"], 16))
                table = pa.Table.from_arrays(table.select(schema.names).columns, schema=schema)
                groups = {place: rows for place, rows, _ in part["payloads"]}
                blank = erasing.blanked(table, here)
                for _, payload in payloads.documents(blank, groups, document["_key"], first):
                    row = payload["row"] - first
                    if ((here >= row) & (here < row + payload["rows"])).any():
                        made.append({**payload, "erased": document["erased_rows"]})
            first += part["rows"]
        return made

    def _unused(self, files: set[str]) -> tuple[tuple[str, int], ...]:
        """Remove those of these kept files that no row names any more, unless somebody is keeping them now."""
        if not files:
            return ()
        [now] = self._client.query(NOW)
        return tuple(unused_files(self._vault, now, dry_run=False, among=files))
