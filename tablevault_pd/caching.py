"""``tv.cached``: a function of frames whose results are kept in the current vault."""

from __future__ import annotations

from functools import partial, wraps
from typing import TYPE_CHECKING, Any, TypeVar

from tablevault_pd import validate
from tablevault_pd.api import current_vault
from tablevault_pd.errors import InvalidInput, InvalidType, short_repr
from tablevault_pd.keywords import public_call

if TYPE_CHECKING:
    from collections.abc import Callable

F = TypeVar("F", bound="Callable[..., Any]")


@public_call("tablevault_pd.cached")
def cached(function: Callable[..., Any] | None = None, *, version: str | None = None) -> Callable[..., Any]:
    """Have a function that returns a DataFrame called once for the same arguments and the same code.

    Its results are versions of the list ``cached/<module>.<function>`` of the current vault. A call is the same as before if its frames
    hold the same rows, in the same order and with the same labels, its other arguments are equal, and neither the function nor what
    it uses of the project's own code has changed.

    Parameters
    ----------
    function : callable
        Takes frames, Series, numbers, texts, lists and dicts; returns a DataFrame.
    version : str, optional
        Stands for the code of the function: ``@tv.cached(version="2")``.

    Returns
    -------
    callable
        It returns each result as :func:`read` does. A call raises InvalidInput for arguments that cannot be compared or if it
        cannot be told what the function depends on, InvalidType for a result that is no DataFrame.

    Raises
    ------
    InvalidType, InvalidInput
        If `function` cannot be called, or has no name (a lambda, a partial); if `version` is no text, or blank.

    Examples
    --------
    >>> @tv.cached(version="1")
    ... def longest(words, k):
    ...     print("called")
    ...     return words.nlargest(k, "length")
    >>> lengths = pd.DataFrame({"word": ["storm", "sun"], "length": [5, 3]})
    >>> for _ in range(2):
    ...     print(longest(lengths, 1)["word"].tolist())
    called
    ['storm']
    ['storm']
    """
    if version is not None:
        validate.text(version, "version=")
    if function is None:
        return partial(_cached, version=version)
    return _cached(function, version=version)


def _cached(function: F, *, version: str | None) -> F:
    if not callable(function) or isinstance(function, type):
        raise InvalidType(f"cached takes a function, not {short_repr(function)}.")
    if isinstance(function, partial) or getattr(function, "__name__", "") == "<lambda>":
        raise InvalidInput(
            f"Results are kept by the name of their function, and {short_repr(function)} has none. Write it with def, below @tv.cached."
        )

    @wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        return current_vault()._cached(function, version, args, kwargs)

    return call  # type: ignore[return-value]
