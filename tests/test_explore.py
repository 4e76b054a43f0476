"""The pages of a vault: what they show, that it is escaped, and that the line of Python on each gives the same frame."""

from __future__ import annotations

import base64
import importlib
import re
from typing import Any

import numpy as np
import pandas as pd
import pytest

import tablevault_pd as tv

pytest.importorskip("panel", reason="needs the extra ui")
from tablevault_pd.explore import component, explorer, html
from tablevault_pd.explore.page import PageAddress, to
from tablevault_pd.explore.pager import ROWS
from tablevault_pd.explore.pages import MENU, PAGES

HOSTILE = '<script>alert("x")</script>'


def shown(vault: tv.Vault, query: str) -> str:
    """The HTML of a page, which must be one that the vault has."""
    page = explorer.page(vault, PageAddress.parse(query))
    assert page.title != "Error", page.blocks
    return "".join(str(block) for block in page.blocks if isinstance(block, str))


@pytest.fixture
def filled(folder_vault, tmp_path):
    """Two lists, one made from the other; six sessions with curves; hostile texts everywhere."""
    vault = folder_vault
    rng = np.random.default_rng(0)
    rows = pd.DataFrame({"text": [f"{HOSTILE} storm {n}" for n in range(250)], "n": range(250)})
    rows["vec"] = list(rng.normal(size=(250, 8)).astype("float32"))
    vault.save("articles", rows, description=HOSTILE)
    for lr in (0.1, 0.2):
        for seed in range(3):
            with vault.session("train", params={"lr": lr, "seed": seed, "note": HOSTILE}, tags=["<b>"]) as s:
                for step in range(5):
                    s.log(step=step, loss=lr / (step + 1))
                part = vault.read("articles", stop=20)[["n"]]
                part["gold"], part["pred"] = part["n"] % 2 == 0, rng.random(20) > 0.5
                part.vault.save("preds", message=HOSTILE)
    (tmp_path / "note.txt").write_text(HOSTILE)
    files = pd.DataFrame({"path": [str(tmp_path / "note.txt"), None]})
    vault.save("files", files, files="path", copy=True, inputs=False)
    return vault


QUERIES = [
    "",
    "?view=lists&q=art",
    "?view=lists&sort=-rows",
    "?view=list&name=articles",
    "?view=list&name=articles&start=200",
    "?view=list&name=preds%402",
    "?view=list&name=preds&tab=versions",
    "?view=list&name=preds&tab=trend",
    "?view=list&name=preds&tab=trend&measure=gold+%3D%3D+pred",
    "?view=list&name=files",
    "?view=file&name=files%401&row=0",
    "?view=file&name=files%401&row=1",
    "?view=file&name=files%401&row=7",
    "?view=sessions",
    "?view=sessions&name=train&filters=params.lr+%3E+0.15&changed=1",
    "?view=sessions&code=rng&sort=metrics.loss",
    "?view=run&which=train%232",
    "?view=run&which=train%232&tab=written",
    "?view=run&which=train%232&tab=code",
    "?view=run&which=train%232&tab=environment",
    "?view=curves&pick=train%231&pick=train%232&metric=loss",
    "?view=curves&filters=params.lr+%3E+0&over=params.seed",
    "?view=curves&x=elapsed",
    "?view=parallel&pick=train%231&pick=train%234",
    "?view=compare",
    "?view=compare&a=preds%401&b=preds%402&on=position",
    "?view=compare&pick=train%231&pick=train%232&on=position&measure=gold+%3D%3D+pred",
    *(
        f"?view=compare&a=preds%401&b=preds%404&on=position&measure=gold+%3D%3D+pred&tab={tab}"
        for tab in ("flips", "why", "code", "parameters", "differences")
    ),
    "?view=compare&a=preds%401&b=preds%404&on=position&tab=why",
    "?view=lineage",
    "?view=lineage&name=preds",
    "?view=lineage&name=preds&row=3",
    "?view=lineage&name=articles&row=3&direction=down",
    "?view=search",
    "?view=search&text=storm",
    "?view=search&near=articles%401&row=5",
    "?view=search&filters=n+%3C+3&lists=articles",
    "?view=stale",
    "?view=stale&name=preds",
]


