"""The ``lineage`` command: the walk from some rows of a list, or the graph of lists as Mermaid text."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from tablevault_pd.cli.search import columns_of_any

if TYPE_CHECKING:
    import argparse

    from tablevault_pd.vault.vault import Vault


def add_lineage_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``lineage``."""
    parser.add_argument("name", help="a list, perhaps at a version: answers@2")
    parser.add_argument("rows", nargs="*", default=[], type=int, help="positions (default: every row)")
    parser.add_argument("--depth", type=int, help="how many steps (default: all)")
    parser.add_argument("--down", action="store_true", help="to children instead of parents")
    parser.add_argument("--to", help="only relatives in this list")
    parser.add_argument(
        "--basis",
        choices=("stated", "inferred", "read"),
        default="inferred",
        help="the weakest steps to follow: read = also to what a session had read before (default: inferred)",
    )
    parser.add_argument("--read", action="store_true", help="with the relatives' own values")
    parser.add_argument(
        "-c", "--columns", nargs="+", metavar="COLUMN", help="with these columns of the relatives: doc,text"
    )
    parser.add_argument("--graph", action="store_true", help="the graph of lists around this one")


def lineage_command(vault: Vault, args: argparse.Namespace) -> pd.DataFrame:
    """Return parents or children of rows, as :meth:`Vault.lineage`."""
    if args.graph:
        return pd.DataFrame(vault.graph(args.name))
    return vault.lineage(
        args.name,
        rows=args.rows or None,
        depth=args.depth,
        direction="down" if args.down else "up",
        to=args.to,
        read=args.read,
        columns=columns_of_any(vault, args.columns),
        basis=args.basis,
    )
