"""Bytes that change in every kind of file of a vault: no crash, no wrong row, and damage of content is always told."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from torture import mutations
from torture.harness import COUNTS, PROCESSES, SEED, times

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("world")
    process = PROCESSES.Process(target=mutations.make_world, args=(folder / "v",))
    process.start()
    process.join()
    assert process.exitcode == 0
    return folder


@pytest.mark.parametrize("kind", mutations.KINDS)
def test_no_change_of_bytes_becomes_rows(world: Path, tmp_path: Path, kind: str) -> None:
    print(f"repeat it with TABLEVAULT_SEED={SEED}")
    here, there = PROCESSES.Pipe(duplex=False)
    process = PROCESSES.Process(
        target=mutations.run_mutations,
        args=(world, tmp_path / "case", kind, SEED, times(36, ordinary=3), there),
    )
    process.start()
    there.close()
    counted, wrong = here.recv()
    process.join()
    COUNTS.update(counted)
    assert not wrong, "\n".join(wrong)
