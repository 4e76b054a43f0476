"""Real kernels run real notebooks: which cells are kept, how they ended, and that nobody is disturbed."""

from __future__ import annotations

import os
import re
import textwrap
from pathlib import Path

import pytest

import tablevault_pd as tv

nbformat = pytest.importorskip("nbformat")
nbclient = pytest.importorskip("nbclient")

ROOT = Path(__file__).resolve().parents[1]


def execute(folder: Path, *cells: str):
    """Run a notebook of these cells; those after an error are run too."""
    notebook = nbformat.v4.new_notebook()
    notebook.cells = [nbformat.v4.new_code_cell(textwrap.dedent(cell).strip()) for cell in cells]
    plain = {name: value for name, value in os.environ.items() if not name.startswith("TABLEVAULT_")}
    client = nbclient.NotebookClient(
        notebook,
        timeout=60,
        kernel_name="python3",
        allow_errors=True,
        resources={"metadata": {"path": str(folder)}},
    )
    client.execute(env=plain | {"PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore::RuntimeWarning"})
    return notebook


def printed(cell) -> str:
    return "".join(output.get("text", "") for output in cell.outputs if output.output_type == "stream")


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """One notebook with everything that cells do, and its vault as other processes see it."""
    folder = tmp_path_factory.mktemp("notebook")
    (folder / "other.py").write_text(
        "import tablevault_pd as tv\ntv.current_vault().save('from_run', {'a': 1})\n"
    )
    (folder / "nested.ipynb").write_text(
        nbformat.writes(
            nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("vault.save('from_nested', {'a': 2})")])
        )
    )
    notebook = execute(
        folder,
        "before = 'not kept: nobody has connected yet'",
        "# connects here\nimport tablevault_pd as tv\nvault = tv.connect('v', session='nb')\nvault.save('first', {'a': 1});",
        "assert False",
        "%%time\nx = sum(range(10))",
        "import asyncio\nawait asyncio.sleep(0.05)\nvault.save('second', {'a': 1});",
        "import os, signal, time\nos.kill(os.getpid(), signal.SIGINT)\ntime.sleep(5)",
        "%run other.py",
        "%run nested.ipynb",
        "password = 'topsecret'",
        "def f():\n    raise ValueError('deep')\nf()",
        "this is no python",
        "with vault.session('sweep', params={'lr': 1}) as s:\n    s.log(loss=1.0)\n    vault.save('third', {'a': 1})",
        "vault.stop('nb')\nfor _ in range(600): tv.checkpoint(); time.sleep(0.1)\nprint('never')",
        "print('the kernel goes on')",
        "vault.stop('nb')\nfor _ in range(600): tv.checkpoint(); time.sleep(0.1)\nprint('never')",
        "vault.close()",
        "print([c for e in ('pre_run_cell', 'post_run_cell') for c in get_ipython().events.callbacks[e] if 'tablevault' in c.__module__])",
        "print('showtraceback' not in vars(get_ipython()))",
    )
    with tv.connect(folder / "v", mode="r") as vault:
        yield notebook, vault


def test_every_cell_is_kept_as_typed_from_the_connecting_one_on(ran):
    notebook, vault = ran
    found = vault.cells("nb")
    typed = [cell.source for cell in notebook.cells[1:16]]
    typed[typed.index("password = 'topsecret'")] = "password = '[masked]'"
    assert found.text.tolist() == typed
    assert found.cell.tolist() == list(range(len(typed)))
    assert found.execution_count.tolist() == [cell.execution_count for cell in notebook.cells[1:16]]
    assert found.started.is_monotonic_increasing
    assert (found.duration_s >= 0).all()


