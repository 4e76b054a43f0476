"""The files of a run beside those of the commit it ran at."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

from tablevault_pd.capture import environment
from tablevault_pd.code.diff import CONTEXT, CodeDiff, side_by_side
from tablevault_pd.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

SHORT = 7  #: digits of a commit that are shown


def git_diff(texts: Mapping[str, str], commit: str, folder: Path, name: str) -> CodeDiff:
    """What a run, `name`, has in its files (texts by path below `folder`) that its commit has not, as a unified diff.

    Raises InvalidInput if the repository around `folder` has no such commit.
    """
    if not environment.has_commit(folder, commit):
        raise InvalidInput(
            f"The commit {commit[:SHORT]} of {name} is not in a git repository around {str(folder)!r}. Say folder=, the "
            "folder of the project in a clone that has it; git fetch brings commits."
        )
    before, after = f"{commit[:SHORT]}/", f"{name}/"
    diff: list[str] = []
    rows: list[tuple[str | None, str | None, bool]] = []
    for path, text in sorted(texts.items()):
        committed = environment.file_at_commit(folder, commit, path)
        left, right = _lines(committed or ""), _lines(text)
        if committed is None or left != right:
            old = "/dev/null" if committed is None else before + path
            diff += difflib.unified_diff(left, right, old, after + path, lineterm="", n=CONTEXT)
            rows += [(f"# {path}", f"# {path}", False), *side_by_side(left, right)]
    return CodeDiff("\n".join(diff) + "\n" if diff else "", rows, (before[:-1], name))


def _lines(text: str) -> list[str]:
    """Return the lines of a Python file. Other characters that str.splitlines() knows end none."""
    return text.removesuffix("\n").split("\n") if text else []
