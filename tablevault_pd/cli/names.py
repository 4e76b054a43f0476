"""The commands about names: ``snapshot``, ``snapshots``, ``tag``, ``untag`` and ``rename``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tablevault_pd.cli.output import Output
from tablevault_pd.names import parse_address

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from tablevault_pd.vault.vault import Vault


def _add_replace(parser: ArgumentParser) -> None:
    parser.add_argument("--replace", action="store_true", help="take the name from what has it now")


def add_snapshot_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of ``snapshot``."""
    parser.add_argument("name", metavar="NAME", help="what to call it")
    _add_replace(parser)


def snapshot(vault: Vault, arguments: Namespace) -> Output:
    """Name the present version of every list."""
    return Output(vault.snapshot(arguments.name, replace=arguments.replace))


def add_snapshots_arguments(parser: ArgumentParser) -> None:
    """``snapshots`` has no arguments of its own."""


def snapshots(vault: Vault, arguments: Namespace) -> Output:
    """Show what snapshots there are."""
    frame = vault.snapshots()
    return Output(frame, note="" if len(frame) else "No snapshots.")


def add_tag_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of ``tag``."""
    parser.add_argument("which", metavar="WHICH", help="a session, or a version such as preds@3")
    parser.add_argument("tags", nargs="*", default=[], metavar="TAG", help="what to call it")
    parser.add_argument(
        "--remove", action="append", metavar="TAG", help="a tag to take away; may be repeated"
    )
    _add_replace(parser)


def tag(vault: Vault, arguments: Namespace) -> Output:
    """Tag sessions, or name a version."""
    return Output(
        vault.tag(arguments.which, *arguments.tags, remove=arguments.remove, replace=arguments.replace)
    )


def add_untag_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of ``untag``."""
    parser.add_argument("name", metavar="NAME", help="a snapshot, or preds@best")


def untag(vault: Vault, arguments: Namespace) -> Output:
    """Remove a snapshot or the name of a version."""
    address = parse_address(arguments.name)
    if not address.pinned:
        vault.untag(arguments.name)
        return Output(vault.snapshots(), f"{arguments.name} is removed; the snapshots that are left.")
    version = vault[arguments.name].version
    vault.untag(arguments.name)
    versions = vault.versions(address.name)
    return Output(versions[versions["version"] == version], f"{arguments.name} names no version any more.")


def add_rename_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of ``rename``."""
    parser.add_argument("old", metavar="OLD", help="the list")
    parser.add_argument("new", metavar="NEW", help="what to call it")


def rename(vault: Vault, arguments: Namespace) -> Output:
    """Call a list otherwise."""
    vault.rename(arguments.old, arguments.new)
    return Output(vault.versions(arguments.new).tail(1))
