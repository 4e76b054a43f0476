"""How sessions of real processes end, and what is kept of the code they ran: scripts, -m, -c, pytest, signals, forks."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pandas
import pytest
from stores import BOTH, new_database
from torture.harness import COUNTS, times

import tablevault_pd as tv
from tablevault_pd.capture.environment import package_versions

pytestmark = pytest.mark.ci

ROOT = Path(__file__).resolve().parents[1]
CONNECT = "import tablevault_pd as tv\nvault = tv.connect('v', session='train')\n"
# In many short sleeps: Python does not notice a signal that comes just before the system begins to wait.
IDLE = "import time\nprint('up', flush=True)\nfor _ in range(3000): time.sleep(0.02)\n"


def environment(**more: str) -> dict[str, str]:
    plain = {name: value for name, value in os.environ.items() if not name.startswith("TABLEVAULT_")}
    return plain | {"PYTHONPATH": str(ROOT)} | more


def start(folder: Path, code: str, *arguments: str, **more: str) -> subprocess.Popen[str]:
    """A process that runs `code` as a script."""
    script = folder / "script.py"
    script.write_text(code, encoding="utf-8")
    return subprocess.Popen(
        [sys.executable, str(script), *arguments],
        cwd=folder,
        env=environment(**more),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(folder: Path, code: str, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    process = start(folder, code, *arguments, **more)
    out, err = process.communicate(timeout=60)
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def sessions(folder: Path, **options):
    with tv.connect(folder / "v", mode="r") as vault:
        return vault.sessions(**options)


def cells(folder: Path):
    with tv.connect(folder / "v", mode="r") as vault:
        return vault.cells()


def wait_for(process: subprocess.Popen[str], line: str) -> None:
    for found in process.stdout:
        if found.strip() == line:
            return
    raise AssertionError(f"{line!r} never came: {process.stderr.read()}")


# (what the script does after connecting, exit code, state, error)
ENDINGS = {
    "success": ("pass", 0, "finished", None),
    "exception": ("1 / 0", 1, "failed", "ZeroDivisionError: division by zero"),
    "bare assert": ("assert False", 1, "failed", "AssertionError"),
    "sys.exit()": ("import sys; sys.exit()", 0, "finished", None),
    "sys.exit(0)": ("import sys; sys.exit(0)", 0, "finished", None),
    "sys.exit(3)": ("import sys; sys.exit(3)", 3, "failed", "SystemExit: 3"),
    "sys.exit(text)": ("import sys; sys.exit('no data')", 1, "failed", "SystemExit: no data"),
    "raise SystemExit(4)": ("raise SystemExit(4)", 4, "failed", "SystemExit: 4"),
    "raise SystemExit(main())": (
        "def main(): return 5\nraise SystemExit(main())",
        5,
        "failed",
        "SystemExit: 5",
    ),
    "with vault": ("with vault: 1 / 0", 1, "failed", "ZeroDivisionError: division by zero"),
    "raise SystemExit in a function": (
        "def main(): raise SystemExit(6)\nmain()",
        6,
        "failed",
        "SystemExit: exit code unknown",
    ),
    "raise SystemExit(0)": ("raise SystemExit(0)", 0, "finished", None),
    "a caught SystemExit": (
        "try:\n    raise SystemExit(7)\nexcept SystemExit as e:\n    print(e.code)",
        0,
        "finished",
        None,
    ),
    "an exit in a thread": (
        "import sys, threading\nt = threading.Thread(target=sys.exit, args=(8,))\nt.start(); t.join()",
        0,
        "finished",
        None,
    ),
    "Ctrl-C": ("raise KeyboardInterrupt", -2, "failed", "KeyboardInterrupt"),
}


def run_all(folder: Path, codes: dict[str, str]) -> dict[str, tuple[Path, subprocess.CompletedProcess[str]]]:
    """Run scripts side by side, each in a folder of its own: starting Python and importing pandas is what takes time."""
    folders = {name: folder / str(number) for number, name in enumerate(codes)}
    for each in folders.values():
        each.mkdir()
    with ThreadPoolExecutor(4) as pool:
        done = pool.map(run, folders.values(), codes.values())
    return {name: (folders[name], each) for name, each in zip(codes, done, strict=True)}


ALONE = ["bare assert", "raise SystemExit(main())"]  # the others: see below


@pytest.fixture(scope="module")
def endings(tmp_path_factory):
    return run_all(tmp_path_factory.mktemp("endings"), {name: CONNECT + ENDINGS[name][0] for name in ALONE})


@pytest.mark.parametrize("name", ALONE)
def test_the_outcome_of_a_script(endings, name):
    code, exit_code, state, error = ENDINGS[name]
    tmp_path, done = endings[name]
    assert done.returncode == exit_code, done.stderr
    row = sessions(tmp_path).iloc[0]
    assert (row.state, row.outcome) == (state, state)
    assert row.error == error or (error is None and row.isna().error)
    assert row.ended >= row.started
    cell = cells(tmp_path).iloc[0]
    assert cell.text == CONNECT + code
    assert cell.outcome == {"finished": "ok", "failed": "error"}[state]
    if name == "bare assert":
        assert "assert False" in cell.traceback
        assert "line 3" in cell.traceback


FORKING = """
import gc, os, sys, threading, time
import tablevault_pd as tv
from tablevault_pd.capture.environment import package_versions

{define}

