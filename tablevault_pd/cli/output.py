"""How the command line prints a frame for people: a table that fits the terminal.

Values are data of users: characters that do not print are shown as escapes, so that no cell moves the cursor.
"""

from __future__ import annotations

import json
import os
import shutil
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, TextIO

import numpy as np
import pandas as pd

from tablevault_pd.display import printable, printable_lines
from tablevault_pd.reading.machine_output import plain, with_index

PROGRAM = "tablevault-pd"
SHOWN_ROWS = 20  # of a list, or of another long answer, in a table by default
WIDEST_CELL = 64
NARROWEST_CELL = 24  # names are typed again

Frames = Iterator[pd.DataFrame]


@dataclass(frozen=True, slots=True)
class Output:
    """What a command prints."""

    frame: pd.DataFrame
    note: str = ""  #: a sentence for people, under the table
    code: int = 0  #: what the program exits with
    index: bool = False  #: whether the frame's index says anything
    hidden: tuple[str, ...] = ()  #: columns that are not in a table, but in JSON and CSV
    whole: bool = False  #: whether the table has all columns, for rows of a list
    more: Callable[[], Frames] | None = None  #: frames of the same columns that follow, for JSON and CSV
    text: str | None = None  #: printed instead of a table
    streams: bool = False  #: whether each frame of `more` is a table of its own, printed as it comes
    below: Output | None = None  #: printed under a table, and not in JSON and CSV

    def limited(self, lines: int | None) -> Output:
        """Return the first lines, or with a minus the last ones, and how many there are; None: all."""
        if lines is None:
            return self
        text = self.text and "\n".join(
            self.text.splitlines()[:lines] if lines > 0 else self.text.splitlines()[lines:]
        )
        if len(self.frame) <= abs(lines):
            return replace(self, text=text)
        part = self.frame.head(lines) if lines > 0 else self.frame.tail(-lines)
        note = f"{len(part):,} of {len(self.frame):,} lines; -n shows more."
        return replace(self, frame=part, text=text, note=note)

    def frames(self) -> Frames:
        """Yield all frames, the first one included."""
        yield self.frame
        if self.more is not None:
            yield from self.more()


def print_table(output: Output, to: TextIO) -> None:
    """Print a table that fits the terminal, and the note under it."""
    if output.text is not None:
        # Code may hold control characters: escape them on a terminal, not in a file.
        text = output.text if not to.isatty() else printable_lines(output.text)
        to.write(text if text.endswith("\n") else text + "\n")
        return
    if output.streams and output.more is not None:
        for frame in output.more():
            print_table(replace(output, frame=frame, streams=False), to)
        return
    names, columns = with_index(_tidy(output), output.index)
    if columns and (len(output.frame) or output.whole):
        for line in table(
            names, columns, _width(to), fixed=output.frame.index.nlevels if output.index else 1
        ):
            to.write(line + "\n")
    if output.note:
        to.write(printable(output.note) + "\n")
    if output.below is not None:
        to.write("\n")
        print_table(output.below, to)


def _tidy(output: Output) -> pd.DataFrame:
    """Return the columns of a table: without hidden and empty ones, except for rows of a list."""
    if output.whole:
        return output.frame
    keep = [
        name not in output.hidden and any(not _blank(value) for value in output.frame[name])
        for name in output.frame.columns
    ]
    return output.frame.loc[:, keep]


def _blank(value: Any) -> bool:
    if isinstance(value, (list, tuple, dict, str, np.ndarray)):
        return len(value) == 0
    return bool(pd.isna(value))


def _width(to: TextIO) -> int | None:
    """Return the width of the terminal; None where there is none, as in a pipe to a file."""
    return shutil.get_terminal_size().columns if to.isatty() or "COLUMNS" in os.environ else None


