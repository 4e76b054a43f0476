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
    lightning_callback,
    optuna_callback,
    sklearn_autolog,
    transformers_callback,
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
    libraries = {"optuna", "xgboost", "lightgbm", "sklearn", "keras", "torch", "lightning", "transformers"}
    code = f"import sys, tablevault_pd.integrations; print({libraries} & set(sys.modules))"
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


@pytest.fixture
def stop_soon(monkeypatch):
    """Ask a session to stop, and wait until its next checkpoint knows."""

    def stop(vault, session):
        vault.stop(session.name)
        while not session._recorder.has_request:  # until the next heartbeat
            time.sleep(0.01)

    return stop


@pytest.mark.slow
@pytest.mark.parametrize("name", ["lightning.pytorch", "pytorch_lightning"])
def test_a_training_of_lightning_is_logged_stops_and_goes_on(here, monkeypatch, stop_soon, name):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    lightning = pytest.importorskip(name, reason=f"{name} is not installed")
    for other in ("lightning.pytorch", "pytorch_lightning"):
        monkeypatch.delitem(sys.modules, other, raising=False)
    monkeypatch.setitem(sys.modules, name, lightning)

    class Net(lightning.LightningModule):  # type: ignore[name-defined]  # imported if it is installed
        def __init__(self, lr=0.1):
            super().__init__()
            self.save_hyperparameters()
            self.layer = torch.nn.Linear(2, 1)
            self.losses = []

        def training_step(self, batch, _):
            loss = self.layer(batch[0]).square().mean()
            self.losses.append(float(loss.detach()))
            self.log("loss", loss, on_step=True, on_epoch=True)
            return loss

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=self.hparams.lr)

    class StopAfter(lightning.Callback):  # type: ignore[name-defined]  # imported if it is installed
        def __init__(self, steps, stop):
            self.steps, self.stop = steps, stop

        def on_before_zero_grad(self, trainer, *_):
            if trainer.global_step == self.steps:
                self.steps = None
                self.stop()

    data = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(torch.ones(12, 2)), batch_size=4)
    saved = lightning.callbacks.ModelCheckpoint(here / "checkpoints", save_last=True)

    def fit(net, session, *callbacks, **options):
        trainer = lightning.Trainer(
            accelerator="cpu", max_epochs=3, logger=False, enable_progress_bar=False, enable_model_summary=False, log_every_n_steps=1,
            callbacks=[*callbacks, lightning_callback(session), saved],
        )  # fmt: skip
        trainer.fit(net, data, **options)
        assert trainer.loggers == []

    with tv.connect(here / "v", session=False) as vault:
        net = Net()
        with vault.session("net") as session:
            fit(net, session)
        run = vault.run("net")
        assert run.params == {"lr": 0.1}
        curve = run.curve("loss_step")
        assert curve["step"].tolist() == list(range(9))
        assert curve["value"].tolist() == pytest.approx(net.losses)
        by_epoch = np.array(net.losses).reshape(3, 3).mean(axis=1)
        assert run.curve("loss_epoch")["value"].tolist() == pytest.approx(by_epoch)
        assert run.curve("epoch")["value"].max() == 2
        with pytest.raises(tv.SessionStopped), vault.session("stopped") as session:
            fit(Net(), session, StopAfter(4, lambda: stop_soon(vault, session)))
        assert vault.run("stopped").state == "stopped"
        steps = vault.run("stopped").curve("loss_step")["step"].tolist()
        assert steps == list(range(len(steps)))
        assert 4 <= len(steps) < 9
        with vault.session("stopped", resume=True) as session:
            fit(Net(), session, ckpt_path=saved.last_model_path, weights_only=False)
        run = vault.run("stopped")
        assert run.state == "finished"
        resumed = run.curve("loss_step")["step"].tolist()[len(steps) :]
        assert resumed == list(
            range(len(steps), len(steps) + len(resumed))
        )  # Lightning counts on where it was
        assert resumed


@pytest.mark.slow
def test_a_training_of_transformers_is_logged_stops_and_goes_on(here, stop_soon):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    pytest.importorskip("accelerate", reason="accelerate, which its trainer needs, is not installed")

    class Net(torch.nn.Module):  # type: ignore[name-defined]  # imported if it is installed
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Linear(2, 1)

        def forward(self, x):
            return {"loss": self.layer(x).square().mean()}

    class StopAfter(transformers.TrainerCallback):  # type: ignore[name-defined]  # imported if it is installed
        def __init__(self, steps, stop):
            self.steps, self.stop = steps, stop

        def on_step_begin(self, args, state, control, **_):
            if state.global_step == self.steps:
                self.stop()

    def train(session, *callbacks, **options):
        arguments = transformers.TrainingArguments(
            "out", max_steps=9, per_device_train_batch_size=4, logging_steps=1, save_steps=100, report_to="none", use_cpu=True,
            disable_tqdm=True, learning_rate=0.1,
        )  # fmt: skip
        data = [{"x": torch.ones(2)} for _ in range(12)]
        trainer = transformers.Trainer(
            Net(), arguments, train_dataset=data, callbacks=[*callbacks, transformers_callback(session)]
        )
        trainer.train(**options)
        return [line for line in trainer.state.log_history if "loss" in line]

    with tv.connect(here / "v", session=False) as vault:
        with vault.session("net") as session:
            history = train(session)
        run = vault.run("net")
        assert run.params["TrainingArguments"]["learning_rate"] == 0.1
        curve = run.curve("loss")
        assert curve["step"].tolist() == list(range(1, 10))
        assert curve["value"].tolist() == [line["loss"] for line in history]
        with pytest.raises(tv.SessionStopped), vault.session("stopped") as session:
            train(session, StopAfter(3, lambda: stop_soon(vault, session)))
        assert vault.run("stopped").state == "stopped"
        assert vault.run("stopped").curve("loss")["step"].tolist() == [1, 2, 3, 4]
        assert (here / "out" / "checkpoint-4").is_dir()
        with vault.session("stopped", resume=True) as session:
            train(session, resume_from_checkpoint="out/checkpoint-4")
        assert vault.run("stopped").curve("loss")["step"].tolist() == list(range(1, 10))
