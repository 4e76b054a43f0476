"""Report the steps of a walk as a frame: one line for each row asked for and each relative of it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa

from tablevault_pd import validate
from tablevault_pd.errors import VaultCorrupt
from tablevault_pd.frames import frame_of
from tablevault_pd.lineage.edges import groups
from tablevault_pd.lineage.values import joined_values
from tablevault_pd.lineage.walk import RelatedRows, Relatives, Walk, WholeLists, spans_of_chars
from tablevault_pd.names import check_name
from tablevault_pd.reading.read import list_not_found
from tablevault_pd.reading.reports import labels_of
from tablevault_pd.refs import RefArray, Source
from tablevault_pd.store.edges import BASES, INFERRED, STATED, GenerationKey, Writers

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence

    from tablevault_pd.lineage.edge_cache import Direction, EdgeCache
    from tablevault_pd.store import Store, Version

PANDAS_3 = int(pd.__version__.partition(".")[0]) >= 3
TEXT: Any = pd.StringDtype(na_value=np.nan) if PANDAS_3 else None
FEW_LINES = 256  # so many texts are made one by one
ROWS_PER_WALK = 1 << 22  # (row asked for, position) must fit one int64


@dataclass(frozen=True, slots=True, eq=False)
class RowsToTrace:
    """Rows whose relatives are asked for; `position` -1 is a whole version."""

    list: np.ndarray
    version: np.ndarray
    position: np.ndarray
    loaded: tuple[Version, ...] = ()  #: versions that need not be looked up again

    def __len__(self) -> int:
        return len(self.list)


def lines(
    store: Store,
    traced: RowsToTrace,
    *,
    direction: Direction = "up",
    depth: int | None = None,
    to: str | None = None,
    columns: Sequence[Hashable] | None = None,
    read: bool = False,
    basis: str = BASES[INFERRED],
    single: bool = False,
) -> pd.DataFrame:
    """Walk, and show every relative; `single`: but where edges give each row many parents, such as a training set."""
    weakest = BASES.index(validate.choice(basis, "basis", BASES))
    validate.choice(direction, "direction", ("up", "down"))
    depth = None if depth is None else validate.whole(depth, "depth", least=1)
    columns, read = validate.labels(columns), validate.flag(read, "read")
    target = None if to is None else _list_id(store, check_name(to))
    side = "parent" if direction == "up" else "child"
    parts = []
    for some in _walkable(traced):
        walk = Walk(store, direction, weakest, single=single, chars=not single)
        rows, wholes, located = _start(walk.cache, some)
        steps = walk.steps(rows, wholes, depth=depth, to=target)
        parts.append(_frame(store, walk.cache, located, steps, side))
    frame = parts[0] if len(parts) == 1 else pd.concat(parts, ignore_index=True)
    return joined_values(store, frame, side, columns) if read or columns is not None else frame


def lines_up(store: Store, traced: RowsToTrace) -> tuple[pd.DataFrame, list[tuple[np.ndarray, pd.DataFrame]]]:
    """Every ancestor, as :func:`lines` shows it, and apart from these, once, those that many rows have in common.

    Where edges give several rows the same several parents, such as a training set, these and what is above them are walked over
    once: (positions of rows that were asked for, lines of what is above all of them).
    """
    own: list[pd.DataFrame] = []
    common: list[tuple[np.ndarray, pd.DataFrame]] = []
    for some in _walkable(traced):
        shared: list[np.ndarray] = []
        walk = Walk(store, "up", shared=shared)
        rows, wholes, located = _start(walk.cache, some)
        steps = walk.steps(rows, wholes)
        size = len(located)
        more = np.zeros(len(shared), np.int64)  # of one version, and numbered on
        numbered = RowsToTrace(
            np.append(located.list, more + (located.list[0] if size else 0)),
            np.append(located.version, more),
            np.arange(size + len(shared)),
            located.loaded,
        )
        frame = _frame(store, walk.cache, numbered, steps, "parent")
        number = frame["position"].to_numpy(np.int64)
        mine = number < size
        own.append(frame[mine].assign(position=located.position[number[mine]]))
        common += [(located.position[roots], frame[number == size + at]) for at, roots in enumerate(shared)]
    return own[0] if len(own) == 1 else pd.concat(own, ignore_index=True), common


def relatives(store: Store, traced: RowsToTrace, direction: Direction) -> Iterator[Relatives]:
    """Every relative, however far, of rows asked for; the same one again for each of these."""
    for some in _walkable(traced):
        walk = Walk(store, direction)
        rows, wholes, _ = _start(walk.cache, some)
        yield from _located(walk.cache, walk.steps(rows, wholes))


def _walkable(traced: RowsToTrace) -> Iterator[RowsToTrace]:
    """As many rows at a time as one walk takes."""
    for first in range(0, max(len(traced), 1), ROWS_PER_WALK):
        part = slice(first, first + ROWS_PER_WALK)
        yield RowsToTrace(traced.list[part], traced.version[part], traced.position[part], traced.loaded)


def _list_id(store: Store, name: str) -> int:
    head = store.head(name)
    if head is None:
        raise list_not_found(store, name)
    return head.list_id


def _start(
    cache: EdgeCache, traced: RowsToTrace
) -> tuple[dict[GenerationKey, RelatedRows], dict[int, WholeLists], RowsToTrace]:
    """Where the walk begins: the rows by generation, and whole versions; each row once."""
    places: list[tuple[GenerationKey, np.ndarray]] = []
    wholes: dict[int, WholeLists] = {}
    keep = np.zeros(len(traced), bool)
    address = np.full(len(traced), -1, np.int64)
    chosen: dict[GenerationKey, tuple[np.ndarray, np.ndarray]] = {}
    cache.know(traced.loaded)
    named = _versions_in(traced)
    cache.learn(versions=named)
    for list_id in dict.fromkeys(list_id for list_id, _ in named):
        of_list = np.arange(len(traced)) if len(named) == 1 else np.flatnonzero(traced.list == list_id)
        whole = of_list[traced.position[of_list] < 0]
        if len(whole):
            _, first = np.unique(traced.version[whole], return_index=True)
            whole = whole[np.sort(first)]
            keep[whole] = True
            wholes[list_id] = WholeLists(whole, traced.version[whole], np.full(len(whole), STATED, np.int8))
        for number in sorted(number for owner, number in named if owner == list_id):
            of_version = of_list[(traced.version[of_list] == number) & (traced.position[of_list] >= 0)]
            version = cache.version(list_id, number)
            shown = of_version[traced.position[of_version] < version.total]
            address[shown], of_generation = cache.contents([version])[0].addresses(traced.position[shown])[
                ::-1
            ]
            places += [
                ((list_id, generation), shown[at]) for (generation,), at in groups(of_generation[:, None])
            ]
    for place, numbers in places:
        before = chosen.get(place)
        both = numbers if before is None else np.concatenate([before[0], numbers])
        chosen[place] = (both, address[both])
    for place, (numbers, rows_there) in chosen.items():
        if len(numbers) > 1 and not (np.diff(rows_there) > 0).all():
            _, first = np.unique(rows_there, return_index=True)
            numbers = np.sort(numbers[first])
            chosen[place] = (numbers, address[numbers])
        keep[numbers] = True
    if not keep.all():  # the numbers of the rows kept, counted anew
        renumber = np.cumsum(keep) - 1
        chosen = {place: (renumber[numbers], position) for place, (numbers, position) in chosen.items()}
        wholes = {
            list_id: WholeLists(renumber[whole.root], whole.version, whole.basis)
            for list_id, whole in wholes.items()
        }
        traced = RowsToTrace(traced.list[keep], traced.version[keep], traced.position[keep], traced.loaded)
    rows = {
        place: RelatedRows(
            numbers, position, np.zeros(len(numbers), np.int64), np.full(len(numbers), STATED, np.int8)
        )
        for place, (numbers, position) in chosen.items()
    }
    return rows, wholes, traced


def _versions_in(traced: RowsToTrace) -> list[tuple[int, int]]:
    """(list, version) of the rows asked for, each once, in the order of the lists."""
    if _same(traced.list) and _same(traced.version):
        return [(int(traced.list[0]), int(traced.version[0]))]
    return list(dict.fromkeys(zip(traced.list.tolist(), traced.version.tolist(), strict=True)))


def _same(values: np.ndarray) -> bool:
    return len(values) > 0 and bool((values == values[0]).all())


# -- the frame


def _frame(
    store: Store, cache: EdgeCache, traced: RowsToTrace, steps: Sequence[Relatives], side: str
) -> pd.DataFrame:
    steps = [step for step in steps if len(step.rows.root)]
    numbers = _concatenated([step.rows.root for step in steps])
    arranged = _by_row_asked(steps, numbers)
    wholes = [step for step in steps if step.generation < 0]
    asked_lists = _distinct(traced.list)
    cache.learn(
        [step.list for step in steps],
        {(step.list, number) for step in wholes for number in _distinct(step.rows.version)},
    )
    gone = np.concatenate([_gone(cache, step) for step in steps]) if steps else np.empty(0, bool)
    names = {version.list_id: version.list for version in cache.facts.versions.values()}
    names |= {list_id: history.name for list_id, history in cache.facts.lists.items()}
    lists, codes = _codes([step.list for step in steps], [len(step.rows.root) for step in steps])
    depth = _repeated([step.depth for step in steps], steps)
    position = _concatenated([step.rows.position for step in _located(cache, steps)])
    version = _concatenated([step.rows.version for step in steps])
    basis = np.concatenate([step.rows.basis for step in steps]) if steps else np.empty(0, np.int8)
    written = _written(store, cache, steps)
    session, cell = (_concatenated([writers[at] for writers in written]) for at in (0, 1))
    numbers, codes, depth, position, version, basis, session, cell, gone = map(
        arranged, (numbers, codes, depth, position, version, basis, session, cell, gone)
    )
    sessions = _distinct(session[session >= 0])
    labels = labels_of(store, sessions)
    session_ids = [key for key in sessions if key in labels]
    asked_at = traced.position[numbers]
    whole = position < 0
    chars = _concatenated([spans_of_chars(step.rows) for step in steps]).reshape(-1, 2)
    begin, end = map(arranged, chars.T)
    frame = {
        "list": texts(
            _places(asked_lists, traced.list[numbers]), [names[list_id] for list_id in asked_lists]
        ),
        "position": integers(asked_at, asked_at < 0),
        "depth": depth,
        f"{side}_list": texts(codes, [names[list_id] for list_id in lists]),
        f"{side}_position": integers(position, whole),
        f"{side}_version": integers(version),
        "parent_start": integers(begin, begin < 0),
        "parent_stop": integers(end, end < 0),
        "basis": texts(basis.astype(np.int64), BASES),
        "session": texts(
            np.where(session < 0, -1, _places(session_ids, session)),
            [labels[session_id] for session_id in session_ids],
        ),
        "cell": integers(cell, cell < 0),
        "ref": _refs(store.vault_id, codes, lists, names, version, position),
        "gone": gone,
    }
    names_of_columns = _columns_index(tuple(frame))[:]  # not the same object: the caller may give it a name
    return frame_of(list(frame.values()), names_of_columns, pd.RangeIndex(len(numbers)))


@lru_cache(maxsize=2)
def _columns_index(names: tuple[str, ...]) -> pd.Index:
    return pd.Index(names)


def _located(cache: EdgeCache, steps: Sequence[Relatives]) -> list[Relatives]:
    """The same with positions: of each row in the version that it was read in, or written by."""
    cache.learn(step.list for step in steps)
    moved = [step for step in steps if step.generation >= 0 and not cache.facts.lists[step.list].in_place]
    cache.learn(versions={(step.list, number) for step in moved for number in _distinct(step.rows.version)})
    return [
        step
        if step.generation < 0 or cache.facts.lists[step.list].in_place
        else replace(
            step,
            rows=replace(
                step.rows,
                position=cache.positions(step.list, step.generation, step.rows.position, step.rows.version),
            ),
        )
        for step in steps
    ]


def _by_row_asked(steps: Sequence[Relatives], numbers: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """What puts a column of all steps into the order of the rows asked for, and of depth."""
    if _ordered(numbers):
        return lambda column: column
    first = steps[0].rows.root
    if all(np.array_equal(step.rows.root, first) for step in steps) and (first[1:] > first[:-1]).all():
        # Every row has a relative in every step: to take them in turn needs no sorting.
        return lambda column: column.reshape(len(steps), -1).T.reshape(-1)
    order = np.argsort(numbers, kind="stable")
    return lambda column: column[order]


def _ordered(values: np.ndarray) -> bool:
    return bool((values[1:] >= values[:-1]).all())


def _distinct(values: np.ndarray) -> list[int]:
    if _same(values):
        return [int(values[0])]
    return [int(value) for value in np.unique(values)]


def _concatenated(arrays: Sequence[np.ndarray]) -> np.ndarray:
    if len(arrays) == 1:
        return arrays[0]
    return np.concatenate(arrays) if arrays else np.empty(0, np.int64)


def _places(ordered: Sequence[int], values: np.ndarray) -> np.ndarray:
    """Where in `ordered` each of the values is; any place for one that is not there."""
    return np.searchsorted(ordered, values) if len(ordered) > 1 else np.zeros(len(values), np.int64)


def _repeated(values: Sequence[int], steps: Sequence[Relatives]) -> np.ndarray:
    sizes = [len(step.rows.root) for step in steps]
    return np.repeat(np.asarray(values, np.int64), np.asarray(sizes, np.int64))


def _codes(ids: Sequence[int], sizes: Sequence[int]) -> tuple[list[int], np.ndarray]:
    lists = sorted(set(ids))
    if len(lists) == 1:
        return lists, np.zeros(sum(sizes), np.int64)
    return lists, np.repeat(np.searchsorted(lists, ids).astype(np.int64), np.asarray(sizes, np.int64))


def _written(
    store: Store, cache: EdgeCache, steps: Sequence[Relatives]
) -> list[tuple[np.ndarray, np.ndarray]]:
    """For each step (session id, cell) of the commit that wrote each relative, -1 for none."""
    by_row = [step for step in steps if step.generation >= 0]
    places = [
        (step.list, step.generation, int(step.rows.position.min()), int(step.rows.position.max()) + 1)
        for step in by_row
    ]
    writers = iter(store.writers(places) if places else ())
    return [
        _by(next(writers), step.rows.position) if step.generation >= 0 else _by_version(cache, step)
        for step in steps
    ]


def _by(writers: Writers, position: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if _same(writers.session_id) and _same(writers.cell):
        return np.full(len(position), writers.session_id[0]), np.full(len(position), writers.cell[0])
    if not len(writers.start):
        raise VaultCorrupt(
            "Rows have parents that no version wrote. vault.check() lists all damage. Restore the vault from a backup."
        )
    numbers = np.searchsorted(writers.start, position, side="right") - 1
    return writers.session_id[numbers], writers.cell[numbers]


def _by_version(cache: EdgeCache, step: Relatives) -> tuple[np.ndarray, np.ndarray]:
    numbers, which = np.unique(step.rows.version, return_inverse=True)
    versions = [cache.version(step.list, number) for number in numbers.tolist()]
    session = np.array([-1 if version.session_id is None else version.session_id for version in versions])
    cell = np.array([-1 if version.cell is None else version.cell for version in versions])
    return session[which.reshape(-1)], cell[which.reshape(-1)]


def _gone(cache: EdgeCache, step: Relatives) -> np.ndarray:
    """Which relatives' data was removed by a vacuum."""
    stored = cache.facts.lists[step.list].stored
    if stored is None:
        return np.zeros(len(step.rows.root), bool)
    if step.generation >= 0:
        return stored.positions(step.generation, step.rows.position) < 0
    numbers, which = np.unique(step.rows.version, return_inverse=True)
    gone = np.array([cache.version(step.list, number).gone for number in numbers.tolist()])
    return np.asarray(gone[which.reshape(-1)])


