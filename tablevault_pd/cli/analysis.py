"""The commands about change: ``metrics`` and ``best``, over the same calls as Python."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tablevault_pd.cli.output import Output
from tablevault_pd.display import counted
from tablevault_pd.errors import InvalidInput, short_repr

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from tablevault_pd.vault.vault import Vault

NOTHING = "Nothing was logged."


def add_metrics_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of ``metrics``."""
    parser.add_argument(
        "names",
        nargs="*",
        default=[],
        metavar="METRIC",
        help="metrics or patterns such as 'val_*' (default: all)",
    )
    _add_which(parser)
    parser.add_argument(
        "--x",
        default="step",
        metavar="AXIS",
        help="step, time, elapsed, active, or a metric such as epoch (default: step)",
    )
    parser.add_argument("--wide", action="store_true", help="a column for each metric")
    parser.add_argument(
        "--agg",
        metavar="NAME[,NAME]",
        help="one number for each session and metric: last, first, min, max, mean, median, std, count",
    )
    parser.add_argument(
        "--repeats", choices=("all", "last"), help="whether a step that was logged again counts each time"
    )
    parser.add_argument("--params", action="store_true", help="with the parameters of the sessions")


def metrics(vault: Vault, arguments: Namespace) -> Output:
    """Show logged values, or one aggregate of each curve."""
    frame = vault.metrics(
        arguments.names or None,
        **_which(arguments),
        x=arguments.x,
        form="wide" if arguments.wide else "long",
        agg=_aggregates(arguments.agg),
        repeats=arguments.repeats,
        params=arguments.params,
    )
    return Output(frame.reset_index(drop=True), f"{counted(len(frame), 'row')}." if len(frame) else NOTHING)


def add_best_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of ``best``."""
    parser.add_argument("metric", metavar="METRIC", help="what is compared")
    parser.add_argument(
        "mode", choices=("min", "max"), metavar="min|max", help="whether small or large values are good"
    )
    _add_which(parser)
    parser.add_argument(
        "--at", action="append", metavar="METRIC", help="its value at the best step; may be repeated"
    )
    parser.add_argument("--after", type=int, metavar="STEP", help="only steps greater than this")
    parser.add_argument("--smooth", type=int, metavar="K", help="choose on the rolling mean of K points")
    parser.add_argument(
        "--of-rows", dest="of", metavar="LIST", help="the version of this list that was committed by then"
    )


def best(vault: Vault, arguments: Namespace) -> Output:
    """Return the best step of each session, the best session first."""
    frame = vault.best(
        arguments.metric,
        arguments.mode,
        **_which(arguments),
        at=arguments.at,
        after=arguments.after,
        smooth=arguments.smooth,
        rows=arguments.of,
    )
    return Output(frame, note="" if len(frame) else NOTHING, hidden=("name", "run", "metric"))


def show_of(words: list[str] | None) -> dict[str, Any] | None:
    """Parse ``["loss=min", "acc=max,last"]`` for ``sessions(show=)``."""
    if not words:
        return None
    by_name = {}
    for word in words:
        metric, equals, names = word.rpartition("=")
        if not equals or not metric:
            raise InvalidInput(
                f"--show takes METRIC=AGGREGATE, such as val_loss=min, not {short_repr(word)}."
            )
        by_name[metric] = _aggregates(names)
    return by_name


def _add_which(parser: ArgumentParser) -> None:
    """Return the arguments that select sessions."""
    parser.add_argument(
        "--sessions",
        action="append",
        metavar="NAME",
        help="a name, name#run or a pattern such as 'sweep-*'; may be repeated",
    )
    parser.add_argument("--filters", metavar="QUERY", help='only sessions that fit: "params.lr < 0.1"')
    parser.add_argument("--code", help="only sessions with code that mentions this")
    parser.add_argument("--description", help="only sessions so described")
    parser.add_argument("--tag", action="append", help="only sessions with this tag; may be repeated")
    parser.add_argument(
        "--since", metavar="TIME", help="only sessions that started at this time (UTC) or later"
    )
    parser.add_argument("--until", metavar="TIME", help="only sessions that started before this time (UTC)")


def _which(arguments: Namespace) -> dict[str, Any]:
    return {
        "sessions": arguments.sessions or None,
        "filters": arguments.filters,
        "code": arguments.code,
        "description": arguments.description,
        "tags": arguments.tag or None,
        "since": arguments.since,
        "until": arguments.until,
    }


def _aggregates(names: str | None) -> str | list[str] | None:
    return names.split(",") if names is not None and "," in names else names
