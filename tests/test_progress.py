"""Progress and warnings never stand in the way of the work, whatever sys.stderr is."""

from __future__ import annotations

import io
import sys

import pandas as pd
import pytest

import tablevault_pd as tv
from tablevault_pd import progress


class Tee:
    """The usual class that copies what is printed to a file: it has no isatty()."""

    def write(self, text: str) -> int:
        return len(text)

    def flush(self) -> None:
        pass


class Terminal(Tee):
    """A terminal that goes away while something is shown."""

    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> int:
        raise BrokenPipeError("gone")


def closed() -> io.StringIO:
    stream = io.StringIO()
    stream.close()
    return stream


@pytest.mark.parametrize("stream", [None, Tee(), Terminal(), closed()], ids=["none", "tee", "gone", "closed"])
def test_saving_and_stopping_work_whatever_stderr_is(tmp_path, monkeypatch, stream):
    monkeypatch.setattr(progress, "PATIENCE_S", -1.0)  # every bar is shown
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setattr(progress, "_somebody_looks", lambda: True)  # as in a notebook
    with tv.connect(tmp_path / "v") as vault:
        vault.save("x", ({"a": n} for n in range(3)))
        assert list(tv.loop(range(3))) == [0, 1, 2]
        assert len(vault.check()) == 0
        with pytest.raises(tv.SessionStopped), vault.session("s") as s:
            s.on_stop(lambda: 1 / 0)
            vault.stop("s", wait_s=0)
            while True:
                s.checkpoint()
        assert vault.read("x").equals(pd.DataFrame({"a": [0, 1, 2]}, index=pd.RangeIndex(3, name="position")))
