"""The commands ``copy`` and ``merge``: vaults moved into others."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tablevault_pd import moving
from tablevault_pd.cli.output import Output
from tablevault_pd.display import counted

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    import pandas as pd

    from tablevault_pd.vault.vault import Vault


def add_copy_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of ``copy``."""
    parser.add_argument("target", metavar="TARGET", help="a folder, or the address of a database")
    parser.add_argument("--lists", nargs="+", metavar="NAME", help="only these lists")


def copy(vault: Vault, arguments: Namespace) -> Output:
    """Copy the vault into another one."""
    return _output(moving.copy(vault, arguments.target, arguments.lists))


def add_merge_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of ``merge``."""
    parser.add_argument("sources", nargs="+", metavar="SOURCE", help="vaults to be folded into this one")


def merge(vault: Vault, arguments: Namespace) -> Output:
    """Fold other vaults into this one."""
    return _output(moving.merge(arguments.sources, vault))


def _output(report: pd.DataFrame) -> Output:
    copied = int(report["versions"].sum())
    return Output(report, note=f"{counted(copied, 'version')} of {counted(len(report), 'list')} copied.")
