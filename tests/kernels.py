"""Real kernels, a cell at a time, with the ids that front ends send."""

from __future__ import annotations

import os
import textwrap
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

jupyter_client = pytest.importorskip("jupyter_client")

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[1]


class Kernel:
    """One kernel of a notebook in `folder`."""

    def __init__(self, folder: Path, **environment: str) -> None:
        plain = {name: value for name, value in os.environ.items() if not name.startswith("TABLEVAULT_")}
        self._manager = jupyter_client.KernelManager(kernel_name="python3")
        self._manager.start_kernel(
            cwd=str(folder),
            env=plain | {"PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore"} | environment,
        )
        self._client = self._manager.client()
        self._client.start_channels()
        self._client.wait_for_ready(timeout=60)

    def run(self, text: str, id: str | None = None) -> str:  # as the front ends call it
        """Run one cell, without empty lines around it; what it printed, or the name of its error."""
        return self.send(textwrap.dedent(text).strip(), id)

    def send(self, text: str, id: str | None = None) -> str:
        """Run one cell as it is."""
        client = self._client
        content = {
            "code": text,
            "silent": False,
            "store_history": True,
            "user_expressions": {},
            "allow_stdin": False,
            "stop_on_error": False,
        }
        metadata = {} if id is None else {"cellId": id}
        message = client.session.msg("execute_request", content, metadata=metadata)
        client.shell_channel.send(message)
        printed, error = [], ""
        while True:
            answer = client.get_iopub_msg(timeout=60)
            if answer["parent_header"].get("msg_id") != message["header"]["msg_id"]:
                continue
            kind, told = answer["msg_type"], answer["content"]
            if kind == "stream" and told["name"] == "stdout":
                printed.append(told["text"])
            elif kind == "error":
                error = told["ename"]  # may come before what was printed sooner
            elif kind == "status" and told["execution_state"] == "idle":
                return "".join(printed) + error

    def close(self) -> None:
        """End the kernel."""
        self._client.stop_channels()
        self._manager.shutdown_kernel(now=False)


@contextmanager
def kernel(folder: Path, **environment: str) -> Iterator[Kernel]:
    """A kernel that is gone afterwards."""
    running = Kernel(folder, **environment)
    try:
        yield running
    finally:
        running.close()
