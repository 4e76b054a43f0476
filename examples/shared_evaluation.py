"""An evaluation that four processes share: each row is done once, although one of them is killed.

    python examples/shared_evaluation.py [folder]

The workers take pictures of handwritten digits, a few at a time, by :meth:`Vault.claim`, and look for the known picture that comes
nearest. What one commits finishes its claim in the same step. The claims of the one that is killed fall back to the others.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from multiprocessing import get_context

import numpy as np
import pandas as pd

import tablevault_pd as tv

WORKERS = 4
KNOWN = 1000  # pictures that are known; the others are to be classified


def work(place: str, number: int) -> None:
    """One worker. The first one is killed while it holds rows."""
    vault = tv.connect(place, session=f"worker-{number}")
    known, digits = vault["known"].matrix("pixels"), vault.read("known")["digit"].to_numpy()
    while True:
        mine = vault.claim("tasks", k=25)
        if number == 0 and len(mine):
            os.kill(os.getpid(), signal.SIGKILL)
        if len(mine):
            distance = ((np.stack(mine["pixels"])[:, None] - known) ** 2).sum(axis=2)
            answers = mine[["picture", "digit"]].assign(pred=digits[distance.argmin(axis=1)])
            vault.append("preds", answers, inputs=tv.rows(mine), finish=True)
        elif (vault.claims("tasks")["state"] == "done").all():
            break
        else:
            time.sleep(0.1)  # others hold the rest: one of them may not come to its end
    vault.close()


def main(place: str = "shared_evaluation.vault") -> None:
    from sklearn.datasets import load_digits  # the workers do without it

    pixels, digits = load_digits(return_X_y=True)
    pictures = pd.DataFrame(
        {"picture": range(len(digits)), "digit": digits, "pixels": list(pixels.astype("float32"))}
    )
    with tv.connect(place, session="evaluation") as vault:
        tasks = pictures[KNOWN:].reset_index(drop=True)
        vault.save("known", pictures[:KNOWN])
        vault.save("tasks", tasks, key="picture")
        context = get_context("spawn")
        workers = [context.Process(target=work, args=(place, number)) for number in range(WORKERS)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        assert workers[0].exitcode == -signal.SIGKILL

        preds = vault.read("preds")
        assert sorted(preds["picture"]) == tasks["picture"].tolist(), "each picture once"
        by = vault.versions("preds").groupby("session")["rows"].sum()
        print(f"{len(preds)} pictures, {(preds['pred'] == preds['digit']).mean():.1%} right, by:")
        print(by.to_string(header=False))
        print("sessions:", vault.sessions()["state"].value_counts().to_dict())


if __name__ == "__main__":
    main(*sys.argv[1:])
