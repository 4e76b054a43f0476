"""A session to read, finished or running: parameters, metrics, environment, cells, reads and writes."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
import pandas as pd

from tablevault_pd.capture.environment import project_folder
from tablevault_pd.display import printable_lines
from tablevault_pd.errors import InvalidInput, did_you_mean, short_repr
from tablevault_pd.keywords import public
from tablevault_pd.progress import warn
from tablevault_pd.reading import liveness
from tablevault_pd.reading import reports as answers
from tablevault_pd.reading.integers import integer_metrics, whole
from tablevault_pd.session.executed import folder_of_project
from tablevault_pd.session.heartbeat import HEARTBEAT
from tablevault_pd.validate import path as path_of

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Mapping

    import pyarrow as pa

    from tablevault_pd.code.diff import CodeDiff
    from tablevault_pd.store import Cell, Session, Store


@public("RunInfo")
class RunInfo:
    """One session, as it was when :meth:`Vault.run` was called.

    Attributes
    ----------
    label, name, run, id : str, str, int, int
        ``"train#3"`` and its parts, and its number in the vault.
    state : str
        running, paused, finished, failed, stopped or lost.
    started, ended : Timestamp
        In UTC; `ended` is None while it goes on.
    user, host, pid, parent : str, str, int, str
        Who ran it, where, as which process, and the session that started it.
    error : str
        Why it failed, else None.
    attempts : int
        1, and one more for each time it was resumed.
    params : dict
        Its parameters, nested as they were given.
    tags : tuple of str
        Its tags.
    metrics : dict of float or int
        The last value of each metric; an int where nothing but integers was logged of it. :meth:`curve` has all.
    environment : dict
        argv, cwd, executable, python, platform, packages, git_commit, git_branch, git_dirty and more about the git
        state, git_recorded, host, user and pid; without those that are not known. ``git_recorded`` is False where git has not
        answered, or was not waited for; outside of a repository it is left out.

    Examples
    --------
    >>> with vault.session("train", params={"lr": 0.1}) as s:
    ...     s.log(loss=0.5)
    >>> vault.run("train")
    <Session 'train#1': finished>
      params: lr=0.1
      metrics: loss=0.5
    """

    def __init__(self, store: Store, session: Session) -> None:
        self._store = store
        overview = liveness.overview(store, [session.id])
        (self._session,) = overview.sessions
        self.state = self._session.state(overview.time)
        self.params = deepcopy(dict(self._session.params))
        self.metrics = _last_values(store, session.id, overview.latest)

    @property
    def vault_id(self) -> str:
        """The id of the vault it is in."""
        return self._store.vault_id

    @property
    def id(self) -> int:
        """Its number in its vault."""
        return self._session.id

    @property
    def name(self) -> str:
        """Its name."""
        return self._session.name

    @property
    def run(self) -> int:
        """Which run of its name it is, counted from 1."""
        return self._session.run

    @property
    def label(self) -> str:
        """``name#run``."""
        return self._session.label

    @property
    def tags(self) -> tuple[str, ...]:
        """Its tags. :meth:`Vault.tag` adds and removes them."""
        return self._session.tags

    @property
    def started(self) -> pd.Timestamp:
        """When it began, in UTC."""
        return pd.Timestamp(self._session.started)

    @property
    def ended(self) -> pd.Timestamp | None:
        """When it ended, in UTC; None while it runs."""
        return None if self._session.ended is None else pd.Timestamp(self._session.ended)

    @property
    def error(self) -> str | None:
        """Why it failed."""
        return self._session.error

    @property
    def attempts(self) -> int:
        """How often it was begun: 1 if it was never resumed."""
        return self._session.attempt + 1

    @property
    def user(self) -> str:
        """Who ran it."""
        return self._session.user

    @property
    def host(self) -> str:
        """The machine it ran on."""
        return self._session.host

    @property
    def pid(self) -> int:
        """Its process there."""
        return self._session.pid

    @property
    def parent(self) -> str | None:
        """The session that started it, as ``name#run``."""
        return answers.labels_of(self._store, [self._session.parent]).get(self._session.parent)

    @property
    def environment(self) -> dict[str, Any]:
        """Its environment: argv, cwd, python, packages, git commit, host …; see the class. Waits up to two seconds for git."""
        HEARTBEAT.flush(self._store, info=True)
        (session,) = self._store.sessions([self.id], info=True)
        return answers.environment(session)

    def curve(self, *names: str) -> pd.DataFrame:
        """Return all logged values of some metrics, as logged.

        Parameters
        ----------
        *names : str
            Metrics. Default: all.

        Returns
        -------
        DataFrame
            step (Int64, missing where none was given), time (datetime64[us, UTC]), value (float64, or Int64 where nothing but
            integers was logged); unless one metric is named, before them metric (str). :meth:`Vault.metrics` tells the
            attempts of a resumed run apart.

        Raises
        ------
        InvalidInput
            If the session has not logged such a metric.

        Examples
        --------
        >>> with vault.session("train") as s:
        ...     s.log(step=0, loss=0.5, acc=0.8)
        ...     s.log(step=1, loss=0.25)
        >>> vault.run("train").curve("loss")[["step", "value"]]
           step  value
        0     0   0.50
        1     1   0.25
        """
        unknown = [name for name in names if name not in self.metrics]
        if unknown:
            raise InvalidInput(
                f"{self.label} has not logged {', '.join(map(short_repr, unknown))}. "
                f"Its metrics: {', '.join(map(repr, self.metrics)) or 'none'}."
            )
        frame = answers.curves(self._store, [self._session], list(names) or None).drop(columns="session")
        return frame.drop(columns="metric") if len(names) == 1 else frame

    def cells(self) -> pd.DataFrame:
        """Return the code it ran, in order.

        Returns
        -------
        DataFrame
            As of :meth:`Vault.cells`.

        Examples
        --------
        >>> with vault.session("train"):
        ...     pass
        >>> vault.run("train").cells().columns.tolist()[:3]
        ['session', 'cell', 'text']
        """
        return answers.cells(self._store, [self._session])

    def git_diff(self, folder: str | os.PathLike[str] | None = None) -> CodeDiff:
        """Return how the files it ran differ from the git commit it ran at: what was not committed then.

        Compared are the script and the project's modules, as they are kept in the vault. Cells of a notebook are not, which a warning
        says: a commit has files. What was masked as a secret differs.

        Parameters
        ----------
        folder : path, optional
            The project in a git repository that has the commit, such as a clone. Default: where the session ran, if that is
            there, else the present project.

        Returns
        -------
        CodeDiff
            A str, a unified diff; empty where the files are those of the commit. A notebook shows both sides beside each other.

        Raises
        ------
        InvalidInput
            If no commit or no file of the session is recorded, as of a notebook without modules of its own, or the repository has no
            such commit.

        Examples
        --------
        >>> print(vault.run("train").git_diff())  # doctest: +SKIP
        --- 1a2b3c4/train.py
        +++ train#1/train.py
        @@ -3 +3 @@
        -model = Ridge(alpha=1.0)
        +model = Ridge(alpha=0.1)
        """
        from tablevault_pd.code.git_diff import git_diff

        environment = self.environment
        if not environment.get("git_commit"):
            raise InvalidInput(
                f"No git commit is recorded of {self.label}: it ran outside of a repository, or git did not answer."
            )
        texts = {source.path: source.text for source in self._store.sources([self.id])}
        cells = self._store.cells([self.id])
        texts |= {cell.path: cell.text for cell in cells if cell.path is not None}
        texts = {path: text for path, text in texts.items() if path not in ("-c", "<stdin>")}
        if not texts:
            raise InvalidInput(
                f"No script and no module of {self.label} is kept, to be compared with its commit. {self._about(cells)}"
            )
        if any(cell.path is None for cell in cells):
            warn(f"Only modules of {self.label} were compared with its commit. {self._about(cells)}")
        project = _project(environment, texts) if folder is None else project_folder(Path(folder).resolve())
        return git_diff(texts, environment["git_commit"], project, self.label)

    def _about(self, cells: Iterable[Cell]) -> str:
        typed = sum(cell.path is None for cell in cells)
        of_notebook = "Cells of a notebook or prompt are no files of a commit: " if typed else ""
        other = f", vault.code_diff({self.label!r}, other) compares it with another session" if typed else ""
        return f"{of_notebook}vault.cells({self.label!r}) shows its code{other}."

    def export(self, folder: str | os.PathLike[str]) -> Path:
        """Write its code and what it ran with into a folder, to run it again.

        Its script and the project's modules have the paths that they had in the project; cells of a notebook are ``cells.ipynb``,
        and what had no file ``command.py``. ``requirements.txt`` has Python and the packages that were imported, for ``pip install -r``;
        ``run.json`` the parameters, the command line, the git commit, and the versions of lists that it ``read`` and ``wrote``. Other
        files that it used are not in a vault. What was masked as a secret is masked here, too.

        Parameters
        ----------
        folder : path
            A folder that is not there yet, or is empty.

        Returns
        -------
        Path
            The folder.

        Raises
        ------
        InvalidInput
            If no code of the session is kept, a path leads out of the folder, or `folder` is not empty.
        InvalidType
            If `folder` is no path.
        StorageError
            If the system cannot write there.

        Examples
        --------
        >>> with vault.session("train", params={"lr": 0.1}):
        ...     pass
        >>> vault.run("train").export("again")  # doctest: +SKIP
        PosixPath('again')
        """
        from tablevault_pd.session.run_folder import write_run

        target = Path(path_of(folder, "folder"))
        environment = self.environment
        versions = {"read": self.read(), "wrote": self.written()}
        about = {
            what: [f"{name}@{version}" for name, version in zip(frame["list"], frame["version"], strict=True)]
            for what, frame in versions.items()
        }
        write_run(
            target,
            self.label,
            self._store.cells([self.id]),
            self._store.sources([self.id]),
            environment,
            {"params": self.params, **about},
        )
        return target

    def written(self) -> pd.DataFrame:
        """Return the versions that it wrote, and those that it confirmed: their rows were there, and it made equal ones.

        Returns
        -------
        DataFrame
            As of :meth:`Vault.versions`, then made (``"written"`` or ``"confirmed"``).

        Examples
        --------
        >>> with vault.session("train"):
        ...     saved = vault.save("losses", {"loss": 0.5})
        >>> vault.run("train").written()[["list", "version", "made"]]
             list  version     made
        0  losses        1  written
        """
        return answers.versions_made_by(self._store, self.id)

    def read(self) -> pd.DataFrame:
        """Return the versions that it read, in the order of first reading.

        Returns
        -------
        DataFrame
            list (str), version (Int64).

        Examples
        --------
        >>> saved = vault.save("news", ["Storm"])
        >>> with vault.session("train"):
        ...     news = vault.read("news")
        >>> vault.run("train").read()
           list  version
        0  news        1
        """
        reads = self._store.reads([self.id])
        return answers.answer(("list", "version"), [(name, version) for _, name, version in reads])

    def __getattr__(self, name: str) -> NoReturn:
        """Say where something is that a session to read has not."""
        hint = _ELSEWHERE.get(name) or (
            "" if name.startswith("_") else did_you_mean(name, [part for part in dir(self) if part[0] != "_"])
        )
        raise AttributeError(f"A RunInfo has no attribute {name!r}. {hint}".rstrip(), name=name, obj=self)

    def __repr__(self) -> str:
        lines = [f"<Session {self.label!r}: {self.state}{f', {self.error}' if self.error else ''}>"]
        for what, values in (("params", self.params), ("metrics", self.metrics)):
            if values:
                lines.append(f"  {what}: " + ", ".join(f"{name}={_short(values[name])}" for name in values))
        if self.tags:
            lines.append("  tags: " + ", ".join(self.tags))
        return printable_lines("\n".join(lines))

    def _repr_html_(self) -> str:
        from tablevault_pd.display import session_html

        rows = [("started", f"{self.started:%Y-%m-%d %H:%M:%S} UTC"), ("by", f"{self.user}@{self.host}")]
        rows += [("error", self.error)] if self.error else []
        rows += [("tags", ", ".join(self.tags))] if self.tags else []
        values = {f"params.{name}": value for name, value in self.params.items()}
        values |= {f"metrics.{name}": _short(value) for name, value in self.metrics.items()}
        return session_html(self.label, self.state, rows, values)


