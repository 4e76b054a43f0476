"""Every benchmark, in one command: ``python benchmarks/run.py [topic ...] [--scale 0.1] [--folder PLACE] [--write]``.

A topic is a module of this folder with a function ``measure(folder, scale)`` that returns lines. Each table is printed as
Markdown when its topic is done; with ``--write`` it replaces the one between the marks of the topic in README.md, and
pictures are drawn anew. A module may have a ``report(lines)`` instead of the table, a ``draw(lines, folder)``, and ``ALONE = True``
if it runs only when it is named.
"""

from __future__ import annotations

import argparse
import importlib
import os
import re
import shutil
import sys
import tempfile
import traceback
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

import timing  # noqa: E402  # found by the path set above

README = HERE / "README.md"


def topics() -> list[str]:
    """Modules of this folder that measure something."""
    return sorted(
        path.stem for path in HERE.glob("*.py") if "\ndef measure(" in path.read_text(encoding="utf-8")
    )


def write(topic: str, text: str) -> None:
    """Replace what README.md says between the marks of a topic."""
    page = README.read_text(encoding="utf-8")
    begin, end = f"<!-- {topic} -->", f"<!-- end of {topic} -->"
    pattern = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
    page, count = pattern.subn(lambda _: f"{begin}\n{text}\n{end}", page)
    if count != 1:
        raise ValueError(f"{README} has no {begin} … {end}, or more than one.")
    README.write_text(page, encoding="utf-8")


def run(topic: str, folder: Path, scale: float, *, to_readme: bool) -> None:
    """Measure one topic, print its table, and keep it if that is asked for."""
    timing.progress(topic)
    load, began = os.getloadavg()[0] if hasattr(os, "getloadavg") else float("nan"), perf_counter()
    module = importlib.import_module(topic)
    place = folder / topic
    place.mkdir()
    try:
        lines = module.measure(place, scale)
    finally:
        shutil.rmtree(place, ignore_errors=True)
    took = perf_counter() - began
    when = f"{datetime.now(UTC):%Y-%m-%d}, in {took:.0f} s; load of the machine before: {load:.1f}"
    text = f"{getattr(module, 'report', timing.table)(lines)}\n\n{when}"
    print(f"{text}\n", flush=True)
    if to_readme:
        write(topic, text)
        write("machine", timing.machine(folder))
        if hasattr(module, "draw"):
            module.draw(lines, HERE)


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
    parser.add_argument(
        "--write", action="store_true", help="put the tables into README.md, and draw the pictures"
    )
    arguments = parser.parse_args()
    unknown = sorted(set(arguments.topics) - set(known))
    if unknown:
        parser.error(f"no topic {', '.join(unknown)}; there are {', '.join(known)}")
    if arguments.write and arguments.scale != 1:
        parser.error("--write keeps what was measured at scale 1")
    chosen = arguments.topics or [
        topic for topic in known if not getattr(importlib.import_module(topic), "ALONE", False)
    ]
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        scale = "" if arguments.scale == 1 else f"; scale {arguments.scale:g}"
        print(timing.machine(Path(folder)) + scale, end="\n\n", flush=True)
        failed = []
        for topic in chosen:
            try:
                run(topic, Path(folder), arguments.scale, to_readme=arguments.write)
            except Exception:  # noqa: BLE001  # the other topics take minutes, and nobody may be there
                traceback.print_exc()
                failed.append(topic)
    if failed:
        print(f"Not measured: {', '.join(failed)}", file=sys.stderr)
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
