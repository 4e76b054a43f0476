"""Rows that are claimed, finished and given back, on both stores."""

from __future__ import annotations

import itertools
import json
import os
import pickle
import sqlite3
import tempfile
import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager, nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from stores import BOTH, database_of, new_place
from test_forks import wait_until
from torture.harness import times

import tablevault_pd as tv
from tablevault_pd.cli.commands import main
from tablevault_pd.session.heartbeat import HEARTBEAT
from tablevault_pd.vault.context import VaultContext

if TYPE_CHECKING:
    from collections.abc import Iterator

NUMBERS = st.lists(st.integers(0, 5), max_size=6)
WORKERS = st.integers(0, 2)


def jobs(*numbers: int) -> pd.DataFrame:
    return pd.DataFrame({"n": pd.Series(numbers, dtype="int64")})


def states(vault: tv.Vault, name: str = "jobs") -> str:
    """The first letter of each row's state."""
    return "".join(state[0] for state in vault.claims(name)["state"])


@pytest.fixture
def ten(vault: tv.Vault) -> tv.Vault:
    vault.save("jobs", jobs(*range(10)))
    return vault


# ---------------------------------------------------------------- claiming


def test_rows_come_once_and_in_order_of_position(ten):
    first, second, third, none = (ten.claim("jobs", k=4) for _ in range(4))
    assert [frame.index.tolist() for frame in (first, second, third, none)] == [
        [0, 1, 2, 3], [4, 5, 6, 7], [8, 9], [],
    ]  # fmt: skip
    pd.testing.assert_frame_equal(first, ten.read("jobs", stop=4))
    assert none.columns.tolist() == ["n"]


def test_a_filter_takes_the_rows_that_fit_and_leaves_the_others(ten):
    assert ten.claim("jobs", k=2, filters="n % 3 == 1")["n"].tolist() == [1, 4]
    assert ten.claim("jobs", k=3)["n"].tolist() == [0, 2, 3]
    assert ten.claim("jobs", k=9, filters=[("n", ">", 4), ("n", "<", 8)])["n"].tolist() == [5, 6, 7]
    assert ten.claim("jobs", k=9, filters="n % 3 == 1")["n"].tolist() == []
    for least in (9, 8):  # the same text, another value
        assert ten.claim("jobs", k=9, filters="n >= @least")["n"].tolist() == [least]


@pytest.mark.skipif(not hasattr(pd, "col"), reason="pandas has no expressions")
def test_a_filter_that_looks_at_all_rows_looks_at_them_anew(ten):
    assert ten.claim("jobs", filters=pd.col("n") > pd.col("n").mean())["n"].tolist() == [5]
    ten.append("jobs", jobs(*[100] * 10))
    found = ten.claim("jobs", k=99, filters=pd.col("n") > pd.col("n").mean())
    assert found.index.tolist() == list(range(10, 20))


def test_rows_that_a_call_took_are_not_taken_again_by_its_next_request(ten):
    ten.release(ten.claim("jobs", k=4))
    ten.append("jobs", jobs(10))
    mine = ten.claim("jobs", k=11)  # ten of the version that was known, then the one that was appended
    assert mine.index.tolist() == mine["n"].tolist() == list(range(11))


@pytest.mark.skipif(not hasattr(pd, "col"), reason="pandas has no expressions")
def test_a_filter_that_looks_at_all_rows_offers_none_twice_to_one_call(vault):
    vault.save("jobs", jobs(*range(30)))
    vault.claim("jobs", k=19)
    mine = vault.claim("jobs", k=2, filters=pd.col("n") >= pd.col("n").min())
    assert mine["n"].tolist() == [19, 20]


def test_columns_and_references_are_those_of_read(ten):
    ten.save("wide", pd.DataFrame({"a": [1, 2, 3], "b": ["x", "y", "z"], "vec": [[1.0, 2.0]] * 3}))
    pd.testing.assert_frame_equal(
        ten.claim("wide", columns=["b"], refs=True), ten.read("wide", columns=["b"], stop=1, refs=True)
    )
    pd.testing.assert_frame_equal(
        ten.claim("wide", filters="a == 3", refs="r"), ten.read("wide", start=2, refs="r")
    )
    pd.testing.assert_frame_equal(ten.claim("wide"), ten.read("wide", start=1, stop=2))