def test_how_each_cell_ended(ran):
    _, vault = ran
    found = vault.cells("nb").set_index("text")
    assert found.outcome["assert False"] == "error"
    assert found.error["assert False"] == "AssertionError"
    assert "assert False" in found.traceback["assert False"]
    assert "IPython" not in found.traceback["assert False"]
    interrupted = found[found.index.str.contains("SIGINT")].iloc[0]
    assert (interrupted.outcome, interrupted.error) == ("interrupted", "KeyboardInterrupt")
    deep = found[found.index.str.startswith("def f")].iloc[0]
    assert deep.error == "ValueError: deep"
    assert deep.traceback.count("f()") >= 1
    assert found.error["this is no python"].startswith("SyntaxError")
    assert found.duration_s[found.index.str.startswith("import asyncio")].item() >= 0.05
    stopped = found[found.index.str.contains("never")]
    assert (
        stopped.error.str.startswith("SessionStopped: nb#1 was asked to stop by nb#1 (").tolist()
        == [True] * 2
    )
    assert stopped.outcome.tolist() == ["interrupted"] * 2
    assert found.outcome["%run other.py"] == "ok"


def test_batches_name_the_cell_that_wrote_them(ran):
    _, vault = ran
    cells = vault.cells().set_index(["session", "cell"]).text
    wrote = {row.list: cells[(row.session, row.cell)] for row in vault.versions().itertuples()}
    assert "connects here" in wrote["first"]
    assert "asyncio" in wrote["second"]
    assert wrote["from_run"] == "%run other.py"
    assert wrote["from_nested"] == "%run nested.ipynb"
    assert vault.versions("third").session.tolist() == ["sweep#1"]
    assert "vault.session('sweep'" in wrote["third"]


def test_a_stop_ends_the_cell_and_not_the_kernel(ran):
    notebook, vault = ran
    assert all("never" not in printed(cell) for cell in notebook.cells)
    assert printed(notebook.cells[13]).strip() == "the kernel goes on"
    assert vault.sessions("nb").state.tolist() == ["finished"]


def test_a_stop_is_told_in_one_quiet_line(ran):
    notebook, _ = ran
    for cell in (notebook.cells[12], notebook.cells[14]):
        assert [output.output_type for output in cell.outputs] == ["stream"]
        assert re.fullmatch(
            r"nb#1 was asked to stop by nb#1 \(.+\) at [-0-9]+ [:0-9]+ UTC\.", printed(cell).strip()
        )
    assert printed(notebook.cells[17]).strip() == "True", "IPython shows exceptions itself again"


def test_closing_removes_the_hooks_and_cells_print_nothing_of_ours(ran):
    notebook, vault = ran
    assert printed(notebook.cells[16]).strip() == "[]"
    assert vault.cells("nb").text.iloc[-1] == "vault.close()"
    quiet = [printed(notebook.cells[index]) for index in (1, 4, 8)]
    assert quiet == ["", "", ""]


@pytest.mark.ci
def test_a_restarted_kernel_is_a_new_run_and_a_broken_tracker_disturbs_nobody(tmp_path):
    execute(tmp_path, "import tablevault_pd as tv\nvault = tv.connect('v', session='nb')", "1 / 0")
    notebook = execute(
        tmp_path,
        "import tablevault_pd as tv\nvault = tv.connect('v', session='nb')",
        "import shutil, time\nfrom tablevault_pd.session import active\nactive._cell_started = None\nactive._hooks[0]._started = None",
        "print('fine')",
        "active._hooks[0]._ended = None\nshutil.rmtree('v')",
        "tv.log(loss=1)\ntv.checkpoint()\ntime.sleep(1)\nprint('still fine')",
    )
    assert [printed(notebook.cells[index]).strip() for index in (2, 4)] == ["fine", "still fine"]
    assert all(output.output_type != "error" for cell in notebook.cells for output in cell.outputs)


def test_two_runs_of_a_notebook(tmp_path):
    for _ in range(2):
        execute(tmp_path, "import tablevault_pd as tv\nvault = tv.connect('v', session='nb')", "1 / 0")
    with tv.connect(tmp_path / "v", mode="r") as vault:
        found = vault.sessions()
        assert found.session.tolist() == ["nb#1", "nb#2"]
        assert found.state.tolist() == ["finished", "finished"]
        assert vault.cells("nb#2").outcome.tolist() == ["ok", "error"]
        assert vault.cells("nb").session.unique().tolist() == ["nb#1", "nb#2"]
