"""Rows that the server leaves out: a hint as bound data, judged by one statement that never changes.

Conditions are numbered. For each row the statement lists those that are surely false; a row comes if some group has none
of them. How many items a span has is counted beside, so that one that is missing is noticed although few rows come.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tablevault_pd.filters.predicate import EXACT, Condition, Where, without
from tablevault_pd.store.arango import codec

if TYPE_CHECKING:
    from collections.abc import Iterable

# 3.12; works since 3.10 (VALUE, and [? ANY FILTER …]). A cell that cannot be judged becomes an array, which is of no type
# that a condition has. Of times, the text up to the second is looked at. A text with a wrapper stands for values that JSON
# does not have, and one that cannot be parsed may hold a number that is too large. Each span ends with the number of its items.
MATCHING_OF = """
LET cells = @cells
LET conditions = @conditions
LET groups = @groups
FOR s IN @spans
  LET items = LENGTH(FOR c IN tv_records FILTER c.batch == s[1] AND c.row >= s[2] AND c.row < s[3] RETURN 1)
  LET matching = (
    FOR i IN tv_records FILTER i.batch == s[1] AND i.row >= s[2] AND i.row < s[3]
      LET found = cells[* RETURN
        CURRENT.form == "plain" OR i.values[CURRENT.name] == null ? i.values[CURRENT.name]
        : (NOT IS_STRING(i.values[CURRENT.name]) ? []
        : (CURRENT.form == "time" ? NOT_NULL(DATE_TIMESTAMP(LEFT(i.values[CURRENT.name], 19)), [])
        : (CONTAINS(i.values[CURRENT.name], @wrapper) OR JSON_PARSE(i.values[CURRENT.name]) == null ? []
        : VALUE(JSON_PARSE(i.values[CURRENT.name]), CURRENT.keys))))]
      LET wrong = conditions[* FILTER
        (found[CURRENT.cell] == null AND NOT CURRENT.missing)
        OR (TYPENAME(found[CURRENT.cell]) == CURRENT.type
          AND (CURRENT.type != "number" OR ABS(found[CURRENT.cell]) <= @exact)
          AND ((CURRENT.test == "null")
            OR (CURRENT.test == "in" AND found[CURRENT.cell] NOT IN CURRENT.value)
            OR (CURRENT.test == "<" AND found[CURRENT.cell] >= CURRENT.value)
            OR (CURRENT.test == "<=" AND found[CURRENT.cell] > CURRENT.value)
            OR (CURRENT.test == ">" AND found[CURRENT.cell] <= CURRENT.value)
            OR (CURRENT.test == ">=" AND found[CURRENT.cell] < CURRENT.value)
            OR (CURRENT.test == "contains" AND NOT CONTAINS(found[CURRENT.cell], CURRENT.value))))
        RETURN CURRENT.number]
      FILTER groups[? ANY FILTER CURRENT NONE IN wrong]
      SORT i.row
      RETURN [s[0], i.row, @attributes == null ? i.values : KEEP(i.values, @attributes)])
  FOR x IN PUSH(matching, [s[0], null, items])
    RETURN x
"""
_TYPES = {"number": "number", "text": "string", "bool": "bool", "time": "number"}
_WRAPPER = '"$":'  # as it stands in the JSON text of a cell


def judged(where: Where | None, elsewhere: Iterable[str]) -> Where | None:
    """What the records can tell of a hint; `elsewhere` are fields whose cells are documents of their own."""
    if where is None:
        return None
    found = without(where, set(elsewhere))
    return None if () in found else found


def bound(where: Where) -> dict[str, Any]:
    """A hint as the values that the statement takes."""
    numbers = {each: number for number, each in enumerate(dict.fromkeys(c for group in where for c in group))}
    cells: dict[tuple[tuple[str, ...], str], int] = {}
    for each in numbers:
        cells.setdefault((each.path, _form(each)), len(cells))
    return {
        "cells": [
            {"name": codec.attribute(path[0]), "keys": list(path[1:]), "form": form} for path, form in cells
        ],
        "conditions": [
            {
                "number": number,
                "cell": cells[each.path, _form(each)],
                "type": _TYPES[each.kind],
                "test": each.test,
                "value": each.value * 1000 if each.kind == "time" and each.value is not None else each.value,
                "missing": each.missing,
            }
            for each, number in numbers.items()
        ],
        "groups": [[numbers[each] for each in group] for group in where],
        "wrapper": _WRAPPER,
        "exact": EXACT,
    }


def _form(condition: Condition) -> str:
    """How the value is found in a cell."""
    return "json" if len(condition.path) > 1 else "time" if condition.kind == "time" else "plain"
