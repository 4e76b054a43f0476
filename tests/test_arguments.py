"""Every public call is given wrong arguments of every kind, and answers with an error of this package or takes them."""

from __future__ import annotations

import inspect
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
from docstrings import Documented
from torture.harness import CI

import tablevault_pd as tv

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

WRONG: list[Any] = [
    -1, 0, 5, 10**30, 1.5, float("nan"), 1j, True, "wrong", "", "  ", "x" * 300, "half \ud800", b"x", [], [None], [5], ["wrong"], (1, 2),
    {}, {"wrong": 5}, {1: 2}, slice(0, 1), object(), type, len, pd.NaT, pd.NA, Path("x"), np.array(3), np.array([1.0, np.nan]),
    np.datetime64("NaT", "ns"), pd.Series([1]), pd.DataFrame({"z": [1]}),
]  # fmt: skip

#: What arguments without a default are, while another one is wrong.
RIGHT = {
    "name": "runs", "obj": {"acc": 0.5}, "version": 1, "sha256": "0" * 64, "text": "words", "which": "nobody-*", "size": 1,
    "column": "vec", "query": [1.0, 0.0], "items": [1], "tags": "tag", "a": "runs", "b": "runs", "lists": "runs", "measure": "acc",
    "metric": "loss", "mode": "min", "Vault.sql.query": "SELECT 1",
    "List.export.path": "x.csv", "function": lambda _, **kwargs: {"size": 1}, "rows": "runs",
    "Vault.map.name": "sizes",
    "frame": {"acc": 0.5}, "figure": None, "Run.log_model.path": "model.json", "Run.log_table.name": "table", "Run.log_text.name": "note",
    "source": "v", "target": "out", "sources": [], "into": "out", "uri": "sqlite:///x.db", "folder": "logs",
}  # fmt: skip
OF_A_RUN = {
    "log",
    "log_table",
    "log_text",
    "log_figure",
    "log_model",
    "step",
    "checkpoint",
    "on_stop",
}  #: its other methods are for the recording of sessions
LEFT_OUT = {
    "Vault.close",  # takes nothing
    "Vault.backup",  # as of the next
    "Vault.export",  # its folder is any path: see test_export_refuses
    "Vault.map.function",  # raises what the function does: see test_map
    "DataFrame.map",  # is a checkpoint, too, and stop() was called before
    "connect.place",  # any path is a place: see test_connect_refuses
}


@pytest.fixture
def vault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tv.Vault]:
    monkeypatch.chdir(tmp_path)
    with tv.connect(tmp_path / "v", capture="none") as vault:
        rows = {"acc": [0.5, 0.9], "note": ["x y", "z"], "vec": [[1.0, 0.0], [0.0, 1.0]]}
        vault.save("runs", pd.DataFrame(rows))
        tv.log(step=0, loss=0.5)
        yield vault


def _calls(vault: tv.Vault) -> Iterator[tuple[str, Callable[..., Any]]]:
    frame = vault.read("runs")
    owners = {
        "Vault": vault, "List": vault["runs"], "DataFrame": frame.vault, "Series": frame["vec"].vault, "Run": vault.session("train"),
    }  # fmt: skip
    for owner, thing in owners.items():
        for name in dir(type(thing)):
            if (
                name in OF_A_RUN
                if owner == "Run"
                else not name.startswith("_") and callable(getattr(type(thing), name))
            ):
                yield f"{owner}.{name}", getattr(thing, name)
    for name in tv.__all__:
        if not isinstance(getattr(tv, name), type):
            yield name, getattr(tv, name)


def _parameters(call: Callable[..., Any]) -> list[inspect.Parameter]:
    varying = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    return [each for each in inspect.signature(call).parameters.values() if each.kind not in varying]


def _outcome(call: Callable[..., Any], documented: set[str], arguments: dict[str, Any]) -> str | None:
    """What went wrong, unless it is an error of ours that says what to do and that the docstring names."""
    try:
        bound = inspect.signature(call).bind_partial()
        bound.arguments.update(arguments)
        answer = call(*bound.args, **bound.kwargs)
        if inspect.isgenerator(answer):
            list(answer)
    except tv.VaultError as error:
        assert str(error)
        if documented.isdisjoint(each.__name__ for each in type(error).__mro__):
            return f"not documented: {type(error).__name__}: {error!s:.80}"
    except Exception as error:  # noqa: BLE001
        return f"{type(error).__name__}: {error!s:.80}"
    return None


