"""The commands about lists: ``lists``, ``show``, ``versions``, ``delete`` and ``restore``."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from tablevault_pd.cli.output import PROGRAM, Answer, Frames
from tablevault_pd.display import counted
from tablevault_pd.errors import InvalidInput, shown
from tablevault_pd.names import parse_address

if TYPE_CHECKING:
    import argparse
    from collections.abc import Hashable, Sequence

    from tablevault_pd.vault.lists import List
    from tablevault_pd.vault.vault import Vault

SHOWN_ROWS = 20  # of a list, when nobody says how many
ROWS_PER_READ = 50_000  # a long list is printed in pieces of so many rows


def lists(vault: Vault, arguments: argparse.Namespace) -> Answer:
    """All lists."""
    frame = vault.lists(deleted=arguments.deleted)
    hidden = ("columns", "created") if arguments.deleted else ("columns", "created", "deleted")
    return Answer(frame, hidden=hidden, note="" if len(frame) else "No lists yet.")


def show(vault: Vault, arguments: argparse.Namespace) -> Answer:
    """Rows of one list: the first ones as a table, or all of them for machines."""
    found = vault[arguments.name]
    total = len(found)
    read = partial(found.read, columns=_columns(found, arguments.columns), filters=arguments.where)
    table = arguments.form == "table"
    rows = SHOWN_ROWS if arguments.rows is None and table else arguments.rows
    if arguments.where is not None:
        frame = read()
        total = len(frame)
        frame = frame if rows is None else frame.head(rows) if rows >= 0 else frame.tail(-rows)
    elif rows is None:
        frame = read(stop=ROWS_PER_READ)
    else:
        frame = read(stop=rows) if rows >= 0 else read(start=rows)

    def more() -> Frames:
        for start in range(ROWS_PER_READ, total, ROWS_PER_READ):
            yield read(start=start, stop=start + ROWS_PER_READ)

    left = total - len(frame)
    note = f"{len(frame):,} of {total:,} rows; -n shows more." if left else f"{counted(total, 'row')}."
    streams = rows is None and arguments.where is None
    return Answer(frame, note, index=True, whole=True, more=more if streams else None)


def _columns(found: List, words: Sequence[str] | None) -> list[Hashable] | None:
    """The columns that `words` name: each a whole name, else several with commas between them."""
    if words is None:
        return None
    known: dict[str, Hashable] = {str(label): label for label in found.columns}
    named = [part for word in words for part in ([word] if word in known else word.split(","))]
    unknown = [name for name in named if name not in known]
    if unknown:
        raise InvalidInput(
            f"{found.name!r} has no column {', '.join(map(shown, unknown))}. Columns: {', '.join(known)}"
        )
    return [known[name] for name in named]


def versions(vault: Vault, arguments: argparse.Namespace) -> Answer:
    """The versions of one list, or of all."""
    return Answer(vault.versions(arguments.name))


def delete(vault: Vault, arguments: argparse.Namespace) -> Answer:
    """Hide a list."""
    vault.delete(arguments.name, message=arguments.message)
    note = f"Hidden, not gone: {PROGRAM} restore brings a version back."
    return Answer(vault.versions(arguments.name).tail(1), note)


def restore(vault: Vault, arguments: argparse.Namespace) -> Answer:
    """Make an older version the newest."""
    address = parse_address(arguments.name)
    number = arguments.version if address.version is None else address.version
    if number is None:
        raise InvalidInput(f"Say which version to restore: {PROGRAM} restore {address.name}@1")
    vault.restore(address.name, number, message=arguments.message)
    return Answer(vault.versions(address.name).tail(1))
