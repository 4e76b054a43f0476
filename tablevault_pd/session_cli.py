"""The commands about sessions, for the command line: each takes the vault and its parsed arguments and returns a frame.

``sessions [name] [--state …] [--parent …] [--tag …]``, ``code session``, ``stop|pause|resume which … [--wait …]``.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from typing import TYPE_CHECKING

import pandas as pd

from tablevault_pd.session.choosing import STATES

if TYPE_CHECKING:
    from tablevault_pd.vault import Vault

Command = Callable[["Vault", Namespace], pd.DataFrame]


def sessions(vault: Vault, arguments: Namespace) -> pd.DataFrame:
    """Who ran what, when, and how it ended."""
    return vault.sessions(
        arguments.name,
        state=arguments.state or None,
        parent=arguments.parent,
        tags=arguments.tag or None,
        since=arguments.since,
    )


def code(vault: Vault, arguments: Namespace) -> pd.DataFrame:
    """The code that a session ran."""
    return vault.cells(arguments.session)


def stop(vault: Vault, arguments: Namespace) -> pd.DataFrame:
    """Ask sessions to stop at their next checkpoint."""
    return vault.stop(arguments.which, exit_code=arguments.exit_code, wait_s=arguments.wait)


def pause(vault: Vault, arguments: Namespace) -> pd.DataFrame:
    """Ask sessions to wait at their next checkpoint."""
    return vault.pause(arguments.which, wait_s=arguments.wait)


def resume(vault: Vault, arguments: Namespace) -> pd.DataFrame:
    """Let paused sessions go on."""
    return vault.resume(arguments.which, wait_s=arguments.wait)


#: Command -> the function that runs it. Those in WRITING need a vault that is open for writing.
COMMANDS: dict[str, Command] = {
    "sessions": sessions,
    "code": code,
    "stop": stop,
    "pause": pause,
    "resume": resume,
}
WRITING = frozenset({"stop", "pause", "resume"})


def add_arguments(command: str, parser: ArgumentParser) -> None:
    """What `command` takes, added to its parser."""
    if command == "sessions":
        parser.add_argument("name", nargs="?", help="a name, name#run or a pattern such as 'sweep-*'")
        parser.add_argument(
            "--state", action="append", choices=STATES, help="only those in this state; may be repeated"
        )
        parser.add_argument("--parent", help="only the children of this session")
        parser.add_argument("--tag", action="append", help="only those with this tag; may be repeated")
        parser.add_argument("--since", help="only those that started at or after this time")
        return
    if command == "code":
        parser.add_argument("session", help="a name (its latest run) or name#run")
        return
    parser.add_argument(
        "which", nargs="+", help="names (the latest run), name#run, or patterns such as 'sweep-*'"
    )
    parser.add_argument(
        "--wait", type=float, default=0.0, metavar="SECONDS", help="wait until they have acknowledged"
    )
    if command == "stop":
        parser.add_argument("--exit-code", type=int, default=0, help="what their processes exit with")
