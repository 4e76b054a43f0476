"""Projects of Trackio, one SQLite file each: configuration, metrics, and tables, media and other values as rows of lists."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter, defaultdict
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import chain
from typing import TYPE_CHECKING, Any

import pandas as pd

from tablevault_pd.errors import InvalidInput, short_repr
from tablevault_pd.importers.runs import ImportedRun, list_name, put_run
from tablevault_pd.store.times import from_time

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from tablevault_pd.store import Session
    from tablevault_pd.vault.vault import Vault

METRICS = "SELECT run_id, run_name, timestamp, step, metrics FROM metrics ORDER BY id"
SYSTEM_METRICS = "SELECT run_id, run_name, timestamp, NULL, metrics FROM system_metrics ORDER BY id"
CONFIGS = "SELECT run_id, run_name, config, created_at FROM configs ORDER BY id"
COUNTED = {
    "alerts": "SELECT run_id, count(*) FROM alerts GROUP BY run_id",
    "traces": "SELECT run_id, count(*) FROM traces GROUP BY run_id",
    "links to artifacts": "SELECT run_id, count(*) FROM run_artifact_links GROUP BY run_id",
}
NOT_FINITE = {"NaN": float("nan"), "Infinity": float("inf"), "-Infinity": float("-inf")}  # as JSON has none
TABLE = "trackio.table"
COLUMNS = ("session", "name", "step", "time", "type", "value")
MEDIA_COLUMNS = ("session", "name", "step", "time", "type", "caption", "media", "file")


def import_folder(folder: Path, place: AbstractContextManager[Vault]) -> list[tuple[Any, ...]]:
    """Import the runs of all projects in a folder. Return a row of :data:`~tablevault_pd.importers.runs.COLUMNS` for each."""
    files = _projects(folder)
    projects = map(_runs, files)
    first = next(projects)  # read before the target is made
    with place as target:
        read = zip(files, chain([first], projects), strict=True)
        return [answer for file, runs in read for answer in _import_project(file, runs, target)]


def _import_project(file: Path, by_id: dict[str, _Run], target: Vault) -> list[tuple[Any, ...]]:
    runs = sorted(by_id.items(), key=lambda item: item[1].run.started)
    answers = []
    logged: dict[str, list[LoggedValue]] = {}
    left_out: dict[str, Counter[str]] = {}
    for run_id, read in runs:
        session, added = put_run(target.store, read.run)
        rows = keep_tables(target, session, read.values)
        logged[session.label], left_out[session.label] = read.values, read.left_out
        answers.append((run_id, session.label, len(read.run.params), added, rows))
    keep_values(target, file.stem, logged)
    for label, count in keep_media(target, file.parent / "media", file.stem, logged).items():
        left_out[label]["files that are not there"] += count
    return [(*answer, _told(left_out[answer[1]])) for answer in answers]


def _told(left_out: Counter[str]) -> str:
    return ", ".join(f"{count} {what}" for what, count in sorted(left_out.items()))


@dataclass(slots=True)
class _Run:
    """A run as it was read."""

    run: ImportedRun
    values: list[LoggedValue] = field(default_factory=list)  #: that are no numbers
    left_out: Counter[str] = field(default_factory=Counter)


def _projects(folder: Path) -> list[Path]:
    try:
        files = sorted(
            file
            for file in folder.iterdir()
            if file.suffix == ".db" and not file.stem.startswith("registry-")
        )
    except (OSError, ValueError) as error:  # ValueError: the path is no text that the system takes
        raise InvalidInput(f"The folder {short_repr(str(folder))} cannot be read: {error}") from error
    if not files:
        raise InvalidInput(f"There are no projects of Trackio (project.db) in {folder}.")
    return files


def _runs(file: Path) -> dict[str, _Run]:
    """Return each run of a project by its id."""
    uri = f"{file.resolve().as_uri()}?mode=ro"
    try:
        with closing(sqlite3.connect(uri, uri=True)) as db:
            configs = db.execute(CONFIGS).fetchall()
            logged, system = db.execute(METRICS).fetchall(), db.execute(SYSTEM_METRICS).fetchall()
            counts = {what: db.execute(query).fetchall() for what, query in COUNTED.items()}
    except sqlite3.Error as error:
        raise InvalidInput(
            f"{file} cannot be read as a project of Trackio: {error}. A release of Trackio before 0.43 may have written it; "
            "a newer one that shows the project brings it up to date."
        ) from error
    runs: dict[str, _Run] = {}
    points: dict[str, dict[str, list[tuple[int | None, int, float]]]] = defaultdict(lambda: defaultdict(list))
    for run_id, name, config, created in configs:
        runs[run_id] = _run(file, run_id, name, created, json.loads(config))
    for prefix, lines in (("", logged), ("system/", system)):
        for run_id, name, timestamp, step, metrics in lines:
            if run_id not in runs:
                runs[run_id] = _run(file, run_id, name, timestamp, {})
            run = runs[run_id].run
            run.metrics, moment = points[run_id], _time(timestamp)
            run.ended = max(run.ended or moment, moment)
            for label, value in _values(json.loads(metrics)):
                if isinstance(value, (int, float)):
                    points[run_id][f"{prefix}{label}"].append((step, from_time(moment), value))
                else:
                    runs[run_id].values.append(LoggedValue(f"{prefix}{label}", step, moment, value))
    for what, lines in counts.items():
        for run_id, count in lines:
            if run_id in runs:
                runs[run_id].left_out[what] += count
    return runs


def _run(file: Path, run_id: str, name: str, created: str, config: dict[str, Any]) -> _Run:
    """Return a run without metrics. What Trackio itself writes into a configuration begins with a ``_``."""
    started, group = _time(config.get("_Created") or created), config.get("_Group")
    run = ImportedRun(
        f"{file.stem}/{name}",
        started,
        user=config.get("_Username") or "",
        host="trackio",
        ended=started,
        outcome="finished",
        params={label: value for label, value in config.items() if not label.startswith("_")},
        tags=[f"group={group}"] if group else [],
        info={"trackio_run_id": run_id, "imported_from": str(file)},
    )
    return _Run(run)


def _values(metrics: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield values by name; names of nested ones are joined by dots. Tables, media and traces stay as they are."""
    for name, value in metrics.items():
        label = f"{prefix}{name}"
        if isinstance(value, dict) and "_type" not in value:
            yield from _values(value, f"{label}.")
        else:
            yield label, NOT_FINITE.get(value, value) if isinstance(value, str) else value


