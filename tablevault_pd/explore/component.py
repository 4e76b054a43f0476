"""What runs in a browser: the component that shows HTML and tells which link was used, and in a notebook Panel's scripts."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import panel
import param
from panel.custom import JSComponent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HERE = Path(__file__).parent
JAVASCRIPT, HOLOVIEWS = "application/javascript", "application/vnd.holoviews_load.v0+json"
LARGE = 100_000  #: bytes of a script


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


def load_scripts() -> None:
    """Load Panel's scripts into the notebook, if that was not done yet. Nothing is loaded from the network."""
    if not panel.extension._loaded:
        with each_script_once(_publisher()):
            panel.extension(inline=True)


@contextmanager
def each_script_once(publisher: Any) -> Iterator[None]:
    """Leave out the second copy that Panel publishes of its scripts, each of 3 MB: every front end runs the first."""
    if publisher is None:
        yield
        return
    publisher.register_hook(without_second_copy)
    try:
        yield
    finally:
        publisher.unregister_hook(without_second_copy)


def without_second_copy(message: dict[str, Any]) -> dict[str, Any]:
    """Return the message of a display without the copy of a large script."""
    data = message.get("content", {}).get("data", {})
    if JAVASCRIPT in data and len(data.get(HOLOVIEWS, "")) > LARGE:
        del data[HOLOVIEWS]
    return message


def _publisher() -> Any:
    """Return what publishes displays in this kernel, if messages can be changed there."""
    try:
        from IPython import get_ipython
    except ImportError:
        return None
    publisher = getattr(get_ipython(), "display_pub", None)
    return publisher if hasattr(publisher, "unregister_hook") else None
