"""The part of a :class:`Vault` that asks sessions, wherever they run, to stop, pause and go on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tablevault_pd import validate
from tablevault_pd.session.requests import ask
from tablevault_pd.vault.base import VaultPart

if TYPE_CHECKING:
    import pandas as pd

    from tablevault_pd.store import ControlKind


class Control(VaultPart):
    """The part of a :class:`Vault` that asks sessions to stop, pause and go on."""

    def stop(self, which: Any, *, exit_code: int = 0, wait_s: float = 0.0) -> pd.DataFrame:
        """Ask sessions, on whatever machine, to stop at their next checkpoint.

        Parameters
        ----------
        which : str, int, session, DataFrame or a list of these
            A name or a pattern (``"sweep-*"``): those of its runs that live; where none does, the latest, which says so.
            Or ``"train#2"``, an id, or a frame from :meth:`sessions`.
        exit_code : int
            What their process is to exit with.
        wait_s : float
            Wait up to so many seconds until all have acknowledged.

        Returns
        -------
        DataFrame
            session (str), request (str), state (str), requested and acknowledged (datetime64[us, UTC]). Of a session that
            has ended nothing is asked: its state says so.

        Raises
        ------
        SessionNotFound
            If a name or an id is not there. A pattern or a frame may match no session.
        InvalidInput
            If `which` names no sessions, `exit_code` is not from 0 to 255, or `wait_s` is no number of seconds.
        VaultReadOnly
            If the vault is open for reading.

        Examples
        --------
        >>> with vault.session("train"):
        ...     asked = vault.stop("train")
        >>> asked[["session", "request", "state"]]
           session request    state
        0  train#1    stop  running
        """
        exit_code = validate.whole(exit_code, "exit_code", least=0, most=255)
        return self._ask(which, "stop", exit_code=exit_code, wait_s=wait_s)

    def pause(self, which: Any, *, wait_s: float = 0.0) -> pd.DataFrame:
        """Ask sessions to wait at their next checkpoint until :meth:`resume` or :meth:`stop`.

        See :meth:`Vault.stop`, which takes and returns the same.

        Examples
        --------
        >>> with vault.session("train"):
        ...     asked = vault.pause("train")
        >>> asked[["session", "request", "state"]]
           session request    state
        0  train#1   pause  running
        """
        return self._ask(which, "pause", wait_s=wait_s)

    def resume(self, which: Any, *, wait_s: float = 0.0) -> pd.DataFrame:
        """Let paused sessions go on.

        See :meth:`Vault.stop`, which takes and returns the same.

        Examples
        --------
        >>> with vault.session("train"):
        ...     asked = vault.resume("train")
        >>> asked[["session", "request"]]
           session request
        0  train#1  resume
        """
        return self._ask(which, "resume", wait_s=wait_s)

    def _ask(self, which: Any, request: ControlKind, *, wait_s: float, exit_code: int = 0) -> pd.DataFrame:
        self._check_writable()
        wait_s = validate.seconds(wait_s, "wait_s")
        return ask(self.store, which, request, exit_code=exit_code, wait_s=wait_s, **self._by())
