"""What ``vault.explore()`` returns: the pages of a vault, one at a time."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import panel
from markupsafe import Markup

from tablevault_pd.errors import InvalidInput, VaultError
from tablevault_pd.explore import html
from tablevault_pd.explore.component import HtmlView, load_scripts
from tablevault_pd.explore.page import Page, PageAddress, to
from tablevault_pd.explore.pages import FORMS, MENU, PAGES

if TYPE_CHECKING:
    from os import PathLike

    from tablevault_pd.explore.page import Explored

REFRESH_MS = 2000  #: how often a page is made anew on which something is running
STYLE = (Path(__file__).parent / "explore.css").read_text(encoding="utf-8").replace(":host", ":root")
DARK = next(line for line in STYLE.splitlines() if line.startswith(".vault.dark"))
#: Light or dark as the system is, since no script says so here.
AS_THE_SYSTEM = f":root {{ color-scheme: light dark; }} @media (prefers-color-scheme: dark) {{ {DARK.replace('.dark', '', 1)} }}"
NO_LINKS = "a { pointer-events: none; color: inherit; } form button, form label, .pager a { display: none; }"


class Explorer:
    """The pages of a vault, to look at in a notebook or a browser. Made by :meth:`Vault.explore`.

    Parameters
    ----------
    vault : Vault
        What is shown. Nothing is changed in it, but for sessions with `control`.
    control : bool
        Whether sessions can be paused, resumed and stopped.
    """

    def __init__(self, vault: Explored, *, control: bool = False, address: str = "") -> None:
        self._vault, self._control = vault, control
        self._served = False
        self._head = HtmlView(self._use)
        self._body = panel.Column(sizing_mode="stretch_width")
        self.view = panel.Column(self._head, self._body, sizing_mode="stretch_width")
        self.address = PageAddress.parse(address)
        self.page = Page("", "", [])
        self._show(self.address)

    def go(self, query: str) -> None:
        """Show the page of an address such as ``"?view=list&name=preds"``."""
        address = PageAddress.parse(query)
        if self._served and panel.state.location is not None:
            # first, so that who goes back leaves the page that is shown
            panel.state.location.search = address.query
        self._show(address)

    def save(self, path: str | PathLike[str]) -> None:
        """Write the present page as one HTML file with all scripts and styles in it. Its links lead nowhere.

        Parameters
        ----------
        path : str or path
            Where to. A file that is there is replaced.

        Raises
        ------
        InvalidInput
            If the page says only what is wrong with its address, such as a list that is not there.
        """
        if self.page.problem is not None:
            raise InvalidInput(f"Nothing was written to {str(path)!r}: {self.page.problem}")
        Path(path).write_text(saved_page(self.page), encoding="utf-8")

    def serve(self) -> Any:
        """Return what a server shows: the address in the browser is that of the page, and pages that live are made anew."""
        self._served = True
        self._head.keeps_address = True
        panel.state.add_periodic_callback(self._refresh, REFRESH_MS)
        return self.view

    def _use(self, message: dict[str, str]) -> None:
        if "go" in message:
            self.go(message["go"])
        elif "back" in message:
            self._show(PageAddress.parse(message["back"]))
        elif self._control and message.get("do") in ("pause", "resume", "stop"):
            getattr(self._vault, message["do"])(message.get("which", ""))
            self._show(self.address)

    def _refresh(self) -> None:
        if self.page.live:
            self._show(self.address)

    def _show(self, address: PageAddress) -> None:
        self.address = address
        self.page = page(self._vault, address)
        self._head.html = str(self._top())
        blocks = _merged(self.page.blocks)
        shown: list[Any] = list(self._body)
        if [type(block) for block in blocks] == [Markup] and [type(block) for block in shown] == [HtmlView]:
            shown[0].html = str(blocks[0])  # the same place in the page: nothing jumps
            return
        self._body[:] = [self._shown(block) for block in blocks]

    def _shown(self, block: Any) -> Any:
        if isinstance(block, Markup):
            return HtmlView(self._use, html=str(block), sizing_mode="stretch_width")
        return panel.pane.Bokeh(block, sizing_mode="stretch_width")  # type: ignore[no-untyped-call]

    def _top(self) -> Markup:
        here = {
            "list": "lists",
            "run": "sessions",
            "curves": "sessions",
            "parallel": "sessions",
            "file": "lists",
        }
        current = here.get(self.address.page, self.address.page)
        menu = html.tabs(current, {name: to(name) for name in MENU})
        buttons = [
            html.tag("button", label, data_do=action, data_which=self.address.get("which"))
            for action, label in self.page.actions.items()
            if self._control
        ]
        return html.join([menu, html.tag("code", self.page.python, class_="python"), *buttons])

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> Any:
        load_scripts()
        return self.view._repr_mimebundle_(include, exclude)  # type: ignore[no-untyped-call]

    def __repr__(self) -> str:
        return f"<Explorer of {self._vault.place}: {self.page.title}>"


def page(vault: Explored, address: PageAddress) -> Page:
    """Return the page of an address; one that says what is wrong where the address names what is not there."""
    make = PAGES.get(address.page)
    if make is None:
        said = f"There is no page {address.page!r}. There are: {', '.join(PAGES)}."
        return Page("No such page", "", [html.note(said)], problem=said)
    try:
        return make(vault, address)
    except VaultError as problem:
        form = [FORMS[address.page](address)] if address.page in FORMS else []
        return Page(
            "Error", "", [html.heading(address.page), *form, html.error(problem)], problem=str(problem)
        )


def _merged(blocks: Any) -> list[Any]:
    """Return blocks of which no two that follow each other are HTML."""
    merged: list[Any] = []
    for block in blocks:
        if isinstance(block, Markup) and merged and isinstance(merged[-1], Markup):
            merged[-1] = html.join([merged[-1], block])
        else:
            merged.append(block)
    return merged


# -- a page as a file of its own: its HTML, its style, and Bokeh's scripts where it has curves; nothing is loaded from elsewhere


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