def test_a_list_with_labels_is_claimed_by_its_rows(vault):
    vault.save("jobs", pd.DataFrame({"n": [1, 2, 3]}, index=pd.Index(["a", "b", "b"], name="task")))
    mine = vault.claim("jobs", k=3)
    vault.finish(mine)
    assert vault.claims("jobs")["key"].tolist() == ["a", "b", "b"]
    assert states(vault) == "ddd"


def test_claims_show_the_key_of_a_list(vault):
    rows = pd.DataFrame({"doc": ["a", "a", "b"], "n": [0, 1, 0], "text": ["x", "y", "z"]})
    vault.save("pairs", rows, key=["doc", "n"])
    assert vault.claims("pairs")["key"].tolist() == [("a", 0), ("a", 1), ("b", 0)]
    vault.save("single", rows.assign(id=[7, 8, 9]), key="id")
    assert vault.claims("single")["key"].tolist() == [7, 8, 9]
    vault.save("level", rows.set_index(["doc", "n"]), key=["n", "doc"])
    assert vault.claims("level")["key"].tolist() == [(0, "a"), (1, "a"), (0, "b")]
    vault.save("none", rows)
    assert vault.claims("none")["key"].tolist() == [None] * 3


def test_what_was_handed_out_is_not_changed_by_whoever_has_it(vault):
    vault.save("jobs", pd.DataFrame({"n": [1, 2], "tags": [["a"], ["b"]]}))
    mine = vault.claim("jobs")
    mine.loc[0, "n"] = 99
    mine["tags"].iloc[0].append("c")
    vault.release(mine)
    assert vault.claim("jobs").to_dict("list") == {"n": [1], "tags": [["a"]]}


def test_wrong_arguments_claim_nothing(ten):
    for options in ({"columns": ["m"]}, {"filters": "m == 1"}, {"filters": "n = 1"}, {"k": 0}, {"refs": "n"}):
        with pytest.raises(tv.InvalidInput):
            ten.claim("jobs", **options)
    for name, error in (("job", tv.ListNotFound), ("jobs@1", tv.InvalidName), (5, tv.InvalidType)):
        with pytest.raises(error):
            ten.claim(name)
    ten.delete("jobs")
    with pytest.raises(tv.ListDeleted):
        ten.claim("jobs")
    ten.restore("jobs", 1)
    assert states(ten) == "oooooooooo"


def test_a_vault_without_a_session_or_for_reading_claims_nothing(here):
    vault = tv.connect(here / "v")
    vault.save("jobs", jobs(1, 2))
    vault.claim("jobs")
    with tv.connect(here / "v", mode="r") as reader:
        assert states(reader) == "ho"
        assert [frame["n"].tolist() for frame in reader.follow("jobs", since="start", timeout_s=0)] == [
            [1, 2]
        ]
        mine = reader.read("jobs")
        for call in (
            lambda: reader.claim("jobs"),
            lambda: reader.finish(mine),
            lambda: reader.release("jobs"),
        ):
            with pytest.raises(tv.VaultReadOnly):
                call()
    vault.close()
    for call in (lambda: vault.claim("jobs"), vault.claims, lambda: vault.follow("jobs")):
        with pytest.raises(tv.VaultClosed):
            call()
    with tv.connect(here / "v", session=False) as quiet:
        with pytest.raises(tv.InvalidInput, match="session"):
            quiet.claim("jobs")
        with quiet.session("worker"):
            assert quiet.claim("jobs")["n"].tolist() == [1]


# ---------------------------------------------------------------- finishing


def test_parts_are_finished_and_given_back(ten):
    mine = ten.claim("jobs", k=6)
    ten.finish(mine.query("n < 2"))
    ten.finish(mine.iloc[[3]])
    assert ten.release(mine.iloc[4:]) == 2
    assert states(ten) == "ddhdoooooo"
    assert ten.claim("jobs", k=3).index.tolist() == [4, 5, 6]
    assert ten.release("jobs") == 4
    assert states(ten) == "ddodoooooo"
    with pytest.raises(tv.ClaimLost, match=r"Row 4 of 'jobs' is not held"):
        ten.finish(mine.iloc[[4]])
    ten.finish(mine.iloc[:2])  # again
    assert ten.release(mine) == 0


