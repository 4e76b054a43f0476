"""``tv.log``, ``tv.checkpoint``, ``tv.loop``: the session that is meant where none is named."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

from tablevault_pd import validate
from tablevault_pd.api import current_vault
from tablevault_pd.errors import InvalidInput, InvalidType, VaultReadOnly, shown
from tablevault_pd.progress import Bar
from tablevault_pd.session import Run, current

T = TypeVar("T")


def log(*, step: int | None = None, **values: Any) -> None:
    """Keep the values of some metrics of the current session. See :meth:`Run.log`.

    Examples
    --------
    >>> with vault.session("train") as s:
    ...     tv.log(step=1, loss=0.5)
    >>> vault.sessions("train")["metrics.loss"].item()
    0.5
    """
    run = _run()
    if run is None:
        raise _no_session()
    run.log(step=step, **values)


def checkpoint() -> None:
    """Here pause and stop of the current session take effect. See :meth:`Run.checkpoint`.

    Examples
    --------
    >>> for batch in range(3):
    ...     tv.checkpoint()
    """
    run = _run()
    if run is not None and run._asked:
        run.checkpoint()


def loop(items: Iterable[T], *, name: str = "loop", total: int | None = None) -> Iterator[T]:
    """Go through `items` with a progress bar, and a checkpoint before each.

    Parameters
    ----------
    items : iterable
        Anything to go through, once.
    name : str
        What the bar says.
    total : int, optional
        How many there are, if ``len(items)`` does not know.

    Examples
    --------
    >>> [batch for batch in tv.loop(range(3), name="batch")]
    [0, 1, 2]
    """
    if not isinstance(items, Iterable) or getattr(items, "ndim", 1) == 0:
        raise InvalidType(
            f"items= is something to go through, such as a list or a generator, not {shown(items)}."
        )
    return _loop(
        items,
        validate.text(name, "name="),
        None if total is None else validate.whole(total, "total", least=0),
    )


def _loop(items: Iterable[T], name: str, total: int | None) -> Iterator[T]:
    if total is None:
        try:
            total = len(items)  # type: ignore[arg-type]  # what has no length says so
        except TypeError:
            total = None
    with Bar(name, total=total, unit="it") as bar:
        for item in items:
            checkpoint()
            yield item
            bar(1)


def _no_session() -> Exception:
    if current_vault().store.read_only:
        return VaultReadOnly(
            "This vault is open for reading, and has no session to log to. Connect with mode='rw'."
        )
    return InvalidInput(
        "This vault was opened with session=False, and has no session to log to. Log inside of `with vault.session(…)`."
    )


def _run() -> Run | None:
    return current.innermost() or current_vault()._run
