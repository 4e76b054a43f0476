"""Panel's scripts in a notebook: from the installed package, and written into the notebook once."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import panel

if TYPE_CHECKING:
    from collections.abc import Iterator

JAVASCRIPT, HOLOVIEWS = "application/javascript", "application/vnd.holoviews_load.v0+json"
LARGE = 100_000  #: bytes of a script


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
