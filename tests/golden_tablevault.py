"""Writes ``golden/tablevault-0.2.6-*.json``: what the package tablevault itself stores, at two moments.

Needs ``pip install tablevault==0.2.6 ipython`` and a server, none of which the tests need::

    TABLEVAULT_TEST_ARANGO_URL=arangodb://root:…@127.0.0.1:8529/_system python tests/golden_tablevault.py

Each script below is a process of TableVault, run by an interpreter of its own.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

GOLDEN = Path(__file__).parent / "golden"
DATABASE = "tablevault_golden"

OPEN = """
import os
from tablevault import Vault

def connect(name, **options):
    return Vault(
        "ada", name, arango_url=os.environ["ARANGO"], arango_db="tablevault_golden",
        arango_username="golden", arango_password="hunter2-of-ada", arango_root_password=os.environ["ROOT"],
        description_embedding_size=2, log_file_location="logs", **options,
    )
"""

INGEST = """
vault = connect("ingest")
vault.create_record_list("papers", ["title", "year", "authors"])
vault.append_record("papers", {"title": "Storms", "year": 2001, "authors": ["Ada", "Bo"]})
vault.append_record("papers", {"title": "Calm", "year": None, "authors": []})
vault.append_record("papers", {"title": "Both", "year": 2003, "authors": ["Cy"]}, input_items={"papers": [0, 2]})
vault.create_document_list("novel")
vault.create_embedding_list("vectors", 3)
novel = "It was late. She left the house. Then it rained."
for number, start in enumerate(range(0, 40, 10)):
    vault.append_document("novel", novel[start:start + 15], index=number, start_position=start)
    vault.append_embedding("vectors", [1.0, number / 4, -2.0], input_items={"novel": [start + 2, start + 10]}, build_idx=False)
vault.create_file_list("sources")
vault.append_file("sources", "notes.txt")
vault.append_file("sources", "/nowhere/gone.txt", input_items={"ingest": [0, 20], "novel": [0, 1000]})
vault.create_record_list("empty", ["a"])
vault.create_record_list("dropped", ["a"])
vault.append_record("dropped", {"a": 1})
vault.append_record("papers", {"title": "Last", "year": 2004, "authors": ["Di"]}, input_items={"dropped": [0, 1]})
vault.delete_list("dropped")
vault.create_description("papers", "What was read", [1.0, 0.0])
vault.create_description("papers", "Weather only", [0.5, 0.25], description_name="TOPIC")
vault.create_description("ingest", "Reads the sources", [0.0, 1.0])
vault.create_description("empty", "Nothing yet", [0.0, 1.0])
"""

FAILS = """
vault = connect("fails", parent_process_name="ingest", new_arango_db=False)
vault.append_record("papers", {"title": "Odd", "year": 2005, "authors": []})
raise ValueError("no more papers")
"""

NOTEBOOK = """
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance()
shell.run_cell(open('open.py').read())
shell.run_cell('vault = connect("note@book", parent_process_name="ingest", new_arango_db=False)')
shell.run_cell('vault.create_record_list("a@b", ["n"])')
shell.run_cell('vault.append_record("a@b", {"n": 1}, input_items={"papers": [1, 4]})')
shell.run_cell('1 / 0')
shell.run_cell('vault.append_record("a@b", {"n": 2})')
"""

LATER = """
vault = connect("later", parent_process_name="note@book", parent_process_index=2, new_arango_db=False)
vault.append_record("papers", {"title": "Late", "year": "about 2010", "authors": ["Ed"]}, input_items={"papers": [4, 5]})
vault.append_record("papers", {"title": "Far", "year": 2011, "authors": []}, index=9)
vault.append_record("empty", {"a": 0.5})
vault.append_document("novel", "The end.")
vault.create_description("papers", "Still about weather", [0.25, 0.25], description_name="NEW")
"""

KILLED = """
vault = connect("killed", new_arango_db=False)
vault.append_record("empty", {"a": 1.5})
from tablevault.database.log_helper import utils
upsert = utils.guarded_upsert

def killed(db, name, timestamp, rev, collection, *rest):
    if collection == "parent_edge":
        os._exit(9)
    return upsert(db, name, timestamp, rev, collection, *rest)

utils.guarded_upsert = killed
vault.append_record("empty", {"a": 2.5})
"""


def run(code: str, folder: Path, environment: dict[str, str]) -> None:
    """Run a process of TableVault as a script."""
    script = folder / "script.py"
    script.write_text(OPEN + code)
    (folder / "open.py").write_text(OPEN)
    subprocess.run([sys.executable, script], cwd=folder, env=environment, check=False)


def dump(database: Any, path: Path) -> None:
    """Write all documents of all collections, without revisions: these are the server's own."""
    collections = {
        collection["name"]: {
            "edge": collection["type"] == "edge",
            "documents": [
                {name: value for name, value in document.items() if name not in ("_rev", "_id")}
                for document in sorted(
                    database.collection(collection["name"]).all(), key=lambda each: each["_key"]
                )
            ],
        }
        for collection in database.collections()
        if not collection["system"]
    }
    path.write_text(json.dumps(collections, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def main() -> None:
    """Write both files."""
    from arango import ArangoClient

    url = urlsplit(os.environ["TABLEVAULT_TEST_ARANGO_URL"])
    host = f"http://{url.hostname}:{url.port}"
    environment = {**os.environ, "ARANGO": host, "ROOT": url.password or ""}
    client = ArangoClient(hosts=host)
    with tempfile.TemporaryDirectory() as folder:
        for code in (INGEST, FAILS, NOTEBOOK):
            run(code, Path(folder), environment)
        database = client.db(DATABASE, username="root", password=url.password)
        dump(database, GOLDEN / "tablevault-0.2.6-1.json")
        for code in (LATER, KILLED):
            run(code, Path(folder), environment)
        dump(database, GOLDEN / "tablevault-0.2.6-2.json")
    client.db("_system", username="root", password=url.password).delete_database(DATABASE)


if __name__ == "__main__":
    main()
