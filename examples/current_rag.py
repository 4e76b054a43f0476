"""A store for retrieval that is kept current: one document of many changes, and only its chunks are embedded again.

    python examples/current_rag.py [folder]

The documents are the topics that ``help()`` shows, which come with Python; the vectors are hashed words, so that nothing has to be
fitted or downloaded. Put the encoder of your choice in the place of `embed`.
"""

from __future__ import annotations

import re
import sys
from pydoc_data.topics import topics

import pandas as pd
from sklearn.feature_extraction.text import HashingVectorizer

import tablevault_pd as tv

WORDS = HashingVectorizer(n_features=256, alternate_sign=False, stop_words="english")
embedded: list[int] = []  # how many chunks were embedded by each call


def embed(chunks: pd.DataFrame) -> pd.DataFrame:
    """The chunks with their vectors."""
    embedded.append(len(chunks))
    vectors = WORDS.transform(chunks["text"]).toarray().astype("float32")
    return chunks.assign(vec=list(vectors))


def chunks_of(documents: dict[str, str]) -> pd.DataFrame:
    """The paragraphs of documents, numbered in each of them."""
    rows = [
        {"doc": doc, "n": n, "text": text}
        for doc, body in documents.items()
        for n, text in enumerate(part for part in re.split(r"\n\s*\n", body) if len(part) > 80)
    ]
    return pd.DataFrame(rows, columns=["doc", "n", "text"])


def bring_up_to_date(vault: tv.Vault, documents: dict[str, str]) -> None:
    """Replace what changed in these documents; other documents stay as they are."""
    vault.upsert("chunks", chunks_of(documents), key=["doc", "n"], drop_missing="doc", documents="text")
    embedded.clear()
    vault.map("vectors", embed, "chunks", columns=["doc", "n", "text"], batch=500)
    made = vault.versions("chunks").iloc[-1]
    print(
        f"chunks@{made.version}: {made.added} added, {made.changed} changed, {made.removed} removed, {made.total} in all; "
        f"{sum(embedded)} embedded"
    )


def ask(vault: tv.Vault, question: str) -> None:
    """The chunks that come nearest to a question."""
    near = WORDS.transform([question]).toarray()[0]
    hits = vault.search(
        question, match="any", near={"vec": near}, lists="vectors", columns=["doc", "text"], k=2
    )
    print(f"\n{question}?")
    for hit in hits.itertuples():
        print(f"  {hit.doc:<14} {' '.join(hit.text.split())[:80]}")


def main(place: str = "current_rag.vault") -> None:
    with tv.connect(place, session="index") as vault:
        bring_up_to_date(vault, topics)
        ask(vault, "Which clause runs whether an exception was raised or not")

        document = topics["try"].replace(
            "finally", "at last"
        )  # an edit of several paragraphs of one document
        bring_up_to_date(vault, {"try": document + "\n\n" + "A new paragraph about clean up code. " * 4})
        assert sum(embedded) < 50, "only what changed is embedded again"
        bring_up_to_date(vault, {"try": document + "\n\n" + "A new paragraph about clean up code. " * 4})
        assert sum(embedded) == 0, "nothing changed"

        ask(vault, "a new paragraph about clean up code")
        edited = vault.read("chunks", filters="doc == 'try' and text.str.contains('at last')")
        history = vault.history("chunks", key=("try", int(edited["n"].iloc[0])))
        print(f"\nStates of the chunk try {history['n'].iloc[0]}:")
        for state in history.itertuples():
            print(f"  chunks@{state.version}: {' '.join(state.text.split())[:80]}")


if __name__ == "__main__":
    main(*sys.argv[1:])
