"""Sessions: who ran what, with parameters and metrics; one of them; and the curves of several."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pandas as pd

from tablevault_pd.display import counted
from tablevault_pd.explore import charts, html, pager
from tablevault_pd.explore.page import Explored, Page, PageAddress, call, list_link, session_link, to
from tablevault_pd.reading.nested import flat

if TYPE_CHECKING:
    from markupsafe import Markup

HIDDEN = ("name", "run", "user", "host", "pid", "heartbeat", "outcome")
MAX_CURVES = 200  #: sessions whose curves are drawn
MAX_METRICS = 12  #: of one session, drawn at once
LIVE = ("running", "paused")
WHICH = ("name", "filters", "code")  #: the arguments that say which sessions are shown


def sessions_form(address: PageAddress) -> Markup:
    """The fields that say which sessions."""
    fields = [
        html.field("name", address.get("name"), label="Name", hint="sweep-*", size=14),
        html.field(
            "filters",
            address.get("filters"),
            label="Filter",
            hint="metrics.acc > 0.9 and params.lr < 0.1",
            size=36,
        ),
        html.field("code", address.get("code"), label="Code", hint="a function", size=14),
        html.flag("changed", bool(address.get("changed")), label="only columns that differ"),
    ]
    return html.form(to("sessions"), *fields, submit="Show")


def sessions(vault: Explored, address: PageAddress) -> Page:
    """Sessions, newest first, to choose some of for their curves or a comparison."""
    filters, code, changed = address.get("filters"), address.get("code"), bool(address.get("changed"))
    options: dict[str, Any] = {"filters": filters, "code": code, "only_changed": changed}
    given = {option: value for option, value in options.items() if value}
    name = address.get("name") or None
    frame = vault.sessions(name, **given)
    python = call("vault.sessions", *([name] if name else []), **given)
    shown = frame.iloc[::-1].drop(columns=list(HIDDEN), errors="ignore")
    values = [name for name in shown.columns if name.startswith(("params.", "metrics."))]
    first = [name for name in ("session", "state") if name in shown]
    shown = shown[[*first, *values, *(name for name in shown.columns if name not in {*first, *values})]]
    shown.insert(0, " ", shown["session"])
    picked = set(address.all("pick"))
    cells: dict[str, Any] = {
        " ": lambda label, _: html.pick("pick", label, label in picked),
        "session": session_link,
        "parent": session_link,
        "state": _state,
    }
    table = pager.table(shown, address, cells, unsorted=(" ", "tags", "reads"))
    form = _selection(table, address)
    live = bool(frame["state"].isin(LIVE).any()) if "state" in frame else False
    said = html.note(counted(len(frame), "session"))
    return Page("Sessions", python, [sessions_form(address), said, form], live)


def _selection(table: Markup, address: PageAddress) -> Markup:
    buttons = [
        html.tag("button", "Curves", name="view", value="curves"),
        html.tag("button", "Parallel coordinates", name="view", value="parallel"),
        html.tag("button", "Compare two", name="view", value="compare"),
    ]
    chosen = html.tag("p", "With the sessions ticked, or all that are shown: ", *buttons, class_="buttons")
    hidden = [html.hidden(name, address.get(name)) for name in WHICH]
    return html.tag("form", *hidden, chosen, table, method="get", action="", data_form="go")


def _state(state: Any, _: int) -> Markup:
    return html.tag("span", state, class_=f"state {state}")


def run(vault: Explored, address: PageAddress) -> Page:
    """One session: parameters, curves, what it wrote and the code it ran."""
    which = address.get("which")
    info = vault.run(which)
    tab = address.get("tab", "metrics")
    tabs = {name: to("run", which=which, tab=name) for name in ("metrics", "written", "code", "environment")}
    when = f"{info.started:%Y-%m-%d %H:%M:%S} UTC"
    top = [
        html.heading(info.label, _state(info.state, 0), when, *info.tags),
        *([html.tag("pre", info.error, class_="error")] if info.error else []),
        html.tabs(tab, tabs),
    ]
    body = {"metrics": _metrics, "written": _written, "code": _code, "environment": _environment}
    blocks, python = body.get(tab, _metrics)(vault, info)
    live = info.state in LIVE
    actions = (
        {"pause": "Pause", "stop": "Stop"}
        if info.state == "running"
        else {"resume": "Resume", "stop": "Stop"}
    )
    return Page(info.label, python, [*top, *blocks], live, actions if live else {})


def _metrics(vault: Explored, info: Any) -> tuple[list[Any], str]:
    blocks: list[Any] = []
    if info.params:
        blocks.append(_pairs("parameter", flat(info.params)))
    if info.metrics:
        blocks.append(_pairs("metric, last value", info.metrics))
        names = list(info.metrics)[:MAX_METRICS]
        frame = vault.metrics(names, sessions=[info.label])
        blocks += [charts.curves(frame[frame["metric"] == name], name) for name in names]
        if len(info.metrics) > len(names):
            blocks.append(html.note(f"{len(info.metrics) - len(names)} more metrics are not drawn."))
    if not blocks:
        blocks.append(html.note("It has no parameters and has logged nothing."))
    return blocks, f"{call('vault.run', info.label)}.curve()"


def _written(vault: Explored, info: Any) -> tuple[list[Any], str]:
    frame = info.written()
    versions = [f"{row.list}@{row.version}" for row in frame.itertuples()]
    cells = {
        "list": list_link,
        "version": lambda number, row: html.link(to("list", name=versions[row]), number),
    }
    blocks = [html.table(frame, cells)] if len(frame) else [html.note("It has written nothing.")]
    return blocks, f"{call('vault.run', info.label)}.written()"


def _code(vault: Explored, info: Any) -> tuple[list[Any], str]:
    cells = info.cells()
    blocks: list[Any] = []
    for row in cells.itertuples():
        blocks.append(html.note(f"cell {row.cell}", f", {row.outcome}"))
        blocks.append(html.code(row.text))
    return blocks or [html.note("No code of it was captured.")], f"{call('vault.run', info.label)}.cells()"


def _environment(vault: Explored, info: Any) -> tuple[list[Any], str]:
    environment = dict(info.environment)
    packages = environment.pop("packages", {}) or {}
    blocks = [_pairs("environment", environment)]
    if packages:
        blocks.append(_pairs("package", packages))
    return blocks, f"{call('vault.run', info.label)}.environment"


def _pairs(title: str, values: dict[str, Any]) -> Markup:
    texts = [
        value if isinstance(value, str | int | float | None) else json.dumps(value, default=str)
        for value in values.values()
    ]
    return html.table(pd.DataFrame({title: list(values), "value": pd.Series(texts, dtype=object)}))


def _sessions_of(vault: Explored, address: PageAddress) -> list[str]:
    """Return the sessions that an address means: those that are ticked, else those that its page of sessions shows."""
    picked = address.all("pick")
    if picked:
        return picked
    options = {option: address.get(option) for option in ("filters", "code") if address.get(option)}
    labels: list[str] = vault.sessions(address.get("name") or None, columns=["session"], **options)[
        "session"
    ].tolist()
    return labels


def curves(vault: Explored, address: PageAddress) -> Page:
    """The learning curves of several sessions, and where they repeat each other over seeds their mean with a band."""
    labels = _sessions_of(vault, address)
    shown = labels[-MAX_CURVES:]
    names = sorted(vault.metrics(agg="count", sessions=shown)["metric"].unique()) if shown else []
    top = [html.heading("Curves", counted(len(labels), "session"))]
    if not names:
        return Page(
            "Curves", "vault.metrics()", [*top, html.note("None of these sessions has logged a metric.")]
        )
    metric = address.get("metric", names[0])
    if metric not in names:
        said = html.note(f"None of these sessions has logged {metric!r}.")
        return Page("Curves", call("vault.metrics", metric), [*top, said])
    x = address.get("x", "step")
    over = address.get("over")
    fields = [
        html.choice("metric", metric, names, label="Metric"),
        html.choice("x", x, ["step", "elapsed", "active", "time"], label="against"),
        html.field("over", over, label="band over", hint="params.seed", size=14),
    ]
    here = PageAddress("curves", tuple(pair for pair in address.arguments if pair[0] in ("pick", *WHICH)))
    frame = vault.metrics(metric, sessions=shown, x=x, repeats="last")
    bands = vault.bands(metric, over=over, x=x, band="minmax", sessions=shown) if over else None
    python = call("vault.metrics", metric, sessions=shown, x=None if x == "step" else x) + ".vault.plot()"
    blocks = [*top, html.form(here, *fields), charts.curves(frame, metric, bands, x)]
    if len(labels) > len(shown):
        blocks.append(html.note(f"The newest {MAX_CURVES} of {len(labels):,} sessions are drawn."))
    table = vault.best(metric, "min" if "loss" in metric else "max", sessions=shown)
    blocks.append(html.table(table, {"session": session_link}))
    return Page(f"Curves of {metric}", python, blocks)


def parallel(vault: Explored, address: PageAddress) -> Page:
    """Parameters and a metric of several sessions as parallel coordinates."""
    labels = _sessions_of(vault, address)
    frame = vault.sessions(labels) if labels else vault.sessions()
    names = [name for name in frame.columns if name.startswith("metrics.")]
    top = [html.heading("Parallel coordinates", counted(len(labels), "session"))]
    if not names or not len(frame):
        return Page(
            "Parallel coordinates",
            "vault.sessions()",
            [*top, html.note("None of these sessions has logged a metric.")],
        )
    metric = address.get("metric") if address.get("metric") in names else names[0]
    here = PageAddress("parallel", tuple(pair for pair in address.arguments if pair[0] in ("pick", *WHICH)))
    picture = charts.picture(lambda: frame.vault.plot.parallel(metric))
    python = call("vault.sessions", labels) + f".vault.plot.parallel({metric!r})"
    return Page(
        "Parallel coordinates",
        python,
        [*top, html.form(here, html.choice("metric", metric, names, label="Metric")), picture],
    )
