"""The command line: every command is one function over the public calls, listed in `COMMANDS` at the end.

A command takes the vault and its arguments and returns an `Output`: a frame, and perhaps a sentence about it and an exit code.
The functions are in modules by theme, each with one that adds its arguments; `output` prints the frames.
"""

from __future__ import annotations

import argparse
import os
import sys
import warnings
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from tablevault_pd import __version__
from tablevault_pd.api import connect
from tablevault_pd.cli import analysis as analysis_cli
from tablevault_pd.cli import code as code_cli
from tablevault_pd.cli import compare as compare_cli
from tablevault_pd.cli import lists as list_cli
from tablevault_pd.cli import maintenance as maintenance_cli
from tablevault_pd.cli import moving as moving_cli
from tablevault_pd.cli import names as name_cli
from tablevault_pd.cli import rows as row_cli
from tablevault_pd.cli import sessions as session_cli
from tablevault_pd.cli import work as work_cli
from tablevault_pd.cli.lineage import add_lineage_arguments, lineage_command
from tablevault_pd.cli.output import PROGRAM, SHOWN_ROWS, Output, print_table
from tablevault_pd.cli.place import misplaced
from tablevault_pd.cli.search import add_search_arguments, search_command
from tablevault_pd.cli.sql import add_sql_arguments, sql
from tablevault_pd.cli.ui import add_ui_arguments, ui
from tablevault_pd.cli.wording import in_shell
from tablevault_pd.display import printable
from tablevault_pd.errors import (
    DimensionMismatch,
    InvalidFilter,
    InvalidInput,
    InvalidName,
    ListNotFound,
    VaultError,
    VaultNotFound,
)
from tablevault_pd.reading.machine_output import write_csv, write_json

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import pandas as pd

    from tablevault_pd.vault.vault import Vault

PIPE_CLOSED = 128 + 13  # exit code of a program that SIGPIPE ended
INTERRUPTED = 128 + 2
NOBODY = "No session fits."
WRONG_ARGUMENT = 2  # as for argparse
WRONG_ARGUMENTS = (InvalidInput, InvalidFilter, InvalidName, DimensionMismatch)


@dataclass(frozen=True, slots=True)
class Command:
    """One subcommand: its name, function, help and arguments, and whether it changes the vault."""

    name: str
    run: Callable[[Any, argparse.Namespace], Output]  #: given the open vault, or its place if it may be made
    help: str
    add_arguments: Callable[[argparse.ArgumentParser], None]
    writes: Callable[[argparse.Namespace], bool] = field(default=lambda _: False)
    makes: bool = False  #: whether the vault is made if it is not there; the command opens it
    lines: int | None = None  #: of a listing: so many lines has a table unless --limit says otherwise; 0: all
    session: bool = False  #: whether it has a session of its own, to say who made a version of a list


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command. Return the exit code: 0, 1 for an error or damage, 2 for an argument that cannot be used."""
    top = parser()
    arguments, left = top.parse_known_args(argv)
    if left:
        option = next((word for word in left if word.startswith("-")), None)
        hint = (
            "A vault is named by --vault PLACE."
            if option is None
            else f"{PROGRAM} {arguments.command.name} --help tells what it takes."
        )
        top.error(f"unrecognized arguments: {printable(' '.join(left))}. {hint}")
    # A terminal of a narrow encoding shows escapes in place of what it cannot show.
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    try:
        with warnings.catch_warnings():
            warnings.showwarning = partial(_warn, top, arguments)
            code = _run(arguments)
        sys.stdout.flush()
    except BrokenPipeError:  # as after `| head`: discard the rest
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return PIPE_CLOSED
    except KeyboardInterrupt:
        return INTERRUPTED
    except (VaultError, OSError) as error:
        place_hint = misplaced(arguments) if isinstance(error, (ListNotFound, VaultNotFound)) else None
        _say(top, arguments, f"{error} {place_hint or ''}".rstrip())
        return WRONG_ARGUMENT if isinstance(error, WRONG_ARGUMENTS) else 1
    return code


def _say(top: argparse.ArgumentParser, arguments: argparse.Namespace, message: str) -> None:
    """Print what the library says, in the words of the command line."""
    message = in_shell(message, _parsers(top), arguments.command.name)
    lines = "\n".join(printable(line) for line in message.splitlines())
    print(f"{PROGRAM}: {lines}", file=sys.stderr)


def _warn(
    top: argparse.ArgumentParser,
    arguments: argparse.Namespace,
    message: Warning | str,
    *_: object,
    **__: object,
) -> None:
    """Print a warning without a line of code."""
    _say(top, arguments, f"warning: {message}")


def _parsers(top: argparse.ArgumentParser) -> Mapping[str, argparse.ArgumentParser]:
    """Return the parser of each command."""
    [commands] = (action for action in top._actions if isinstance(action, argparse._SubParsersAction))
    return commands.choices


def parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command line."""
    # The same options after the command, without defaults, which would replace values given before it.
    common = argparse.ArgumentParser(add_help=False, argument_default=argparse.SUPPRESS)
    _add_common(common)
    top = argparse.ArgumentParser(
        PROGRAM,
        description="Look into a vault of DataFrames, and look after it.",
        epilog=f"Each command has its own help: {PROGRAM} show --help. "
        "Times are in UTC. Exit codes: 0; 1 for an error, damage found by check, or compare --fail-if; 2 for a wrong "
        "argument; 3 where --fail-if cannot tell.",
        allow_abbrev=False,  # --k would be --kind
    )
    _add_common(top)
    top.set_defaults(vault=None, snapshot=None, form="table")
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
        command.add_arguments(sub)
        if command.lines is not None:
            _add_limit(sub, command.lines)
        sub.set_defaults(command=command)
    return top


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."


