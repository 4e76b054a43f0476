"""The part of a page that runs in the browser: it shows HTML, and tells which link, form or button was used."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import param
from panel.custom import JSComponent

if TYPE_CHECKING:
    from collections.abc import Callable

HERE = Path(__file__).parent


class HtmlView(JSComponent):
    """HTML whose links and forms are followed by Python. One with `keeps_address` also follows the browser's back button."""

    html = param.String("")
    keeps_address = param.Boolean(False)

    _esm = HERE / "component.js"
    _stylesheets = [(HERE / "explore.css").read_text(encoding="utf-8")]  # noqa: RUF012  # as Panel has it

    def __init__(self, use: Callable[[dict[str, str]], None], **params: Any) -> None:
        super().__init__(**params)  # type: ignore[no-untyped-call]
        self._use = use

    def _handle_msg(self, msg: Any) -> None:
        if isinstance(msg, dict) and all(isinstance(value, str) for value in msg.values()):
            self._use(msg)