def forked(case):
    "Whether this process, forked from one that has no session, is to run that case."
    sys.stderr.flush()
    pid = os.fork()
    if not pid:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        os.dup2(os.open(case + ".err", os.O_CREAT | os.O_WRONLY), 2)
        return True
    print(case, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
    return False

if __name__ == "__main__":
    with tv.connect("v", session=False) as vault:
        vault.sessions()  # imports what the cases need
    package_versions()  # keeps what the cases would read anew
    gc.freeze()  # a process does not look through at its end what it has from this one
{cases}
"""


def run_forked(folder: Path, define: str, cases: dict[str, str]) -> dict[str, int]:
    """Run scripts that differ only in their end, each in a process; their exit codes. Pandas is imported once."""
    text = "".join(
        f"    if forked({case!r}):\n{textwrap.indent(code, ' ' * 8)}\n        sys.exit()\n"
        for case, code in cases.items()
    )
    done = run(folder, FORKING.format(define=textwrap.dedent(define), cases=text))
    codes = dict(line.split() for line in done.stdout.splitlines())
    assert list(codes) == list(cases), done.stderr
    return {case: int(code) for case, code in codes.items()}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_the_outcome_of_all_kinds_of_scripts(tmp_path):
    cases = {str(number): ENDINGS[name][0] for number, name in enumerate(ENDINGS)}
    codes = run_forked(
        tmp_path,
        "",
        {case: f"vault = tv.connect('v', session='case {case}')\n{code}" for case, code in cases.items()},
    )
    found, texts = sessions(tmp_path), cells(tmp_path)
    for at, (name, (_, exit_code, state, error)) in enumerate(ENDINGS.items()):
        row, cell = found.iloc[at], texts.iloc[at]
        assert codes[str(at)] == exit_code, name
        assert (row["name"], row.state, row.outcome) == (f"case {at}", state, state), name
        assert row.error == error or (error is None and row.isna().error), name
        assert row.ended >= row.started
        ended = "interrupted" if name == "Ctrl-C" else {"finished": "ok", "failed": "error"}[state]
        assert cell.outcome == ended, name


# (what the script raises SystemExit of, exit code, error)
VALUES = {
    "constant": ("constant()", 4, "SystemExit: 4"),
    "nothing": ("nothing()", 0, None),
    "variable": ("variable(\n    5)", 5, "SystemExit: 5"),
    "deeper": ("deeper()", 6, "SystemExit: 6"),
    "later": ("later()", 0, None),
    "text": ("text()", 1, "SystemExit: no data"),
    "either": ("either(7)", 7, "SystemExit: exit code unknown"),
    "computed": ("computed()", 8, "SystemExit: exit code unknown"),
    "raised": ("raised()", 3, "SystemExit: exit code unknown"),
    "called_by_max": ("max([9], key=constant)", 9, "SystemExit: exit code unknown"),
}
DEFINE_VALUES = """
def begin():
    tv.connect("v", session=sys._getframe(1).f_code.co_name)

def constant(key=None):
    begin()
    return 4

def nothing():
    begin()

def variable(code):
    begin()
    code = int(str(code))
    return code

def deeper():
    return inner(3)

def inner(half):
    tv.connect("v", session="deeper")
    code = 2 * half
    return code

def later():
    begin()
    return done()

def done():
    return 0

def text():
    with tv.connect("other"):
        begin()
        return "no data"

def either(code):
    begin()
    return code or 0

def computed():
    begin()
    return 2 ** int("3")

def raised():
    begin()
    if len(sys.argv):
        raise SystemExit(3)
    return 0
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_what_main_returned_is_the_code_where_it_can_be_known(tmp_path):
    codes = run_forked(
        tmp_path, DEFINE_VALUES, {case: f"raise SystemExit({call})" for case, (call, *_) in VALUES.items()}
    )
    assert codes == {case: code for case, (_, code, _) in VALUES.items()}
    found = sessions(tmp_path).set_index("name")

    errors = [None if error != error else error for error in found.error]
    expected = [error for _, _, error in VALUES.values()]
    assert errors == expected
    assert found.state.tolist() == ["failed" if error else "finished" for error in expected]


DEFINE_STOPS = """
import multiprocessing
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

def work(number=0):
    while True:
        tv.checkpoint()
        time.sleep(0.005)

def asked(name, exit_code=0):
    vault = tv.connect("v", session=name)
    vault.stop(name, exit_code=exit_code)
    return vault

def stop_later(name, which, workers):
    vault = tv.connect("v", session=name)
    def stop():
        while len(vault.sessions(name + "/worker*", state="running")) < workers:
            time.sleep(0.02)
        vault.stop(which)
    threading.Thread(target=stop, daemon=True).start()

def executor(method, workers):
    return ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context(method))
"""
STOPS = {
    "plain": ("asked('plain', 5)\nwork()", 5),
    "finally": ("asked('finally')\ntry:\n    work()\nfinally:\n    open('cleaned', 'w').close()", 0),
    "with": ("asked('with')\nwith open(__file__) as file:\n    work()", 0),
    "raised again": ("asked('raised again')\ntry:\n    work()\nexcept SystemExit as stop:\n    raise stop", 0),
    "with connect": ("with asked('with connect'):\n    work()", 0),
    "threads": ("asked('threads')\nwith ThreadPoolExecutor(2) as pool:\n    list(pool.map(work, range(2)))", 0),
    "Pool": (
        "stop_later('Pool', 'Pool', 2)\n"
        "with multiprocessing.get_context('fork').Pool(2) as pool:\n    pool.map(work, range(2))",
        0,
    ),
    "spawn": ("stop_later('spawn', 'spawn', 1)\nwith executor('spawn', 1) as pool:\n    list(pool.map(work, range(1)))", 0),
    "workers": (
        "stop_later('workers', 'workers/worker*', 2)\nwith executor('fork', 2) as pool:\n    list(pool.map(work, range(2)))",
        0,
    ),
}  # fmt: skip


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_run_that_a_stop_has_left_is_stopped_and_says_who_asked(tmp_path):
    files = {case: case.replace(" ", "_") for case in STOPS}
    codes = run_forked(tmp_path, DEFINE_STOPS, {files[case]: code for case, (code, _) in STOPS.items()})
    assert codes == {files[case]: exit_code for case, (_, exit_code) in STOPS.items()}
    found = sessions(tmp_path)
    assert (found.state == "stopped").all(), found[["session", "state"]]
    assert found.error.isna().all(), found[["session", "error"]]
    assert set(STOPS) < set(found.name)
    assert len(found) == len(STOPS) + 5
    assert set(cells(tmp_path).outcome) == {"interrupted"}
    for case, file in files.items():
        lines = [
            line
            for line in (tmp_path / f"{file}.err").read_text().splitlines()
            if "DeprecationWarning" not in line
        ]
        (line,) = [line for line in lines if "asked to stop" in line]
        assert line.startswith(case)
        assert f" was asked to stop by {case}#1 (" in line
        assert line.endswith(" UTC.")
        assert "Traceback" not in "".join(lines)


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_a_signal_is_the_end_and_the_process_dies_of_it(tmp_path, name):
    if signal.getsignal(getattr(signal, name)) is signal.SIG_IGN:
        pytest.skip(f"these tests were started to ignore {name}, as nohup does, and so is every child")
    process = start(tmp_path, CONNECT + "tv.log(loss=1)\n" + IDLE)
    wait_for(process, "up")
    process.send_signal(getattr(signal, name))
    assert process.wait(60) == -getattr(signal, name)
    row = sessions(tmp_path).iloc[0]
    assert (row.state, row.error, row["metrics.loss"]) == ("failed", f"killed by {name}", 1.0)


def test_a_signal_ends_a_process_whose_main_thread_waits_again_before_the_sessions_have_ended(tmp_path):
    code = "from tablevault_pd.capture import exits\nexits.PATIENCE_S = 0\n"
    ending = "import signal, time\nsignal.raise_signal(signal.SIGTERM)\ntime.sleep(600)"
    process = start(tmp_path, code + CONNECT + ending)
    assert process.wait(60) == -signal.SIGTERM
    assert sessions(tmp_path).error.tolist() == ["killed by SIGTERM"]


@pytest.mark.parametrize("ending", ["tv.log(loss=1)", "import sys; sys.exit(3)", "pass"])
def test_a_process_dies_of_its_signal_whatever_its_main_thread_does_before_the_sessions_have_ended(
    tmp_path, ending
):
    code = "import signal\nfrom tablevault_pd.capture import exits\nexits.PATIENCE_S = 0\n"
    process = start(tmp_path, code + CONNECT + "signal.raise_signal(signal.SIGTERM)\n" + ending)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (-signal.SIGTERM, "")
    assert sessions(tmp_path).error.tolist() == ["killed by SIGTERM"]


@pytest.mark.slow
def test_a_signal_in_the_middle_of_a_commit(tmp_path):
    for _ in range(times(1)):
        process = start(
            tmp_path, CONNECT + "print('up', flush=True)\nwhile True:\n    vault.append('rows', {'a': 1})"
        )
        wait_for(process, "up")
        time.sleep(0.3)
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == -signal.SIGTERM
        COUNTS.update(kills=1)
    assert sessions(tmp_path).error.tolist() == ["killed by SIGTERM"] * times(1)
    with tv.connect(tmp_path / "v", mode="r") as vault:
        assert vault.check().empty


def test_a_paused_process_can_be_killed(tmp_path):
    process = start(
        tmp_path, CONNECT + "vault.pause('train')\nprint('up', flush=True)\nwhile True:\n    tv.checkpoint()"
    )
    wait_for(process, "up")
    deadline = time.monotonic() + 60
    while sessions(tmp_path).state.tolist() != ["paused"] and time.monotonic() < deadline:
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == -signal.SIGTERM
    assert sessions(tmp_path).state.tolist() == ["failed"]


def test_ctrl_c_is_the_end(tmp_path):
    process = start(tmp_path, CONNECT + IDLE)
    wait_for(process, "up")
    process.send_signal(signal.SIGINT)
    process.wait(60)
    row = sessions(tmp_path).iloc[0]
    assert (row.state, row.error) == ("failed", "KeyboardInterrupt")


def test_a_handler_of_the_users_is_left_alone(tmp_path):
    code = "import signal, sys\nsignal.signal(signal.SIGTERM, lambda *a: sys.exit(9))\n"
    process = start(tmp_path, code + CONNECT + IDLE)
    wait_for(process, "up")
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 9
    assert sessions(tmp_path).error.tolist() == ["SystemExit: 9"]


BEGINS_ONLY = """
import os, signal, time
import tablevault_pd as tv
from tablevault_pd.session import heartbeat
heartbeat.WATCH_S = 1_000_000.0  # nothing is sent because time has passed
vault = tv.connect("v", session=False)
for name in ("first", "second"):  # the thread starts with the first, and waits when the second begins
    s = vault.session(name)
    s.__enter__()
    deadline = time.monotonic() + 60
    while not vault.store.cells([s.id]):
        assert time.monotonic() < deadline, f"{name} keeps no code"
        time.sleep(0.01)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="a system without SIGKILL")
def test_the_code_of_a_session_is_stored_when_it_begins(tmp_path):
    process = start(tmp_path, BEGINS_ONLY)
    _, errors = process.communicate(timeout=180)
    assert process.returncode == -signal.SIGKILL, errors
    with tv.connect(tmp_path / "v", mode="r") as vault:
        assert vault.sessions()["state"].tolist() == ["lost", "lost"]
        for name in ("first", "second"):
            assert vault.cells(name)["text"].tolist() == [BEGINS_ONLY]


@pytest.mark.parametrize("end", ["os._exit(0)", "os.kill(os.getpid(), signal.SIGKILL)"])
def test_a_process_that_vanishes_is_lost(tmp_path, end):
    run(
        tmp_path,
        CONNECT
        + f"import os, signal\ntv.log(loss=1)\nwhile not vault.store.measures().num_rows: pass\n{end}",
        TABLEVAULT_BEAT_S="0.2",
    )
    assert sessions(tmp_path).state.tolist() in (["running"], ["lost"])
    deadline = time.monotonic() + 60
    while sessions(tmp_path).state.tolist() != ["lost"] and time.monotonic() < deadline:  # after some beats
        time.sleep(0.1)
    row = sessions(tmp_path).iloc[0]
    assert (row.state, row["metrics.loss"]) == ("lost", 1.0)
    assert row.isna()[["ended", "outcome"]].all()
    assert sessions(tmp_path, state="lost").session.tolist() == ["train#1"]
    with tv.connect(tmp_path / "v", session="other") as vault:
        asked = vault.stop("train")
    assert asked.state.tolist() == ["lost"]
    assert asked.acknowledged.isna().all()


def test_code_of_dash_c_and_dash_m_and_a_pipe(tmp_path):
    code = CONNECT + "print('ünïcode')"
    subprocess.run([sys.executable, "-c", code, "-c", "x"], cwd=tmp_path, env=environment(), check=True)
    package = tmp_path / "pkg"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "__main__.py").write_text("import tablevault_pd as tv\ntv.connect('v')\nraise SystemExit(2)\n")
    subprocess.run([sys.executable, "-m", "pkg", "--flag"], cwd=tmp_path, env=environment(), check=False)
    subprocess.run([sys.executable], cwd=tmp_path, env=environment(), input=CONNECT, text=True, check=True)
    found = sessions(tmp_path)
    assert found.session.tolist() == ["train#1", "pkg#1", "train#2"]
    assert found.state.tolist() == ["finished", "failed", "finished"]
    assert found.error.tolist()[1] == "SystemExit: 2"
    texts = cells(tmp_path)
    assert texts.session.tolist() == ["train#1", "pkg#1"]  # what is piped in, nobody can read again
    assert texts.text.tolist()[0] == code
    assert "SystemExit(2)" in texts.text.tolist()[1]
    with tv.connect(tmp_path / "v", mode="r") as vault:
        infos = [each.info for each in vault.store.sessions(info=True)]
    assert infos[1]["argv"][1:] == ["--flag"]
    assert {"numpy", "pandas", "pyarrow", "python-dateutil", "tablevault-pd"} <= set(infos[0]["packages"])


def test_a_pytest_run_that_fails(tmp_path):
    (tmp_path / "test_it.py").write_text(
        "import tablevault_pd as tv\ndef test_it():\n    tv.connect('v')\n    assert 1 == 2\n"
    )
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_it.py"]
    done = subprocess.run(command, cwd=tmp_path, env=environment(), capture_output=True, text=True)
    assert done.returncode == 1, done.stdout
    row = sessions(tmp_path).iloc[0]
    assert (row["name"], row.state, row.error) == ("pytest", "failed", "SystemExit: 1")


def test_secrets_never_reach_the_vault(tmp_path):
    code = (
        CONNECT
        + "api_key = 'topsecret-1'\nkey = 'env-secret-value-2'\nraise ValueError('https://u:topsecret-3@host')\n"
    )
    run(tmp_path, code, "--token", "topsecret-4", "--password=topsecret-5", MY_API_KEY="env-secret-value-2")
    content = b"".join(path.read_bytes() for path in (tmp_path / "v").rglob("*") if path.is_file())
    assert b"api_key = '[masked]'" in content
    for secret in (b"topsecret", b"env-secret-value"):
        assert secret not in content
    run(tmp_path, code.replace("session='train'", "session='open', redact=False"))
    assert "topsecret-1" in cells(tmp_path).text.iloc[-1]


def test_modules_of_the_project_are_kept_once(tmp_path):
    (tmp_path / "helper.py").write_text("def add(a, b):\n    return a + b\n")
    code = "import helper, json\nimport tablevault_pd as tv\nvault = tv.connect('v', session='train', capture='all')\n"
    run(tmp_path, code)
    run(tmp_path, code)
    with tv.connect(tmp_path / "v", mode="r") as vault:
        found = vault.sources([1, 2])
        assert found[["session", "path"]].values.tolist() == [
            ["train#1", "helper.py"],
            ["train#2", "helper.py"],
        ]
        assert found.text.str.startswith("def add").all()
        assert found.sha256.nunique() == 1
        with vault.store.catalog.reading() as db:
            assert db.execute("SELECT count(*) FROM sources").fetchone() == (1,)


def test_packages_are_found_by_what_they_are_imported_as(tmp_path, monkeypatch):
    """PyYAML is imported as yaml, scikit-learn as sklearn; not every distribution lists its modules apart."""
    forms = {
        "One-Dist": {"top_level.txt": "tv_one\n"},
        "two.dist": {"RECORD": "tv_two/__init__.py,,\ntwo_dist-1.5.dist-info/METADATA,,\n"},
        "three": {"RECORD": "../../bin/three,,\ntv_three.py,,\n"},
        "four": {"RECORD": "tv_four.cpython-311-x86_64-linux-gnu.so,,\n"},
        "unused": {"top_level.txt": "tv_unused\n"},
        "broken": {"METADATA": "Name: tv_one\n"},
    }
    for name, files in forms.items():
        folder = tmp_path / f"{name.lower().replace('-', '_').replace('.', '_')}-1.5.dist-info"
        folder.mkdir()
        stated = {"METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.5\n"}
        for file, text in (stated | files).items():
            (folder / file).write_text(text)
    (tmp_path / "latin-1.dist-info").mkdir()
    (tmp_path / "latin-1.dist-info" / "METADATA").write_bytes(b"Name: tv_one\nVersion: \xe9")
    monkeypatch.syspath_prepend(tmp_path)
    for module in ("tv_one", "tv_two", "tv_three", "tv_four"):
        monkeypatch.setitem(sys.modules, f"{module}.part", sys)
    found = package_versions()
    assert {name: version for name, version in found.items() if version == "1.5"} == dict.fromkeys(
        ["four", "one-dist", "three", "two-dist"], "1.5"
    )
    assert found["pandas"] == pandas.__version__
    assert found["python-dateutil"]


def test_the_commit_and_how_far_the_code_is_from_it(tmp_path):
    def git(*arguments: str) -> None:
        subprocess.run(
            ["git", "-c", "user.name=x", "-c", "user.email=x@example.org", *arguments],
            cwd=tmp_path,
            check=True,
        )

    git("init", "-q")
    (tmp_path / "notes.txt").write_text("one\n")
    git("add", "notes.txt")
    git("commit", "-qm", "first")
    (tmp_path / "notes.txt").write_text("two\nthree\n")
    run(tmp_path, CONNECT)
    with tv.connect(tmp_path / "v", mode="r") as vault:
        found = vault.store.sessions(info=True)[0].info["git"]
    head = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=tmp_path, capture_output=True, text=True
    ).stdout.strip()
    assert found["commit"] == head
    assert found["dirty"]
    assert (found["changed_files"], found["lines_added"], found["lines_removed"]) == (1, 2, 1)


# -- scripts that need no interpreter of their own: one that has imported everything forks into a process for each

# A beat that comes meanwhile may make a file of SQLite anew, on which a removal fails: then it is removed again.
REMOVE = """
import os, shutil
def remove(place):
    while os.path.exists(place):
        shutil.rmtree(place, ignore_errors=True)
"""
FAIL_TO_WRITE = """
from tablevault_pd.store.embedded import fsio as io
io._fault_name, io._fault_action = "lock-taken", "ENOSPC"
"""
FORKING_THREAD = """
def in_child():
    vault.append("a", {"n": 1})
    if how == "leaves another thread":
        left = threading.Thread(target=later, args=(threading.current_thread(),), daemon=True)
        left.start()
def later(first):
    first.join()
    for number in range(2, 5):
        time.sleep(0.3)  # while the background thread looks twice
        vault.append("a", {"n": number})
def work():
    pids.append(os.fork())
    if not pids[-1]:
        in_child()
pids = []
thread = threading.Thread(target=work)
thread.start()
thread.join()
print(os.waitpid(pids[0], 0)[1])
"""
SCRIPTS = {
    "hook": "sys.excepthook = lambda *a: print('mine', a[0].__name__)\n" + CONNECT + "1/0",
    "atexit": """
    import atexit
    vault = tv.connect("v", session="train")
    atexit.register(lambda: (tv.log(step=10_000, loss=-1.0), vault.save("last", {"a": 1})))
    for step in range(10_000):
        tv.log(step=step, loss=1.0)
    raise RuntimeError("boom")
    """,
    "removed": CONNECT
    + REMOVE
    + """
with vault.session("inner") as s:
    remove("v")
    for step in range(300):
        s.log(step=step, loss=1.0); s.checkpoint(); time.sleep(0.005)
    s.params["late"] = 1
print("done")
""",
    "full": CONNECT
    + FAIL_TO_WRITE
    + "for step in range(20):\n    tv.log(step=step, loss=1.0); time.sleep(0.1)\nprint('done')",
    "later": CONNECT
    + FAIL_TO_WRITE
    + "for step in range(100):\n    tv.log(step=step, loss=float(step)); time.sleep(0.01)\nio._fault_name = ''",
    "errors": "import warnings; warnings.simplefilter('error')\n"
    + CONNECT
    + REMOVE
    + "remove('v'); tv.log(loss=1); time.sleep(1.2); print('done')",
    "worker": """
    import multiprocessing as m
    def fail(s):
        s.log(loss=1)
        raise ValueError("in the worker")
    vault = tv.connect("v", session="train")
    s = vault.session("sweep")
    s.checkpoint()
    with vault.session("other") as other:
        worker = m.get_context("fork").Process(target=fail, args=(s,))
        worker.start(); worker.join()
        with vault.session("mine", parent="train"):
            pass
    s.log(loss=2)
    """,
    "forks": """
    vault = tv.connect("v", session="train", durability="fast")
    for number in range(40):
        for _ in range(200):
            tv.log(step=number, parent=1.0)
        pid = os.fork()
        if pid == 0:
            tv.log(step=number, child=1.0)
            vault._current_run().end()
            os._exit(0)
        assert os.waitpid(pid, 0)[1] == 0
    """,
    "returns": "how = 'returns'\n" + CONNECT + FORKING_THREAD,
    "leaves": "how = 'leaves another thread'\n" + CONNECT + FORKING_THREAD,
}
FORKING_APART = """
import gc, os, sys, threading, time
import tablevault_pd as tv
from tablevault_pd.capture.environment import package_versions

pids = {{}}

def forked(case):
    "Whether this process, forked from one that has no session, is to run that case, in the folder of that name."
    pid = os.fork()
    if pid:
        pids[case] = pid
        return False
    os.chdir(case)
    for number, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(name, os.O_CREAT | os.O_WRONLY | os.O_APPEND), number)
    return True

