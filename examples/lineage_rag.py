"""Where did this answer come from? A small retrieval pipeline, five hops long, walked back to its documents.

    python examples/lineage_rag.py [folder]

documents -> chunks -> vectors -> retrieved -> answers -> graded, over the language reference that ships with Python.
No step says what it was made from: rows that are filtered, exploded and sorted keep their lineage by their index, and
rows that are grouped keep it by a column of references.
"""

from __future__ import annotations

import sys
from pydoc_data.topics import topics
from time import perf_counter

import numpy as np
import pandas as pd
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.pipeline import make_pipeline

import tablevault_pd as tv

QUESTIONS = [
    "How does the with statement call __enter__ and __exit__?",
    "When is a name looked up in the global namespace?",
    "What does a slice with a step select from a sequence?",
    "Which exception is raised when an assertion fails?",
]


def main(place: str = "lineage_rag.vault") -> None:
    start = perf_counter()
    with tv.connect(place, session="rag") as vault:
        save_chunks()
        embed_and_retrieve()
        answer()
        look_back(vault)
    print(f"\nDone in {perf_counter() - start:.1f} s.")


def save_chunks() -> None:
    pd.DataFrame({"topic": list(topics), "text": list(topics.values())}).vault.save("documents")
    documents = tv.read("documents")
    chunks = documents.assign(chunk=documents["text"].str.split("\n\n")).explode("chunk").drop(columns="text")
    chunks[chunks["chunk"].str.len() > 120].vault.save("chunks")


def embed_and_retrieve() -> None:
    chunks = tv.read("chunks")
    model = make_pipeline(TfidfVectorizer(sublinear_tf=True), TruncatedSVD(64, random_state=0))
    matrix = model.fit_transform(chunks["chunk"]).astype("float32")
    matrix /= np.linalg.norm(matrix, axis=1, keepdims=True).clip(1e-9)
    chunks[["topic"]].assign(vec=list(matrix)).vault.save("vectors")

    vectors = tv.read("vectors", refs=True)
    near = matrix @ model.transform(QUESTIONS).astype("float32").T
    hits = [
        vectors[["ref"]].assign(question=question, score=near[:, at]).nlargest(3, "score")
        for at, question in enumerate(QUESTIONS)
    ]
    pd.concat(hits, ignore_index=True).vault.save("retrieved")


def answer() -> None:
    retrieved = tv.read("retrieved", refs=True)
    texts = retrieved.vault.lineage(to="chunks", columns=["chunk"])  # the hits' own texts, two hops up
    retrieved["answer"] = texts["chunk"].str.split().str.join(" ").str.slice(0, 90).to_numpy()
    by_question = retrieved.groupby("question", sort=False, as_index=False)
    by_question.agg(answer=("answer", "first"), ref=("ref", list)).vault.save("answers")
    answers = tv.read("answers")
    answers.assign(words=answers["answer"].str.split().str.len()).vault.save("graded")


def look_back(vault: tv.Vault) -> None:
    graded = tv.read("graded")
    one = graded.iloc[[0]]
    print(f"{one['question'].item()}\n  {one['answer'].item()} …\n")
    print("It came from:")
    walk = one.vault.lineage(columns=["topic"])
    print(walk[["depth", "parent_list", "parent_position", "basis", "topic"]].to_string(index=False))
    sources = graded.vault.lineage(to="documents", columns=["topic"])
    print("\nDocuments behind each answer:")
    print(sources.groupby("position")["topic"].agg(sorted).to_string())
    print("\nAnswers that rest on the document of the first one:")
    below = vault.lineage(
        "documents", rows=sources["parent_position"].tolist()[:1], direction="down", to="answers"
    )
    print(below[["list", "position", "depth", "child_list", "child_position"]].to_string(index=False))
    print(f"\n{vault.graph().to_mermaid()}")


if __name__ == "__main__":
    main(*sys.argv[1:])
