"""``vault_ref``: a column of references to rows of a vault. Prints as ``articles[12]``, and survives what pandas does.

A reference is a vault, a list, the version that was read, and a position. Which version of which list is *interned*
in a table of this process, so that an array is one int64 per row: number of the source, then the position. Equality,
merge, groupby and factorize are operations on integers, and stay right across lists and across vaults. Where an
array leaves the process (pickle, Parquet), the sources are written out.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pandas as pd
import pyarrow as pa
from pandas.api.extensions import ExtensionArray, ExtensionDtype, register_extension_dtype, take

from tablevault_pd.errors import InvalidInput, short_repr

if TYPE_CHECKING:
    import builtins
    from collections.abc import Callable, Iterable, Sequence

POSITION_BITS = 40
_POSITION = (1 << POSITION_BITS) - 1
_MISSING = -1


class Ref:
    """One row of one version of a list: what a cell of a reference column is.

    Attributes
    ----------
    list, version, position : str, int, int
        The list, the version that was read, and the row's position in it.
    vault_id, list_id : str, int
        The vault, and the list's number in it, which stays when another list takes its name.

    Examples
    --------
    >>> news = vault.save("news", ["Storm", "Sun"])
    >>> ref = vault.read("news", refs=True)["ref"][1]
    >>> ref, ref.list, ref.version, ref.position
    (news[1], 'news', 1, 1)
    """

    # No dataclass: pandas would take a list of those for a table.
    __slots__ = ("list", "list_id", "position", "vault_id", "version")

    def __init__(self, vault_id: str, list_id: int, version: int, position: int, list: str = "?") -> None:
        self.vault_id = vault_id
        self.list_id = list_id
        self.version = version
        self.position = position
        self.list = list

    def _key(self) -> tuple[str, int, int, int]:
        return self.vault_id, self.list_id, self.version, self.position

    def __eq__(self, other: object) -> bool:
        return self._key() == other._key() if isinstance(other, Ref) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._key())

    def __reduce__(self) -> tuple[Any, ...]:
        return Ref, (*self._key(), self.list)

    def __repr__(self) -> str:
        return f"{self.list}[{self.position}]"


@dataclass(frozen=True, slots=True)
class Source:
    """One version of a list, which references point into."""

    vault_id: str
    list_id: int
    version: int
    list: str = field(default="?", compare=False)

    def __str__(self) -> str:
        return f"{self.vault_id}:{self.list_id}:{self.version}:{self.list}"

    @classmethod
    def parse(cls, text: str) -> Source:
        """Return the source that :func:`str` wrote."""
        vault_id, list_id, version, name = text.split(":", 3)
        return cls(vault_id, int(list_id), int(version), name)


_sources: dict[int, Source] = {}
_numbers: dict[Source, int] = {}
_next_number = count().__next__


def number_of(source: Source, *, renames: bool = False) -> int:
    """Return the number of a source in this process; with `renames` its list is called so from now on.

    No lock is needed, which a fork could carry away: of two threads that number the same source, one number is not used.
    """
    known_number = _numbers.get(source)
    if known_number is not None:
        if renames and _sources[known_number].list != source.list:
            _sources[known_number] = source
        return known_number
    number = _next_number()
    _sources[number] = source
    return _numbers.setdefault(source, number)


@register_extension_dtype
class RefDtype(ExtensionDtype):
    """The dtype ``vault_ref``."""

    name = "vault_ref"
    type = Ref
    kind = "O"
    na_value = pd.NA
    _metadata = ()

    @classmethod
    def construct_array_type(cls) -> builtins.type[RefArray]:
        """Return the array class of this dtype."""
        return RefArray

    @classmethod
    def construct_from_string(cls, string: str) -> Self:
        """Return the dtype of that name."""
        if not isinstance(string, str):
            raise TypeError(f"'construct_from_string' expects a string, got {type(string)}")
        if string != cls.name:
            raise TypeError(f"Cannot construct a 'RefDtype' from '{string}'")
        return cls()

    def __from_arrow__(self, array: pa.Array | pa.ChunkedArray) -> RefArray:
        """Convert an Arrow array."""
        chunks = array.chunks if isinstance(array, pa.ChunkedArray) else [array]
        return RefArray._concat_same_type([_from_arrow(chunk) for chunk in chunks] or [RefArray.empty(0)])


class RefArray(ExtensionArray):
    """References as one int64 each."""

    _can_hold_na = True
    _readonly = False  # pandas 3 sets it on arrays that a frame shares

    def __init__(self, codes: np.ndarray) -> None:
        self._codes = codes

    @classmethod
    def of(cls, source: Source, positions: np.ndarray | Sequence[int] | range) -> RefArray:
        """Make references to rows of one version. A negative position is a missing reference."""
        array = np.asarray(positions, dtype=np.int64)
        return cls(np.where(array < 0, _MISSING, (number_of(source, renames=True) << POSITION_BITS) | array))

    @classmethod
    def joined(
        cls, sources: Sequence[Source], which: np.ndarray, positions: np.ndarray, *, renames: bool = True
    ) -> RefArray:
        """Make references to rows of several versions: row i is of ``sources[which[i]]``."""
        numbers = np.asarray(
            [number_of(source, renames=renames) for source in sources] or [0], dtype=np.int64
        )
        codes = (numbers[which] << POSITION_BITS) | positions
        return cls(np.where(positions < 0, _MISSING, codes))

    @classmethod
    def empty(cls, size: int) -> RefArray:
        """Make `size` missing references."""
        return cls(np.full(size, _MISSING, np.int64))

    # -- sources and positions

    @property
    def positions(self) -> np.ndarray:
        """Positions, -1 where missing."""
        return np.where(self._codes < 0, -1, self._codes & _POSITION)

    def sources(self) -> tuple[np.ndarray, list[Source]]:
        """(which, sources): row i is of ``sources[which[i]]``, -1 where missing."""
        numbers = self._codes >> POSITION_BITS  # -1 stays -1
        if not len(numbers):
            return numbers, []
        if numbers[0] >= 0 and (numbers == numbers[0]).all():
            return np.zeros(len(numbers), np.int64), [_sources[numbers[0]]]
        present, which = np.unique(numbers, return_inverse=True)
        gap = int(present[0] < 0)
        return which.reshape(-1) - gap, [_sources[number] for number in present[gap:]]

    # -- an extension array

    @property
    def dtype(self) -> RefDtype:
        """``vault_ref``."""
        return RefDtype()

    @property
    def nbytes(self) -> int:
        """Bytes of the references, eight each."""
        return self._codes.nbytes

    def __len__(self) -> int:
        return len(self._codes)

    @classmethod
    def _from_sequence(cls, scalars: Iterable[Any], *, dtype: Any = None, copy: bool = False) -> RefArray:
        if isinstance(scalars, (pd.Series, pd.Index)):
            scalars = scalars.array
        if isinstance(scalars, RefArray):
            return scalars.copy() if copy else scalars
        return cls(np.fromiter((_code(scalar) for scalar in scalars), np.int64))

    @classmethod
    def _from_factorized(cls, values: np.ndarray, original: RefArray) -> RefArray:
        return cls(np.asarray(values, np.int64))

    def __getitem__(self, item: Any) -> Any:
        item = pd.api.indexers.check_array_indexer(self, item)
        codes = self._codes[item]
        if not isinstance(codes, np.ndarray):
            return _scalar(int(codes))
        result = RefArray(codes)
        if np.shares_memory(codes, self._codes):
            result._readonly = self._readonly
        return result

    def __setitem__(self, key: Any, value: Any) -> None:
        if self._readonly:
            raise ValueError("Cannot modify read-only array")
        key = pd.api.indexers.check_array_indexer(self, key)
        if isinstance(value, (Ref, str)) or not pd.api.types.is_list_like(value):
            self._codes[key] = _code(value)
        else:
            self._codes[key] = type(self)._from_sequence(value)._codes

    def isna(self) -> np.ndarray:
        """Return which references are missing."""
        return self._codes < 0

    def take(self, indices: Any, *, allow_fill: bool = False, fill_value: Any = None) -> RefArray:
        """Return rows by number; -1 is missing if `allow_fill`."""
        fill = _code(fill_value) if allow_fill else None
        rows = np.asarray(indices, np.intp)
        return RefArray(np.asarray(take(self._codes, rows, allow_fill=allow_fill, fill_value=fill)))

    def copy(self) -> RefArray:
        """Return a copy."""
        return RefArray(self._codes.copy())

    def view(self, dtype: Any = None) -> Any:
        """Return the same memory again."""
        if dtype is not None:
            raise NotImplementedError(dtype)
        return RefArray(self._codes[:])

    @classmethod
    def _concat_same_type(cls, to_concat: Sequence[RefArray]) -> RefArray:
        return cls(np.concatenate([array._codes for array in to_concat]))

    def _values_for_factorize(self) -> tuple[np.ndarray, Any]:
        return self._codes, _MISSING

    def _values_for_argsort(self) -> np.ndarray:
        """Return keys that sort by list, version and position."""
        which, sources = self.sources()
        ranked = sorted(
            range(len(sources)),
            key=lambda number: (sources[number].list, sources[number].version, str(sources[number])),
        )
        rank = np.empty(len(sources) + 1, np.int64)
        rank[ranked] = np.arange(len(sources))
        rank[-1] = -1
        order: np.ndarray = (rank[which] << POSITION_BITS) | np.maximum(self.positions, 0)
        return order

    def _hash_pandas_object(self, *, encoding: str, hash_key: str, categorize: bool) -> np.ndarray:
        from pandas.util import hash_array

        which, sources = self.sources()
        texts = np.array(
            [f"{source.vault_id}:{source.list_id}:{source.version}" for source in sources] + [""],
            dtype=object,
        )
        hashed = hash_array(texts, encoding=encoding, hash_key=hash_key, categorize=categorize)
        hashes: np.ndarray = hashed[which] ^ hash_array(self.positions)
        return hashes

    def searchsorted(self, value: Any, side: Any = "left", sorter: Any = None) -> Any:
        """Return where to insert references so that the array stays sorted."""
        values = type(self)._from_sequence([value] if isinstance(value, Ref) else value)
        both = RefArray._concat_same_type([self, values])._values_for_argsort()
        positions = both[: len(self)].searchsorted(both[len(self) :], side=side, sorter=sorter)
        return positions[0] if isinstance(value, Ref) else positions

    def value_counts(self, dropna: bool = True) -> pd.Series:
        """Return how often each reference occurs. pandas 2 calls it."""
        codes = self._codes[self._codes >= 0] if dropna else self._codes
        counts = pd.Series(codes).value_counts()
        return pd.Series(counts.to_numpy(), index=pd.Index(RefArray(counts.index.to_numpy())), name="count")

    def _values_for_json(self) -> np.ndarray:
        return np.array([None if text is pd.NA else text for text in self._texts()], dtype=object)

    def astype(self, dtype: Any, copy: bool = True) -> Any:
        """Convert to texts, objects, or another dtype made of these."""
        target = pd.api.types.pandas_dtype(dtype)
        if target == self.dtype:
            return self.copy() if copy else self
        if isinstance(target, ExtensionDtype):
            values = self._texts() if isinstance(target, pd.StringDtype) else list(self)
            made: Any = target.construct_array_type()
            return made._from_sequence(values, dtype=target, copy=False)
        if target.kind == "U":
            return np.array([str(ref) for ref in self], dtype=target)
        if target.kind != "O":
            raise TypeError(f"References cannot become {target}. df.vault.refs says what they point at.")
        return np.array(self, dtype=object, copy=True)

    def _texts(self) -> list[Any]:
        return [pd.NA if code < 0 else repr(_scalar(code)) for code in self._codes.tolist()]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        if copy is False:
            raise ValueError("Unable to avoid copy while creating an array as requested.")
        objects = np.empty(len(self), dtype=object)
        objects[:] = [_scalar(code) for code in self._codes.tolist()]
        return objects if dtype is None or np.dtype(dtype) == object else objects.astype(dtype)

    def _formatter(self, boxed: bool = False) -> Callable[[Any], str | None]:
        return str if boxed else repr

    def _compare(self, other: Any, *, equal: bool) -> Any:
        if isinstance(other, RefArray):
            codes: Any = other._codes
        elif isinstance(other, Ref) or other is pd.NA or other is None:
            codes = _code(other)
        elif pd.api.types.is_list_like(other):
            codes = np.array([_code_or_other(item) for item in other], dtype=np.int64)
        else:
            codes = _OTHER
        if isinstance(codes, np.ndarray) and len(codes) != len(self):
            raise ValueError("Lengths must match to compare")
        same = (self._codes == codes) if equal else (self._codes != codes)
        missing = self.isna() | (codes == _MISSING)
        return pd.arrays.BooleanArray(np.asarray(same), np.broadcast_to(missing, same.shape).copy())

    def __eq__(self, other: object) -> Any:
        if isinstance(other, (pd.Series, pd.Index, pd.DataFrame)):
            return NotImplemented  # they compare with an array themselves
        return self._compare(other, equal=True)

    def __ne__(self, other: object) -> Any:
        if isinstance(other, (pd.Series, pd.Index, pd.DataFrame)):
            return NotImplemented
        return self._compare(other, equal=False)

    __hash__ = None  # type: ignore[assignment]  # as every array

    def _groupby_op(
        self, *, how: str, has_dropped_na: bool, min_count: int, ngroups: int, ids: np.ndarray, **kwargs: Any
    ) -> Any:
        if how not in ("first", "last"):
            raise NotImplementedError(f"{how} of references")
        grouped = (ids >= 0) & (~self.isna() if kwargs.get("skipna", True) else True)
        rows = np.flatnonzero(grouped)
        # Of several assignments to one group the last one stays.
        rows = rows[::-1] if how == "first" else rows
        codes = np.full(ngroups, _MISSING, np.int64)
        codes[ids[rows]] = self._codes[rows]
        return RefArray(codes)

    # -- leaving the process

    def __getstate__(self) -> dict[str, Any]:
        which, sources = self.sources()
        return {"sources": [str(source) for source in sources], "which": which, "positions": self.positions}

    def __setstate__(self, state: Any) -> None:
        if isinstance(state, tuple):
            state = state[0]
        sources = [Source.parse(text) for text in state["sources"]]
        self._codes = RefArray.joined(sources, state["which"], state["positions"], renames=False)._codes

    def __arrow_array__(self, type: Any = None) -> pa.Array:
        which, sources = self.sources()
        missing = self.isna()
        words = pa.array([str(source) for source in sources], pa.string())
        names = pa.DictionaryArray.from_arrays(pa.array(which.astype(np.int32), mask=missing), words)
        positions = pa.array(self.positions, mask=missing)
        return pa.StructArray.from_arrays([names, positions], ["source", "position"], mask=pa.array(missing))


_OTHER = -2  # no reference equals it


def _code(scalar: Any) -> int:
    if isinstance(scalar, Ref):
        number = number_of(Source(scalar.vault_id, scalar.list_id, scalar.version, scalar.list))
        return (number << POSITION_BITS) | scalar.position
    if (
        scalar is None
        or scalar is pd.NA
        or scalar is pd.NaT
        or (isinstance(scalar, float) and scalar != scalar)
    ):
        return _MISSING
    raise InvalidInput(f"{short_repr(scalar)} is no reference to a row. tv.read(name, refs=True) gives them.")


def _code_or_other(scalar: Any) -> int:
    try:
        return _code(scalar)
    except InvalidInput:
        return _OTHER


def _scalar(code: int) -> Any:
    if code < 0:
        return pd.NA
    source = _sources[code >> POSITION_BITS]
    return Ref(source.vault_id, source.list_id, source.version, code & _POSITION, source.list)


def _from_arrow(array: pa.StructArray) -> RefArray:
    if pa.types.is_null(array.type):
        return RefArray.empty(len(array))
    names, positions = array.field("source"), array.field("position")
    if not pa.types.is_dictionary(names.type):
        names = names.dictionary_encode()
    missing = np.asarray(array.is_null().to_numpy(zero_copy_only=False), bool)
    which = np.where(missing, 0, names.indices.fill_null(0).to_numpy(zero_copy_only=False))
    codes = np.where(missing, -1, positions.fill_null(-1).to_numpy(zero_copy_only=False))
    sources = [Source.parse(text) for text in names.dictionary.to_pylist()]
    return RefArray.joined(sources, which, codes, renames=False)


def is_refs(dtype: Any) -> bool:
    """Return whether a dtype is ``vault_ref``."""
    return isinstance(dtype, RefDtype)
