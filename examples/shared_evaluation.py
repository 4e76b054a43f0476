"""An evaluation that four processes share: each row is done once, although one of them is killed.

    python examples/shared_evaluation.py [folder]

The texts are the topics that ``help()`` shows, which come with Python. The workers take paragraphs, a few at a time, by
:meth:`Vault.claim`, and look for the known paragraph that comes nearest: it tells the topic. What one commits finishes its claim in
the same step. The claims of the one that is killed fall back to the others.
"""

from __future__ import annotations

import os
import re
import signal
import sys
import time
from multiprocessing import get_context
from pydoc_data.topics import topics

import pandas as pd
from sklearn.feature_extraction.text import HashingVectorizer

import tablevault_pd as tv

WORKERS = 4
WORDS = HashingVectorizer(n_features=1024, alternate_sign=False, stop_words="english")


def paragraphs() -> pd.DataFrame:
    """The paragraphs of the longer topics, each text once."""
    rows = [
        {"topic": topic, "text": " ".join(part.split())}
        for topic, body in topics.items()
        for part in re.split(r"\n\s*\n", body)
        if len(part) > 200 and len(body) > 5000
    ]
    return (
        pd.DataFrame(rows).drop_duplicates("text", ignore_index=True).rename_axis("paragraph").reset_index()
    )


def work(place: str, number: int) -> None:
    """One worker. The first one is killed while it holds rows."""
    vault = tv.connect(place, session=f"worker-{number}")
    known = vault.read("known")
    vectors = WORDS.transform(known["text"])
    while True:
        mine = vault.claim("tasks", k=25)
        if number == 0 and len(mine):
            os.kill(os.getpid(), signal.SIGKILL)
        if len(mine):
            nearest = (WORDS.transform(mine["text"]) @ vectors.T).toarray().argmax(axis=1)
            answers = mine[["paragraph", "topic"]].assign(pred=known["topic"].to_numpy()[nearest])
            vault.append("preds", answers, inputs=tv.rows(mine), finish=True)
        elif (vault.claims("tasks")["state"] == "done").all():
            break
        else:
            time.sleep(0.1)  # others hold the rest: one of them may not come to its end
    vault.close()


def main(place: str = "shared_evaluation.vault") -> None:
    texts = paragraphs()
    is_task = texts["paragraph"] % 3 == 0
    tasks = texts[is_task].reset_index(drop=True)
    with tv.connect(place, session="evaluation") as vault:
        vault.save("known", texts[~is_task].reset_index(drop=True))
        vault.save("tasks", tasks, key="paragraph")
        context = get_context("spawn")
        workers = [context.Process(target=work, args=(place, number)) for number in range(WORKERS)]
        workers[0].start()  # it holds rows when it is killed, which the others take over
        workers[0].join()
        for worker in workers[1:]:
            worker.start()
        for worker in workers[1:]:
            worker.join()
        assert workers[0].exitcode == -signal.SIGKILL

        preds = vault.read("preds")
        assert sorted(preds["paragraph"]) == tasks["paragraph"].tolist(), "each paragraph once"
        by = vault.versions("preds").groupby("session")["rows"].sum()
        print(f"{len(preds)} paragraphs, {(preds['pred'] == preds['topic']).mean():.1%} right, by:")
        print(by.to_string(header=False))
        print("sessions:", vault.sessions()["state"].value_counts().to_dict())


if __name__ == "__main__":
    main(*sys.argv[1:])
