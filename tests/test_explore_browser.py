"""The pages in a real browser, served by the real command; and who may not come in."""

from __future__ import annotations

import http.client
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

import numpy as np
import pandas as pd
import pytest

import tablevault_pd as tv

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytest.importorskip("panel", reason="needs the extra ui")
playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright")
pytestmark = pytest.mark.ci

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium: install the system's package")
HOSTILE = "<img src=x onerror=alert(1)>"
NAMES = ['</script><script>alert(1)</script>" onmouseover="alert(1)', "javascript:alert(1)", "W" * 200]
#: Where pictures of the pages go, for the documentation.
PICTURES = os.environ.get("TABLEVAULT_PICTURES")


def fill(vault: tv.Vault) -> None:
    rng = np.random.default_rng(0)
    words = ["storm", "sea", "sun", "wind", "harbour"]
    rows = pd.DataFrame(
        {
            "title": [f"{words[n % 5]} and {words[n % 3]}" for n in range(250)],
            "year": 1990 + np.arange(250) % 30,
        }
    )
    rows["vec"] = list(rng.normal(size=(250, 16)).astype("float32"))
    vault.save("articles", rows, description="Titles of articles about the weather")
    for lr in (0.1, 0.2):
        for seed in range(3):
            with vault.session("train", params={"lr": lr, "seed": seed}) as s:
                for step in range(30):
                    s.log(step=step, loss=lr + 1 / (step + 1) + rng.normal() * 0.02)
                part = vault.read("articles", stop=60)[["year"]]
                part["gold"] = part["year"] % 2 == 0
                part["pred"] = part["gold"] ^ (rng.random(60) < 0.5 - seed * 0.1 - lr)
                part.vault.save("preds")
    vault.save("by_year", vault.read("preds").groupby("year").size().reset_index(name="n"), inputs="preds")
    vault.save("hostile", pd.DataFrame({HOSTILE: [HOSTILE]}), description=HOSTILE)
    for name in NAMES:
        with vault.session(name, params={name: "x\u202e" * 500}, tags=[name]) as s:
            s.log({name: 1.0}, step=0)
            vault.save(
                name, {name: name, "text": "\u202e\x1b[2J" + "y" * 3000}, message=name, description=name
            )


def wait_for(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)


class Served:
    """The command at work on a vault."""

    def __init__(self, place: Path, *options: str) -> None:
        command = [
            sys.executable,
            "-m",
            "tablevault_pd",
            "ui",
            "--no-browser",
            "--vault",
            str(place),
            *options,
        ]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.address = self.process.stdout.readline().strip()
        parts = urlsplit(self.address)
        self.root, self.host, self.port = f"{parts.scheme}://{parts.netloc}", parts.hostname, parts.port
        assert self.port, self.process.communicate()

    def get(self, path: str, **headers: str) -> tuple[int, dict[str, str], str]:
        connection = http.client.HTTPConnection(self.host, self.port, timeout=60)
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        text = answer.read().decode(errors="replace")
        connection.close()
        return answer.status, dict(answer.getheaders()), text

    def end(self) -> tuple[int, str]:
        self.process.send_signal(signal.SIGINT)
        errors = self.process.communicate(timeout=60)[1]
        return self.process.returncode, errors


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("served") / "v"
    with tv.connect(place, session="notebook") as vault:
        fill(vault)
    return place


@pytest.fixture(scope="module")
def served(place: Path) -> Iterator[Served]:
    served = Served(place)
    yield served
    code, errors = served.end()
    assert code == 0
    assert "Traceback" not in errors


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


class Tab:
    """A page of the browser, with what it loaded from elsewhere and what its console says."""

    def __init__(self, browser: Any, served: Served | None = None) -> None:
        self.page = browser.new_page(viewport={"width": 1200, "height": 760})
        self.page.set_default_timeout(60_000)
        self.elsewhere: list[str] = []
        self.errors: list[str] = []
        here = ("blob:", "data:", "file:", *([f"{served.root}/"] if served else []))
        self.page.on(
            "request", lambda request: request.url.startswith(here) or self.elsewhere.append(request.url)
        )
        self.page.on(
            "console",
            lambda message: message.type in ("error", "warning") and self.errors.append(message.text),
        )
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("dialog", lambda dialog: self.errors.append(f"dialog: {dialog.message}"))

    def close(self) -> None:
        self.page.close()
        assert (self.elsewhere, self.errors) == ([], [])


@pytest.fixture
def tab(chromium: Any, served: Served) -> Iterator[Any]:
    opened = Tab(chromium, served)
    opened.page.goto(served.address)
    opened.page.get_by_role("link", name="articles").wait_for()
    yield opened.page
    opened.close()


