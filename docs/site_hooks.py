"""What MkDocs does beyond its settings: pages from outside of docs/, llms.txt, and what is checked of the pages that were built."""

from __future__ import annotations

import re
import sys
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files

import tablevault_pd as tv

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.nav import Navigation
    from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]
#: Pages of the site that lie outside of docs/, by their place in the site.
OUTSIDE = {
    "index.md": "README.md",
    "changelog.md": "CHANGELOG.md",
    "contributing.md": "CONTRIBUTING.md",
    "security.md": "SECURITY.md",
    "benchmarks.md": "benchmarks/README.md",
}
#: Files that pages link to, which come along as they are.
FILES = ["LICENSE", "docker-compose.yml", "examples/*", "benchmarks/*.py", "benchmarks/*.svg"]
#: What a page loads from elsewhere: nothing may. Links (`<a href=`) are followed by people, and may lead anywhere.
LOADED = re.compile(
    r"<(?:script|img|iframe|source)\b[^>]*\bsrc=\"?https?:[^\s>]*|<link\b(?![^>]*canonical)[^>]*\bhref=\"?https?:[^\s>]*"
)
LINK = re.compile(r"\]\(([^)#\s]+)(#[^)\s]*)?\)")
#: Where the public classes stand in the reference, by the names that tests/docstrings.py gives them.
OWNERS = {
    "tv": "tablevault_pd",
    "Vault": "tablevault_pd.Vault",
    "List": "tablevault_pd.List",
    "Run": "tablevault_pd.Run",
    "RunInfo": "tablevault_pd.RunInfo",
    "df.vault": "tablevault_pd.accessor.FrameAccessor",
    "series.vault": "tablevault_pd.accessor.SeriesAccessor",
    "Comparison": "tablevault_pd.Comparison",
    "FramePlots": "tablevault_pd.analysis.plots.FramePlots",
    "LineageGraph": "tablevault_pd.lineage.graph.LineageGraph",
    "Ref": "tablevault_pd.refs.Ref",
}
_navigation: list[Page] = []


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add README, changelog and the like as pages, and the files that they link to."""
    for place, source in OUTSIDE.items():
        files.append(File.generated(config, place, abs_src_path=str(ROOT / source)))
    for path in sorted(path for pattern in FILES for path in ROOT.glob(pattern) if path.is_file()):
        files.append(File.generated(config, path.relative_to(ROOT).as_posix(), abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Page, **_: object) -> str:
    """Make links between files of the repository links between pages of the site."""
    if page.file.src_uri in COMPLETED:
        markdown += "".join(
            f"\n::: {name}" for name in COMPLETED[page.file.src_uri]() if name not in markdown
        )
    source = OUTSIDE.get(page.file.src_uri, f"docs/{page.file.src_uri}")
    return LINK.sub(lambda match: f"]({_place(match[1], source, page)}{match[2] or ''})", markdown)


def _place(target: str, source: str, page: Page) -> str:
    """Return the address of a link's target, as seen from `page`. What is outside of the repository stays."""
    if "://" in target or target.startswith("mailto:"):
        return target
    path = (ROOT / source).parent.joinpath(target).resolve()
    if not path.is_relative_to(ROOT):
        return target
    name = path.relative_to(ROOT).as_posix()
    place = {value: key for key, value in OUTSIDE.items()}.get(name, name.removeprefix("docs/"))
    up = "../" * page.file.src_uri.count("/")
    return up + place


def functions() -> list[str]:
    """Return where the functions of the module stand in the reference."""
    return [f"tablevault_pd.{name}" for name in tv.__all__ if not isinstance(getattr(tv, name), type)]


def errors() -> list[str]:
    """Return where the errors and warnings stand in the reference."""
    things = ((name, getattr(tv, name)) for name in tv.__all__)
    return [
        f"tablevault_pd.{name}"
        for name, thing in things
        if isinstance(thing, type) and issubclass(thing, BaseException)
    ]


#: Pages of the reference that get every name which their text does not have.
COMPLETED = {"reference/functions.md": functions, "reference/errors.md": errors}


def on_nav(nav: Navigation, **_: object) -> Navigation:
    """Keep the pages in the order of the navigation, for llms.txt."""
    _navigation[:] = nav.pages
    return nav


def on_post_build(config: MkDocsConfig) -> None:
    """Write llms.txt; fail if the reference lacks a public name, or if a page would load anything from elsewhere."""
    site = Path(config.site_dir)
    (site / "llms.txt").write_text(llms_text(config), encoding="utf-8")
    missing = sorted(public_names() - inventory(site / "objects.inv"))
    if missing:
        raise PluginError(f"docs/reference lacks public names: {', '.join(missing)}")
    for page in site.rglob("*.html"):
        if found := LOADED.search(page.read_text(encoding="utf-8")):
            raise PluginError(f"{page.relative_to(site)} would load from elsewhere: {found[0]}")


def llms_text(config: MkDocsConfig) -> str:
    """Return the list of all pages with what each is about, as llmstxt.org describes it; the pages come as Markdown beside it."""
    lines = [f"# {config.site_name}", "", f"> {config.site_description}", "", "## Pages", ""]
    for page in _navigation:
        name = page.file.dest_uri
        lines.append(f"- [{page.title}]({name}): {first_sentence(page.markdown or '')}")
    return "\n".join(lines) + "\n"


def first_sentence(markdown: str) -> str:
    """Return the first paragraph of a page that is no heading, on one line."""
    plain = re.sub(r"^```.*?^```$", "", markdown, flags=re.MULTILINE | re.DOTALL)
    paragraphs = [each.strip() for each in plain.split("\n\n")]
    text = next((each for each in paragraphs if each[:1].isalnum() or each[:1] == "`"), "")
    return re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", " ".join(text.split()))


def public_names() -> set[str]:
    """Return where each public name has to stand in the reference."""
    sys.path.insert(0, str(ROOT / "tests"))
    from docstrings import public_names as names

    found = (each.label.rpartition(".") for each in names())
    return {f"{OWNERS[owner]}.{name}" for owner, _, name in found}


def inventory(path: Path) -> set[str]:
    """Return the names in an inventory of Sphinx's form: four lines, then compressed ones."""
    lines = zlib.decompress(path.read_bytes().split(b"\n", 4)[4]).decode()
    return {line.split(" ", 1)[0] for line in lines.splitlines()}
