"""Databases of TableVault 0.2: processes become sessions with their code, lists become lists, dependencies lineage."""

from __future__ import annotations

from contextlib import closing
from datetime import datetime
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from tablevault_pd.errors import NameTaken, short_repr
from tablevault_pd.importers.runs import time_of
from tablevault_pd.importers.tablevault_lists import ListImporter
from tablevault_pd.importers.tablevault_source import TableVaultDatabase
from tablevault_pd.names import check_name
from tablevault_pd.store import Cell, Description, Session
from tablevault_pd.store.times import from_time

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

    from tablevault_pd.importers.tablevault_source import ItemList
    from tablevault_pd.store import Store
    from tablevault_pd.vault.vault import Vault

#: What an import tells of each process and each list.
COLUMNS = ("source", "kind", "imported_as", "rows", "left_out")
HOST = "tablevault"


def import_database(url: str, place: AbstractContextManager[Vault]) -> list[tuple[Any, ...]]:
    """Import what is new in a database. Return a row of :data:`COLUMNS` for each process and list."""
    with closing(TableVaultDatabase(url)) as source, place as vault:
        target = vault.store
        before = {
            session.info.get("tablevault_process"): session for session in _imported(target, source.place)
        }
        # names have no @ here
        names = {item_list.name: check_name(item_list.name.replace("@", "_")) for item_list in source.lists}
        _check_names(target, names, {session.id for session in before.values()})
        answers, sessions = _put_processes(target, source, before)
        lists = ListImporter(source, target, names, sessions)
        lists.import_all()
        left_out = {item_list.name: lists.left_out[item_list.name] for item_list in source.lists}
        _describe(target, source, names, sessions, left_out)
        return answers + [
            (item_list.name, item_list.kind, names[item_list.name], lists.added[item_list.name], _told(item_list, left_out[item_list.name]))
            for item_list in source.lists
        ]  # fmt: skip


def _told(item_list: ItemList, left_out: Counter[str]) -> str:
    counts = [f"{count} {what}" for what, count in sorted(left_out.items())]
    if item_list.deleted:
        counts.insert(0, "the list was deleted, and TableVault keeps no rows of it")
    elif not item_list.items:
        counts.insert(0, "the list is empty")
    return ", ".join(counts)


def _imported(target: Store, place: str) -> Iterator[Session]:
    """Yield the sessions that were imported from a database before."""
    for session in target.sessions(info=True):
        if session.host == HOST and session.info.get("imported_from") == place:
            yield session


def _check_names(target: Store, names: dict[str, str], sessions: set[int]) -> None:
    """Raise NameTaken if the target has a list of one of these names that was not imported from there."""
    taken = {name for name in names.values() if list(names.values()).count(name) > 1}
    for name in set(names.values()):
        versions = target.versions(name)
        if any(version.session_id not in sessions for version in versions):
            taken.add(name)
    if taken:
        raise NameTaken(
            f"The vault {target.place} has other lists of these names, or changed them after they were imported: "
            f"{', '.join(map(short_repr, sorted(taken)[:10]))}. Nothing was written. Import to a vault of its own; tv.merge folds "
            "both into one, and gives such lists another name."
        )


# -- processes


def _put_processes(
    target: Store, source: TableVaultDatabase, before: dict[Any, Session]
) -> tuple[list[tuple[Any, ...]], dict[str, int]]:
    """Bring the sessions of all processes up to date. Return the answers for them, and their ids by name."""
    by_name = itemgetter("name")
    cells = {name: list(rows) for name, rows in groupby(sorted(source.cells, key=by_name), by_name)}
    ids: dict[str, int] = {}
    answers: list[tuple[Any, ...]] = []
    for process in source.processes:
        name, own_cells = process["name"], cells.get(process["name"], [])
        session = _session(
            process, own_cells, source.place, ids.get(process["process_name"]), before.get(name)
        )
        session = target.put_session(session, {"0": {"began": from_time(session.started)}})
        ids[name] = session.id
        present = {cell.cell: cell for cell in target.cells([session.id])}
        converted = [_cell(session.id, cell, process) for cell in own_cells]
        new = [cell for cell in converted if present.get(cell.cell) != cell]
        for cell in new:
            target.put_cell(cell)
        answers.append((name, "process", session.label, len(new), ""))
    return answers, ids


