"""The parts of a vault folder that check, compact and vacuum work on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from tablevault_pd.store.embedded.catalog import SqliteCatalog
    from tablevault_pd.store.embedded.journal import Journal
    from tablevault_pd.store.embedded.schemas import Schemas
    from tablevault_pd.store.embedded.segments import OpenedFiles
    from tablevault_pd.store.embedded.text import TextSearch
    from tablevault_pd.store.embedded.versions import Versions


@dataclass(frozen=True, slots=True)
class VaultParts:
    """The parts of one vault folder that its maintenance needs."""

    folder: Path
    segments: Path  #: the folder of the segment files
    files: Path  #: the folder of the kept files
    catalog: SqliteCatalog
    journal: Journal
    schemas: Schemas
    versions: Versions
    text: TextSearch
    opened: OpenedFiles
