"""No statement reads a whole collection but those named here: the plans are the server's own, of whatever make it is."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from stores import new_database

pytest.importorskip("arango")

from first_contact import Watched, plan_of
from test_server_faults import CALLS, World

from tablevault_pd.store.arango import ArangoStore

if TYPE_CHECKING:
    from pathlib import Path

#: Calls that may read a whole collection, and why.
ALLOWED = {
    "names": {"tv_lists"},  # asked for all of them
    "overview": {"tv_latest"},  # of all sessions
    "measures": {"tv_measures"},  # of all sessions
    "descriptions": {"tv_descriptions"},
    "search_descriptions": {"tv_descriptions"},  # which of them are the newest
    "search_code": {"tv_cells", "tv_statements", "tv_sources"},  # punctuation is in no index of words
    "check": {
        "tv_records",
        "tv_documents",
        "tv_files",
        "tv_batches",
        "tv_blobs",
        "tv_claims",
        "tv_renames",
    },  # everything
    "vacuum": {"tv_batches", "tv_blobs", "tv_version_names"},
}


@pytest.mark.arango
def test_only_what_asks_for_everything_reads_whole_collections(tmp_path: Path) -> None:
    with new_database() as url:
        store = ArangoStore(url, create=True)
        world = World.of(store, tmp_path / "files")
        found: dict[str, set[str]] = {}
        for number, (name, call) in enumerate(CALLS.items()):
            watched = Watched()
            with watched.watching():
                call(world, 1000 + number)
            for statement, (values, _) in watched.statements.items():
                plan = plan_of(store.client.database(), statement, values)
                assert "no plan" not in plan, (name, statement, plan)
                found.setdefault(name, set()).update(re.findall(r"FULL SCAN of (\w+)", plan))
        assert {name: scans for name, scans in found.items() if scans - ALLOWED.get(name, set())} == {}
        assert len(found) > 30
        store.close()
