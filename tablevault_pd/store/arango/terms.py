"""Words beside the texts: what the view ``tv_search`` finds items, cells and descriptions by.

They are made here, by the tokenisers of the embedded store, and not by an analyzer of the server: both stores then find
the same. The server only cuts them apart again, at the blanks, and so needs no language and no rules of its own.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

from tablevault_pd.store.arango.columns import columns_of
from tablevault_pd.store.arango.layout import RECORDS
from tablevault_pd.store.engine import fts
from tablevault_pd.store.engine.fts_index import item_texts
from tablevault_pd.store.engine.tokenizer import PROSE, SOURCE, terms_of

if TYPE_CHECKING:
    import pyarrow as pa


def add_words(table: pa.Table, batch: str, made: dict[str, list[Any]]) -> tuple[int, int]:
    """Add the words of `table`, rows of a `batch`, to the documents `made` of it; how many items have text, and how many words.

    Such a document bears the key of its batch once more, as ``text_of``: the view knows only those with text by it.
    """
    items = words = 0
    texts = dict(item_texts(table))
    starts: dict[str, int] = defaultdict(int)
    for column in columns_of(table.schema):
        if column.collection == RECORDS:
            continue
        start = starts[column.collection]
        starts[column.collection] += table.num_rows
        if column.name in texts:
            documents = made[column.collection][start : start + table.num_rows]
            items, words = _add(documents, batch, texts[column.name], items, words)
    if None in texts:
        items, words = _add(made[RECORDS], batch, texts[None], items, words)
    return items, words


def _add(documents: list[Any], batch: str, texts: Any, items: int, words: int) -> tuple[int, int]:
    having = [(document, text) for document, text in zip(documents, texts, strict=True) if text]
    stems, plain = terms_of(text for _, text in having)
    for (document, _), stem, word in zip(having, stems, plain, strict=True):
        document.update(_prose(stem, word), text_of=batch)
        words += document["length"]
    return items + len(having), words


def _prose(stems: str, words: str) -> dict[str, Any]:
    return {"stems": stems, "words": words, "length": stems.count(" ") + 1 if stems else 0}


def prose_words(text: str) -> dict[str, Any]:
    """The words of a description, as attributes of its document."""
    [[stems], [words]] = PROSE.tokenize([fts.prose(text)])
    return _prose(stems, words)


def code_words(text: str) -> dict[str, Any]:
    """The words of a cell's code, as attributes of its document."""
    code = fts.code_text(text)
    [[parts, wholes]] = SOURCE.tokenize([fts.code_parts(code), fts.code_wholes(code)])
    return {"parts": parts, "wholes": wholes}
