"""The README is true: its Python runs and prints what it shows, its two commands are where it says."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGES = [
    page
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    if "```python" in page.read_text(encoding="utf-8")
]
NEXT_BLOCK = "\x1e"  # a line of this separates what the blocks print


@dataclass(frozen=True)
class Block:
    """One fenced block: its language, the number of its first line in the page, and its lines."""

    language: str
    first: int
    lines: tuple[str, ...]


def blocks_of(text: str) -> list[Block]:
    found, lines, language, first = [], [], None, 0
    for number, line in enumerate(text.splitlines(), start=1):
        fence = re.match(r"```(\w*)", line)
        if language is None:
            if fence:
                language, first, lines = fence[1], number + 1, []
        elif fence:
            found.append(Block(language, first, tuple(lines)))
            language = None
        else:
            lines.append(line)
    assert language is None, f"the block that starts at line {first} is not closed"
    return found


def script_of(blocks: list[Block]) -> str:
    """All Python blocks as one script in which every line has the number it has in the page."""
    script: list[str] = []
    for block in blocks:
        script += [""] * (block.first - 2 - len(script))
        script += [f"print({NEXT_BLOCK!r}, flush=True)", *block.lines]  # the print stands where the fence is
    return "\n".join(script) + "\n"


def expected_outputs(blocks: list[Block]) -> list[tuple[Block, Block | None]]:
    """Each Python block with the text block that follows it directly, if one does."""
    followers: list[Block | None] = [*blocks[1:], None]
    return [
        (block, after if after is not None and after.language == "text" else None)
        for block, after in zip(blocks, followers, strict=True)
        if block.language == "python"
    ]


def stripped(lines: list[str]) -> list[str]:
    """`lines` without blanks at their ends and without empty lines around."""
    return "\n".join(line.rstrip() for line in lines).strip("\n").split("\n")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_the_python_of_a_page_runs_and_prints_what_is_shown(page, tmp_path):
    blocks = blocks_of(page.read_text(encoding="utf-8"))
    pairs = expected_outputs(blocks)
    work = tmp_path / "work"
    work.mkdir()
    script = work / f"page_{page.stem}.py"  # no name that hides a module of Python, such as code
    script.write_text(script_of([block for block, _ in pairs]), encoding="utf-8")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TABLEVAULT_")}
    environment |= {"PYTHONPATH": str(ROOT), "MPLBACKEND": "Agg", "PYTHONIOENCODING": "utf-8"}

    run = subprocess.run(
        [sys.executable, script],
        cwd=work,
        env=environment,
        capture_output=True,
        encoding="utf-8",
        timeout=300,
    )

    assert run.returncode == 0, f"the code of {page.name} fails (same line numbers):\n{run.stderr}"
    printed = run.stdout.split(f"{NEXT_BLOCK}\n")[1:]
    for (block, shown), output in zip(pairs, printed, strict=True):
        if shown is not None:
            where = f"{page.name}, block at line {block.first}"
            assert stripped(output.splitlines()) == stripped(list(shown.lines)), where


def test_the_first_two_shell_blocks_are_the_two_commands():
    shell = [
        block
        for block in blocks_of((ROOT / "README.md").read_text(encoding="utf-8"))
        if block.language in {"sh", "bash", "shell", "console"}
    ]
    run_it, test_it = shell[:2]
    assert [block.language for block in (run_it, test_it)] == ["sh", "sh"]
    assert [len(block.lines) for block in (run_it, test_it)] == [1, 1]
    for block in (run_it, test_it):
        assert block.lines[0].startswith("python3 -m venv .venv && .venv/bin/pip install ")
        script = block.lines[0].split()[-1]
        assert (ROOT / script).is_file(), f"{script} is not there"
