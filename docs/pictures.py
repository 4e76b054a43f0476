"""Make the pictures of docs/analysis.md anew: run its Python and keep what it saves. ``python docs/pictures.py``."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent


def main() -> None:
    """Write docs/pictures/*.png."""
    page = (HERE / "analysis.md").read_text(encoding="utf-8")
    code = "\n".join(re.findall(r"```python\n(.*?)```", page, flags=re.S))
    environment = os.environ | {"MPLBACKEND": "Agg", "PYTHONPATH": str(HERE.parent)}
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(
            [sys.executable, "-c", code], cwd=folder, env=environment, check=True, stdout=subprocess.DEVNULL
        )
        (HERE / "pictures").mkdir(exist_ok=True)
        for picture in Path(folder).glob("*.png"):
            (HERE / "pictures" / picture.name).write_bytes(picture.read_bytes())


if __name__ == "__main__":
    main()
