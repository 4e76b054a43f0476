"""A repository for DataFrames that outlive their notebook: exact, versioned, tied to the code that made them.

>>> import tablevault_pd as tv
>>> vault = tv.connect("runs.vault")
>>> news = pd.DataFrame({"title": ["Storm", "Sun"], "score": [0.5, 0.9]}).vault.save("news")
>>> tv.read("news")
          title  score
position
0         Storm    0.5
1           Sun    0.9
>>> vault.close()
"""

from __future__ import annotations

import tablevault_pd.accessor  # noqa: F401  # registers DataFrame.vault and Series.vault
from tablevault_pd.connecting import connect, current_vault, read
from tablevault_pd.errors import (
    Conflict,
    DimensionMismatch,
    FileMissing,
    InvalidFilter,
    InvalidInput,
    InvalidName,
    ListDeleted,
    ListNotFound,
    MissingDependency,
    SchemaMismatch,
    SessionNotFound,
    SessionStopped,
    StorageFull,
    StoreUnavailable,
    UnsupportedColumn,
    VaultBusy,
    VaultClosed,
    VaultCorrupt,
    VaultError,
    VaultFormatError,
    VaultNotFound,
    VaultReadOnly,
    VersionNotFound,
)
from tablevault_pd.lists import List
from tablevault_pd.session import Run
from tablevault_pd.tracking import checkpoint, log, loop
from tablevault_pd.vault import Vault

__version__ = "0.1.0"

__all__ = [
    "Conflict",
    "DimensionMismatch",
    "FileMissing",
    "InvalidFilter",
    "InvalidInput",
    "InvalidName",
    "List",
    "ListDeleted",
    "ListNotFound",
    "MissingDependency",
    "Run",
    "SchemaMismatch",
    "SessionNotFound",
    "SessionStopped",
    "StorageFull",
    "StoreUnavailable",
    "UnsupportedColumn",
    "Vault",
    "VaultBusy",
    "VaultClosed",
    "VaultCorrupt",
    "VaultError",
    "VaultFormatError",
    "VaultNotFound",
    "VaultReadOnly",
    "VersionNotFound",
    "checkpoint",
    "connect",
    "current_vault",
    "log",
    "loop",
    "read",
]
