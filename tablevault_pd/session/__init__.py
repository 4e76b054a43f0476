"""Sessions: what runs, what it measured, and how other processes stop, pause and resume it.

`run` is a session of this process, `heart` the one thread that speaks to the store for all of them, `orders` decides
what a request means, `current` knows which session is meant where none is named, `family` makes worker processes
children of the process that started them, `lookup` finds sessions by what people call them.
"""

from __future__ import annotations

from tablevault_pd.session.run import CaptureMode, Run, Settings

__all__ = ["CaptureMode", "Run", "Settings"]
