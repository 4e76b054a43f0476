"""What a run had in its files that its git commit has not."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest
import warm

import tablevault_pd as tv
from tablevault_pd.cli.commands import main

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="needs git")

SCRIPT = """\
import tablevault_pd as tv
from helper import double

vault = tv.connect("../v", session="train")
vault.save("numbers", {"n": double(1)})
vault.close()
"""
HELPER = "def double(n):\n    return 2 * n\n"


def git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", "-c", "user.name=a", "-c", "user.email=a@b.c", *arguments], cwd=folder, check=True, capture_output=True, text=True
    )  # fmt: skip
    return done.stdout.strip()


@pytest.fixture
def project(here: Path) -> Path:
    """A repository with a script and a module of its own, both committed."""
    folder = here / "project"
    folder.mkdir()
    (folder / "train.py").write_text(SCRIPT)
    (folder / "helper.py").write_text(HELPER)
    git(folder, "init", "-q")
    git(folder, "add", ".")
    git(folder, "commit", "-qm", "one")
    return folder


def run(project: Path) -> None:
    code, errors = warm.run(project, "train.py")
    assert code == 0, errors


def diff_of(here: Path, which: str, **options: str) -> str:
    with tv.connect(here / "v", mode="r") as vault:
        return vault.run(which).git_diff(**options)


def test_what_was_not_committed_is_shown_and_only_that(project, here):
    run(project)
    assert diff_of(here, "train#1") == ""
    (project / "helper.py").write_text(HELPER.replace("2 * n", "3 * n"))
    run(project)
    (project / "helper.py").write_text("# later\n")  # what is there now does not count
    commit = git(project, "rev-parse", "HEAD")[:7]
    diff = diff_of(here, "train#2")
    assert diff.splitlines()[:2] == [f"--- {commit}/helper.py", "+++ train#2/helper.py"]
    assert "-    return 2 * n\n+    return 3 * n\n" in diff
    assert "train.py" not in diff
    assert "3 * n" in diff._repr_html_()


TEXTS = {
    "byte order mark": b"\xef\xbb\xbf# \xc3\xa4\n",
    "its own encoding": b"# -*- coding: latin-1 -*-\n# \xe4\n",
    "Windows' ends of lines": b"# one\r\n# two\r\n",
    "what ends no line of Python": "# a\u2028b\x0c\nx = 'a\x0bb'\n".encode(),
}


@pytest.mark.parametrize("what", TEXTS)
def test_a_file_is_read_as_python_reads_it(project, here, what):
    content = TEXTS[what] + SCRIPT.encode()
    (project / "train.py").write_bytes(content)
    git(project, "commit", "-qam", "two")
    run(project)
    assert diff_of(here, "train#1") == ""
    (project / "train.py").write_bytes(content + b"x = 'c\x0bd'\n")
    run(project)
    lines = diff_of(here, "train#2").split("\n")
    assert [line for line in lines[2:] if line.startswith(("+", "-"))] == ["+x = 'c\x0bd'"]


def test_a_file_that_git_does_not_know_is_new(project, here):
    git(project, "rm", "-q", "--cached", "helper.py")
    git(project, "commit", "-qm", "two")
    run(project)
    diff = diff_of(here, "train#1")
    assert diff.startswith("--- /dev/null\n+++ train#1/helper.py\n")
    assert "+def double(n):\n" in diff


def test_a_clone_is_named_where_the_project_is_gone(project, here):
    (project / "train.py").write_text(SCRIPT + "print('more')\n")
    run(project)
    clone = here / "clone"
    git(here, "clone", "-q", str(project), str(clone))
    shutil.rmtree(project)
    assert "+print('more')\n" in diff_of(here, "train#1", folder=str(clone))
    other = here / "other"
    other.mkdir()
    git(other, "init", "-q")
    for folder in (other, here / "nowhere"):
        with pytest.raises(
            tv.InvalidInput, match=r"The commit .* of train#1 is not in a git repository around .*folder="
        ):
            diff_of(here, "train#1", folder=str(folder))


def test_without_a_commit_the_error_says_so(project, here):
    shutil.rmtree(project / ".git")
    run(project)
    with pytest.raises(tv.InvalidInput, match="No git commit is recorded of train#1"):
        diff_of(here, "train#1")


def test_without_a_file_that_is_kept_the_error_says_so(project, here):
    (project / "train.py").write_text(SCRIPT.replace('session="train"', 'session="train", capture="none"'))
    run(project)
    with pytest.raises(tv.InvalidInput, match=r"No script and no module of train#1 is kept"):
        diff_of(here, "train#1")


def test_a_commit_of_a_forged_vault_is_no_option_of_git(project):
    from tablevault_pd.capture.environment import file_at_commit, has_commit

    assert not has_commit(project, "--help")
    assert not has_commit(project, "HEAD")
    commit = git(project, "rev-parse", "HEAD")
    assert has_commit(project, commit)
    assert file_at_commit(project, commit, "../v/catalog.db") is None
    assert file_at_commit(project, commit, "helper.py") == HELPER


def test_cells_of_a_notebook_are_said_not_to_be_compared(project, here, capsys):
    pytest.importorskip("IPython")
    from shells import shell

    connect = "import tablevault_pd as tv\nvault = tv.connect('../v', session='nb')"
    with shell(project) as notebook:
        notebook.run("a", f"{connect}\nvault.save('numbers', {{'n': 1}})")
    said = r"Cells of a notebook or prompt are no files of a commit: vault.cells\('nb#1'\) shows its code, vault.code_diff\('nb#1', other\)"
    with pytest.raises(tv.InvalidInput, match=rf"No script and no module of nb#1 is kept, .* {said}"):
        diff_of(here, "nb#1")
    assert main(["--vault", str(here / "v"), "git-diff", "nb"]) == 2
    assert (
        "tablevault-pd code 'nb#1' shows its code, tablevault-pd code-diff 'nb#1' OTHER"
        in capsys.readouterr().err
    )
    (project / "helper.py").write_text(HELPER.replace("2 * n", "3 * n"))
    with shell(project) as notebook:
        notebook.run("a", f"{connect}\nfrom helper import double\nvault.save('numbers', {{'n': double(1)}})")
    with pytest.warns(
        UserWarning, match=r"^Only modules of nb#2 were compared with its commit\. Cells of a notebook"
    ):
        assert "+    return 3 * n\n" in diff_of(here, "nb#2")


def test_the_command_line_prints_it(project, here, capsys):
    run(project)
    place = ["--vault", str(here / "v"), "git-diff", "train"]
    assert main(place) == 0
    assert capsys.readouterr().out == "Its files are those of the commit.\n"
    (project / "helper.py").write_text(HELPER.replace("2 * n", "3 * n"))
    run(project)
    assert main(place) == 0
    assert capsys.readouterr().out == diff_of(here, "train#2")
    assert main([*place, "--folder", str(here)]) == 2
    assert "Say --folder, the folder of the project" in capsys.readouterr().err
