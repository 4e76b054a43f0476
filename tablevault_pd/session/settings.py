"""Settings of a session: which code is captured, whether secrets in it are masked, and whose it is."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import Literal

from tablevault_pd.capture.redact import NullRedactor, Redactor
from tablevault_pd.names import encodable

CaptureMode = Literal["main", "all", "none"]


@dataclass(frozen=True, slots=True)
class Settings:
    """Which code is captured, whether secrets in it are masked, and whose session it is."""

    capture: CaptureMode = "main"
    redact: bool = True
    redactor: Redactor | NullRedactor = field(default_factory=NullRedactor)
    user: str | None = None  #: None: the one of the process

    @classmethod
    def of(cls, capture: CaptureMode, redact: bool, user: str | None) -> Settings:
        """Return the settings that :func:`connect` was given."""
        return cls(capture, redact, Redactor() if redact else NullRedactor(), user)

    def text(self, text: str) -> str:
        """Mask secrets in a captured text, and make it UTF-8."""
        return _masked(self.redactor, text)


@lru_cache(maxsize=512)
def _masked(redactor: Redactor | NullRedactor, text: str) -> str:
    """Mask one text. Cached: the modules of a project are the same for each session."""
    return str(encodable(redactor.text(text)))
