"""What git says of the code may come after the end of a session: the end does not wait for it, and nothing is said in its place."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest
from stores import Faults, faults, new_database
from test_forks import in_child, wait_until
from test_session_exits import environment as plain_environment

import tablevault_pd as tv
from tablevault_pd.capture import script
from tablevault_pd.capture.environment import package_versions
from tablevault_pd.errors import NotRecorded
from tablevault_pd.session import heartbeat
from tablevault_pd.session.git import NO_ANSWER, GitQuestion, GitQueue
from tablevault_pd.session.heartbeat import HEARTBEAT
from tablevault_pd.store import Beat, Session

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tablevault_pd.store import Store

__all__ = ["faults"]  # a fixture, used by its name

NOT_RECORDED = {"recorded": False}
IDENTITY = ("-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false")
#: The real one, once a file is there; each call leaves a line at its beginning and its end.
SLOW_GIT = """#!/bin/sh
echo "$3" >> "{folder}/calls"
while [ ! -e "{folder}/go-$3" ]; do sleep 0.01; done
"{git}" "$@"
code=$?
echo "$3 done" >> "{folder}/calls"
exit $code
"""


class SlowGit:
    """The git that processes find: it waits until it may go on, by its commands."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.real = folder, shutil.which("git") or ""
        program = folder / "git"
        program.write_text(SLOW_GIT.format(folder=folder, git=self.real))
        program.chmod(0o755)

    def go(self, *commands: str) -> None:
        for command in commands or ("rev-parse", "diff"):
            (self.folder / f"go-{command}").touch()

    def answer_first(self, vault: tv.Vault) -> None:
        """Answer what the session of ``connect()`` has asked, and no other."""
        self.go()
        vault.sessions(info=True)
        for file in self.folder.iterdir():
            if file.name != "git":
                file.unlink()

    def calls(self) -> list[str]:
        calls = self.folder / "calls"
        return calls.read_text().splitlines() if calls.exists() else []

    def run(self, *arguments: str) -> str:
        """What the real one prints."""
        done = subprocess.run([self.real, *IDENTITY, *arguments], check=True, capture_output=True, text=True)
        return done.stdout.strip()


