"""The command ``ui``."""

from __future__ import annotations

import webbrowser
from typing import TYPE_CHECKING

import pandas as pd

from tablevault_pd.cli.output import Output
from tablevault_pd.errors import InvalidInput, MissingDependency

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from tablevault_pd.vault.vault import Vault

MAX_PORT = 65_535


def add_ui_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of ``ui``."""
    parser.add_argument(
        "--port", type=int, default=0, metavar="N", help="the port; default: one that is free"
    )
    parser.add_argument("--control", action="store_true", help="sessions can be paused, resumed and stopped")
    parser.add_argument("--no-browser", action="store_true", help="only print the address")


def ui(vault: Vault, arguments: Namespace) -> Output:
    """Serve the pages of the vault to a browser on this machine, until Ctrl-C."""
    if not 0 <= arguments.port <= MAX_PORT:
        raise InvalidInput(f"--port is a number from 1 to {MAX_PORT}, not {arguments.port}.")
    try:
        from tablevault_pd.explore.server import start
    except ImportError as error:
        raise MissingDependency.for_extra(error.name or "panel", "ui", "tablevault-pd ui") from error
    try:
        server, door = start(vault, port=arguments.port, control=arguments.control)
    except OSError as error:
        raise InvalidInput(
            f"Port {arguments.port} cannot be used: {error.strerror}. Leave --port out for a free one."
        ) from error
    print(f"{door.address}\nCtrl-C ends it.", flush=True)
    if not arguments.no_browser:
        webbrowser.open(door.address)
    server.start()
    try:
        server.io_loop.start()
    except KeyboardInterrupt:
        pass
    finally:
        server.stop()
    return Output(pd.DataFrame(), note="Ended.")
