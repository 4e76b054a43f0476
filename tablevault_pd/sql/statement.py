"""Which tables and columns a SELECT statement names, from DuckDB's own syntax tree."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tablevault_pd.errors import InvalidQuery

if TYPE_CHECKING:
    from collections.abc import Iterator

    import duckdb

# Nodes that may read columns which the statement does not name.
_ALL_COLUMNS = {"STAR", "POSITIONAL_REFERENCE", "PIVOT"}


@dataclass(frozen=True, slots=True)
class SelectStatement:
    """One SELECT statement."""

    tables: frozenset[
        str
    ]  #: names of the tables it reads; DuckDB's own, such as information_schema.tables, excepted
    parameters: frozenset[str]  #: names of its parameters, without the ``$``
    derived: frozenset[str]  #: casefolded names that it gives to subqueries (WITH)
    mentioned: frozenset[str]  #: casefolded names of all columns it mentions
    every_column: bool  #: whether it may read others too, as ``*`` does

    def mentions(self, column: str) -> bool:
        """Return whether it mentions a column of this name."""
        return column.casefold() in self.mentioned

    def reads(self, column: str) -> bool:
        """Return whether it may read a column of this name."""
        return self.every_column or self.mentions(column)


def parse(connection: duckdb.DuckDBPyConnection, text: str) -> SelectStatement:
    """Parse one SELECT statement. Raises InvalidQuery for anything else."""
    [[serialized]] = connection.execute("SELECT json_serialize_sql($1)", [text]).fetchall()
    tree = json.loads(serialized)
    if tree["error"]:
        raise _refused(tree)
    if len(tree["statements"]) != 1:
        raise InvalidQuery(f"sql() answers one SELECT statement; here are {len(tree['statements'])}.")
    nodes = list(_nodes(tree))
    tables = {
        node["table_name"]
        for node in nodes
        if node.get("type") == "BASE_TABLE" and not node.get("schema_name")
    }
    references = [node["column_names"] for node in nodes if node.get("type") == "COLUMN_REF"]
    # `SELECT p FROM preds p` is the whole row of p.
    rows = {_folded(node["alias"]) for node in nodes if node.get("alias")} | set(map(_folded, tables))
    every = any(_folded(parts[-1]) in rows for parts in references) or any(map(_reads_every_column, nodes))
    mentioned = {_folded(part) for parts in references for part in parts} | {
        _folded(name) for node in nodes for name in node.get("using_columns") or []
    }
    parameters = {node["identifier"] for node in nodes if node.get("type") == "VALUE_PARAMETER"}
    derived = {_folded(entry["key"]) for node in nodes for entry in _entries(node)}
    return SelectStatement(
        frozenset(tables), frozenset(parameters), frozenset(derived), frozenset(mentioned), every
    )


def _refused(tree: dict[str, Any]) -> InvalidQuery:
    if "Only SELECT" in tree.get("error_message", ""):
        return InvalidQuery(
            "sql() answers one SELECT statement and changes nothing. Save its answer: vault.sql(…).vault.save(…)."
        )
    hint = (
        ' A name that is no word stands in double quotes, and so does one that is a word of SQL: FROM "runs/2026", avg("right").'
        if "error_message" in tree
        else ""
    )
    return InvalidQuery(f"The SQL cannot be read: {tree.get('error_message', 'it is empty')}.{hint}")


def _nodes(tree: Any) -> Iterator[dict[str, Any]]:
    """Yield every object of a JSON document, without recursion: expressions nest deeply."""
    stack = [tree]
    while stack:
        node = stack.pop()
        if isinstance(node, dict):
            yield node
            stack.extend(node.values())
        elif isinstance(node, list):
            stack.extend(node)


def _reads_every_column(node: dict[str, Any]) -> bool:
    natural = node.get("type") == "JOIN" and node.get("ref_type") == "NATURAL"
    return natural or node.get("type") in _ALL_COLUMNS


def _entries(node: dict[str, Any]) -> list[dict[str, Any]]:
    """Return what the WITH clause of a node defines."""
    ctes = node.get("cte_map")
    return ctes.get("map", []) if isinstance(ctes, dict) else []


def _folded(name: str) -> str:
    return name.casefold()
