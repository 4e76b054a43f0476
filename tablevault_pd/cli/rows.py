"""The commands about single rows: ``history``, ``delete-rows`` and ``erase``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from tablevault_pd import frames
from tablevault_pd.cli.output import Output
from tablevault_pd.display import counted
from tablevault_pd.errors import InvalidInput, short_repr
from tablevault_pd.keys.key import key_labels

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Hashable, Sequence

    from tablevault_pd.vault.vault import Vault


def add_history_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of ``history``."""
    parser.add_argument("name", metavar="NAME", help="a list")
    parser.add_argument("key", nargs="+", metavar="KEY", help="the cells of its key, in the key's order")


def add_delete_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of ``delete-rows``."""
    parser.add_argument("name", metavar="NAME", help="a list")
    parser.add_argument("--filters", metavar="FILTER", help="rows that fit: 'consent == False'")
    parser.add_argument("--rows", nargs="+", type=int, metavar="POSITION", help="rows at these positions")
    parser.add_argument("--reason", metavar="TEXT", help="say why; shown by versions")


def add_erase_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of ``erase``."""
    add_delete_arguments(parser)
    parser.add_argument("--yes", action="store_true", help="erase them: this cannot be undone")


def history(vault: Vault, arguments: Namespace) -> Output:
    """Every state of one row."""
    return Output(vault.history(arguments.name, key=_key(vault, arguments.name, arguments.key)), whole=True)


def delete_rows(vault: Vault, arguments: Namespace) -> Output:
    """Leave rows out of a list."""
    before = vault[arguments.name].version
    made = vault.delete_rows(
        arguments.name, arguments.rows, filters=arguments.filters, reason=arguments.reason
    )
    if made.version == before:
        return Output(vault.versions(arguments.name).tail(1), "No row fits: nothing was changed.")
    gone = counted(len(vault[f"{arguments.name}@{before}"]) - len(made), "row")
    return Output(
        vault.versions(arguments.name).tail(1), f"{gone} left out; {arguments.name}@{before} still has them."
    )


def erase(vault: Vault, arguments: Namespace) -> Output:
    """Forget rows for good."""
    answer = vault.erase(
        arguments.name,
        arguments.rows,
        filters=arguments.filters,
        reason=arguments.reason,
        dry_run=not arguments.yes,
    )
    if answer.empty:
        return Output(answer, "No row fits: nothing was changed.")
    if not arguments.yes:
        rows, versions = (
            counted(int(answer["rows"][0]), "row"),
            counted(len(answer["versions"][0]), "version"),
        )
        raise InvalidInput(
            f"Nothing was changed. {rows} of {versions} of {arguments.name!r} would be erased, and cannot be brought back: say --yes "
            "to erase them."
        )
    return Output(answer, f"{counted(int(answer['rows'][0]), 'row')} erased.", whole=True)


def _key(vault: Vault, name: str, texts: Sequence[str]) -> Any:
    """The key that texts of the shell mean, in the dtypes of its columns."""
    version = vault[name]._version()
    schema = vault.store.schema(version.schema_id)
    fields, labels = frames.key_fields(schema), key_labels(schema)
    if len(fields) != len(texts):
        return tuple(texts)  # vault.history() says what is wrong
    empty = schema.empty_table()
    return tuple(
        _cell(text, frames.cells_of(empty, field).dtype, label)
        for text, field, label in zip(texts, fields, labels, strict=True)
    )


def _cell(text: str, dtype: Any, label: Hashable) -> Any:
    if (isinstance(dtype, np.dtype) and dtype.kind == "O") or isinstance(dtype, pd.CategoricalDtype):
        return text
    if pd.api.types.is_bool_dtype(dtype):
        values: dict[str, Any] = {"true": True, "false": False}
        dtype, text = np.dtype(object), values.get(text.lower(), text)
    try:
        return pd.Series([text]).astype(dtype).tolist()[0]
    except (ValueError, TypeError) as error:
        raise InvalidInput(
            f"The key {short_repr(label)} is {dtype}, and {short_repr(text)} is none: {error}"
        ) from None
