"""The commands about differences: ``compare``, ``trend`` and ``differences``, over the same calls as Python."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tablevault_pd.cli.output import Output

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from tablevault_pd.analysis.comparison import Comparison
    from tablevault_pd.analysis.gate import Gate
    from tablevault_pd.vault.vault import Vault

HIDDEN = ("reference", "test")  #: columns of a summary that a table leaves out
NO_REASON = "No row changed for which a reason could be looked for."


def add_compare_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of ``compare``."""
    parser.add_argument("a", metavar="A", help="the reference: preds@3, preds, or a session such as train#2")
    parser.add_argument("b", metavar="B", help="what is compared with it")
    parser.add_argument("others", nargs="*", default=[], metavar="C", help="more of them, each against A")
    parser.add_argument(
        "--lists", metavar="LIST", help="which list sessions stand for, where they have several in common"
    )
    parser.add_argument(
        "--on",
        action="append",
        metavar="COLUMN",
        help="a column that names a row (may be repeated), lineage, or position; default: the named index, else lineage",
    )
    parser.add_argument(
        "--measure",
        action="append",
        metavar="TEXT",
        help="what is measured, 'gold == pred', or 'accuracy: gold == pred' to name it; may be repeated",
    )
    parser.add_argument(
        "--by", action="append", metavar="COLUMN", help="slice by its values; may be repeated"
    )
    parser.add_argument("--ignore", action="append", metavar="COLUMN", help="differences in it do not count")
    parser.add_argument(
        "--rtol", type=float, default=0.0, metavar="X", help="numbers this near are equal, relatively"
    )
    parser.add_argument("--atol", type=float, default=0.0, metavar="X", help="numbers this near are equal")
    parser.add_argument(
        "--margin", type=float, metavar="X", help="test whether the difference is smaller than this"
    )
    parser.add_argument(
        "--fail-if",
        action="append",
        metavar="CONDITION",
        help="exit with 1 if it holds for a measure, 'delta < -0.005' (of one among several, 'accuracy: delta < -0.005'), and "
        "with 3 if that cannot be told; may be repeated",
    )
    parser.add_argument(
        "--min-pairs", type=int, default=20, metavar="N", help="with fewer it cannot be told (default: 20)"
    )
    parser.add_argument("--slices", action="store_true", help="let --fail-if judge each slice too")
    printed = parser.add_mutually_exclusive_group()
    printed.add_argument("--markdown", action="store_true", help="print a report for a pull request")
    printed.add_argument(
        "--changed", action="store_true", help="print the rows that changed, and not the summary"
    )
    printed.add_argument(
        "--why",
        action="store_true",
        help="print the reasons, one for each row and difference, and not the summary",
    )


def compare(vault: Vault, arguments: Namespace) -> Output:
    """Return the summary of a comparison, the rows that changed, or a report."""
    comparison = vault.compare(
        arguments.a,
        arguments.b,
        *arguments.others,
        lists=arguments.lists,
        on=_on(arguments.on),
        measure=_measures(arguments.measure),
        by=arguments.by,
        ignore=arguments.ignore,
        rtol=arguments.rtol,
        atol=arguments.atol,
        margin=arguments.margin,
    )
    gate = _gate(comparison, arguments)
    code = 0 if gate is None else _exit_code(gate)
    note = "" if gate is None else f"{gate.outcome}: {gate.reason}"
    if arguments.markdown:
        from tablevault_pd.analysis.markdown import report

        return Output(comparison.summary, text=report(comparison, gate), code=code)
    if arguments.changed:
        states = [name for name in comparison.columns if str(name).startswith("status")]
        changed = comparison[(comparison[states] != "same").any(axis=1)]
        return Output(
            changed, note or f"{len(changed)} of {len(comparison)} rows changed.", index=True, code=code
        )
    if arguments.why:
        frame = comparison.why()
        return Output(frame, note or ("" if len(frame) else NO_REASON), index=True, code=code)
    below = _reasons(comparison) if arguments.form == "table" and len(arguments.others) == 0 else None
    return Output(comparison.summary, note, hidden=HIDDEN, code=code, below=below)