@pytest.fixture
def git(
    here: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Iterator[SlowGit]:
    """A repository of one commit, in which this process is, and a git that does not answer yet."""
    slow = SlowGit(tmp_path_factory.mktemp("bin"))
    (here / "train.py").write_text("a = 1\n")
    (here / ".gitignore").write_text("test.vault\n")
    for words in (["init", "-q", "-b", "work"], ["add", "."], ["commit", "-qm", "one"]):
        slow.run(*words)
    monkeypatch.setattr(script, "main_file", lambda: None)
    monkeypatch.setenv("PATH", f"{slow.folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr("tablevault_pd.capture.environment.GIT_TIMEOUT_S", 60.0)
    monkeypatch.setattr(heartbeat, "FLUSH_S", 60.0)
    yield slow
    slow.go()
    HEARTBEAT.settle(60.0)


def stored(vault: tv.Vault, name: str) -> list[Session]:
    """The sessions of a name as they are in the store, without waiting for anything."""
    return vault.store.sessions(name=name, info=True)


def test_the_end_waits_for_no_git_and_its_answer_comes_later(
    git: SlowGit, vault: tv.Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    package_versions()  # known from here on
    with vault.session("short") as s:
        pass
    [row] = stored(vault, "short")
    assert (row.outcome, s.state) == ("finished", "ended")
    assert row.info["git"] == NOT_RECORDED
    assert row.info["packages"]["pandas"] == pd.__version__
    monkeypatch.setattr(heartbeat, "FLUSH_S", 0.02)
    assert vault.run("short").state == "finished"  # waits for nothing
    with pytest.warns(RuntimeWarning, match="short#1"):
        shown = vault.sessions("short", info=True).iloc[0]
    assert not shown.git_recorded
    assert shown[["git_commit", "git_branch", "git_dirty"]].isna().all()
    monkeypatch.setattr(heartbeat, "FLUSH_S", 60.0)
    git.go()
    environment = vault.run("short").environment
    assert environment["git_commit"] == git.run("rev-parse", "HEAD")
    assert (environment["git_recorded"], environment["git_branch"]) == (True, "work")
    assert stored(vault, "short") == [
        replace(row, info=stored(vault, "short")[0].info)
    ]  # nothing else changed
    wait_until(lambda: s._recorder not in HEARTBEAT._sessions)


def test_hundreds_of_short_sessions_share_few_gits_and_none_gets_an_answer_from_before_it_began(
    git: SlowGit, folder_vault: tv.Vault
) -> None:
    git.answer_first(folder_vault)
    with folder_vault.session("first"):
        wait_until(lambda: "rev-parse" in git.calls())
    git.go("rev-parse")
    wait_until(lambda: "rev-parse done" in git.calls())  # the first one's commit is known
    before = git.run("rev-parse", "HEAD")
    git.run("commit", "-q", "--allow-empty", "-m", "two")
    for _ in range(100):
        with folder_vault.session("loop"):
            pass
    git.go()
    loop = folder_vault.sessions("loop", info=True)
    assert set(loop.git_commit) == {git.run("rev-parse", "HEAD")}
    assert folder_vault.run("first").environment["git_commit"] == before
    # The second git may have been started by the first sessions of the loop, while the others were beginning.
    assert len([call for call in git.calls() if not call.endswith("done")]) <= 6


def test_closing_waits_for_the_answer(git: SlowGit, here: Path) -> None:
    vault = tv.connect(here / "v", session="s")
    closed = threading.Thread(target=vault.close)
    closed.start()
    wait_until(lambda: not [run for run in HEARTBEAT._sessions if not run.flushed.is_set()])
    assert closed.is_alive()
    git.go()
    closed.join()
    with tv.connect(here / "v", mode="r") as again:
        assert again.run("s").environment["git_commit"] == git.run("rev-parse", "HEAD")


def test_closing_waits_no_longer_than_it_may_and_says_what_is_lost(git: SlowGit, here: Path) -> None:
    vault = tv.connect(here / "v", session="s", timeout_s=0.5)
    vault._run.end(timeout_s=60)  # however busy the machine is, git alone is late
    with pytest.warns(NotRecorded, match=r"Lost: the state of git( and the packages)? of s#1"):
        vault.close()
    with tv.connect(here / "v", mode="r") as again:
        assert again.run("s").state == "finished"
        assert again.run("s").environment["git_recorded"] is False


def test_what_was_read_and_could_not_be_written_is_lost_by_name(git: SlowGit, here: Path) -> None:
    vault = tv.connect(here / "v", session="s", timeout_s=0.5)
    vault._run.end(timeout_s=60)
    with closing(sqlite3.connect(here / "v" / "catalog.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        git.go()
        wait_until(lambda: vault._run.outbox._environment.was_taken)
        with pytest.warns(NotRecorded, match="Lost: the environment of s#1"):
            vault.close()


def test_packages_do_not_wait_for_git(
    git: SlowGit, folder_vault: tv.Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A git that does not answer before the process ends loses no packages."""
    monkeypatch.setattr("tablevault_pd.capture.environment.known_versions", lambda: None)
    with folder_vault.session("short") as s:
        pass
    wait_until(lambda: "packages" in stored(folder_vault, "short")[0].info)
    assert stored(folder_vault, "short")[0].info["git"] == NOT_RECORDED
    assert s._recorder.outbox.lacking == "the state of git"
    git.go()
    environment = folder_vault.run("short").environment
    assert environment["git_commit"] == git.run("rev-parse", "HEAD")
    assert environment["packages"]["pandas"] == pd.__version__


def test_the_state_of_git_is_recorded_where_packages_cannot_be_read(
    git: SlowGit, folder_vault: tv.Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    git.go()
    folder_vault.sessions(info=True)  # of the session around it all is read
    monkeypatch.setattr("tablevault_pd.capture.environment.known_versions", lambda: None)
    monkeypatch.setattr("tablevault_pd.capture.environment.package_versions", lambda between: 1 // 0)
    with pytest.warns(RuntimeWarning, match="cannot record the environment of short#1: integer division"):
        with folder_vault.session("short") as s:
            assert s._recorder.wait_for_environment(60.0)
        wait_until(lambda: s._recorder.is_done)
    [row] = stored(folder_vault, "short")
    assert row.info["git"]["commit"] == git.run("rev-parse", "HEAD")
    assert "packages" not in row.info


@pytest.mark.parametrize(("timeout_s", "times"), [(0.0, 1), (60.0, 2)])
def test_a_git_that_does_not_answer_in_time_is_asked_once_for_all_that_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, timeout_s: float, times: int
) -> None:
    """The end of the process waits for all of them. One that fails at once may know more a moment later."""
    queue, asked = GitQueue(), []

    def answer(folder: Path) -> dict[str, Any]:
        asked.append(folder)
        if len(asked) == 1:  # begun meanwhile
            queue._waiting += [GitQuestion(tmp_path), GitQuestion(tmp_path / "other")]
        return NO_ANSWER

    monkeypatch.setattr("tablevault_pd.session.git._answer", answer)
    monkeypatch.setattr("tablevault_pd.capture.environment.GIT_TIMEOUT_S", timeout_s)
    queue._waiting.append(GitQuestion(tmp_path))
    queue._work()
    assert asked == [tmp_path] * times + [tmp_path / "other"]


def test_a_forked_child_leaves_the_answer_to_its_parent(git: SlowGit, folder_vault: tv.Vault) -> None:
    with folder_vault.session("outer") as outer:
        with folder_vault.session("inner") as inner:
            pass

        def child() -> str:
            with folder_vault.session("in child"):
                pass
            return json.dumps([inner.state, inner.id, inner._recorder.is_done, len(HEARTBEAT._sessions)])

        wait_until(lambda: "rev-parse" in git.calls())
        git.go()
        assert json.loads(in_child(child))[:3] == ["ended", inner.id, True]
    commit = git.run("rev-parse", "HEAD")
    assert [folder_vault.run(s).environment["git_commit"] for s in (outer, inner)] == [commit] * 2
    assert len(stored(folder_vault, "inner")) == 1


def test_a_session_that_ends_before_the_thread_runs_is_sent_by_the_thread(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An interrupt of the thread that waits would lose what a beat has taken: parameters, the script, packages."""
    wait_until(lambda: HEARTBEAT._thread is None)
    calls: list[object] = []
    senders = set()
    start = heartbeat.start

    def start_second(*arguments: Any) -> None:
        calls.append(arguments)
        if len(calls) > 1:  # the first one takes its time
            start(*arguments)

    monkeypatch.setattr(heartbeat, "start", start_second)
    with tv.connect(here / "v", session=False) as vault:
        beat = vault.store.beat
        monkeypatch.setattr(
            vault.store, "beat", lambda beats: senders.add(threading.current_thread()) or beat(beats)
        )
        with vault.session("short") as s:
            s.params["size"] = 1
        assert stored(vault, "short")[0].params == {"size": 1}
        assert vault.run("short").state == "finished"
    assert senders
    assert threading.current_thread() not in senders


def test_the_answer_of_an_attempt_is_not_that_of_the_next_one(git: SlowGit, vault: tv.Vault) -> None:
    git.answer_first(vault)
    with vault.session("train"):
        wait_until(lambda: "rev-parse" in git.calls())
    git.go("rev-parse")
    wait_until(lambda: "rev-parse done" in git.calls())
    git.run("commit", "-q", "--allow-empty", "-m", "two")
    with vault.session(resume="train#1"):
        git.go()
    assert vault.run("train").environment["git_commit"] == git.run("rev-parse", "HEAD")
    assert vault.run("train").attempts == 2


def test_a_beat_of_an_attempt_that_is_over_changes_no_info(store: Store) -> None:
    opened = store.open_session(Session("s", "u", "h", 1, datetime.now(UTC), info={"argv": [1]}))
    store.beat([Beat(opened.id, 1, changes={"info": {"argv": [2]}}, outcome="failed")])
    store.beat([Beat(opened.id, 2, changes={"info": {"argv": [3]}})])  # after the end
    [ended] = store.sessions([opened.id], info=True)
    assert (ended.info, ended.outcome) == ({"argv": [3]}, "failed")
    store.reopen_session(replace(ended, info={"argv": [4]}), last_beat=ended.heartbeat)
    store.beat([Beat(opened.id, 3, changes={"info": {"argv": [5]}}, attempt=0)])
    store.change_tags(sessions=[opened.id], add=["late"])
    store.beat(
        [
            Beat(opened.id, 1, changes={"info": {"argv": [6]}}, attempt=1),
            Beat(opened.id, 4, changes={"info": {}}, attempt=0),
        ]
    )
    [resumed] = store.sessions([opened.id], info=True)
    assert (resumed.info, resumed.tags, resumed.outcome) == ({"argv": [6]}, ("late",), None)


@pytest.mark.arango
def test_a_late_answer_is_one_request_or_part_of_one(
    git: SlowGit, faults: Faults, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heartbeat, "WATCH_S", 60.0)
    package_versions()  # known from here on
    with new_database(faulty=True) as url, tv.connect(url, create=True, session=False) as vault:
        for name in ("a", "b", "c"):
            with vault.session(name):
                pass
        wait_until(lambda: all(run.awaits_environment for run in HEARTBEAT._sessions))
        faults.reset()
        git.go()
        HEARTBEAT.settle(60.0, vault.store)
        assert faults.requests() == 1
        assert vault.sessions(info=True)["git_commit"].nunique() == 1


SCRIPT = """
import os, signal, sys, tablevault_pd as tv
vault = tv.connect("v", session=False)
with vault.session("short"):
    pass
print("ended", flush=True)
if "kill" in sys.argv:
    os.kill(os.getpid(), signal.SIGKILL)
"""


def process(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    """A script whose session has ended, without an answer of git."""
    (folder / "train.py").write_text(SCRIPT)
    command = [sys.executable, "train.py", *arguments]
    variables = plain_environment() | {"PATH": os.environ["PATH"]}
    started = subprocess.Popen(command, cwd=folder, env=variables, stdout=subprocess.PIPE, text=True)
    assert started.stdout is not None
    assert started.stdout.readline() == "ended\n"
    return started


@pytest.mark.ci
def test_the_end_of_a_process_waits_for_the_answer(git: SlowGit, here: Path) -> None:
    with process(here) as started:
        git.go()
        assert started.wait(60) == 0
    with tv.connect(here / "v", mode="r") as vault:
        environment = vault.run("short").environment
    assert environment["git_commit"] == git.run("rev-parse", "HEAD")
    assert environment["git_dirty"] is True


def short_task(place: str) -> None:
    """A task of a pool: its vault stays open."""
    with tv.connect(place, session=False).session("short"):
        pass


@pytest.mark.ci
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_task_of_a_pool_waits_for_the_answer_as_the_pool_kills_its_workers(
    git: SlowGit, here: Path
) -> None:
    with multiprocessing.get_context("fork").Pool(1) as pool:
        result = pool.apply_async(short_task, [str(here / "v")])
        wait_until(lambda: "rev-parse" in git.calls())
        assert not result.ready()
        git.go()
        result.get(60)
    with tv.connect(here / "v", mode="r") as vault:
        assert vault.run("short").environment["git_recorded"] is True


@pytest.mark.ci
def test_a_session_of_a_killed_process_says_that_its_git_state_is_not_recorded(
    git: SlowGit, here: Path
) -> None:
    with process(here, "kill") as started:
        started.wait(60)
    git.go()
    with tv.connect(here / "v", session=False) as vault:
        with vault.session("other"):
            pass
        assert vault.sessions("short")["outcome"].tolist() == ["finished"]
        environment = vault.run("short").environment
        told = vault.differences("short", "other").query("what == 'git'")
    assert environment["git_recorded"] is False
    assert not {"git_commit", "git_dirty"} & environment.keys()
    assert told[["name", "a"]].values.tolist()[0] == ["commit", "not recorded"]
