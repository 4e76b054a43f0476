"""What indexes a vault folder has, how much of their lists they cover, and what state they are in."""

from __future__ import annotations

from typing import TYPE_CHECKING, get_args

import numpy as np

from tablevault_pd import frames
from tablevault_pd.errors import VaultFormatError
from tablevault_pd.store import IndexInfo, Metric
from tablevault_pd.store.embedded import fsio as io
from tablevault_pd.store.embedded.copies import INDEXES, KEYS, size_of
from tablevault_pd.store.embedded.index_files import index_name, rows_named
from tablevault_pd.store.embedded.strays import scan
from tablevault_pd.store.engine import cell_files

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from tablevault_pd.store import Version
    from tablevault_pd.store.embedded.parts import VaultParts
    from tablevault_pd.store.pieces import Pieces


def indexes(vault: VaultParts) -> list[IndexInfo]:
    """Return every index of the newest versions of a vault folder, by list."""
    heads = [state.head for state in vault.versions.lists()]
    heads = [head for head in heads if not head.deleted and not head.gone]
    upto = vault.text.upto()
    report: list[IndexInfo] = []
    files = {path.name: path for path in scan(vault.folder / INDEXES)}
    keys = scan(vault.folder / KEYS)
    for head, pieces in zip(heads, vault.versions.pieces(heads), strict=True):
        schema = vault.schemas.schema(head.schema_id)
        if frames.text_columns(schema):
            ends = {generation: upto.get((head.list_id, generation), 0) for generation, _ in pieces.ends()}
            report.append(_info("text", head, None, None, _covered(pieces, ends), None, "text.db"))
        report += _vectors(vault, head, pieces, files)
        report += [_of_keys(head, path) for path in keys if path.name.startswith(f"{head.list_id}-")]
    return report


def _vectors(
    vault: VaultParts, head: Version, pieces: Pieces, files: Mapping[str, Path]
) -> Iterator[IndexInfo]:
    schema = vault.schemas.schema(head.schema_id)
    generations = [generation for generation, _ in pieces.ends()]
    with vault.catalog.reading() as db:
        rows = [rows_named(db, head.list_id, generation) for generation in generations]
    for column in frames.columns(schema):
        if column.kind != "embedding":
            continue
        kind = str(schema.field(column.field).type)
        for metric in get_args(Metric):
            names = [f"{head.list_id}-{index_name(of, column.field, kind, metric)}" for of in rows]
            there = {of: files[name] for of, name in zip(generations, names, strict=True) if name in files}
            if there:
                yield _of_vectors(head, pieces, str(column.label), metric, there)


def _of_vectors(
    head: Version, pieces: Pieces, column: str, metric: Metric, files: Mapping[int, Path]
) -> IndexInfo:
    """One index, of which each generation has a file."""
    upto, size, damaged = {}, 0, False
    for generation, path in files.items():
        try:
            with io.open_to_read(path) as file:
                data = file.read()
        except (OSError, VaultFormatError):
            data = b""  # removed meanwhile, or no file
        cells = cell_files.decode(data)
        size += len(data)
        damaged |= cells is None
        upto[generation] = 0 if cells is None else cells.upto
    covered = _covered(pieces, upto)
    return _info("vector", head, column, metric, covered, size, INDEXES, damaged=damaged)


def _of_keys(head: Version, path: Path) -> IndexInfo:
    return IndexInfo("keys", head.list, None, None, None, head.total, size_of(path), "kept", KEYS)


def _info(
    kind: str, head: Version, column: str | None, metric: str | None, covered: int, size: int | None, where: str,
    *, damaged: bool = False,
) -> IndexInfo:  # fmt: skip
    state = "damaged" if damaged else "complete" if covered == head.total else "behind"
    return IndexInfo(kind, head.list, column, metric, covered, head.total, size, state, where)


def _covered(pieces: Pieces, upto: Mapping[int, int]) -> int:
    """How many of the rows lie before these addresses of their generations."""
    ends = np.array([upto.get(generation, 0) for generation in pieces.generation.tolist()], np.int64)
    return int(np.maximum(np.minimum(pieces.stop, ends) - pieces.first, 0).sum())
