"""Every benchmark, in one command: ``python benchmarks/run.py [topic ...] [--scale 0.1] [--folder PLACE]``.

A topic is a module of this folder with a function ``measure(folder, scale)`` that returns lines of the table. The table
is printed as Markdown, with the machine and the versions above it.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

from timing import Report, machine  # noqa: E402  # found by the path set above


def topics() -> list[str]:
    """Modules of this folder that measure something."""
    return sorted(
        path.stem for path in HERE.glob("*.py") if "\ndef measure(" in path.read_text(encoding="utf-8")
    )


def main() -> int:
    known = topics()
    parser = argparse.ArgumentParser(
        description="Print how fast tablevault_pd is, as ratios to other ways to do the work."
    )
    parser.add_argument("topics", nargs="*", metavar="TOPIC", help=f"of {', '.join(known)}; default: all")
    parser.add_argument(
        "--scale", type=float, default=1.0, help="a fraction of the rows, to try it out (default: 1)"
    )
    parser.add_argument(
        "--folder", type=Path, help="where to work; the disk matters (default: the temporary folder)"
    )
    arguments = parser.parse_args()
    unknown = sorted(set(arguments.topics) - set(known))
    if unknown:
        parser.error(f"no topic {', '.join(unknown)}; there are {', '.join(known)}")
    report = Report()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        print(
            machine(Path(folder)) + ("" if arguments.scale == 1 else f"; scale {arguments.scale}"), end="\n\n"
        )
        try:
            for name in arguments.topics or known:
                print(f"measuring {name} …", file=sys.stderr, flush=True)
                place = Path(folder, name)
                place.mkdir()
                report.lines += importlib.import_module(name).measure(place, arguments.scale)
        finally:  # what was measured before something failed took minutes
            print(report.table())
    return 0


if __name__ == "__main__":
    sys.exit(main())
