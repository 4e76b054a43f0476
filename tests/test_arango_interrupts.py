"""Requests to a server that are interrupted, or never answered: the next one works, and nobody waits for ever."""

from __future__ import annotations

import socket
import sys
from typing import TYPE_CHECKING, Any

import pytest
from stores import Faults, faults, new_database  # noqa: F401  # a fixture

pytest.importorskip("arango")

import tablevault_pd as tv
from tablevault_pd.errors import StoreUnavailable
from tablevault_pd.store.arango import ArangoStore
from tablevault_pd.store.arango import address as addresses
from tablevault_pd.store.arango.client import Client

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import CodeType, FrameType

ON_THE_WAY = (
    "connectionpool.py",
    "queue.py",
    "threading.py",
    "arango/client.py",
)  # where connections are kept


class Interrupt(BaseException):
    """As KeyboardInterrupt, which the tests' own Ctrl-C raises."""


def traced(work: Callable[[], object], at: int = 0) -> dict[tuple[str, CodeType, int], int]:
    """Do `work`, interrupted at its event number `at`: the first number of each kind of event at each line."""
    seen: dict[tuple[str, CodeType, int], int] = {}
    count = 0

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal count
        if not frame.f_code.co_filename.endswith(ON_THE_WAY):
            return None
        count += 1
        seen.setdefault((event, frame.f_code, frame.f_lineno), count)
        if count == at:
            sys.settrace(None)
            raise Interrupt
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        work()
    except Interrupt:
        pass
    finally:
        sys.settrace(before)
    return seen


@pytest.mark.arango
@pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning"
)  # some interrupts come in finalizers
def test_a_request_interrupted_on_any_line_leaves_a_connection_that_answers() -> None:
    with new_database() as url:
        store = ArangoStore(url, create=True, timeout_s=5)

        def asked(number: int) -> list[Any]:
            return store.client.query("RETURN @number", number=number)

        asked(0)
        events = list(traced(lambda: asked(0)).values())
        assert len(events) > 100
        for number in events:
            traced(lambda number=number: asked(number), at=number)
            assert asked(-number) == [-number]  # not the answer to the one before
        store.close()


def test_a_server_that_never_answers_is_given_up_after_timeout_s() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=10) as silent:
        address, _ = addresses.parse(f"arangodb://root@127.0.0.1:{silent.getsockname()[1]}/x")
        options: dict[str, Any] = {"read_only": True, "timeout_s": 0.5, "sync": True, "verify_tls": True}
        client = Client(address, addresses.Secret("x"), None, **options)
        with pytest.raises(StoreUnavailable, match=r"none within 1 s; timeout_s= sets"):
            client.query("RETURN 1")
        client.close()


@pytest.mark.arango
def test_calls_on_a_server_that_hangs_end_and_what_it_did_is_there(faults: Faults) -> None:  # noqa: F811
    """A save gives up; its rows are there, once, as the server did act. Values logged meanwhile arrive later."""
    with (
        new_database(faulty=True) as url,
        tv.connect(url, create=True, session="main", timeout_s=1) as vault,
    ):
        vault.append("a", {"n": 0})
        faults.add(r"LET resumed = \(", "delay:1500")
        with pytest.raises(StoreUnavailable, match="none within"):
            vault.append("a", {"n": 1})
        faults.add("POST /_db/[^/]*/_api/cursor", "delay:60000", count=1)
        with pytest.raises(StoreUnavailable, match="none within"):
            vault.read("a")
        faults.add("POST /_db/[^/]*/_api/cursor", "delay:60000", count=1)
        with pytest.raises(StoreUnavailable, match="none within"):
            vault.restore("a", 1)
        tv.log(loss=0.5)
        faults.clear()
        assert vault.append("a", {"n": 2}).version == 3
        assert vault.read("a")["n"].tolist() == [0, 1, 2]
        assert vault.sessions()["metrics.loss"].dropna().tolist() == [0.5]
        assert vault.check().empty
