"""Modules of the project are told from installed ones, and a process that has many of these finds out once."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import TYPE_CHECKING

from tablevault_pd.capture import modules
from tablevault_pd.capture.modules import ProjectModules

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def imported(monkeypatch: pytest.MonkeyPatch, name: str, file: str) -> None:
    module = ModuleType(name)
    module.__file__ = file
    monkeypatch.setitem(sys.modules, name, module)


def test_only_files_below_the_folder_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project, other = tmp_path / "project", tmp_path / "other"
    inside = ["mine.py", "lib/linked.py", "venv/site-packages/installed.py"]
    for path in [*(project / name for name in inside), other / "apart.py"]:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("A = 1\n")
    (tmp_path / "link").symlink_to(project / "lib")
    monkeypatch.chdir(project)
    imported(monkeypatch, "mine", "mine.py")
    imported(monkeypatch, "linked", str(tmp_path / "link" / "linked.py"))
    imported(monkeypatch, "installed", str(project / inside[2]))
    imported(monkeypatch, "apart", str(other / "apart.py"))
    found = ProjectModules(project).look()
    assert {name: module.path for name, module in found.items()} == {
        "mine": "mine.py",
        "linked": "lib/linked.py",
    }
    assert list(ProjectModules(other).look()) == ["apart"]


def test_a_second_session_resolves_no_path_again(tmp_path: Path) -> None:
    ProjectModules(tmp_path).look()
    before = modules._not_installed.cache_info().misses
    ProjectModules(tmp_path / "other").look()
    assert modules._not_installed.cache_info().misses == before
