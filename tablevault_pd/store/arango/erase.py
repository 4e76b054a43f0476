"""Erasing rows of a vault on a server: payloads are written anew without their cells, and the mirror loses their documents.

One statement makes the version and marks the rows in the batches that hold them: that is the commit, and from then on nobody
sees them. Batch after batch is overwritten afterwards: its payloads, then the mirror with what counts it. Until all are, the vault's
document says which are left, and whoever opens the vault next goes on.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from tablevault_pd.errors import VaultError
from tablevault_pd.store import Erasure
from tablevault_pd.store.arango import payloads
from tablevault_pd.store.arango.batches import BATCHES_BY_KEY, WHOLE_BATCH, layout_of, version_of
from tablevault_pd.store.arango.commit import Marks
from tablevault_pd.store.arango.records import to_text
from tablevault_pd.store.arango.strays import NOW
from tablevault_pd.store.arango.vacuum import unused_files
from tablevault_pd.store.arango.windows import unpack_numbers
from tablevault_pd.store.engine import erasing, int_codec
from tablevault_pd.store.pieces import EMPTY, Pieces

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

    from tablevault_pd.store import Batch, Version
    from tablevault_pd.store.arango.commit import Committer
    from tablevault_pd.store.arango.parts import VaultParts

# All statements: 3.12; nothing in them is newer than 3.8.
ERASED = "FOR l IN tv_lists FILTER l.id IN @lists RETURN [l.id, l.erased]"
BATCHES_OF = f"FOR b IN tv_batches FILTER b.list == @list SORT b.version RETURN {WHOLE_BATCH}"
PENDING = 'FOR m IN tv_meta FILTER m._key == "vault" RETURN NOT_NULL(m.erasing, [])'
REMOVE_PENDING = """
FOR m IN tv_meta FILTER m._key == "vault"
  UPDATE m WITH {erasing: MINUS(NOT_NULL(m.erasing, []), [@key])} IN tv_meta
"""
FILES_NAMED = (
    "FOR p IN tv_payloads FILTER p.batch IN @batches AND p.named == true FOR f IN p.files RETURN DISTINCT f"
)
# Both: nothing where a vacuum has removed the rows of the batch, or more of them were erased, since it was looked at.
_AS_LOOKED_AT = """
LET batch = FIRST(FOR b IN tv_batches FILTER b._key == @key AND b.emptied == false RETURN b)
LET may = batch != null AND DOCUMENT("tv_details", @key).erased_rows == @numbers
"""
PUT_PAYLOADS = f"""{_AS_LOOKED_AT}
FOR d IN @documents FILTER may INSERT d INTO tv_payloads OPTIONS {{overwriteMode: "replace", waitForSync: true}}
"""
REMOVE_MIRRORED = f"""{_AS_LOOKED_AT}
LET records = (
  FOR i IN tv_records FILTER may AND i.batch == @key AND i.row IN @rows
    REMOVE i IN tv_records OPTIONS {{waitForSync: true}} RETURN [OLD.stems != null ? 1 : 0, NOT_NULL(OLD.length, 0)])
LET documents = (
  FOR i IN tv_documents FILTER may AND i.batch == @key AND i.row IN @rows
    REMOVE i IN tv_documents OPTIONS {{waitForSync: true}} RETURN [OLD.stems != null ? 1 : 0, NOT_NULL(OLD.length, 0)])
LET embeddings = (
  FOR i IN tv_embeddings FILTER may AND i.batch == @key AND i.row IN @rows
    REMOVE i IN tv_embeddings OPTIONS {{waitForSync: true}} RETURN [0, 0])
LET files = (
  FOR i IN tv_files FILTER may AND i.batch == @key AND i.row IN @rows
    REMOVE i IN tv_files OPTIONS {{waitForSync: true}} RETURN [OLD.stems != null ? 1 : 0, NOT_NULL(OLD.length, 0)])
LET texts = SUM(records[*][0]) + SUM(documents[*][0]) + SUM(files[*][0])
LET words = SUM(records[*][1]) + SUM(documents[*][1]) + SUM(files[*][1])
LET left = batch.text_items - texts
LET removed = {{
  tv_records: LENGTH(records), tv_documents: LENGTH(documents), tv_embeddings: LENGTH(embeddings), tv_files: LENGTH(files)
}}
LET lists = (
  FOR l IN tv_lists
    FILTER may AND texts > 0 AND l.id == batch.list
    UPDATE l WITH {{lost: [l.lost[0] + 0, l.lost[1] + (left > 0 ? 0 : 1), l.lost[2] + texts, l.lost[3] + words]}} IN tv_lists
)
FOR b IN tv_batches
  FILTER may AND b._key == @key
  UPDATE b WITH {{
    items: MERGE(FOR name IN ATTRIBUTES(b.items) RETURN {{[name]: b.items[name] - removed[name]}}),
    text_items: left > 0 ? left : null, text_words: left > 0 ? b.text_words - words : null,
    text_changed: texts > 0 ? DATE_NOW() : b.text_changed
  }} IN tv_batches OPTIONS {{waitForSync: true}}
  RETURN true
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
        head = self._committer.head(batch)
        assert batch.erases is not None
        documents = self._client.query(BATCHES_OF, list=head.list_id, batch_rows=1000)
        before = self._erased_of([head.list_id])[head.list_id]
        every = (before + batch.erases.without(before)).by_address()
        marks = self._marks(documents, every)
        files = set(self._client.query(FILES_NAMED, batches=marks.erasing))
        version = self._committer.commit_with(batch, None, marks)
        remains: str | None = None
        unused: tuple[tuple[str, int], ...] = ()
        try:
            self._overwrite()
            unused = self._unused(files)
        except VaultError as error:  # it is done all the same
            remains = str(error)
        # Categories are shared between lists, and stay.
        categories = any(part["dictionaries"] for document in documents for part in document["parts"])
        return Erasure(version, unused, remains, categories)

    def _marks(self, documents: Sequence[dict[str, Any]], every: Pieces) -> Marks:
        """How many erased rows the version of each batch shows, and which the batch holds."""
        contents = self._vault.rows.pieces([version_of(document) for document in documents])
        batches, details = [], []
        for document, content in zip(documents, contents, strict=True):
            key, start = document["_key"], document["start"]
            own = Pieces.of([(document["generation"], start, start + document["rows"])])
            numbers = own.positions_of(every)
            holds = len(numbers) > 0 and not document["emptied"]
            erased = int(content.overlaps(every)[2].sum())
            batches.append({"_key": key, "erased": erased, "holds_erased": holds})
            if holds:
                packed = to_text(int_codec.pack(numbers))
                details.append({"_key": key, "batch": key, "erased_rows": packed})
        erasing = [document["_key"] for document in details]
        return Marks(to_text(int_codec.pack_pieces(every)), batches, details, erasing)

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
        marked = {"key": key, "numbers": document["erased_rows"], "what": f"the list {document['name']!r}"}
        for at in range(0, len(new), AT_ONCE):
            self._client.query(PUT_PAYLOADS, documents=new[at : at + AT_ONCE], **marked)
        return bool(self._client.query(REMOVE_MIRRORED, rows=numbers.tolist(), **marked))

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