def test_results_and_the_end_of_their_claim_come_together(ten):
    mine = ten.claim("jobs", k=3)
    ten.append("results", mine.assign(twice=2 * mine["n"]), inputs=tv.rows(mine), finish=True)
    assert states(ten) == "dddooooooo"
    parents = ten.lineage("results")
    assert parents["parent_position"].tolist() == [0, 1, 2]
    assert set(parents["basis"]) == {"stated"}
    with pytest.raises(tv.ClaimLost, match=r"Rows 0, 1, 2 of 'jobs'"):
        ten.append("results", {"twice": 5}, inputs=mine, finish=True)
    lost = ten.claim("jobs", k=2)
    ten.release(lost.iloc[:1])
    for write in (ten.append, ten.save):
        with pytest.raises(tv.ClaimLost, match=r"Row 3 of 'jobs'"):
            write("results", {"twice": 5}, inputs=lost, finish=True)
    assert ten["results"].version == 1
    assert len(ten["results"]) == 3
    assert states(ten) == "dddohooooo"


def test_finish_takes_the_rows_themselves_and_several_frames(ten):
    ten.save("more", jobs(1, 2))
    own = ten.claim("jobs")
    ten.append("results", own.assign(x=1), finish=True)
    one, two, other = ten.claim("jobs"), ten.claim("jobs"), ten.claim("more")
    ten.save("results", {"x": 1}, inputs=[one, two, one, other], finish=True)
    assert (states(ten), states(ten, "more")) == ("dddooooooo", "do")
    mine = ten.claim("jobs")
    ten.save("results", {"x": 1}, inputs=[one, two, one, other])
    ten.save("results", {"x": 1}, inputs=mine)
    ten.save("results", {"x": 1}, inputs=mine, finish=True)  # which makes no version
    assert states(ten) == "ddddoooooo"


def test_finish_says_what_it_needs(ten):
    mine = ten.claim("jobs", k=2)
    for options in ({}, {"inputs": "jobs"}, {"inputs": ten.read("jobs")}, {"inputs": False}):
        with pytest.raises(tv.InvalidInput, match="finish=True"):
            ten.append("results", {"x": 1}, finish=True, **options)
    with pytest.raises(tv.InvalidInput, match="index"):
        ten.finish(mine.reset_index(drop=True))
    own = pd.DataFrame({"n": [0, 1]})
    for rows in (own, mine.merge(own, on="n")):  # neither says of which list it is
        for call in (ten.finish, ten.release):
            with pytest.raises(tv.InvalidInput, match="which rows of a list these are"):
                call(rows)
    ten.finish(mine.iloc[:0])
    assert states(ten) == "hhoooooooo"
    with pytest.raises(tv.InvalidType):
        ten.finish([0, 1])
    assert "results" not in ten
    ten.finish(ten.read("jobs", stop=2))  # read again by the session that holds them
    assert states(ten) == "ddoooooooo"


def test_a_stop_takes_effect_before_rows_are_claimed(ten):
    with pytest.raises(tv.SessionStopped), ten.session("worker") as run:
        ten.finish(ten.claim("jobs", k=2))
        ten.stop("worker")
        wait_until(lambda: run._recorder.has_request)
        ten.claim("jobs", k=2)
    assert states(ten) == "ddoooooooo"
    assert ten.sessions("worker")["state"].tolist() == ["stopped"]


def test_a_claim_goes_with_its_frame(ten):
    with ten.session("a"):
        mine = ten.claim("jobs", k=4)
    assert states(ten) == "oooooooooo"
    with ten.session("b"):
        theirs = ten.claim("jobs", k=2)
        with pytest.raises(tv.ClaimLost):
            ten.finish(mine.iloc[:2])
        sent = pickle.loads(pickle.dumps(theirs))
        with ten.session("c"):
            ten.finish(sent.iloc[1:])
        assert states(ten) == "hdoooooooo"
    assert states(ten) == "odoooooooo"


def test_rows_are_released_by_session(ten):
    with ten.session("a") as a, ten.session("b"):
        ten.claim("jobs", k=2)
        with ten.session("c"):
            ten.claim("jobs", k=2)
            assert ten.release("jobs", session="b") == 2
            assert ten.release("jobs", session=a) == 0
            with pytest.raises(tv.SessionNotFound):
                ten.release("jobs", session="nobody")
            with pytest.raises(tv.InvalidInput, match="session="):
                ten.release(ten.read("jobs"), session="a")
            assert states(ten) == "oohhoooooo"


