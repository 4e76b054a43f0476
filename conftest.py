"""What the examples in docstrings find when pytest runs them. Fixtures of the tests are in tests/conftest.py."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(autouse=True)
def docstring_examples(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    """Give a docstring's examples `pd`, `np`, `tv`, an empty folder to be in, and an open, empty `vault`."""
    if not isinstance(request.node, pytest.DoctestItem):
        yield
        return
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TABLEVAULT_URL", raising=False)
    names: dict[str, Any] = request.getfixturevalue("doctest_namespace")
    names |= {"np": np, "pd": pd}
    if not re.search(r"\b(tv|vault)\b", "".join(example.source for example in request.node.dtest.examples)):
        yield  # examples of the lower rooms need no vault: opening one would only cost time
        return
    import tablevault_pd as tv

    with tv.connect(tmp_path / "docs.vault") as vault:
        names |= {"tv": tv, "vault": vault}
        yield
