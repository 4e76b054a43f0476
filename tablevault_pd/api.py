"""``connect``, the current vault, and the functions that use it."""

from __future__ import annotations

import copyreg
import os
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from tablevault_pd import validate
from tablevault_pd.capture.exits import ExitStatus
from tablevault_pd.errors import (
    InvalidInput,
    InvalidType,
    VaultClosed,
    VaultNotFound,
    VaultReadOnly,
    short_repr,
)
from tablevault_pd.keywords import public_call, takes
from tablevault_pd.names import check_version_name
from tablevault_pd.places import (
    PLACE_VARIABLE,
    STORE_OPTIONS,
    address_of,
    of_node,
    open_context,
    refuse_network_disk,
)
from tablevault_pd.progress import Bar, say
from tablevault_pd.session import CaptureMode, Recorder, Run, Settings, active
from tablevault_pd.session.metrics_buffer import named
from tablevault_pd.session.recorder import current_recorder
from tablevault_pd.session.run import run_of
from tablevault_pd.store.pinned import PinnedStore, pinned
from tablevault_pd.vault.completion import complete_names
from tablevault_pd.vault.logged import LoggedLists
from tablevault_pd.vault.options import DEFAULTS, ReadOptions
from tablevault_pd.vault.vault import Vault

if TYPE_CHECKING:
    from datetime import datetime
    from typing import Unpack

    import pandas as pd

    from tablevault_pd.session.steps import Step
    from tablevault_pd.vault.context import VaultContext

T = TypeVar("T")

_current: list[weakref.ref[Vault]] = []
_connected_before: list[str] = []  # the place that was connected last, open or closed
_keep: list[Vault] = []  # keeps the current vault open without a handle of the user