# ---------------------------------------------------------------- new versions


def test_claims_outlive_new_versions(ten):
    held = ten.claim("jobs", k=4)
    ten.finish(held.iloc[:2])
    ten.append("jobs", jobs(10))
    assert states(ten) == "ddhhooooooo"
    ten.save("jobs", jobs(3, 1, 77, 0, 1))  # 3 and 2 were held, 0 and 1 are done; the second 1 is another row
    assert states(ten) == "hdodo"
    ten.finish(held.iloc[3:])
    assert states(ten) == "ddodo"
    assert ten.claim("jobs", k=9)["n"].tolist() == [77, 1]
    ten.restore("jobs", 1)
    assert states(ten) == "ddhdoooooo"
    ten.delete("jobs")
    ten.restore("jobs", 3)
    assert states(ten) == "ddhdh"
    ten.compact()
    ten.vacuum(dry_run=False)
    assert states(ten) == "ddhdh"


def test_claims_are_of_keys_where_the_list_has_one(vault):
    def upsert(**columns: list[int]) -> None:
        vault.upsert("jobs", pd.DataFrame(columns))

    vault.save("jobs", pd.DataFrame({"task": [1, 2, 3, 4], "n": [0] * 4}), key="task")
    mine = vault.claim("jobs", k=3)
    vault.finish(mine.iloc[:1])
    upsert(task=[1, 2, 4, 5], n=[9, 9, 9, 9])
    assert states(vault) == "dhhoo"
    upsert(task=[2], n=[10])
    vault.finish(mine.iloc[1:2])
    assert states(vault) == "ddhoo"
    vault.delete_rows("jobs", filters="task == 1")
    assert vault.claim("jobs", k=2)["task"].tolist() == [4, 5]
    upsert(task=[1], n=[9])  # which is gone and comes again: another row
    assert states(vault) == "dhhho"
    vault.save("jobs", pd.DataFrame({"task": [5, 1, 2], "n": [1, 1, 1]}))  # the key stays with the list
    assert states(vault) == "hod"
    vault.save("jobs", pd.DataFrame({"job": [5, 1]}), key="job")
    assert states(vault) == "oo"


def test_rows_that_came_to_an_empty_list_keep_their_claims_when_they_are_restored(vault):
    """Equal rows that another version got meanwhile are others."""
    vault.save("jobs", jobs())
    vault.claim("jobs")
    claimed = vault.append("jobs", jobs(1)).version
    vault.finish(vault.claim("jobs"))
    vault.save("jobs", jobs())
    vault.append("jobs", jobs(1))
    assert states(vault) == "o"
    vault.restore("jobs", claimed)
    assert states(vault) == "d"


@pytest.mark.parametrize("looks", [False, True])
@pytest.mark.parametrize("key", ["n", None])
def test_a_row_that_was_gone_is_a_new_one(vault, key, looks):
    """Whether or not somebody claims while it is gone."""

    def look() -> None:
        assert not looks or vault.claim("jobs", filters="n > 90").empty

    def remove() -> None:
        vault.delete_rows("jobs", filters="n == 1")
        look()

    options: Any = {} if key is None else {"key": key}
    vault.save("jobs", jobs(1, 2, 3), **options)
    vault.finish(vault.claim("jobs", k=2))
    remove()
    vault.append("jobs", jobs(1, 4))
    assert states(vault) == "dooo"
    vault.finish(vault.claim("jobs", k=2))
    look()
    vault.save("jobs", jobs(3, 4, 1, 2), **options)  # as they are: these are the same rows
    assert states(vault) == "dodd"
    remove()
    vault.save("jobs", jobs(3, 4, 2, 1), **options)
    assert states(vault) == "dodo"
    vault.delete("jobs")
    vault.save("jobs", jobs(2, 3), **options)
    assert states(vault) == "oo"
    vault.restore("jobs", 1)  # the very rows of that time
    assert states(vault) == "ddd"


def test_vacuum_forgets_nobodys_work(ten):
    ten.finish(ten.claim("jobs", k=9))
    ten.save("jobs", jobs(9, 8, 7))
    ten.vacuum(dry_run=False)
    assert ten.claim("jobs", k=3)["n"].tolist() == [9]


