"""What is captured of the code of a session, and whether secrets in it are masked."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import Literal

from tablevault_pd.capture.redact import Keep, Redactor
from tablevault_pd.names import encodable

CaptureMode = Literal["main", "all", "none"]


@dataclass(frozen=True, slots=True)
class Settings:
    """What is captured of the code, and whether secrets in it are masked."""

    capture: CaptureMode = "main"
    redact: bool = True
    redactor: Redactor | Keep = field(default_factory=Keep)

    @classmethod
    def of(cls, capture: CaptureMode, redact: bool) -> Settings:
        """Return the settings that :func:`connect` was given."""
        return cls(capture, redact, Redactor() if redact else Keep())

    def text(self, text: str) -> str:
        """Return a captured text as it may be stored: secrets masked, and UTF-8."""
        return _masked(self.redactor, text)


@lru_cache(maxsize=512)
def _masked(redactor: Redactor | Keep, text: str) -> str:
    """Mask one text. The modules of a project are the same for each session: they are masked once."""
    return str(encodable(redactor.text(text)))
