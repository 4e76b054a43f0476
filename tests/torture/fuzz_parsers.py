"""Fuzz the parsers of filters and of search texts, guided by coverage where atheris is installed.

``python tests/torture/fuzz_parsers.py filter -max_total_time=600`` (or ``search``); options are those of libFuzzer. The seeds,
and what was once found, run as ordinary tests: see test_fuzz.py.
"""

from __future__ import annotations

import sqlite3
import sys
from contextlib import closing
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

#: Texts to begin with, which reach every part of the parsers; what was found follows.
FILTERS = [
    "n > 1 and not `two words` == 'x' or s.str.contains('a', case=False)", "1 < n <= 3 | s in ['a', @some] & ~(f != f)", "n.isna()",
    "t >= '2020-01-01' and t.dt.year == 2020", "s.str[0] == 'a' and s.str[1:3] != \"b\"", "index < 3", "d.a.b == 1", "n % 2 == -1 ** 2",
    "n not in (1, 2.5, None, True)", "s == '''a\nb''' \\\n or n == 0x1F", "f == nan or f == inf", "n.abs() + 1 // 2 * f / 3 - n > n.mean()",
    "a.isin([1,2]) == n.between(1, 2)", "`a``b` == 1", "n == 1_000 and n == 1e400", "s == 'x' 'y'", "n ==\n1", "n == 1 # x", "\ud800 == 1",
    "\0", "(" * 200, "'", "`", "@", "n == " + "9" * 5000, "n is None", "f'{n}' == s", "n if n else n", "n == 1j", "s == b'x'", "n \u2264 3",
]  # fmt: skip
TEXTS = [
    'solar "power plant" -wind', '"abc', "a AND", "foo-bar", "col:x", "*", "NEAR(", "NEAR(a b, 3)", "(" * 5000, "-",
    "--a", '-"a b"', "a OR",
    "OR", "OR OR", "a OR -b", "pre*", "pre**", "a*b", "^a", "{a b}: c", "a + b", "\0", "a\0b", '"a\0b"', '""', "\ud800", "\U000e0100", "é",
    "e\u0301", "在中国", "GPT在中国", "ไทย*", '"在 中"', "x" * 100_000, "\u200b", "\ue000", "a\ue000b", "ﬁ*", "ß", "İ",
    "\u0345", "-*", '"*"', "٣",
]  # fmt: skip


@cache
def _names() -> object:
    from tablevault_pd.filters import Names

    return Names(["n", "s", "f", "t", "d", "two words", "a`b", 5, ("a", 1)])


def filter_text(text: str) -> None:
    """Parse a filter: it is a condition, or it is refused by an error of ours that is short."""
    from tablevault_pd.errors import InvalidFilter, InvalidInput, VaultNotFound
    from tablevault_pd.filters import parse_filter

    try:
        parse_filter(text, _names())
    except (InvalidFilter, InvalidInput, VaultNotFound) as error:
        assert 0 < len(str(error)) < 2000, text


@cache
def _index() -> sqlite3.Connection:
    from tablevault_pd.store.engine.fts import STEMMED, prose

    db = sqlite3.connect(":memory:")
    db.execute(f"CREATE VIRTUAL TABLE prose USING fts5(text, tokenize='{STEMMED}')")
    for number, text in enumerate(TEXTS[:40]):
        db.execute(
            "INSERT INTO prose (rowid, text) VALUES (?, ?)",
            (number, prose(text).encode(errors="replace").decode()),
        )
    return db


def search_text(text: str) -> None:
    """Parse a text to search for, and have SQLite search for it: FTS5 takes every expression that is made of it."""
    from tablevault_pd.errors import InvalidInput
    from tablevault_pd.search.query import parse_text
    from tablevault_pd.store.engine.fts import any_leaf, match
    from tablevault_pd.store.text_query import AnyOf

    for which in ("all", "any"):
        try:
            query = parse_text(text, match=which)
            parse_text(text, code=True)
        except InvalidInput as error:
            assert 0 < len(str(error)) < 2000, text
            return
        if query == AnyOf(()):
            continue
        for expression in (match(query), any_leaf(query, prefixes=True), any_leaf(query, prefixes=False)):
            if expression is not None:
                with closing(
                    _index().execute("SELECT rowid FROM prose WHERE prose MATCH ? LIMIT 3", (expression,))
                ) as found:
                    found.fetchall()


TARGETS: dict[str, Callable[[str], None]] = {"filter": filter_text, "search": search_text}


def main() -> None:
    """Run until a time limit, or an error."""
    import tempfile
    from pathlib import Path

    import atheris

    target = TARGETS[sys.argv.pop(1)]
    seeds = FILTERS if target is filter_text else TEXTS
    with atheris.instrument_imports(
        include=["tablevault_pd.filters", "tablevault_pd.search", "tablevault_pd.store.engine"]
    ):
        target("a")

    def one(data: bytes) -> None:
        target(data.decode("utf-8", "surrogateescape"))  # bytes that are no text become halves of pairs

    with tempfile.TemporaryDirectory() as corpus:
        for number, seed in enumerate(seeds):
            (Path(corpus) / str(number)).write_bytes(seed.encode(errors="surrogatepass")[:4096])
        atheris.Setup([*sys.argv, corpus], one)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
