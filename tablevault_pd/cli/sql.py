"""The command ``sql``."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from tablevault_pd.cli.output import Output
from tablevault_pd.errors import InvalidInput, short_repr

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from tablevault_pd.vault.vault import Vault


def add_sql_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of ``sql``."""
    parser.add_argument(
        "query",
        metavar="QUERY",
        help="one SELECT statement; tables are lists, or lists, versions, sessions, …",
    )
    parser.add_argument(
        "--param", action="append", metavar="NAME=VALUE", help="the value of $NAME; may be repeated"
    )
    parser.add_argument(
        "--timeout", type=float, metavar="SECONDS", help="stop the query after so many seconds"
    )


def sql(vault: Vault, arguments: Namespace) -> Output:
    """Output a SELECT statement."""
    parameters = {}
    for text in arguments.param or []:
        name, equals, value = text.partition("=")
        if not equals or not name.isidentifier():
            raise InvalidInput(f"--param is NAME=VALUE, not {short_repr(text)}.")
        parameters[name] = _value(value)
    return Output(vault.sql(arguments.query, timeout_s=arguments.timeout, **parameters))


def _value(text: str) -> object:
    """Return a value of the command line as JSON, where it is some, else as text."""
    try:
        return json.loads(text)
    except ValueError:
        return text
