"""The commands about work that is shared: ``claims`` and ``release``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tablevault_pd.cli.output import Output
from tablevault_pd.display import counted
from tablevault_pd.work.report import STATES

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

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