def _time(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


# -- what is logged beside numbers


@dataclass(frozen=True, slots=True)
class LoggedValue:
    """A value that is no number."""

    name: str
    step: int | None
    time: datetime
    value: Any

    @property
    def type(self) -> str:
        """What Trackio calls it."""
        if isinstance(self.value, dict):
            return str(self.value.get("_type", "json")).removeprefix("trackio.")
        return "text" if isinstance(self.value, str) else "json"


def keep_tables(target: Vault, session: Session, values: list[LoggedValue]) -> int:
    """Save each table that a run logged, whose rows say by which step they were. Return how many rows there are."""
    tables: dict[str, list[pd.DataFrame]] = defaultdict(list)
    for logged in values:
        if isinstance(logged.value, dict) and logged.value.get("_type") == TABLE:
            frame = pd.DataFrame(logged.value["_value"])
            label = "step" if "step" not in frame.columns else "trackio_step"
            tables[logged.name].append(frame.assign(**{label: pd.array([logged.step] * len(frame), "Int64")}))
    for name, frames in tables.items():
        target.save(list_name(session, name), pd.concat(frames, ignore_index=True), inputs=False)
    return sum(len(frame) for frames in tables.values() for frame in frames)


def keep_values(target: Vault, project: str, logged: dict[str, list[LoggedValue]]) -> None:
    """Save all that is neither number, table nor a file, of all runs of a project."""
    rows = [
        (label, value.name, value.step, value.time, value.type, value.value)
        for label, values in logged.items()
        for value in values
        if value.type != "table" and not _file_path(value.value)
    ]
    if rows:
        frame = pd.DataFrame(rows, columns=COLUMNS).astype({"step": "Int64", "value": object})
        target.save(f"{project}/values", frame, inputs=False)


def keep_media(
    target: Vault, folder: Path, project: str, logged: dict[str, list[LoggedValue]]
) -> dict[str, int]:
    """Keep the files of images, sound and so on that are not kept yet. Return how many are not there, by session."""
    name = f"{project}/media"
    present = set(target.read(name, columns=["media"])["media"]) if name in target else set()
    missing: dict[str, int] = defaultdict(int)
    rows = []
    for row in _files(folder, project, logged):
        path = row[-1]
        file = (folder / path).resolve()
        if path in present:
            continue
        if not file.is_relative_to(folder.resolve()) or not file.is_file():
            missing[row[0]] += 1
            continue
        present.add(path)
        rows.append((*row, str(file)))
    if rows:
        frame = pd.DataFrame(rows, columns=MEDIA_COLUMNS).astype({"step": "Int64"})
        target.append(name, frame, files="file", copy=True, inputs=False)
    return missing


def _files(folder: Path, project: str, logged: dict[str, list[LoggedValue]]) -> Iterator[tuple[Any, ...]]:
    """Yield the rows of all files without the last column: those that runs logged, and those that were saved for the project."""
    for label, values in logged.items():
        for value in values:
            for part in _media(value.value):
                kind = part["_type"].removeprefix("trackio.")
                yield label, value.name, value.step, value.time, kind, part.get("caption"), part["file_path"]
    for file in sorted((folder / project / "files").rglob("*")):
        if file.is_file():
            yield None, file.name, None, None, "file", None, file.relative_to(folder).as_posix()


def _media(value: Any) -> Iterator[dict[str, Any]]:
    """Yield a value that is a file, or those inside of a table."""
    if _file_path(value):
        yield value
    elif isinstance(value, dict) and value.get("_type") == TABLE:
        for row in value["_value"]:
            yield from (cell for cell in row.values() if _file_path(cell))


def _file_path(value: Any) -> bool:
    return isinstance(value, dict) and isinstance(value.get("file_path"), str) and "_type" in value
