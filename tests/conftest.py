"""Fixtures that every test may use."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import tablevault_pd as tv


@pytest.fixture
def vault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tv.Vault]:
    """An empty vault in a folder of its own, which must be sound when the test is done."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TABLEVAULT_URL", raising=False)
    with tv.connect(tmp_path / "test.vault") as opened:
        yield opened
        assert opened.check().empty
