"""What a process costs that has a vault and a session open and does nothing: processor time, and requests to a server.

Measured after five seconds, and again after minutes without anything to send. The server is the one that
TABLEVAULT_TEST_ARANGO_URL names; without it its lines are left out. The processes wait at the same time.
"""

from __future__ import annotations

import os
import uuid
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from timing import Line, answer_of, compare, skipped, start_child

if TYPE_CHECKING:
    from pathlib import Path

SHARE = 0.002  # of a core, at most
REQUESTS = 1.0  # a second, at most
MEASURED_S = 20.0
QUIET_S = 130.0
WORK = "idle, processor time a second"
CODE = """
import json, sys, time
import tablevault_pd as tv
place, seconds, quiet_s = sys.argv[1], float(sys.argv[2]), float(sys.argv[3])
requests = []
if "://" in place:
    from tablevault_pd.store.arango.transport import Transport
    send = Transport.send_request
    def counted(*arguments, **options):
        requests.append(1)
        return send(*arguments, **options)
    Transport.send_request = counted
def used():
    before = time.process_time(), len(requests)
    time.sleep(seconds)
    return (time.process_time() - before[0]) / seconds, (len(requests) - before[1]) / seconds
with tv.connect(place, session="idle", create=True):
    time.sleep(5)  # past what it looks up once: packages, commit
    soon = used()
    time.sleep(quiet_s)
    late = used()
print(json.dumps([soon, late]))
"""


def measure(folder: Path, scale: float) -> list[Line]:
    seconds, quiet_s = max(MEASURED_S * scale, 2.0), QUIET_S * min(scale, 1.0)
    url, name = os.environ.get("TABLEVAULT_TEST_ARANGO_URL"), f"tv_bench_{uuid.uuid4().hex[:12]}"
    places = {"in a folder": str(folder / "idle")}
    if url:
        places["on a server"] = urlsplit(url.strip())._replace(path=f"/{name}").geturl()
    processes = {
        where: start_child(CODE, place, str(seconds), str(quiet_s)) for where, place in places.items()
    }
    lines: list[Line] = []
    try:
        for where, process in processes.items():
            lines += lines_of(where, quiet_s, answer_of(process))
    finally:
        if url:
            drop(url.strip(), name)
    return lines if url else [*lines, skipped(WORK, "on a server", "TABLEVAULT_TEST_ARANGO_URL names none")]


def lines_of(where: str, quiet_s: float, measured: list[list[float]]) -> list[Line]:
    """Processor time beside its limit, and how often a server is asked."""
    lines: list[Line] = []
    for when, (share, requests) in zip(("", f", after {quiet_s:.0f} s of quiet"), measured, strict=True):
        lines += compare(
            f"{WORK}, {where}{when}", {"tablevault_pd": share, "the limit": SHARE}, {"the limit": 1.0}
        )
        if where == "on a server":
            work = f"idle, requests a second, {where}{when}"
            lines.append(Line(work, "tablevault_pd", None, requests, REQUESTS, note="a number, no ratio"))
    return lines


def drop(url: str, name: str) -> None:
    """Remove the database of the benchmark."""
    from tablevault_pd.store.arango import ArangoStore

    store = ArangoStore(url)
    store.client.run(lambda system: system.delete_database(name), database="_system")
    store.close()
