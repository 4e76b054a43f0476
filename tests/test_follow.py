"""New rows of a list as they are committed, on both stores."""

from __future__ import annotations

import threading
import time
from typing import Any

import pandas as pd
import pytest

import tablevault_pd as tv


def jobs(*numbers: int) -> pd.DataFrame:
    return pd.DataFrame({"n": pd.Series(numbers, dtype="int64")})


def news(vault: tv.Vault, **options: object) -> list[list[int]]:
    return [frame["n"].tolist() for frame in vault.follow("events", timeout_s=0, **options)]


def test_where_following_begins(vault):
    first = vault.save("events", jobs(1, 2))
    time.sleep(0.002)  # the store's clock, in microseconds on a folder and in milliseconds on a server
    moment = pd.Timestamp.now("UTC")
    now = vault.follow("events", since="now", timeout_s=0)
    vault.append("events", jobs(3))
    vault.append("events", jobs(4))
    assert [frame["n"].tolist() for frame in now] == [[3, 4]]
    assert news(vault, since="start") == [[1, 2, 3, 4]]
    assert news(vault, since=first.version) == [[3, 4]]
    assert news(vault, since=2) == [[4]]
    assert news(vault, since="2020-01-01") == [[1, 2, 3, 4]]
    assert news(vault, since=moment) in ([[3, 4]], [[1, 2, 3, 4]])  # two clocks
    assert news(vault) == []


def test_each_row_comes_once_whatever_is_done_to_the_list(vault):
    vault.save("events", jobs(1, 2))
    follower = vault.follow("events", since="start", timeout_s=0.5)
    assert next(follower)["n"].tolist() == [1, 2]
    vault.append("events", jobs(3))
    vault.save("events", jobs(2, 3, 4))
    vault.save("events", jobs(4, 5, 5))
    found = [next(follower) for _ in range(3)]
    assert [frame["n"].tolist() for frame in found] == [[3], [4], [5, 5]]
    assert found[2].index.tolist() == [1, 2]
    vault.delete("events")
    vault.restore("events", 1)
    vault.append("events", jobs(6))
    assert [frame["n"].tolist() for frame in follower] == [[6]]


def test_what_each_operation_brings_to_a_follower(vault):
    vault.save("events", pd.DataFrame({"id": [1, 2, 3], "n": [1, 2, 3]}), key="id")
    vault.save("events", pd.DataFrame({"id": [1, 2], "n": [4, 2]}))

    def brings(*changes: Any) -> list[list[int]]:
        follower = vault.follow("events", timeout_s=0)
        for change in changes:
            change()
        return [frame["n"].tolist() for frame in follower]

    def upsert(*rows: tuple[int, int]) -> Any:
        return lambda: vault.upsert("events", pd.DataFrame(rows, columns=["id", "n"]))

    assert brings(upsert((2, 5), (3, 6))) == [[5, 6]]  # a changed row comes again
    assert brings(upsert((2, 5))) == []
    assert brings(lambda: vault.delete_rows("events", filters="n == 6")) == []
    assert brings(lambda: vault.restore("events", 1)) == []  # its rows were stored before
    assert brings(upsert((1, 9)), lambda: vault.restore("events", 2), upsert((1, 8))) == [[9], [8]]
    gone = upsert((3, 7), (4, 8)), lambda: vault.erase("events", filters="n == 7"), upsert((5, 9))
    assert brings(*gone) == [[8], [9]]
    assert brings(lambda: vault.save("events", vault.read("events").iloc[::-1])) == []
    assert brings(upsert((6, 1)), lambda: vault.delete("events")) == [[1]]
    assert brings_of_deleted(vault) == [[7]]


def brings_of_deleted(vault: tv.Vault) -> list[list[int]]:
    vault.restore("events", 1)
    follower = vault.follow("events", timeout_s=0)
    vault.delete("events")
    vault.save("events", jobs(7))
    return [frame["n"].tolist() for frame in follower]


def test_a_list_is_followed_under_its_new_name_and_not_one_that_took_the_old(vault):
    vault.save("events", jobs(1))
    follower = vault.follow("events", timeout_s=0)
    vault.append("events", jobs(2))
    vault.rename("events", "moved")
    vault.save("events", jobs(100), expect=0)
    vault.append("moved", jobs(3))
    assert [frame["n"].tolist() for frame in follower] == [[2, 3]]
    follower = vault.follow("moved", timeout_s=0)
    vault.delete("moved")
    vault.vacuum(deleted=True, dry_run=False)
    vault.save("moved", jobs(4))
    assert [frame["n"].tolist() for frame in follower] == [[4]]


def test_rows_that_cannot_be_compared_any_more_are_an_error(vault):
    vault.save("events", jobs(1, 2))
    follower = vault.follow("events", timeout_s=0)
    vault.save("events", jobs(2, 3))
    vault.vacuum(keep=1, dry_run=False)
    with pytest.raises(tv.VersionNotFound, match="events@1"):
        list(follower)


def test_frames_are_those_of_read_and_know_their_rows(vault):
    vault.save("events", pd.DataFrame({"n": [1, 2, 3, 4], "t": list("abcd")}))
    [frame] = vault.follow("events", since="start", filters="n != 2", columns=["t"], refs=True, timeout_s=0)
    pd.testing.assert_frame_equal(frame, vault.read("events", filters="n != 2", columns=["t"], refs=True))
    [frame] = vault.follow("events", since="start", timeout_s=0)
    vault.save("copies", frame.iloc[1:])
    assert vault.lineage("copies")["parent_position"].tolist() == [1, 2, 3]
    with pytest.raises(tv.InvalidInput):
        vault.follow("events", filters="m > 1")
    for wrong in ({"since": 9}, {"since": True}, {"since": "soon"}, {"stop": 5}, {"timeout_s": -1}):
        with pytest.raises((tv.InvalidInput, tv.VersionNotFound)):
            vault.follow("events", **wrong)
    with pytest.raises(tv.ListNotFound):
        vault.follow("nothing")


def test_a_stop_a_condition_and_a_closed_vault_end_it(vault):
    vault.save("events", jobs(1))
    event = threading.Event()
    for frame in vault.follow("events", since="start", stop=event):
        assert frame["n"].tolist() == [1]
        event.set()
    assert list(vault.follow("events", since="start", stop=lambda: True)) == []
    with pytest.raises(tv.SessionStopped), vault.session("follower"):
        for _ in vault.follow("events", since="start"):
            vault.stop("follower")
    follower = vault.follow("events")
    threading.Timer(0.2, vault.append, ("events", {"n": 2})).start()
    assert next(follower)["n"].tolist() == [2]