def test_a_column_that_is_added_changes_no_row(ten):
    ten.finish(ten.claim("jobs", k=9))
    ten.save("jobs", ten.read("jobs").assign(m="x"))
    assert ten.claim("jobs", k=3)["n"].tolist() == [9]


# ---------------------------------------------------------------- who lives


@contextmanager
def unheard(vault: tv.Vault, session: tv.Run) -> Iterator[None]:
    """Have a session of this process look as if it had not been heard of for years."""
    with HEARTBEAT._rounds:
        HEARTBEAT._sessions.remove(session._recorder)
    vault.store.update_session(session.id, heartbeat=datetime(2020, 1, 1, tzinfo=UTC))
    yield
    HEARTBEAT.add(session._recorder)


def test_what_is_lost_falls_back(ten):
    with ten.session("a") as a:
        mine = ten.claim("jobs", k=3)
        with unheard(ten, a):
            assert states(ten) == "oooooooooo"
            with ten.session("b"):
                assert ten.claim("jobs", k=2)["n"].tolist() == [0, 1]
                with pytest.raises(tv.ClaimLost, match="Rows 0, 1"):
                    ten.append("results", {"x": 1}, inputs=mine, finish=True)
                assert "results" not in ten
                assert states(ten) == "hhoooooooo"


def test_a_resumed_session_does_not_hold_what_its_last_process_held(ten):
    with ten.session("a"):
        mine = ten.claim("jobs", k=3)
    with ten.session("a", resume=True):
        assert states(ten) == "oooooooooo"
        ten.claim("jobs")
        with pytest.raises(tv.ClaimLost):
            ten.finish(mine.iloc[:1])
        assert states(ten) == "hooooooooo"


def test_threads_claim_each_row_once(ten):
    ten.append("jobs", jobs(*range(10, 200)))
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: ten.claim("jobs", k=7).index.tolist(), range(40)))
    assert sorted(position for each in found for position in each) == list(range(200))


def test_the_command_line_shows_claims_and_frees_them(here, capsys):
    with tv.connect(here / "v", session="worker") as vault:
        vault.save("jobs", jobs(1, 2, 3))
        vault.claim("jobs", k=2)
        place = ["--vault", str(here / "v")]
        assert main(["claims", "jobs", "--state", "held", *place]) == 0
        out = capsys.readouterr().out
        assert out.count("worker#1") == 2
        assert out.endswith("2 held.\n")
        assert main(["release", "jobs", "--session", "worker", *place]) == 0
        assert capsys.readouterr().out.endswith("2 rows given back.\n")
        assert states(vault) == "ooo"


def test_the_command_line_follows_a_list(here, capsys):
    with tv.connect(here / "v") as vault:
        vault.save("jobs", jobs(1, 2))
        vault.append("jobs", jobs(3))
        follow = ["follow", "jobs", "--timeout", "0", "--vault", str(here / "v")]
        assert main([*follow, "--since", "start", "--filters", "n > 1"]) == 0
        assert capsys.readouterr().out.split() == ["position", "n", "1", "2", "2", "3"]
        assert main([*follow, "--since", "1", "--json"]) == 0
        assert json.loads(capsys.readouterr().out) == [{"position": 2, "n": 3}]
        assert main(follow) == 0
        assert capsys.readouterr().out == ""
        assert main(["follow", "none", "--vault", str(here / "v")]) == 1


# ---------------------------------------------------------------- damage


def damage(vault: tv.Vault, aql: str, sql: str) -> None:
    if "://" in vault.place:
        database_of(f"{vault.place.replace('@', ':' + os.environ['TABLEVAULT_PASSWORD'] + '@')}").aql.execute(
            aql
        )
        return
    with closing(sqlite3.connect(Path(vault.place) / "catalog.db")) as catalog, catalog:
        catalog.execute(sql)


def test_check_finds_claims_that_would_never_fall_back(vault):
    vault.save("jobs", jobs(1, 2, 3))
    vault.finish(vault.claim("jobs", k=2).iloc[:1])
    assert vault.check().empty
    damage(vault, "FOR w IN tv_work UPDATE w WITH {holders: []} IN tv_work", "DELETE FROM work_holders")
    found = vault.check(fix=True)
    assert found[["what", "list", "fixed"]].values.tolist() == [["claims", "jobs", True]]
    assert found["detail"].str.startswith("1 claim of").all()
    assert states(vault) == "doo"
    assert vault.check().empty


