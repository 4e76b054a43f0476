"""Callbacks and the names of wandb: tested with the packages themselves, where they are installed."""

from __future__ import annotations

import subprocess
import sys
import threading
import time

import numpy as np
import pytest

import tablevault_pd as tv
import tablevault_pd.wandb as wandb
from tablevault_pd.integrations import (
    keras_callback,
    lightgbm_callback,
    optuna_callback,
    sklearn_autolog,
    xgboost_callback,
)


def test_a_script_for_wandb_runs_over_a_session(here):
    with tv.connect(here / "v", session=False) as vault:
        with pytest.raises(tv.InvalidInput, match="init"):
            wandb.log({"loss": 1})
        wandb.init(project="digits", name="a", config={"lr": 0.1}, tags=["demo"], entity="me", mode="offline")
        wandb.config.update({"epochs": 2})
        wandb.config.depth = 3
        assert (wandb.config.lr, wandb.config["epochs"], wandb.config.depth) == (0.1, 2, 3)
        assert not hasattr(wandb.config, "nothing")
        for loss in (0.5, 0.25):
            wandb.log({"loss": loss}, commit=False)
            wandb.log({"val": {"acc": 1 - loss}})
        wandb.log({"loss": 0.125}, step=10)
        with pytest.warns(UserWarning, match="'image' is no number"):
            wandb.log({"image": object(), "late": 1.0})
        wandb.summary["best"] = 0.75
        assert wandb.summary["best"] == 0.75
        again = wandb.init(project="digits", name="a")
        wandb.finish(exit_code=1)
        wandb.finish()
        run = vault.run("digits/a#1")
        assert run.params == {"lr": 0.1, "epochs": 2, "depth": 3}
        assert run.tags == ("demo",)
        assert run.curve("loss")["step"].tolist() == [0, 1, 10]
        assert run.curve("val.acc")["value"].tolist() == [0.5, 0.75]
        assert run.curve("late")["step"].tolist() == [11]
        assert run.metrics["best"] == 0.75
        assert vault.sessions()["state"].tolist() == ["finished", "failed"]
        assert again.name == "digits/a"


def test_nothing_is_imported_until_a_callback_is_made():
    code = "import sys, tablevault_pd.integrations; print({'optuna', 'xgboost', 'lightgbm', 'sklearn', 'keras'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


@pytest.mark.slow
def test_trials_of_optuna_are_sessions(here):
    optuna = pytest.importorskip("optuna", reason="Optuna is not installed")

    def objective(trial):
        x = trial.suggest_float("x", 0, 1)
        trial.report(x / 2, step=1)
        if trial.number == 2:
            raise optuna.TrialPruned
        return x

    with tv.connect(here / "v", session=False) as vault:
        study = optuna.create_study(study_name="search", sampler=optuna.samplers.RandomSampler(seed=0))
        study.optimize(objective, n_trials=3, callbacks=[optuna_callback()])
        sessions = vault.sessions("search")
        assert sessions["params.x"].tolist() == [trial.params["x"] for trial in study.trials]
        assert sessions["metrics.value"].tolist()[:2] == [trial.value for trial in study.trials[:2]]
        assert sessions["metrics.intermediate"].tolist() == [trial.params["x"] / 2 for trial in study.trials]
        assert sessions["tags"].tolist()[2] == ["optuna", "pruned"]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["xgboost", "lightgbm"])
def test_rounds_of_boosting_are_logged_and_stop_when_asked(here, name):
    library = pytest.importorskip(name, reason=f"{name} is not installed")
    x = np.random.default_rng(0).normal(size=(60, 3))
    y = x[:, 0] * 2

    def train(session):
        if name == "xgboost":
            data, history = library.DMatrix(x, y), {}
            options = {"evals": [(data, "train")], "evals_result": history, "verbose_eval": False}
            library.train({}, data, num_boost_round=5, callbacks=[xgboost_callback(session)], **options)
            return history["train"]["rmse"]
        history = {}
        callbacks = [lightgbm_callback(session), library.record_evaluation(history)]
        data = library.Dataset(x, y)
        params = {"verbose": -1, "min_data_in_leaf": 5}
        library.train(
            params, data, num_boost_round=5, valid_sets=[data], valid_names=["train"], callbacks=callbacks
        )
        return history["train"]["l2"]

    metric = {"xgboost": "train/rmse", "lightgbm": "train/l2"}[name]
    with tv.connect(here / "v", session=False) as vault:
        with vault.session("boost") as session:
            expected = train(session)
        curve = vault.run("boost").curve(metric)
        assert curve["step"].tolist() == list(range(5))
        assert curve["value"].tolist() == pytest.approx(expected)
        with pytest.raises(tv.SessionStopped), vault.session("stopped") as session:
            session.log(begun=1)
            vault.stop("stopped")
            while not session._recorder.has_request:  # until the next heartbeat
                time.sleep(0.01)
            train(session)