def _reasons(comparison: Comparison) -> Output | None:
    """Return a table of how many rows each difference stands behind; None if no row changed."""
    from tablevault_pd.analysis.markdown import MOST_ROWS, reasons

    why = comparison.why()
    if why.empty:
        return None
    table = reasons(why)
    more = (
        f"{MOST_ROWS} of {len(table)} reasons; --why has them row by row." if len(table) > MOST_ROWS else ""
    )
    return Output(table.head(MOST_ROWS), more)


def _on(words: list[str] | None) -> Any:
    return words[0] if words in (["lineage"], ["position"]) else words


def _measures(words: list[str] | None) -> Any:
    """Return one text, or several by name; ``name: text`` names one."""
    if words is None or (len(words) == 1 and not _named(words[0])[0]):
        return words and words[0]
    return {name or text: text for name, text in map(_named, words)}


def _named(text: str) -> tuple[str, str]:
    name, colon, rest = text.partition(":")
    return (name.strip(), rest.strip()) if colon and name.strip().isidentifier() else ("", text)


def _gate(comparison: Any, arguments: Namespace) -> Gate | None:
    if arguments.fail_if is None:
        return None
    from tablevault_pd.analysis import gate

    lines = comparison._judged(slices=arguments.slices)
    conditions = [_named(text) for text in arguments.fail_if]
    return gate.joined(
        [
            gate.judge(
                gate.of_measure(lines, measure or None),
                gate.failing_condition(text),
                min_pairs=arguments.min_pairs,
            )
            for measure, text in conditions
        ]
    )


def _exit_code(gate: Gate) -> int:
    from tablevault_pd.analysis.gate import EXIT_CODES

    return EXIT_CODES[gate.outcome]


def add_trend_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of ``trend``."""
    parser.add_argument(
        "lists",
        nargs="+",
        metavar="LIST",
        help="a list, preds@7 for its versions up to the seventh, or a pattern",
    )
    parser.add_argument("--measure", action="append", required=True, metavar="TEXT", help="as for compare")
    parser.add_argument(
        "--by", action="append", metavar="COLUMN", help="slice by its values; may be repeated"
    )
    parser.add_argument(
        "--per", choices=("version", "session", "day"), default="version", help="the last version of each"
    )
    parser.add_argument(
        "--baseline",
        metavar="WHICH",
        help="add the difference from first, previous, a version's number, or its tag",
    )
    parser.add_argument("--band", choices=("bootstrap",), help="add an interval")
    parser.add_argument(
        "--changes", action="store_true", help="only the versions that left the noise of the one before"
    )


def trend(vault: Vault, arguments: Namespace) -> Output:
    """Return a measure of every version, or the versions that left the noise."""
    base = arguments.baseline
    trend_frame = vault.trend(
        arguments.lists,
        _measures(arguments.measure),
        by=arguments.by,
        per=arguments.per,
        baseline=int(base) if base is not None and base.isascii() and base.isdecimal() else base,
        band=arguments.band,
    )
    if arguments.changes:
        frame = trend_frame.changes()
        return Output(frame, "" if len(frame) else "No version left the noise.", hidden=("code_diff",))
    return Output(trend_frame, "" if len(trend_frame) else "No versions.")


def add_differences_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of ``differences``."""
    parser.add_argument("a", metavar="A", help="a version such as preds@3, or a session such as train#2")
    parser.add_argument("b", metavar="B", help="another one")


def differences(vault: Vault, arguments: Namespace) -> Output:
    """Everything recorded upstream that is not the same."""
    frame = vault.differences(arguments.a, arguments.b)
    return Output(frame, "" if len(frame) else "Nothing recorded differs.")
