"""Make the pictures of the docs anew: ``python docs/pictures.py``.

Those of docs/analysis.md are what its Python saves; those of docs/compare.md and of the README are what cells of
examples/longitudinal.ipynb draw.
"""

from __future__ import annotations

import base64
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
NOTEBOOK = HERE.parent / "examples" / "longitudinal.ipynb"
#: The picture of the README: a cell that is added to the notebook.
PAYOFF = """
from matplotlib import pyplot as plt

figure, (moved, flipped, because) = plt.subplots(
    1, 3, figsize=(13, 3.8), width_ratios=[5, 3, 5], layout="constrained"
)
trend.vault.plot(ax=moved)
found.plot(ax=flipped)
lines = [line for line in found.code_diff.splitlines()[2:] if line[:3] in ("-- ", "+- ")]
for number, line in enumerate(lines):
    color = "tab:red" if line[0] == "-" else "tab:green"
    because.text(0, 1 - number / 10, line[:56] + " …", color=color, family="monospace", fontsize=8, va="top")
counts = found.why().value_counts(["flip", "what", "name"]).to_string().splitlines()
because.text(0, 0, "\\n".join(counts), family="monospace", fontsize=8, va="bottom")
because.axis("off")
for axes, title in ((moved, "The metric moved"), (flipped, "These rows flipped"), (because, "Because of this")):
    axes.set_title("")
    axes.set_title(title, loc="left", fontweight="bold")
figure;
"""
#: Cells of the notebook, and the pictures that are taken from them.
DRAWN = {"trend.vault.plot();": "trend.png", "found.plot();": "flips.png", PAYOFF.strip(): "payoff.png"}


def main() -> None:
    """Write docs/pictures/*.png."""
    (HERE / "pictures").mkdir(exist_ok=True)
    for name, content in {**of_page(HERE / "analysis.md"), **of_notebook()}.items():
        (HERE / "pictures" / name).write_bytes(content)


def of_page(page: Path) -> dict[str, bytes]:
    """Run the Python of a page, and return the pictures that it saves."""
    code = "\n".join(re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.S))
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-c", code]
        subprocess.run(
            command,
            cwd=folder,
            env=environment() | {"MPLBACKEND": "Agg"},
            check=True,
            stdout=subprocess.DEVNULL,
        )
        return {picture.name: picture.read_bytes() for picture in Path(folder).glob("*.png")}


def of_notebook() -> dict[str, bytes]:
    """Run the notebook in an empty folder, and return what the cells in DRAWN show."""
    import nbclient
    import nbformat

    notebook = nbformat.read(NOTEBOOK, as_version=4)
    notebook.cells.append(nbformat.v4.new_code_cell(PAYOFF.strip()))
    with tempfile.TemporaryDirectory() as folder:
        client = nbclient.NotebookClient(
            notebook, kernel_name="python3", resources={"metadata": {"path": folder}}
        )
        client.execute(env=environment())
    drawn = {}
    for cell in notebook.cells:
        name = DRAWN.get(cell.source.strip())
        for output in cell.get("outputs", ()) if name is not None else ():
            if "image/png" in output.get("data", {}):
                drawn[name] = base64.b64decode(output["data"]["image/png"])
    assert sorted(drawn) == sorted(DRAWN.values()), "the notebook draws something else now: change DRAWN"
    return drawn


def environment() -> dict[str, str]:
    """Return the environment of what draws; in a notebook its kernel names the backend."""
    plain = {name: value for name, value in os.environ.items() if name != "MPLBACKEND"}
    return plain | {
        "PYTHONPATH": str(HERE.parent),
        "PYTHONHASHSEED": "1",
    }  # sets in one order: the same picture


if __name__ == "__main__":
    main()