def test_check_finds_rows_that_nobody_would_look_at(vault):
    vault.save("jobs", jobs(1, 2, 3))
    vault.finish(vault.claim("jobs", k=2).iloc[:1])
    vault.append("jobs", jobs(4, 5))
    assert vault.check().empty
    damage(vault, "FOR w IN tv_work UPDATE w WITH {frontier: 4} IN tv_work", "UPDATE work SET frontier = 4")
    found = vault.check(fix=True)
    assert found[["what", "list", "fixed"]].values.tolist() == [["claims", "jobs", True]]
    assert found["detail"].str.startswith("2 rows that nobody").all()
    assert vault.check().empty
    with tv.connect(vault.place) as other:
        assert other.claim("jobs", k=9)["n"].tolist() == [3, 4, 5]


def test_check_knows_the_numbers_of_claims(vault, monkeypatch):
    """Those of calls have 62 bits, those of rows that are mapped are digests."""
    monkeypatch.setattr("tablevault_pd.vault.work.secrets.randbits", lambda bits: (1 << bits) - 1)
    vault.save("jobs", jobs(*range(8)))
    assert len(vault.claim("jobs", k=2)) == 2
    assert vault.check().empty
    found = []

    def look(row: Any) -> dict[str, int]:
        found.append(vault.check())
        return {"n": row.n}

    vault.map("mapped", look, "jobs", version="1")
    assert len(found) == 8
    assert all(report.empty for report in found)


# ---------------------------------------------------------------- a plain oracle


