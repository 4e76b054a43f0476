"""Random notebooks through several kernels: what is stale, slices and search by code, against what running them says."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from torture.harness import COUNTS, run, times

if TYPE_CHECKING:
    from pathlib import Path

pytest.importorskip("IPython", reason="IPython is not installed")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not hasattr(os, "fork"), reason="each life of a kernel is a forked process"),
]

RUN = "import sys, programs; programs.main(*sys.argv[1:])"


def test_what_is_stale_and_the_slices_of_rows_are_what_running_the_notebooks_says(tmp_path: Path) -> None:
    count = times(6, ordinary=4)
    assert run(RUN, tmp_path, "v", 0, count, timeout_s=600, PYTHONWARNINGS="ignore") == ""
    COUNTS["random notebooks"] = count