def _add_common(to: argparse.ArgumentParser) -> None:
    to.add_argument("--vault", metavar="PLACE", help="the vault; default: $TABLEVAULT_URL, else ./vault")
    to.add_argument(
        "--snapshot", metavar="NAME", help="show every list as it was; for commands that only read"
    )
    form = to.add_mutually_exclusive_group()
    form.add_argument(
        "--json", dest="form", action="store_const", const="json", help="print a JSON array of objects"
    )
    form.add_argument("--csv", dest="form", action="store_const", const="csv", help="print CSV with a header")


def _add_limit(to: argparse.ArgumentParser, lines: int) -> None:
    default = f"a table has {lines}, JSON and CSV all" if lines else "default: all"
    to.add_argument(
        "-n",
        "--limit",
        type=int,
        metavar="N",
        help=f"so many lines, -5 for the last five, 0 for all; {default}",
    )


def _run(arguments: argparse.Namespace) -> int:
    command: Command = arguments.command
    if arguments.snapshot is not None and command.writes(arguments):
        raise InvalidInput(
            f"{command.name} changes the vault, and --snapshot {arguments.snapshot} shows it as it was. Leave --snapshot out."
        )
    if command.makes:
        return _print(command.run(arguments.vault, arguments), arguments)
    with _existing(arguments.vault, arguments.snapshot) as vault:
        if not command.writes(arguments):
            return _print(command.run(vault, arguments), arguments)
    with connect(arguments.vault, session=PROGRAM if command.session else False) as vault:
        return _print(command.run(vault, arguments), arguments)


def _existing(place: str | None, at: str | None) -> Vault:
    """Open a vault for reading. Raises VaultNotFound instead of making a new one."""
    try:
        return connect(place, mode="r", at=at)
    except VaultNotFound as error:
        reason = str(error).partition(". mode='rw'")[0]
        raise VaultNotFound(
            f"{reason}. Name a vault with --vault PLACE, or in the environment variable TABLEVAULT_URL."
        ) from error


def _print(output: Output, arguments: argparse.Namespace) -> int:
    form, lines = arguments.form, arguments.command.lines
    if lines is not None:
        limit = arguments.limit if arguments.limit is not None or form != "table" else lines
        output = output.limited(limit or None)
    if form == "json":
        write_json(output.frames(), sys.stdout, index=output.index)
    elif form == "csv":
        write_csv(output.frames(), sys.stdout, index=output.index)
    else:
        print_table(output, sys.stdout)
    return output.code


