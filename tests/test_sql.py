"""SQL over lists, reports and frames: what it answers, what it reads, and what it refuses."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from importlib import import_module
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torture.harness import times

import tablevault_pd as tv
from tablevault_pd.cli.commands import main

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytest.importorskip("duckdb", reason="SQL needs DuckDB")

PREDS = pd.DataFrame({"id": [1, 2, 3], "topic": ["a", "a", "b"], "ok": [True, False, True]})
NEWS = pd.DataFrame(
    {"id": [1, 2], "title": ["x", None], "year": pd.array([2020, None], dtype="Int64")},
    index=pd.Index(["p", "q"], name="key"),
)


@pytest.fixture
def filled(vault: tv.Vault) -> tv.Vault:
    vault.save("preds", PREDS)
    vault.save("news", NEWS)
    vault.append(
        "news", pd.DataFrame({"id": [3], "title": ["z"], "year": [1]}, index=pd.Index(["r"], name="key"))
    )
    return vault


def test_lists_and_versions_are_tables(filled):
    joined = filled.sql(
        'SELECT p.id, n.title, n.year FROM preds p LEFT JOIN "news@1" n USING (id) ORDER BY id'
    )
    expected = PREDS[["id"]].merge(NEWS, on="id", how="left")
    pd.testing.assert_frame_equal(joined, expected.astype({"title": joined.title.dtype}))
    assert filled.sql("SELECT key FROM news ORDER BY key").key.tolist() == ["p", "q", "r"], (
        "an index level is a column"
    )
    assert filled.sql('SELECT count(*) AS n FROM "news@1", news').n.tolist() == [6]


def test_integers_stay_integers(filled):
    sums = filled.sql("SELECT sum(year) AS whole, sum(id) / 2 AS half, max(year) AS most FROM news")
    assert sums.dtypes.astype(str).tolist() == ["int64", "float64", "int64"]
    assert sums.iloc[0].tolist() == [2021, 3.0, 2020]
    huge = filled.sql("SELECT sum(9223372036854775807) AS s FROM preds").s[0]
    assert huge == 3 * (2**63 - 1)
    assert str(filled.sql("SELECT year FROM news").year.dtype) == "Int64"


def test_timedeltas_stay_timedeltas(folder_vault):
    spans = pd.to_timedelta([1, None, -86_400_000_001], unit="us")
    folder_vault.save("spans", pd.DataFrame({"took": spans}))
    found = folder_vault.sql("SELECT took FROM spans")
    pd.testing.assert_series_equal(found.took, pd.Series(spans, name="took"), check_exact=True)
    assert folder_vault.sql("SELECT took FROM spans WHERE took > INTERVAL 0 SECOND").took.tolist() == [
        spans[0]
    ]
    assert folder_vault.sql("SELECT took FROM spans WHERE false").took.dtype.kind == "m"
    with pytest.raises(tv.InvalidInput, match=r"'age' has intervals of months"):
        folder_vault.sql("SELECT INTERVAL 1 MONTH AS age")


def test_references_survive(filled):
    answer = filled.sql(
        "SELECT n.title, p.ref, n.ref AS of FROM preds p JOIN news n USING (id) ORDER BY p.id DESC"
    )
    assert [str(ref) for ref in answer.ref] == ["preds[2]", "preds[1]", "preds[0]"]
    assert answer.dtypes.astype(str)[["ref", "of"]].tolist() == ["vault_ref", "vault_ref"]
    answer.vault.save("joined")
    walk = filled.lineage("joined", depth=1).sort_values(["position", "parent_list"])
    assert walk.parent_list.tolist() == ["news", "preds"] * 3
    assert walk.parent_position.tolist() == [2, 2, 1, 1, 0, 0]
    outer = filled.sql(
        "SELECT p.id, n.ref FROM preds p LEFT JOIN (SELECT * , ref FROM news WHERE id = 1) n USING (id) ORDER BY id"
    )
    assert outer.ref.isna().tolist() == [False, True, True]


def test_reports_are_tables(filled):
    with filled.session("train", params={"lr": 0.1}) as s:
        s.log(step=1, loss=0.5)
        s.log(step=2, loss=0.25)
    answer = filled.sql(
        "SELECT s.name, m.step, m.value FROM metrics m JOIN sessions s USING (session) ORDER BY step"
    )
    assert answer.values.tolist() == [["train", 1, 0.5], ["train", 2, 0.25]]
    assert filled.sql(
        'SELECT "params.lr" AS lr FROM sessions WHERE name = $name', name="train"
    ).lr.tolist() == [0.1]
    assert filled.sql("SELECT list, version FROM versions ORDER BY time").list.tolist() == [
        "preds",
        "news",
        "news",
    ]
    filled.read("preds").query("ok").vault.save("good")
    edges = filled.sql("SELECT position, parent_position FROM edges WHERE list = 'good' ORDER BY position")
    assert edges.parent_position.tolist() == [0, 2]
    for report in ("lists", "cells", "descriptions"):
        assert len(filled.sql(f"SELECT * FROM {report}").columns) > 3


def test_frames_and_handles_are_tables(filled):
    hits = filled.search(filters="ok == True", lists="preds")
    assert filled.sql("SELECT count(*) AS n FROM hits", hits=hits).n.tolist() == [2]
    old = filled["news@1"]
    assert filled.sql("SELECT count(*) AS n FROM old", old=old).n.tolist() == [2]
    table = pa.table({"id": [3], "weight": pa.array([2.5], pa.float32())})
    assert filled.sql("SELECT topic, weight FROM preds JOIN w USING (id)", w=table).values.tolist() == [
        ["b", 2.5]
    ]
    read = filled.read("preds", refs=True)
    assert [str(ref) for ref in filled.sql("SELECT ref FROM mine WHERE id > 1", mine=read).ref] == [
        "preds[1]",
        "preds[2]",
    ]


def test_values_are_bound(filled):
    hostile = "a' OR 1=1 --"
    assert filled.sql("SELECT * FROM preds WHERE topic = $t", t=hostile).empty
    assert filled.sql("SELECT id FROM preds WHERE id IN $ids ORDER BY id", ids=[1, 3]).id.tolist() == [1, 3]
    assert filled.sql("SELECT $x IS NULL AS none", x=pd.NA).none.tolist() == [True]
    assert filled.sql("SELECT $x + 1 AS y", x=np.int32(4)).y.tolist() == [5]
    with pytest.raises(tv.InvalidQuery, match="missing"):
        filled.sql("SELECT $missing")
    with pytest.raises(tv.InvalidQuery, match="extra"):
        filled.sql("SELECT 1", extra=1)
    with pytest.raises(tv.InvalidQuery, match="reads no table 'extra'"):
        filled.sql("SELECT 1", extra=PREDS)


def test_vectors_are_arrays(vault):
    vectors = np.eye(3, 4, dtype=np.float16)
    vault.save("embedded", pd.DataFrame({"v": list(vectors)}))
    near = vault.sql(
        "SELECT position, array_cosine_similarity(v, $q::FLOAT[4]) AS s FROM embedded ORDER BY s DESC LIMIT 1",
        q=[0, 1, 0, 0],
    )
    assert near.values.tolist() == [[1, 1.0]]


@pytest.mark.parametrize(
    "query",
    [
        "ATTACH 'x.db'", "COPY preds TO 'x.csv'", "COPY (SELECT 1) TO 'x.parquet'", "INSTALL httpfs", "LOAD httpfs", "PRAGMA version",
        "SET threads = 1", "INSERT INTO preds VALUES (1)", "DELETE FROM preds", "DROP TABLE preds", "CREATE TABLE x AS SELECT 1",
        "SELECT 1; SELECT 2", "SELECT 1; DROP TABLE preds", "EXPORT DATABASE 'x'", "CALL pragma_version()", "CHECKPOINT", "BEGIN",
        "SELECT * FROM read_csv('/etc/passwd')", "SELECT * FROM read_text('/etc/passwd')", "SELECT * FROM glob('/*')",
        "SELECT * FROM read_parquet('https://example.org/x.parquet')", "SELECT * FROM sniff_csv('/etc/passwd')",
        "SELECT * FROM query('COPY (SELECT 1) TO ''x.csv''')", "SELEC 1", "SELECT", ";", "--",
        "WITH x AS (INSERT INTO preds VALUES (1) RETURNING *) SELECT * FROM x", "SELECT getenv('HOME')", "FROM read_text('/etc/passwd')",
        "WITH a AS (WITH b AS (SELECT * FROM read_text('/etc/passwd')) SELECT * FROM b) SELECT * FROM a",
        "SELECT * FROM preds WHERE 'x' IN (SELECT content FROM read_text('/etc/passwd'))", "COPY preds FROM '/etc/passwd'",
        "SELECT list_transform(['/etc/passwd'], lambda x: (SELECT content FROM read_text(x)))", "IMPORT DATABASE 'x'", "USE memory",
        "SELECT * FROM parquet_metadata('x.parquet')", "SELECT * FROM sqlite_scan('catalog.db', 'lists')", "SET VARIABLE x = 1",
        "CREATE SECRET (TYPE s3)", "SELECT * FROM duckdb_secrets()", "CREATE MACRO m(x) AS x", "DETACH memory", "VACUUM",
        "SELECT * FROM preds /* x */ -- y\n; COPY (SELECT 1) TO 'x.csv'", "SELECT * FROM query('SELECT * FROM read_text(''/etc/passwd'')')",
    ],
)  # fmt: skip
def test_only_one_select_over_the_vault(folder_vault, query, tmp_path, monkeypatch):
    folder_vault.save("preds", PREDS)
    monkeypatch.chdir(tmp_path)
    before = set(tmp_path.rglob("*"))
    with pytest.raises(tv.InvalidQuery):
        folder_vault.sql(query)
    assert set(tmp_path.rglob("*")) == before
    assert len(folder_vault.versions()) == 1


def test_a_name_never_means_a_file_or_a_variable(filled, tmp_path):
    (tmp_path / "rows.csv").write_text("a\n1\n")
    local = pd.DataFrame({"a": [1]})
    assert len(local) == 1
    for name in ("local", f"'{tmp_path}/rows.csv'", "'/etc/passwd'", "nowhere"):
        with pytest.raises(tv.ListNotFound):
            filled.sql(f"SELECT * FROM {name}")


def test_unclear_names_are_refused(folder_vault):
    folder_vault.save("metrics", PREDS)
    folder_vault.save("Preds", PREDS)
    folder_vault.save("preds", PREDS)
    with pytest.raises(tv.InvalidQuery, match=r"it=vault\['metrics'\]"):
        folder_vault.sql("SELECT * FROM metrics")
    assert len(folder_vault.sql("SELECT id FROM it", it=folder_vault["metrics"])) == 3
    with pytest.raises(tv.InvalidQuery, match="apart"):
        folder_vault.sql("SELECT * FROM Preds a, preds b")
    with pytest.raises(tv.InvalidQuery, match=r"no column 'nope'.*Columns of preds: 'id', 'topic', 'ok'"):
        folder_vault.sql("SELECT nope FROM preds")
    with pytest.raises(tv.InvalidInput, match="one name"):
        folder_vault.sql("SELECT id, topic AS id FROM preds")


def test_names_of_subqueries(filled):
    assert filled.sql("WITH best AS (SELECT max(id) AS id FROM preds) SELECT id FROM best").id.tolist() == [3]
    shadowed = filled.sql("WITH preds AS (SELECT id FROM preds WHERE ok) SELECT count(*) AS n FROM preds")
    assert shadowed.n.tolist() == [2]
    row = filled.sql("SELECT p FROM preds p WHERE id = 1").p[0]
    assert row == {"id": 1, "topic": "a", "ok": True}, "the whole row needs every column"
    assert filled.sql("SELECT * FROM preds NATURAL JOIN (SELECT id FROM news)").topic.tolist() == [
        "a",
        "a",
        "b",
    ]


def test_only_the_columns_mentioned_are_read(folder_vault, monkeypatch):
    folder_vault.save("wide", pd.DataFrame({f"c{n}": [n] for n in range(50)}))
    seen = []
    scan = folder_vault.store.scan

    def watched(version, **options):
        seen.append(options.get("columns"))
        return scan(version, **options)

    monkeypatch.setattr(folder_vault.store, "scan", watched)
    assert folder_vault.sql("SELECT C7 + c9 AS s FROM wide").s.tolist() == [16]
    assert folder_vault.sql("SELECT count(*) AS n FROM wide").n.tolist() == [1]
    assert [len(columns) for columns in seen] == [2, 1], "rows are counted by one column"


@pytest.fixture(scope="module")
def empty_vault(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tv.Vault]:
    """A vault that a property test only reads."""
    with tv.connect(tmp_path_factory.mktemp("sql") / "v") as opened:
        yield opened


@settings(max_examples=times(20))
@given(
    st.lists(
        st.tuples(st.integers(-5, 5), st.sampled_from(["x", "y", None]), st.floats(-9, 9) | st.none()),
        max_size=30,
    ),
    st.integers(-5, 5),
)
def test_answers_are_those_of_pandas(empty_vault, rows, least):
    frame = pd.DataFrame(rows, columns=["k", "g", "v"]).astype({"k": "int64", "v": "Float64"})
    answer = empty_vault.sql(
        "SELECT g, count(*) AS n, sum(k) AS s FROM rows WHERE k >= $least GROUP BY g", rows=frame, least=least
    )
    expected = frame[frame.k >= least].groupby("g", dropna=False).agg(n=("k", "size"), s=("k", "sum"))
    found = {None if pd.isna(g) else g: (n, s) for g, n, s in answer.itertuples(index=False)}
    assert found == {
        None if pd.isna(g) else g: (n, s)
        for g, (n, s) in zip(expected.index, expected.values.tolist(), strict=True)
    }


ENDLESS = "SELECT count(*) FROM range(1000000000) a, range(1000000) b"


def test_a_query_ends_at_its_timeout(folder_vault):
    with pytest.raises(tv.QueryTimeout, match=r"0\.2 s"):
        folder_vault.sql(ENDLESS, timeout_s=0.2)
    folder_vault.save("many", pd.DataFrame({"n": range(1000)}))
    with pytest.raises(tv.QueryTimeout):
        folder_vault.sql(
            "SELECT sum(a.n * b.n * c.n * d.n) FROM many a, many b, many c, many d", timeout_s=0.2
        )
    assert folder_vault.sql("SELECT 1 AS one").one.tolist() == [1]


@pytest.mark.ci
def test_a_query_ends_by_ctrl_c(tmp_path: Path):
    """In a process of its own: what another test left of signal handlers does not count, and none is waited for."""
    code = f"""
        import os, signal, threading
        import tablevault_pd as tv

        vault = tv.connect({str(tmp_path / "v")!r}, session=False)
        vault.sql("SELECT 1")
        threading.Timer(0.5, os.kill, [os.getpid(), signal.SIGINT]).start()
        try:
            vault.sql({ENDLESS!r})
        except KeyboardInterrupt:
            print("ended,", vault.sql("SELECT 1 AS one").one[0])
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.stdout == "ended, 1\n", done.stderr


