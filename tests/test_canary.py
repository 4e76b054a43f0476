"""A password and a token go in at every door, and come out at none: not as they are, not in base64, not percent-encoded."""

from __future__ import annotations

import base64
import logging
import pickle
import sys
import traceback
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pandas as pd
import pytest

import tablevault_pd as tv

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

CANARY = "C@nary/" + "Zq81xW7k"  # no line of code has it
IN_URL = quote(CANARY, safe="")
SERVER = f"arangodb://ann:{IN_URL}@127.0.0.1:1/db"
DATABASE = f"postgresql://ann:{IN_URL}@127.0.0.1:1/db"


def forms() -> set[str]:
    """What the canary looks like, encoded in the ways in which libraries and protocols write it."""
    found = {CANARY, IN_URL, CANARY[2:], quote(IN_URL, safe=""), CANARY.encode().hex()}
    for before in ("", "a", "ab", "ann:", ":"):
        text = base64.b64encode((before + CANARY).encode()).decode()
        found.add(text[4:-4])  # but for what depends on the characters around it
    return found


def told_by(error: BaseException | None) -> Iterator[str]:
    """All that an error says, with all errors behind it, and not the lines of this file that are quoted."""
    while error is not None:
        yield from (repr(error), str(error), repr(vars(error)), repr(error.args))
        yield from traceback.format_exception(error)
        error = error.__cause__ or error.__context__


def fails(call: Callable[..., Any], *arguments: Any, **options: Any) -> Iterator[str]:
    with pytest.raises(Exception) as raised:  # noqa: PT011  # whatever it is, it must not tell
        call(*arguments, **options)
    yield from told_by(raised.value)


def bytes_below(*folders: Path) -> Iterator[str]:
    for folder in folders:
        for path in folder.rglob("*"):
            yield str(path)
            if path.is_file():
                yield path.read_bytes().decode("latin-1")


def used(vault: tv.Vault, here: Path) -> Iterator[str]:
    """Do all that a password or token may be given to."""
    params = {
        "password": CANARY,
        "db": {"api_key": CANARY, "url": DATABASE},
        "urls": [f"s3://ann:{IN_URL}@host/x"],
    }
    with pytest.raises(ValueError), vault.session("train", params=params) as run:  # noqa: PT011
        yield repr(run)
        run.log(loss=0.5)
        raise ValueError(f"no answer of {DATABASE}")
    vault.save("rows", {"n": 1}, description="plain")
    yield from (repr(vault), str(vault), vault._repr_html_(), repr(vault["rows"]), repr(vars(vault)))
    for frame in (vault.sessions(), vault.read("rows"), vault.versions(), vault.lists()):
        yield from (frame.to_json(default_handler=str), repr(frame.attrs))
    yield repr(vault.run("train"))
    try:
        yield repr(pickle.dumps(vault))
    except Exception as error:  # noqa: BLE001
        yield from told_by(error)
    vault.export(here / "exported")
    vault.backup(here / "backup")
    tv.copy(vault, str(here / "copied"))
    yield from fails(tv.connect, SERVER, timeout_s=0.1)
    yield from fails(tv.connect, "arangodb://ann@127.0.0.1:1/db", password=CANARY, timeout_s=0.1)
    yield from fails(tv.connect, "arangodb://127.0.0.1:1/db", token=lambda: CANARY, timeout_s=0.1)
    yield from fails(tv.connect, SERVER.replace(":1/", ":port/"))
    yield from fails(tv.connect, SERVER.replace("arangodb", "http"))
    yield from fails(tv.copy, SERVER, str(here / "x"))
    yield from fails(tv.copy, vault, SERVER)
    for importer in (tv.import_mlflow, tv.import_tensorboard, tv.import_trackio, tv.import_tablevault):
        for address in (DATABASE, SERVER, f"https://ann:{IN_URL}@127.0.0.1:1/x"):
            yield from fails(importer, address, into=vault)


def test_no_password_comes_out(here, monkeypatch, caplog, capfd, recwarn):
    monkeypatch.setenv("SERVICE_TOKEN", CANARY)
    monkeypatch.setenv("TABLEVAULT_PASSWORD", CANARY)
    monkeypatch.setattr(sys, "argv", ["train.py", "--password", CANARY, f"--url={DATABASE}"])
    with caplog.at_level(logging.DEBUG), tv.connect(here / "v") as vault:
        told = list(used(vault, here))
    told += [f"{record.getMessage()} {record.args}" for record in caplog.records]
    told += [*capfd.readouterr(), *(str(warning.message) for warning in recwarn)]
    told += bytes_below(here)
    leaks = {form: text for form in forms() for text in told if form in text}
    assert not leaks, "\n".join(
        f"{form}: {text[max(0, text.index(form) - 200) : text.index(form) + 60]!r}"
        for form, text in leaks.items()
    )
    assert pd.DataFrame(told).size > 40
