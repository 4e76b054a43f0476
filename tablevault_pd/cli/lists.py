"""The commands about lists: ``lists``, ``show``, ``versions``, ``files``, ``delete`` and ``restore``."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from tablevault_pd.cli.output import PROGRAM, SHOWN_ROWS, Frames, Output
from tablevault_pd.cli.place import is_vault, named_by
from tablevault_pd.display import counted
from tablevault_pd.errors import InvalidInput, short_repr
from tablevault_pd.names import parse_address

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Callable, Collection, Hashable, Sequence

    from tablevault_pd.vault.lists import List
    from tablevault_pd.vault.vault import Vault

ROWS_PER_READ = 50_000  # a long list is printed in pieces of so many rows


def add_lists_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of ``lists``."""
    parser.add_argument("text", nargs="?", metavar="TEXT", help="only those with a description of such words")
    parser.add_argument("--tag", action="append", help="only those with this tag; may be repeated")
    parser.add_argument(
        "--kind", action="append", help="only those with a column of this kind; may be repeated"
    )
    parser.add_argument("--filters", metavar="QUERY", help="only those that fit: 'rows > 1000'")
    parser.add_argument("--deleted", action="store_true", help="the hidden ones too")


def lists(vault: Vault, arguments: Namespace) -> Output:
    """Show all lists."""
    if arguments.text is not None and is_vault(arguments.text):
        raise InvalidInput(
            f"{arguments.text} is a vault, and TEXT are words of a description. {named_by(arguments.text)}"
        )
    frame = vault.lists(
        arguments.text,
        tags=arguments.tag,
        kind=arguments.kind,
        filters=arguments.filters,
        deleted=arguments.deleted,
    )
    hidden = ("columns", "created") if arguments.deleted else ("columns", "created", "deleted")
    return Output(
        frame,
        hidden=hidden,
        note="" if len(frame) else "No lists yet." if not len(vault) else "No list fits.",
    )


def add_show_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of ``show``."""
    parser.add_argument(
        "name", metavar="NAME[@VERSION]", help="a list, perhaps at a version: preds@3, preds@best"
    )
    parser.add_argument(
        "-n", "--limit", type=int, metavar="N", help="so many rows, -5 for the last five, 0 for all"
    )
    parser.add_argument("-c", "--columns", nargs="+", metavar="COLUMN", help="only these columns")
    parser.add_argument(
        "--chars",
        nargs=2,
        type=int,
        metavar=("START", "STOP"),
        help="only rows that have some of these characters of a document, with what they have of them",
    )
    parser.add_argument(
        "--filters", metavar="QUERY", help="only rows that fit, as in DataFrame.query: 'loss < 0.5'"
    )


def show(vault: Vault, arguments: Namespace) -> Output:
    """Show rows of one list: the first ones as a table, or all of them for machines."""
    handle = vault[arguments.name]
    total = len(handle)
    chars = None if arguments.chars is None else tuple(arguments.chars)
    narrowed = arguments.filters is not None or chars is not None
    read = partial(
        handle.read, columns=columns_of(handle, arguments.columns), filters=arguments.filters, chars=chars
    )
    table = arguments.form == "table"
    rows = (SHOWN_ROWS if arguments.limit is None and table else arguments.limit) or None
    if narrowed:
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
    streams = rows is None and not narrowed
    return Output(frame, note, index=True, whole=True, more=more if streams else None)


def columns_of(handle: List, words: Sequence[str] | None) -> list[Hashable] | None:
    """Return the columns that `words` name: each word a column, or several separated by commas."""
    if words is None:
        return None
    by_text: dict[str, Hashable] = {str(label): label for label in handle.columns}
    named = split_columns(words, lambda: by_text)
    unknown = [name for name in named if name not in by_text]
    if unknown:
        raise InvalidInput(
            f"{handle.name!r} has no column {', '.join(map(short_repr, unknown))}. Columns: {', '.join(by_text)}"
        )
    return [by_text[name] for name in named]


def split_columns(words: Sequence[str], there: Callable[[], Collection[str]]) -> list[str]:
    """Split words at commas, except for those that are names of columns."""
    names = there() if any("," in word for word in words) else ()
    return [part for word in words for part in ([word] if word in names else word.split(","))]


def add_versions_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of ``versions``."""
    parser.add_argument("name", nargs="?", metavar="NAME", help="a list")
    parser.add_argument("--session", metavar="NAME", help="only those that this session made")


def versions(vault: Vault, arguments: Namespace) -> Output:
    """Show the versions of one list, or of all."""
    frame = vault.versions(arguments.name, session=arguments.session)
    return Output(frame, "" if len(frame) else "No versions.")


def add_files_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of ``files``."""
    parser.add_argument("name", nargs="?", metavar="NAME[@VERSION]", help="a list (default: every list)")


def files(vault: Vault, arguments: Namespace) -> Output:
    """Show the files that columns name."""
    frame = vault.files(arguments.name)
    return Output(frame, note="" if len(frame) else "No column names files.")


def add_delete_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of ``delete``."""
    parser.add_argument("name", metavar="NAME", help="a list")
    _add_message(parser)


def _add_message(parser: ArgumentParser) -> None:
    parser.add_argument("--message", metavar="TEXT", help="what it is for, shown by versions")


def delete(vault: Vault, arguments: Namespace) -> Output:
    """Hide a list."""
    vault.delete(arguments.name, message=arguments.message)
    note = f"Hidden, not gone: {PROGRAM} restore brings a version back."
    return Output(vault.versions(arguments.name).tail(1), note)


def add_restore_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of ``restore``."""
    parser.add_argument("name", metavar="NAME[@VERSION]", help="a list")
    parser.add_argument(
        "version", nargs="?", type=int, metavar="VERSION", help="the version, if not named after @"
    )
    _add_message(parser)


def restore(vault: Vault, arguments: Namespace) -> Output:
    """Make an older version the newest."""
    address = parse_address(arguments.name)
    if not address.pinned and arguments.version is None:
        raise InvalidInput(f"Say which version to restore: {PROGRAM} restore {address.name}@1")
    vault.restore(arguments.name, arguments.version, message=arguments.message)
    return Output(vault.versions(address.name).tail(1))
