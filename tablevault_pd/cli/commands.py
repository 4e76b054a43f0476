"""The command line: every command is one function over the public calls, listed in `COMMANDS` at the end.

A command takes the vault and its arguments and returns an `Answer`: a frame, and perhaps a sentence about it and an exit code.
The functions stand in modules by theme; `output` prints the answers of all of them.
"""

from __future__ import annotations

import argparse
import os
import sys
import warnings
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tablevault_pd import __version__
from tablevault_pd.api import connect
from tablevault_pd.cli import analysis as analysis_cli
from tablevault_pd.cli import code as code_cli
from tablevault_pd.cli import compare as compare_cli
from tablevault_pd.cli import sessions as session_cli
from tablevault_pd.cli.lineage import add_lineage_arguments, lineage_command
from tablevault_pd.cli.lists import SHOWN_ROWS, delete, lists, restore, show, versions
from tablevault_pd.cli.maintenance import check, compact, export, vacuum
from tablevault_pd.cli.output import PROGRAM, Answer, print_table, printable
from tablevault_pd.cli.search import add_search_arguments, search_command
from tablevault_pd.cli.sql import sql
from tablevault_pd.errors import (
    DimensionMismatch,
    InvalidFilter,
    InvalidInput,
    InvalidName,
    VaultError,
    VaultNotFound,
)
from tablevault_pd.reading.machine_output import write_csv, write_json

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import pandas as pd

    from tablevault_pd.vault.vault import Vault

PIPE_CLOSED = 128 + 13  # what a shell reports of a program that SIGPIPE ended
INTERRUPTED = 128 + 2
NOBODY = "No session fits."
WRONG_ARGUMENT = 2  # as argparse has it
WRONG_ARGUMENTS = (InvalidInput, InvalidFilter, InvalidName, DimensionMismatch)


@dataclass(frozen=True, slots=True)
class Command:
    """One subcommand: what it is called, what it does, its arguments, and whether it changes the vault."""

    name: str
    run: Callable[[Vault, argparse.Namespace], Answer]
    help: str
    arguments: tuple[tuple[tuple[str, ...], dict[str, Any]], ...] = ()
    writes: Callable[[argparse.Namespace], bool] = field(default=lambda _: False)
    session: bool = False  #: whether a session of its own says who did it: versions of lists are made
    add: Callable[[argparse.ArgumentParser], None] | None = None  #: adds further arguments


