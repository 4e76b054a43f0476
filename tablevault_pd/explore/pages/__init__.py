"""The pages, by the name that stands in their address."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tablevault_pd.explore.pages.compare import compare, compare_form
from tablevault_pd.explore.pages.lineage import lineage, stale
from tablevault_pd.explore.pages.lists import file_page, list_page, lists
from tablevault_pd.explore.pages.search import search, search_form
from tablevault_pd.explore.pages.sessions import curves, parallel, run, sessions, sessions_form

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from markupsafe import Markup

    from tablevault_pd.explore.page import Explored, Page, PageAddress

PAGES: Mapping[str, Callable[[Explored, PageAddress], Page]] = {
    "lists": lists,
    "list": list_page,
    "file": file_page,
    "sessions": sessions,
    "run": run,
    "curves": curves,
    "parallel": parallel,
    "compare": compare,
    "lineage": lineage,
    "search": search,
    "stale": stale,
}
#: The fields of pages that are asked something: they stay where the answer is an error.
FORMS: Mapping[str, Callable[[PageAddress], Markup]] = {
    "compare": compare_form,
    "search": search_form,
    "sessions": sessions_form,
}
#: What stands at the top of every page.
MENU = ("lists", "sessions", "compare", "lineage", "search", "stale")
