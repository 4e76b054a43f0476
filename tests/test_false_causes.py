"""What is no cause: code that runs again in a resumed session, and what was not recorded."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys

import pytest
from stores import BOTH, new_place
from test_causes import in_both
from warm import script

import tablevault_pd as tv
from tablevault_pd.analysis.evidence import UNRECORDED
from tablevault_pd.analysis.facts import NOT_RECORDED, NOTHING_RECORDED, different

# -- sessions that were killed and resumed


RESUMED = """
    import os, signal, sys
    import pandas as pd
    import tablevault_pd as tv
    vault = tv.connect({place!r}, session=False)
    def score(n):
        return [n, {rest}]
    def train(n):
        with vault.session(f"run-{{n}}", params={{"n": n}}, resume=True):
            vault.append("begun", {{"n": n}}, inputs=False)
            if "crash" in sys.argv:
                os.kill(os.getpid(), signal.SIGKILL)
            rows = pd.DataFrame({{"id": [1, 2], "pred": score(n)}})
            rows.vault.save("preds", key="id", inputs=False)
    train(int(sys.argv[1]))
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="kills processes")
@pytest.mark.parametrize("kind", BOTH)
def test_code_that_a_resumed_session_has_as_before_is_no_cause(tmp_path, kind):
    """Each attempt of a script begins with all that it defines: what the killed one executed is not there a second time."""
    with new_place(kind, tmp_path) as place, in_both(place) as vault:
        text = RESUMED.format(place=place.address, rest=0)
        for arguments in (["1"], ["2", "crash"], ["2", "crash"]):
            script(tmp_path, text, *arguments, fails="crash" in arguments)
        assert not vault.code_diff("run-1", "run-2")  # neither attempt came to its end
        script(tmp_path, text, "2")
        assert vault.sessions("run-2")["attempts"].tolist() == [3]
        why = vault.compare("preds@1", "preds@2", measure="pred").why()
        assert set(zip(why["what"], why["name"], strict=True)) == {("parameter", "n")}
        assert not vault.code_diff("run-1", "run-2")
        assert not vault.code_diff("preds@1", "preds@2")
        whole = vault.read("begun").query("n == 2").vault.code(whole=True)
        assert len(whole["text"]) == len(set(whole["text"])) > 5
        script(tmp_path, RESUMED.format(place=place.address, rest=5), "3", "crash", fails=True)
        script(tmp_path, text, "3")  # repaired: what counts is what ran last
        assert not vault.code_diff("run-1", "run-3")


# -- what was not recorded


