"""Parameters and scores of scikit-learn's estimators go to a session while its ``with`` lasts."""

from __future__ import annotations

import os
import threading
import time
from contextlib import contextmanager
from functools import wraps
from numbers import Real
from typing import TYPE_CHECKING, Any

from tablevault_pd.errors import short_repr

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tablevault_pd.session import Run

METHODS = ("fit", "score")


@contextmanager
def sklearn_autolog(session: Run) -> Iterator[None]:
    """Log the estimators of scikit-learn that this thread fits and scores inside of the ``with``.

    ``fit`` sets the parameters of the estimator, below the name of its class, and logs the seconds that it took as
    ``Class/fit_s``; of a search, also the best parameters and ``Class/best_score``. ``score`` logs ``Class/score``. Of calls inside
    of each other, as those of a pipeline, only the outermost is logged. A second fit of the same class sets the parameters anew:
    begin a session for each. Before each fit is a checkpoint.

    Parameters
    ----------
    session : Run
        The session that is logged to.

    Returns
    -------
    context manager
        Classes that are imported before its ``with``, and are estimators by scikit-learn's ``BaseEstimator``, are logged. They
        are as they were when it is left.

    Raises
    ------
    SessionStopped
        From ``fit``, before it begins, if the session was asked to stop.

    Examples
    --------
    >>> with vault.session("digits") as s, sklearn_autolog(s):  # doctest: +SKIP
    ...     model = LogisticRegression(C=0.5).fit(x, y)
    ...     model.score(x_test, y_test)
    >>> vault.sessions("digits")[["params.LogisticRegression.C", "metrics.LogisticRegression/score"]]  # doctest: +SKIP
    """
    _install()
    try:
        _here.sessions = (*_here.sessions, session)
        yield
    finally:
        _here.sessions = tuple(other for other in _here.sessions if other is not session)
        _remove()


class _Here(threading.local):
    """What one thread logs to, and whether it is inside of a call that is logged."""

    sessions: tuple[Run, ...] = ()
    inside = False


class _Logged:
    """Stands in a class for one of its methods, and logs calls of it."""

    def __init__(self, name: str, original: Any) -> None:
        self.name, self.original = name, original

    def __get__(self, estimator: Any, owner: type | None = None) -> Any:
        method = self.original.__get__(estimator, owner)
        if estimator is None:
            return method

        @wraps(method)
        def call(*arguments: Any, **options: Any) -> Any:
            sessions = _here.sessions
            if not sessions or _here.inside:
                return method(*arguments, **options)
            log = _log_fit if self.name == "fit" else _log_score
            _here.inside = True
            try:
                return log(sessions, estimator, lambda: method(*arguments, **options))
            finally:
                _here.inside = False

        return call


_here = _Here()
_lock = threading.Lock()
_users = 0  # how many `with` last
_replaced: dict[tuple[type, str], _Logged] = {}


def _install() -> None:
    """Replace the methods of all estimators that are imported by now."""
    from sklearn.base import BaseEstimator

    global _users
    with _lock:
        _users += 1
        for owner in _with_subclasses(BaseEstimator):
            for name in METHODS:
                original = vars(owner).get(name)
                if hasattr(original, "__get__") and not isinstance(original, _Logged):
                    _replaced[owner, name] = _Logged(name, original)
                    setattr(owner, name, _replaced[owner, name])


def _remove() -> None:
    """Put the methods back, after the last `with`. One that somebody else has replaced since stays."""
    global _users
    with _lock:
        _users -= 1
        if _users == 0:
            for (owner, name), logged in _replaced.items():
                if vars(owner).get(name) is logged:
                    setattr(owner, name, logged.original)
            _replaced.clear()


def _forked() -> None:
    """In a forked process nothing is logged: its parent waits for what it computes, and another thread may have had the lock."""
    global _lock
    _lock = threading.Lock()
    _here.sessions = ()


def _with_subclasses(base: type) -> Iterator[type]:
    """Yield all classes that an estimator may have its methods from."""
    pending, yielded = [base], set()
    while pending:
        for owner in pending.pop().__mro__:
            if owner is not object and owner not in yielded:
                yielded.add(owner)
                pending += owner.__subclasses__() if issubclass(owner, base) else ()
                yield owner


def _log_fit(sessions: tuple[Run, ...], estimator: Any, fit: Callable[[], Any]) -> Any:
    label, params = type(estimator).__name__, _params(estimator.get_params())
    for session in sessions:
        session.checkpoint()
        session.params[label] = params
    start = time.perf_counter()
    fitted = fit()
    values: dict[str, Any] = {f"{label}/fit_s": time.perf_counter() - start}
    if isinstance(getattr(estimator, "best_params_", None), dict):
        params = {**params, "best": _params(estimator.best_params_)}
        if isinstance(getattr(estimator, "best_score_", None), Real):
            values[f"{label}/best_score"] = float(estimator.best_score_)
    for session in sessions:
        session.params[label] = params
        session.log(values)
    return fitted


def _log_score(sessions: tuple[Run, ...], estimator: Any, score: Callable[[], Any]) -> Any:
    value = score()
    if isinstance(value, Real):
        for session in sessions:
            session.log({f"{type(estimator).__name__}/score": float(value)})
    return value


def _params(params: dict[str, Any]) -> dict[str, Any]:
    """Return values as they are or as texts. Estimators inside of others are left out: their parameters are there by themselves."""
    return {
        name: value if value is None or isinstance(value, (bool, int, float, str)) else short_repr(value, 200)
        for name, value in params.items()
        if not hasattr(value, "get_params")
    }


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
