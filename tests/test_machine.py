"""Random histories of a vault against a plain dictionary of lists of rows."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from torture.harness import times

import tablevault_pd as tv

NAMES = st.sampled_from(["a", "b/c", "über @ all".replace("@", "at")])
ROWS = st.lists(
    st.fixed_dictionaries(
        {"n": st.floats(width=32) | st.none(), "t": st.text("ab é\x00🌍", max_size=3) | st.none()},
        optional={"more": st.integers(-(2**53), 2**53)},
    ),
    max_size=6,
)


def frame(rows: list[dict], repeat: int = 1) -> pd.DataFrame:
    """The rows with settled dtypes; `more` only if some row has it."""
    columns = {"n": "float64", "t": "str" if int(pd.__version__[0]) >= 3 else "string", "more": "Int64"}
    used = ["n", "t"] + (["more"] if any("more" in row for row in rows) else [])
    data = {name: pd.Series([row.get(name) for row in rows] * repeat, dtype=columns[name]) for name in used}
    return pd.DataFrame(data)


def same(value: Any, other: Any) -> bool:
    return value == other or (pd.isna(value) and pd.isna(other))


def plain(df: pd.DataFrame) -> list[tuple]:
    return [
        tuple(None if pd.isna(cell) else cell for cell in row)
        for row in df.itertuples(index=False, name=None)
    ]


class History(RuleBasedStateMachine):
    """Every version of every list is remembered as a list of rows; None marks a delete."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.vault = tv.connect(self.folder / "v", durability="fast")
        self.model: dict[str, list[list[dict] | None]] = {}

    def teardown(self) -> None:
        assert self.vault.check().empty
        self.vault.close()
        shutil.rmtree(self.folder)

    @rule(name=NAMES, rows=ROWS, repeat=st.sampled_from([1, 1, 1, 20_000]))
    def save(self, name: str, rows: list[dict], repeat: int) -> None:
        versions = self.model.setdefault(name, [])
        saved = self.vault.save(name, frame(rows, repeat))
        content = rows * repeat
        if not versions or versions[-1] is None or not self._equal(versions[-1], content):
            versions.append(content)
        assert saved.version == len(versions)

    def _equal(self, a: list[dict], b: list[dict]) -> bool:
        """Same columns and same cells: saving that again makes no version."""
        return bool(
            frame(a).columns.equals(frame(b).columns)
            and plain(frame(a)) == plain(frame(b))
            and signs(a) == signs(b)
        )

    @rule(name=NAMES, rows=ROWS)
    def append(self, name: str, rows: list[dict]) -> None:
        versions = self.model.get(name)
        if versions and versions[-1] is None:
            with pytest.raises(tv.ListDeleted):
                self.vault.append(name, frame(rows))
            return
        before = versions[-1] if versions else []
        self.vault.append(name, frame(rows))
        self.model.setdefault(name, []).append([*(before or []), *rows])

    @rule(name=NAMES)
    def delete(self, name: str) -> None:
        versions = self.model.get(name)
        if not versions or versions[-1] is None:
            with pytest.raises(tv.ListNotFound):
                self.vault.delete(name)
            return
        self.vault.delete(name)
        versions.append(None)

    @rule(name=NAMES, data=st.data())
    def restore(self, name: str, data: st.DataObject) -> None:
        versions = self.model.get(name)
        if not versions:
            return
        target = data.draw(st.integers(1, len(versions)))
        content = versions[target - 1]
        if content is None:
            with pytest.raises(tv.VersionNotFound):
                self.vault.restore(name, target)
            return
        before = len(self.vault.versions(name))
        restored = self.vault.restore(name, target)
        if restored.version == before + 1:
            versions.append(content)
        else:  # nothing to do: it already shows that content
            assert restored.version == before == len(versions)
            assert versions[-1] is not None
            assert len(versions[-1]) == len(content)

    @rule()
    def compact(self) -> None:
        self.vault.compact()

    @rule()
    def reopen(self) -> None:
        self.vault.close()
        self.vault = tv.connect(self.folder / "v", durability="fast")

    @precondition(lambda self: self.model)
    @rule(data=st.data())
    def read(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.model)))
        version = data.draw(st.integers(1, len(self.model[name])))
        content = self.model[name][version - 1]
        if content is None:
            with pytest.raises(tv.ListDeleted):
                self.vault.read(name, version=version)
            return
        start = data.draw(st.none() | st.integers(-8, 8))
        stop = data.draw(st.none() | st.integers(-8, 8))
        got = self.vault.read(f"{name}@{version}", start=start, stop=stop)
        expected = content[start:stop]
        assert got["n"].isna().tolist() == [missing(row["n"]) for row in expected]
        for column in got.columns:
            assert all(
                same(a, b) for a, b in zip(got[column], [row.get(column) for row in expected], strict=True)
            )
        assert got.index.tolist() == list(range(len(content)))[start:stop]
        assert got.index.name == "position"
        positive = self.vault.read(name, version=version, filters=[("n", ">", 0)], columns=["t"])
        wanted = [i for i, row in enumerate(content) if not missing(row["n"]) and row["n"] > 0]
        assert positive.index.tolist() == wanted

    @invariant()
    def listing(self) -> None:
        lists = self.vault.lists()
        shown = {name: versions for name, versions in self.model.items() if versions[-1] is not None}
        assert lists["name"].tolist() == sorted(shown)
        assert lists["rows"].tolist() == [len(shown[name][-1] or []) for name in sorted(shown)]
        assert lists["version"].tolist() == [len(shown[name]) for name in sorted(shown)]


def missing(value: float | None) -> bool:
    return value is None or value != value


def signs(rows: list[dict]) -> list[str]:
    return ["" if missing(row["n"]) else str(row["n"])[0] for row in rows]


TestHistory = History.TestCase
TestHistory.settings = settings(
    max_examples=times(12),
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
