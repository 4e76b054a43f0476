"""What ``import tablevault_pd`` costs, against the pandas and pyarrow that it needs."""

from __future__ import annotations

from pathlib import Path

from timing import OURS, Contender, Line, child, race

CODE = """
from time import perf_counter
start = perf_counter()
import {modules}
print(perf_counter() - start)
"""


def measure(folder: Path, scale: float) -> list[Line]:
    def importing(modules: str) -> float:
        return child(CODE.format(modules=modules))

    child(CODE.format(modules=OURS))  # writes the .pyc files
    contenders = [
        Contender(OURS, lambda _: importing("tablevault_pd")),
        Contender("pandas, pyarrow", lambda _: importing("pandas, pyarrow")),
    ]
    return race("import", contenders, rounds=10, targets={"pandas, pyarrow": 1.3})
