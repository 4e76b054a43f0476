"""How two slices differ: as a unified diff that shows itself side by side in a notebook."""

from __future__ import annotations

import difflib
from dataclasses import replace
from html import escape
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

from tablevault_pd.code.order import in_order_of
from tablevault_pd.code.repeats import without_repeats, without_unread

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from tablevault_pd.code.slice import Slice
    from tablevault_pd.store import Part

CONTEXT = 3  # lines shown around what differs
_CELL = "vertical-align:top;text-align:left;white-space:pre-wrap;font-family:monospace;width:50%"
_REMOVED, _ADDED = "background:#ffebe9;color:#1f2328", "background:#dafbe1;color:#1f2328"


class CodeDiff(str):
    """A unified diff of the code behind two versions, sessions or rows; empty where nothing differs.

    It is a text: print it, search it, write it to a file. A notebook shows both sides beside each other.
    """

    __slots__ = ("_names", "_rows")
    _rows: tuple[tuple[str | None, str | None, bool], ...]  # left line, right line, whether they differ
    _names: tuple[str, str]

    def __new__(
        cls,
        text: str = "",
        rows: Iterable[tuple[str | None, str | None, bool]] = (),
        names: tuple[str, str] = ("", ""),
    ) -> CodeDiff:
        """Make one of its text and of the lines of both sides."""
        self = super().__new__(cls, text)
        self._rows, self._names = tuple(rows), names
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return CodeDiff, (str(self), self._rows, self._names)

    def _repr_html_(self) -> str:
        if not self:
            return "<p>The code is the same.</p>"
        head = "".join(f'<th style="{_CELL}">{escape(name)}</th>' for name in self._names)
        body = "".join(
            f"<tr>{_cell(left, _REMOVED if differs else '')}{_cell(right, _ADDED if differs else '')}</tr>"
            for left, right, differs in self._rows
        )
        return f'<table style="width:100%;table-layout:fixed"><tr>{head}</tr>{body}</table>'

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        """Have IPython print the text as it is."""
        printer.text(str(self))


def _cell(line: str | None, style: str) -> str:
    return f'<td style="{_CELL};{style if line is not None else ""}">{escape(line or "")}</td>'


def code_diff(a: Slice, b: Slice, name_a: str, name_b: str) -> CodeDiff:
    """What makes `b` of `a`. Statements whose syntax trees are equal do not differ, whatever their comments say."""
    names = (name_a, name_b)
    if a == b:
        return CodeDiff(names=names)
    once = without_repeats(a.parts), without_repeats(b.parts)
    left, right = _both_sides(*map(without_unread, once))
    if left == right:
        left, right = _both_sides(*once)
    if left == right:
        return CodeDiff(names=names)
    diff = difflib.unified_diff(left, right, name_a, name_b, lineterm="", n=CONTEXT)
    return CodeDiff("\n".join(diff) + "\n", side_by_side(left, right), names)


def _both_sides(a: Sequence[Part], b: Sequence[Part]) -> tuple[list[str], list[str]]:
    return _lines(_with_text_of(a, b)), _lines(in_order_of(b, a))


def _with_text_of(parts: Sequence[Part], others: Sequence[Part]) -> Iterator[Part]:
    """`parts`, with the text of that one of `others` whose tree is equal."""
    texts = {(part.path, part.tree): part.text for part in others}
    for part in parts:
        yield replace(part, text=texts.get((part.path, part.tree), part.text))


def _lines(parts: Iterable[Part]) -> list[str]:
    """The code as lines, with a comment where a file begins."""
    lines: list[str] = []
    path: str | None = None
    for part in parts:
        if part.path != path:
            path = part.path
            lines.append(f"# {'cells' if path is None else path}")
        lines += part.text.splitlines()
    return lines


def side_by_side(left: list[str], right: list[str]) -> Iterator[tuple[str | None, str | None, bool]]:
    """The lines that differ, and those around them: left, right, whether they differ."""
    matcher = difflib.SequenceMatcher(None, left, right, autojunk=False)
    for number, group in enumerate(matcher.get_grouped_opcodes(CONTEXT)):
        if number:
            yield "⋯", "⋯", False
        for tag, low, high, start, stop in group:
            for ours, theirs in zip_longest(left[low:high], right[start:stop]):
                yield ours, theirs, tag != "equal"
