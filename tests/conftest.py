"""Fixtures that every test may use."""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import sys
import tempfile
import threading
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import profiles
import pytest
from stores import BOTH, Place, new_database, new_place
from torture.harness import COUNTS, FIGURES, LONG, SEED

import tablevault_pd as tv
from tablevault_pd import api as connecting
from tablevault_pd.session import active, heartbeat

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tablevault_pd.store import Store

# Hundreds of processes import the package: each would compile it again if it could not keep what it compiled.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell starts what runs in its background so, and what tests start would not end by Ctrl-C either.
    signal.signal(signal.SIGINT, signal.default_int_handler)
# A call that reads sessions waits for what is on its way, and answers without it after that: a busy machine needs longer.
heartbeat.FLUSH_S = 60.0
profiles.load()


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Choose what random tests of a long run draw."""
    profiles.choose_seed(config)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark as slow what TABLEVAULT_TORTURE repeats, random tests as well, and all of torture as a matter for CI."""
    for item in items:
        if "torture" in item.path.parts:
            item.add_marker(pytest.mark.ci)
        if getattr(getattr(item, "obj", None), "is_hypothesis_test", False) or "torture" in item.path.parts:
            item.add_marker(pytest.mark.slow)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """Hand what the test counted on to its report, which a worker of xdist sends to the process that prints."""
    COUNTS.clear()
    try:
        return (yield)
    finally:
        item.user_properties.append(("counts", dict(COUNTS)))


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Print why tests failed that were run once more, as CI does, and what all tests of all workers counted, in one table."""
    for report in terminalreporter.stats.get("rerun", []):
        terminalreporter.section(f"failed, and was run once more: {report.nodeid}")
        terminalreporter.write_line(report.longreprtext)
    if seed := terminalreporter.config.getoption("--hypothesis-seed"):
        terminalreporter.write_line(f"random tests drew from --hypothesis-seed={seed}")
    counts: Counter[str] = Counter()
    for report in itertools.chain.from_iterable(terminalreporter.stats.values()):
        if getattr(report, "when", None) == "call":
            for what, count in dict(report.user_properties).get("counts", {}).items():
                counts[what] = (
                    max(count, counts[what]) if what.startswith("longest") else count + counts[what]
                )
    if LONG:
        terminalreporter.write_line(f"storms and mutations drew from TABLEVAULT_SEED={SEED}")
    if counts:
        terminalreporter.section("counted")
        for what in [*FIGURES, *sorted(set(counts) - set(FIGURES))]:
            terminalreporter.write_line(f"{counts[what]:>12,}  {what}")


@pytest.fixture(autouse=True)
def no_session_left() -> Iterator[None]:
    """End the sessions that a test left open, so that no other test finds a process that is watched already."""
    before = list(active._open)
    yield
    for session in reversed([each for each in active._open if each not in before]):
        session.end(timeout_s=5)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to be in, no vault named by the environment, and none connected before in this process."""
    monkeypatch.setattr(connecting, "_connected_before", [])
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TABLEVAULT_URL", raising=False)
    return tmp_path


@pytest.fixture
def shown() -> Iterator[Path]:
    """A folder that every user may look into, as those of pytest are not: each run of it takes the rights to them away."""
    folder = Path(tempfile.mkdtemp(prefix="tablevault-", dir="/tmp"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def folder_vault(here: Path) -> Iterator[tv.Vault]:
    """An empty vault in a folder of its own, which must be sound when the test is done."""
    with tv.connect(here / "test.vault") as opened:
        yield opened
        assert opened.check().empty


@pytest.fixture(params=BOTH)
def vault(request: pytest.FixtureRequest, here: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tv.Vault]:
    """An empty vault in each store, which must be sound when the test is done."""
    if request.param == "embedded":
        yield request.getfixturevalue("folder_vault")
        return
    with new_database() as url:
        monkeypatch.setenv("TABLEVAULT_PASSWORD", urlsplit(url).password or "")
        with tv.connect(url, create=True) as opened:
            yield opened
            assert opened.check().empty


@pytest.fixture(params=BOTH)
def sessionless_vault(
    request: pytest.FixtureRequest, here: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tv.Vault]:
    """An empty vault in each store, in which this process has no session of its own."""
    if request.param == "embedded":
        with tv.connect(here / "test.vault", session=False, capture="none") as opened:
            yield opened
        return
    with new_database() as url:
        monkeypatch.setenv("TABLEVAULT_PASSWORD", urlsplit(url).password or "")
        with tv.connect(url, create=True, session=False, capture="none") as opened:
            yield opened


@pytest.fixture(params=BOTH)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    """A place for a new vault, for each store."""
    with new_place(request.param, tmp_path) as found:
        yield found


@pytest.fixture
def store(place: Place) -> Iterator[Store]:
    """An empty store of each kind, which must be sound when the test is done."""
    opened = place.open()
    yield opened
    assert opened.check() == []
    opened.close()


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What this thread sent to a server, one entry per request: a session's heart beats beside it."""
    pytest.importorskip("arango")
    from tablevault_pd.store.arango import transport

    here = threading.get_ident()
    found: list[str] = []
    real = transport.Transport.send_request

    def send(self: Any, session: Any, method: str, url: str, *rest: Any, **more: Any) -> Any:
        if threading.get_ident() == here:
            found.append(f"{method} {url}")
        return real(self, session, method, url, *rest, **more)

    monkeypatch.setattr(transport.Transport, "send_request", send)
    return found
