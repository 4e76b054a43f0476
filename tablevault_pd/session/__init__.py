"""Sessions: recording one, controlling it from other processes, and looking up those that are stored.

Users hold a `run`, whose `recorder` begins and ends the session; `state` is the part of the recorder that the background
thread (`heartbeat`) sends from, and `outbox` has the unsent data. `control` reduces stop, pause and resume requests, `active`
knows which session is current, `inheritance` passes the parent session to worker processes, `lookup` finds sessions by name.
"""

from __future__ import annotations

from tablevault_pd.keywords import named_as_a_call
from tablevault_pd.session.recorder import Recorder
from tablevault_pd.session.run import Run
from tablevault_pd.session.settings import CaptureMode, Settings

named_as_a_call(__name__)

__all__ = ["CaptureMode", "Recorder", "Run", "Settings"]
