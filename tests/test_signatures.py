"""The keywords of public calls: the same wherever a call is handed on, completed in a notebook, and refused if misspelt."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest

import tablevault_pd as tv
from tablevault_pd.accessor import FrameAccessor, SeriesAccessor

if TYPE_CHECKING:
    from collections.abc import Callable

#: A call, the one it hands its options on to, and which parameters of that one it has not, since it knows them itself.
HANDED_ON = [
    (tv.read, tv.Vault.read, {"self"}),
    (tv.List.read, tv.Vault.read, {"name"}),
    (tv.List.save, tv.Vault.save, {"name"}),
    (tv.List.append, tv.Vault.save, {"name"}),
    (tv.Vault.append, tv.Vault.save, set()),
    (FrameAccessor.save, tv.Vault.save, {"obj"}),
    (FrameAccessor.append, tv.Vault.save, {"obj"}),
    (SeriesAccessor.save, tv.Vault.save, {"obj"}),
    (SeriesAccessor.append, tv.Vault.save, {"obj"}),
    (tv.Vault.append, tv.Vault.upsert, {"drop_missing"}),
    (tv.List.upsert, tv.Vault.upsert, {"name"}),
    (FrameAccessor.upsert, tv.Vault.upsert, {"obj"}),
    (FrameAccessor.map, tv.Vault.map, {"rows"}),
    (tv.List.delete_rows, tv.Vault.delete_rows, {"name"}),
    (tv.List.erase, tv.Vault.erase, {"name"}),
    (tv.List.history, tv.Vault.history, {"name"}),
    (tv.List.search, tv.Vault.search, {"lists"}),
    (FrameAccessor.search, tv.Vault.search, {"lists", "as_of"}),
    (tv.List.versions, tv.Vault.versions, {"name"}),
    (tv.List.describe, tv.Vault.describe, {"name"}),
    (tv.List.delete, tv.Vault.delete, {"name"}),
    (FrameAccessor.lineage, tv.Vault.lineage, {"name", "rows"}),
    (FrameAccessor.parents, tv.Vault.lineage, {"name", "rows", "direction"}),
    (FrameAccessor.children, tv.Vault.lineage, {"name", "rows", "direction"}),
    (tv.log, tv.Run.log, {"self"}),
]


def _label(value: Any) -> str:
    return getattr(value, "__qualname__", "")


@pytest.mark.parametrize(("call", "target", "known"), HANDED_ON, ids=_label)
def test_a_call_that_hands_options_on_has_those_of_the_other(call, target, known):
    mine, other = inspect.signature(call).parameters, inspect.signature(target).parameters
    assert mine.keys() == other.keys() - known
    for name, parameter in mine.items():
        assert parameter.annotation == other[name].annotation, name
        if (call.__name__, name) not in {("parents", "depth"), ("children", "depth")}:  # one step, there
            assert parameter.default == other[name].default, name


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("tv.read(", {"columns=", "filters=", "as_of="}),
        ("vault.append('runs', df, ", {"schema=", "expect="}),
        ("runs.read(", {"columns=", "version="}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_notebook_completes_the_keywords(folder_vault, typed, expected):
    jedi = pytest.importorskip("jedi", reason="Jedi completes in notebooks")
    df = pd.DataFrame({"x": [1]})
    names = {"tv": tv, "df": df, "vault": folder_vault, "runs": folder_vault.save("runs", df)}
    found = {each.name for each in jedi.Interpreter(typed, [names]).complete(1, len(typed))}
    assert found >= expected


def _options(call: Callable[..., Any]) -> list[str]:
    """Return the names that can be given as keywords."""
    parameters = inspect.signature(call).parameters.values()
    return [each.name for each in parameters if each.name != "self" and each.kind is not each.VAR_POSITIONAL]


def _takes_any_name(call: Callable[..., Any]) -> bool:
    return any(each.kind is each.VAR_KEYWORD for each in inspect.signature(call).parameters.values())


def _public_calls() -> list[Any]:
    """Return every public function and method that has options, and none of the user's own naming."""
    owners = {
        "Vault": tv.Vault,
        "List": tv.List,
        "RunInfo": tv.RunInfo,
        "df.vault": FrameAccessor,
        "series.vault": SeriesAccessor,
    }
    calls = {f"tablevault_pd.{name}": getattr(tv, name) for name in tv.__all__}
    calls |= {
        f"{label}.{name}": getattr(owner, name) for label, owner in owners.items() for name in dir(owner)
    }
    return [
        pytest.param(label, call, id=label)
        for label, call in calls.items()
        if inspect.isfunction(call)
        and not call.__name__.startswith("_")
        and not _takes_any_name(call)
        and _options(call)
    ]


@pytest.mark.parametrize(("label", "call"), _public_calls())
def test_a_misspelt_option_is_refused_with_the_name_of_the_call_and_of_the_option(label, call):
    options = _options(call)
    for option in options:
        misspelt = next(each for each in (f"{option}x", f"{option}xx") if each not in options)
        with pytest.raises(tv.InvalidInput) as refused:
            call(**{misspelt: 1})
        assert isinstance(refused.value, TypeError)
        assert str(refused.value).startswith(f"{label}() has no option {misspelt!r}. Did you mean ")
        assert repr(option) in str(refused.value)


def test_an_option_that_resembles_none_is_answered_with_those_there_are(folder_vault):
    with pytest.raises(
        tv.InvalidInput, match=r"Vault.vacuum\(\) has no option 'zzz'. It has deleted, dry_run, keep."
    ):
        folder_vault.vacuum(zzz=1)