VIEWS = {
    "lists": ("", "articles"),
    "list": ("?view=list&name=articles", "storm and storm"),
    "versions": ("?view=list&name=preds&tab=versions", "operation"),
    "trend": ("?view=list&name=preds&tab=trend&measure=gold+%3D%3D+pred", "what changed"),
    "sessions": ("?view=sessions&name=train", "train#6"),
    "run": ("?view=run&which=train%232", "parameter"),
    "curves": ("?view=curves&filters=params.lr+%3E+0&metric=loss&over=params.seed", "best_value"),
    "parallel": ("?view=parallel&filters=params.lr+%3E+0", "Parallel coordinates"),
    "compare": ("?view=compare&a=preds%401&b=preds%403&on=position&measure=gold+%3D%3D+pred", "flip"),
    "flips": (
        "?view=compare&a=preds%401&b=preds%403&on=position&measure=gold+%3D%3D+pred&tab=flips",
        "Compare",
    ),
    "lineage": ("?view=lineage", "parent_list"),
    "row": ("?view=lineage&name=preds&row=3", "parent_position"),
    "search": ("?view=search&text=storm", "snippet"),
    "stale": ("?view=stale", "Stale"),
    "hostile": ("?view=list&name=hostile", HOSTILE),
}


@needs_browser
def test_every_page_is_drawn_without_an_error_and_loads_nothing_from_elsewhere(tab, served):
    for name, (query, words) in VIEWS.items():
        tab.goto(f"{served.root}/{query}")
        tab.get_by_text(words).first.wait_for()
        if name in ("run", "curves"):
            tab.locator("canvas").first.wait_for()
        if name in ("flips", "trend", "parallel"):
            tab.locator("img.picture").wait_for()
        if PICTURES and name != "hostile":
            tab.screenshot(path=Path(PICTURES) / f"ui-{name}.png")
    assert tab.get_by_text(HOSTILE).count() >= 2


@needs_browser
def test_odd_names_run_nothing_lead_nowhere_and_keep_within_the_page(chromium, served):
    tab = Tab(chromium, served)
    page = tab.page
    page.set_viewport_size({"width": 390, "height": 800})
    page.goto(served.address)
    for name in NAMES:
        quoted = quote(name, safe="")
        for query in (
            "",
            f"?view=list&name={quoted}",
            f"?view=run&which={quoted}",
            f"?view=curves&name={quoted}",
        ):
            page.goto(f"{served.root}/{query}")
            page.get_by_text(name).first.wait_for()
            assert page.evaluate("document.documentElement.scrollWidth") <= 390, query
            links = page.locator("a").evaluate_all("links => links.map(link => link.href)")
            assert len(links) > 5
            assert all(link.startswith((f"{served.root}/", "data:image/")) for link in links), (query, links)
        page.goto(served.root)
        page.get_by_role("link", name=name, exact=True).first.click()
        page.get_by_text("version 1").first.wait_for()
    tab.close()  # which asserts that nothing was run, loaded from elsewhere or refused


@needs_browser
def test_pages_are_dark_where_the_system_is_and_fit_on_a_phone(chromium, served):
    tab = Tab(chromium, served)
    tab.page.emulate_media(color_scheme="dark")
    tab.page.set_viewport_size({"width": 390, "height": 800})
    tab.page.goto(served.address)
    for query in ("?view=list&name=articles", "?view=compare&a=preds%401&b=preds%402"):
        tab.page.goto(f"{served.root}/{query}")
        tab.page.locator("td").first.wait_for()
        assert tab.page.locator(".vault").count() == tab.page.locator(".vault.dark").count() > 1
        assert tab.page.evaluate("document.documentElement.scrollWidth") <= 390
        assert tab.page.locator("meta[name=viewport]").count() == 1
    tab.page.emulate_media(color_scheme="light")
    tab.page.locator(".vault:not(.dark)").first.wait_for()
    assert tab.page.locator(".vault.dark").count() == 0
    tab.close()


@needs_browser
def test_links_forms_and_the_back_button_lead_where_they_say(tab, served):
    tab.get_by_role("link", name="articles", exact=True).click()
    tab.get_by_text("0 – 99 of 250").first.wait_for()
    tab.wait_for_url("**/?view=list&name=articles")
    tab.get_by_role("link", name="next").first.click()
    tab.get_by_text("100 – 199 of 250").first.wait_for()
    tab.wait_for_url("**start=100*")
    tab.go_back()
    tab.get_by_text("0 – 99 of 250").first.wait_for()
    tab.get_by_role("link", name="near").nth(5).click()
    tab.get_by_text("Near to row 5 of articles@1.").wait_for()
    tab.get_by_role("link", name="sessions").click()
    tab.get_by_text("10 sessions").wait_for()  # the page before had a field of that name, too
    tab.get_by_label("Filter").fill("params.lr > 0.15")
    tab.get_by_role("button", name="Show").click()
    tab.get_by_text("3 sessions").wait_for()
    tab.wait_for_url("**filters=params.lr+%3E+0.15*")
    for label in ("train#4", "train#5"):
        tab.get_by_role("checkbox", name=label).check()
    tab.get_by_role("button", name="Compare two").click()
    tab.get_by_label("aligned by").wait_for()
    tab.wait_for_url("**view=compare*")
    assert {"pick=train%234", "pick=train%235", "view=compare"} <= set(tab.url.partition("?")[2].split("&"))
    tab.goto(f"{served.root}/?view=lineage")
    tab.locator(".graph a", has_text="by_year").click()
    tab.get_by_text("version 1").first.wait_for()
    tab.wait_for_url("**/?view=list&name=by_year")


