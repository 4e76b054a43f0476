"""Callbacks of training libraries that log to a session, and stop and pause at its checkpoints."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tablevault_pd.api import current_vault

if TYPE_CHECKING:
    from collections.abc import Callable

    from tablevault_pd.session import Run
    from tablevault_pd.vault.vault import Vault


def optuna_callback(vault: Vault | None = None) -> Callable[[Any, Any], None]:
    """Return a callback for ``study.optimize(…, callbacks=[…])`` by which each trial becomes a session.

    Its name is that of the study, its parameters those of the trial, its tag the trial's state. Values are the metric ``value``
    (``value_0``, ``value_1`` … of several objectives), those that were reported on the way ``intermediate``, by step.

    Parameters
    ----------
    vault : Vault, optional
        Where the sessions are kept. Default: the current vault.

    Returns
    -------
    callable
        To be given to Optuna.

    Examples
    --------
    >>> study.optimize(objective, n_trials=20, callbacks=[optuna_callback()])  # doctest: +SKIP
    """

    def callback(study: Any, trial: Any) -> None:
        place = vault or current_vault()
        tags = ["optuna", trial.state.name.lower()]
        params = {"trial": trial.number, **trial.params}
        with place.session(study.study_name, params=params, tags=tags) as session:
            for step, value in sorted(trial.intermediate_values.items()):
                session.log(step=step, intermediate=value)
            values = trial.values or []
            names = ["value"] if len(values) == 1 else [f"value_{number}" for number in range(len(values))]
            session.log(dict(zip(names, values, strict=True)))

    return callback


def xgboost_callback(session: Run) -> Any:
    """Return a callback for ``xgboost.train(…, callbacks=[…])`` and estimators: evaluation results by round, and checkpoints.

    Parameters
    ----------
    session : Run
        The session that is logged to. Metrics are called ``dataset/metric``.

    Returns
    -------
    xgboost.callback.TrainingCallback
        To be given to XGBoost.

    Examples
    --------
    >>> with vault.session("boost") as s:  # doctest: +SKIP
    ...     xgboost.train(params, data, evals=[(data, "train")], callbacks=[xgboost_callback(s)])
    """
    from xgboost.callback import TrainingCallback

    class Callback(TrainingCallback):  # type: ignore[misc]  # without xgboost, mypy takes it for Any
        def after_iteration(self, model: Any, epoch: int, evals_log: Any) -> bool:
            """Log the results of a round."""
            for dataset, metrics in evals_log.items():
                session.log(
                    {f"{dataset}/{name}": _number(values[-1]) for name, values in metrics.items()}, step=epoch
                )
            session.checkpoint()
            return False

    return Callback()


def lightgbm_callback(session: Run) -> Callable[[Any], None]:
    """Return a callback for ``lightgbm.train(…, callbacks=[…])`` and estimators: evaluation results by round, and checkpoints.

    Parameters
    ----------
    session : Run
        The session that is logged to. Metrics are called ``dataset/metric``.

    Returns
    -------
    callable
        To be given to LightGBM.

    Examples
    --------
    >>> with vault.session("boost") as s:  # doctest: +SKIP
    ...     lightgbm.train(params, data, valid_sets=[data], callbacks=[lightgbm_callback(s)])
    """

    def callback(env: Any) -> None:
        results = env.evaluation_result_list or []
        session.log({f"{dataset}/{name}": value for dataset, name, value, *_ in results}, step=env.iteration)
        session.checkpoint()

    return callback


def keras_callback(session: Run) -> Any:
    """Return a callback for ``model.fit(…, callbacks=[…])`` of Keras 3: what each epoch reports, and checkpoints.

    Parameters
    ----------
    session : Run
        The session that is logged to. Metrics are called as in the history that ``fit`` returns, steps are epochs.

    Returns
    -------
    keras.callbacks.Callback
        To be given to Keras.

    Examples
    --------
    >>> with vault.session("net") as s:  # doctest: +SKIP
    ...     model.fit(x, y, epochs=5, callbacks=[keras_callback(s)])
    """
    from keras.callbacks import Callback

    class EpochCallback(Callback):  # type: ignore[misc]  # without keras, mypy takes it for Any
        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            """Log the results of an epoch."""
            session.log({name: float(value) for name, value in (logs or {}).items()}, step=epoch)
            session.checkpoint()

    return EpochCallback()


def _number(value: Any) -> float:
    return float(value[0] if isinstance(value, tuple) else value)  # of cross-validation: (mean, deviation)