def test_wrong_arguments_raise_documented_errors_of_ours_only(vault):
    raw = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for label, call in _calls(vault):
            parameters = _parameters(call)
            documented = set(Documented.of(label, inspect.unwrap(call)).raises)
            for number, parameter in enumerate(parameters):
                if {label, f"{label}.{parameter.name}"} & LEFT_OUT:
                    continue
                needed = {
                    each.name: RIGHT.get(f"{label}.{each.name}", RIGHT.get(each.name))
                    for each in parameters
                    if each.default is each.empty
                }
                # A number may be the id of a session that runs here: a pause would have the next checkpoint wait.
                some = WRONG if CI else WRONG[number % 3 :: 3]
                for wrong in (each for each in some if parameter.name != "which" or type(each) is not int):
                    problem = _outcome(call, documented, needed | {parameter.name: wrong})
                    if problem is not None:
                        raw.append(f"{label}({parameter.name}={wrong!r:.40}): {problem}")
    assert not raw, "\n".join(raw)


REFUSED = [
    ("read", {"name": "runs", "version": wrong}) for wrong in (1.5, "1", True, 0, -1)
] + [
    ("restore", {"name": "runs", "version": "1"}),
    ("save", {"name": "q", "obj": {"a": 1}, "kind": "wrong"}),
    ("save", {"name": "q", "obj": {"a": 1}, "kind": "document"}),
    ("save", {"name": "q", "obj": {"a": 1}, "copy": True}),
    ("save", {"name": "q", "obj": {"a": 1}, "copy": "yes"}),
    ("save", {"name": "q", "obj": {"a": 1}, "tags": 5}),
    ("save", {"name": "q", "obj": {"a": 1}, "tags": {"a": 1}}),
    ("save", {"name": "q", "obj": {"a": 1}, "description": "\ud800"}),
    ("describe", {"name": "runs", "text": "t", "label": 5}),
    ("describe", {"name": "runs", "text": "t", "vector": [float("nan")]}),
    ("describe", {"name": "runs", "text": "t", "vector": "abc"}),
    ("lineage", {"name": "runs", "columns": "acc"}),
    ("lineage", {"name": "runs", "to": 5}),
    ("lineage", {"name": "runs", "read": "no"}),
    ("read", {"name": "runs", "start": "1"}),
    ("read", {"name": "runs", "start": 0.5}),
    ("read", {"name": "runs", "as_of": 5}),
    ("read", {"name": "runs", "as_of": pd.NaT}),
    ("read", {"name": "runs", "filters": "acc = 2"}),
    ("read", {"name": "runs", "columns": "acc"}),
    ("search", {"text": "x", "k": True}),
    ("search", {"text": "x", "since": "yesterday-ish"}),
    ("search", {"text": "x", "lists": 5}),
    ("vacuum", {"dry_run": "False"}),
    ("vacuum", {"keep": True}),
    ("open_file", {"sha256": "abc"}),
    ("lists", {"deleted": "no"}),
]  # fmt: skip


@pytest.mark.parametrize(("call", "arguments"), REFUSED, ids=lambda value: str(value)[:60])
def test_wrong_arguments_are_refused_before_anything_is_written(vault, call, arguments):
    before = vault.versions()
    with pytest.raises((tv.InvalidInput, tv.InvalidFilter)):
        getattr(vault, call)(**arguments)
    assert vault.versions().equals(before)


def test_a_wrong_type_is_a_type_error_too(vault):
    with pytest.raises(TypeError, match="version= is a whole number, at least 1, not '1'"):
        vault.restore("runs", "1")
    with pytest.raises(TypeError, match="The name of a list is a str, not int: 5"):
        vault.read(5)


@pytest.mark.parametrize("wrong", [-1, True, "2", float("inf")])
def test_connect_refuses_a_timeout_that_is_no_number_of_seconds(tmp_path, wrong):
    with pytest.raises(tv.InvalidInput, match="timeout_s="):
        tv.connect(tmp_path / "v", timeout_s=wrong)
    assert not (tmp_path / "v").exists()


@pytest.mark.parametrize("wrong", [5, b"", "", "a\0b", object()])
def test_connect_and_export_refuse_what_is_no_path(vault, wrong):
    with pytest.raises(tv.InvalidInput, match="path"):
        tv.connect(wrong)
    with pytest.raises(tv.InvalidInput, match="path"):
        vault.export(wrong)
    with pytest.raises(tv.InvalidInput, match="path"):
        vault.backup(wrong)