def test_every_page_shows_what_it_is_asked_for_with_texts_escaped(filled):
    used = set()
    for query in QUERIES:
        text = shown(filled, query)
        used.add(PageAddress.parse(query).page)
        assert "<script>" not in text, query
        assert "<b>" not in text, query
    assert used == set(PAGES)
    assert set(MENU) <= set(PAGES)


def test_a_file_is_a_link_to_its_content_if_that_is_kept(folder_vault, tmp_path):
    picture = b"\x89PNG\r\n\x1a\n" + bytes(20)
    contents = {
        "a.txt": HOSTILE.encode(),
        "b.png": picture,
        "c.bin": bytes(9),
        "d.svg": b"<svg onload='x()'/>",
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    paths = pd.DataFrame({"path": [str(tmp_path / name) for name in contents]})
    folder_vault.save("kept", paths, files="path", copy=True)
    folder_vault.save("named", paths, files="path")
    assert 'href="?view=file&amp;name=kept%401&amp;row=2"' in shown(folder_vault, "?view=list&name=kept")
    pages = [shown(folder_vault, f"?view=file&name=kept&row={row}") for row in range(4)]
    assert "&lt;script&gt;" in pages[0]
    assert base64.b64encode(picture).decode() in pages[1]
    assert "Neither a picture nor a text" in pages[2]
    assert "&lt;svg" in pages[3]  # which could hold a script: shown as text
    assert "was not kept" in shown(folder_vault, "?view=file&name=named&row=0")


def test_a_comparison_says_why_rows_flipped(filled):
    """Each reason with the number of rows behind it, then row by row."""
    query = "?view=compare&a=preds%401&b=preds%404&on=position&measure=gold+%3D%3D+pred&tab=why"
    why = filled.compare("preds@1", "preds@4", on="position", measure="gold == pred").why()
    rows = int(((why["what"] == "parameter") & (why["name"] == "lr")).sum())
    assert rows > 0
    text = shown(filled, query)
    assert f"<td>parameter</td><td>lr</td><td>{rows}</td>" in re.sub(r"<td[^>]*>", "<td>", text)
    assert (
        text.count("<tr")
        == 1 + len(why.value_counts(["what", "name"], dropna=False)) + 1 + min(len(why), 100) + 2
    )
    same = query.replace("preds%404", "preds%401")
    assert "No row flipped." in shown(filled, same)


def test_the_line_of_python_on_a_page_runs_and_gives_what_is_shown(filled):
    names = {"vault": filled, "pd": pd, "tv": tv}
    for query in QUERIES:
        line = explorer.page(filled, PageAddress.parse(query)).python
        if "(a, b)" in line:
            continue  # the fields of a comparison, before sides are named
        answer: Any = eval(line, names)  # lines of our own
        assert answer is not None, query
    read = explorer.page(filled, PageAddress.parse("?view=list&name=articles&start=200")).python
    frame = eval(read, names)
    assert frame.index.tolist() == list(range(200, 250))


def test_rows_come_a_page_at_a_time_and_only_those_are_read(filled, monkeypatch):
    read = []
    lists = importlib.import_module(
        "tablevault_pd.explore.pages.lists"
    )  # the package has a function of that name
    real = lists.read
    monkeypatch.setattr(lists, "read", lambda *given, **named: read.append(real(*given, **named)) or read[-1])
    text = shown(filled, "?view=list&name=articles&start=100")
    assert len(re.findall("<tr>", text)) == ROWS + 1
    assert "100 – 199 of 250" in text
    assert "storm 100" in text
    assert "storm 99 " not in text
    assert [len(frame) for frame in read] == [ROWS]
    assert "200 – 249 of 250" in shown(filled, "?view=list&name=articles&start=99999999999")
    assert "0 – 99 of 250" in shown(filled, "?view=list&name=articles&start=-5")


def test_looking_at_rows_makes_them_nobodys_parents(filled):
    shown(filled, "?view=list&name=articles")
    shown(filled, "?view=lineage&name=preds&row=3")
    assert "snippet" in shown(filled, "?view=search&text=storm")
    filled.save("later", ["a"])
    (session,) = filled.versions("later")["session"]
    assert [list(each) for each in filled.sessions(session)["reads"]] == [[]]
    filled.read("articles", stop=1)
    filled.save("later", ["b"], inputs=False)
    assert [list(each) for each in filled.sessions(session)["reads"]] == [["articles@1"]]


def test_what_is_not_there_is_said_on_the_page(filled):
    for query, words in {
        "?view=list&name=%3Cscript%3E": "No list named",
        "?view=run&which=nobody": "nobody",
        "?view=sessions&filters=nothing+%3E": "filter",
        "?view=compare&a=preds&b=nothing": "nothing",
        "?view=lineage&name=preds&row=99999": "99999",
        "?view=nonsense": "no page",
        "?view=curves&metric=gone": "has logged",
        "?view=search&near=preds&row=1": "no vector",
    }.items():
        page = explorer.page(filled, PageAddress.parse(query))
        text = "".join(map(str, page.blocks))
        assert words.lower() in text.lower(), query
        assert "<script>" not in text


def test_after_a_mistake_the_fields_are_there_still(filled):
    for query, value in {
        "?view=sessions&filters=nothing+%3E": "nothing &gt;",
        "?view=search&filters=gold+%3D+1": "gold = 1",
        "?view=compare&a=preds&b=nothing&measure=gold": "gold",
        "?view=list&name=preds&tab=trend&measure=gold+%3D+pred": "gold = pred",
    }.items():
        text = "".join(map(str, explorer.page(filled, PageAddress.parse(query)).blocks))
        assert f'value="{value}"' in text, query
        assert 'class="error"' in text, query


def test_curves_are_those_of_the_sessions_that_are_shown(filled):
    with filled.session("other") as s:
        s.log(loss=1.0)
    for query, count in {
        "name=train": 6, "name=other": 1, "filters=params.lr+%3E+0.15": 3, "name=train%231&filters=params.lr+%3E+0": 1,
    }.items():  # fmt: skip
        shown_sessions = explorer.page(filled, PageAddress.parse(f"?view=sessions&{query}"))
        assert f"{count} session" in "".join(map(str, shown_sessions.blocks))
        for name in (
            ("curves", "parallel") if count > 1 else ("curves",)
        ):  # one session has no parameter that varies
            assert f"{count} session" in shown(filled, f"?view={name}&{query}"), (name, query)
    fields = "".join(map(str, explorer.page(filled, PageAddress.parse("?view=sessions&name=train")).blocks))
    assert '<input type="hidden" name="name" value="train">' in fields


def test_an_address_is_read_as_it_is_written():
    for address in (
        to("list", name="a&b=c#?%"),
        to("curves", pick=["train#1", "train#2"], x="step"),
        to("lists"),
    ):
        assert PageAddress.parse(address.query) == address
    assert to("curves", pick=["a", "b"]).all("pick") == ["a", "b"]
    assert to("list", name="x", start=None) == to("list", name="x")
    assert to("list", start=100).with_(start=None) == to("list")
    for text in ("-1", "1e3", "²", "9" * 40, "x", ""):
        assert to("list", start=text).number("start", 7) == 7


def test_values_stand_in_cells_short_and_missing_ones_empty():
    assert html.value_html(None) == html.value_html(pd.NA) == html.value_html(pd.NaT) == ""
    assert html.value_html(float("nan")) == "NaN"
    assert html.value_html("x" * 1000).startswith("<span")
    assert "polyline" in html.value_html(np.arange(1000.0))
    assert "polyline" in html.value_html([1.0, 2.0, 3.0, 4.0])
    assert "polyline" not in html.value_html(np.full(5, np.nan))
    assert html.value_html(["a", "b"]) == "a, b"
    assert html.tag("a", HOSTILE, title=HOSTILE).count("<") == 2


def test_a_session_is_paused_and_stopped_only_with_control(folder_vault, monkeypatch):
    asked: list[tuple[str, str]] = []
    for action in ("pause", "resume", "stop"):
        monkeypatch.setattr(tv.Vault, action, lambda _, which, action=action: asked.append((action, which)))
    with folder_vault.session("train"):
        look = folder_vault.explore("?view=run&which=train")
        assert "data-do" not in look._head.html
        look._use({"do": "pause", "which": "train"})
        assert asked == []
        look = folder_vault.explore("?view=run&which=train", control=True)
        assert 'data-do="pause"' in look._head.html
        for action in ("delete", "close", "pause", "stop"):  # the browser can ask for nothing but the three
            look._use({"do": action, "which": "train"})
        assert asked == [("pause", "train"), ("stop", "train")]


def test_a_link_is_followed_and_the_page_says_where_it_is(filled):
    look = filled.explore()
    assert repr(look).endswith(": Lists>")
    look._use({"go": "?view=list&name=preds"})
    assert repr(look).endswith(": preds, version 6>")
    look._use({"unknown": "x"})
    assert look.address == to("list", name="preds")


def test_scripts_are_written_into_a_notebook_once():
    sessions = pytest.importorskip("jupyter_client.session")
    shells = pytest.importorskip("ipykernel.zmqshell")
    sent: list[dict[str, Any]] = []

    class Kept(sessions.Session):  # type: ignore[name-defined]
        def send(self, stream, message, **options):
            sent.append(message["content"])

    publisher = shells.ZMQDisplayPublisher(session=Kept())
    large, small = "x" * (component.LARGE + 1), "y"
    with component.each_script_once(publisher):
        publisher.publish({component.JAVASCRIPT: large, component.HOLOVIEWS: large})
        publisher.publish({component.JAVASCRIPT: small, component.HOLOVIEWS: small})
    publisher.publish({component.JAVASCRIPT: large, component.HOLOVIEWS: large})
    assert [sorted(each["data"]) for each in sent] == [
        [component.JAVASCRIPT],
        [component.JAVASCRIPT, component.HOLOVIEWS],
        [component.JAVASCRIPT, component.HOLOVIEWS],
    ]


def test_a_closed_vault_is_not_looked_at(tmp_path):
    with tv.connect(tmp_path / "v") as vault:
        pass
    with pytest.raises(tv.VaultClosed):
        vault.explore()


def test_arguments_are_checked(folder_vault):
    for wrong in (5, b"x"):
        with pytest.raises(tv.InvalidType):
            folder_vault.explore(wrong)
    with pytest.raises(tv.InvalidInput):
        folder_vault.explore(control="yes")


def test_a_page_that_says_only_what_is_wrong_is_not_saved(filled, tmp_path):
    for address, said in {
        "?view=trend&name=preds": "There is no page 'trend'. There are: lists, list, file, sessions, ",
        "?view=list&name=perds": "No list named 'perds' in this vault. Did you mean 'preds'?",
        "?view=compare&a=preds@1&b=preds@99": "The list 'preds' has no version 99",
        "?view=list&name=preds&tab=trend&measure=gold+%3D%3D+prde": "Did you mean 'pred'?",
    }.items():
        with pytest.raises(tv.InvalidInput, match=r"Nothing was written to .*none\.html") as raised:
            filled.explore(address).save(tmp_path / "none.html")
        assert said in str(raised.value)
        assert not (tmp_path / "none.html").exists()


def test_a_page_is_saved_with_all_that_it_needs(filled, tmp_path):
    filled.explore("?view=list&name=preds").save(tmp_path / "page.html")
    filled.explore("?view=curves&metric=loss").save(tmp_path / "curves.html")
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert re.findall(r"<(?:script|link|img)[^>]*(?:src|href)=[\"'](?!data:)", text) == []
    assert "preds" in text
    assert "train#6" in (tmp_path / "curves.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "address",
    [
        "?view=lists", "?view=list&name=preds", "?view=sessions", "?view=run&which=train%236", "?view=curves&metric=loss", "?view=stale",
        "?view=search", "?view=lineage", "?view=compare&a=preds@1&b=preds@2",
    ],
)  # fmt: skip
def test_a_saved_page_has_one_heading(filled, tmp_path, address):
    filled.explore(address).save(tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert text.count("<h2>") == 1
    assert text.index("<h2>") < text.index('class="python"')