@public_call("tablevault_pd.connect")
def connect(
    place: str | os.PathLike[str] | None = None,
    *,
    session: str | Literal[False] | None = None,
    user: str | None = None,
    mode: Literal["rw", "r"] = "rw",
    at: Any = None,
    node: str | None = None,
    durability: Literal["full", "fast"] | None = None,
    timeout_s: float | None = None,
    capture: CaptureMode | None = None,
    redact: bool | None = None,
    password: str | Callable[[], str] | None = None,
    token: str | Callable[[], str] | None = None,
    create: bool | Literal["oneshard", "sharded"] = False,
    replication_factor: int | None = None,
    write_concern: int | None = None,
    verify_tls: bool | str | None = None,
    mirror: Literal["all", "search"] | None = None,
) -> Vault:
    """Open a vault, and make it the current one. A folder that is not there yet is made.

    Parameters
    ----------
    place : str or path, optional
        A folder, or a database as ``arangodb://user@host:8529/database`` (``arangodbs://`` for TLS; several coordinators
        of a cluster as ``host1:8529,host2:8529``). Default: the
        environment variable ``TABLEVAULT_URL``, else ``./vault``.
    session : str or False, optional
        What to call the session that this process opens. Default: the name of its script. ``False`` opens none: what is
        written then names no session, as fits looking after a vault.
    user : str, optional
        Who the sessions of this process, and of the processes that it starts, are recorded for. Default: the environment variable
        ``TABLEVAULT_USER``, else the user of the operating system.
    mode : {"rw", "r"}
        ``"r"`` reads only: nothing is made or changed, and no session is opened.
    at : str or time, optional
        Show every list as it was: the name of a snapshot (:meth:`Vault.snapshot`), or a datetime or Timestamp (UTC unless it
        says otherwise). Lists that were not there do not exist. Such a vault reads only. Sessions are shown as they are now.
    node : str, optional
        Of a folder on a disk that several machines share (NFS, Lustre, GPFS, SMB …): open the vault of one machine in it,
        ``place/node``. ``"auto"`` is this machine, by its host name. :func:`merge` folds the vaults of all machines into one.
    durability : {"full", "fast"}, default "full"
        ``"full"``: what was committed survives a power failure. ``"fast"``: the last seconds may be lost then, but
        never in a mere crash of the program.
    timeout_s : float, default 30
        How long to wait, in seconds, for another writer or for the server.
    capture : {"main", "all", "none"}, default "main"
        Which code the session keeps: the script or every cell of the notebook, and the modules that it imports from files
        below its own folder, or with ``"all"`` from the whole git repository; or none.
    redact : bool, default True
        Mask what looks like a password, key or token in the code, in tracebacks and in the command line.
    password : str or callable, optional
        Of the server's user, or a function that returns it. Default: the one in the URL, else the environment variable
        ``TABLEVAULT_PASSWORD``. It is never shown and never stored.
    token : str or callable, optional
        A JSON web token, instead of a user and password.
    create : bool, "oneshard" or "sharded"
        Make the database on the server if it is not there. In a cluster it is kept on one DB-Server, with its copies on
        others (OneShard), unless it is to be ``"sharded"``.
    replication_factor : int, optional
        Of a database that is made in a cluster: how many copies of it there are. Default: the cluster's.
    write_concern : int, optional
        Of such a database: how many copies must be in sync for a write to be accepted. Default: the cluster's.
    verify_tls : bool or str, default True
        Whether the server's certificate is verified, or the file of the authorities to verify it with.
    mirror : {"all", "search"}, default "all"
        Which JSON documents are written beside the rows on a server: ``"all"`` values, for queries in AQL, or only texts and
        vectors, which searches need. Rows are read and searched alike with both.

    Returns
    -------
    Vault
        Connecting again to the same place, in the same mode, shares the connection, and the session unless another one is
        named. Options left out are those of the first time then; the server checks a password or token each time one is given.

    Raises
    ------
    InvalidInput
        If an argument is wrong, or the place is open in this process with other options; if a folder that is to be written to
        lies on a disk that several machines share, and `node` is left out.
    InvalidName
        If no session, or no snapshot, can have that name.
    VaultNotFound
        With ``mode="r"`` or `at`, if there is no vault; if `place` is a relative path, and the working directory was removed.
    VersionNotFound
        If there is no snapshot of the name in `at`.
    VaultFormatError
        If the place holds something else, or a vault of a newer format.
    StoreUnavailable
        If the server cannot be reached, or refuses the user.
    MissingDependency
        If the address is that of a server, and the extra ``arango`` is not installed.

    Examples
    --------
    >>> with tv.connect("runs.vault", session="train") as runs:
    ...     saved = runs.save("losses", {"step": 1, "loss": 0.5})
    >>> tv.connect("runs.vault", mode="r").read("losses")
              step  loss
    position
    0            1   0.5
    """
    validate.choice(mode, "mode", ("rw", "r"))
    if durability is not None:
        validate.choice(durability, "durability", ("full", "fast"))
    if capture is not None:
        validate.choice(capture, "capture", ("main", "all", "none"))
    if redact is not None:
        validate.flag(redact, "redact")
    if timeout_s is not None:
        timeout_s = validate.seconds(timeout_s, "timeout_s")
    if mirror is not None:
        validate.choice(mirror, "mirror", ("all", "search"))
    user = validate.optional_text(user, "user=")
    options = {"durability": durability, "timeout_s": timeout_s, "verify_tls": verify_tls, "mirror": mirror}
    if not isinstance(create, bool):
        validate.choice(create, "create", ("oneshard", "sharded"))
    for copies, what in ((replication_factor, "replication_factor"), (write_concern, "write_concern")):
        if copies is not None:
            validate.whole(copies, what, least=1)
    credentials = {
        "password": password,
        "token": token,
        "create": create,
        "replication_factor": replication_factor,
        "write_concern": write_concern,
    }
    if at is not None:
        at = _moment(at, session)
    read_only = mode == "r" or at is not None
    address = address_of(place) if node is None else of_node(address_of(place), node)
    if node is None and not read_only:
        refuse_network_disk(address)
    shared = open_context(address, read_only, options, credentials)
    settings = Settings.of(capture or "main", redact is not False, user)
    view = None if at is None else _view(shared, at)
    if read_only or session is False:
        run = None
    else:
        run = shared.run(session, settings, {"capture": capture, "redact": redact, "user": user})
    vault = Vault(shared, run, settings, view)
    _current.append(weakref.ref(vault))
    _connected_before[:] = [vault.place]
    _keep[:] = [vault]
    complete_names(_last_connected)
    return vault


