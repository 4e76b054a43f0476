"""What the caller said about columns: ``embeddings=`` and ``documents=``, checked against the labels there are."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from tablevault_pd import validate
from tablevault_pd.errors import InvalidInput, shown

if TYPE_CHECKING:
    from tablevault_pd.frames.vectors import Wish

_WIDTHS = ("float16", "float32", "float64")


def embedding_wishes(embeddings: Any, labels: Collection[Hashable]) -> tuple[dict[Hashable, Wish], Wish]:
    """What was said of single columns, and what holds for the others. Raises InvalidInput."""
    if embeddings is None or embeddings is True:
        return {}, None
    if embeddings is False:
        return {}, False
    if isinstance(embeddings, Mapping):
        wishes = {label: _wish(label, value) for label, value in embeddings.items()}
    else:
        wishes = dict.fromkeys(_named(embeddings, labels), True)
    _check_known("embeddings", wishes, labels)
    return wishes, None


def _wish(label: Hashable, value: Any) -> Wish:
    if value is None or isinstance(value, bool):
        return value
    try:
        name = np.dtype(value).name
    except TypeError:
        name = ""
    if name not in _WIDTHS:
        raise InvalidInput(
            f"embeddings={{{shown(label)}: {shown(value)}}}: give False, True or one of {', '.join(_WIDTHS)}."
        )
    dtype: np.dtype = np.dtype(name)
    return dtype


def document_labels(documents: Any, labels: Collection[Hashable]) -> set[Hashable]:
    """The labels named by ``documents=``. Raises InvalidInput."""
    if documents is None or documents is False:
        return set()
    found = set(_named(documents, labels))
    _check_known("documents", found, labels)
    return found


def _named(given: Any, labels: Collection[Hashable]) -> list[Hashable]:
    if isinstance(given, str | bytes) or not hasattr(given, "__iter__"):
        return [validate.label(given, "embeddings")]
    if isinstance(given, tuple) and given and given in labels:
        return [given]  # one label of a column MultiIndex
    return [validate.label(each, "embeddings") for each in validate.items(given)]


def _check_known(option: str, named: Collection[Hashable], labels: Collection[Hashable]) -> None:
    unknown = [label for label in named if label not in labels]
    if unknown:
        there = ", ".join(map(shown, list(labels)[:20]))
        raise InvalidInput(
            f"{option}= names {', '.join(map(shown, unknown))}, but there is no such column. There are: {there or 'none'}."
        )