def argument(*flags: str, **options: Any) -> tuple[tuple[str, ...], dict[str, Any]]:
    """One argument of a command, as ``ArgumentParser.add_argument`` takes it."""
    return flags, options


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command. Return the exit code: 0, 1 for an error or damage, 2 for an argument that cannot be used."""
    top = parser()
    arguments, left = top.parse_known_args(argv)
    if left:
        top.error(f"unrecognized arguments: {' '.join(left)}. A vault is named by --vault PLACE.")
    # A terminal of a narrow encoding shows escapes in place of what it cannot show.
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _warn
            code = _run(arguments)
        sys.stdout.flush()
    except BrokenPipeError:  # `| head` has read enough; what is still buffered has nowhere to go
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return PIPE_CLOSED
    except KeyboardInterrupt:
        return INTERRUPTED
    except (VaultError, OSError) as error:
        message = "\n".join(printable(line) for line in str(error).splitlines())
        print(f"{PROGRAM}: {message}", file=sys.stderr)
        return WRONG_ARGUMENT if isinstance(error, WRONG_ARGUMENTS) else 1
    return code


def _warn(message: Warning | str, *_: object, **__: object) -> None:
    """Print a warning without the place in the code, which says nothing to whoever typed a command."""
    print(f"{PROGRAM}: warning: {printable(str(message))}", file=sys.stderr)


def parser() -> argparse.ArgumentParser:
    """The parser of the whole command line."""
    # The same options again after the command; without a default of their own, or they would undo what stands before it.
    common = argparse.ArgumentParser(add_help=False, argument_default=argparse.SUPPRESS)
    _add_common(common)
    top = argparse.ArgumentParser(
        PROGRAM,
        description="Look into a vault of DataFrames, and look after it.",
        epilog=f"Each command has its own help: {PROGRAM} show --help. "
        "Times are in UTC. Exit codes: 0; 1 for an error, or damage found by check; 2 for a wrong argument.",
        allow_abbrev=False,  # --k would be --kind
    )
    _add_common(top)
    top.set_defaults(vault=None, form="table")
    top.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = top.add_subparsers(metavar="COMMAND", required=True)
    for command in COMMANDS:
        sub = commands.add_parser(
            command.name,
            help=command.help,
            description=_sentence(command.help),
            parents=[common],
            allow_abbrev=False,
        )
        for flags, options in command.arguments:
            sub.add_argument(*flags, **options)
        if command.add is not None:
            command.add(sub)
        sub.set_defaults(command=command)
    return top


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."


def _add_common(to: argparse.ArgumentParser) -> None:
    to.add_argument("--vault", metavar="PLACE", help="the vault; default: $TABLEVAULT_URL, else ./vault")
    form = to.add_mutually_exclusive_group()
    form.add_argument(
        "--json", dest="form", action="store_const", const="json", help="print a JSON array of objects"
    )
    form.add_argument("--csv", dest="form", action="store_const", const="csv", help="print CSV with a header")


def _run(arguments: argparse.Namespace) -> int:
    command: Command = arguments.command
    with _existing(arguments.vault) as vault:
        if not command.writes(arguments):
            return _print(command.run(vault, arguments), arguments.form)
    with connect(arguments.vault, session=PROGRAM if command.session else False) as vault:
        return _print(command.run(vault, arguments), arguments.form)


def _existing(place: str | None) -> Vault:
    """The vault for reading: an error, and not an empty new vault, if there is none."""
    try:
        return connect(place, mode="r")
    except VaultNotFound as error:
        found = str(error).partition(". mode='rw'")[0]
        raise VaultNotFound(
            f"{found}. Name a vault with --vault PLACE, or in the environment variable TABLEVAULT_URL."
        ) from error


def _print(answer: Answer, form: str) -> int:
    if form == "json":
        write_json(answer.frames(), sys.stdout, index=answer.index)
    elif form == "csv":
        write_csv(answer.frames(), sys.stdout, index=answer.index)
    else:
        print_table(answer, sys.stdout)
    return answer.code


def framed(
    run: Callable[[Vault, argparse.Namespace], pd.DataFrame], nothing: str
) -> Callable[[Vault, argparse.Namespace], Answer]:
    """A command that answers with a frame and, when that is empty, the sentence `nothing`."""

    def command(vault: Vault, arguments: argparse.Namespace) -> Answer:
        frame = run(vault, arguments)
        return Answer(frame, note="" if len(frame) else nothing)

    return command


def sessions(vault: Vault, arguments: argparse.Namespace) -> Answer:
    """Who ran what."""
    frame = session_cli.sessions(vault, arguments)
    hidden = ("name", "run", "pid", "heartbeat", "outcome", "reads")
    return Answer(frame, hidden=hidden, note="" if len(frame) else "No sessions.")


def _always(_: argparse.Namespace) -> bool:
    return True


_NAME = argument("name", metavar="NAME", help="a list")
_MESSAGE = argument("--message", metavar="TEXT", help="what it is for, shown by versions")

#: Every command. A new one is a function above and a line here.
COMMANDS = (
    Command(
        "lists",
        lists,
        "the lists of a vault",
        (argument("--deleted", action="store_true", help="the hidden ones too"),),
    ),
    Command(
        "show",
        show,
        f"the rows of one list: the first {SHOWN_ROWS}, or all with --json and --csv",
        (
            argument("name", metavar="NAME[@VERSION]", help="a list, perhaps at an earlier version"),
            argument("-n", "--rows", type=int, metavar="ROWS", help="so many rows; -5 for the last five"),
            argument("-c", "--columns", nargs="+", metavar="COLUMN", help="only these columns"),
            argument(
                "--where", metavar="QUERY", help="only rows that fit, as in DataFrame.query: 'loss < 0.5'"
            ),
        ),
    ),
    Command(
        "versions",
        versions,
        "the history of a list, or of all",
        (argument("name", nargs="?", metavar="NAME", help="a list"),),
    ),
    Command("sessions", sessions, "who ran what, and how it ended", add=session_cli.add_sessions_arguments),
    Command(
        "metrics",
        analysis_cli.metrics,
        "what sessions logged, step by step or in one number",
        add=analysis_cli.add_metrics_arguments,
    ),
    Command(
        "best",
        analysis_cli.best,
        "the step of each session at which a metric was best",
        add=analysis_cli.add_best_arguments,
    ),
    Command(
        "compare",
        compare_cli.compare,
        "which rows changed between versions, and whether a measure got worse; for CI with --fail-if",
        add=compare_cli.add_compare_arguments,
    ),
    Command(
        "trend",
        compare_cli.trend,
        "a measure of every version of a list",
        add=compare_cli.add_trend_arguments,
    ),
    Command(
        "differences",
        compare_cli.differences,
        "everything upstream of two versions or sessions that is not the same",
        add=compare_cli.add_differences_arguments,
    ),
    Command(
        "code",
        code_cli.code,
        "the code that a session ran, or that made a list",
        add=code_cli.add_code_arguments,
    ),
    Command(
        "code-diff",
        code_cli.code_diff,
        "how the code behind two versions or sessions differs",
        add=code_cli.add_code_diff_arguments,
    ),
    Command(
        "stale",
        framed(code_cli.stale, "Nothing is out of date."),
        "rows made of something that has since changed, in order of making",
        add=code_cli.add_stale_arguments,
    ),
    Command(
        "search",
        framed(search_command, "Nothing was found."),
        "find rows by words, vectors, values, code, description and lineage",
        add=add_search_arguments,
    ),
    Command(
        "sql",
        sql,
        "answer a SELECT statement over lists and reports",
        (
            argument(
                "query",
                metavar="QUERY",
                help="one SELECT statement; tables are lists, or lists, versions, sessions, …",
            ),
            argument(
                "--param", action="append", metavar="NAME=VALUE", help="the value of $NAME; may be repeated"
            ),
            argument("--timeout", type=float, metavar="SECONDS", help="stop the query after so many seconds"),
        ),
    ),
    Command(
        "lineage",
        framed(lineage_command, "Nothing is known of their lineage."),
        "which rows a list's rows were made from, or went into",
        add=add_lineage_arguments,
    ),
    Command(
        "stop",
        framed(session_cli.stop, NOBODY),
        "ask sessions to stop at their next checkpoint",
        add=session_cli.add_stop_arguments,
        writes=_always,
    ),
    Command(
        "pause",
        framed(session_cli.pause, NOBODY),
        "ask sessions to wait at their next checkpoint",
        add=session_cli.add_asking_arguments,
        writes=_always,
    ),
    Command(
        "resume",
        framed(session_cli.resume, NOBODY),
        "let paused sessions go on",
        add=session_cli.add_asking_arguments,
        writes=_always,
    ),
    Command(
        "check",
        check,
        "look for damage and stray files",
        (argument("--fix", action="store_true", help="remove strays"),),
        writes=lambda arguments: bool(arguments.fix),
    ),
    Command(
        "vacuum",
        vacuum,
        "tell what space only old versions take, and free it with --yes",
        (
            argument(
                "--keep",
                type=int,
                default=1,
                metavar="N",
                help="versions of each list that stay readable (default: 1)",
            ),
            argument("--deleted", action="store_true", help="free deleted lists as a whole"),
            argument("--yes", action="store_true", help="remove it, for good"),
        ),
        writes=lambda arguments: bool(arguments.yes),
    ),
    Command(
        "compact",
        compact,
        "merge what many small appends left behind",
        (argument("name", nargs="?", metavar="NAME", help="only this list"),),
        writes=_always,
    ),
    Command(
        "export",
        export,
        "write all lists to a folder, for other tools",
        (
            argument("folder", metavar="FOLDER", help="a new or empty folder"),
            argument(
                "--format", choices=("parquet", "csv", "jsonl"), default="parquet", help="default: parquet"
            ),
        ),
    ),
    Command(
        "delete", delete, "hide a list; its versions stay", (_NAME, _MESSAGE), writes=_always, session=True
    ),
    Command(
        "restore",
        restore,
        "make an older version of a list the newest",
        (
            argument("name", metavar="NAME[@VERSION]", help="a list"),
            argument(
                "version", nargs="?", type=int, metavar="VERSION", help="the version, if not named after @"
            ),
            _MESSAGE,
        ),
        writes=_always,
        session=True,
    ),
)
