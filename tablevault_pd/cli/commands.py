"""The command line: parse the arguments, run one of `COMMANDS`, print what it returns, and give errors an exit code."""

from __future__ import annotations

import argparse
import os
import re
import sys
import warnings
from contextlib import ExitStack, redirect_stderr, redirect_stdout
from functools import partial
from typing import TYPE_CHECKING, NoReturn

from tablevault_pd import __version__
from tablevault_pd.api import connect
from tablevault_pd.cli import wording
from tablevault_pd.cli.command_list import COMMANDS, Command
from tablevault_pd.cli.output import PROGRAM, Output, print_table
from tablevault_pd.cli.place import misplaced
from tablevault_pd.display import printable
from tablevault_pd.errors import (
    DimensionMismatch,
    InvalidFilter,
    InvalidInput,
    InvalidName,
    ListNotFound,
    VaultError,
    VaultNotFound,
    did_you_mean,
)
from tablevault_pd.reading.machine_output import write_csv, write_json

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tablevault_pd.vault.vault import Vault

PIPE_CLOSED = 128 + 13  # exit code of a program that SIGPIPE ended
INTERRUPTED = 128 + 2
WRONG_ARGUMENT = 2  # as for argparse
_UNKNOWN_COMMAND = re.compile(
    r"argument COMMAND: invalid choice: (?P<quote>['\"])(?P<name>.*?)(?P=quote) \(", re.DOTALL
)
#: What other programs, and Python, call our commands.
OTHERWISE = wording.COMMANDS | {
    "ls": "lists", "list": "lists", "cat": "show", "head": "show", "log": "versions", "diff": "compare", "why": "compare",
    "runs": "sessions", "rm": "delete",
}  # fmt: skip
WRONG_ARGUMENTS = (InvalidInput, InvalidFilter, InvalidName, DimensionMismatch)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command. Return the exit code: 0, 1 for an error or damage, 2 for an argument that cannot be used."""
    with ExitStack() as stack:
        for stream, redirect in ((sys.stdout, redirect_stdout), (sys.stderr, redirect_stderr)):
            if stream is None:  # closed, as by `>&-`
                nowhere = stack.enter_context(open(os.devnull, "w", encoding="utf-8"))
                stack.enter_context(redirect(nowhere))
        return _main(argv)


def _main(argv: Sequence[str] | None) -> int:
    top = parser()
    arguments, left = top.parse_known_args(argv)
    if left:
        _refuse(left, arguments.command.name, _parsers(top)[arguments.command.name])
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


def _refuse(words: Sequence[str], command: str, sub: argparse.ArgumentParser) -> NoReturn:
    """Exit for words that a command does not take."""
    option = next((word for word in words if word.startswith("-")), None)
    if option is None:
        hint = "A vault is named by --vault PLACE."
    else:
        near = did_you_mean(option.partition("=")[0], [*sub._option_string_actions])
        hint = f"{near} {PROGRAM} {command} --help tells what it takes.".lstrip()
    sub.error(f"unrecognized arguments: {printable(' '.join(words))}. {hint}")


class _Parser(argparse.ArgumentParser):
    """A parser that says which command may be meant."""

    def error(self, message: str) -> NoReturn:
        unknown = _UNKNOWN_COMMAND.match(message)
        if unknown is not None:
            name = unknown["name"]
            meant = OTHERWISE.get(name)
            near = (
                f"Did you mean {meant!r}?"
                if meant
                else did_you_mean(name, [command.name for command in COMMANDS])
            )
            message = f"There is no command {unknown['quote']}{name}{unknown['quote']}. {near}".rstrip()
        elif message.endswith("required: COMMAND"):
            message = "Say what to do."
        else:
            super().error(message)
        self.exit(WRONG_ARGUMENT, f"{PROGRAM}: {message} {PROGRAM} --help lists all commands.\n")


def _say(top: argparse.ArgumentParser, arguments: argparse.Namespace, message: str) -> None:
    """Print what the library says, in the words of the command line."""
    message = wording.in_shell(message, _parsers(top), arguments.command.name)
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
    common = _Parser(add_help=False, argument_default=argparse.SUPPRESS)
    _add_common(common)
    top = _Parser(
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
            epilog=f"Example: {PROGRAM} {command.example}",
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
