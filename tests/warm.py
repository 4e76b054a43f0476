"""Scripts in processes of their own, forked from one that has imported pandas and the package: a second sooner each.

They are ``__main__`` as ``python train.py`` makes it, have the folder of the script first on their path, and end as an interpreter
ends. Tests of how Python begins start a new interpreter.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import json
import os
import subprocess
import sys
import tempfile
import textwrap
import types
import warnings
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def script(folder: Path, text: str, *arguments: str, name: str = "train.py", fails: bool = False) -> None:
    """Run a script in a process of its own. It fails where `fails` says so, and only there."""
    (folder / name).write_text(textwrap.dedent(text), encoding="utf-8")
    code, errors = run(folder, name, *arguments)
    assert (code != 0) == fails, errors


def run(folder: Path, name: str, *arguments: str, imports: str = "") -> tuple[int, str]:
    """Run the script of that name in `folder`. Return its exit code and what it wrote to standard error.

    `imports` names a module that is imported once, before processes are forked that need it.
    """
    environment = os.environ | {
        "PYTHONPATH": str(ROOT),
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONWARNINGS": "ignore",
    }
    if not hasattr(os, "fork"):
        done = subprocess.run(
            [sys.executable, name, *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=False
        )  # fmt: skip
        return done.returncode, done.stderr
    server = _server()
    with tempfile.NamedTemporaryFile() as errors:
        job = {
            "folder": str(folder),
            "argv": [name, *arguments],
            "environment": environment,
            "errors": errors.name,
            "imports": imports,
        }
        print(json.dumps(job), file=server.stdin, flush=True)
        answer = server.stdout.readline()
        assert answer, "the process that scripts are forked from has ended"
        return int(answer), Path(errors.name).read_text(encoding="utf-8", errors="replace")


@cache
def _server() -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, __file__],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    atexit.register(process.communicate)  # closes its input, which ends it
    return process


def _serve() -> None:
    """Fork a process for each line of the input, in which this returns."""
    import tablevault_pd as tv
    from tablevault_pd.capture.environment import package_versions

    with tempfile.TemporaryDirectory() as folder, tv.connect(f"{folder}/v", session=False) as vault:
        vault.save("a", {"x": 1})  # imports what scripts need
        vault.read("a")
        vault.sessions()
    package_versions()  # keeps what they would read anew
    gc.freeze()  # they do not look through it at their end
    while line := sys.stdin.readline():
        if name := json.loads(line)["imports"]:
            importlib.import_module(name)
        pid = os.fork()
        if not pid:
            _become(json.loads(line))
            return
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)


def _become(job: dict) -> None:
    os.chdir(job["folder"])
    os.environ.clear()
    os.environ.update(job["environment"])
    for number, path in enumerate([os.devnull, os.devnull, job["errors"]]):
        os.dup2(os.open(path, os.O_RDWR), number)
    path = os.path.abspath(job["argv"][0])
    sys.argv, sys.path[0], sys.dont_write_bytecode = job["argv"], os.path.dirname(path), True
    sys.orig_argv = [sys.executable, *sys.argv]
    warnings.simplefilter("ignore")
    importlib.invalidate_caches()
    sys.modules["__main__"].__name__ = "warm"  # the outermost frame is no longer the one of the script
    main = types.ModuleType("__main__")
    main.__file__ = path
    sys.modules["__main__"] = main
    exec(compile(Path(path).read_bytes(), path, "exec"), vars(main))


if __name__ == "__main__":
    _serve()
