"""The commands about work that is shared: ``claims``, ``release`` and ``follow``."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from tablevault_pd.cli.output import Output
from tablevault_pd.display import counted
from tablevault_pd.work.report import STATES

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Iterator

    import pandas as pd

    from tablevault_pd.vault.vault import Vault


def add_claims_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of ``claims``."""
    parser.add_argument(
        "name", nargs="?", metavar="NAME", help="a list; default: all that rows were claimed of"
    )
    parser.add_argument(
        "--state", action="append", choices=STATES, help="only rows in this state; may be repeated"
    )


def claims(vault: Vault, arguments: Namespace) -> Output:
    """Show who holds and who has done which rows."""
    frame = vault.claims(arguments.name, state=arguments.state)
    count = frame["state"].value_counts()
    note = ", ".join(f"{count[state]:,} {state}" for state in STATES if state in count)
    return Output(frame, f"{note}." if note else "No rows.")


def add_follow_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of ``follow``."""
    parser.add_argument("name", metavar="NAME", help="a list")
    parser.add_argument(
        "--since", default="now", metavar="WHEN", help="now, start, a version, or a time; default: now"
    )
    parser.add_argument("--filters", metavar="TEXT", help="only rows that fit, such as 'score > 0.5'")
    parser.add_argument(
        "--timeout", type=float, metavar="SECONDS", help="end when no row came for so long; default: never"
    )


def follow(vault: Vault, arguments: Namespace) -> Output:
    """Print the rows of a list as they are committed."""
    since = int(arguments.since) if arguments.since.isdigit() else arguments.since
    frames = vault.follow(arguments.name, since=since, filters=arguments.filters, timeout_s=arguments.timeout)

    def more() -> Iterator[pd.DataFrame]:
        for frame in frames:
            yield frame
            sys.stdout.flush()

    return Output(vault.read(arguments.name, stop=0), index=True, whole=True, more=more, streams=True)


def add_release_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of ``release``."""
    parser.add_argument("name", metavar="NAME", help="a list")
    parser.add_argument(
        "--session",
        required=True,
        metavar="SESSION",
        help="whose rows: name#run, a name or a pattern such as 'sweep-*'",
    )


def release(vault: Vault, arguments: Namespace) -> Output:
    """Open the rows that a session holds."""
    rows = vault.release(arguments.name, session=arguments.session)
    return Output(vault.claims(arguments.name, state="held"), f"{counted(rows, 'row')} given back.")
