"""An ordinary run draws the same in every process, whatever ran there before."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torture.harness import LONG

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.skipif(LONG, reason="a long run draws what was not drawn before")


def drawn() -> list[str | int]:
    found: list[str | int] = []

    @settings(max_examples=100)
    @given(st.text() | st.integers())
    def note(value: str | int) -> None:
        found.append(value)

    note()
    return found


def test_examples_do_not_depend_on_what_is_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = drawn()
    (tmp_path / "full_of_constants.py").write_text(f"CONSTANTS = {[f'constant {n}' for n in range(50)]}")
    monkeypatch.syspath_prepend(tmp_path)
    try:
        __import__("full_of_constants")
        assert drawn() == before
    finally:
        sys.modules.pop("full_of_constants", None)


def test_a_failure_is_reported_as_drawn() -> None:
    """Shrinking can take minutes. It is left to --hypothesis-profile=shrink, which draws the same."""
    calls = 0

    @given(st.lists(st.integers()))
    def fails(values: list[int]) -> None:
        nonlocal calls
        calls += 1
        assert len(values) < 3

    with pytest.raises(AssertionError):
        fails()
    failed_at, calls = calls, 0
    with pytest.raises(AssertionError):
        fails()
    assert calls == failed_at < 30