def _refs(
    vault_id: str,
    codes: np.ndarray,
    lists: Sequence[int],
    names: Mapping[int, str],
    version: np.ndarray,
    position: np.ndarray,
) -> RefArray:
    if not len(codes):
        return RefArray.empty(0)
    if _same(codes) and _same(version):
        list_id = lists[int(codes[0])]
        return RefArray.of(Source(vault_id, list_id, int(version[0]), names[list_id]), position)
    bits = int(version.max()).bit_length()
    which, keys = pd.factorize((codes << bits) | version)  # a hash table: no sorting of millions of lines
    sources = [
        Source(vault_id, lists[key >> bits], key & ((1 << bits) - 1), names[lists[key >> bits]])
        for key in keys.tolist()
    ]
    return RefArray.joined(sources, which, position)


def integers(values: np.ndarray, missing: np.ndarray | None = None) -> Any:
    """An Int64 column without a copy."""
    mask = np.zeros(len(values), bool) if missing is None else missing
    return pd.arrays.IntegerArray(np.asarray(values, np.int64), mask)


def texts(codes: np.ndarray, words: Sequence[str]) -> Any:
    """A text column from the numbers of its words; -1 is missing."""
    if not PANDAS_3:
        return np.array([*words, None], dtype=object)[codes]
    if len(codes) <= FEW_LINES or not words:
        cells = [None if code < 0 else words[code] for code in codes.tolist()]
        return TEXT.__from_arrow__(pa.array(cells, pa.large_string()))
    missing = codes < 0
    mask = missing if missing.any() else None
    packed = pa.DictionaryArray.from_arrays(
        pa.array(codes.astype(np.int32), mask=mask), pa.array(words, pa.large_string())
    )
    return TEXT.__from_arrow__(packed.cast(pa.large_string()))


def joined_rows(rows: Iterable[RowsToTrace]) -> RowsToTrace:
    """Several, one after the other."""
    parts = list(rows)
    return RowsToTrace(
        _concatenated([part.list for part in parts]),
        _concatenated([part.version for part in parts]),
        _concatenated([part.position for part in parts]),
        tuple(version for part in parts for version in part.loaded),
    )