class Workers(RuleBasedStateMachine):
    """Claims of one list by three sessions, against plain lists: the rows of each version, and the state of each row."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.stack = ExitStack()
        place = self.stack.enter_context(
            new_place(kind, Path(self.stack.enter_context(tempfile.TemporaryDirectory())))
        )
        self.place, self.names = place.address, [f"w{number}" for number in range(3)]
        self.workers = [self.connected(number) for number in range(3)]
        self.reader = tv.Vault(
            VaultContext((self.place, uuid.uuid4().hex), place.open(durability="fast"), {}), None
        )
        self.ids = itertools.count()
        self.versions: list[
            list[tuple[int, int]]
        ] = []  # (number, what tells the row from others) of each row
        self.state: dict[int, tuple[str, str]] = {}  # done or held, by which session
        self.left: dict[
            int, tuple[str, str]
        ] = {}  # held by a session that ended: until somebody claims, it may still finish them
        self.frames: list[tuple[pd.DataFrame, list[int], str]] = []
        self.results = 0

    def connected(self, number: int) -> tv.Vault:
        return tv.connect(self.place, session=self.names[number], durability="fast", capture="none")

    def teardown(self) -> None:
        with self.stack:
            assert self.reader.check().empty
            for vault in (*self.workers, self.reader):
                vault.close()

    def saved(self, numbers: list[int]) -> list[tuple[int, int]]:
        """The rows of the next version: the first one of equal rows is the first one of those before, and so on."""
        before: dict[int, list[int]] = {}
        for number, row in self.versions[-1] if self.versions else ():
            before.setdefault(number, []).append(row)
        return [
            (number, before[number].pop(0) if before.get(number) else next(self.ids)) for number in numbers
        ]

    @initialize(numbers=NUMBERS)
    def begin(self, numbers: list[int]) -> None:
        self.workers[0].save("jobs", jobs(*numbers))
        self.versions.append(self.saved(numbers))
        # Of versions before the first claim it is not known which of their rows are those of later ones.
        assert self.workers[0].claim("jobs", filters="n < 0").empty

    @rule(numbers=NUMBERS)
    def append(self, numbers: list[int]) -> None:
        self.workers[1].append("jobs", jobs(*numbers))
        self.versions.append([*self.versions[-1], *((number, next(self.ids)) for number in numbers)])

    @rule(numbers=NUMBERS, keep=st.booleans())
    def save(self, numbers: list[int], keep: bool) -> None:
        numbers = [*numbers, *(number for number, _ in self.versions[-1][::-1] if keep)]
        if numbers != [number for number, _ in self.versions[-1]]:
            self.workers[1].save("jobs", jobs(*numbers))
            self.versions.append(self.saved(numbers))

    @rule(back=st.integers(1, 5))
    def restore(self, back: int) -> None:
        number = max(len(self.versions) - back, 1)
        made = self.workers[1].restore("jobs", number).version
        if made > len(self.versions):
            self.versions.append(self.versions[number - 1])

    @rule(worker=WORKERS, count=st.integers(1, 5), odd=st.booleans())
    def claim(self, worker: int, count: int, odd: bool) -> None:
        mine = self.workers[worker].claim("jobs", k=count, filters="n % 2 == 1" if odd else None)
        self.left.clear()
        fitting = [
            (position, number, row)
            for position, (number, row) in enumerate(self.versions[-1])
            if row not in self.state and (number % 2 == 1 or not odd)
        ][:count]
        assert mine.index.tolist() == [position for position, _, _ in fitting]
        assert mine["n"].tolist() == [number for _, number, _ in fitting]
        rows = [row for _, _, row in fitting]
        self.state.update(dict.fromkeys(rows, ("held", self.label(worker))))
        self.frames.append((mine, rows, self.label(worker)))

    def label(self, worker: int) -> str:
        return str(self.workers[worker]._run.label)

    def part(self, number: int, start: int, stop: int) -> tuple[pd.DataFrame, list[int], str]:
        frame, rows, label = self.frames[number % len(self.frames)]
        return frame.iloc[start:stop], rows[start:stop], label

    @precondition(lambda self: self.frames)
    @rule(worker=WORKERS, number=st.integers(0, 99), start=st.integers(0, 2), stop=st.integers(1, 5))
    def release(self, worker: int, number: int, start: int, stop: int) -> None:
        frame, rows, label = self.part(number, start, stop)
        held = [row for row in rows if (self.state | self.left).get(row) == ("held", label)]
        assert self.workers[worker].release(frame) == len(held)
        for row in held:
            self.state.pop(row, None)
            self.left.pop(row, None)

    @precondition(lambda self: self.frames)
    @rule(
        worker=WORKERS,
        number=st.integers(0, 99),
        start=st.integers(0, 2),
        stop=st.integers(1, 5),
        how=st.sampled_from("fas"),
    )
    def finish(self, worker: int, number: int, start: int, stop: int, how: str) -> None:
        frame, rows, label = self.part(number, start, stop)
        allowed = [("held", label), ("done", label)] if how == "f" else [("held", label)]
        lost = any((self.state | self.left).get(row) not in allowed for row in rows)
        self.results += 1
        vault = self.workers[worker]
        with pytest.raises(tv.ClaimLost) if lost else nullcontext():
            if how == "f":
                vault.finish(frame)
            else:
                write = vault.append if how == "a" else vault.save
                write("results", {"x": self.results}, inputs=frame, finish=True)
        if not lost:
            self.state.update(dict.fromkeys(rows, ("done", label)))
            self.left = {row: state for row, state in self.left.items() if row not in rows}
        elif how != "f" and "results" in vault:
            assert self.results not in vault.read("results")["x"].tolist()

    @rule(worker=WORKERS)
    def end(self, worker: int) -> None:
        label = self.label(worker)
        self.workers[worker]._run.end()
        self.names[worker] += "+"
        self.workers[worker] = self.connected(worker)
        self.left |= {row: state for row, state in self.state.items() if state == ("held", label)}
        self.state = {row: state for row, state in self.state.items() if row not in self.left}

    @rule()
    def care(self) -> None:
        self.workers[2].compact()

    @invariant()
    def claims_are_those_of_the_oracle(self) -> None:
        if self.versions:
            frame = self.reader.claims("jobs")
            found = list(
                zip(
                    frame["state"],
                    frame["session"].astype(object).where(frame["session"].notna(), None),
                    strict=True,
                )
            )
            assert found == [self.state.get(row, ("open", None)) for _, row in self.versions[-1]]
            assert frame["since"].notna().tolist() == [state != "open" for state, _ in found]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The rows saved")
@pytest.mark.parametrize("kind", BOTH)
def test_claims_against_an_oracle(kind: str) -> None:
    run_state_machine_as_test(
        lambda: Workers(kind),
        settings=settings(
            max_examples=times(15, ordinary=8) if kind == "embedded" else times(6, ordinary=3),
            stateful_step_count=25,
        ),
    )
