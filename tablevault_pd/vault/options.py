"""The keyword options of public calls that hand them on, such as ``df.vault.save``, :meth:`List.read` and ``tv.read``.

The call that they are handed on to (:meth:`Vault.save`, :meth:`Vault.read`, :meth:`Vault.search` …) has them in its
signature, with their defaults, and says in its docstring what each does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypedDict

if TYPE_CHECKING:
    from collections.abc import Sequence


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
    expect: int | None
