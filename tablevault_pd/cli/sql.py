"""The command ``sql``."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from tablevault_pd.cli.output import Answer
from tablevault_pd.errors import InvalidInput, shown

if TYPE_CHECKING:
    import argparse

    from tablevault_pd.vault.vault import Vault


def sql(vault: Vault, arguments: argparse.Namespace) -> Answer:
    """Answer a SELECT statement."""
    parameters = {}
    for text in arguments.param or []:
        name, equals, value = text.partition("=")
        if not equals or not name.isidentifier():
            raise InvalidInput(f"--param is NAME=VALUE, not {shown(text)}.")
        parameters[name] = _value(value)
    return Answer(vault.sql(arguments.query, timeout_s=arguments.timeout, **parameters))


def _value(text: str) -> object:
    """Return a value of the command line as JSON, where it is some, else as text."""
    try:
        return json.loads(text)
    except ValueError:
        return text
