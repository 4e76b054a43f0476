"""Retrieval for questions about Python, over the language's own reference: words, vectors, values and code in one search.

The texts are the topics that ``help()`` shows, which come with Python. The vectors are made here, by TF-IDF and SVD; put the
encoder of your choice in the place of `Encoder`. Run it in an empty folder.
"""

from __future__ import annotations

import re
from pydoc_data.topics import topics

import numpy as np
import pandas as pd
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer

import tablevault_pd as tv

QUESTIONS = [
    "how do I catch an exception and run clean up code",
    "what does the with statement call when it is left",
    "rounding a float when it is formatted",
]


class Encoder:
    """Texts as vectors of 128 numbers: words weighted by rarity, brought together by singular value decomposition."""

    def __init__(self, texts: list[str]) -> None:
        self._words = TfidfVectorizer(stop_words="english", sublinear_tf=True, min_df=2)
        self._topics = TruncatedSVD(128, random_state=0).fit(self._words.fit_transform(texts))

    def __call__(self, texts: list[str]) -> np.ndarray:
        return self._topics.transform(self._words.transform(texts)).astype(np.float32)


def chunks_of(articles: pd.DataFrame) -> pd.DataFrame:
    """The paragraphs of every article, each with the row it came from."""
    parts = articles.assign(text=articles["text"].map(lambda text: re.split(r"\n\s*\n", text))).explode(
        "text"
    )
    return parts[parts["text"].str.len() > 80].drop_duplicates("text").reset_index(drop=True)


def main() -> None:
    with tv.connect("rag.vault", session="index") as vault:
        texts = pd.DataFrame({"topic": list(topics), "text": list(topics.values())})
        texts.vault.save("articles", documents="text", description="the reference of the Python language")

        chunks = chunks_of(
            vault.read("articles", refs=True)
        )  # the column `ref` remembers the article of each chunk
        encoder = Encoder(chunks["text"].tolist())
        chunks["vec"] = list(encoder(chunks["text"].tolist()))
        chunks["length"] = chunks["text"].str.len()
        chunks.vault.save("chunks", documents="text")
        print(f"{len(texts)} articles, {len(chunks)} chunks")

        for question in QUESTIONS:
            print(f"\n{question}?")
            hits = vault.search(
                " OR ".join(re.findall(r"\w{4,}", question)),
                near={"vec": encoder([question])[0]},
                filters=[("length", "<", 1500)],
                code="Encoder",
                lists="chunks",
                columns=["topic", "text"],
                k=3,
            )
            for hit in hits.itertuples():
                print(f"  {hit.score:.4f}  {hit.topic:<18} {' '.join(hit.text.split())[:80]}")
            sources = hits.vault.parents()
            print(
                "  from",
                ", ".join(f"articles[{row}]" for row in sources["parent_position"].drop_duplicates()),
            )


if __name__ == "__main__":
    main()
