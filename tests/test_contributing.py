"""The pages for contributors name what is there: rooms, steps of the check, files."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ARCHITECTURE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")


def test_the_page_on_architecture_names_every_room():
    rooms = ARCHITECTURE[ARCHITECTURE.index("| room |") :].partition("\n\n")[0]
    package = ROOT / "tablevault_pd"
    folders = {f"{path.name}/" for path in package.iterdir() if (path / "__init__.py").is_file()}
    modules = {path.name for path in package.glob("*.py") if not path.name.startswith("__")}
    assert {name for name in folders | modules if f"`{name}`" not in rooms} == set()


def test_the_page_for_contributors_names_every_step_of_the_check():
    steps = runpy.run_path(str(ROOT / "check.py"))["STEPS"]
    assert {step for step in steps if f"`{step}`" not in CONTRIBUTING} == set()


@pytest.mark.parametrize("page", [ARCHITECTURE, CONTRIBUTING], ids=["architecture", "contributing"])
def test_the_files_they_name_are_there(page):
    places = (ROOT, ROOT / "tablevault_pd")
    named = re.findall(r"`((?:[\w.-]+/)+[\w.-]*|\w+\.(?:py|toml))`", page)
    inside = {
        "commits.log",
        "files/",
        "write.lock",
        "files.lock",
        "catalog.db",
        "indexes/",
        "keys/",
    }  # of a vault's folder
    inside |= {"site/"}  # made by mkdocs
    missing = [
        name for name in named if name not in inside and not any((place / name).exists() for place in places)
    ]
    assert [name for name in missing if not any((ROOT / "tablevault_pd").rglob(name.rstrip("/")))] == []


def test_the_page_of_promises_names_tests_that_there_are():
    page = (ROOT / "docs" / "guarantees.md").read_text(encoding="utf-8")
    named = re.findall(r"`((?:torture/)?test_\w+\.py)(?:::(\w+))?`", page)
    assert len(named) > 30
    for file, test in named:
        assert not test or f"def {test}(" in (ROOT / "tests" / file).read_text(encoding="utf-8"), (file, test)
