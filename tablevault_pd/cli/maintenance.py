"""The commands that look after a vault: ``check``, ``indexes``, ``vacuum``, ``compact`` and ``export``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tablevault_pd.cli.lists import columns_of
from tablevault_pd.cli.output import Output, size_text
from tablevault_pd.display import counted
from tablevault_pd.errors import InvalidInput
from tablevault_pd.reading.maintenance_reports import KEPT_BY_NAME

FORMATS = ("parquet", "arrow", "csv", "jsonl")

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from tablevault_pd.vault.vault import Vault


def add_check_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of ``check``."""
    parser.add_argument("--fix", action="store_true", help="remove strays")


def check(vault: Vault, arguments: Namespace) -> Output:
    """Show damage and stray files; damage makes the program exit with 1."""
    frame = vault.check(fix=arguments.fix)
    left = frame.loc[~frame["fixed"], "severity"].value_counts()
    damaged, strays, unchecked = (int(left.get(severity, 0)) for severity in ("damage", "stray", "unchecked"))
    note = "All is sound." if frame.empty else f"{damaged} damaged, {strays} stray, {unchecked} not checked."
    if strays:
        note += " check --fix removes strays."
    return Output(frame, note, code=int(damaged > 0))


def indexes(vault: Vault, arguments: Namespace) -> Output:
    """Show the indexes that searches use."""
    frame = vault.indexes()
    return Output(frame, "There is no index." if frame.empty else "")


def add_vacuum_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of ``vacuum``."""
    parser.add_argument(
        "--keep",
        type=int,
        default=1,
        metavar="N",
        help="versions of each list that stay readable (default: 1)",
    )
    parser.add_argument("--deleted", action="store_true", help="free deleted lists as a whole")
    parser.add_argument("--yes", action="store_true", help="remove it, for good")


def vacuum(vault: Vault, arguments: Namespace) -> Output:
    """Show the space of rows that only old versions have; free it with --yes."""
    frame = vault.vacuum(keep=arguments.keep, deleted=arguments.deleted, dry_run=not arguments.yes)
    size = size_text(frame["bytes"].sum())
    named = frame.loc[frame["what"] == KEPT_BY_NAME, "list"]
    if len(frame) == len(named):
        note = "There is nothing to free."
    else:
        note = (
            f"{size} freed."
            if arguments.yes
            else f"{size} can be freed; nothing was removed yet. --yes removes it for good."
        )
    whole = frame.loc[frame["what"] == "deleted list", "list"]
    if len(whole):
        note += f" Lists that {'went' if arguments.yes else 'would go'} as a whole: {', '.join(whole)}."
    if len(named):
        note += f" Versions of {', '.join(named)} stay because they have names."
    return Output(frame, note)


def add_compact_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of ``compact``."""
    parser.add_argument("name", nargs="?", metavar="NAME", help="only this list")


def compact(vault: Vault, arguments: Namespace) -> Output:
    """Merge the small parts that many appends made."""
    frame = vault.compact(arguments.name)
    return Output(frame, note="" if len(frame) else "There is nothing to merge.")


def add_backup_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of ``backup``."""
    parser.add_argument("path", metavar="FOLDER", help="a new or empty folder")


def backup(vault: Vault, arguments: Namespace) -> Output:
    """Copy the vault to a folder; damage makes the program exit with 1."""
    frame = vault.backup(arguments.path)
    note = f"The vault was copied to {arguments.path}" + (
        ", and the copy was verified." if frame.empty else "."
    )
    return Output(frame, note, code=int((frame["severity"] == "damage").any()))


def add_export_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of ``export``."""
    parser.add_argument(
        "path",
        metavar="PATH",
        help="a new or empty folder; with --list a file: x.parquet, .arrow, .csv, .jsonl",
    )
    parser.add_argument("--format", choices=FORMATS, help="of the files of a folder; default: parquet")
    parser.add_argument("--list", metavar="NAME[@VERSION]", help="only this list, to one file")
    parser.add_argument("-c", "--columns", nargs="+", metavar="COLUMN", help="only these columns of the list")
    parser.add_argument("--filters", metavar="QUERY", help="only rows of the list that fit: 'loss < 0.5'")
    parser.add_argument("--overwrite", action="store_true", help="replace a file that is there")


def export(vault: Vault, arguments: Namespace) -> Output:
    """Write all lists into a folder, or one to a file."""
    from tablevault_pd.transfer.formats import SUFFIXES

    if arguments.list is None:
        if arguments.columns or arguments.filters or arguments.overwrite:
            raise InvalidInput("--columns, --filters and --overwrite are for one list. Name it with --list.")
        if arguments.path.lower().endswith(tuple(SUFFIXES)):
            raise InvalidInput(
                f"{arguments.path} is the name of a file, and all lists are written to a folder. --list NAME writes one list to a file."
            )
        frame = vault.export(arguments.path, format=arguments.format or "parquet")
        return Output(frame, note=f"{counted(len(frame), 'list')} written to {arguments.path}.")
    if arguments.format is not None:
        raise InvalidInput("The format of one list is that of the end of PATH. Leave --format out.")
    handle = vault[arguments.list]
    columns = columns_of(handle, arguments.columns)
    frame = handle.export(
        arguments.path, columns=columns, filters=arguments.filters, overwrite=arguments.overwrite
    )
    return Output(frame, note=f"{handle.name}@{handle.version} written to {arguments.path}.")
