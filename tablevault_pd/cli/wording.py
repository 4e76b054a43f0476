"""What the library says in Python, said in commands and options: its errors name calls and keywords as a program would write them."""

from __future__ import annotations

import ast
import re
import shlex
from functools import partial
from typing import TYPE_CHECKING

from tablevault_pd import api
from tablevault_pd.cli.output import PROGRAM
from tablevault_pd.vault.lists import List
from tablevault_pd.vault.vault import Vault

if TYPE_CHECKING:
    from argparse import Action, ArgumentParser
    from collections.abc import Mapping

_TEXT = r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*\""""
# A call, or a text in quotes, which is left as it is, or a keyword, perhaps with its value.
_PYTHON = re.compile(
    rf"""(?P<call>(?:`with\ )?(?<![\w.])(?:(?:df\.vault|vault|tv|tablevault_pd|Vault|List)\.)?(?P<name>[a-z_]+)
         \((?P<arguments>(?:[^()'"]|{_TEXT}|\([^()]*\))*)\)(?P<then>(?:\.\w+(?:\([^()]*\))?)*):?`?)
       |(?P<text>(?<!\w)(?:{_TEXT})(?!\w))
       |(?<![\w.-])(?P<keyword>[a-z][a-z_]*)=(?P<value>True|False|None|-?\d[\d.]*|{_TEXT}|…)?(?!=)""",
    re.VERBOSE,
)
#: The commands that are not called as the calls that they make.
COMMANDS = {
    "read": "show",
    "parents": "lineage",
    "children": "lineage",
    "graph": "lineage",
    "explore": "ui",
    "run": "sessions",
    "cells": "code",
    "import_mlflow": "import",
    "import_tablevault": "import",
    "import_tensorboard": "import",
    "import_trackio": "import",
}
#: The options that are not called as the keywords that they give.
OPTIONS = {"dry_run=False": "--yes", "direction='down'": "--down"}


def in_shell(message: str, parsers: Mapping[str, ArgumentParser], command: str) -> str:
    """Return a message of the library to the user of a command, given the parsers of all commands."""
    return _PYTHON.sub(partial(_translated, parsers=parsers, command=command), message)


def _translated(python: re.Match[str], parsers: Mapping[str, ArgumentParser], command: str) -> str:
    if python["call"] is not None:
        return _call(python, parsers)
    if python["keyword"] is not None:
        words = _option(parsers[command], python["keyword"], python["value"])
        words = words or f"{python['keyword']} {python['value'] or ''}".rstrip()
        return f"{words} " if python.string[python.end() : python.end() + 1] in ("[", "{", "(") else words
    return python["text"]


def _call(python: re.Match[str], parsers: Mapping[str, ArgumentParser]) -> str:
    """Return the command that makes a call, else where the call is to be made; what is no call of ours stays."""
    name, arguments = python["name"], python["arguments"]
    if not any(hasattr(owner, name) for owner in (Vault, List, api)):
        return python["call"]
    command = COMMANDS.get(name, name.replace("_", "-"))
    words = _words(arguments, parsers[command]) if command in parsers else None
    if words is not None and "(" not in python["then"]:  # no command goes on with what a call returned
        return " ".join([PROGRAM, command, *words])
    options = re.findall(rf"\w+=(?:{_TEXT}|\w+)", arguments)
    return f"Python's {name}" + (f" with {', '.join(options)}" if options else "")


def _words(arguments: str, parser: ArgumentParser) -> list[str] | None:
    """Return the arguments of a call as words of a command; None where it does not take them."""
    try:
        call = ast.parse(f"call({arguments.replace('…', '...')})", mode="eval").body
    except SyntaxError:
        return None
    assert isinstance(call, ast.Call)
    words = [_word(argument) for argument in call.args]
    for keyword in call.keywords:
        option = _option(parser, keyword.arg or "", ast.unparse(keyword.value))
        if option is None:
            return None
        words.append(option)
    return words


def _word(argument: ast.expr) -> str:
    if isinstance(argument, ast.Constant):
        return "…" if argument.value is ... else shlex.quote(str(argument.value))
    return argument.id.upper() if isinstance(argument, ast.Name) else ast.unparse(argument)


def _option(parser: ArgumentParser, keyword: str, value: str | None) -> str | None:
    """Return the option of a command that a keyword is, with its value; None if it has none."""
    if f"{keyword}={value}" in OPTIONS:
        return OPTIONS[f"{keyword}={value}"]
    action = _action(parser, keyword)
    if action is None:
        return None
    name = max(action.option_strings, key=len) if action.option_strings else _metavar(action)
    takes_value = action.nargs != 0 and action.option_strings
    return f"{name} {_unquoted(value)}" if value and takes_value else name


def _action(parser: ArgumentParser, keyword: str) -> Action | None:
    names = (keyword, keyword.removesuffix("s"), keyword.removesuffix("_s"))
    return next((action for name in names for action in parser._actions if action.dest == name), None)


def _metavar(action: Action) -> str:
    return action.metavar if isinstance(action.metavar, str) else action.dest.upper()


def _unquoted(value: str) -> str:
    return (
        "…" if value in ("…", "...", "Ellipsis") else shlex.quote(value[1:-1]) if value[0] in "'\"" else value
    )
