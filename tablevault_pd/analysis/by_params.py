"""Sessions in groups: those that share all parameters that vary, but some."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np

from tablevault_pd.analysis.curves import unknown
from tablevault_pd.errors import InvalidInput, short_repr
from tablevault_pd.reading.nested import flat
from tablevault_pd.reading.reports import column

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tablevault_pd.store import Session, Store

PREFIX = "params."
SEED = "params.seed"  #: what runs are taken over if nobody says otherwise; there need not be one


def by_params(
    store: Store, sessions: Sequence[Session], over: Sequence[str], by: Sequence[str] | None
) -> tuple[np.ndarray, dict[str, Any]]:
    """Return the number of the group of each session, and a column with one value a group for each parameter in `by`.

    Without `by` groups are made by all parameters that vary between these sessions, but those in `over`. A missing
    parameter is a value of its own. Groups are in the order of their values, missing ones last.
    """
    params = [flat(session.params) for session in sessions]
    named = [*(over if by is None else ()), *(by or ())]
    _check_known(store, params, [name for name in named if name != SEED])
    everyone = list(dict.fromkeys(name for params_of_session in params for name in params_of_session))
    values = {name: [params_of_session.get(name) for params_of_session in params] for name in everyone}
    if by is None:
        hidden = {name.removeprefix(PREFIX) for name in over}
        names = [name for name in everyone if name not in hidden and len(set(map(_key, values[name]))) > 1]
    else:
        names = [name.removeprefix(PREFIX) for name in by]
    ranks = [_ranks(values.get(name, [None] * len(sessions))) for name in names]
    _, first, group = np.unique(
        np.array(ranks, dtype=np.int64).reshape(len(names), len(sessions)).T,
        axis=0, return_index=True, return_inverse=True,
    )  # fmt: skip
    chosen = [params[at] for at in first.tolist()]
    if not chosen:  # an empty answer, with the columns it would have had
        columns = {
            name: column([flat(one.params).get(name) for one in store.sessions()])[:0] for name in names
        }
    else:
        columns = {name: column([param.get(name) for param in chosen]) for name in names}
    return group.reshape(-1), {PREFIX + name: values.array for name, values in columns.items()}


def param_names(given: Any, what: str) -> list[str]:
    """Check the names of parameters, each as ``params.name``."""
    names: list[Any] = (
        [given] if isinstance(given, str) else list(given) if isinstance(given, (list, tuple)) else [None]
    )
    for name in names:
        if not isinstance(name, str) or not name.startswith(PREFIX) or name == PREFIX:
            raise InvalidInput(
                f"{what}= names parameters as 'params.seed', one or a list, not {short_repr(given)}."
            )
    return names


def _check_known(store: Store, params: Sequence[dict[str, Any]], names: Sequence[str]) -> None:
    """Raise InvalidInput for a parameter that no session of the vault has."""
    there = {name for params_of_session in params for name in params_of_session}
    lacking = [name for name in names if name.removeprefix(PREFIX) not in there]
    if lacking:
        names_there = sorted(there | {name for session in store.sessions() for name in flat(session.params)})
        for name in lacking:
            if name.removeprefix(PREFIX) not in names_there:
                raise unknown("parameter", name, [PREFIX + there_name for there_name in names_there])


def _key(value: Any) -> str:
    """A text that is the same for equal values: 1 and 1.0 are equal, True and 1 are not."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return json.dumps(value, sort_keys=True)


def _ranks(values: Sequence[Any]) -> list[int]:
    """The place of each value among those there are: numbers by size, then all others by their text, missing ones last."""
    keys = [_key(value) for value in values]
    distinct = dict(zip(keys, values, strict=True))
    order = sorted(distinct, key=lambda key: _sort_key(key, distinct[key]))
    rank = {key: place for place, key in enumerate(order)}
    return [rank[key] for key in keys]


def _sort_key(key: str, value: Any) -> tuple[int, float, str]:
    if value is None:
        return 2, 0.0, key
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool) and value == value
    return (0, float(value), key) if is_number and abs(value) < 1e300 else (1, 0.0, key)