@pytest.mark.slow
def test_params_and_scores_of_scikit_learn_are_logged(here):
    pytest.importorskip("sklearn", reason="scikit-learn is not installed")
    from sklearn.linear_model import LogisticRegression, Ridge
    from sklearn.model_selection import GridSearchCV
    from sklearn.pipeline import Pipeline, make_pipeline
    from sklearn.preprocessing import StandardScaler

    owners = [owner for kind in (LogisticRegression, Ridge, Pipeline, GridSearchCV) for owner in kind.__mro__]
    before = [vars(owner).get(name) for owner in owners for name in ("fit", "score")]
    x = np.random.default_rng(0).normal(size=(40, 2))
    y = x[:, 0] > 0
    with tv.connect(here / "v", session=False) as vault:
        with vault.session("sk") as outer, sklearn_autolog(outer):
            model = LogisticRegression(C=0.5).fit(x, y)
            score = model.score(x, y)
            thread = threading.Thread(target=lambda: Ridge().fit(x, y))
            thread.start()
            thread.join()
            pipeline = make_pipeline(StandardScaler(), LogisticRegression(C=2)).fit(x, y)
            of_pipeline = pipeline.score(x, y)
            with pytest.raises(ValueError, match="NaN"):
                Ridge(alpha=3).fit(x * np.nan, y)
        with vault.session("search") as s, sklearn_autolog(s):
            search = GridSearchCV(LogisticRegression(), {"C": [0.1, 1.0]}, cv=2).fit(x, y)
        Ridge().fit(x, y)
        run, found = vault.run("sk"), vault.run("search")
        assert (run.params["LogisticRegression"]["C"], run.params["Ridge"]["alpha"]) == (0.5, 3)
        assert run.params["Pipeline"]["logisticregression__C"] == 2
        assert "logisticregression" not in run.params["Pipeline"]
        times = {name: run.metrics.pop(name) for name in list(run.metrics) if name.endswith("fit_s")}
        assert set(times) == {"LogisticRegression/fit_s", "Pipeline/fit_s"}
        assert run.curve("LogisticRegression/score")["value"].tolist() == [score]
        assert run.curve("Pipeline/score")["value"].tolist() == [of_pipeline]
        assert set(found.params) == {"GridSearchCV"}
        assert found.params["GridSearchCV"]["best"] == search.best_params_
        assert found.metrics["GridSearchCV/best_score"] == search.best_score_
    assert [vars(owner).get(name) for owner in owners for name in ("fit", "score")] == before


@pytest.mark.slow
def test_epochs_of_keras_are_logged_and_stop_when_asked(here, monkeypatch):
    pytest.importorskip("jax", reason="JAX, on which Keras runs here, is not installed")
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    keras = pytest.importorskip("keras", reason="Keras is not installed")
    x, y = np.ones((8, 2)), np.ones(8)
    model = keras.Sequential([keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    options = {"epochs": 3, "verbose": 0, "validation_data": (x, y)}
    with tv.connect(here / "v", session=False) as vault:
        with vault.session("net") as session:
            history = model.fit(x, y, callbacks=[keras_callback(session)], **options).history
        assert set(history) == {"loss", "val_loss"}
        for name, values in history.items():
            curve = vault.run("net").curve(name)
            assert curve["step"].tolist() == [0, 1, 2]
            assert curve["value"].tolist() == values
        with pytest.raises(tv.SessionStopped), vault.session("stopped") as session:
            session.log(begun=1)
            vault.stop("stopped")
            while not session._recorder.has_request:  # until the next heartbeat
                time.sleep(0.01)
            model.fit(x, y, callbacks=[keras_callback(session)], **options)
        assert vault.run("stopped").curve("loss")["step"].tolist() == [0]
