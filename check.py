"""Everything CI checks, in one command that needs no make: ``python check.py [step ...]``.

Steps: format, lint, layers, types, examples, tests (with doctests and the README's code). All of them run, also
after one failed, so that one run shows everything. The tests come last: pytest's closing line ends the output.
``coverage``, the tests with the lines that they reach counted, runs only where it is named: it takes half as long again.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

ROOT = Path(__file__).resolve().parent
RUN_NOTEBOOK = (
    "import sys, nbformat; from nbclient import NotebookClient; "
    "NotebookClient(nbformat.read(sys.argv[1], as_version=4), timeout=600).execute()"
)


def main(names: Sequence[str]) -> int:
    """Run the steps called `names`, or all. Return 0, or pytest's exit code, or 1 for another step's failure."""
    unknown = [name for name in names if name not in STEPS]
    if unknown:
        print(f"Unknown step: {', '.join(unknown)}. Steps: {', '.join(STEPS)}.", file=sys.stderr)
        return 2
    codes = {name: report(name) for name in STEPS if name in (names or DEFAULT)}
    failed = [name for name, code in codes.items() if code]
    if failed and failed != ["tests"]:
        print(f"check.py failed in: {', '.join(failed)}")
    return codes.get("tests", 0) or int(bool(failed))


def report(name: str) -> int:
    """Run one step under its heading and, tests excepted (pytest says it all), print how it went."""
    print(f"== {name}", flush=True)
    start = time.monotonic()
    code = STEPS[name]()
    if name != "tests":
        print(f"== {name}: {'FAILED' if code else 'ok'} ({time.monotonic() - start:.0f} s)", flush=True)
    return code


def tool(*arguments: str) -> Callable[[], int]:
    """A step that runs one Python tool on the whole project."""
    return lambda: subprocess.run([sys.executable, "-m", *arguments], cwd=ROOT, check=False).returncode


def layers() -> int:
    """Compare the imports with the layers in pyproject.toml."""
    code = "from importlinter.cli import lint_imports; raise SystemExit(lint_imports(no_cache=True))"
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode


def examples() -> int:
    """Run each script and notebook of examples/ in an empty folder, as a user would. Its output is shown if it fails."""
    scripts = [*sorted((ROOT / "examples").glob("*.py")), *sorted((ROOT / "examples").glob("*.ipynb"))]
    if not scripts:
        print("examples/ holds no script")
        return 1
    # A picture is drawn to a file: no window may open. The clone's own package is the one to run.
    environment = os.environ | {"MPLBACKEND": "Agg", "PYTHONPATH": str(ROOT)}
    return max([example(script, environment) for script in scripts])


def example(script: Path, environment: dict[str, str]) -> int:
    """Run one script or notebook. Return 1 if it failed."""
    runner = ["-c", RUN_NOTEBOOK] if script.suffix == ".ipynb" else []
    with tempfile.TemporaryDirectory() as folder:
        run = subprocess.run(
            [sys.executable, *runner, script],
            cwd=folder,
            env=environment,
            check=False,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
    print(f"{script.name}: {'FAILED' if run.returncode else 'ok'}", flush=True)
    if run.returncode:
        print(run.stdout, flush=True)
    return int(run.returncode != 0)


STEPS: dict[str, Callable[[], int]] = {
    "format": tool("ruff", "format", "--check", "."),
    "lint": tool("ruff", "check", "."),
    "layers": layers,
    "types": tool("mypy", "tablevault_pd", "tests", "benchmarks", "examples", "check.py"),
    "examples": examples,
    "tests": tool("pytest", "-q", "-n", "auto"),
    "coverage": tool("pytest", "-q", "-n", "auto", "--cov", "--cov-report=term:skip-covered"),
}
DEFAULT = [name for name in STEPS if name != "coverage"]

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