SHORT = """
    import os, signal, sys, threading
    import pandas as pd
    import tablevault_pd as tv
    from tablevault_pd.capture import environment
    n = int(sys.argv[1])
    if n == 1:  # the packages are never read to their end
        environment.package_versions = lambda *_: threading.Event().wait()
    vault = tv.connect({place!r}, session=False)
    with vault.session("run", params={{"n": n}}):
        rows = pd.DataFrame({{"id": [1, 2], "pred": [n, 0]}}).set_index("id")
        rows.vault.save("preds", inputs=False)
        if n == 1:
            os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="kills processes")
@pytest.mark.parametrize("kind", BOTH)
def test_packages_that_were_not_recorded_are_told_as_such_and_are_no_cause(tmp_path, kind):
    """Of a process that was killed before they were read it is not known whether it had others."""
    with new_place(kind, tmp_path) as place, in_both(place) as vault:
        for n in (1, 2):
            script(tmp_path, SHORT.format(place=place.address), str(n), fails=n == 1)
        for a, b, shown in ((1, 2, ["not recorded", "recorded"]), (2, 1, ["recorded", "not recorded"])):
            why = vault.compare(f"preds@{a}", f"preds@{b}", measure="pred").why()
            assert set(zip(why["what"], why["name"], why["evidence"], strict=True)) == {
                ("parameter", "n", "the only difference")
            }
            for sides in ((f"preds@{a}", f"preds@{b}"), (f"run#{a}", f"run#{b}")):
                upstream = vault.differences(*sides).query("what == 'package'")
                assert upstream[["name", "a", "b"]].values.tolist() == [["all packages", *shown]]
                assert upstream["evidence"].tolist() == [UNRECORDED]
                environment = vault.environment_diff(*sides).query("what == 'package'")
                assert environment[["name", "a", "b"]].values.tolist() == [["all packages", *shown]]


def test_rows_that_no_session_wrote_have_an_environment_that_is_not_recorded(sessionless_vault):
    """In a vault that was opened without a session."""
    vault = sessionless_vault
    vault.save("preds", {"pred": 1})
    with vault.session("run"):
        vault.save("preds", {"pred": 2})
    upstream = vault.differences("preds@1", "preds@2").query("what in ['package', 'python', 'host']")
    assert upstream[["what", "a"]].values.tolist() == [
        [what, "not recorded"] for what in ("package", "python", "host")
    ]
    causes = vault.compare("preds@1", "preds@2", on="position", measure="pred").why()["what"]
    assert not {"package", "python"} & set(causes)


KNOWN = {
    ("package", "all packages"): "recorded",
    ("package", "numpy"): "2.4",
    ("python", "python"): "3.13",
    ("python", "platform"): "Linux",
    ("git", "commit"): "abc",
    ("git", "dirty"): False,
    ("parameter", "lr"): 1,
}


@pytest.mark.parametrize(
    ("other", "told"),
    [
        (KNOWN, []),
        (KNOWN | {("package", "numpy"): "2.5"}, [("package", "numpy")]),
        (KNOWN | {("package", "pandas"): "3.0"}, [("package", "pandas")]),
        (
            {fact: value for fact, value in KNOWN.items() if fact[0] != "package"}
            | {("package", "all packages"): NOT_RECORDED, ("git", "dirty"): True},
            [("package", "all packages"), ("git", "dirty")],
        ),
        (
            {**NOTHING_RECORDED, ("parameter", "lr"): 2},
            [("parameter", "lr"), ("package", "all packages"), ("python", "python"), ("git", "commit")],
        ),
    ],
)
def test_of_a_part_that_one_side_has_not_recorded_that_alone_is_told(other, told):
    for sides in ([KNOWN, other], [other, KNOWN]):
        assert sorted(fact for fact in different(sides) if fact[0] not in ("host", "argv")) == sorted(told)


# -- parameters that have no value of their own


PARAMETERS = """
import collections, dataclasses, datetime, decimal, enum, functools, json, pathlib, re, types, warnings
import numpy as np, pandas as pd
from tablevault_pd.session.params import Params
class Color(enum.Enum): RED = 1
class Plain:
    def run(self): pass
class Holder:
    def __repr__(self): return f"Holder({Plain()!r}, loss={score!r})"
def score(rows): pass
@dataclasses.dataclass
class Model:
    loss: object = score
    names: frozenset = frozenset("abcdefgh")
    inner: object = dataclasses.field(default_factory=Plain)
given = {
    "mean": np.mean, "sum": sum, "own": score, "lambda": lambda x: x, "class": Plain, "method": Plain().run,
    "partial": functools.partial(score, set("abcdefgh"), by=np.mean), "cached": functools.lru_cache(score), "module": json,
    "words": set("abcdefgh"), "mixed": {1, "a", (1, 2), None, float("nan")}, "sets": {frozenset("abc"), frozenset("xyz")},
    "functions": {score, np.mean, sum}, "keys": {frozenset("abcdefgh"): 1, score: 2, Color.RED: 3, (1, 2): 4},
    "scalars": [np.float32(0.5), np.int8(3), np.bool_(True), np.datetime64("2026-01-01")],
    "arrays": [np.eye(2), np.array([{"b", "a", "c"}, score], dtype=object)], "pandas": [pd.Series([1]), pd.Index(["a"])],
    "times": [pd.Timestamp("2026-01-01", tz="UTC"), pd.Timedelta("1D"), datetime.date(2026, 1, 1), pd.Period("2026")],
    "path": pathlib.PurePosixPath("a/b"), "enum": Color.RED, "model": Model(), "types": [list[int], int | None, np.float64],
    "others": [decimal.Decimal("1.0"), re.compile("a"), b"a", 1j, slice(1), np.dtype("f8"), np.random.default_rng(0)],
    "object": Plain(), "holder": Holder(), "deep": {"a": [Plain(), types.SimpleNamespace(f=score)]},
    "counts": collections.Counter("abca"),
}
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    params = Params(given).plain()
    Params(given)
