"""Where a search looks: which versions of which lists, and which of their rows pass every filter."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from fnmatch import translate
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from tablevault_pd import frames, validate
from tablevault_pd.errors import InvalidFilter, InvalidInput, InvalidType, shown
from tablevault_pd.filters import UnknownColumn
from tablevault_pd.lineage.report import Asked, asked_of, relatives
from tablevault_pd.lineage.resolve_rows import identity
from tablevault_pd.lineage.same import same_rows
from tablevault_pd.names import parse_address
from tablevault_pd.reading import read as reading
from tablevault_pd.refs import Ref, RefArray
from tablevault_pd.session.lookup import resolve_sessions
from tablevault_pd.store import Lookup, Scope, Spans, Store, Version

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    from tablevault_pd.search.request import Request
    from tablevault_pd.store.text_query import Node

_GLOB = re.compile(r"[*?\[]")
_PRINTED_REF = re.compile(r"(.+)\[(\d+)\]")


@dataclass(slots=True)
class Place:
    """A version that is searched."""

    version: Version
    columns: list[frames.Column]
    keep: np.ndarray | None = None  #: bool: rows that pass the filters so far; None: all
    documents: tuple[str, ...] = field(default=())

    def narrow(self, mask: np.ndarray) -> None:
        """Only rows where `mask` is true, too."""
        self.keep = mask if self.keep is None else self.keep & mask

    @property
    def empty(self) -> bool:
        """Whether no row is left."""
        return self.version.total == 0 or (self.keep is not None and not self.keep.any())

    def positions(self) -> np.ndarray:
        """The rows that are left."""
        return np.arange(self.version.total) if self.keep is None else np.flatnonzero(self.keep)

    def scope(self, kinds: Sequence[str]) -> Scope:
        """What the store is to look at."""
        return Scope(self.version, self.documents, "record" in kinds, self.keep)


def places(store: Store, request: Request) -> list[Place]:
    """The versions to be searched, in order of name, before any filter on rows."""
    versions = [version for version in _versions(store, request) if not version.gone]
    schemas = store.schemas({version.schema_id for version in versions})
    found = []
    for version in versions:
        columns = frames.columns(schemas[version.schema_id])
        alone = tuple(
            each.field for each in columns if each.kind in ("document", "file") and each.kind in request.kinds
        )
        place = Place(version, columns, documents=alone)
        if request.rows is not None:
            place.narrow(np.isin(np.arange(version.total), request.rows))
        found.append(place)
    return sorted(found, key=lambda place: (place.version.list, place.version.version))


def _versions(store: Store, request: Request) -> list[Version]:
    if request.lists is None:
        return _newest(store, request.as_of)
    asked = validate.items(request.lists)
    if not asked:
        raise InvalidInput("lists= is empty. Leave it out to search every list.")
    addresses = [address_of(each) for each in asked]
    patterns = [
        address
        for address in addresses
        if _GLOB.search(address) and store.head(parse_address(address).name) is None
    ]
    named = [reading.lookup(each, as_of=request.as_of) for each in addresses if each not in patterns]
    versions = reading.resolve_all(store, named)
    if patterns:
        matches = [re.compile(translate(pattern)).match for pattern in patterns]
        known = _newest(store, request.as_of)
        versions += [version for version in known if any(match(version.list) for match in matches)]
    return list({(version.list_id, version.version): version for version in versions}.values())


def address_of(which: Any) -> str:
    """The name in `lists=`: a text, or a handle on a list."""
    if isinstance(which, str):
        return which
    address = getattr(which, "_text", None)
    if not isinstance(address, str):
        raise InvalidType(
            f"lists= holds names, patterns or List handles, not {type(which).__name__}: {shown(which)}"
        )
    return address


def _newest(store: Store, as_of: Any) -> list[Version]:
    """The newest visible version of every list, perhaps as of some time."""
    heads: list[Version | None] = [state.head for state in store.lists()]
    if as_of is not None:
        time = validate.time(as_of, "as_of")
        heads = store.find_versions([Lookup(head.list, None, time) for head in heads if head is not None])
    return [head for head in heads if head is not None and not head.deleted]


# -- filters on rows


def narrow_by_writing(store: Store, found: list[Place], request: Request) -> list[Place]:
    """By who wrote the rows and when: code, session, description, time, and lineage."""
    cells = None if request.code is None else store.find_code(request.code)
    sessions = None
    if request.session is not None:
        sessions = np.array([each.id for each in resolve_sessions(store, request.session)], np.int64)
    described = None if request.description is None else _described(store, request.description)
    by_time = request.since is not None or request.until is not None
    if cells is not None or sessions is not None or by_time or (described is not None and described[1]):
        spans = store.written([place.version for place in found])
        good = np.ones(len(spans.start), bool)
        if cells is not None:
            good &= _wrote(spans, cells)
        if sessions is not None:
            good &= np.isin(spans.session_id, sessions)
        if request.since is not None:
            good &= spans.time >= _stamp(request.since)
        if request.until is not None:
            good &= spans.time < _stamp(request.until)
        by_described = (
            np.isin(spans.session_id, described[1]) if described is not None and described[1] else None
        )
        for number, place in enumerate(found):
            if described is not None and place.version.list_id not in described[0]:
                here = np.zeros(len(good), bool) if by_described is None else good & by_described
            else:
                here = good
            place.narrow(covered(spans, here, number, place.version.total))
    elif described is not None:
        found = [place for place in found if place.version.list_id in described[0]]
    directions: tuple[tuple[Any, Literal["up", "down"]], ...] = (
        (request.parents_of, "up"),
        (request.children_of, "down"),
    )
    for relatives_of, direction in directions:
        if relatives_of is not None:
            narrow_by_relatives(store, found, relatives_of, direction)
    return [place for place in found if not place.empty]


def narrow_by_relatives(store: Store, found: list[Place], of: Any, direction: Literal["up", "down"]) -> None:
    """Only rows that `of` was made from (up), or that were made from it (down), however many steps away."""
    option = "parents_of" if direction == "up" else "children_of"
    masks = [np.zeros(place.version.total, bool) for place in found]
    positions: dict[tuple[int, int], list[np.ndarray | None]] = {}  # (list, version) -> None for the whole
    for step in relatives(store, asked_of(_asked(store, of, option)), direction):
        for number in np.unique(step.rows.version).tolist():
            at = step.rows.position[step.rows.version == number] if step.generation >= 0 else None
            positions.setdefault((step.list, number), []).append(at)
    versions = store.facts(versions=list(positions)).versions
    for key, parts in positions.items():
        known = [part for part in parts if part is not None]
        at = np.unique(np.concatenate(known)) if len(known) == len(parts) else None
        for place, mask in zip(found, masks, strict=True):
            if place.version.list_id == key[0]:
                _mark(store, versions[key], place.version, mask, at)
    for place, mask in zip(found, masks, strict=True):
        place.narrow(mask)


def _mark(
    store: Store, relative: Version, shown: Version, mask: np.ndarray, positions: np.ndarray | None
) -> None:
    """Mark the rows of `shown` that are the rows at `positions` (or all) of `relative`, another version of the list."""
    found = same_rows(store, relative, shown, np.arange(relative.total) if positions is None else positions)
    mask[found[found >= 0]] = True


def _asked(store: Store, of: Any, option: str) -> list[Asked]:
    """The rows meant: those of a frame or of references, of a whole list, or of several of these."""
    if isinstance(of, Ref):
        of = [of]
    if isinstance(of, (list, tuple)) and of and all(isinstance(each, Ref) for each in of):
        of = RefArray._from_sequence(of)
    if isinstance(of, (RefArray, pd.Index)):
        of = pd.Series(of)
    if isinstance(of, (pd.DataFrame, pd.Series)):
        named = identity(store, of)
        if not named and len(of):
            raise InvalidInput(f"{option}= has a frame that was not read from this vault.")
        rows = [
            (each.version, np.array([-1]) if each.positions is None else each.positions) for each in named
        ]
    elif isinstance(of, (list, tuple)):
        return [asked for each in of for asked in _asked(store, each, option)]
    else:
        version = _related(store, of, option)
        rows = [(version, np.arange(version.total))]
    return [
        Asked(np.full(len(at), version.list_id), np.full(len(at), version.version), at, (version,))
        for version, positions in rows
        for at in [np.unique(positions[positions >= -1]) if len(positions) else positions]
    ]


def _related(store: Store, of: Any, option: str) -> Version:
    """The version that a name or handle stands for."""
    address = of if isinstance(of, str) else getattr(of, "_text", None)
    if not isinstance(address, str):
        raise InvalidType(
            f"{option}= is a frame that was read, a reference, a list's name or handle, or a list of these, not "
            f"{type(of).__name__}: {shown(of)}"
        )
    printed = _PRINTED_REF.fullmatch(address)
    if printed is not None and store.head(address) is None:
        raise InvalidInput(
            f"{option}={address!r} is how a reference prints. Give the reference itself, or the row as a frame: "
            f"read({printed[1]!r}).iloc[[{printed[2]}]]."
        )
    return reading.resolve(store, address)


def narrow_by_values(store: Store, found: list[Place], filters: Any) -> list[Place]:
    """By what is in the rows. A list without a column that the filter names has no row that fits."""
    if filters is None:
        return found
    fit, conditions = [], []
    for place in found:
        try:
            condition = reading.filter_for(store, place.version, filters)
        except UnknownColumn:
            continue
        except InvalidFilter as error:
            raise InvalidFilter(f"In the list {place.version.list!r}: {error}") from error
        assert condition is not None
        fit.append(place)
        conditions.append((place.version, condition))
    for place, mask in zip(fit, reading.kept(store, conditions), strict=True):
        place.narrow(mask)
    return [place for place in fit if not place.empty]


def _stamp(time: Any) -> np.datetime64:
    return np.datetime64(pd.Timestamp(time).tz_convert("UTC").tz_localize(None), "us")


def _wrote(spans: Spans, cells: np.ndarray) -> np.ndarray:
    """Which spans one of these (session, cell) wrote."""
    known = (cells[:, 0] << 24) | cells[:, 1]
    return np.isin((spans.session_id << 24) | spans.cell, known) & (spans.cell >= 0)


def covered(spans: Spans, good: np.ndarray, scope: int, total: int) -> np.ndarray:
    """Which rows of a scope lie in a good span."""
    here = good & (spans.scope == scope)
    steps = np.zeros(total + 1, np.int64)
    np.add.at(steps, spans.start[here], 1)
    np.add.at(steps, spans.stop[here], -1)
    return np.asarray(np.cumsum(steps)[:-1] > 0)


def _described(store: Store, query: Node) -> tuple[set[int], list[int]]:
    """The lists and the sessions with a description that matches."""
    matching = store.find_descriptions(query)
    lists = {each.list_id for each in matching if each.list_id is not None}
    return lists, sorted({each.session_of for each in matching if each.session_of is not None})


def near_columns(place: Place, label: Hashable | None, dim: int) -> list[frames.Column]:
    """The embedding columns of a version that a vector of width `dim` can be compared with."""
    return [
        each
        for each in place.columns
        if each.kind == "embedding" and each.dim == dim and (label is None or each.label == label)
    ]
