"""The keyword options of public calls that hand them on, such as ``df.vault.save``, :meth:`List.read` and ``tv.read``.

The call that they are handed on to (:meth:`Vault.save`, :meth:`Vault.read`, :meth:`Vault.search` …) has them in its
signature, with their defaults, and says in its docstring what each does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypedDict

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping, Sequence


class SaveOptions(TypedDict, total=False):
    """The options of :meth:`Vault.save` and :meth:`Vault.append`."""

    inputs: Any
    description: str | None
    message: str | None
    documents: Any
    embeddings: Any
    files: Any
    copy: bool
    tags: str | Sequence[str] | None
    schema: Literal["evolve", "strict"]
    kind: str | None
    key: Hashable | Sequence[Hashable] | None
    language: str | None
    expect: int | None
    finish: bool


class UpsertOptions(SaveOptions, total=False):
    """The options of :meth:`Vault.upsert`."""

    drop_missing: bool | Hashable | Sequence[Hashable]


class MapOptions(TypedDict, total=False):
    """The options of :meth:`Vault.map`."""

    columns: Sequence[Hashable] | None
    as_dict: bool
    batch: int | None
    workers: int | None
    processes: int | None
    rate_per_s: float | None
    version: str | None
    kwargs: Mapping[str, Any] | None
    on_error: Literal["raise", "keep"]
    retry: Literal["errors"] | None
    drop_missing: bool
    commit_every: int


class ReadOptions(TypedDict, total=False):
    """The options of :meth:`Vault.read`."""

    columns: Sequence[Hashable] | None
    filters: Any
    start: int | None
    stop: int | None
    version: int | str | None
    versions: Literal["all"] | None
    as_of: Any
    chars: Any
    refs: bool | str


class FrameSearchOptions(TypedDict, total=False):
    """The options of :meth:`Vault.search` that a search among the rows of one frame has."""

    near: Any
    filters: Any
    kind: str | Sequence[str] | None
    code: str | None
    code_in: Literal["slice", "cell", "session"]
    description: str | None
    session: Any
    parents_of: Any
    children_of: Any
    since: Any
    until: Any
    columns: Sequence[Hashable] | None
    k: int | None
    offset: int
    match: Literal["all", "any"] | None
    min_score: float | None
    weights: Mapping[str, float] | None
    approx: bool
    metric: Literal["cosine", "dot", "l2"]
    snippet: bool


class SearchOptions(FrameSearchOptions, total=False):
    """The options of :meth:`Vault.search` that a search of one list has."""

    as_of: Any


class LineageOptions(TypedDict, total=False):
    """The options of :meth:`Vault.lineage` that say how the answer looks."""

    to: str | None
    read: bool
    columns: Sequence[Hashable] | None
    basis: Literal["stated", "inferred", "read"]


#: The defaults of options that are not None.
DEFAULTS: dict[str, Any] = {
    "copy": False,
    "finish": False,
    "drop_missing": False,
    "schema": "evolve",
    "refs": False,
    "offset": 0,
    "metric": "cosine",
    "snippet": False,
    "approx": False,
    "read": False,
    "basis": "inferred",
    "code_in": "slice",
    "as_dict": False,
    "on_error": "raise",
    "commit_every": 50,
}
