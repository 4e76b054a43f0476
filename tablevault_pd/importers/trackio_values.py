"""What runs of Trackio logged beside numbers: tables as lists, media as files with their content, all else as values of a list."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from tablevault_pd.importers.runs import list_name

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime
    from pathlib import Path

    from tablevault_pd.store import Session
    from tablevault_pd.vault.vault import Vault

TABLE = "trackio.table"
COLUMNS = ("session", "name", "step", "time", "type", "value")
MEDIA_COLUMNS = ("session", "name", "step", "time", "type", "caption", "media", "file")


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
