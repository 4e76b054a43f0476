"""Runs of MLflow, read by its client: parameters, metrics with their steps, tags, tables and artifacts."""

from __future__ import annotations

import hashlib
import json
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from tablevault_pd.errors import InvalidInput, MissingDependency
from tablevault_pd.importers.runs import ImportedRun, list_name, put_run, value_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

    from tablevault_pd.store import Session
    from tablevault_pd.vault.vault import Vault

OUTCOMES = {"FINISHED": "finished", "FAILED": "failed", "KILLED": "stopped"}
OWN_TAGS = "mlflow."  # tags that MLflow writes itself: they become info
ARTIFACTS = "mlflow/artifacts"


def import_runs(uri: str, place: AbstractContextManager[Vault]) -> list[tuple[Any, ...]]:
    """Import all runs that are not deleted. Return a row of :data:`~tablevault_pd.importers.runs.COLUMNS` for each."""
    try:
        from mlflow.exceptions import MlflowException
        from mlflow.tracking import MlflowClient
    except ImportError as error:
        raise MissingDependency(
            "The import asks MLflow's own client: pip install mlflow, or for folders and servers mlflow-skinny"
        ) from error
    try:
        client = MlflowClient(tracking_uri=uri)
        pages = _pages(client.search_experiments)
        experiments = {experiment.experiment_id: experiment.name for experiment in pages}
        runs = list(_pages(client.search_runs, list(experiments))) if experiments else []
    except MlflowException as error:
        raise InvalidInput(f"MLflow cannot read {uri}: {error}") from error
    runs.sort(key=lambda run: (run.info.start_time, run.info.run_id))
    sessions: dict[str, int] = {}
    answers = []
    with place as target:
        for run in runs:
            imported = _run(client, run, experiments[run.info.experiment_id], sessions)
            session, added = put_run(target.store, imported)
            sessions[run.info.run_id] = session.id
            tables, rows = _tables(client, run, session, target)
            failed = _artifacts(client, run, imported.name, set(tables), target)
            left_out = failed or ""
            answers.append((run.info.run_id, session.label, len(imported.params), added, rows, left_out))
    return answers


def _pages(call: Any, *arguments: Any) -> Iterator[Any]:
    """Yield the results of all pages."""
    token = None
    while True:
        page = call(*arguments, page_token=token)
        yield from page
        token = page.token
        if not token:
            return


def _run(client: Any, run: Any, experiment: str, sessions: dict[str, int]) -> ImportedRun:
    info, tags = run.info, run.data.tags
    own = {name: value for name, value in tags.items() if name.startswith(OWN_TAGS)}
    return ImportedRun(
        f"{experiment}/{info.run_name or info.run_id}",
        _start(info),
        user=info.user_id or own.get("mlflow.user", ""),
        host="mlflow",
        parent=sessions.get(own.get("mlflow.parentRunId", "")),
        ended=None if info.end_time is None else _time(info.end_time),
        outcome=OUTCOMES.get(info.status),
        params={name: value_of(text) for name, text in run.data.params.items()},
        tags=[f"{name}={value}" if value else name for name, value in tags.items() if name not in own],
        info={"mlflow_run_id": info.run_id, "mlflow_experiment": experiment, **own},
        metrics={name: _history(client, info.run_id, name) for name in sorted(run.data.metrics)},
    )


def _start(info: Any) -> datetime:
    """When a run began. Its id stands in the microseconds, which MLflow does not have, so that runs of one millisecond differ."""
    digest = int(hashlib.sha256(info.run_id.encode()).hexdigest()[:8], 16)
    return _time(info.start_time) + timedelta(microseconds=digest % 1000)


def _time(milliseconds: int) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=milliseconds)


def _history(client: Any, run_id: str, name: str) -> list[tuple[int, int, float]]:
    return [
        (point.step, point.timestamp * 1000, point.value) for point in client.get_metric_history(run_id, name)
    ]


def _tables(client: Any, run: Any, session: Session, target: Vault) -> tuple[list[str], int]:
    """Save what was logged as a table. Return the paths of these artifacts, and how many rows they have."""
    logged = json.loads(run.data.tags.get("mlflow.loggedArtifacts", "[]"))
    paths = [artifact["path"] for artifact in logged if artifact.get("type") == "table"]
    rows = 0
    for path in paths:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(client.download_artifacts(run.info.run_id, path, folder))
            if file.suffix == ".json":
                table = json.loads(file.read_text(encoding="utf-8"))
                frame = pd.DataFrame(table["data"], columns=table["columns"])
            else:
                frame = pd.read_parquet(file)
        target.save(list_name(session, path), frame, inputs=False, message=f"MLflow run {run.info.run_id}")
        rows += len(frame)
    return paths, rows


def _artifacts(client: Any, run: Any, name: str, tables: set[str], target: Vault) -> str | None:
    """Keep the files of a run that are not kept yet. Return what could not be read."""
    run_id = run.info.run_id
    present: set[str] = set()
    if ARTIFACTS in target:
        present = set(
            target.read(ARTIFACTS, filters=[("run_id", "==", run_id)], columns=["artifact"])["artifact"]
        )
    failed = []
    for path in _paths(client, run_id, None):
        if path in present or path in tables:
            continue
        with tempfile.TemporaryDirectory() as folder:
            try:
                file = client.download_artifacts(run_id, path, folder)
            except Exception as error:  # noqa: BLE001  # each store of artifacts has errors of its own
                failed.append(f"{path} ({type(error).__name__})")
                continue
            row = {"run_id": run_id, "session": name, "artifact": path, "file": str(file)}
            target.append(ARTIFACTS, pd.DataFrame([row]), files="file", copy=True, inputs=False)
    return f"artifacts that cannot be read: {', '.join(failed)}" if failed else None


def _paths(client: Any, run_id: str, folder: str | None) -> Iterator[str]:
    for entry in client.list_artifacts(run_id, folder):
        if entry.is_dir:
            yield from _paths(client, run_id, entry.path)
        else:
            yield entry.path
