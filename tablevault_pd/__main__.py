"""``python -m tablevault_pd``: the command line, for when its script is not on the PATH."""

from __future__ import annotations

import sys

from tablevault_pd.cli.commands import main

if __name__ == "__main__":
    sys.exit(main())