def table(
    names: Sequence[str], columns: Sequence[pd.Series[Any]], width: int | None, fixed: int = 1
) -> Iterator[str]:
    """Return the lines of a table: numbers to the right, text to the left and cut where it is too long.

    Numbers and times are never cut. What is still wider than `width` goes on in further blocks, each with the `fixed` first columns.
    """
    texts = [_texts(name, column) for name, column in zip(names, columns, strict=True)]
    right = [_is_number(column) for column in columns]
    widths = [
        max(map(display_width, [printable(name), *text])) for name, text in zip(names, texts, strict=True)
    ]
    firm = [
        number or pd.api.types.is_datetime64_any_dtype(column)
        for number, column in zip(right, columns, strict=True)
    ]
    widths = [wide if keep else min(wide, WIDEST_CELL) for wide, keep in zip(widths, firm, strict=True)]
    if width is not None:
        widths = _squeezed(widths, firm, width)
    lines = [
        [pad_or_cut(cell, wide, number) for cell in (printable(name), *text)]
        for name, text, wide, number in zip(names, texts, widths, right, strict=True)
    ]
    for count, block in enumerate(_blocks(widths, width, fixed)):
        if count:
            yield ""
        for row in zip(*(lines[i] for i in block), strict=True):
            yield "  ".join(row).rstrip()


def _squeezed(widths: list[int], firm: list[bool], width: int) -> list[int]:
    """Narrow the widest text column until the table fits or no column can be narrower."""
    widths, narrowest = list(widths), min(NARROWEST_CELL, max(width // 3, 8))
    while sum(widths) + 2 * (len(widths) - 1) > width:
        loose = [i for i, keep in enumerate(firm) if not keep and widths[i] > narrowest]
        if not loose:
            break
        widths[max(loose, key=lambda i: widths[i])] -= 1
    return widths


def _blocks(widths: list[int], width: int | None, fixed: int) -> list[list[int]]:
    """Return groups of columns that fit side by side."""
    first = list(range(min(fixed, len(widths))))
    blocks, used = [list(first)], sum(widths[i] + 2 for i in first) - 2
    for i in range(len(first), len(widths)):
        if width is not None and used + 2 + widths[i] > width and len(blocks[-1]) > len(first):
            blocks.append(list(first))
            used = sum(widths[j] + 2 for j in first) - 2
        blocks[-1].append(i)
        used += 2 + widths[i]
    return blocks


def _is_number(column: pd.Series[Any]) -> bool:
    return pd.api.types.is_numeric_dtype(column.dtype) and not pd.api.types.is_bool_dtype(column.dtype)


def _texts(name: str, column: pd.Series[Any]) -> list[str]:
    """Return the cells of a column as texts of one line."""
    if _is_number(column) and name in ("bytes", "size_bytes"):
        return [size_text(value) for value in column]
    if _is_number(column) and len(column):
        # pandas chooses the number of digits, the same for all cells of a column
        lines = column.to_string(index=False, header=False, dtype=False, name=False).split("\n")
        return [line.strip().replace("<NA>", "") for line in lines]
    return [printable(_text(value)) for value in column]


def size_text(size: Any) -> str:
    """Return a number of bytes for people."""
    if pd.isna(size):
        return ""
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" or size >= 100 else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, np.ndarray):
        return _vector(value)
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value))
    if isinstance(value, dict):
        return json.dumps(plain(value), ensure_ascii=False)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if pd.api.types.is_scalar(value) and pd.isna(value):
        return ""
    if isinstance(value, datetime):
        return _moment(value)
    return str(value)


def _moment(value: datetime) -> str:
    """Return a time in UTC to the second, marked as such; any other time in full."""
    return f"{value:%Y-%m-%d %H:%M:%SZ}" if value.tzinfo is UTC or str(value.tzinfo) == "UTC" else str(value)


def _vector(value: np.ndarray) -> str:
    """Return the beginning of a vector, and how long it is."""
    if value.ndim != 1 or value.dtype.kind not in "fiu":
        return str(value.tolist())
    numbers = ", ".join(f"{number:.3g}" for number in value[:4])
    return f"[{numbers}]" if len(value) <= 4 else f"[{numbers}, … {len(value)}]"


def display_width(text: str) -> int:
    """Return the number of columns that `text` takes in a terminal."""
    if text.isascii():
        return len(text)
    return sum(_cells(character) for character in text)


def _cells(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def pad_or_cut(text: str, width: int, right: bool) -> str:
    """Pad or cut `text` to `width`."""
    wide = display_width(text)
    if wide > width:
        shown_part, used = [], 0
        for character in text:
            if used + _cells(character) > width - 1:
                break
            shown_part.append(character)
            used += _cells(character)
        text, wide = "".join(shown_part) + "…", used + 1
    fill = " " * (width - wide)
    return fill + text if right else text + fill
