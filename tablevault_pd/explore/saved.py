"""A page as a file of its own: its HTML, its style, and Bokeh's scripts where it has curves. Nothing is loaded from elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from tablevault_pd.explore import html

if TYPE_CHECKING:
    from tablevault_pd.explore.page import Page

STYLE = (Path(__file__).parent / "explore.css").read_text(encoding="utf-8").replace(":host", ":root")
DARK = next(line for line in STYLE.splitlines() if line.startswith(".vault.dark"))
#: Light or dark as the system is, since no script says so here.
AS_THE_SYSTEM = f":root {{ color-scheme: light dark; }} @media (prefers-color-scheme: dark) {{ {DARK.replace('.dark', '', 1)} }}"
NO_LINKS = "a { pointer-events: none; color: inherit; } form button, form label, .pager a { display: none; }"


def saved_page(page: Page) -> str:
    """Return the page as one HTML document. Links and forms, which would lead nowhere, are not shown as such."""
    figures = [block for block in page.blocks if not isinstance(block, Markup)]
    scripts, parts = _embedded(figures)
    blocks = [block if isinstance(block, Markup) else parts.pop(0) for block in page.blocks]
    head = html.join(
        [
            Markup(
                '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
            ),
            html.tag("title", page.title),
            html.tag("style", html.trusted(STYLE + AS_THE_SYSTEM + NO_LINKS)),
            scripts,
        ]
    )
    line = html.tag("code", page.python, class_="python")
    own = blocks[:1] if blocks and html.is_heading(blocks[0]) else []
    body = html.tag("div", *(own or [html.heading(page.title)]), line, *blocks[len(own) :], class_="vault")
    return str(Markup("<!DOCTYPE html>\n<html><head>{}</head><body>{}</body></html>\n").format(head, body))


def _embedded(figures: list[Any]) -> tuple[Markup, list[Markup]]:
    """Return the scripts that draw figures, and the element of each."""
    if not figures:
        return Markup(""), []
    from bokeh.embed import components
    from bokeh.resources import Resources

    script, parts = components(figures)
    library = "".join(f"<script>{text}</script>" for text in Resources("inline", components=["bokeh"]).js_raw)
    return html.trusted(library + script), [html.trusted(part) for part in parts]
