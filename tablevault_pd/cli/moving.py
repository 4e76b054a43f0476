"""The commands ``copy``, ``merge`` and ``import``: vaults moved into others, and what other tools keep."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tablevault_pd import moving, places
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


def merge(place: str | None, arguments: Namespace) -> Output:
    """Fold other vaults into the one at a place."""
    return _output(moving.merge(arguments.sources, places.address_of(place)))


#: What is imported, by the name of its tool, and what its source is.
IMPORTS = {
    "mlflow": (moving.import_mlflow, "an address as for mlflow.set_tracking_uri"),
    "tablevault": (
        moving.import_tablevault,
        "arangodb://user@host:8529/database, with the password in TABLEVAULT_PASSWORD",
    ),
    "tensorboard": (moving.import_tensorboard, "a log directory"),
    "trackio": (moving.import_trackio, "the folder of TRACKIO_DIR"),
}


def add_import_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of ``import``."""
    parser.add_argument(
        "tool", metavar="TOOL", choices=sorted(IMPORTS), help=f"one of {', '.join(sorted(IMPORTS))}"
    )
    sources = "; ".join(f"{tool}: {source}" for tool, (_, source) in sorted(IMPORTS.items()))
    parser.add_argument("source", metavar="SOURCE", help=sources)


def import_runs(place: str | None, arguments: Namespace) -> Output:
    """Import what another tool keeps."""
    bring_in, _ = IMPORTS[arguments.tool]
    report = bring_in(arguments.source, places.address_of(place))
    return Output(report, note="" if len(report) else "There is nothing to import.")


def _output(report: pd.DataFrame) -> Output:
    copied = int(report["versions"].sum())
    return Output(report, note=f"{counted(copied, 'version')} of {counted(len(report), 'list')} copied.")
