"""How a vault is named on the command line, for those who named it in the place of something else."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from argparse import Namespace


def is_vault(word: object) -> bool:
    """Whether a word of the command line is the folder of a vault."""
    return isinstance(word, str) and os.path.isfile(os.path.join(os.path.expanduser(word), "catalog.db"))


def named_by(place: str) -> str:
    """Say how this vault is named."""
    return f"A vault is named by --vault {place}, or by the environment variable TABLEVAULT_URL."


def misplaced(arguments: Namespace) -> str | None:
    """Say how the vault is named that stands where a command takes something else; None if there is none."""
    words = (word for name, word in vars(arguments).items() if name != "vault")
    place = next((word for word in words if is_vault(word)), None)
    return None if place is None else f"{place} is a vault. {named_by(place)}"
