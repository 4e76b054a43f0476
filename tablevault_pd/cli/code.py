"""The ``code``, ``code-diff`` and ``stale`` commands: which code made what, how it differs, what is to be made again."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

import pandas as pd

from tablevault_pd.cli.output import PROGRAM, Output
from tablevault_pd.code.reading import frame_of
from tablevault_pd.errors import InvalidInput, SessionNotFound
from tablevault_pd.lineage.of_rows import slice_named
from tablevault_pd.reading import reports

if TYPE_CHECKING:
    import argparse

    from tablevault_pd.code.diff import CodeDiff
    from tablevault_pd.session.info import RunInfo
    from tablevault_pd.vault.vault import Vault


def add_code_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``code``."""
    parser.add_argument(
        "which",
        metavar="WHICH",
        help="train#2, or train for its latest run; with --whole also a list or version: preds@3",
    )
    parser.add_argument(
        "--whole",
        action="store_true",
        help="all that made the rows: with the functions of other cells and modules",
    )
    parser.add_argument(
        "--export",
        metavar="FOLDER",
        help="write the files of the session into a new folder, with its packages and parameters, to run it again",
    )


def add_code_diff_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``code-diff``."""
    for name in ("A", "B"):
        parser.add_argument(
            name.lower(), metavar=name, help="a version (preds@3), a list, or a session (train#2)"
        )


def add_git_diff_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``git-diff``."""
    parser.add_argument("which", metavar="WHICH", help="train#2, or train for its latest run")
    parser.add_argument(
        "--folder",
        metavar="FOLDER",
        help="the project in a git repository that has the commit, such as a clone; default: where the session ran",
    )


def add_stale_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``stale``."""
    parser.add_argument("name", nargs="?", metavar="NAME", help="a list (default: all)")


def code(vault: Vault, arguments: argparse.Namespace) -> Output:
    """Return the code of a session, or the slice of a list, as text."""
    if arguments.whole and arguments.export is not None:
        raise InvalidInput(
            "--export writes the files of a session, --whole shows parts of them. Leave one out."
        )
    if arguments.whole:
        return _slice(vault, arguments.which)
    run = _run(vault, arguments.which)
    if arguments.export is not None:
        folder = run.export(arguments.export)
        files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
        frame = pd.DataFrame({"file": files}, dtype="str")
        return Output(frame, note=f"{run.label} written to {arguments.export}.")
    cells = run.cells()
    if cells.empty:
        return Output(cells, note=f"No code was recorded for {arguments.which!r}.")
    several = len(cells) > 1
    texts = [
        f"# -- cell {number}\n{text}" if several else str(text)
        for number, text in zip(cells["cell"], cells["text"], strict=True)
    ]
    return Output(cells, text="\n\n".join(texts))


def _run(vault: Vault, which: str) -> RunInfo:
    try:
        return vault.run(which)
    except SessionNotFound as error:
        if which in vault:
            raise SessionNotFound(
                f"{which!r} is a list, not a session. {PROGRAM} code --whole {shlex.quote(which)} shows all the code that made it."
            ) from error
        raise


def _slice(vault: Vault, which: str) -> Output:
    code_slice, name = slice_named(vault.store, which)
    labels = reports.labels_of(vault.store, [part.session_id for part in code_slice.parts])
    frame = frame_of(code_slice.parts, labels, code_slice.unresolved)
    if not code_slice.parts:
        return Output(frame, note=f"No code was recorded for {name}.")
    missing = (
        f"Defined by no captured code: {', '.join(code_slice.unresolved)}." if code_slice.unresolved else ""
    )
    return Output(frame, note=missing, text=code_slice.text.rstrip("\n"))


def code_diff(vault: Vault, arguments: argparse.Namespace) -> Output:
    """Return a unified diff of the code behind two versions or sessions."""
    return _shown(vault.code_diff(arguments.a, arguments.b), "The code is the same.")


def git_diff(vault: Vault, arguments: argparse.Namespace) -> Output:
    """Return a unified diff of the files of a session and those of its commit."""
    diff = _run(vault, arguments.which).git_diff(arguments.folder)
    return _shown(diff, "Its files are those of the commit.")


def _shown(diff: CodeDiff, same: str) -> Output:
    frame = pd.DataFrame({"line": str(diff).splitlines()}, dtype="str")
    return Output(frame, note="" if diff else same, text=str(diff).rstrip("\n") or None)


def stale(vault: Vault, arguments: argparse.Namespace) -> pd.DataFrame:
    """Return what is to be made again, in order of making."""
    return vault.stale(arguments.name)
