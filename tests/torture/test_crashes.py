"""Every call stopped at each of its durable steps, by an exit, a full disk, a failing disk, or Ctrl-C."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from torture import crashes
from torture.harness import CI, COUNTS, LONG, PROCESSES

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("world")
    crashes.make_world(folder / "v")
    return folder


@pytest.mark.parametrize("name", crashes.OPERATIONS)
def test_a_call_that_is_stopped_has_been_made_or_not(world: Path, tmp_path: Path, name: str) -> None:
    """All cases in a long run; in others one of each call, in CI two."""
    number = list(crashes.OPERATIONS).index(name)
    some = [(3 * number % 9, crashes.ACTIONS[number % 4])]
    if CI:
        some.append(((5 * number + 4) % 9, crashes.ACTIONS[(number + 2) % 4]))
    here, there = PROCESSES.Pipe(duplex=False)
    process = PROCESSES.Process(
        target=crashes.run_cases, args=(name, world, tmp_path / "case", None if LONG else some, there)
    )
    process.start()
    there.close()
    done, wrong = here.recv()
    process.join()
    COUNTS.update(done)
    assert not wrong, "\n".join(wrong)
