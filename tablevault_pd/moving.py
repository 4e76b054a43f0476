"""``copy`` and ``merge``: vaults moved into others, from folders to servers and back."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from tablevault_pd import validate
from tablevault_pd.api import opened_beside
from tablevault_pd.errors import InvalidInput, InvalidType, short_repr
from tablevault_pd.keywords import public_call
from tablevault_pd.names import check_name
from tablevault_pd.reading.reports import answer
from tablevault_pd.vault.vault import Vault

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Iterator, Sequence

    import pandas as pd

    Place = str | os.PathLike[str] | Vault


@public_call("tablevault_pd.copy")
def copy(source: Place, target: Place, lists: str | Sequence[str] | None = None) -> pd.DataFrame:
    """Copy a vault, or some lists of it, into another one: from a folder to a server, or back.

    Everything goes: all versions with their numbers, times and messages, rows, kept files, lineage, names and tags, descriptions;
    sessions with parameters, cells, modules and metrics. What the target has already is passed over, so the same call goes on
    after it was interrupted, and brings a copy up to date later. Claims and requests to sessions stay behind.

    Parameters
    ----------
    source, target : str, path or Vault
        A folder, the address of a database, or an open vault. A folder that is not there is made; a database that is not there is
        made by ``tv.connect(url, create=True)``.
    lists : str or list of str, optional
        Only these lists, and the sessions that wrote them. Default: all, and all sessions.

    Returns
    -------
    DataFrame
        For each list: source (str), list (str), copied_to (str: its name in the target), versions and rows (Int64: how many were
        copied by this call), parents_left_out (Int64: links to rows of lists that were not copied).

    Raises
    ------
    InvalidInput, InvalidName
        If an argument is wrong, or both are the same vault.
    ListNotFound
        If the source has no such list.
    NameTaken
        If the target has another list of the same name, or somebody changed a copied one there. Nothing is written.
    Conflict
        If somebody writes to one of these lists in the target meanwhile.
    VaultNotFound, VaultFormatError, StoreUnavailable
        If there is no vault to copy from, or none to copy to.
    VaultCorrupt
        If rows or files of the source are damaged.

    Examples
    --------
    >>> saved = vault.save("losses", {"step": 1, "loss": 0.5})
    >>> tv.copy(vault, "copy.vault")[["list", "copied_to", "versions", "rows"]]
         list copied_to  versions  rows
    0  losses    losses         1     1
    >>> tv.copy(vault, "copy.vault")["versions"].sum()
    np.int64(0)
    """
    from tablevault_pd.transfer.copy import COLUMNS, copy_vault

    names = None if lists is None else [check_name(name) for name in validate.items(lists)]
    with _opened(source, read_only=True) as origin, _opened(target, read_only=False) as goal:
        return _report(COLUMNS, copy_vault(origin.store, goal.store, names))


@public_call("tablevault_pd.merge")
def merge(sources: Iterable[Place], into: Place) -> pd.DataFrame:
    """Fold several vaults into one, as :func:`copy` does with each of them.

    A list whose name another list has is called ``source/name``, after the folder or database that it comes from; sessions of the
    same name get the next numbers (``train#2``). What was merged before is passed over, and what came since is added.

    Parameters
    ----------
    sources : list of str, paths or Vaults
        The vaults, in the order in which they choose names. Their last names must differ.
    into : str, path or Vault
        The vault that is to have all lists. A folder that is not there is made.

    Returns
    -------
    DataFrame
        As :func:`copy` returns it, for all sources.

    Raises
    ------
    InvalidInput, InvalidName, NameTaken, Conflict, VaultNotFound, VaultFormatError, StoreUnavailable, VaultCorrupt
        As :func:`copy` raises them; if two sources have the same last name.

    Examples
    --------
    >>> for node in ("node1", "node2"):
    ...     with tv.connect(f"{node}.vault", session=False) as own:
    ...         saved = own.save("losses", {"node": node})
    >>> tv.merge(["node1.vault", "node2.vault"], "all.vault")[["list", "copied_to"]]
         list     copied_to
    0  losses        losses
    1  losses  node2/losses
    """
    from tablevault_pd.transfer.copy import COLUMNS, copy_vault

    if isinstance(sources, Vault) or not hasattr(sources, "__iter__") or isinstance(sources, (str, bytes)):
        raise InvalidType(f"sources= is a list of vaults, not {short_repr(sources)}.")
    rows: list[tuple[Any, ...]] = []
    with ExitStack() as stack:
        origins = [stack.enter_context(_opened(source, read_only=True)) for source in sources]
        goal = stack.enter_context(_opened(into, read_only=False))
        prefixes = [_last_name(origin.place) for origin in origins]
        twice = {prefix for prefix in prefixes if prefixes.count(prefix) > 1}
        if twice:
            raise InvalidInput(
                f"Several sources are called {', '.join(sorted(map(short_repr, twice)))}. Rename their folders."
            )
        for origin, prefix in zip(origins, prefixes, strict=True):
            rows += copy_vault(origin.store, goal.store, None, prefix=prefix)
    return _report(COLUMNS, rows)


def _report(columns: Sequence[str], rows: Iterable[tuple[Any, ...]]) -> pd.DataFrame:
    return answer(columns, rows, versions="Int64", parents_left_out="Int64")


def _last_name(place: str) -> str:
    return PurePosixPath(place).stem


@contextmanager
def _opened(place: Place, *, read_only: bool) -> Iterator[Vault]:
    """Give the vault at a place, opened for this call unless it is one."""
    if isinstance(place, Vault):
        place._flush(info=True)
        yield place
        return
    vault = opened_beside(place, read_only=read_only)
    try:
        vault._flush(info=True)
        yield vault
    finally:
        vault.close()
