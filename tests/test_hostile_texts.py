"""Names, columns and texts that are HTML, escapes of a terminal or marks of direction: shown as texts, in notebooks, pages and commands."""

from __future__ import annotations

import contextlib

import pandas as pd
import pytest

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


def test_commands_print_no_escapes(nasty, monkeypatch, capsys):
    monkeypatch.setenv("TABLEVAULT_URL", nasty.place)
    for command in COMMANDS:
        with contextlib.suppress(SystemExit):
            main(command)
        printed = capsys.readouterr()
        for line in (printed.out + printed.err).split("\n"):
            assert line.isprintable(), (command, line)