def _session(
    process: dict[str, Any],
    cells: list[dict[str, Any]],
    place: str,
    parent: int | None,
    before: Session | None,
) -> Session:
    """Return a process as a session. One that was imported before keeps its start, by which it is known."""
    newest = time_of(process["changed"])
    times = [moment for cell in cells for moment in _times(cell, process)]
    started = before.started if before is not None else min([newest, _moment(process["began"]), *times])
    ended, outcome, error = _end(process, cells)
    return Session(
        process["name"].replace("@", "_").replace("*", "_"), process["creator_user_id"], HOST, process["pid"], started,
        parent=parent, ended=ended, heartbeat=max([started, *times]), outcome=outcome, error=error,
        info={
            "tablevault_process": process["name"], "tablevault_type": process["execution_type"], "imported_from": place,
            "tablevault_parent_index": process["process_index"],
        },
    )  # fmt: skip


def _end(
    process: dict[str, Any], cells: list[dict[str, Any]]
) -> tuple[datetime | None, str | None, str | None]:
    """Return when a process ended, how, and by which error. A notebook ends with its last cell, whatever came of that."""
    if not cells or cells[-1]["status"] != "complete":
        return None, None, None
    _, ended = _times(cells[-1], process)
    error = cells[-1]["error"] if process["execution_type"] == "script" else ""
    return ended, "failed" if error else "finished", _last_line(error)


def _cell(session_id: int, cell: dict[str, Any], process: dict[str, Any]) -> Cell:
    began, ended = _times(cell, process)
    is_done, error = cell["status"] == "complete", cell["error"]
    return Cell(
        session_id, cell["index"], cell["text"], began,
        duration_s=(ended - began).total_seconds() if is_done else None,
        outcome=("error" if error else "ok") if is_done else "running",
        error=_last_line(error), traceback=error or None,
    )  # fmt: skip


def _last_line(error: str) -> str | None:
    return error.strip().rpartition("\n")[2] or None


def _times(cell: dict[str, Any], process: dict[str, Any]) -> tuple[datetime, datetime]:
    """Return when a cell began and ended: by revisions, which a restored database has anew, so at most when its process changed."""
    newest = time_of(process["changed"])
    ended = min(_moment(cell["ended"]), newest)
    return min(_moment(cell["began"] or cell["ended"]), ended), ended


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


# -- descriptions


def _describe(
    target: Store,
    source: TableVaultDatabase,
    names: dict[str, str],
    sessions: dict[str, int],
    left_out: dict[str, Counter[str]],
) -> None:
    """Add the descriptions that the target does not have."""
    heads = {name: target.head(own_name) for name, own_name in names.items()}
    present = {_without_time(description) for description in target.descriptions(history=True)}
    for row in source.descriptions:
        head, session = heads.get(row["item_name"]), sessions.get(row["item_name"])
        if head is None and session is None:
            if row["item_name"] in left_out:
                left_out[row["item_name"]]["descriptions"] += 1
            continue
        description = Description(
            row["name"], row["text"], None if head is None else head.list_id, session if head is None else None,
            tuple(map(float, row["embedding"])) or None, sessions.get(row["process_name"]), _moment(row["written"]),
        )  # fmt: skip
        if _without_time(description) not in present:
            target.describe(description)


def _without_time(description: Description) -> tuple[Any, ...]:
    return (
        description.label, description.text, description.list_id, description.session_of, description.vector, description.session_id,
    )  # fmt: skip
