"""Notebooks without a kernel: an IPython shell in a process of its own, which runs cells one by one."""

from __future__ import annotations

import json
import os
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from warm import run

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SHELL = "IPython.core.interactiveshell"
_DRIVER = """
import json
cells, answers = open("cells"), open("answers", "w")
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance()
shell.history_manager.enabled = False
for line in cells:
    id, text, asked = json.loads(line)
    if text:
        shell.run_cell(text, store_history=True, cell_id=id).raise_error()
    answer = eval(asked, shell.user_ns) if asked else None
    print(json.dumps(answer), file=answers, flush=True)
"""


class Shell:
    """A running shell in `folder`."""

    def __init__(self, folder: Path) -> None:
        (folder / "kernel.py").write_text(_DRIVER)
        for name in ("cells", "answers"):
            (folder / name).unlink(missing_ok=True)
            os.mkfifo(folder / name)
        self._ended: list[tuple[int, str]] = []
        self._thread = threading.Thread(
            target=lambda: self._ended.append(run(folder, "kernel.py", imports=SHELL)), daemon=True
        )
        self._thread.start()
        self._cells = (folder / "cells").open("w")
        self._answers = (folder / "answers").open()

    def run(self, id: str, text: str) -> None:  # as the front ends call it
        """Run a cell, which has that id."""
        self._send(id, text, "")

    def ask(self, expression: str) -> Any:
        """The value of an expression, outside of any cell."""
        return self._send("", "", expression)

    def _send(self, *what: str) -> Any:
        print(json.dumps(what), file=self._cells, flush=True)
        answer = self._answers.readline()
        if not answer:
            self._thread.join()
            raise AssertionError(f"{what}: {self._ended[0][1]}")
        return json.loads(answer)

    def close(self) -> None:
        """End the process, as a kernel ends."""
        self._cells.close()
        self._thread.join()
        self._answers.close()
        assert self._ended[0][0] == 0, self._ended[0][1]


@contextmanager
def shell(folder: Path) -> Iterator[Shell]:
    """A shell that is gone afterwards."""
    running = Shell(folder)
    try:
        yield running
    finally:
        running.close()
