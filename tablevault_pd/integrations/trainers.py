"""Callbacks of the trainers of PyTorch Lightning and Hugging Face: a stop ends the training as these end it, then the session."""

from __future__ import annotations

import importlib
import sys
from contextlib import suppress
from numbers import Real
from typing import TYPE_CHECKING, Any

from tablevault_pd.errors import SessionStopped

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tablevault_pd.session import Run

# two names of one library, whose classes are not the same
LIGHTNING = "lightning.pytorch", "pytorch_lightning"


def lightning_callback(session: Run) -> Any:
    """Return a callback for ``Trainer(…, callbacks=[…])`` of PyTorch Lightning: hyperparameters, what modules log, and checkpoints.

    What ``self.log`` is given is logged whenever Lightning writes to loggers, also beside other loggers or with
    ``logger=False``: by ``trainer.global_step``, which goes on where ``fit(ckpt_path=…)`` does. Where the session is asked to
    stop, the trainer is told so after the batch, by ``trainer.should_stop``: it ends as it always does, its callbacks save
    checkpoints, and then the session stops.

    Parameters
    ----------
    session : Run
        The session that is logged to: ``vault.session(name)``, or ``vault.session(name, resume=True)`` to go on.

    Returns
    -------
    lightning.pytorch.Callback or pytorch_lightning.Callback
        Of the package that is imported already, else of the one that is installed.

    Examples
    --------
    >>> with vault.session("net") as s:  # doctest: +SKIP
    ...     lightning.Trainer(max_epochs=5, callbacks=[lightning_callback(s)]).fit(model, data)
    """
    package = _lightning()
    loggers = importlib.import_module(f"{package.__name__}.loggers")
    stop = _Stop(session)

    class SessionLogger(loggers.Logger):  # type: ignore[misc,name-defined]  # without lightning, mypy knows no class
        name, version = session.name, session.run

        def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
            """Log values that modules logged."""
            session.log({name: float(value) for name, value in metrics.items()}, step=step)

        def log_hyperparams(self, params: Any, *_: Any, **__: Any) -> None:
            """Set parameters."""
            session.params.update(dict(params))

    class LightningCallback(package.Callback):  # type: ignore[misc,name-defined]
        def on_fit_start(self, trainer: Any, pl_module: Any) -> None:
            """Add the logger, once Lightning has made the folders of checkpoints after the others."""
            if trainer.is_global_zero:
                trainer.loggers = [*trainer.loggers, logger]

        def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
            """Wait here while the session is paused; end the training if it is to stop."""
            trainer.should_stop = stop.is_asked() or trainer.should_stop

        def on_fit_end(self, trainer: Any, pl_module: Any) -> None:
            """Stop the session if it was asked to."""
            stop.obey()

        def teardown(self, trainer: Any, pl_module: Any, stage: str) -> None:
            """Leave the trainer as it was."""
            trainer.loggers = [other for other in trainer.loggers if other is not logger]

    logger = SessionLogger()
    return LightningCallback()


def transformers_callback(session: Run) -> Any:
    """Return a callback for ``Trainer(…, callbacks=[…])`` of Hugging Face's transformers: arguments, what it logs, and checkpoints.

    The numbers of its log are logged by ``state.global_step``, which goes on where ``train(resume_from_checkpoint=True)`` does. Where the
    session is asked to stop, the trainer saves a checkpoint (unless ``save_strategy="no"``) and ends the training, then the session stops.

    Parameters
    ----------
    session : Run
        The session that is logged to: ``vault.session(name)``, or ``vault.session(name, resume=True)`` to go on.

    Returns
    -------
    transformers.TrainerCallback
        To be given to the trainer.

    Examples
    --------
    >>> with vault.session("net") as s:  # doctest: +SKIP
    ...     transformers.Trainer(model, arguments, train_dataset=data, callbacks=[transformers_callback(s)]).train()
    """
    from transformers import TrainerCallback

    stop = _Stop(session)

    class TransformersCallback(TrainerCallback):  # type: ignore[misc]  # without transformers, mypy takes it for Any
        def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            """Set the arguments that have a value as parameters."""
            if state.is_world_process_zero:
                given = {name: value for name, value in args.to_sanitized_dict().items() if value is not None}
                session.params["TrainingArguments"] = given

        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
            """Log what the trainer logs."""
            if state.is_world_process_zero:
                numbers = {
                    name: float(value) for name, value in (logs or {}).items() if isinstance(value, Real)
                }
                session.log(numbers, step=state.global_step)

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            """Wait here while the session is paused; end the training if it is to stop."""
            if stop.is_asked():
                control.should_training_stop = True
                control.should_save = control.should_save or args.save_strategy != "no"

        def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            """Stop the session if it was asked to."""
            stop.obey()

    return TransformersCallback()


class _Stop:
    """A stop of a session that is noticed at one place, and obeyed at another."""

    def __init__(self, session: Run) -> None:
        self._session = session
        self._raised: SessionStopped | None = None

    def is_asked(self) -> bool:
        """Whether the session is to stop. While it is paused, this waits."""
        try:
            self._session.checkpoint()
        except SessionStopped as stopped:
            self._raised = stopped
        return self._raised is not None

    def obey(self) -> None:
        """Raise SessionStopped if the session is to stop."""
        if self._raised is not None:
            raise self._raised


def _lightning() -> Any:
    """Return the package of Lightning that is imported already, else the one that is installed."""
    for name in LIGHTNING:
        if name in sys.modules:
            return sys.modules[name]
    with suppress(ImportError):
        return importlib.import_module(LIGHTNING[0])
    return importlib.import_module(LIGHTNING[1])
