"""What ``import tablevault_pd`` costs, against the pandas and pyarrow that it needs; and the same up to an open vault."""

from __future__ import annotations

from typing import TYPE_CHECKING

from timing import OURS, Contender, Line, child, race

if TYPE_CHECKING:
    from pathlib import Path

CODE = """
from time import perf_counter
start = perf_counter()
import {modules}
print(perf_counter() - start)
"""
CONNECTED = """
from time import perf_counter
start = perf_counter()
import tablevault_pd
vault = tablevault_pd.connect({folder!r})
print(perf_counter() - start)
vault.close()
"""


def measure(folder: Path, scale: float) -> list[Line]:
    def importing(modules: str) -> float:
        return child(CODE.format(modules=modules))

    child(CODE.format(modules=OURS))  # writes the .pyc files
    contenders = [
        Contender(OURS, lambda _: importing("tablevault_pd")),
        Contender(
            "tablevault_pd, and connect()",
            lambda number: child(CONNECTED.format(folder=str(folder / str(number)))),
        ),
        Contender("pandas, pyarrow", lambda _: importing("pandas, pyarrow")),
    ]
    return race("import", contenders, rounds=10, targets={"pandas, pyarrow": 1.3})
