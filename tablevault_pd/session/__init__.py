"""Sessions: what runs, what it measured, and how other processes stop, pause and resume it.

`run` is what users hold of a session of this process; `recorder` records it, and `outbox` has what is to be sent. `heartbeat`
is the one thread that sends for all of them, `control` decides what a request means, `active` knows which session is current,
`inheritance` makes worker processes children of the process that started them, `lookup` finds sessions by what people call
them.
"""

from __future__ import annotations

from tablevault_pd.session.recorder import Recorder
from tablevault_pd.session.run import Run
from tablevault_pd.session.settings import CaptureMode, Settings

__all__ = ["CaptureMode", "Recorder", "Run", "Settings"]
