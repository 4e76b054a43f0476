"""A fault at each request of each public call: what was acknowledged is there once, and what was refused is told by name.

The oracle is a vault in a folder, which does the same without faults.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pandas as pd
import pytest
from stores import Faults, faults, new_database
from torture.harness import times

pytest.importorskip("arango")

import tablevault_pd as tv
from tablevault_pd.errors import StoreUnavailable
from tablevault_pd.store.arango import client as clients

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

__all__ = ["faults"]  # a fixture, used by its name
pytestmark = [pytest.mark.arango, pytest.mark.slow, pytest.mark.ci]

PASSING = [
    "drop-before",
    "drop-after",
    "status:503",
    "error:1200",
    "delay:30",
    "error-after:503",
    "error:1655",
]
ROWS = pd.DataFrame({"id": [1, 2, 3], "text": ["lamp", "oil lamp", "tide"]})


def session(vault: tv.Vault, number: int) -> Any:
    with vault.session("run", params={"n": number}, tags="draft") as run:
        run.log({"loss": number / 2}, step=1)
        vault.append("log", {"n": number})
    return None


def claimed(vault: tv.Vault, number: int) -> Any:
    vault.save("jobs", {"n": number})
    with vault.session("worker"):
        rows = vault.claim("jobs", 1)
        vault.append("done", rows.assign(was=number), finish=True, inputs=tv.rows(rows))
    return vault.claims("jobs")["state"].tolist()


def erased(vault: tv.Vault, number: int) -> Any:
    vault.upsert("people", {"id": number, "text": "ebb"}, key="id")
    return vault.erase("people", filters=f"id == {number}")[["what", "rows", "remains"]].values.tolist()


CALLS: dict[str, Callable[[tv.Vault, int], Any]] = {
    "save": lambda vault, n: vault.save("rows", ROWS.assign(id=[1, 2, n])).version,
    "append": lambda vault, n: vault.append("log", {"n": n}).version,
    "upsert": lambda vault, n: vault.upsert("keyed", {"id": n % 3, "text": f"t{n}"}, key="id").version,
    "delete_rows": lambda vault, n: [
        vault.upsert("keyed", {"id": 50, "text": f"t{n}"}, key="id").version,
        vault.delete_rows("keyed", filters="id == 50").version,
    ],
    "delete and restore": lambda vault, n: [vault.delete("rows"), vault.restore("rows", 1).version],
    "rename": lambda vault, n: [vault.save(f"a{n}", {"n": n}).version, vault.rename(f"a{n}", f"b{n}").version],
    "tag": lambda vault, n: vault.tag("rows@1", f"t{n}").values.tolist(),
    "move a tag": lambda vault, n: vault.tag("rows@2", "best", replace=True).values.tolist(),
    "untag": lambda vault, n: [vault.tag("rows@1", "gone").values.tolist(), vault.untag("rows@gone")],
    "snapshot": lambda vault, n: len(vault.snapshot(f"s{n}")),
    "a snapshot anew": lambda vault, n: len(vault.snapshot("paper", replace=True)),
    "drop a snapshot": lambda vault, n: [len(vault.snapshot(f"x{n}")), vault.untag(f"x{n}")],
    "erase": erased,
    "vacuum": lambda vault, n: [
        vault.save("old", {"n": n}).version,
        vault.save("old", {"n": -n}).version,
        vault.vacuum(keep=1, dry_run=False).query("list == 'old'")[["what", "rows"]].values.tolist(),
    ],
    "describe": lambda vault, n: vault.describe("rows", f"words {n}"),
    "session": session,
    "claim": claimed,
    "search": lambda vault, n: vault.search("lamp", lists="rows", k=5)["position"].tolist(),
}  # fmt: skip


def state(vault: tv.Vault) -> list[Any]:
    """All that was acknowledged."""
    versions = vault.versions()[["list", "version", "operation", "rows", "total", "gone"]]
    return [
        sorted(versions.astype(str).values.tolist()),
        {name: vault.read(name).values.tolist() for name in sorted(vault)},
        sorted(map(list, vault.snapshots()[["name", "list", "version"]].astype(str).values)),
        vault.sessions()[["session", "state", "tags"]].astype(str).values.tolist(),
        sorted(
            vault.metrics()
            .reindex(columns=["session", "step", "metric", "value"])
            .astype(str)
            .values.tolist()
        ),
        sorted(vault.descriptions(history=True)["text"].tolist()),
        sorted(vault.claims()["state"].tolist()),
    ]


@pytest.fixture
def vaults(
    tmp_path: Path, faults: Faults, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[tv.Vault, tv.Vault]]:
    """The same in a folder, and behind a proxy on a server."""
    monkeypatch.setattr(clients, "FIRST_PAUSE_S", 0.0005)
    monkeypatch.setattr(clients, "LONGEST_PAUSE_S", 0.001)
    options: dict[str, Any] = {"capture": "none", "session": False, "create": True}
    with new_database(faulty=True) as url:
        monkeypatch.setenv("TABLEVAULT_PASSWORD", urlsplit(url).password or "")
        with (
            tv.connect(tmp_path / "v.vault", **options) as here,
            tv.connect(url, timeout_s=60, **options) as there,
        ):
            for vault in (here, there):
                for n in (1, 2):
                    vault.save("rows", ROWS.assign(id=[1, 2, 100 + n]))
                vault.upsert("people", ROWS, key="id")
            yield here, there
            faults.clear()
            assert not (there.check()["severity"] == "damage").any()


def test_what_passes_at_any_request_changes_nothing(
    vaults: tuple[tv.Vault, tv.Vault], faults: Faults
) -> None:
    here, there = vaults
    number = 1000
    for turn, (name, call) in enumerate(CALLS.items()):
        number += 1
        faults.reset()
        assert call(there, number) == call(here, number), name
        sent = faults.requests("/tv_test_")
        for at in range(0, sent, 1 if times(1) > 1 else max(1, sent // 9)):
            kinds = PASSING if times(1) > 1 else [PASSING[(turn + at) % len(PASSING)]]
            for kind in kinds:
                number += 1
                faults.add("/tv_test_", kind, skip=at)
                told = call(there, number)
                faults.clear()
                assert told == call(here, number), (name, at, kind)
        assert state(there) == state(here), name


def test_a_login_that_is_refused_at_any_request_is_told_and_nothing_is_there_by_half(
    vaults: tuple[tv.Vault, tv.Vault], faults: Faults
) -> None:
    """A token may end in the middle of a call."""
    _, there = vaults
    number = 5000
    for name, call in CALLS.items():
        faults.reset()
        call(there, number := number + 1)
        sent = faults.requests("/tv_test_")
        for at in range(0, sent, 1 if times(1) > 1 else max(1, sent // 4)):
            faults.add("/tv_test_", "error:11:401", skip=at)
            try:
                call(there, number := number + 1)
            except StoreUnavailable as error:
                assert "refused the user" in str(error), (name, at)
            faults.clear()
            if "rows" not in there:  # between a delete and a restore
                there.restore("rows", 1)
        assert not (there.check()["severity"] == "damage").any(), name
    assert there.read("log")["n"].is_unique
