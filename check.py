"""Everything CI checks, in one command that needs no make: ``python check.py [step ...]``.

Steps: format, lint, layers, types, examples, tests (with doctests and the code of README and docs). All of them run, also
after one failed, so that one run shows everything. Where the environment variable ``CI`` is set, the step docs and the tests
marked ``ci`` (torture, a browser) run, too, and types looks at tests, benchmarks and examples as well as at the package. All but
the tests run side by side, and what each printed follows its heading when it is done. The tests come last: pytest's closing line
ends the output.
``coverage``, the tests with the lines that they reach counted, runs only where it is named: it takes half as long again.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT = Path(__file__).resolve().parent
RUN_NOTEBOOK = (
    "import sys, nbformat; from nbclient import NotebookClient; "
    "NotebookClient(nbformat.read(sys.argv[1], as_version=4), timeout=600).execute()"
)

LAYERS = "from importlinter.cli import lint_imports; raise SystemExit(lint_imports(no_cache=True))"


def main(names: Sequence[str]) -> int:
    """Run the steps called `names`, or all. Return 0, or pytest's exit code, or 1 for another step's failure."""
    unknown = [name for name in names if name not in STEPS]
    if unknown:
        print(f"Unknown step: {', '.join(unknown)}. Steps: {', '.join(STEPS)}.", file=sys.stderr)
        return 2
    chosen = [name for name in STEPS if name in (names or DEFAULT)]
    with ThreadPoolExecutor(len(STEPS)) as pool:
        codes = dict(pool.map(report, [name for name in chosen if name not in TESTS]))
    for name in TESTS & set(chosen):
        print(f"== {name}", flush=True)
        codes[name] = subprocess.run(STEPS[name], cwd=ROOT, env=environment(), check=False).returncode
    failed = [name for name, code in codes.items() if code]
    if failed and failed != ["tests"]:
        print(f"check.py failed in: {', '.join(failed)}")
    return codes.get("tests", 0) or int(bool(failed))


def report(name: str) -> tuple[str, int]:
    """Run one step, then print under its heading what it printed, and how it went. Return its name and exit code."""
    start = time.monotonic()
    code, output = examples() if name == "examples" else run(STEPS[name])
    verdict = f"== {name}: {'FAILED' if code else 'ok'} ({time.monotonic() - start:.0f} s)"
    print(f"== {name}\n{output.rstrip()}\n{verdict}", flush=True)
    return name, code


def run(command: Sequence[str], folder: Path = ROOT) -> tuple[int, str]:
    """Run a command. Return its exit code and what it printed."""
    done = subprocess.run(
        command,
        cwd=folder,
        env=environment(),
        check=False,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    return done.returncode, done.stdout


def environment() -> dict[str, str]:
    """The environment of each step: a picture is drawn to a file, no window may open; the clone's own package is imported.

    Hundreds of processes import that, and each would compile it again if it could not keep what it compiled.
    """
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return kept | {"MPLBACKEND": "Agg", "PYTHONPATH": str(ROOT), "NO_MKDOCS_2_WARNING": "1"}


def examples() -> tuple[int, str]:
    """Run each script and notebook of examples/ in an empty folder, as a user would. Its output is shown if it fails."""
    scripts = [*sorted((ROOT / "examples").glob("*.py")), *sorted((ROOT / "examples").glob("*.ipynb"))]
    if not scripts:
        return 1, "examples/ holds no script"
    with ThreadPoolExecutor(2) as pool:
        codes, texts = zip(*pool.map(example, scripts), strict=True)
    return max(codes), "\n".join(texts)


def example(script: Path) -> tuple[int, str]:
    """Run one script or notebook. Return its exit code, and what is to be printed about it."""
    runner = ["-c", RUN_NOTEBOOK] if script.suffix == ".ipynb" else []
    with tempfile.TemporaryDirectory() as folder:
        code, output = run([sys.executable, *runner, str(script)], Path(folder))
    return int(code != 0), f"{script.name}: FAILED\n{output}" if code else f"{script.name}: ok"


def tool(*arguments: str) -> list[str]:
    """The command of one Python tool."""
    return [sys.executable, "-m", *arguments]


CI = bool(os.environ.get("CI"))
# Worksteal keeps the tests of a file in one process, as far as it can: what they share is made once.
# A test that hangs fails, and is named; none takes a tenth of these seconds. CI runs a test that failed once more, and shows why it
# failed: of thousands that start, stop and kill processes, one may meet a moment that comes once in a thousand runs.
PYTEST = tool(
    *("pytest", "-q", "-n", "auto", "--dist", "worksteal", "--timeout=400"),
    *(["--reruns=1", "-rfE"] if CI else ["-m", "not ci"]),
)
STEPS: dict[str, list[str]] = {
    "format": tool("ruff", "format", "--check", "."),
    "lint": tool("ruff", "check", "."),
    "layers": [sys.executable, "-c", LAYERS],
    "types": tool("mypy", "tablevault_pd", *(["tests", "benchmarks", "examples", "check.py"] if CI else [])),
    "examples": [],  # see examples()
    "docs": tool("mkdocs", "build", "--strict", "--quiet"),
    "tests": PYTEST,
    "coverage": [*PYTEST, "--cov", "--cov-report=term:skip-covered"],
}
TESTS = {"tests", "coverage"}
DEFAULT = [name for name in STEPS if name != "coverage" and (CI or name != "docs")]

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
