"""Names, columns and texts that are HTML, escapes of a terminal or marks of direction: shown as texts, in notebooks, pages and commands."""

from __future__ import annotations

import contextlib
from html.parser import HTMLParser
from urllib.parse import quote, quote_plus

import pandas as pd
import pytest
from torture.harness import LONG

import tablevault_pd as tv
from tablevault_pd.cli.commands import main

TAG = "<img src=x onerror=alert(1)>"
SCRIPT = '"><script>alert(1)</script>'
ESCAPE = "\x1b]0;owned\x07\x1b[2J\u202egnp.exe\r"
TEXT = TAG + SCRIPT + ESCAPE


@pytest.fixture
def nasty(here):
    with tv.connect(here / "v", capture="none", session=TAG) as vault:
        rows = pd.DataFrame({TEXT: [1, 2], "text": [TEXT, "plain words"]})
        vault.save(TAG, rows, message=TEXT, description=TEXT, tags=[TEXT])
        with pytest.raises(ValueError), vault.session(SCRIPT, params={TEXT: TEXT}, tags=[TEXT]) as run:  # noqa: PT011
            run.log(**{TEXT: 0.5})
            vault.save("child", vault.read(TAG).assign(more=TEXT))
            raise ValueError(TEXT)
        vault.append("child", pd.DataFrame({TEXT: [3], "text": [SCRIPT], "more": ["x"]}))
        yield vault


def test_notebooks_show_texts_as_texts(nasty):
    shown = [
        nasty,
        nasty[TAG],
        nasty["child"],
        nasty.run(SCRIPT),
        nasty.lineage("child"),
        nasty.compare("child@1", "child@2"),
    ]
    for thing in shown:
        html = getattr(thing, "_repr_html_", lambda: "")() or ""
        assert "<img" not in html, type(thing)
        assert "<script" not in html, type(thing)
        assert "\x1b" not in repr(thing), type(thing)
        assert "\u202e" not in repr(thing), type(thing)


COMMANDS = [
    ["lists"], ["show", TAG], ["show", "child"], ["versions"], ["versions", TAG], ["sessions"], ["search", "plain"], ["lineage", "child"],
    ["check"], ["stale"], ["compare", "child@1", "child@2"], ["show", TEXT], ["show", TAG, "--filters", TEXT], ["restore", TEXT, "1"],
]  # fmt: skip


#: Names that would leave a script, an attribute, a tag or a template; or be the address of a link.
NAMES = [
    '</script><script>owned()</script>" onmouseover="owned()\'><svg onload=owned()>{{7*7}}${7*7}<%= 7 %>%0d%0aA: b&lt;i&gt;',
    "javascript:owned()//../../etc/passwd",
    *(["data:text/html,<script>owned()</script>", "//evil.example/x", "../../etc/passwd"] if LONG else []),
]
VIEWS = [
    "", "?view=lists&q={}", "?view=list&name={}", "?view=list&name={}&tab=versions", "?view=list&name={}&tab=trend&measure={}",
    "?view=sessions&name={}", "?view=sessions&filters={}", "?view=run&which={}", "?view=run&which={}&tab=written", "?view=curves&metric={}",
    "?view=compare&a={0}%401&b={0}%402&on=position", "?view=lineage&name={}", "?view=lineage", "?view=search&text={}",
    "?view=search&near={}%401&row=0",
    "?view=stale&name={}", "?view={}", "?view=file&name={}%401&row=0", "?view=list&name={}&start={}&sort={}&tab={}",
]  # fmt: skip


class Harmless(HTMLParser):
    """What a page could run, load or lead to."""

    def __init__(self) -> None:
        super().__init__()
        self.wrong: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        links = [
            value or ""
            for name, value in attrs
            if name in ("href", "src", "action", "formaction", "xlink:href")
        ]
        if (
            tag in ("script", "iframe", "object", "embed", "base", "meta", "link")
            or any(name.startswith("on") for name, _ in attrs)
            or not all(link.startswith(("?", "#", "data:image/")) or link == "" for link in links)
        ):
            self.wrong.append(f"{tag} {attrs}")


@pytest.fixture
def odd_names(here):
    with tv.connect(here / "v", capture="none", session=False) as vault:
        for name in NAMES:
            rows = pd.DataFrame({name: [name, "x"], "n": [1, 2]})
            vault.save(name, rows, description=name, message=name, tags=[name])
            with vault.session(name, params={name: name}, tags=[name]) as run:
                run.log({name: 0.5})
                vault.save(name, vault.read(name).assign(n=3))
            vault.tag(f"{name}@1", name)
        yield vault


def test_pages_run_nothing_and_lead_nowhere_whatever_a_list_is_called(odd_names, here):
    pytest.importorskip("panel", reason="needs the extra ui")
    from tablevault_pd.explore import explorer
    from tablevault_pd.explore.page import PageAddress

    for name in NAMES:
        links = 0
        for view in VIEWS:
            page = explorer.page(odd_names, PageAddress.parse(view.format(*[quote(name, safe="")] * 4)))
            parser = Harmless()
            for block in page.blocks:
                if isinstance(block, str):
                    parser.feed(block)
            assert not parser.wrong, (name, view, parser.wrong)
            links += sum(
                quote(name, safe="") in str(block) or quote_plus(name) in str(block) for block in page.blocks
            )
        assert links > 5  # pages do lead to the list
    for name in NAMES[:1]:
        odd_names.explore(f"?view=list&name={quote(name, safe='')}").save(here / "page.html")
        assert "<script>owned()" not in (here / "page.html").read_text(encoding="utf-8")


def test_commands_print_no_escapes(nasty, monkeypatch, capsys):
    monkeypatch.setenv("TABLEVAULT_URL", nasty.place)
    for command in COMMANDS:
        with contextlib.suppress(SystemExit):
            main(command)
        printed = capsys.readouterr()
        for line in (printed.out + printed.err).split("\n"):
            assert line.isprintable(), (command, line)