if __name__ == "__main__":
    with tv.connect("v", session=False) as vault:
        vault.sessions()  # imports what the cases need
    package_versions()  # keeps what the cases would read anew
    gc.freeze()  # a process does not look through at its end what it has from this one
{cases}
    for case, pid in pids.items():
        print(case, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""


@pytest.fixture(scope="module")
def scripts(tmp_path_factory):
    """Each script of SCRIPTS: its folder, and how it ended."""
    if not hasattr(os, "fork"):
        pytest.skip("needs fork")
    folder = tmp_path_factory.mktemp("scripts")
    text = ""
    for case, code in SCRIPTS.items():
        (folder / case).mkdir()
        text += f"    if forked({case!r}):\n{textwrap.indent(textwrap.dedent(code), ' ' * 8)}\n        sys.exit()\n"
    done = run(folder, FORKING_APART.format(cases=text))
    codes = dict(line.split() for line in done.stdout.splitlines())
    assert list(codes) == list(SCRIPTS), done.stderr
    ended = {
        case: subprocess.CompletedProcess(
            case, int(code), (folder / case / "out").read_text(), (folder / case / "err").read_text()
        )
        for case, code in codes.items()
    }
    return {case: (folder / case, each) for case, each in ended.items()}


def test_a_hook_for_exceptions_that_was_there_is_called(scripts):
    folder, done = scripts["hook"]
    assert done.stdout.strip() == "mine ZeroDivisionError"
    assert sessions(folder).state.tolist() == ["failed"]


def test_what_was_logged_before_an_exception_and_in_atexit_is_kept(scripts):
    folder, done = scripts["atexit"]
    assert "boom" in done.stderr
    with tv.connect(folder / "v", mode="r") as vault:
        assert vault.store.measures().num_rows == 10_001
        assert vault.sessions()["metrics.loss"].tolist() == [-1.0]
        assert vault.versions("last")["session"].tolist() == ["train#1"]


def test_a_vault_that_is_removed_meanwhile_is_told_once_and_the_code_finishes(scripts):
    _, done = scripts["removed"]
    assert (done.returncode, done.stdout.strip()) == (0, "done")
    assert done.stderr.count("RuntimeWarning") == 1, done.stderr
    assert "cannot record any more" in done.stderr
    assert "removed" in done.stderr


def test_a_full_disk_is_told_once_and_the_code_finishes(scripts):
    folder, done = scripts["full"]
    assert (done.returncode, done.stdout.strip()) == (0, "done")
    assert done.stderr.count("RuntimeWarning") == 1, done.stderr
    with tv.connect(folder / "v", mode="r") as vault:
        assert vault.check().empty


def test_what_could_not_be_written_for_a_while_is_written_later(scripts):
    folder, _ = scripts["later"]
    with tv.connect(folder / "v", mode="r") as vault:
        assert vault.store.measures()["step"].to_pylist() == list(range(100))


def test_warnings_that_are_errors_do_not_reach_the_code(scripts):
    _, done = scripts["errors"]
    assert (done.returncode, done.stdout.strip()) == (0, "done"), done.stderr


def test_a_forked_worker_that_fails_says_so_and_explicit_parents_win(scripts):
    folder, done = scripts["worker"]
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr, done.stderr
    found = sessions(folder).set_index("session")
    assert found.state.to_dict() == {
        "train#1": "finished", "sweep#1": "finished", "other#1": "finished", "sweep/worker#1": "failed", "mine#1": "finished",
    }  # fmt: skip
    assert found.parent["sweep/worker#1"] == "sweep#1"
    assert found.parent["mine#1"] == "train#1"
    assert found.error["sweep/worker#1"] == "ValueError: in the worker"
    assert found["metrics.loss"].dropna().to_dict() == {"sweep#1": 2.0, "sweep/worker#1": 1.0}


def test_many_forks_while_the_background_thread_writes(scripts):
    folder, done = scripts["forks"]
    assert done.returncode == 0, done.stderr
    with tv.connect(folder / "v", mode="r") as vault:
        found = vault.sessions()
        assert found.state.tolist() == ["finished"] * 41
        counts = vault.store.measures().to_pandas().groupby("metric", observed=True).size().to_dict()
        assert counts == {"parent": 8000, "child": 40}


@pytest.mark.parametrize("how", ["returns", "leaves"])
def test_a_child_that_a_thread_forked_ends_with_its_last_thread(scripts, how):
    """The background thread does not keep it alive, and ends its session."""
    folder, done = scripts[how]
    assert done.stdout == "0\n", done.stderr
    found = sessions(folder)
    assert dict(zip(found.name, found.state, strict=True)) == {
        "train": "finished",
        "train/worker": "finished",
    }
    with tv.connect(folder / "v", mode="r") as vault:
        assert vault.read("a").n.tolist() == ([1, 2, 3, 4] if how == "leaves" else [1])


# -- children

WORK = """
import os, sys
import tablevault_pd as tv
def work(number):
    tv.log(step=number, number=number)
    tv.current_vault().append("rows", {"number": number, "pid": os.getpid()})
    return os.getpid()
"""
POOLS = {
    "fork": "import multiprocessing as m\nwith m.get_context('fork').Pool(2) as p: pids = p.map(work, range(4), chunksize=2)",
    "spawn": "import multiprocessing as m\nwith m.get_context('spawn').Pool(1) as p: pids = p.map(work, range(4), chunksize=2)",
    "futures": "import multiprocessing as m\nfrom concurrent.futures import ProcessPoolExecutor as P\n"
    "with P(1, mp_context=m.get_context('spawn')) as p: pids = list(p.map(work, range(4)))",
    "joblib": "import joblib\npids = joblib.Parallel(n_jobs=2)(joblib.delayed(work)(n) for n in range(4))",
    "subprocess": "import subprocess\npids = [int(subprocess.run([sys.executable, '-c', 'from script import work; print(work(1))'], "
    "capture_output=True, text=True, check=True).stdout)]",
}


@pytest.fixture(scope="module")
def pools(tmp_path_factory):
    head = WORK + "if __name__ == '__main__':\n    vault = tv.connect('v', session='train')\n    "
    tail = "\n    import json; print(json.dumps(sorted(set(pids))))\n"
    codes = {kind: head + body.replace("\n", "\n    ") + tail for kind, body in POOLS.items()}
    return run_all(tmp_path_factory.mktemp("pools"), codes)


@pytest.mark.parametrize("kind", POOLS)
def test_workers_are_children_by_themselves(pools, kind):
    tmp_path, done = pools[kind]
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr, done.stderr
    pids = json.loads(done.stdout)
    found = sessions(tmp_path)
    parent, children = found.iloc[0], found.iloc[1:]
    assert parent.session == "train#1"
    assert parent.state == "finished"
    assert sorted(children.pid) == pids
    assert parent.pid not in pids
    assert (children.parent == "train#1").all()
    if kind != "subprocess":
        assert (children["name"] == "train/worker").all()
    assert set(children.state) <= ({"finished", "running"} if kind == "joblib" else {"finished"}), found[
        ["session", "state", "error"]
    ]
    with tv.connect(tmp_path / "v", mode="r") as vault:
        rows = vault.read("rows")
        written = vault.versions("rows").session
        assert set(written) <= set(children.session)
        assert set(rows.pid) == set(pids)
        values = vault.store.measures()["value"].to_pylist()
        assert sorted(values) == sorted(rows.number.astype(float))


# -- other processes ask


@pytest.fixture(params=BOTH)
def place(request, tmp_path):
    """Where a new vault is to lie, in each store."""
    if request.param == "embedded":
        yield str(tmp_path / "v")
        return
    with new_database() as url:
        yield url


def test_other_machines_stop_pause_and_resume_without_signals(place, tmp_path):
    """Host name and process number say nothing: the target claims to run on another machine, as a process not there."""
    code = """
    import os, socket, time
    from tablevault_pd.capture import environment
    environment.host_name = lambda: "node-17"
    real, os.getpid = os.getpid(), lambda: 4_000_000
    import tablevault_pd as tv
    vault = tv.connect(os.environ["PLACE"], session="far", create=True)
    @vault._current_run().on_stop
    def say():
        print("stopping", flush=True)
    print("up", flush=True)
    try:
        for step in range(10_000):
            tv.log(step=step, at=step)
            tv.checkpoint()
            time.sleep(0.01)
    finally:
        vault.save("result", {"step": step})
    """
    process = start(tmp_path, textwrap.dedent(code), PLACE=place)
    wait_for(process, "up")
    with tv.connect(place, session="boss") as vault:
        paused = vault.pause("far", wait_s=60)
        assert paused.state.tolist() == ["paused"]
        assert paused.acknowledged.notna().all()
        first = vault.sessions("far").iloc[0]
        assert (first.state, first.host, first.pid) == ("paused", "node-17", 4_000_000)
        time.sleep(1.0)
        assert vault.sessions("far")["metrics.at"].tolist() == [first["metrics.at"]]
        assert vault.pause("far", wait_s=60).state.tolist() == ["paused"]  # again: harmless
        assert vault.resume("far", wait_s=60).state.tolist() == ["running"]
        vault.pause("far", wait_s=60)
        stopped = vault.stop(vault.sessions("f*"), exit_code=5, wait_s=60)
        assert stopped.acknowledged.notna().all()
        assert process.wait(60) == 5
        assert process.stdout.read().strip() == "stopping"
        assert vault.sessions("far").state.tolist() == ["stopped"]
        assert vault.read("result").step.item() > first["metrics.at"] - 1
        late = vault.stop("far")
        assert late.state.tolist() == ["stopped"]
        assert late.requested.isna().all()


def test_a_request_waits_for_the_first_checkpoint(place, tmp_path):
    code = """
    import os, time
    import tablevault_pd as tv
    vault = tv.connect(os.environ["PLACE"], session="train", create=True)
    print("up", flush=True)
    while not os.path.exists("asked"):
        time.sleep(0.05)
    for _ in range(600):  # it is heard of within a second, on a machine that has time
        tv.checkpoint()
        time.sleep(0.1)
    print("never")
    """
    process = start(tmp_path, textwrap.dedent(code), PLACE=place)
    wait_for(process, "up")
    with tv.connect(place, session="boss") as vault:
        asked = vault.stop("train")
        assert asked.acknowledged.isna().all()
        assert asked.state.tolist() == ["running"]
        (tmp_path / "asked").touch()
    assert process.communicate(timeout=90)[0] == ""
    assert process.returncode == 0
    with tv.connect(place, mode="r") as vault:
        assert vault.sessions("train").state.tolist() == ["stopped"]


def test_a_crashed_run_is_continued(place, tmp_path):
    code = """
    import os, sys, time
    import tablevault_pd as tv
    vault = tv.connect(os.environ["PLACE"], session="main", create=True)
    with vault.session("train", params={"lr": 0.1}, resume=True) as s:
        s.log(step=len(sys.argv), loss=1.0)
        while len(sys.argv) not in vault.store.measures()["step"].to_pylist():
            time.sleep(0.01)
        if len(sys.argv) == 1:
            os.kill(os.getpid(), 9)
        s.params["second"] = True
    """
    run(tmp_path, textwrap.dedent(code), PLACE=place)
    # The process is known to be dead: nobody waits until it is lost.
    done = run(tmp_path, textwrap.dedent(code), "again", PLACE=place)
    assert done.returncode == 0, done.stderr
    done = run(tmp_path, textwrap.dedent(code), "again", PLACE=place)  # it came to its end: a new run
    with tv.connect(place, mode="r") as vault:
        found = vault.sessions("train")
    assert found.session.tolist() == ["train#1", "train#2"]
    assert found.state.tolist() == ["finished", "finished"]
    assert found[["params.lr", "params.second"]].values.tolist() == [[0.1, True], [0.1, True]]
    with tv.connect(place, mode="r") as vault:
        assert vault.cells("train#1").cell.tolist() == [0, 1]
        assert vault.store.measures([vault.store.sessions(name="train")[0].id])["step"].to_pylist() == [1, 2]


def test_a_parent_that_is_not_in_this_vault_is_no_parent(tmp_path):
    """A copy of a vault has its id, and not the sessions that began since."""
    run(tmp_path, CONNECT)
    code = """
    import shutil, subprocess, sys
    shutil.copytree("v", "copy")
    import tablevault_pd as tv
    vault = tv.connect("v", session="train")
    child = "import tablevault_pd as tv; print(tv.connect('copy', session='child').sessions('child').parent.isna().item())"
    print(subprocess.run([sys.executable, "-c", child], capture_output=True, text=True, check=True).stdout)
    """
    done = run(tmp_path, textwrap.dedent(code), TABLEVAULT_PARENT="not for us")
    assert done.stdout.split() == ["True"], done.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
def test_what_is_typed_at_the_prompt(tmp_path):
    import pty

    terminal, other = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-q"], cwd=tmp_path, env=environment(TERM="dumb", HOME=str(tmp_path)),
        stdin=other, stdout=other, stderr=other, close_fds=True, start_new_session=True,
    )  # fmt: skip
    os.close(other)
    seen = b""
    for line in (
        "x = 'before'",
        "import tablevault_pd as tv; v = tv.connect('v', session='typed')",
        "1 / 0",
        "print('di' + 'd')",
        "rate = 2; saved = v.save('a', {'x': rate})",
        "v.close(); v = tv.connect('v', session=False)",
        "s = v.session('typed', resume='typed#1').__enter__()",
        "saved = v.save('b', {'x': rate})",
        "s.__exit__(None, None, None)",
        "exit()",
    ):
        os.write(terminal, line.encode() + b"\n")
        while not seen.endswith(b">>> ") and line != "exit()":
            seen += os.read(terminal, 1000)
        seen = b"" if line != "print('di' + 'd')" else seen
    process.wait(60)
    row = sessions(tmp_path).iloc[0]
    assert row.state == "finished"  # an exception does not end a prompt
    text = cells(tmp_path).text.iloc[0].splitlines()
    assert text[:3] == [
        "import tablevault_pd as tv; v = tv.connect('v', session='typed')",
        "1 / 0",
        "print('di' + 'd')",
    ]
    with tv.connect(tmp_path / "v", mode="r") as vault:  # the second attempt goes on at the same prompt
        for name, cell in (("a", 0), ("b", 1)):
            code = vault.read(name).vault.code(whole=True)
            assert {"rate = 2", f"saved = v.save('{name}', {{'x': rate}})"} <= set(code["text"])
            assert code["cell"].max() == cell
    os.close(terminal)