told = [params, sorted(str(warning.message).partition(" only")[0] for warning in caught)]
"""


@pytest.mark.ci
def test_equal_parameters_of_two_processes_are_equal():
    """Whatever the addresses of objects and the order of sets there are."""
    printed = []
    for seed in ("1", "2"):
        environment = os.environ | {"PYTHONHASHSEED": seed}
        command = [sys.executable, "-c", f"{PARAMETERS}\nprint(json.dumps(told))"]
        printed.append(
            subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
        )
    assert printed[0] == printed[1]
    params, warned = json.loads(printed[0])
    assert not re.search("0x[0-9a-f]{4}", printed[0])
    assert {name: params[name] for name in ("mean", "sum", "own", "lambda", "class", "module", "cached")} == {
        "mean": "numpy.mean",
        "sum": "builtins.sum",
        "own": "__main__.score",
        "lambda": "__main__.<lambda>",
        "class": "__main__.Plain",
        "module": "json",
        "cached": "__main__.score",
    }
    assert params["partial"] == f"functools.partial(__main__.score, {list('abcdefgh')}, by=numpy.mean)"
    assert params["model"] == {"loss": "__main__.score", "names": list("abcdefgh"), "inner": "__main__.Plain"}
    assert params["functions"] == ["__main__.score", "builtins.sum", "numpy.mean"]
    assert params["types"] == ["list[int]", "int | None", "numpy.float64"]
    assert params["deep"] == {"a": ["__main__.Plain", {"f": "__main__.score"}]}
    assert (params["object"], params["holder"]) == (
        "__main__.Plain",
        "Holder(<__main__.Plain object>, loss=<function score>)",
    )
    # once each, and not of functions, whose names say what they are
    assert warned == [f"Of a parameter that is an object of {kind}" for kind in ("Holder", "Plain")]


# -- functions that write one list through another one


THROUGH = {
    "a function": """
        def session(function):
            with tv.connect({place!r}, session="curate") as vault:
                function(vault)
        if not sys.argv[1:]:
            session(first)
        session(more)
    """,
    "two functions": """
        def session(function):
            with tv.connect({place!r}, session="curate") as vault:
                function(vault)
        def both(functions):
            if not sys.argv[1:]:
                session(functions[0])
                session(first)
            session(more)
        both([lambda vault: None])
    """,
    "its argument": """
        def session(name):
            with tv.connect({place!r}, session="curate") as vault:
                if name == "first":
                    first(vault)
                else:
                    more(vault)
        if not sys.argv[1:]:
            session("first")
        session("more")
    """,
    "a module": """
        import common
        if not sys.argv[1:]:
            common.session(first, {place!r})
        common.session(more, {place!r})
    """,
}
COMMON = """
import tablevault_pd as tv
def session(function, place):
    with tv.connect(place, session="curate") as vault:
        function(vault)
"""
CURATE = """
        import sys
        import pandas as pd
        import tablevault_pd as tv
        def first(vault):
            vault.save("tickets", pd.DataFrame({{"id": [1, 2, 3], "text": {texts}}}), key="id")
        def more(vault):
            vault.append("tickets", pd.DataFrame({{"id": [number], "text": ["d"]}}))
        number = {number}
"""


@pytest.mark.parametrize("kind", BOTH)
@pytest.mark.parametrize("way", [*THROUGH])
def test_code_of_a_function_that_wrote_other_rows_of_a_list_makes_none_stale(tmp_path, kind, way):
    """One line of the program commits them all; what led there tells which function made which rows."""
    (tmp_path / "common.py").write_text(COMMON)
    with new_place(kind, tmp_path) as place, in_both(place) as vault:
        text = (CURATE + THROUGH[way]).replace("{place!r}", repr(place.address))
        script(tmp_path, text.format(texts=["a", "b", "c"], number=4))
        assert vault.read("tickets")["id"].tolist() == [1, 2, 3, 4]
        assert vault.stale().empty
        script(
            tmp_path,
            text.format(texts=["A", "b", "c"], number=4).replace("[number]", "[number + 1]"),
            "again",
        )
        stale = vault.stale()
        assert set(zip(stale["position"], stale["of"], strict=True)) == {
            *((position, "train.py: first") for position in range(3)),
            (3, "train.py: more"),
        }


def test_a_script_in_which_a_shell_was_embedded_keeps_its_own_code(tmp_path):
    text = """
        import sys
        import tablevault_pd as tv
        sys.ps1 = "In : "  # IPython.embed() leaves it behind
        vault = tv.connect("v", session="s")
        vault.append("a", {"n": 1})
    """
    script(tmp_path, text)
    with tv.connect(tmp_path / "v", mode="r") as vault:
        assert 'sys.ps1 = "In : "' in vault.run("s").cells()["text"][0]
        assert "vault.append" in vault["a"].read().vault.code(whole=True)["text"].str.cat()
