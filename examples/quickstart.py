"""A real experiment, saved and read back: which model reads handwritten digits best?

    python examples/quickstart.py [folder]

It makes a vault in the folder (default: ./quickstart.vault), or goes on with the one that is there: each run splits the
pictures anew into training and test, and makes the next versions of the lists. There is no server, and no data set to
fetch: the pictures come with scikit-learn, the texts with Python.
"""

from __future__ import annotations

import json
import platform
import sys
import tempfile
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

import matplotlib
import numpy as np
import pandas as pd
import sklearn
from sklearn.datasets import load_digits
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.svm import SVC
from threadpoolctl import threadpool_limits

import tablevault_pd as tv

if TYPE_CHECKING:
    from collections.abc import Callable

matplotlib.use("Agg")  # the picture goes to a file: no window

#: Name, class, and the values to try for one setting.
MODELS: list[tuple[str, Callable[..., Any], str, tuple[float, ...]]] = [
    ("k-NN", KNeighborsClassifier, "n_neighbors", (1, 3, 9, 27)),
    ("logistic regression", partial(LogisticRegression, max_iter=500), "C", (0.01, 0.1, 1.0)),
    ("random forest", RandomForestClassifier, "n_estimators", (5, 25, 100)),
    ("support vectors", SVC, "C", (0.1, 1.0, 10.0)),
]


def main(place: str = "quickstart.vault") -> None:
    start = perf_counter()
    with tv.connect(place, session="quickstart") as vault:
        print(f"tablevault-pd {tv.__version__}, Python {platform.python_version()}, pandas {pd.__version__}")
        print(f"The vault: {vault.place}")
        run = len(vault.sessions())
        save_digits(vault, run)
        save_texts(vault)
        train(vault, run)
        save_picture(vault, Path(f"{Path(place).stem}.png"))
        look_back(vault)
        hand_over(vault)
    print(
        f"\nDone in {perf_counter() - start:.1f} s. Run it again for the next version of each list, or look around:\n"
    )
    for command in ("lists", "show metrics", "versions predictions", "code quickstart"):
        print(f"    {Path(sys.executable).parent / 'tablevault-pd'} --vault {place} {command}")


def section(title: str, code: str = "") -> None:
    print(f"\n\n=== {title}\n" + (f">>> {code}" if code else ""))


# -- data in


def save_digits(vault: tv.Vault, run: int) -> None:
    """Every picture is a vector of 64 grey values: a column like any other. Every run makes its own split."""
    digits = load_digits()
    frame = pd.DataFrame({"label": digits.target, "ink": digits.data.sum(axis=1).astype("int64")})
    order = np.random.default_rng(run).permutation(len(frame))
    frame["part"] = pd.Categorical(np.where(order < 1200, "train", "test"), ["train", "test"])
    frame["image"] = list((digits.data / 16).astype("float32"))
    section("1,797 handwritten digits", "frame.vault.save('digits')")
    saved = frame.vault.save(
        "digits", description="8 x 8 pictures of handwritten digits, scikit-learn's own", tags=["data"]
    )
    print(saved)
    back = vault.read("digits")
    print(f"\nRead back, exactly as saved: {back.equals(frame.set_index(back.index))}")
    print(f"As one matrix, without a copy: {saved.matrix('image').shape} of {saved.matrix('image').dtype}")


def save_texts(vault: tv.Vault) -> None:
    """The topics of Python's own help, as documents. Saving the same rows again makes no version."""
    from pydoc_data.topics import topics

    frame = pd.DataFrame({"topic": list(topics), "text": list(topics.values())})
    section("Python's own documentation", "frame.vault.save('help', documents=['text'])")
    saved = frame.vault.save(
        "help", documents=["text"], description=f"help topics of Python {platform.python_version()}"
    )
    print(saved)
    about = vault.read("help", filters=[("topic", "in", ["lambda", "with", "yield"])])
    where = saved.offsets().loc[about.index]
    print("\nThree of them, and where each lies in the running text of the list:")
    print(pd.DataFrame({"topic": about["topic"], "characters": about["text"].str.len(), **where}))


# -- the experiment


def train(vault: tv.Vault, run: int) -> None:
    """Train every model with every setting. Metrics are appended as they come, predictions saved after each model."""
    train_set = vault.read("digits", filters=[("part", "==", "train")])
    test_set = vault.read("digits", filters=[("part", "==", "test")])
    inputs, labels = np.stack(train_set["image"]), train_set["label"]
    predictions = test_set[["label"]].rename_axis("digit")
    count = sum(len(values) for _, _, _, values in MODELS)
    section(f"{count} models, a row of metrics for each", "vault.append('metrics', {...})")
    for name, model, setting, values in MODELS:
        for value in values:
            start = perf_counter()
            with threadpool_limits(1):  # the problems are small: more threads only get in each other's way
                guess = model(**{setting: value}).fit(inputs, labels).predict(np.stack(test_set["image"]))
            accuracy = float((guess == test_set["label"]).mean())
            seconds = round(perf_counter() - start, 3)
            row = {
                "run": run,
                "model": name,
                "setting": {setting: value},
                "accuracy": accuracy,
                "seconds": seconds,
            }
            vault.append("metrics", row, tags=["results"])
            predictions[f"{name} {value}"] = guess
            print(
                f"{name:>20}  {setting + ' = ' + str(value):<18} {accuracy:7.2%}  {'█' * round((accuracy - 0.8) * 200)}"
            )
        predictions.vault.save(
            "predictions", description="a column per model, a row per digit of the test set"
        )


