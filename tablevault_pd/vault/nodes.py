"""Vaults on disks that several machines share: one for each machine, and none for all."""

from __future__ import annotations

import os
import platform
import re
from pathlib import Path
from typing import Any

from tablevault_pd.errors import InvalidInput, short_repr
from tablevault_pd.names import check_name
from tablevault_pd.vault.network_disks import network_disk


def of_node(folder: str, node: Any) -> str:
    """The folder of the vault of one machine."""
    if "://" in folder:
        raise InvalidInput("node= is for a vault in a folder; several machines share a server.")
    if os.path.exists(os.path.join(folder, "catalog.db")):
        raise InvalidInput(
            f"{folder} is a vault itself. With node=, name a folder that is to hold the vaults of all machines."
        )
    name = check_name(platform.node() if node == "auto" else node, "node")
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", name):
        raise InvalidInput(
            f"node= becomes the name of a folder: letters, digits, _, . and -, not {short_repr(name)}."
        )
    return os.path.join(folder, name)


def refuse_network_disk(folder: str) -> None:
    """Refuse to write where locks between machines cannot be relied on."""
    if "://" in folder:
        return
    disk = network_disk(Path(folder).expanduser())
    if disk is not None:
        raise InvalidInput(
            f"The folder {folder} lies on a disk that several machines share ({disk}). Locks between machines cannot be relied on "
            "there, so writers on two of them could lose data. Connect with node='auto': each machine then has a vault of its own in "
            "that folder, and tv.merge folds them into one. Or use a local disk, or a server."
        )
