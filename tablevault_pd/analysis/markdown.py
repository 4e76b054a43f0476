"""A comparison as Markdown, for a pull request. Every name and text in it is somebody's data, and escaped."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tablevault_pd.analysis.comparison import Comparison
    from tablevault_pd.analysis.gate import Gate

MOST_ROWS = 20
LONGEST_CELL = 80
LONGEST_REASON = 2000
LONGEST_DIFF = 300  # lines
_SPECIAL = re.compile(r"[^\w \-.,:;=+/%()'’…–×≥≤]|_")
_MARKS = {"pass": "✅", "fail": "❌", "cannot tell": "❔"}
_SHOWN = (
    "measure", "slice", "other", "n_pairs", "a", "b", "delta", "lo", "hi", "p_holm", "fixed", "broken", "churn", "equivalent",
)  # fmt: skip


def report(comparison: Comparison, gate: Gate | None = None) -> str:
    """What changed, whether it passes, and why rows flipped."""
    summary = comparison.summary
    parts = [
        f"### {escaped(' and '.join(dict.fromkeys(summary['other'])))} against {escaped(summary.loc[0, 'reference'])}"
    ]
    if gate is not None:
        parts.append(f"{_MARKS[gate.outcome]} **{gate.outcome}**: {escaped(gate.reason, LONGEST_REASON)}")
    parts.append(table(summary[[name for name in _SHOWN if summary[name].notna().any()]]))
    first = summary.iloc[0]
    parts.append(
        f"Rows without a pair: {first['n_only_a']} only in {escaped(first['reference'])}, {first['n_only_b']} only in "
        f"{escaped(first['other'])}; {first['n_missing']} pairs without a value."
    )
    if len(comparison._known().sides) == 2:
        parts += _reasons(comparison)
    return "\n\n".join(part for part in parts if part) + "\n"


def reasons(why: pd.DataFrame) -> pd.DataFrame:
    """How many rows each difference stands behind, the most first; with its two sides where they are the same for all of these rows."""
    groups = why.groupby(["flip", "what", "name"], dropna=False, sort=False)
    counts = groups.size().rename("rows").reset_index()
    for side in ("a", "b"):
        same = [group[side].map(repr).nunique() == 1 for _, group in groups]
        counts[side] = [
            group[side].iloc[0] if alike else None for alike, (_, group) in zip(same, groups, strict=True)
        ]
    return counts.sort_values("rows", ascending=False, kind="stable", ignore_index=True)


def _reasons(comparison: Comparison) -> list[str]:
    why = comparison.why()
    if why.empty:
        return []
    counts = reasons(why).head(MOST_ROWS)
    keys = [str(name) for name in why.index.names]
    lines = why.reset_index(names=keys)[[*keys, "flip", "what", "name", "a", "b", "list"]]
    parts = [
        "Behind the flips:",
        table(counts),
        _details("The rows", table(lines.head(MOST_ROWS)), len(lines)),
    ]
    diff = str(comparison.code_diff).splitlines()
    if diff:
        parts.append(_details("The code", fenced("\n".join(diff[:LONGEST_DIFF])), len(diff), LONGEST_DIFF))
    return parts


def _details(title: str, body: str, size: int, most: int = MOST_ROWS) -> str:
    more = f" (the first {most} of {size})" if size > most else ""
    return f"<details><summary>{title}{more}</summary>\n\n{body}\n\n</details>"


def table(frame: pd.DataFrame) -> str:
    """A Markdown table; numbers to the right."""
    numeric = [
        pd.api.types.is_numeric_dtype(dtype) and not pd.api.types.is_bool_dtype(dtype)
        for dtype in frame.dtypes
    ]
    rows = [map(_cell, row) for row in frame.itertuples(index=False, name=None)]
    head = [
        _row(map(escaped, map(str, frame.columns))),
        _row("---:" if right else "---" for right in numeric),
    ]
    return "\n".join([*head, *map(_row, rows)])


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cell(value: Any) -> str:
    if pd.api.types.is_scalar(value) and pd.isna(value):
        return ""
    if isinstance(value, (float, np.floating)):
        return f"{value:.4g}" if math.isfinite(value) else str(value)
    return escaped(str(value))


def escaped(text: Any, longest: int = LONGEST_CELL) -> str:
    """A text that is shown as it stands, in one line, wherever it is put."""
    short = str(text) if len(str(text)) <= longest else str(text)[: longest - 1] + "…"
    return _SPECIAL.sub(lambda match: " " if match[0].isspace() else f"&#{ord(match[0])};", short)


def fenced(text: str) -> str:
    """A block of code, fenced by more backticks than it has in a row."""
    longest = max(map(len, re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}diff\n{text}\n{fence}"