@needs_browser
def test_a_running_session_is_followed_and_controlled_only_where_that_is_allowed(chromium, place):
    served = Served(place, "--control")
    tab = Tab(chromium, served)
    try:
        with tv.connect(place, session=False) as vault, vault.session("live") as s:
            s.log(step=0, loss=3.25)
            vault._flush()
            tab.page.goto(served.address)
            tab.page.goto(f"{served.root}/?view=run&which=live")
            tab.page.get_by_text("3.25").first.wait_for()
            s.log(step=1, loss=1.125)
            tab.page.get_by_text("1.125").first.wait_for()
            tab.page.get_by_role("button", name="Pause").click()
            done = threading.Event()
            work = threading.Thread(
                target=lambda: [s.checkpoint() for _ in iter(lambda: done.wait(0.01), True)]
            )
            work.start()  # its checkpoint waits while the session is paused
            tab.page.get_by_role("button", name="Resume").click()
            wait_for(lambda: vault.run("live").state == "running")
            done.set()
            work.join(60)
            assert not work.is_alive()
    finally:
        tab.close()
        code, errors = served.end()
    assert (code, "Traceback" in errors) == (0, False)


@needs_browser
def test_a_saved_page_needs_no_network(chromium, place, tmp_path):
    with tv.connect(place, mode="r") as vault:
        vault.explore("?view=curves&metric=loss").save(tmp_path / "curves.html")
    tab = Tab(chromium)
    tab.page.goto((tmp_path / "curves.html").as_uri())
    tab.page.locator("canvas").first.wait_for()
    tab.page.get_by_text("best_value").wait_for()
    tab.close()


@needs_browser
def test_tables_one_below_the_other_do_not_touch(chromium, place, tmp_path):
    with tv.connect(place, mode="r") as vault:
        address = "?view=compare&a=preds@1&b=preds@6&measure=gold+%3D%3D+pred&tab=why"
        vault.explore(address).save(tmp_path / "why.html")
    tab = Tab(chromium)
    tab.page.goto((tmp_path / "why.html").as_uri())
    first, second = (tab.page.locator(".table").nth(number).bounding_box() for number in range(2))
    assert second["y"] - (first["y"] + first["height"]) >= 12
    assert tab.page.locator("h2").count() == 1
    tab.close()


def test_nobody_comes_in_without_the_token_or_by_another_name(served):
    token = served.address.partition("token=")[2]
    status, headers, text = served.get("/?view=lists")
    assert (status, headers.get("Location", "").startswith("./refused")) == (302, True), text
    status, _, text = served.get("/refused")
    assert (status, "token" in text) == (403, True)
    assert token not in text
    for wrong in ("x", token[:-1], token + "x", "é"):
        assert served.get(f"/?token={wrong.encode().hex() if wrong == 'é' else wrong}")[0] == 302
    assert served.get("/", Cookie=f"tablevault-{served.port}=x")[1]["Location"].startswith("./refused")
    assert "refused" in served.get(f"/?token={token}", Host="evil.example")[1]["Location"]

    status, headers, _ = served.get(f"/?token={token}&view=sessions")
    assert (status, headers["Location"]) == (302, "/?view=sessions")
    cookie = headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Lax" in cookie
    kept = cookie.partition(";")[0]
    status, headers, text = served.get("/?view=sessions", Cookie=kept)
    assert status == 200
    assert "default-src 'self'" in headers["Content-Security-Policy"]
    assert headers["Referrer-Policy"] == "no-referrer"
    assert token not in text
    assert served.get("/", Cookie=kept, Host="evil.example:80")[0] == 302
    upgrade = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13"}
    key = {"Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Protocol": "bokeh, x"}
    assert served.get("/ws", Cookie=kept, Origin="http://evil.example", **upgrade, **key)[0] == 403
    for path in ("/../../etc/passwd", "/static/../../../etc/passwd", "/refused/../x"):
        assert "root:" not in served.get(path, Cookie=kept)[2]


def test_it_listens_on_this_machine_alone_and_on_a_port_that_is_free(served, place):
    again = subprocess.run(
        [
            sys.executable,
            "-m",
            "tablevault_pd",
            "ui",
            "--no-browser",
            "--vault",
            str(place),
            "--port",
            str(served.port),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert again.returncode == 2
    assert "cannot be used" in again.stderr
    listening = Path("/proc/net/tcp")
    if not listening.exists():
        pytest.skip("needs /proc/net/tcp to see the address")
    port = f"{served.port:04X}"
    addresses = [line.split()[1] for line in listening.read_text().splitlines()[1:]]
    assert {address for address in addresses if address.endswith(f":{port}")} == {f"0100007F:{port}"}
