"""The quickstart does what the README promises: a first run makes the lists, a second their next versions."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits

import tablevault_pd as tv

ROOT = Path(__file__).resolve().parents[1]


def quickstart(folder: Path, *arguments: str) -> str:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TABLEVAULT_")}
    environment |= {"PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "utf-8"}
    run = subprocess.run(
        [sys.executable, ROOT / "examples" / "quickstart.py", *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        encoding="utf-8",
        timeout=300,
    )
    assert run.returncode == 0, run.stderr
    assert run.stderr == ""  # no warning of a package spoils the first thing a newcomer sees
    return run.stdout


@pytest.mark.ci
def test_two_runs_make_two_versions(tmp_path):
    first = quickstart(tmp_path)
    assert "Read back, exactly as saved: True" in first
    assert "every byte is as it was saved" in first
    assert (tmp_path / "quickstart.png").read_bytes().startswith(b"\x89PNG")
    quickstart(tmp_path, "quickstart.vault")

    with tv.connect(tmp_path / "quickstart.vault", mode="r") as vault:
        assert {name: vault[name].version for name in ("digits", "help", "artifacts")} == {
            "digits": 2,
            "help": 1,  # the same texts again make no version
            "artifacts": 2,
        }
        pictures = np.stack(vault.read("digits")["image"])
        assert np.array_equal(pictures * 16, load_digits().data)
        metrics = vault.read("metrics")
        assert metrics.groupby("run").size().tolist() == [13, 13]
        assert metrics["accuracy"].between(0.8, 1).all()
        with vault.open_file(vault.files("artifacts")["sha256"].iloc[2]) as picture:
            assert picture.read() == (tmp_path / "quickstart.png").read_bytes()
        assert vault.sessions()["state"].tolist() == ["finished", "finished"]