#: What is looked for at a session to read, and is elsewhere.
_ELSEWHERE = {
    "code": "The code that it ran: .cells(), and vault.sources(run) for modules; that of rows: df.vault.code().",
    "plot": "A picture of its curves: .curve(…).vault.plot().",
    "rows": "The versions that it wrote: .written().",
}
_ELSEWHERE |= {"config": "Its parameters: .params.", "data": "What it logged: .metrics, .curve('loss')."}
_ELSEWHERE |= dict.fromkeys(
    ("summary", "history"), "What it logged: .metrics has the last values, .curve('loss') all."
)
_ELSEWHERE |= {name: f"It is a call of the vault: vault.{name}(run)." for name in ("stop", "pause", "resume")}
_ELSEWHERE |= dict.fromkeys(
    ("log", "log_table", "step", "checkpoint"),
    "It is read only. What is written to is what vault.session(…) returns; resume= goes on with a run.",
)


def _last_values(store: Store, session_id: int, latest: pa.Table) -> dict[str, float]:
    values = dict(sorted(zip(latest["metric"].to_pylist(), latest["value"].to_pylist(), strict=True)))
    candidates = [name for name, value in values.items() if whole(np.array(value))]
    integers = integer_metrics(store, {name: [session_id] for name in candidates})
    return {name: int(value) if name in integers else value for name, value in values.items()}


def _project(environment: Mapping[str, Any], paths: Iterable[str]) -> Path:
    """The folder of the project that a session ran in, if one of these files still is there; else the present one."""
    argv, cwd = environment.get("argv") or [""], environment.get("cwd") or ""
    for folder in (Path(cwd, argv[0]).parent, Path(cwd)):
        project = project_folder(folder.resolve())
        if any((project / path).exists() for path in paths):
            return project
    return folder_of_project()


def _short(value: Any) -> str:
    if not isinstance(value, float):
        return short_repr(value, 40)
    text = f"{value:.6g}"
    return text if set(text) & set(".en") else f"{text}.0"  # 1.0, and no 1; 1e+20, inf and nan stay
