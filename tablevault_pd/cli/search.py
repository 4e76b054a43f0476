"""The ``search`` command: the same search as ``vault.search``, its arguments from the shell."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from tablevault_pd.cli.lists import split_columns
from tablevault_pd.errors import InvalidInput, short_repr

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    import pandas as pd

    from tablevault_pd.vault.vault import Vault


def add_search_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``search``."""
    parser.add_argument("text", nargs="?", help='words to find; "a phrase", OR, -not, pre*')
    parser.add_argument(
        "--in",
        dest="text_in",
        action="append",
        metavar="COLUMN",
        help="look for the words in this column alone; may be repeated",
    )
    parser.add_argument("--near", metavar="VECTOR", help='as JSON: [0.1, 0.9] or {"column": [0.1, 0.9]}')
    parser.add_argument("--filters", metavar="QUERY", help='as for DataFrame.query: "loss < 0.1"')
    parser.add_argument(
        "--kind", action="append", help="record, document, embedding or file; may be repeated"
    )
    parser.add_argument(
        "--lists",
        action="append",
        metavar="NAME",
        help="a list, or a pattern such as 'run-*'; may be repeated",
    )
    parser.add_argument("--code", help="rows made by code that mentions this")
    parser.add_argument(
        "--code-in", choices=("slice", "cell", "session"), default="slice", help="where the code mentions it"
    )
    parser.add_argument("--description", help="rows of lists, or by sessions, so described")
    parser.add_argument("--session", help="rows written by this session: train, train#2, or a pattern")
    parser.add_argument("--since", metavar="TIME", help="rows committed at that time (UTC) or later")
    parser.add_argument("--until", metavar="TIME", help="rows committed before that time (UTC)")
    parser.add_argument(
        "-c",
        "--columns",
        action="extend",
        nargs="+",
        metavar="COLUMN",
        help="columns of the rows to show: doc,text; may be repeated",
    )
    parser.add_argument(
        "--match",
        choices=("all", "any"),
        help="whether every word must be there, or one (default: all; any with --near)",
    )
    parser.add_argument("--min-score", type=float, help="rows that score at least this")
    parser.add_argument("--offset", type=int, default=0, help="leave out so many of the best rows")
    parser.add_argument(
        "-n",
        "--limit",
        "-k",
        "--k",
        dest="k",
        type=int,
        default=20,
        metavar="N",
        help="at most so many rows (default: 20; 0: all)",
    )


def search_command(vault: Vault, args: argparse.Namespace) -> pd.DataFrame:
    """Return the rows that fit, as :meth:`Vault.search`."""
    if args.text_in is not None and args.text is None:
        raise InvalidInput("--in says in which column words are looked for. Give words, or leave it out.")
    return vault.search(
        args.text if args.text_in is None else dict.fromkeys(args.text_in, args.text),
        near=None if args.near is None else _vector(args.near),
        filters=args.filters,
        kind=args.kind,
        lists=args.lists,
        code=args.code,
        code_in=args.code_in,
        description=args.description,
        session=args.session,
        since=args.since,
        until=args.until,
        columns=columns_of_any(vault, args.columns),
        k=args.k or None,
        offset=args.offset,
        match=args.match,
        min_score=args.min_score,
        snippet=args.text is not None,
    )


def columns_of_any(vault: Vault, words: Sequence[str] | None) -> list[str] | None:
    """Return the columns that words name: each word a column, or several separated by commas."""
    return None if words is None else split_columns(words, lambda: set(vault.lists()["columns"].explode()))


def _vector(text: str) -> object:
    try:
        return json.loads(text)
    except ValueError as error:
        raise InvalidInput(
            f"--near is a vector as JSON, such as [0.1, 0.9], not {short_repr(text)}."
        ) from error
