"""Prepare tables before they are written, in every store alike."""

from __future__ import annotations

import pyarrow as pa


def joined(tables: list[pa.Table]) -> list[pa.Table]:
    """Neighbours of one schema as one table, so that a stream of small pieces makes one part."""
    groups: list[list[pa.Table]] = []
    for table in tables:
        if groups and groups[-1][0].schema.equals(table.schema, check_metadata=True):
            groups[-1].append(table)
        else:
            groups.append([table])
    return [group[0] if len(group) == 1 else pa.concat_tables(group) for group in groups]
