"""Which texts the view ``tv_search`` surely holds, and the words of those that it may lack.

A view shows a document about a second after it was written, and nobody waits for it: what was committed or erased lately
is read from its payloads and matched here, as a folder does with what is not indexed yet. A batch counts as indexed once
the view held as many texts of it as its document says; what lacks some, however old it is, is matched here too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from tablevault_pd import frames
from tablevault_pd.errors import VaultCorrupt
from tablevault_pd.store.arango.batches import BATCHES_BY_KEY, WHOLE_NAMED
from tablevault_pd.store.arango.records import reads
from tablevault_pd.store.arango.text_hits import TextBatch
from tablevault_pd.store.engine.fts_index import item_texts
from tablevault_pd.store.engine.tokenizer import terms_of

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Mapping, Sequence

    import pyarrow as pa

    from tablevault_pd.store.arango.client import Client
    from tablevault_pd.store.arango.reader import Reader

LAG_MS = 2_000  # the interval at which the view commits, and a margin
OVERLAP_MS = 120_000  # a batch may appear so long after the time that it bears

# All statements: 3.12; nothing in them is newer than 3.10. How many texts a list has is told by an index alone.
TEXT_BATCHES = f"""
LET lists = (
  FOR l IN tv_lists
    COLLECT list = l.id, lost = l.lost
    LET so_far = FIRST(FOR b IN tv_batches FILTER b.list == list SORT b.version DESC LIMIT 1 RETURN b.so_far)
    FILTER so_far != null
    RETURN [so_far[1] - lost[1], so_far[2] - lost[2], so_far[3] - lost[3]]
)
LET totals = [SUM(lists[*][0]), SUM(lists[*][1]), SUM(lists[*][2])]
LET changed = (
  FOR b IN tv_batches
    FILTER b.text_changed >= @since
    LET document = b.text_changed > DATE_NOW() - @lag ? {WHOLE_NAMED} : null
    RETURN [b._key, b.list, b.generation, b.start, b.text_items, b.text_words, b.text_changed, document]
)
RETURN {{totals, changed, view: DOCUMENT("tv_meta/views").value}}
"""


class TextItem(NamedTuple):
    """The words of one item."""

    row: int  #: of its batch
    column: str | None
    stems: str
    words: str

    @property
    def length(self) -> int:
        """How many words."""
        return self.stems.count(" ") + 1 if self.stems else 0


@dataclass(frozen=True, slots=True)
class Corpus:
    """All texts of a vault at one moment."""

    batches: Mapping[str, TextBatch]
    young: list[TextBatch]  #: not known to be in the view, and not to be expected there yet
    unverified: list[TextBatch]  #: to be expected in the view
    documents: Mapping[str, Mapping[str, Any]]  #: of those that are young

    @property
    def totals(self) -> tuple[int, int, int]:
        """How many batches, items and words."""
        every = self.batches.values()
        return len(every), sum(batch.items for batch in every), sum(batch.words for batch in every)


class TextIndex:
    """What one process knows of the view."""

    def __init__(self, client: Client, reader: Reader) -> None:
        self._client, self._reader = client, reader
        self._batches: dict[str, TextBatch] = {}
        self._view: int | None = None  # which view it is, of those that were made
        self._indexed: dict[str, int] = {}  # how many texts of each batch it was seen to hold
        self._items: dict[TextBatch, list[TextItem]] = {}  # of batches that it may lack

    def corpus(self) -> Corpus:
        """All batches with texts. One request: what changed since the last one, unless the totals differ then."""
        corpus = self._corpus(self._batches)
        return corpus or self._corpus({}) or self._whole()

    def _whole(self) -> Corpus:
        """Batches kept coming or going between two looks: what the last look told, as it is."""
        corpus = self._corpus({}, checked=False)
        assert corpus is not None
        return corpus

    def _corpus(self, batches: dict[str, TextBatch], *, checked: bool = True) -> Corpus | None:
        since = max((batch.changed for batch in batches.values()), default=OVERLAP_MS) - OVERLAP_MS
        [answer] = self._client.query(TEXT_BATCHES, since=since, lag=LAG_MS)
        if answer["view"] != self._view:
            self._view, self._indexed = answer["view"], {}
        changed = list(map(_text_batch, answer["changed"]))
        every = {**batches, **{batch.key: batch for batch in changed}}
        batches = {key: batch for key, batch in every.items() if batch.items}
        unsure = [batch for key, batch in batches.items() if self._indexed.get(key) != batch.items]
        documents = {key: document for key, *_, document in answer["changed"] if document is not None}
        corpus = Corpus(
            batches,
            [batch for batch in unsure if batch.key in documents],
            [batch for batch in unsure if batch.key not in documents],
            documents,
        )
        if checked and list(corpus.totals) != answer["totals"]:
            return None
        self._batches = batches
        return corpus

    def verify(self, batches: Iterable[TextBatch], lacking: Iterable[str]) -> list[TextBatch]:
        """Those of these batches with the keys `lacking`; of the others the view was seen to hold all texts."""
        keys = set(lacking)
        indexed = {batch.key: batch.items for batch in batches if batch.key not in keys}
        self._indexed = {**self._indexed, **indexed}
        return [batch for batch in batches if batch.key in keys]

    def items(
        self,
        batches: Sequence[TextBatch],
        documents: Mapping[str, Mapping[str, Any]],
        searched: Container[str],
    ) -> dict[TextBatch, list[TextItem]]:
        """The items of these batches, by words made of their rows; the `documents` of some of them are here.

        Damage is an error in those that are `searched`. For the words of others the rest is searched without them.
        """
        items = {batch: self._items[batch] for batch in batches if batch in self._items}
        lacking = [batch for batch in batches if batch not in items]
        if lacking:
            try:
                items |= self._read(lacking, documents)
            except VaultCorrupt:
                items |= self._read([batch for batch in lacking if batch.key in searched], documents)
        self._items = items
        return items

    def _read(
        self, batches: Sequence[TextBatch], documents: Mapping[str, Mapping[str, Any]]
    ) -> dict[TextBatch, list[TextItem]]:
        by_key = {batch.key: batch for batch in batches}
        absent = [key for key in by_key if key not in documents]
        fetched = self._client.query(BATCHES_BY_KEY, keys=absent) if absent else []
        every = [*fetched, *(documents[key] for key in by_key if key in documents)]
        every = [document for document in every if not document["emptied"]]
        items: dict[TextBatch, list[TextItem]] = {batch: [] for batch in batches}
        for number, chunk in self._reader.scan_batches(every, _text_columns):
            batch = by_key[every[number]["_key"]]
            items[batch] += _items_of(chunk.table, chunk.positions[0])
        return items


@reads("tv_batches")
def _text_batch(row: Sequence[Any]) -> TextBatch:
    key, list_id, generation, start, items, words, time, _ = row
    return TextBatch(key, list_id, generation, start, items or 0, words or 0, time)


def _text_columns(schema: pa.Schema) -> list[str]:
    return [column.field for column in frames.text_columns(schema)]


def _items_of(table: pa.Table, first: int) -> list[TextItem]:
    """The items of rows that begin at row `first` of their batch."""
    items = []
    for column, texts in item_texts(table):
        having = [(row, text) for row, text in enumerate(texts, first) if text]
        stems, words = terms_of(text for _, text in having)
        rows = (row for row, _ in having)
        items += [TextItem(row, column, *item) for row, *item in zip(rows, stems, words, strict=True)]
    return items
