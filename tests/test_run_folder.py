"""A run written into a folder: its code, packages, parameters and versions, to run it again."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
import warm

import tablevault_pd as tv
from tablevault_pd.cli.commands import main
from tablevault_pd.store import Beat, Cell, ModuleSource, Session

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

NOW = datetime(2026, 1, 1, tzinfo=UTC)
HELPER = "def double(n):\n    return 2 * n  # größer\n"
SCRIPT = """\
import tablevault_pd as tv
from lib.helper import double

with tv.connect("v", session=False) as vault, vault.session("fit", params={"rate": 0.5}):
    rows = vault.read("rows")
    rows.assign(twice=double(rows["n"])).vault.save("out")
"""


def recorded(
    vault: tv.Vault, *, cells: dict[str | None, str], modules: Sequence[tuple[str, str]] = (), **info: Any
) -> tv.RunInfo:
    """A session of which this is recorded."""
    store = vault.store
    session = store.open_session(Session("fit", "u", "h", 1, NOW, params={"rate": 1.0}))
    for number, (path, text) in enumerate(cells.items()):
        store.put_cell(Cell(session.id, number, text, NOW, path=path, execution_count=number + 1))
    sources = tuple(
        ModuleSource(session.id, path, f"{number:064}", text, f"m{number}", number)
        for number, (path, text) in enumerate(modules)
    )
    store.beat([Beat(session.id, sources=sources, changes={"info": info})])
    return vault.run("fit")


def test_a_run_is_written_to_a_folder_and_runs_there_again(here: Path, capsys: pytest.CaptureFixture[str]):
    project = here / "project"
    (project / "lib").mkdir(parents=True)
    (project / "lib/helper.py").write_text(HELPER, encoding="utf-8")
    with tv.connect(project / "v", session=False) as vault:
        vault.save("rows", [{"n": 1}, {"n": 2}])
        warm.script(project, SCRIPT)
        vault.save("rows", [{"n": 5}])  # the run has read another version
        folder = vault.run("fit#1").export(here / "again")
        written = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
        assert written == {"train.py", "lib/helper.py", "requirements.txt", "run.json"}
        assert (folder / "train.py").read_bytes() == (project / "train.py").read_bytes()
        assert (folder / "lib/helper.py").read_bytes() == (project / "lib/helper.py").read_bytes()
        about = json.loads((folder / "run.json").read_text())
        assert (about["session"], about["params"], about["argv"]) == ("fit#1", {"rate": 0.5}, ["train.py"])
        assert (about["read"], about["wrote"]) == (["rows@1"], ["out@1"])
        lines = (folder / "requirements.txt").read_text().splitlines()
        packages = vault.run("fit#1").environment["packages"]
        assert lines[1:] == sorted(f"{name}=={version}" for name, version in packages.items())
        with pytest.raises(tv.InvalidInput, match="not an empty folder"):
            vault.run("fit#1").export(folder)
    assert main(["code", "fit", "--export", str(here / "cli"), "--vault", str(project / "v")]) == 0
    assert "lib/helper.py" in capsys.readouterr().out
    assert (here / "cli/run.json").read_bytes() == (folder / "run.json").read_bytes()

    tv.copy(project / "v", folder / "v")
    with tv.connect(folder / "v", session=False) as copy:
        copy.restore("rows", 1)
        code, errors = warm.run(folder, "train.py")
        assert code == 0, errors
        assert copy.code_diff("fit#1", "fit#2") == ""
        assert set(copy.compare("out@1", "out@2")["status"]) == {"same"}


HOSTILE = [
    "../x.py",
    "/x.py",
    "a/../../x.py",
    "..",
    ".",
    "",
    "a\\x.py",
    "C:x.py",
    "a\0.py",
    "run.json",
    "cells.ipynb",
]


def test_nothing_is_written_outside_of_the_folder(sessionless_vault, here: Path):
    for path in [*HOSTILE, str(here / "x.py")]:
        for cells, modules in (({path: "evil"}, []), ({"train.py": "x = 1"}, [(path, "evil")])):
            run = recorded(sessionless_vault, cells=cells, modules=modules, packages={})
            with pytest.raises(tv.InvalidInput, match="nothing was written"):
                run.export(here / "out")
    for modules in ([("a", "x"), ("a/b.py", "y")], [("a/b.py", "x"), ("a", "y")], [("a" * 300, "x")]):
        run = recorded(sessionless_vault, cells={"train.py": "x = 1"}, modules=modules, packages={})
        with pytest.raises(tv.StorageError):
            run.export(here / "out")
    (here / "link").symlink_to(here / "test.vault")
    with pytest.raises(tv.VaultError):
        recorded(sessionless_vault, cells={"train.py": "x = 1"}, packages={}).export(here / "link")
    assert {path.name for path in here.iterdir()} <= {"test.vault", "link"}


def test_of_packages_only_names_and_versions_come_into_the_requirements(sessionless_vault, here: Path):
    packages = {
        "numpy": "2.0.1",
        "odd": "1\n--index-url=http://evil",
        "-r x": "1",
        "none": None,
        "local": "1.0+cu12",
    }
    run = recorded(sessionless_vault, cells={"train.py": "x = 1"}, python="3.12.1", packages=packages)
    with pytest.warns(
        UserWarning, match="leaves out what pip cannot install by its version: '-r x', 'none', 'odd'"
    ):
        run.export(here / "out")
    assert (here / "out/requirements.txt").read_text() == "# Python 3.12.1\nlocal==1.0+cu12\nnumpy==2.0.1\n"
    with pytest.warns(UserWarning, match=r"The packages of fit#2 are not recorded"):
        recorded(sessionless_vault, cells={"-c": "x = 1"}).export(here / "two")
    assert (here / "two/command.py").read_text() == "x = 1"


def test_cells_are_a_notebook_and_what_changed_is_what_it_was_last(sessionless_vault, here: Path):
    nbformat = pytest.importorskip("nbformat")
    run = recorded(
        sessionless_vault,
        cells={None: "%time x = 1"},
        modules=[("m.py", "a = 1"), ("m.py", "a = 2")],
        packages={},
    )
    with pytest.warns(UserWarning, match="'m.py' changed while fit#1 ran: what it was last is written"):
        run.export(here / "out")
    assert (here / "out/m.py").read_text() == "a = 2"
    notebook = nbformat.read(here / "out/cells.ipynb", as_version=4)
    nbformat.validate(notebook)
    assert [(cell.source, cell.execution_count) for cell in notebook.cells] == [("%time x = 1", 1)]
    empty = recorded(sessionless_vault, cells={})
    with pytest.raises(tv.InvalidInput, match="No code of fit#2 is kept"):
        empty.export(here / "none")
    with pytest.raises(tv.InvalidType, match="folder is a path"):
        run.export(5)
    for folder in (".", "..", here):
        with pytest.raises(tv.InvalidInput, match="not an empty folder"):
            run.export(folder)
