"""Which versions a search looks at, and which of their rows pass every filter."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from fnmatch import translate
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from tablevault_pd import frames, validate
from tablevault_pd.errors import InvalidFilter, InvalidInput, InvalidType, VersionNotFound, short_repr
from tablevault_pd.filters import UnknownColumn
from tablevault_pd.lineage.of_rows import rows_to_trace
from tablevault_pd.lineage.report import RowsToTrace, joined_rows, relatives
from tablevault_pd.lineage.resolve_rows import resolve_rows
from tablevault_pd.lineage.same import same_rows
from tablevault_pd.names import parse_address
from tablevault_pd.reading import read as reading
from tablevault_pd.reading.filtering import filter_for, masks_of_versions
from tablevault_pd.refs import Ref, RefArray
from tablevault_pd.search.writers import WriterFilter, WriterSpans
from tablevault_pd.session.lookup import is_pattern
from tablevault_pd.store import Scope, Store, Version, VersionLookup

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    from tablevault_pd.filters import Filter
    from tablevault_pd.search.request import Request

_PRINTED_REF = re.compile(r"(.+)\[(\d+)\]")


@dataclass(frozen=True, slots=True)
class Candidate:
    """A version that is searched, and which of its rows are."""

    version: Version
    columns: tuple[frames.Column, ...]
    documents: tuple[str, ...] = ()  #: fields whose every cell is an item of its own
    mask: np.ndarray | None = None  #: bool: the rows that pass the filters so far; None: all
    language: str | None = None  #: of its texts; None: English

    def restrict(self, mask: np.ndarray | None) -> Candidate:
        """The same version, with only those of its rows where `mask` is true too."""
        if mask is None:
            return self
        return replace(self, mask=mask if self.mask is None else self.mask & mask)

    @property
    def is_empty(self) -> bool:
        """Whether no row is left."""
        return self.version.total == 0 or (self.mask is not None and not self.mask.any())

    def positions(self) -> np.ndarray:
        """The rows that are left."""
        return np.arange(self.version.total) if self.mask is None else np.flatnonzero(self.mask)

    def scope(self, kinds: Sequence[str], *, only: Hashable = None) -> Scope:
        """What the store searches for this candidate: all texts, or those that may be of one column."""
        if only is None:
            return Scope(self.version, self.documents, "record" in kinds, self.mask)
        fields = {column.field for column in self.columns if column.label == only}
        documents = tuple(field for field in self.documents if field in fields)
        return Scope(self.version, documents, "record" in kinds and bool(fields), self.mask)

    def document_number(self, label: Hashable) -> int:
        """The number of a column among the documents; -1 if it is none."""
        labels = {column.field: column.label for column in self.columns}
        return next((n for n, field in enumerate(self.documents) if labels[field] == label), -1)

    def embeddings(self, label: Hashable | None, dim: int) -> list[frames.Column]:
        """The columns that a vector of width `dim` can be compared with: of that label, or any."""
        return [
            column
            for column in self.columns
            if column.kind == "embedding" and column.dim == dim and label in (None, column.label)
        ]


def find_candidates(store: Store, request: Request) -> list[Candidate]:
    """The versions that are searched, in order of name, before any filter on rows."""
    versions = [version for version in _versions(store, request) if not version.gone]
    schemas = store.schemas({version.schema_id for version in versions})
    candidates = []
    erased = dict(zip(versions, store.erased(versions), strict=True))
    for version in sorted(versions, key=lambda version: (version.list, version.version)):
        columns = tuple(frames.columns(schemas[version.schema_id]))
        documents = tuple(
            column.field
            for column in columns
            if column.kind in ("document", "file") and column.kind in request.kinds
        )
        mask = None if request.rows is None else np.isin(np.arange(version.total), request.rows)
        language = frames.language_of(schemas[version.schema_id])
        candidate = Candidate(version, columns, documents, mask, language)
        if len(erased[version]):
            candidate = candidate.restrict(~np.isin(np.arange(version.total), erased[version]))
        candidates.append(candidate)
    return candidates


def _versions(store: Store, request: Request) -> list[Version]:
    if request.lists is None:
        return _newest_versions(store, request.as_of)
    names = validate.items(request.lists)
    if not names:
        raise InvalidInput("lists= is empty. Leave it out to search every list.")
    addresses = [_address_of(name) for name in names]
    patterns = [
        address
        for address in addresses
        if is_pattern(address) and store.head(parse_address(address).name) is None
    ]
    named = [address for address in addresses if address not in patterns]
    for pattern in [pattern for pattern in patterns if parse_address(pattern).pinned]:
        patterns.remove(pattern)
        named += _pinned(store, pattern)
    versions = reading.resolve_all(store, [reading.lookup(address, as_of=request.as_of) for address in named])
    if patterns:
        matches = [re.compile(translate(pattern)).match for pattern in patterns]
        newest = _newest_versions(store, request.as_of)
        versions += [version for version in newest if any(match(version.list) for match in matches)]
    return list({(version.list_id, version.version): version for version in versions}.values())


def _pinned(store: Store, pattern: str) -> list[str]:
    """The addresses that a pattern such as ``preds-*@paper`` stands for. Raises VersionNotFound where there are none."""
    name, _, version = pattern.partition("@")
    match = re.compile(translate(name)).match
    addresses = [f"{list_name}@{version}" for list_name in store.names() if match(list_name)]
    there = [address for address in addresses if reading.exists(store, address)]
    if not there:
        raise VersionNotFound(f"No list that fits {short_repr(name)} has a version {short_repr(version)}.")
    return there


def _address_of(name: Any) -> str:
    """A name in `lists=`: a text, or a handle on a list."""
    address = name if isinstance(name, str) else getattr(name, "_text", None)
    if not isinstance(address, str):
        raise InvalidType(
            f"lists= holds names, patterns or List handles, not {type(name).__name__}: {short_repr(name)}"
        )
    return address


def _newest_versions(store: Store, as_of: Any) -> list[Version]:
    """The newest visible version of every list, perhaps as of some time."""
    heads: list[Version | None] = [state.head for state in store.lists()]
    if as_of is not None:
        time = validate.time(as_of, "as_of")
        heads = store.find_versions(
            [VersionLookup(head.list, None, time) for head in heads if head is not None]
        )
    return [head for head in heads if head is not None and not head.deleted]


# -- filters on rows


def filter_by_origin(
    store: Store, candidates: Sequence[Candidate], request: Request, spans: WriterSpans
) -> list[Candidate]:
    """Keep the rows that were written so (code, session, description, time) and made from, or into, such rows."""
    writers = WriterFilter.of(store, request)
    versions = [candidate.version for candidate in candidates]
    masks = [
        writers.masks(versions, spans),
        masks_of_relatives(store, versions, request.parents_of, "up"),
        masks_of_relatives(store, versions, request.children_of, "down"),
    ]
    for of_filter in masks:
        candidates = _restricted(candidates, of_filter)
    return [candidate for candidate in candidates if not candidate.is_empty]


def _restricted(
    candidates: Sequence[Candidate], masks: Sequence[np.ndarray | None] | None
) -> Sequence[Candidate]:
    if masks is None:
        return candidates
    return [candidate.restrict(mask) for candidate, mask in zip(candidates, masks, strict=True)]


def filter_by_values(store: Store, candidates: Sequence[Candidate], filters: Any) -> list[Candidate]:
    """Keep the rows whose values fit."""
    if filters is None:
        return list(candidates)
    masks = masks_of_values(store, [candidate.version for candidate in candidates], filters)
    return [candidate for candidate in _restricted(candidates, masks) if not candidate.is_empty]


def masks_of_values(store: Store, versions: Sequence[Version], filters: Any) -> list[np.ndarray]:
    """Which rows of each version fit. A list without a column that the filter names has no row that fits."""
    masks = [np.zeros(version.total, bool) for version in versions]
    numbers, conditions = [], []
    parsed: dict[int, Filter | None] = {}  #: by schema; None: it lacks a column that the filter names
    for number, version in enumerate(versions):
        if version.schema_id not in parsed:
            parsed[version.schema_id] = _parsed(store, version, filters)
        condition = parsed[version.schema_id]
        if condition is not None:
            numbers.append(number)
            conditions.append((version, condition))
    for number, mask in zip(numbers, masks_of_versions(store, conditions), strict=True):
        masks[number] = mask
    return masks


def _parsed(store: Store, version: Version, filters: Any) -> Filter | None:
    try:
        return filter_for(store, version, filters)
    except UnknownColumn:
        return None
    except InvalidFilter as error:
        raise InvalidFilter(f"In the list {version.list!r}: {error}") from error


# -- rows by lineage: ``parents_of=`` and ``children_of=`` as masks over the versions that are searched


def masks_of_relatives(
    store: Store, versions: Sequence[Version], of: Any, direction: Literal["up", "down"]
) -> list[np.ndarray] | None:
    """Which rows of each version `of` was made from (up), or was made into (down), however many steps away.

    None where `of` is None. A relative in another version of a list stands for the same row in the version that is searched.
    """
    if of is None:
        return None
    start = joined_rows(_all_rows_to_trace(store, of, "parents_of" if direction == "up" else "children_of"))
    positions = _positions_of_relatives(store, start, direction)
    related = store.describe_lists(versions=list(positions)).versions
    masks = [np.zeros(version.total, bool) for version in versions]
    for key, rows in positions.items():
        for version, mask in zip(versions, masks, strict=True):
            if version.list_id == key[0]:
                _mark(store, related[key], version, mask, rows)
    return masks


def _positions_of_relatives(
    store: Store, start: RowsToTrace, direction: Literal["up", "down"]
) -> dict[tuple[int, int], np.ndarray | None]:
    """The positions of all relatives, by (list id, version); None for a whole version."""
    parts: dict[tuple[int, int], list[np.ndarray] | None] = {}
    for step in relatives(store, start, direction):
        for number in np.unique(step.rows.version).tolist():
            key = (step.list, number)
            positions = parts.setdefault(key, [])
            if step.generation < 0:
                parts[key] = None
            elif positions is not None:
                positions.append(step.rows.position[step.rows.version == number])
    return {key: None if rows is None else np.unique(np.concatenate(rows)) for key, rows in parts.items()}


def _mark(
    store: Store, relative: Version, searched: Version, mask: np.ndarray, positions: np.ndarray | None
) -> None:
    """Mark the rows of `searched` that are the rows at `positions` (or all) of `relative`, a version of the same list."""
    if positions is None:
        positions = np.arange(relative.total)
    there = same_rows(store, relative, searched, positions)
    mask[there[there >= 0]] = True


def _all_rows_to_trace(store: Store, of: Any, option: str) -> list[RowsToTrace]:
    """The rows meant: those of a frame or of references, of a whole list, or of several of these."""
    if isinstance(of, Ref):
        of = [of]
    if isinstance(of, (list, tuple)) and of and all(isinstance(member, Ref) for member in of):
        of = RefArray._from_sequence(of)
    if isinstance(of, (RefArray, pd.Index)):
        of = pd.Series(of)
    if isinstance(of, (list, tuple)):
        return [rows for member in of for rows in _all_rows_to_trace(store, member, option)]
    if isinstance(of, (pd.DataFrame, pd.Series)):
        selections = resolve_rows(store, of)
        if not selections and len(of):
            raise InvalidInput(f"{option}= has a frame that was not read from this vault.")
        return [rows_to_trace(selection.version, _distinct(selection.positions)) for selection in selections]
    version = _version_of(store, of, option)
    return [rows_to_trace(version, np.arange(version.total))]


def _distinct(positions: np.ndarray | None) -> np.ndarray:
    """Each of the positions once; -1, the version as a whole, where there are none."""
    return np.array([-1]) if positions is None else np.unique(positions[positions >= -1])


def _version_of(store: Store, of: Any, option: str) -> Version:
    """The version that a name or handle stands for."""
    address = of if isinstance(of, str) else getattr(of, "_text", None)
    if not isinstance(address, str):
        raise InvalidType(
            f"{option}= is a frame that was read, a reference, a list's name or handle, or a list of these, not "
            f"{type(of).__name__}: {short_repr(of)}"
        )
    printed = _PRINTED_REF.fullmatch(address)
    if printed is not None and store.head(address) is None:
        raise InvalidInput(
            f"{option}={address!r} is how a reference prints. Give the reference itself, or the row as a frame: "
            f"read({printed[1]!r}).iloc[[{printed[2]}]]."
        )
    return reading.resolve(store, address)
