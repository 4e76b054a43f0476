"""Erasing rows of a vault on a server: payloads are written anew without their cells, and the mirror loses their documents.

One statement makes the version and marks the rows in the batches that hold them: that is the commit, and from then on nobody
sees them. Batch after batch is overwritten afterwards: its payloads, then the mirror with what counts it. Until all are, the vault's
document says which are left, and whoever opens the vault next goes on.
"""

from __future__ import annotations

from contextlib import suppress
from itertools import groupby
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from tablevault_pd.errors import VaultCorrupt, VaultError
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
    from collections.abc import Iterable, Iterator, Sequence

    import numpy as np

    from tablevault_pd.store import Batch, Chunk, Version
    from tablevault_pd.store.arango.commit import Committer
    from tablevault_pd.store.arango.parts import VaultParts

# All statements: 3.12; nothing in them is newer than 3.8.
ERASED = "FOR l IN tv_lists FILTER l.id IN @lists RETURN [l.id, l.erased]"
BATCHES_OF = f"FOR b IN tv_batches FILTER b.list == @list SORT b.version RETURN {WHOLE_BATCH}"
PENDING = 'FOR m IN tv_meta FILTER m._key == "vault" RETURN NOT_NULL(m.erasing, [])'
REMOVE_PENDING = """
FOR m IN tv_meta FILTER m._key == "vault"
  UPDATE m WITH {erasing: MINUS(NOT_NULL(m.erasing, []), @keys)} IN tv_meta
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
BATCHES_AT_ONCE = 100  # that are read together


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
        new = batch.erases.without(before)
        every = (before + new).by_address()
        marks = self._marks(batch.list, documents, new, every)
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

    def _marks(self, name: str, documents: Sequence[dict[str, Any]], new: Pieces, every: Pieces) -> Marks:
        """How many erased rows the version of each batch shows, and which the batch holds, where `new` ones change that."""
        contents = self._vault.rows.pieces([version_of(document | {"name": name}) for document in documents])
        batches, details = [], []
        for document, content in zip(documents, contents, strict=True):
            key, start = document["_key"], document["start"]
            own = Pieces.of([(document["generation"], start, start + document["rows"])])
            numbers = own.positions_of(every)
            holds = len(numbers) > 0 and not document["emptied"]
            mark = {"erased": int(content.overlaps(every)[2].sum()), "holds_erased": holds}
            if mark != {
                "erased": document.get("erased", 0),
                "holds_erased": document.get("holds_erased", False),
            }:
                batches.append({"_key": key, **mark})
            if holds and len(own.positions_of(new)):
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
        """Overwrite the rows of all batches that are marked, some batches at a time; of damaged ones it is told at the end."""
        pending = list(self._client.query(PENDING)[0])
        damaged: dict[str, VaultCorrupt] = {}
        while pending:
            some, rest = pending[:BATCHES_AT_ONCE], pending[BATCHES_AT_ONCE:]
            again = self._overwrite_batches(self._client.query(BATCHES_BY_KEY, keys=some), damaged)
            left = {*again, *damaged}
            self._client.query(REMOVE_PENDING, keys=[key for key in some if key not in left])
            pending = [*again, *rest]
        for damage in damaged.values():
            raise damage

    def _overwrite_batches(
        self, documents: Sequence[dict[str, Any]], damaged: dict[str, VaultCorrupt]
    ) -> list[str]:
        """Overwrite the rows that are marked in batches. Those that cannot be read join the `damaged`.

        Return the keys of those to be looked at again: more of their rows were erased meanwhile, or a vacuum has removed all.
        """
        left = {document["_key"]: document for document in documents if not document["emptied"]}
        again = []
        try:
            for document, new in self._payloads(list(left.values())):
                if not self._put(document, new):
                    again.append(document["_key"])
                del left[document["_key"]]
        except VaultError as error:
            if len(left) > 1:  # one of them, perhaps, that is not to hold up the others
                one_by_one = ([document] for document in left.values())
                return again + [key for one in one_by_one for key in self._overwrite_batches(one, damaged)]
            present = self._client.query(BATCHES_BY_KEY, keys=list(left))
            if not all(document["emptied"] for document in present):
                if not isinstance(error, VaultCorrupt):
                    raise
                damaged |= dict.fromkeys(left, error)
        return again

    def _put(self, document: dict[str, Any], new: Sequence[dict[str, Any]]) -> bool:
        """Write new payloads of a batch, then remove what its mirror has of the erased rows. Whether these are all."""
        marks = {"key": document["_key"], "numbers": document["erased_rows"]}
        what = f"the list {document['name']!r}"
        for at in range(0, len(new), AT_ONCE):
            self._client.query(PUT_PAYLOADS, documents=new[at : at + AT_ONCE], binds=marks, what=what)
        rows = unpack_numbers(document["erased_rows"]).tolist()
        return bool(self._client.query(REMOVE_MIRRORED, rows=rows, binds=marks, what=what))

    def _payloads(
        self, documents: Sequence[dict[str, Any]]
    ) -> Iterator[tuple[dict[str, Any], list[dict[str, Any]]]]:
        """Batch documents, each with those of its payloads that hold erased rows, without their cells. All are read together."""
        parts = []
        for document in documents:
            numbers, first = unpack_numbers(document["erased_rows"]), 0
            for part in document["parts"]:
                here = numbers[(numbers >= first) & (numbers < first + part["rows"])] - first
                if len(here):
                    parts.append((document, part, first, here))
                first += part["rows"]
        ranges = [
            (version_of(document), document["start"] + first, document["start"] + first + part["rows"])
            for document, part, first, _ in parts
        ]
        made = (
            (parts[number][0], self._without(*parts[number], chunks))
            for number, chunks in self._vault.rows.rows_by_address(ranges)
        )
        for _, group in groupby(made, lambda one: one[0]["_key"]):
            several = list(group)
            yield several[0][0], [payload for _, payloads_of_part in several for payload in payloads_of_part]

    def _without(
        self,
        document: dict[str, Any],
        part: dict[str, Any],
        first: int,
        erased: np.ndarray,
        chunks: Iterable[Chunk],
    ) -> list[dict[str, Any]]:
        """The payloads of a part of a batch that hold these of its rows, without their cells."""
        table = pa.concat_tables([chunk.table for chunk in chunks]).unify_dictionaries().combine_chunks()
        schema = self._vault.rows.schema(int(part["schema"], 16))
        table = pa.Table.from_arrays(table.select(schema.names).columns, schema=schema)
        groups = {place: rows for place, rows, _ in part["payloads"]}
        made = payloads.documents(erasing.blanked(table, erased), groups, document["_key"], first)
        return [
            {**payload, "erased": document["erased_rows"]}
            for _, payload in made
            if (
                (erased + first >= payload["row"]) & (erased + first < payload["row"] + payload["rows"])
            ).any()
        ]

    def _unused(self, files: set[str]) -> tuple[tuple[str, int], ...]:
        """Remove those of these kept files that no row names any more, unless somebody is keeping them now."""
        if not files:
            return ()
        [now] = self._client.query(NOW)
        return tuple(unused_files(self._vault, now, dry_run=False, among=files))
