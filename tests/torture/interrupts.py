"""Calls that a signal interrupts at random moments, between calls that are left to finish."""

from __future__ import annotations

import signal
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Sequence

    Call = Callable[[], None]


def interrupt_calls(
    calls: Sequence[Call],
    connect: Call,
    close: Call,
    *,
    interrupts: int,
    r: random.Random,
    error: type[BaseException] = KeyboardInterrupt,
) -> int:
    """Make `calls` at random until `error` was raised inside of that many. Return how many calls were made.

    Up to seven calls finish before each that may be interrupted, at a random moment of the time that it took the last time.
    So however slow the machine is, most calls are acknowledged. A call that swallows the interrupt gets another after 0.2 s.
    """
    armed = False

    def handle(*_: object) -> None:
        if armed:
            raise error

    def reconnect() -> None:
        close()
        connect()

    def finish(call: Call) -> None:
        nonlocal made
        made += 1
        connect()
        start = time.monotonic()
        call()
        took[call] = time.monotonic() - start

    made = done = 0
    took: dict[Call, float] = {}
    before = signal.signal(signal.SIGALRM, handle)
    for call in 2 * [*dict.fromkeys(calls), close, reconnect]:  # the first call imports what it needs
        finish(call)
    while done < interrupts:
        for _ in range(r.randrange(8)):
            finish(close if r.random() < 0.005 else r.choice(calls))
        call = reconnect if r.random() < 0.06 else r.choice(calls)
        connect()
        try:
            try:
                armed = True
                signal.setitimer(signal.ITIMER_REAL, r.uniform(0.0001, 1.1 * took[call]), 0.2)
                finish(call)
            finally:
                armed = False
                signal.setitimer(signal.ITIMER_REAL, 0)
        except error:
            armed = False
            signal.setitimer(signal.ITIMER_REAL, 0)
            done += 1
    signal.signal(signal.SIGALRM, before)
    return made
