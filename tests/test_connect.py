"""Connecting: which vault is meant, and what happens where it is open already."""

from __future__ import annotations

import platform
from urllib.parse import urlsplit

import pandas as pd
import pytest
from stores import new_database

import tablevault_pd as tv

READS = {
    "tv.read": lambda frame: tv.read("x"),
    "origin": lambda frame: frame.vault.origin,
    "refs": lambda frame: frame.vault.refs,
    "parents": lambda frame: frame.vault.parents(),
    "lineage": lambda frame: frame.vault.lineage(),
    "code": lambda frame: frame.vault.code(),
    "sessions": lambda frame: frame.vault.sessions(),
    "search": lambda frame: frame.vault.search("x"),
}


@pytest.mark.parametrize("call", READS)
def test_reading_without_a_vault_makes_none_and_names_the_place(here, call):
    with pytest.raises(tv.VaultNotFound, match="connect") as error:
        READS[call](pd.DataFrame({"a": [1]}))
    assert str(here / "vault") in str(error.value)
    assert list(here.iterdir()) == []


def test_saving_without_a_vault_makes_the_default_one_and_says_where(here, capfd):
    pd.DataFrame({"a": [1]}).vault.save("x")
    assert str(here / "vault") in capfd.readouterr().err
    tv.current_vault().close()
    assert tv.read("x")["a"].tolist() == [1]
    assert capfd.readouterr().err == ""
    tv.current_vault().close()


@pytest.mark.parametrize(
    ("first", "then"),
    [
        ({}, {"durability": "fast"}),
        ({"durability": "fast"}, {"durability": "full"}),
        ({}, {"timeout_s": 1}),
        ({}, {"capture": "none"}),
        ({"capture": "all"}, {"capture": "main"}),
        ({}, {"redact": False}),
        ({"redact": False}, {"redact": True}),
    ],
    ids=str,
)
def test_other_options_for_an_open_vault_are_refused(here, first, then):
    with tv.connect("v", **first):
        with pytest.raises(tv.InvalidInput, match=f"{next(iter(then))}="):
            tv.connect("v", **then)
        tv.connect("v", **first).close()
        tv.connect("v").close()
    with tv.connect("v", **then) as vault:  # closed by everybody: it is opened anew
        vault.save("x", {"a": 1})


def test_a_new_session_of_an_open_vault_has_settings_of_its_own(here):
    with (
        tv.connect("v", session="one"),
        tv.connect("v", session="two", capture="none", redact=False) as vault,
    ):
        assert vault.cells("two").empty


@pytest.mark.parametrize(
    "option", [{"password": "x"}, {"token": "x"}, {"create": "oneshard"}, {"verify_tls": "x.pem"}], ids=str
)
def test_options_of_a_server_are_refused_for_a_folder_each_time(here, option):
    with pytest.raises(tv.InvalidInput, match="is for a vault on a server"):
        tv.connect("v", **option)
    with tv.connect("v"), pytest.raises(tv.InvalidInput, match="is for a vault on a server"):
        tv.connect("v", **option)


@pytest.mark.arango
def test_credentials_are_checked_each_time_they_are_given(here, monkeypatch):
    monkeypatch.delenv("TABLEVAULT_PASSWORD", raising=False)
    with new_database() as url:
        parts = urlsplit(url)
        bare = parts._replace(netloc=f"{parts.username}@{parts.hostname}:{parts.port}").geturl()
        wrong = parts._replace(netloc=f"{parts.username}:wrong@{parts.hostname}:{parts.port}").geturl()
        with tv.connect(url, create=True) as vault:
            vault.save("x", {"a": 1})
            for arguments in (
                {"place": bare, "password": "wrong"},
                {"place": wrong},
                {"place": bare, "token": "wrong"},
            ):
                with pytest.raises(tv.StoreUnavailable):
                    tv.connect(**arguments)
            assert tv.connect(bare).read("x")["a"].tolist() == [1]
            assert tv.connect(bare, password=parts.password).read("x")["a"].tolist() == [1]


def test_logging_after_the_vault_was_closed_makes_no_other_one(here):
    tv.connect("mine").close()
    for call in (lambda: tv.log(loss=1), lambda: pd.DataFrame({"a": [1]}).vault.save("x")):
        with pytest.raises(tv.VaultClosed, match="mine was closed"):
            call()
    assert not (here / "vault").exists()


@pytest.mark.parametrize("kind", ["nfs", "nfs4", "lustre", "gpfs", "cifs", "smb3", "fuse.sshfs", "ceph"])
def test_a_disk_that_machines_share_is_refused_for_one_vault_of_all(here, monkeypatch, kind):
    shared, local = here / "shared disk", here / "shared disk" / "scratch"
    local.mkdir(parents=True)
    mounts = here / "mounts"
    lines = ["22 1 8:1 / / rw - ext4 /dev/sda1 rw", f"36 22 0:40 / {shared} rw,noatime shared:1 - {kind} server:/home rw",
             f"37 36 8:2 / {local} rw - xfs /dev/sdb rw", "broken"]  # fmt: skip
    mounts.write_text("\n".join(line.replace("shared disk", "shared\\040disk") for line in lines))
    monkeypatch.setattr("tablevault_pd.places.MOUNTS", mounts)
    with pytest.raises(tv.InvalidInput, match=rf"{kind} at .*node='auto'"):
        tv.connect(shared / "exp" / "v", session=False)
    assert not (shared / "exp").exists()
    for place in (here / "v", local / "v"):
        tv.connect(place, session=False).close()
    with tv.connect(shared / "exp", node="auto", session=False) as own:
        own.save("x", {"n": 1})
        assert own.place == str(shared / "exp" / platform.node())
    with tv.connect(shared / "exp" / platform.node(), mode="r") as own:
        assert len(own["x"]) == 1


def test_the_vaults_of_nodes_are_merged(here):
    for node in ("gpu-1", "gpu-2"):
        with tv.connect(here / "exp", node=node, session=False) as own:
            own.save("x", {"n": 1})
    report = tv.merge(sorted((here / "exp").iterdir()), here / "all")
    assert report["copied_to"].tolist() == ["x", "gpu-2/x"]
    for place, node, message in (("all", "auto", "is a vault itself"), ("exp", "../x", "name of a folder")):
        with pytest.raises(tv.InvalidInput, match=message):
            tv.connect(here / place, node=node)
    with pytest.raises(tv.InvalidInput, match="share a server"):
        tv.connect("arangodb://root@127.0.0.1:1/x", node="auto")


def test_a_vault_that_lost_its_catalogue_says_so_at_once(here):
    with tv.connect(here / "v", session=False) as vault:
        vault.save("x", {"n": 1})
    (here / "v" / "catalog.db").unlink()
    with pytest.raises(
        tv.VaultNotFound, match=r"lost its catalogue: there is commits\.log, and no catalog\.db"
    ):
        tv.connect(here / "v", mode="r", timeout_s=3600)
