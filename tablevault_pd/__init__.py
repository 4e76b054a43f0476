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

from importlib import import_module
from typing import TYPE_CHECKING, Any

import tablevault_pd.accessor  # registers DataFrame.vault and Series.vault
import tablevault_pd.refs  # noqa: F401  # registers the dtype vault_ref, for Parquet and pickle
from tablevault_pd.errors import (
    ClaimLost,
    Conflict,
    DimensionMismatch,
    DuplicateKey,
    FileMissing,
    GateFailed,
    InvalidFilter,
    InvalidInput,
    InvalidName,
    InvalidQuery,
    InvalidType,
    ListDeleted,
    ListNotFound,
    ListRenamed,
    MissingDependency,
    NameTaken,
    NotRecorded,
    QueryTimeout,
    SchemaMismatch,
    SessionContinued,
    SessionNotFound,
    SessionStopped,
    StorageError,
    StorageFull,
    StoreError,
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
    WorkerStopped,
)

if TYPE_CHECKING:
    from tablevault_pd.analysis.comparison import Comparison
    from tablevault_pd.api import checkpoint, connect, current_vault, log, loop, read, step
    from tablevault_pd.caching import cached
    from tablevault_pd.lineage.cited import chars
    from tablevault_pd.lineage.declared import rows
    from tablevault_pd.moving import (
        copy,
        import_mlflow,
        import_tablevault,
        import_tensorboard,
        import_trackio,
        merge,
    )
    from tablevault_pd.session import Run
    from tablevault_pd.session.info import RunInfo
    from tablevault_pd.vault.lists import List
    from tablevault_pd.vault.vault import Vault

__version__ = "0.1.0"

__all__ = [
    "ClaimLost",
    "Comparison",
    "Conflict",
    "DimensionMismatch",
    "DuplicateKey",
    "FileMissing",
    "GateFailed",
    "InvalidFilter",
    "InvalidInput",
    "InvalidName",
    "InvalidQuery",
    "InvalidType",
    "List",
    "ListDeleted",
    "ListNotFound",
    "ListRenamed",
    "MissingDependency",
    "NameTaken",
    "NotRecorded",
    "QueryTimeout",
    "Run",
    "RunInfo",
    "SchemaMismatch",
    "SessionContinued",
    "SessionNotFound",
    "SessionStopped",
    "StorageError",
    "StorageFull",
    "StoreError",
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
    "WorkerStopped",
    "cached",
    "chars",
    "checkpoint",
    "connect",
    "copy",
    "current_vault",
    "import_mlflow",
    "import_tablevault",
    "import_tensorboard",
    "import_trackio",
    "log",
    "loop",
    "merge",
    "read",
    "rows",
    "step",
]

# What a vault needs is imported when the first one is opened: a program that only may save something starts at once.
_LATER = {
    "Comparison": "analysis.comparison",
    "List": "vault.lists",
    "Run": "session",
    "RunInfo": "session.info",
    "Vault": "vault.vault",
    "cached": "caching",
    "chars": "lineage.cited",
    "checkpoint": "api",
    "connect": "api",
    "copy": "moving",
    "current_vault": "api",
    "import_mlflow": "moving",
    "import_tablevault": "moving",
    "import_tensorboard": "moving",
    "import_trackio": "moving",
    "log": "api",
    "loop": "api",
    "merge": "moving",
    "read": "api",
    "rows": "lineage.declared",
    "step": "api",
}


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}{_meant(name)}")
    value = globals()[name] = getattr(import_module(f"{__name__}.{_LATER[name]}"), name)
    return value


#: What calls of other trackers are here.
_ELSEWHERE = (
    dict.fromkeys(("log_metric", "log_metrics"), 'tv.log({"acc": 0.9}, step=1)')
    | dict.fromkeys(
        ("log_param", "log_params", "start_run", "init"), 'vault.session("train", params={"lr": 0.1})'
    )
    | dict.fromkeys(
        ("log_artifact", "log_table", "log_text", "log_figure"),
        "s.log_table(…) of a session s, and log_text, log_figure",
    )
)


#: Calls of a vault that are looked for here. Names only: this is asked for each module that is imported from the package.
_OF_A_VAULT = frozenset((
    "save", "append", "upsert", "delete", "lists", "versions", "metrics", "trend", "compare", "tag", "snapshot", "search", "sessions",
    "best", "claim", "stale", "session", "lineage", "sql", "explore", "run", "map", "history", "delete_rows", "restore", "rename",
    "check", "vacuum",
))  # fmt: skip


def _meant(name: str) -> str:
    """Say where something is that is no part of this module."""
    if name in _ELSEWHERE:
        return f": write {_ELSEWHERE[name]}"
    return f": it is a call of a vault, tv.connect(…).{name}(…)" if name in _OF_A_VAULT else ""


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
