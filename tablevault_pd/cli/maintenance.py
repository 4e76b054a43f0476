"""The commands that look after a vault: ``check``, ``vacuum``, ``compact`` and ``export``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tablevault_pd.cli.output import Answer, size_text

if TYPE_CHECKING:
    import argparse

    from tablevault_pd.vault.vault import Vault


def check(vault: Vault, arguments: argparse.Namespace) -> Answer:
    """What is damaged or stray; damage makes the program exit with 1."""
    frame = vault.check(fix=arguments.fix)
    left = frame.loc[~frame["fixed"], "severity"].value_counts()
    damaged, strays, unchecked = (int(left.get(each, 0)) for each in ("damage", "stray", "unchecked"))
    note = "All is sound." if frame.empty else f"{damaged} damaged, {strays} stray, {unchecked} not checked."
    if strays:
        note += " check --fix removes strays."
    return Answer(frame, note, code=int(damaged > 0))


def vacuum(vault: Vault, arguments: argparse.Namespace) -> Answer:
    """What old versions alone still hold; freed only with --yes."""
    frame = vault.vacuum(keep=arguments.keep, deleted=arguments.deleted, dry_run=not arguments.yes)
    size = size_text(frame["bytes"].sum())
    if frame.empty:
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
    return Answer(frame, note)


def compact(vault: Vault, arguments: argparse.Namespace) -> Answer:
    """Merge what many small appends left behind."""
    frame = vault.compact(arguments.name)
    return Answer(frame, note="" if len(frame) else "There is nothing to merge.")


def export(vault: Vault, arguments: argparse.Namespace) -> Answer:
    """Write all lists into a folder."""
    frame = vault.export(arguments.folder, format=arguments.format)
    return Answer(frame, note=f"{len(frame)} lists written to {arguments.folder}.")
