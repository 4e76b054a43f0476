"""Ask git for the state of the code, in the background, once at a time for all sessions of a process."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tablevault_pd.capture import environment
from tablevault_pd.store.engine.fork_guard import no_fork
from tablevault_pd.store.engine.threads import Background

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

NO_ANSWER = {"git": environment.GIT_NOT_RECORDED}


@dataclass(slots=True, eq=False)
class GitQuestion:
    """What a session wants to know of the repository around a folder."""

    folder: Path
    #: what the session's info gets of it; None until git has answered
    answer: Mapping[str, Any] | Exception | None = None


class GitQueue:
    """Answers questions one after the other. An answer is given to all that asked for its folder before git was started.

    So hundreds of short sessions start few processes, and none of them gets an answer from before its beginning. A git that does
    not answer in time is not asked for those again that have begun meanwhile: the end of the process would wait for each time.
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Begin anew. In a forked child the questions and the thread are the parent's."""
        self._waiting: list[GitQuestion] = []  # each until it is answered, whatever interrupts the work
        self.background = Background(self._work, "git")

    def ask(self, folder: Path) -> GitQuestion:
        """Ask for the state of the code as it is now, without waiting for the answer."""
        question = GitQuestion(folder)
        self._waiting.append(question)
        self.background.ask()
        return question

    def _work(self) -> None:
        while self._waiting and not self.background.stop.is_set():
            folder = self._waiting[0].folder
            questions, began = self._of(folder), time.monotonic()
            answer = _answer(folder)
            if answer == NO_ANSWER and time.monotonic() - began >= environment.GIT_TIMEOUT_S:
                questions = self._of(folder)
            for question in questions:
                question.answer = answer
                self._waiting.remove(question)

    def _of(self, folder: Path) -> list[GitQuestion]:
        return [question for question in self._waiting.copy() if question.folder == folder]


def _answer(folder: Path) -> Mapping[str, Any] | Exception:
    try:
        state = environment.git_state(folder, no_fork)
    except Exception as error:  # noqa: BLE001  # raised where the answer is used
        return error
    return {} if state is None else {"git": state}


GIT = GitQueue()

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=GIT.reset)
