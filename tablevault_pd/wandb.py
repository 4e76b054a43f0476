"""The five names of Weights & Biases that most scripts use, over a session of the current vault.

``import tablevault_pd.wandb as wandb`` instead of ``import wandb`` runs such a script without an account. What has no place in a
session, such as images, is left out with a warning.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableMapping
from typing import TYPE_CHECKING, Any

from tablevault_pd.api import current_vault
from tablevault_pd.errors import InvalidInput
from tablevault_pd.progress import warn

if TYPE_CHECKING:
    from tablevault_pd.session import Run

__all__ = ["config", "finish", "init", "log", "summary"]


class _Config(MutableMapping[str, Any]):
    """The parameters of the run, as items and as attributes."""

    def __getitem__(self, name: str) -> Any:
        return _running().params[name]

    def __setitem__(self, name: str, value: Any) -> None:
        _running().params[name] = value

    def __delitem__(self, name: str) -> None:
        del _running().params[name]

    def __iter__(self) -> Iterator[str]:
        return iter(dict(_running().params))

    def __len__(self) -> int:
        return len(dict(_running().params))

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"The run has no parameter {name!r}.") from None

    def __setattr__(self, name: str, value: Any) -> None:
        self[name] = value

    def update(self, values: Any = (), /, *, allow_val_change: bool = True, **more: Any) -> None:
        """Set several parameters."""
        for name, value in {**dict(values), **more}.items():
            self[name] = value


class _Summary:
    """The last value of each metric: what is set here is logged."""

    def __init__(self) -> None:
        self._last: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        return self._last[name]

    def __setitem__(self, name: str, value: Any) -> None:
        _log({name: value}, None)

    def update(self, values: Mapping[str, Any]) -> None:
        """Log several values."""
        _log(values, None)


config = _Config()
summary = _Summary()
_runs: list[Run] = []
_steps: list[int] = [0]


def init(
    project: str | None = None,
    *,
    name: str | None = None,
    config: Any = None,
    tags: Any = None,
    **ignored: Any,
) -> Run:
    """Begin a session of the current vault, and end the one that was begun before.

    Parameters
    ----------
    project, name : str, optional
        The session is called ``project/name``, or by the one that is given. Default: the script's name.
    config : mapping, dataclass or argparse.Namespace, optional
        Its parameters.
    tags : str or list of str, optional
        Its labels.
    **ignored
        Other options of ``wandb.init``, such as ``entity`` and ``mode``, mean nothing here.

    Returns
    -------
    Run
        Also a context manager, as that of wandb.

    Examples
    --------
    >>> import tablevault_pd.wandb as wandb
    >>> with tv.connect("runs.vault") as opened:
    ...     run = wandb.init(project="digits", config={"lr": 0.1})
    ...     wandb.log({"loss": 0.5})
    ...     wandb.log({"loss": 0.25})
    ...     wandb.finish()
    ...     opened.sessions("digits")[["session", "state", "params.lr", "metrics.loss"]]
        session     state  params.lr  metrics.loss
    0  digits#1  finished        0.1          0.25
    """
    finish()
    label = "/".join(part for part in (project, name) if part) or None
    run = current_vault().session(label, params=config, tags=tags)
    run.__enter__()
    _runs[:], _steps[:] = [run], [0]
    summary._last.clear()
    return run


def log(data: Mapping[str, Any], step: int | None = None, commit: bool | None = None, **ignored: Any) -> None:
    """Log values by name, at the next step unless `step` says which.

    Parameters
    ----------
    data : mapping
        Numbers by name; nested mappings are joined by dots.
    step : int, optional
        Where in the run the values were measured.
    commit : bool, optional
        With ``False``, the next call logs at the same step.
    **ignored
        Other options of ``wandb.log`` mean nothing here.

    Raises
    ------
    InvalidInput
        If ``init`` was not called.

    Examples
    --------
    >>> import tablevault_pd.wandb as wandb
    >>> run = wandb.init(name="train")
    >>> wandb.log({"loss": 0.5, "val": {"acc": 0.9}})
    >>> wandb.finish()
    >>> vault.run("train").metrics
    {'loss': 0.5, 'val.acc': 0.9}
    """
    at = _steps[0] if step is None else step
    _log(data, at)
    if commit is not False:
        _steps[0] = at + 1


def finish(exit_code: int | None = None, **ignored: Any) -> None:
    """End the session that ``init`` began; nothing happens where there is none.

    Parameters
    ----------
    exit_code : int, optional
        Other than 0: the session failed.
    **ignored
        Other options of ``wandb.finish`` mean nothing here.

    Examples
    --------
    >>> import tablevault_pd.wandb as wandb
    >>> wandb.finish()
    """
    for run in list(_runs):
        error = RuntimeError(f"exit code {exit_code}") if exit_code else None
        _runs.remove(run)
        run.__exit__(None if error is None else RuntimeError, error, None)


def _running() -> Run:
    if not _runs:
        raise InvalidInput("There is no run: call wandb.init() first.")
    return _runs[0]


def _log(data: Mapping[str, Any], step: int | None) -> None:
    run = _running()
    for name, value in data.items():
        try:
            run.log({name: value}, step=step)
        except InvalidInput:
            warn(
                f"wandb.log: {name!r} is no number, and was left out. Save rows with tv.current_vault().save()."
            )
        else:
            summary._last[name] = value