def test_a_query_sees_nothing_of_another(folder_vault):
    folder_vault.sql("SELECT * FROM mine", mine=PREDS)
    with pytest.raises(tv.ListNotFound):
        folder_vault.sql("SELECT * FROM mine")
    with pytest.raises(tv.InvalidQuery):
        folder_vault.sql("SELECT * FROM temp.mine")
    assert folder_vault.sql("SELECT current_setting('TimeZone') AS zone").zone.tolist() == ["UTC"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_child_asks_too(folder_vault):
    folder_vault.save("preds", PREDS)
    folder_vault.sql("SELECT 1")
    child = os.fork()
    if child == 0:
        try:
            os._exit(folder_vault.sql("SELECT count(*) AS n FROM preds").n[0])
        except BaseException:  # noqa: BLE001
            os._exit(99)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 3


def test_what_was_read_is_known(folder_vault):
    folder_vault.save("preds", PREDS)
    with folder_vault.session("asks") as s:
        folder_vault.sql("SELECT 1 FROM preds")
    assert s.run == 1
    assert folder_vault.sessions("asks").reads[0] == ["preds@1"]


def test_command_line(folder_vault, capsys):
    folder_vault.save("preds", PREDS)
    query = "SELECT id, topic FROM preds WHERE topic = $t AND id > $least"
    arguments = ["--vault", folder_vault.place, "sql", query, "--param", "t=a", "--param", "least=1", "--csv"]
    assert main(arguments) == 0
    assert capsys.readouterr().out.splitlines() == ["id,topic", "2,a"]
    assert main(["--vault", folder_vault.place, "sql", "DROP TABLE preds"]) == 2
    assert "one SELECT statement" in capsys.readouterr().err


def test_a_list_in_plain_duckdb(folder_vault):
    import duckdb

    news = folder_vault.save("news", NEWS)
    assert len(news) == 2
    assert duckdb.sql("SELECT title FROM news WHERE id = 1").fetchall() == [("x",)]


def test_without_duckdb(folder_vault, monkeypatch):
    import_module("tablevault_pd.sql.query")._database.cache_clear()
    monkeypatch.setitem(sys.modules, "duckdb", None)
    with pytest.raises(tv.MissingDependency, match=r"tablevault-pd\[sql\]"):
        folder_vault.sql("SELECT 1")


@pytest.mark.ci
def test_duckdb_is_imported_when_first_asked(tmp_path: Path):
    code = f"""
        import sys, tablevault_pd as tv
        vault = tv.connect({str(tmp_path / "v")!r})
        assert "duckdb" not in sys.modules
        vault.sql("SELECT 1")
        assert "duckdb" in sys.modules
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=True)


@pytest.mark.parametrize(
    "which", ["threading.Thread.start", "tablevault_pd.store.engine.threads.start_new_thread"]
)
def test_a_thread_that_the_system_refuses_is_an_error_and_no_endless_wait(filled, monkeypatch, which):
    filled.sql("SELECT 1 AS n")  # whatever else needs a thread has one

    def refuse(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(which, refuse)
        with pytest.raises(tv.VaultError, match="gives no more"):
            filled.sql("SELECT 1 AS n")
    assert filled.sql("SELECT 1 AS n")["n"].tolist() == [1]


NS = 1_704_067_200_123_456_789


def test_nanoseconds_are_exact_or_refused(vault):
    times = pd.DataFrame(
        {"n": [1], "t": pd.array([NS], "datetime64[ns]"), "z": pd.array([NS], pd.DatetimeTZDtype("ns", "UTC")),
         "whole": pd.array([5_000], "timedelta64[ns]"), "part": pd.array([5_001], "timedelta64[ns]")}
    )  # fmt: skip
    vault.save("times", times)
    found = vault.sql("SELECT t, z, max(z) OVER () AS latest, whole FROM times")
    assert [found[name].item().value for name in ("t", "z", "latest", "whole")] == [NS, NS, NS, 5_000]
    assert vault.sql("SELECT n FROM it", it=times)["n"].tolist() == [1]
    for query, tables in (
        ("SELECT part FROM times", {}),
        ("SELECT * FROM it", {"it": times}),
        ("SELECT n FROM it WHERE part > INTERVAL 0 DAY", {"it": times}),
        ("SELECT l FROM it", {"it": pa.table({"l": pa.array([[1]], pa.list_(pa.duration("ns")))})}),
        (
            "SELECT s FROM it",
            {"it": pa.table({"s": pa.array([{"d": 1}], pa.struct([("d", pa.duration("ns"))]))})},
        ),
    ):
        with pytest.raises(tv.InvalidQuery, match="hold microseconds"):
            vault.sql(query, **tables)
    day = pa.table({"t": pa.array([1_001], pa.time64("ns"))})
    with pytest.raises(tv.InvalidQuery, match="times of day with nanoseconds"):
        vault.sql("SELECT t FROM it", it=day)
    assert vault.sql("SELECT t::VARCHAR AS t FROM it", it=day)["t"].tolist() == ["00:00:00.000001001"]


@pytest.mark.parametrize(
    "value",
    [
        pd.Timestamp(NS), pd.Timestamp(NS, tz="UTC"), np.datetime64(NS, "ns"), pd.Timedelta(1, "ns"), np.timedelta64(1, "ns"),
        [pd.Timestamp(NS)], np.array([NS], "datetime64[ns]"),
    ],
    ids=repr,
)  # fmt: skip
def test_values_with_nanoseconds_are_refused(vault, value):
    with pytest.raises(tv.InvalidInput, match="DuckDB takes microseconds"):
        vault.sql("SELECT $v AS v", v=value)


@pytest.mark.parametrize(
    "value",
    [pd.Timestamp(NS).floor("us"), np.datetime64(NS // 1000, "us"), np.datetime64(NS // 1000 * 1000, "ns")],
    ids=repr,
)
def test_times_are_bound_as_times(vault, value):
    assert vault.sql("SELECT $v AS v", v=value)["v"].item() == pd.Timestamp(value)


SPILL = """
import os, sys, tempfile
import tablevault_pd as tv
from importlib import import_module
query = import_module('tablevault_pd.sql.query')
query._OPTIONS |= {"memory_limit": "40MB", "threads": 1}
bound = sys.argv[1:]
if bound:
    query._OPTIONS["max_temp_directory_size"] = bound[0]
with tv.connect("v", session=False) as vault:
    text = "SELECT * FROM (SELECT i, repeat('x', 60) || i AS s FROM range(700000) t(i) ORDER BY s) LIMIT 1 OFFSET 650000"
    try:
        print(vault.sql(text)["i"].item())
    except tv.InvalidQuery as error:
        print("refused" if "max_temp_directory_size" in str(error) else error)
    print(sorted(os.listdir()))
    print(len(os.listdir(tempfile.gettempdir())))
"""


@pytest.mark.ci
@pytest.mark.parametrize("bound", [(), ("4MB",)])
def test_a_query_larger_than_memory_spills_to_a_folder_that_ends_with_the_process(tmp_path, bound):
    (tmp_path / "temp").mkdir()
    (tmp_path / "here").mkdir()
    done = subprocess.run(
        [sys.executable, "-c", SPILL, *bound],
        cwd=tmp_path / "here",
        env=os.environ | {"TMPDIR": str(tmp_path / "temp"), "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )
    answer, here, folders = done.stdout.splitlines()
    assert answer == ("refused" if bound else sorted(range(700_000), key=str)[650_000].__str__())
    assert here == "['v']"
    assert folders == "1"
    assert list((tmp_path / "temp").iterdir()) == []


def test_a_column_that_is_named_as_a_word_of_sql_is_told_to_be_quoted(folder_vault):
    folder_vault.save("marks", [{"right": True}, {"right": False}])
    with pytest.raises(tv.InvalidQuery, match=r'one that is a word of SQL: FROM "runs/2026", avg\("right"\)'):
        folder_vault.sql("SELECT avg(right::INT) AS accuracy FROM marks")
    assert folder_vault.sql('SELECT avg("right"::INT) AS accuracy FROM marks')["accuracy"].tolist() == [0.5]


def test_a_name_with_a_slash_is_told_to_be_quoted(folder_vault):
    folder_vault.save("raw/storms", {"n": 1})
    with pytest.raises(
        tv.InvalidQuery, match=r'at or near "/"\. A name that is no word stands in double quotes'
    ):
        folder_vault.sql("SELECT * FROM raw/storms")
    assert folder_vault.sql('SELECT * FROM "raw/storms"')["n"].tolist() == [1]
