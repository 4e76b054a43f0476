"""Packages that only this library imported are not those that a program runs on."""

from __future__ import annotations

import importlib
import subprocess
import sys
from types import ModuleType

import pytest

from tablevault_pd import imports
from tablevault_pd.capture.environment import package_versions

NAMES = ("tv_bar", "tv_colours", "tv_program")


def test_a_package_that_only_this_library_imported_counts_once_the_program_has_a_name_for_it(
    tmp_path, monkeypatch
):
    texts = ("import tv_colours\nclass Bar: pass", "", "import tv_bar\ndef draw(): pass")
    for name, text in zip(NAMES, texts, strict=True):
        (tmp_path / f"{name}.py").write_text(text)
        folder = tmp_path / f"{name}-1.5.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Name: {name}\nVersion: 1.5\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(imports, "_loaded_here", set())
    main = ModuleType("__main__")
    monkeypatch.setitem(sys.modules, "__main__", main)

    def counted() -> set[str]:
        return {name for name, version in package_versions().items() if version == "1.5"}

    try:
        with imports.for_own_use():
            bar = importlib.import_module("tv_bar")
            assert counted() == set(), "another thread may look while it is being imported"
        assert counted() == set()
        main.progress = bar.Bar()
        assert counted() == {"tv-bar", "tv-colours"}, "it uses the other one in turn"
        del main.progress
        assert counted() == set()
        importlib.import_module("tv_program")
        assert counted() == {"tv-bar", "tv-colours", "tv-program"}
        with imports.for_own_use():
            importlib.import_module("tv_program")
        assert "tv-program" in counted(), "the program had it before"
    finally:
        for name in NAMES:
            sys.modules.pop(name, None)


def test_progress_bars_and_queries_change_no_package_of_a_session(tmp_path):
    for package in ("tqdm", "duckdb"):
        pytest.importorskip(package)
    program = (
        "import tablevault_pd as tv\n"
        "from tablevault_pd import progress\n"
        "vault = tv.connect('v')\n"
        "for longer in (False, True):\n"
        "    with vault.session('train') as s:\n"
        "        vault.save('rows', {'longer': longer})\n"
        "        if longer:\n"
        "            vault.sql('select * from rows')\n"
        "            progress._tqdm(total=1)\n"
        "        s._recorder.outbox.wait_for_environment(60)\n"
        "runs = vault.sessions('train', info=True)['packages']\n"
        "assert runs.iloc[0] == runs.iloc[1] and 'pandas' in runs.iloc[0], list(runs)\n"
    )
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, check=True, timeout=120)
