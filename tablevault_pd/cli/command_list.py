"""The commands of the command line: `COMMANDS` has an entry for each.

A command takes the vault and its arguments and returns an `Output`: a frame, and perhaps a sentence about it and an exit code.
The functions are in modules by theme, each with one that adds its arguments.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tablevault_pd.cli import analysis as analysis_cli
from tablevault_pd.cli import code as code_cli
from tablevault_pd.cli import compare as compare_cli
from tablevault_pd.cli import lists as list_cli
from tablevault_pd.cli import maintenance as maintenance_cli
from tablevault_pd.cli import moving as moving_cli
from tablevault_pd.cli import names as name_cli
from tablevault_pd.cli import rows as row_cli
from tablevault_pd.cli import sessions as session_cli
from tablevault_pd.cli import work as work_cli
from tablevault_pd.cli.lineage import add_lineage_arguments, lineage_command
from tablevault_pd.cli.output import SHOWN_ROWS, Output
from tablevault_pd.cli.search import add_search_arguments, search_command
from tablevault_pd.cli.sql import add_sql_arguments, sql
from tablevault_pd.cli.ui import add_ui_arguments, ui

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    import pandas as pd

    from tablevault_pd.vault.vault import Vault

NOBODY = "No session fits."


@dataclass(frozen=True, slots=True)
class Command:
    """One subcommand: its name, function, help and arguments, and whether it changes the vault."""

    name: str
    run: Callable[[Any, argparse.Namespace], Output]  #: given the open vault, or its place if it may be made
    help: str
    example: str  #: what follows the name of the program
    add_arguments: Callable[[argparse.ArgumentParser], None]
    writes: Callable[[argparse.Namespace], bool] = field(default=lambda _: False)
    makes: bool = False  #: whether the vault is made if it is not there; the command opens it
    lines: int | None = None  #: of a listing: so many lines has a table unless --limit says otherwise; 0: all
    session: bool = False  #: whether it has a session of its own, to say who made a version of a list


def framed(
    run: Callable[[Vault, argparse.Namespace], pd.DataFrame], nothing: str
) -> Callable[[Vault, argparse.Namespace], Output]:
    """Make a command of a function that returns a frame; the note `nothing` is for an empty one."""

    def command(vault: Vault, arguments: argparse.Namespace) -> Output:
        frame = run(vault, arguments)
        return Output(frame, note="" if len(frame) else nothing)

    return command


def sessions(vault: Vault, arguments: argparse.Namespace) -> Output:
    """Show sessions."""
    frame = session_cli.sessions(vault, arguments)
    hidden = ("name", "run", "pid", "heartbeat", "outcome", "attempts", "reads")
    return Output(frame, hidden=hidden, note="" if len(frame) else "No sessions.")


def _always(_: argparse.Namespace) -> bool:
    return True


#: Every command. A new one is two functions in a module of its theme, and an entry here.
COMMANDS = (
    Command(
        "lists",
        list_cli.lists,
        "the lists of a vault",
        "lists --filters 'rows > 1000'",
        list_cli.add_lists_arguments,
        lines=0,
    ),
    Command(
        "show",
        list_cli.show,
        f"the rows of one list: the first {SHOWN_ROWS}, or all with --json and --csv",
        "show preds@3 -n 5 --columns text pred --filters 'gold != pred'",
        list_cli.add_show_arguments,
    ),
    Command(
        "versions",
        list_cli.versions,
        "the history of a list, or of all",
        "versions preds -n -10",
        list_cli.add_versions_arguments,
        lines=0,
    ),
    Command(
        "files",
        list_cli.files,
        "the files that columns name, as they were saved",
        "files attachments",
        list_cli.add_files_arguments,
        lines=0,
    ),
    Command(
        "claims",
        work_cli.claims,
        "who holds and who has done which rows",
        "claims prompts --state held",
        work_cli.add_claims_arguments,
        lines=0,
    ),
    Command(
        "follow",
        work_cli.follow,
        "the new rows of a list as they are committed, until Ctrl-C",
        "follow events --since start --filters 'n > 1'",
        work_cli.add_follow_arguments,
    ),
    Command(
        "release",
        work_cli.release,
        "give back the rows that a session holds",
        "release prompts --session 'train#3'",
        work_cli.add_release_arguments,
        writes=_always,
    ),
    Command(
        "sessions",
        sessions,
        "who ran what, and how it ended",
        "sessions 'sweep-*' --columns session state params.lr metrics.loss",
        session_cli.add_sessions_arguments,
        lines=0,
    ),
    Command(
        "metrics",
        analysis_cli.metrics,
        "what sessions logged, step by step or in one number",
        "metrics loss --sessions 'sweep-*' --agg min,last --params",
        analysis_cli.add_metrics_arguments,
        lines=SHOWN_ROWS,
    ),
    Command(
        "best",
        analysis_cli.best,
        "the step of each session at which a metric was best",
        "best loss min --at acc --after 10",
        analysis_cli.add_best_arguments,
        lines=0,
    ),
    Command(
        "compare",
        compare_cli.compare,
        "which rows changed between versions, and whether a measure got worse; for CI with --fail-if",
        "compare preds@1 preds@2 --measure 'gold == pred' --fail-if 'delta < -0.005'",
        compare_cli.add_compare_arguments,
    ),
    Command(
        "trend",
        compare_cli.trend,
        "a measure of every version of a list",
        "trend preds --measure 'gold == pred' --by topic --changes",
        compare_cli.add_trend_arguments,
        lines=0,
    ),
    Command(
        "differences",
        compare_cli.differences,
        "everything upstream of two versions or sessions that is not the same",
        "differences preds@1 preds@2",
        compare_cli.add_differences_arguments,
        lines=0,
    ),
    Command(
        "code",
        code_cli.code,
        "the code that a session ran, or that made a list",
        "code preds@3 --whole",
        code_cli.add_code_arguments,
        lines=0,
    ),
    Command(
        "code-diff",
        code_cli.code_diff,
        "how the code behind two versions or sessions differs",
        "code-diff preds@1 preds@2",
        code_cli.add_code_diff_arguments,
        lines=0,
    ),
    Command(
        "git-diff",
        code_cli.git_diff,
        "how the files that a session ran differ from the git commit it ran at",
        "git-diff 'train#2'",
        code_cli.add_git_diff_arguments,
        lines=0,
    ),
    Command(
        "stale",
        framed(code_cli.stale, "Nothing is out of date."),
        "rows made of something that has since changed, in order of making",
        "stale preds",
        code_cli.add_stale_arguments,
        lines=0,
    ),
    Command(
        "search",
        framed(search_command, "Nothing was found."),
        "find rows by words, vectors, values, code, description and lineage",
        "search storms --lists news --filters 'year > 2020' -n 5",
        add_search_arguments,
    ),
    Command(
        "ui",
        ui,
        "look at a vault in a browser, until Ctrl-C",
        "ui --vault exp.vault",
        add_ui_arguments,
        writes=lambda arguments: arguments.control,
    ),
    Command(
        "sql",
        sql,
        "answer a SELECT statement over lists and reports",
        "sql 'SELECT model, max(acc) FROM runs GROUP BY model'",
        add_sql_arguments,
        lines=0,
    ),
    Command(
        "lineage",
        framed(lineage_command, "Nothing is known of their lineage."),
        "which rows a list's rows were made from, or went into",
        "lineage preds 12 --down",
        add_lineage_arguments,
        lines=SHOWN_ROWS,
    ),
    Command(
        "stop",
        framed(session_cli.stop, NOBODY),
        "ask sessions to stop at their next checkpoint",
        "stop 'sweep-*' --wait 10",
        session_cli.add_stop_arguments,
        writes=_always,
    ),
    Command(
        "pause",
        framed(session_cli.pause, NOBODY),
        "ask sessions to wait at their next checkpoint",
        "pause 'train#2'",
        session_cli.add_asking_arguments,
        writes=_always,
    ),
    Command(
        "resume",
        framed(session_cli.resume, NOBODY),
        "let paused sessions go on",
        "resume 'train#2'",
        session_cli.add_asking_arguments,
        writes=_always,
    ),
    Command(
        "check",
        maintenance_cli.check,
        "look for damage and stray files",
        "check --vault exp.vault",
        maintenance_cli.add_check_arguments,
        writes=lambda arguments: bool(arguments.fix),
        lines=0,
    ),
    Command(
        "indexes",
        maintenance_cli.indexes,
        "show the indexes that searches use, and how far they go",
        "indexes --vault exp.vault",
        lambda parser: None,
        lines=0,
    ),
    Command(
        "vacuum",
        maintenance_cli.vacuum,
        "tell what space only old versions take, and free it with --yes",
        "vacuum --keep 3 --yes",
        maintenance_cli.add_vacuum_arguments,
        writes=lambda arguments: bool(arguments.yes),
    ),
    Command(
        "compact",
        maintenance_cli.compact,
        "merge what many small appends left behind",
        "compact events",
        maintenance_cli.add_compact_arguments,
        writes=_always,
    ),
    Command(
        "backup",
        maintenance_cli.backup,
        "copy the vault to a folder, while others write",
        "backup /backups/exp.vault",
        maintenance_cli.add_backup_arguments,
    ),
    Command(
        "copy",
        moving_cli.copy,
        "copy the vault, or some lists, into another one",
        "copy other.vault --lists preds",
        moving_cli.add_copy_arguments,
    ),
    Command(
        "merge",
        moving_cli.merge,
        "fold other vaults into this one, which is made if it is not there",
        "merge node1.vault node2.vault --vault all.vault",
        moving_cli.add_merge_arguments,
        writes=_always,
        makes=True,
    ),
    Command(
        "import",
        moving_cli.import_runs,
        "bring in what MLflow, TableVault, TensorBoard or Trackio keep; the vault is made if it is not there",
        "import mlflow sqlite:///mlflow.db --vault exp.vault",
        moving_cli.add_import_arguments,
        writes=_always,
        makes=True,
    ),
    Command(
        "export",
        maintenance_cli.export,
        "write all lists to a folder, or one to a file, for other tools",
        "export preds.parquet --list preds@3",
        maintenance_cli.add_export_arguments,
    ),
    Command(
        "delete",
        list_cli.delete,
        "hide a list; its versions stay",
        "delete drafts --message 'not used any more'",
        list_cli.add_delete_arguments,
        writes=_always,
        session=True,
    ),
    Command(
        "restore",
        list_cli.restore,
        "make an older version of a list the newest",
        "restore preds@3",
        list_cli.add_restore_arguments,
        writes=_always,
        session=True,
    ),
    Command(
        "rename",
        name_cli.rename,
        "call a list otherwise, in all its versions",
        "rename preds predictions",
        name_cli.add_rename_arguments,
        writes=_always,
        session=True,
    ),
    Command(
        "snapshot",
        name_cli.snapshot,
        "name the present version of every list",
        "snapshot paper",
        name_cli.add_snapshot_arguments,
        writes=_always,
        session=True,
    ),
    Command(
        "snapshots",
        name_cli.snapshots,
        "which snapshots there are, and of which versions",
        "snapshots --vault exp.vault",
        name_cli.add_snapshots_arguments,
        lines=0,
    ),
    Command(
        "tag",
        name_cli.tag,
        "tag sessions, or name a version of a list",
        "tag preds@3 best",
        name_cli.add_tag_arguments,
        writes=_always,
        session=True,
    ),
    Command(
        "untag",
        name_cli.untag,
        "remove a snapshot, or the name of a version",
        "untag preds@best",
        name_cli.add_untag_arguments,
        writes=_always,
    ),
    Command(
        "history",
        row_cli.history,
        "every state of one row of a list with a key",
        "history people 7",
        row_cli.add_history_arguments,
        lines=0,
    ),
    Command(
        "delete-rows",
        row_cli.delete_rows,
        "leave rows out of a list; its earlier versions keep them",
        "delete-rows people --filters 'consent == False' --reason 'asked to'",
        row_cli.add_delete_arguments,
        writes=_always,
        session=True,
    ),
    Command(
        "erase",
        row_cli.erase,
        "forget rows for good, in all versions of a list",
        "erase people --filters 'id == 7' --yes",
        row_cli.add_erase_arguments,
        writes=lambda arguments: bool(arguments.yes),
        session=True,
    ),
)