def framed(
    run: Callable[[Vault, argparse.Namespace], pd.DataFrame], nothing: str
) -> Callable[[Vault, argparse.Namespace], Output]:
    """Make a command of a function that returns a frame; the note `nothing` is for an empty one."""

    def command(vault: Vault, arguments: argparse.Namespace) -> Output:
        frame = run(vault, arguments)
        return Output(frame, note="" if len(frame) else nothing)

    return command


def sessions(vault: Vault, arguments: argparse.Namespace) -> Output:
    """Show sessions."""
    frame = session_cli.sessions(vault, arguments)
    hidden = ("name", "run", "pid", "heartbeat", "outcome", "attempts", "reads")
    return Output(frame, hidden=hidden, note="" if len(frame) else "No sessions.")


def _always(_: argparse.Namespace) -> bool:
    return True


#: Every command. A new one is two functions in a module of its theme, and an entry here.
COMMANDS = (
    Command("lists", list_cli.lists, "the lists of a vault", list_cli.add_lists_arguments, lines=0),
    Command(
        "show",
        list_cli.show,
        f"the rows of one list: the first {SHOWN_ROWS}, or all with --json and --csv",
        list_cli.add_show_arguments,
    ),
    Command(
        "versions",
        list_cli.versions,
        "the history of a list, or of all",
        list_cli.add_versions_arguments,
        lines=0,
    ),
    Command(
        "files",
        list_cli.files,
        "the files that columns name, as they were saved",
        list_cli.add_files_arguments,
        lines=0,
    ),
    Command(
        "claims",
        work_cli.claims,
        "who holds and who has done which rows",
        work_cli.add_claims_arguments,
        lines=0,
    ),
    Command(
        "follow",
        work_cli.follow,
        "the new rows of a list as they are committed, until Ctrl-C",
        work_cli.add_follow_arguments,
    ),
    Command(
        "release",
        work_cli.release,
        "give back the rows that a session holds",
        work_cli.add_release_arguments,
        writes=_always,
    ),
    Command(
        "sessions", sessions, "who ran what, and how it ended", session_cli.add_sessions_arguments, lines=0
    ),
    Command(
        "metrics",
        analysis_cli.metrics,
        "what sessions logged, step by step or in one number",
        analysis_cli.add_metrics_arguments,
        lines=SHOWN_ROWS,
    ),
    Command(
        "best",
        analysis_cli.best,
        "the step of each session at which a metric was best",
        analysis_cli.add_best_arguments,
        lines=0,
    ),
    Command(
        "compare",
        compare_cli.compare,
        "which rows changed between versions, and whether a measure got worse; for CI with --fail-if",
        compare_cli.add_compare_arguments,
    ),
    Command(
        "trend",
        compare_cli.trend,
        "a measure of every version of a list",
        compare_cli.add_trend_arguments,
        lines=0,
    ),
    Command(
        "differences",
        compare_cli.differences,
        "everything upstream of two versions or sessions that is not the same",
        compare_cli.add_differences_arguments,
        lines=0,
    ),
    Command(
        "code",
        code_cli.code,
        "the code that a session ran, or that made a list",
        code_cli.add_code_arguments,
        lines=0,
    ),
    Command(
        "code-diff",
        code_cli.code_diff,
        "how the code behind two versions or sessions differs",
        code_cli.add_code_diff_arguments,
        lines=0,
    ),
    Command(
        "stale",
        framed(code_cli.stale, "Nothing is out of date."),
        "rows made of something that has since changed, in order of making",
        code_cli.add_stale_arguments,
        lines=0,
    ),
    Command(
        "search",
        framed(search_command, "Nothing was found."),
        "find rows by words, vectors, values, code, description and lineage",
        add_search_arguments,
    ),
    Command(
        "ui",
        ui,
        "look at a vault in a browser, until Ctrl-C",
        add_ui_arguments,
        writes=lambda arguments: arguments.control,
    ),
    Command("sql", sql, "answer a SELECT statement over lists and reports", add_sql_arguments, lines=0),
    Command(
        "lineage",
        framed(lineage_command, "Nothing is known of their lineage."),
        "which rows a list's rows were made from, or went into",
        add_lineage_arguments,
        lines=SHOWN_ROWS,
    ),
    Command(
        "stop",
        framed(session_cli.stop, NOBODY),
        "ask sessions to stop at their next checkpoint",
        session_cli.add_stop_arguments,
        writes=_always,
    ),
    Command(
        "pause",
        framed(session_cli.pause, NOBODY),
        "ask sessions to wait at their next checkpoint",
        session_cli.add_asking_arguments,
        writes=_always,
    ),
    Command(
        "resume",
        framed(session_cli.resume, NOBODY),
        "let paused sessions go on",
        session_cli.add_asking_arguments,
        writes=_always,
    ),
    Command(
        "check",
        maintenance_cli.check,
        "look for damage and stray files",
        maintenance_cli.add_check_arguments,
        writes=lambda arguments: bool(arguments.fix),
        lines=0,
    ),
    Command(
        "indexes",
        maintenance_cli.indexes,
        "show the indexes that searches use, and how far they go",
        lambda parser: None,
        lines=0,
    ),
    Command(
        "vacuum",
        maintenance_cli.vacuum,
        "tell what space only old versions take, and free it with --yes",
        maintenance_cli.add_vacuum_arguments,
        writes=lambda arguments: bool(arguments.yes),
    ),
    Command(
        "compact",
        maintenance_cli.compact,
        "merge what many small appends left behind",
        maintenance_cli.add_compact_arguments,
        writes=_always,
    ),
    Command(
        "backup",
        maintenance_cli.backup,
        "copy the vault to a folder, while others write",
        maintenance_cli.add_backup_arguments,
    ),
    Command(
        "copy",
        moving_cli.copy,
        "copy the vault, or some lists, into another one",
        moving_cli.add_copy_arguments,
    ),
    Command(
        "merge",
        moving_cli.merge,
        "fold other vaults into this one, which is made if it is not there",
        moving_cli.add_merge_arguments,
        writes=_always,
        makes=True,
    ),
    Command(
        "import",
        moving_cli.import_runs,
        "bring in what MLflow, TableVault, TensorBoard or Trackio keep; the vault is made if it is not there",
        moving_cli.add_import_arguments,
        writes=_always,
        makes=True,
    ),
    Command(
        "export",
        maintenance_cli.export,
        "write all lists to a folder, or one to a file, for other tools",
        maintenance_cli.add_export_arguments,
    ),
    Command(
        "delete",
        list_cli.delete,
        "hide a list; its versions stay",
        list_cli.add_delete_arguments,
        writes=_always,
        session=True,
    ),
    Command(
        "restore",
        list_cli.restore,
        "make an older version of a list the newest",
        list_cli.add_restore_arguments,
        writes=_always,
        session=True,
    ),
    Command(
        "rename",
        name_cli.rename,
        "call a list otherwise, in all its versions",
        name_cli.add_rename_arguments,
        writes=_always,
        session=True,
    ),
    Command(
        "snapshot",
        name_cli.snapshot,
        "name the present version of every list",
        name_cli.add_snapshot_arguments,
        writes=_always,
        session=True,
    ),
    Command(
        "snapshots",
        name_cli.snapshots,
        "which snapshots there are, and of which versions",
        name_cli.add_snapshots_arguments,
        lines=0,
    ),
    Command(
        "tag",
        name_cli.tag,
        "tag sessions, or name a version of a list",
        name_cli.add_tag_arguments,
        writes=_always,
        session=True,
    ),
    Command(
        "untag",
        name_cli.untag,
        "remove a snapshot, or the name of a version",
        name_cli.add_untag_arguments,
        writes=_always,
    ),
    Command(
        "history",
        row_cli.history,
        "every state of one row of a list with a key",
        row_cli.add_history_arguments,
        lines=0,
    ),
    Command(
        "delete-rows",
        row_cli.delete_rows,
        "leave rows out of a list; its earlier versions keep them",
        row_cli.add_delete_arguments,
        writes=_always,
        session=True,
    ),
    Command(
        "erase",
        row_cli.erase,
        "forget rows for good, in all versions of a list",
        row_cli.add_erase_arguments,
        writes=lambda arguments: bool(arguments.yes),
        session=True,
    ),
)
