"""Files outside of a vault and those kept in it: which have changed, and which rows a damaged one belongs to."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, BinaryIO

from tablevault_pd import frames
from tablevault_pd.errors import VaultCorrupt, VaultError, short_repr
from tablevault_pd.progress import Bar
from tablevault_pd.reading import maintenance_reports, reports
from tablevault_pd.saving import file_columns
from tablevault_pd.store import Problem, Severity, Store, Version
from tablevault_pd.work.check import wrong_frontiers

if TYPE_CHECKING:
    import pandas as pd


def check(store: Store, *, fix: bool) -> pd.DataFrame:
    """Return what is damaged or stray in the vault, then files outside of it that changed since they were saved."""
    with Bar("checking", unit="parts") as bar:
        problems = store.check(fix=fix, progress=bar)
        if not any(problem.what == "missing collection" for problem in problems):
            with suppress(VaultCorrupt):  # the store has reported it
                problems += wrong_frontiers(store, fix=fix)
        with suppress(VaultCorrupt):
            for state in store.lists():
                if not state.head.deleted and not state.head.gone:
                    problems += _changed_files(store, state.head)
    return maintenance_reports.checked(problems)


def _changed_files(store: Store, version: Version) -> list[Problem]:
    changed: list[Problem] = []
    try:
        schema = store.schema(version.schema_id)
    except VaultCorrupt:
        return changed  # the store has reported it
    for column in frames.columns(schema):
        if column.kind != "file":
            continue
        try:
            cells = [
                (position, state) for _, position, state in reports.file_cells(store, [(version, column)])
            ]
        except VaultError:
            continue  # the store has reported its damaged rows
        for position, path, detail, certain in file_columns.changes(cells):
            what = f"file {'changed' if certain else 'not checked'} (row {position}, column {column.label!r})"
            severity: Severity = "damage" if certain else "unchecked"
            changed.append(Problem(severity, what, version.list, version.version, path, detail))
    return changed


def open_file(store: Store, sha256: str) -> BinaryIO:
    """Open the content of a kept file. An error for damage names its rows."""
    try:
        return store.open_file(sha256)
    except VaultCorrupt as error:
        rows = _rows_with_file(store, sha256)
        if not rows:
            raise
        raise VaultCorrupt(f"{error} It belongs to {', '.join(rows[:5])}.") from error


def _rows_with_file(store: Store, sha256: str) -> list[str]:
    heads = [state.head for state in store.lists() if not state.head.deleted and not state.head.gone]
    files = reports.files(store, heads)
    files = files[files["sha256"] == sha256]
    named = files[["list", "position", "path"]].itertuples(index=False)
    return [f"{name}[{position}] ({short_repr(path, 300)})" for name, position, path in named]
