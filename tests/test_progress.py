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


@pytest.mark.parametrize("notebook", [True, False])
@pytest.mark.parametrize("stream", [None, Tee(), Terminal(), closed()], ids=["none", "tee", "gone", "closed"])
def test_saving_and_stopping_work_whatever_stderr_is(tmp_path, monkeypatch, stream, notebook):
    monkeypatch.setattr(progress, "DELAY_S", 0.0)  # every bar is shown
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setattr(progress, "_in_notebook", lambda: notebook)
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


class Screen(io.StringIO):
    """A terminal that keeps what it shows."""

    def isatty(self) -> bool:
        return True


def test_a_bar_is_shown_where_somebody_looks(tmp_path, monkeypatch):
    pytest.importorskip("tqdm")
    monkeypatch.setattr(progress, "DELAY_S", 0.0)
    shown = {}
    for name, stream in (("terminal", Screen()), ("file", io.StringIO())):
        monkeypatch.setattr(sys, "stderr", stream)
        with tv.connect(tmp_path / name, session=False) as vault:
            vault.save("x", ({"a": n} for n in range(25_000)))
        shown[name] = stream.getvalue()
    assert "saving x" in shown["terminal"]
    assert "10.0k rows" in shown["terminal"]
    assert shown["file"] == ""


def test_work_of_one_step_makes_no_bar(tmp_path, monkeypatch):
    monkeypatch.setattr(progress, "_tqdm", lambda **_: pytest.fail("a bar was made"))
    with tv.connect(tmp_path / "v", session=False) as vault:
        vault.append("x", {"a": 1})
        vault.save("y", pd.DataFrame({"a": range(100)}))
        vault.read("y")


def test_a_moment_of_work_shows_nothing(tmp_path, monkeypatch):
    stream = Screen()
    monkeypatch.setattr(progress, "DELAY_S", 3600.0)
    monkeypatch.setattr(sys, "stderr", stream)
    with tv.connect(tmp_path / "v", session=False) as vault:
        vault.save("x", ({"a": n} for n in range(25_000)))
    assert stream.getvalue() == ""


def test_nothing_is_shown_without_tqdm(tmp_path, monkeypatch):
    stream = Screen()
    monkeypatch.setattr(progress, "DELAY_S", 0.0)
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setitem(sys.modules, "tqdm.auto", None)
    with tv.connect(tmp_path / "v", session=False) as vault:
        vault.save("x", ({"a": n} for n in range(25_000)))
    assert stream.getvalue() == ""


def test_a_notebook_shows_bars(tmp_path):
    """In a real kernel, whose streams are no terminals."""
    nbformat = pytest.importorskip("nbformat")
    nbclient = pytest.importorskip("nbclient")
    code = f"""
import tablevault_pd as tv
from tablevault_pd import progress
progress.DELAY_S = 0.0
vault = tv.connect({str(tmp_path / "v")!r}, session=False)
vault.save("x", ({{"a": n}} for n in range(25_000)))
vault.close()
"""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code)])
    nbclient.NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
    outputs = repr(notebook.cells[0]["outputs"])
    assert "saving x" in outputs or "widget" in outputs
    assert "IProgress" not in outputs  # no advice to install more
