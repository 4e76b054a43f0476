"""A sweep of four worker processes, watched and steered from another process while it runs.

    python examples/sweep.py [folder]

Each worker trains a classifier of handwritten digits with its own learning rate, one session each. This process follows
their accuracy as a frame, pauses all of them, resumes them, and stops the one that learns worst. Nothing but the vault
connects them: the same calls work from a notebook, from the command line, or from another machine.
"""

from __future__ import annotations

import sys
import time
from multiprocessing import get_context

import numpy as np
import pandas as pd
from sklearn.datasets import load_digits
from sklearn.linear_model import SGDClassifier
from sklearn.model_selection import train_test_split

import tablevault_pd as tv

RATES = (0.0000001, 0.0001, 0.01, 1.0)
EPOCHS = 120
WAIT_S = 20.0


def train(place: str, rate: float) -> None:
    """One worker: a session of its own, a checkpoint after every epoch, and its predictions at the end."""
    pictures, digits = load_digits(return_X_y=True)
    x, x_test, y, y_test = train_test_split(pictures / 16, digits, random_state=0, stratify=digits)
    model = SGDClassifier(learning_rate="constant", eta0=rate, random_state=0)
    vault = tv.connect(place)
    with vault.session(f"sweep-{rate:g}", params={"rate": rate}, tags="sweep") as s:
        try:
            for epoch in tv.loop(range(EPOCHS), name="epoch"):
                model.partial_fit(x, y, classes=np.arange(10))
                s.log(step=epoch, accuracy=model.score(x_test, y_test), train_accuracy=model.score(x, y))
                time.sleep(0.1)  # a real epoch takes longer
        finally:  # a stop comes by here too: what was learned so far is kept
            found = pd.DataFrame({"digit": y_test, "predicted": model.predict(x_test), "rate": rate})
            vault.append("predictions", found)


def main(place: str = "sweep.vault") -> None:
    vault = tv.connect(place, session="steer")
    workers = [get_context("spawn").Process(target=train, args=(place, rate)) for rate in RATES]
    for worker in workers:
        worker.start()
    since = vault.sessions().started.iloc[-1]

    wait_until(lambda: len(accuracies(vault, since)) == len(RATES))
    show("All four are learning:", accuracies(vault, since))

    show("Paused:", vault.pause("sweep-*", wait_s=WAIT_S))
    before = accuracies(vault, since)
    time.sleep(1.0)
    assert accuracies(vault, since).equals(before), "nobody learns while paused"
    show("Resumed:", vault.resume(vault.sessions(state="paused", since=since), wait_s=WAIT_S))

    worst = accuracies(vault, since).sort_values("metrics.accuracy").session.iloc[0]
    show(f"{worst} learns too little, and is stopped:", vault.stop(worst, wait_s=WAIT_S))

    for worker in workers:
        worker.join()
    show("How it ended:", accuracies(vault, since))
    wrong = vault.read("predictions", filters="digit != predicted").groupby("rate").size().rename("wrong")
    print(f"Wrong predictions by learning rate, the stopped one included:\n{wrong.to_string()}")
    assert vault.sessions(worst).state.item() == "stopped"
    vault.close()


def accuracies(vault: tv.Vault, since: pd.Timestamp) -> pd.DataFrame:
    """The sweep as it stands; a session that has logged nothing yet is left out."""
    found = vault.sessions("sweep-*", since=since)
    columns = ["session", "state", "params.rate", "metrics.accuracy", "metrics.train_accuracy"]
    return found.reindex(columns=columns).dropna(subset=["metrics.accuracy"]).reset_index(drop=True)


def wait_until(done) -> None:
    deadline = time.monotonic() + 300
    while not done() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert done(), "the workers did not come up"


def show(title: str, frame: pd.DataFrame) -> None:
    shown = frame.drop(columns=["requested", "acknowledged"], errors="ignore")
    print(f"{title}\n{shown.to_string(index=False, float_format='{:g}'.format)}\n", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
