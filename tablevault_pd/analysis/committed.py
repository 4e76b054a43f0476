"""Which version of a list a session had committed at a step."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tablevault_pd.reading.reports import typed

if TYPE_CHECKING:
    import pandas as pd

    from tablevault_pd.analysis.points import Points
    from tablevault_pd.store import Store, Version


def versions_at(
    store: Store, name: str, chosen: Points, is_there: np.ndarray, is_last: np.ndarray
) -> pd.Series:
    """For each chosen value, ``"preds@7"``: what its session committed to the list at that step, else last before it.

    A version committed outside of any step is placed by its time: before the value if it was there when that was logged.
    Where nothing was, and the value `is_last` of its curve, the first version after it counts: the run logged, then saved.
    """
    by_session: dict[int, list[Version]] = {}
    for version in store.versions(name):
        if version.session_id is not None and version.operation != "delete":
            by_session.setdefault(version.session_id, []).append(version)
    times = chosen.time.view("datetime64[us]")
    labels = [
        _label(by_session.get(chosen.sessions[session].id, ()), step if has_step else None, time, last)
        if there
        else None
        for session, step, has_step, time, there, last in zip(
            chosen.session.tolist(),
            chosen.step.tolist(),
            chosen.has_step.tolist(),
            times,
            is_there.tolist(),
            is_last.tolist(),
            strict=True,
        )
    ]
    return typed("rows_of", labels)


def _label(
    versions: list[Version] | tuple[()], step: int | None, time: np.datetime64, is_last: bool
) -> str | None:
    stepped = [version for version in versions if version.step is not None]
    if step is not None and stepped:
        fits = [commit for commit in stepped if commit.step is not None and commit.step <= step]
        chosen = max(fits, key=lambda version: (version.step, version.version), default=None)
    else:
        fits = [
            version for version in versions if np.datetime64(version.time.replace(tzinfo=None), "us") <= time
        ]
        chosen = max(fits, key=lambda version: version.version, default=None)
        if chosen is None and is_last:
            chosen = min(versions, key=lambda version: version.version, default=None)
    return None if chosen is None else chosen.label