def save_picture(vault: tv.Vault, path: Path) -> None:
    """Draw how the models did and what the best one got wrong; keep the picture and a report in the vault."""
    predictions = vault.read("predictions")
    truth = predictions.pop("label")
    accuracy = predictions.eq(truth, axis=0).mean()
    best = accuracy.idxmax()
    guess = predictions.loc[predictions[best] != truth, best].head(9)
    draw(path, accuracy, vault.read("digits")["image"], truth, guess)

    section(
        "The picture and a report, kept in the vault",
        "frame.vault.append('artifacts', files=['path'], copy=True)",
    )
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        report.write_text(
            json.dumps({"best": best, "wrong": guess.index.tolist(), "sklearn": sklearn.__version__})
        )
        frame = pd.DataFrame({"what": ["picture", "report"], "path": [str(path), str(report)]})
        frame.vault.append("artifacts", files=["path"], copy=True)  # copied: the report's folder goes away
    print(
        vault.files("artifacts")[["list", "position", "size_bytes", "sha256", "stored"]]
        .tail(2)
        .to_string(index=False)
    )
    with vault.open_file(vault.files("artifacts")["sha256"].iloc[-1]) as kept:
        print(f"\nThe report's file is gone, the vault still has it: {kept.read(60).decode()}…")
    print(f"The picture is also at {path.resolve()}")


def draw(path: Path, accuracy: pd.Series, images: pd.Series, truth: pd.Series, guess: pd.Series) -> None:
    """Bars for the models, and the digits that the best of them read as something else."""
    from matplotlib import pyplot as plt

    figure = plt.figure(figsize=(11, 4.5), layout="constrained")
    left, right = figure.subfigures(1, 2, width_ratios=[3, 2], squeeze=False)[0]
    axis = left.subplots()
    ranked = accuracy.sort_values()
    colors = ["tab:orange" if name == accuracy.idxmax() else "tab:blue" for name in ranked.index]
    axis.bar_label(axis.barh(list(ranked.index), ranked, color=colors), fmt="{:.1%}", padding=3)
    axis.set(xlim=(0.8, 1.02), title="Accuracy on the test set")
    right.suptitle(f"What {accuracy.idxmax()} got wrong")
    for place in right.subplots(3, 3).flat:
        place.axis("off")
    for place, (digit, read_as) in zip(right.axes, guess.items(), strict=False):
        place.imshow(images[digit].reshape(8, 8), cmap="gray_r")
        place.set_title(f"a {truth[digit]}, read as {read_as}", fontsize=9)
    figure.savefig(path, dpi=120)
    plt.close(figure)


# -- and out again


def look_back(vault: tv.Vault) -> None:
    section("The five best so far", "tv.read('metrics').nlargest(5, 'accuracy')")
    print(vault.read("metrics").nlargest(5, "accuracy").round({"accuracy": 4}))

    section("Only what is asked for", "tv.read('metrics', columns=['run', 'setting', 'accuracy'], filters=…)")
    filters = [("model", "==", "k-NN"), ("accuracy", ">", 0.95)]
    print(vault.read("metrics", columns=["run", "setting", "accuracy"], filters=filters).tail(4))

    section("Nothing is overwritten", "vault.versions()")
    versions = vault.versions()
    columns = ["list", "version", "operation", "rows", "total", "session", "time"]
    newest = versions.groupby("list", sort=False).tail(4)[columns]
    print(newest.to_string(index=False, formatters={"time": "{:%H:%M:%S}".format}))

    section(
        "Any earlier state can be read", "tv.read('predictions', version=1), tv.read('metrics', as_of=time)"
    )
    for version in versions.loc[versions["list"] == "predictions", "version"].tail(4):
        guesses = vault.read("predictions", version=version)
        agree = guesses.drop(columns="label").eq(guesses["label"], axis=0).mean()
        print(
            f"predictions@{version}: {len(agree):>2} models, the best is {agree.idxmax()} with {agree.max():.2%}"
        )
    first = versions.loc[versions["list"] == "metrics", "time"].iloc[0]
    print(f"metrics as of {first:%Y-%m-%d %H:%M:%S.%f}: {len(vault.read('metrics', as_of=first))} row")

    section("Who made it", "vault.sessions()")
    sessions = vault.sessions()[["session", "state", "user", "host", "started"]].tail(3)
    print(sessions.to_string(index=False, formatters={"started": "{:%Y-%m-%d %H:%M:%S}".format}))

    section("What there is", "vault")
    print(vault)
    problems = vault.check()
    print(f"\nvault.check(): {'every byte is as it was saved' if problems.empty else problems}")


def hand_over(vault: tv.Vault) -> None:
    """The same list in polars, if that is installed."""
    try:
        import polars as pl
    except ImportError:
        return
    section("The same list in polars", "polars.DataFrame(vault['metrics'])")
    metrics = pl.DataFrame(vault["metrics"])
    best = pl.col("accuracy").max().round(4)
    print(metrics.group_by("model").agg(best, pl.len().alias("runs")).sort("accuracy", descending=True))


if __name__ == "__main__":
    main(*sys.argv[1:2])
