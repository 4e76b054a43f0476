"""The parts of a vault on a server that check, erase and vacuum work on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tablevault_pd.store.arango.blobs import BlobStore
    from tablevault_pd.store.arango.client import Client
    from tablevault_pd.store.arango.edges import LineageEdges
    from tablevault_pd.store.arango.scan import Scanner
    from tablevault_pd.store.arango.versions import Versions


@dataclass(frozen=True, slots=True)
class VaultParts:
    """The parts of a store on a server that its maintenance needs."""

    client: Client
    versions: Versions
    rows: Scanner
    blobs: BlobStore
    lineage: LineageEdges
    stray_age_s: float  #: from what age on rows that were never committed may be removed