def opened_beside(place: Any, *, read_only: bool) -> Vault:
    """Open a vault without a session. The current vault stays the current one."""
    address = address_of(place)
    if not read_only:
        refuse_network_disk(address)
    credentials = dict.fromkeys(("password", "token", "replication_factor", "write_concern")) | {
        "create": False
    }
    return Vault(open_context(address, read_only, dict.fromkeys(STORE_OPTIONS), credentials), None)


def _moment(at: Any, session: Any) -> str | datetime:
    """The name of a snapshot, or a time."""
    if isinstance(session, str):
        raise InvalidInput(
            "A vault that is connected with at= reads only, and opens no session. Leave session= out."
        )
    return check_version_name(at, "snapshot") if isinstance(at, str) else validate.time(at, "at")


def _view(shared: VaultContext, at: str | datetime) -> PinnedStore:
    try:
        return pinned(shared.store, at)
    except BaseException:
        if not shared.handles:  # opened for this view alone
            shared.release(shared, ExitStatus())
        raise


def current_vault() -> Vault:
    """Return the vault connected last; the default one is connected, and made, if there is none.

    Returns
    -------
    Vault
        The one that ``tv.read``, ``df.vault`` and ``tv.log`` use.

    Raises
    ------
    VaultClosed
        If the one that was connected is closed, and there is none at the default place.

    Examples
    --------
    >>> tv.current_vault() is vault
    True
    """
    vault = _last_connected()
    return vault if vault is not None else _connect_default(make=True)


def current_vault_to_read() -> Vault:
    """Return the current vault for a call that reads; no vault is made. Raises VaultNotFound."""
    vault = _last_connected()
    return vault if vault is not None else _connect_default(make=False)


def _last_connected() -> Vault | None:
    while _current:
        vault = _current[-1]()
        if vault is not None and not vault.closed:
            return vault
        _current.pop()
        _keep.clear()
    return None


def _connect_default(*, make: bool) -> Vault:
    parent = active.parent()
    address = address_of(None if parent is None else parent.place)  # a worker uses the vault of its parent
    if "://" in address or os.path.exists(os.path.join(os.path.expanduser(address), "catalog.db")):
        return connect(address)
    if not make:
        raise VaultNotFound(
            f"No vault is connected, and there is none at the default place, {os.path.abspath(address)}. "
            f"Connect to one with tablevault_pd.connect(…), or name it in {PLACE_VARIABLE}."
        )
    if _connected_before and not os.environ.get(PLACE_VARIABLE):
        raise VaultClosed(
            f"The vault {_connected_before[0]} was closed, and there is none at the default place, {os.path.abspath(address)}. "
            "Connect to one with tablevault_pd.connect(…)."
        )
    vault = connect(address)
    say(f"tablevault_pd: no vault was connected, so a new one was made at {vault.place}.")
    return vault


def _received(place: str, session_id: int) -> Run:
    """Unpickle a session: in its own process the same one, in others a child session of that process."""
    vault = connect(place)
    for run in vault._context.sessions():
        if run.row.id == session_id:
            return run_of(run, LoggedLists(vault))
    assert vault._run is not None
    return run_of(vault._run, LoggedLists(vault))


def _sent(run: Run) -> tuple[Any, ...]:
    return _received, (run._recorder.store.place, run.id)


def _connected(place: str, mode: Literal["rw", "r"], at: str | datetime | None) -> Vault:
    return connect(place, mode=mode, at=at)


