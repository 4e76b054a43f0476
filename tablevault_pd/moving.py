"""``copy`` and ``merge``: vaults moved into others, from folders to servers and back."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from tablevault_pd import validate
from tablevault_pd.api import opened_beside
from tablevault_pd.errors import InvalidInput, InvalidType, VaultError, VaultNotFound, short_repr
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
    after it was interrupted, and brings a copy up to date later. Rows that are done stay done; claims that are held, and
    requests to sessions, stay behind.

    Parameters
    ----------
    source, target : str, path or Vault
        A folder, the address of a database, or an open vault. A folder that is not there is made; a database that is not there is
        made by ``tv.connect(url, create=True)``.
    lists : str or list of str, optional
        Only these lists, with what :meth:`Vault.map` notes on them, and the sessions that wrote them. Default: all, and all
        sessions.

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
    from tablevault_pd.transfer.copy import COLUMNS, check_lists, copy_vault

    names = None if lists is None else [check_name(name) for name in validate.items(lists)]
    with _opened(source, read_only=True) as origin:
        check_lists(origin.store, names)  # before a folder is made
        with _opened(target, read_only=False) as goal:
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

    places = _places(sources)
    rows: list[tuple[Any, ...]] = []
    with ExitStack() as stack:
        origins = [stack.enter_context(_opened(source, read_only=True)) for source in places]
        prefixes = [PurePosixPath(origin.place).stem for origin in origins]
        twice = {prefix for prefix in prefixes if prefixes.count(prefix) > 1}
        if twice:
            raise InvalidInput(
                f"Several sources are called {', '.join(sorted(map(short_repr, twice)))}. Rename their folders."
            )
        goal = stack.enter_context(_opened(into, read_only=False))
        for origin, prefix in zip(origins, prefixes, strict=True):
            rows += copy_vault(origin.store, goal.store, None, prefix=prefix)
    return _report(COLUMNS, rows)


@public_call("tablevault_pd.import_mlflow")
def import_mlflow(uri: str, target: Place) -> pd.DataFrame:
    """Import the runs of an MLflow tracking store as sessions, through MLflow's own client.

    A run becomes a session ``experiment/run``: parameters (numbers, truth values and lists as such, where MLflow's texts are
    written so), metrics with their steps and times, its user, state and times; tags ``name=value``; MLflow's own tags as its
    environment; a parent run as its parent. Tables of ``log_table`` become lists ``experiment/run/file``, other artifacts rows of
    the list ``mlflow/artifacts`` with their content. Importing again adds what is new, and nothing twice.

    Parameters
    ----------
    uri : str
        As for ``mlflow.set_tracking_uri``: ``http://host:5000``, ``sqlite:///mlflow.db``, ``file:///path/mlruns``.
    target : str, path or Vault
        The vault to import to. A folder that is not there is made.

    Returns
    -------
    DataFrame
        For each run: source (str: its id), session (str), params, values and rows (Int64: parameters, newly imported metric values,
        rows of tables), left_out (str). Deleted runs, models of the registry and traces are not imported.

    Raises
    ------
    InvalidInput
        If an argument is wrong, or MLflow cannot read the store.
    MissingDependency
        If MLflow is not installed.
    VaultFormatError, StoreUnavailable, VaultNotFound
        If the target is no vault.

    Examples
    --------
    >>> tv.import_mlflow("sqlite:///mlflow.db", "runs.vault")  # doctest: +SKIP
    """
    from tablevault_pd.importers.mlflow import import_runs
    from tablevault_pd.importers.runs import COLUMNS

    address = validate.text(uri, "uri")
    return _imported(COLUMNS, import_runs(address, _opened(target, read_only=False)))


@public_call("tablevault_pd.import_tensorboard")
def import_tensorboard(folder: str | os.PathLike[str], target: Place) -> pd.DataFrame:
    """Import the event files below a folder as sessions, through the package tensorboard.

    Each folder with event files is a run, and becomes a session of that name: scalars as metrics with their steps and times,
    hyperparameters as parameters. Texts become rows of the list ``folder/texts``. Importing again adds what is new, and nothing twice.

    Parameters
    ----------
    folder : str or path
        The log directory that TensorBoard is started with.
    target : str, path or Vault
        The vault to import to. A folder that is not there is made.

    Returns
    -------
    DataFrame
        For each run: source (str: its folder), session (str), params, values and rows (Int64: parameters, newly imported values,
        texts), left_out (str: how many tags of images, histograms and other kinds there are).

    Raises
    ------
    InvalidInput
        If an argument is wrong, or there are no event files.
    MissingDependency
        If tensorboard is not installed.
    VaultFormatError, StoreUnavailable, VaultNotFound
        If the target is no vault.

    Examples
    --------
    >>> tv.import_tensorboard("logs", "runs.vault")  # doctest: +SKIP
    """
    from tablevault_pd.importers.runs import COLUMNS
    from tablevault_pd.importers.tensorboard import import_folder

    place = Path(validate.path(folder, "The folder to import from"))
    return _imported(COLUMNS, import_folder(place, _opened(target, read_only=False)))


@public_call("tablevault_pd.import_trackio")
def import_trackio(folder: str | os.PathLike[str], target: Place) -> pd.DataFrame:
    """Import the projects of Trackio in a folder as sessions.

    A run becomes a session ``project/run``: its configuration as parameters, numbers that were logged as metrics with their steps and
    times, what was logged about the system as metrics ``system/…``. Tables become lists ``project/run/name``; images, sound, video
    and saved files rows of the list ``project/media`` with their content; texts, histograms and all else rows of the list
    ``project/values``. Trackio does not keep how a run ended: sessions are finished, at the time of the last value. Importing
    again adds what is new, and nothing twice.

    Parameters
    ----------
    folder : str or path
        Where Trackio keeps its projects (``TRACKIO_DIR``): one file ``project.db`` each.
    target : str, path or Vault
        The vault to import to. A folder that is not there is made.

    Returns
    -------
    DataFrame
        For each run: source (str: its id), session (str), params, values and rows (Int64: parameters, newly imported values,
        rows of tables), left_out (str: how many traces, alerts, links to artifacts, and files that are not there).

    Raises
    ------
    InvalidInput
        If an argument is wrong, or there are no projects that can be read.
    VaultFormatError, StoreUnavailable, VaultNotFound
        If the target is no vault.

    Examples
    --------
    >>> tv.import_trackio("trackio", "runs.vault")  # doctest: +SKIP
    """
    from tablevault_pd.importers.runs import COLUMNS
    from tablevault_pd.importers.trackio import import_folder

    place = Path(validate.path(folder, "The folder to import from"))
    return _imported(COLUMNS, import_folder(place, _opened(target, read_only=False)))


@public_call("tablevault_pd.import_tablevault")
def import_tablevault(url: str, target: Place) -> pd.DataFrame:
    """Import a database of TableVault 0.2: its processes as sessions, its lists as lists, its dependencies as lineage.

    A process becomes a session with its code, cell by cell, and its parent. A list becomes a list of the same name, with a
    version for each process and cell that added to it, and the parents of its rows: records with their columns; documents with their places
    (``text``, ``start``); embeddings as vectors (``embedding``); files with their ``location``, and with size, time and SHA-256 in
    ``file`` where they are here. The index ``item`` is the position that TableVault counts by. Descriptions keep their labels and vectors.
    Importing again adds what is new, and nothing twice.

    Parameters
    ----------
    url : str
        The database as ``arangodb://user@host:8529/tablevault`` (``arangodbs://`` for TLS). The password may stand in it, or in the
        environment variable ``TABLEVAULT_PASSWORD``; it is not kept. Nothing is written to that database.
    target : str, path or Vault
        The vault to import to. A folder that is not there is made.

    Returns
    -------
    DataFrame
        For each process and list: source (str: its name there), kind (str: process, record, document, embedding or file), imported_as
        (str: a session or a list), rows (Int64: newly imported rows, of a process pieces of code), left_out (str). Requests to
        processes and TableVault's log are not imported.

    Raises
    ------
    InvalidInput
        If an argument is wrong, or there is no vault of TableVault in that database.
    MissingDependency
        If the extra ``arango`` is not installed.
    NameTaken
        If the target has another list of the same name, or somebody changed an imported one. Nothing is written.
    Conflict
        If somebody writes to one of these lists meanwhile.
    VaultFormatError, StoreError, StoreUnavailable, VaultNotFound
        If the database cannot be read, or the target is no vault.

    Examples
    --------
    >>> tv.import_tablevault("arangodb://ada@localhost:8529/tablevault", "exp.vault")  # doctest: +SKIP
    """
    from tablevault_pd.importers.tablevault import COLUMNS, import_database

    address = validate.text(url, "url")
    rows = import_database(address, _opened(target, read_only=False))
    return answer(COLUMNS, rows, source="str", kind="str", imported_as="str", left_out="str")


def _imported(columns: Sequence[str], rows: Iterable[tuple[Any, ...]]) -> pd.DataFrame:
    return answer(columns, rows, source="str", params="Int64", values="Int64", left_out="str")


def _report(columns: Sequence[str], rows: Iterable[tuple[Any, ...]]) -> pd.DataFrame:
    return answer(columns, rows, versions="Int64", parents_left_out="Int64")


def _places(sources: Any) -> list[Place]:
    """The sources of a merge, as a list."""
    if not isinstance(sources, (Vault, str, bytes)):
        with suppress(TypeError):
            return list(sources)
    raise InvalidType(f"sources= is a list of vaults, not {short_repr(sources)}.")


@contextmanager
def _opened(place: Place, *, read_only: bool) -> Iterator[Vault]:
    """Give the vault at a place, opened for this call unless it is one."""
    if isinstance(place, Vault):
        place._flush(info=True)
        yield place
        return
    try:
        vault = opened_beside(place, read_only=read_only)
    except VaultNotFound as error:
        if not read_only:
            raise
        raise VaultNotFound(
            f"{str(error).partition('. mode=')[0]}, so that nothing can be copied from there."
        ) from error
    except (OSError, UnicodeError) as error:
        if isinstance(error, VaultError):
            raise
        raise InvalidInput(f"{short_repr(place)} cannot be the place of a vault: {error}") from error
    try:
        vault._flush(info=True)
        yield vault
    finally:
        vault.close()
