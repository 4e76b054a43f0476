"""The commands about sessions, for the command line: each takes the vault and its parsed arguments and returns a frame.

``sessions [name] [--state …] [--parent …] [--columns …] [--show …]``, ``stop|pause|resume which … [--wait …]``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tablevault_pd.cli.analysis import show_of
from tablevault_pd.cli.lists import split_columns
from tablevault_pd.session.lookup import STATES

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    import pandas as pd

    from tablevault_pd.vault.vault import Vault


def sessions(vault: Vault, arguments: Namespace) -> pd.DataFrame:
    """Return who ran what, when, and how it ended."""
    return vault.sessions(
        arguments.name,
        state=arguments.state or None,
        parent=arguments.parent,
        tags=arguments.tag or None,
        since=arguments.since,
        until=arguments.until,
        filters=arguments.filters,
        code=arguments.code,
        code_in=arguments.code_in,
        parent_code=arguments.parent_code,
        description=arguments.description,
        info=arguments.info,
        columns=arguments.columns and split_columns(arguments.columns, lambda: vault.sessions().columns),
        show=show_of(arguments.show),
        only_changed=arguments.only_changed,
    )


def stop(vault: Vault, arguments: Namespace) -> pd.DataFrame:
    """Ask sessions to stop at their next checkpoint."""
    return vault.stop(arguments.which, exit_code=arguments.exit_code, wait_s=arguments.wait)


def pause(vault: Vault, arguments: Namespace) -> pd.DataFrame:
    """Ask sessions to wait at their next checkpoint."""
    return vault.pause(arguments.which, wait_s=arguments.wait)


def resume(vault: Vault, arguments: Namespace) -> pd.DataFrame:
    """Let paused sessions go on."""
    return vault.resume(arguments.which, wait_s=arguments.wait)


def add_sessions_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of ``sessions``."""
    parser.add_argument("name", nargs="?", help="a name, name#run or a pattern such as 'sweep-*'")
    parser.add_argument(
        "--state", action="append", choices=STATES, help="only those in this state; may be repeated"
    )
    parser.add_argument("--parent", help="only the children of this session, or of those that fit a pattern")
    parser.add_argument("--tag", action="append", help="only those with this tag; may be repeated")
    parser.add_argument("--since", metavar="TIME", help="only those that started at this time (UTC) or later")
    parser.add_argument("--until", metavar="TIME", help="only those that started before this time (UTC)")
    parser.add_argument("--filters", metavar="QUERY", help='only those that fit: "metrics.acc > 0.9"')
    parser.add_argument("--code", help="only those with code that mentions this")
    parser.add_argument(
        "--code-in", choices=("slice", "cell", "session"), default="slice", help="where the code mentions it"
    )
    parser.add_argument("--parent-code", metavar="CODE", help="only the children of sessions with such code")
    parser.add_argument(
        "--description", metavar="TEXT", help="only those so described, or that wrote a list so described"
    )
    parser.add_argument("--info", action="store_true", help="with command line, packages and git state")
    parser.add_argument(
        "-c", "--columns", nargs="+", metavar="COLUMN", help="only these columns: session metrics.loss"
    )
    parser.add_argument(
        "--show",
        action="append",
        metavar="METRIC=AGGREGATE",
        help="in place of its last value: loss=min; may be repeated",
    )
    parser.add_argument(
        "--only-changed", action="store_true", help="without the columns in which all are alike"
    )


def add_asking_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of ``pause`` and ``resume``."""
    parser.add_argument(
        "which", nargs="+", help="names (the runs that live), name#run, or patterns such as 'sweep-*'"
    )
    parser.add_argument(
        "--wait", type=float, default=0.0, metavar="SECONDS", help="wait until they have acknowledged"
    )


def add_stop_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of ``stop``."""
    add_asking_arguments(parser)
    parser.add_argument("--exit-code", type=int, default=0, help="what their processes exit with")