def _sent_vault(vault: Vault) -> tuple[Any, ...]:
    at = None if vault._view is None else vault._view.at
    return _connected, (vault.place, "r" if vault.store.read_only else "rw", at)


copyreg.pickle(Vault, _sent_vault)  # unpickling a vault connects to it
copyreg.pickle(Run, _sent)  # a worker that gets a session logs to its own


@public_call("tablevault_pd.read")
@takes(ReadOptions, DEFAULTS)
def read(name: str, **options: Unpack[ReadOptions]) -> pd.DataFrame:
    """Return rows of a list of the current vault. See :meth:`Vault.read`.

    Examples
    --------
    >>> losses = vault.save("losses", pd.DataFrame({"step": [1, 2], "loss": [0.9, 0.4]}))
    >>> tv.read("losses", columns=["loss"])
              loss
    position
    0          0.9
    1          0.4
    """
    return current_vault_to_read().read(name, **options)


# -- the current session


def log(
    metrics: Mapping[str, Any] | str | None = None,
    value: Any = None,
    /,
    *,
    step: int | None = None,
    **values: Any,
) -> None:
    """Record the values of some metrics of the current session. See :meth:`Run.log`.

    Examples
    --------
    >>> with vault.session("train") as s:
    ...     tv.log(step=1, loss=0.5)
    >>> vault.sessions("train")["metrics.loss"].item()
    0.5
    """
    run = _run()
    if run is None:
        raise _no_session()
    run.log(metrics if value is None else named(metrics, value), step, values)


@public_call("tablevault_pd.step")
def step(step: int) -> Step:
    """Set the step of the current session. See :meth:`Run.step`.

    Examples
    --------
    >>> with vault.session("train") as s, tv.step(7):
    ...     tv.log(loss=0.5)
    >>> vault.run("train").curve("loss")["step"].tolist()
    [7]
    """
    run = _run()
    if run is None:
        raise _no_session()
    return run.step(step)


def checkpoint() -> None:
    """Pause or stop the current session here, if that was requested. See :meth:`Run.checkpoint`.

    Examples
    --------
    >>> for batch in range(3):
    ...     tv.checkpoint()
    """
    run = _run()
    if run is not None and run.has_request:
        run.obey()


@public_call("tablevault_pd.loop")
def loop(items: Iterable[T], *, name: str = "loop", total: int | None = None) -> Iterator[T]:
    """Iterate over `items` with a progress bar, and a checkpoint before each.

    Parameters
    ----------
    items : iterable
        Anything to go through, once.
    name : str
        What the bar says.
    total : int, optional
        How many there are, if ``len(items)`` does not know.

    Returns
    -------
    iterator
        Of the items.

    Raises
    ------
    InvalidInput
        If `items` cannot be gone through, `name` is blank, or `total` is no whole number.
    SessionStopped
        While it goes through them, if somebody asked the session to stop.

    Examples
    --------
    >>> [batch for batch in tv.loop(range(3), name="batch")]
    [0, 1, 2]
    """
    if not isinstance(items, Iterable) or getattr(items, "ndim", 1) == 0:
        raise InvalidType(
            f"items= is something to go through, such as a list or a generator, not {short_repr(items)}."
        )
    return _loop(
        items,
        validate.text(name, "name="),
        None if total is None else validate.whole(total, "total", least=0),
    )


def _loop(items: Iterable[T], name: str, total: int | None) -> Iterator[T]:
    if total is None:
        try:
            total = len(items)  # type: ignore[arg-type]  # raises for objects without a length
        except TypeError:
            total = None
    with Bar(name, total=total, unit="it") as bar:
        for item in items:
            checkpoint()
            yield item
            bar(1)


def _no_session() -> Exception:
    if current_vault().store.read_only:
        return VaultReadOnly(
            "This vault is open for reading, and has no session to log to. Connect with mode='rw'."
        )
    return InvalidInput(
        "This vault was opened with session=False, and has no session to log to. Log inside of `with vault.session(…)`."
    )


def _run() -> Recorder | None:
    return current_recorder() or current_vault()._run
