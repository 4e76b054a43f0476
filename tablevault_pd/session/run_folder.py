"""A run as a folder, to run again: its code, the packages that it had, its parameters and the versions that it read."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tablevault_pd.errors import InvalidInput
from tablevault_pd.new_files import below, new_folder
from tablevault_pd.progress import warn

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from tablevault_pd.store import Cell, ModuleSource

NO_FILES = ("-c", "<stdin>")  #: what stands for the path of code that came from no file
COMMAND, NOTEBOOK, PACKAGES, ABOUT = "command.py", "cells.ipynb", "requirements.txt", "run.json"
KEPT = ("python", "argv", "cwd", "git_commit", "git_dirty")  #: of the environment
_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+!-]*")  #: names and versions that pip reads as nothing else


def write_run(
    folder: Path,
    label: str,
    cells: Sequence[Cell],
    sources: Sequence[ModuleSource],
    environment: Mapping[str, Any],
    about: Mapping[str, Any],
) -> None:
    """Write a run into a new or empty folder: all of it, or nothing."""
    texts = _texts(label, cells, sources)
    if not texts:
        raise InvalidInput(f"No code of {label} is kept, to be written to {folder}; nothing was written.")
    texts[PACKAGES] = _requirements(label, environment)
    described = {
        "session": label,
        **{name: environment[name] for name in KEPT if name in environment},
        **about,
    }
    texts[ABOUT] = json.dumps(described, indent=2, default=str) + "\n"
    with new_folder(folder) as written:
        for path, text in texts.items():
            file = written / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(text.encode("utf-8", "backslashreplace"))


def _texts(label: str, cells: Sequence[Cell], sources: Iterable[ModuleSource]) -> dict[str, str]:
    """Return the code by the path of its file. A file that was another one later, or was run again, is the last one."""
    typed = [cell for cell in cells if cell.path is None]
    pairs = [(source.path, source.text) for source in sources]
    pairs += [(cell.path, cell.text) for cell in cells if cell.path is not None]
    texts: dict[str, str] = {}
    changed: dict[str, None] = {}
    for recorded, text in pairs:
        path = COMMAND if recorded in NO_FILES else below(recorded)
        if path in (NOTEBOOK, PACKAGES, ABOUT):
            raise InvalidInput(
                f"{label} ran a file {path!r}, as one is called that is written here; nothing was written."
            )
        if texts.get(path, text) != text:
            changed[path] = None
        texts[path] = text
    if changed:
        warn(f"{', '.join(map(repr, changed))} changed while {label} ran: what it was last is written.")
    if typed:
        texts[NOTEBOOK] = _notebook(typed)
    return texts


def _notebook(cells: Iterable[Cell]) -> str:
    """Return cells as a notebook without outputs, in the order in which they ran."""
    code: list[dict[str, Any]] = [
        {
            "cell_type": "code",
            "id": f"cell-{cell.cell}",
            "metadata": {},
            "execution_count": cell.execution_count,
            "outputs": [],
            "source": cell.text,
        }
        for cell in cells
    ]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return json.dumps(
        {"cells": code, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}, indent=1
    )


def _requirements(label: str, environment: Mapping[str, Any]) -> str:
    """Return the packages as lines for pip. Nothing but a name and a version comes into a line."""
    packages = environment.get("packages")
    if not isinstance(packages, Mapping):
        warn(f"The packages of {label} are not recorded: {PACKAGES} names none.")
        packages = {}
    plain = {name: version for name, version in packages.items() if _is_plain(name) and _is_plain(version)}
    if len(plain) < len(packages):
        left_out = ", ".join(repr(name) for name in sorted(packages) if name not in plain)
        warn(f"{PACKAGES} leaves out what pip cannot install by its version: {left_out}.")
    python = environment.get("python")
    head = [f"# Python {python}"] if _is_plain(python) else []
    return "\n".join([*head, *(f"{name}=={version}" for name, version in sorted(plain.items()))]) + "\n"


def _is_plain(value: object) -> bool:
    return isinstance(value, str) and _PLAIN.fullmatch(value) is not None
