"""How the package is laid out: imports run in no circle inside a room, and a class name has one meaning."""

from __future__ import annotations

import ast
import inspect
import re
import subprocess
import sys
from collections import Counter, defaultdict
from pathlib import Path

import grimp
import pytest

import tablevault_pd
from tablevault_pd.store import Store
from tablevault_pd.store.arango import ArangoStore
from tablevault_pd.store.embedded import EmbeddedStore
from tablevault_pd.store.engine.delegate import Delegate

PACKAGE = Path(tablevault_pd.__file__).parent
ROOMS = [
    "store", "store.engine", "store.embedded", "store.arango", "frames", "filters", "reading", "lineage", "saving", "search",
    "session", "capture", "code", "cli", "sql", "analysis", "keys", "mapping",
]  # fmt: skip
#: Names that two rooms still share. Take one out once it has one meaning; put none in.
SHARED = {"Asked", "_Walk"}

#: Rooms, and files beside them, in which a variable is named after what it is ...
PLAIN = [
    "frames", "filters", "reading", "saving", "session", "capture", "cli", "vault", "keys", "search", "lineage", "store", "sql", "explore",
    "code", "analysis", "mapping", "work", "transfer", "importers", "integrations",
    "api.py", "display.py", "errors.py", "imports.py", "keywords.py", "names.py", "places.py", "progress.py", "refs.py", "validate.py",
]  # fmt: skip
#: ... and not after how it was come by.
HOW_COME_BY = {"asked", "each", "found", "kept", "known", "seen", "told", "wanted"}


@pytest.fixture(scope="module")
def imports() -> grimp.ImportGraph:
    """All imports of the package, those for type checking and inside functions included."""
    return grimp.build_graph("tablevault_pd", cache_dir=None)


def circle(graph: grimp.ImportGraph, modules: set[str]) -> list[str]:
    """The modules that import each other, directly or not: what is left once those that import no other are taken away."""
    left = {
        module: graph.find_modules_directly_imported_by(module) & modules - {module} for module in modules
    }
    while free := [module for module, imported in left.items() if not imported & left.keys()]:
        for module in free:
            del left[module]
    return sorted(left)


@pytest.mark.parametrize("room", ROOMS)
def test_imports_run_in_no_circle_inside_a_room(imports: grimp.ImportGraph, room: str) -> None:
    name = f"tablevault_pd.{room}"
    assert circle(imports, {name} | imports.find_descendants(name)) == []


def test_a_room_is_imported_without_the_vault() -> None:
    code = "import sys, tablevault_pd.frames; sys.exit('tablevault_pd.vault.vault' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)  # our own Python


def test_a_circle_is_found() -> None:
    graph = grimp.ImportGraph()
    for importer, imported in (("a", "b"), ("b", "c"), ("c", "b"), ("d", "a")):
        graph.add_import(importer=importer, imported=imported)
    assert circle(graph, {"a", "b", "c", "d"}) == ["a", "b", "c", "d"]
    assert circle(graph, {"a", "b", "d"}) == []


def test_a_class_name_has_one_meaning() -> None:
    places: dict[str, list[str]] = defaultdict(list)
    for path in sorted(PACKAGE.rglob("*.py")):
        room = path.relative_to(PACKAGE).parent.as_posix()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                places[node.name].append(room)
    # The parts of the two stores do the same, for one protocol.
    both = ["store/arango", "store/embedded"]
    shared = {name for name, rooms in places.items() if len(rooms) > 1 and sorted(rooms) != both}
    assert shared <= SHARED


def test_whatever_a_module_defines_is_used_by_the_package() -> None:
    """What only tests call is not kept for them. `grant` is called by the administrator of a server."""
    sources = {path: path.read_text(encoding="utf-8") for path in sorted(PACKAGE.rglob("*.py"))}
    words = Counter(word for text in sources.values() for word in re.findall(r"\w+", text))
    unused = [
        f"{path.relative_to(PACKAGE).as_posix()}: {name}"
        for path, text in sources.items()
        for node in ast.parse(text).body
        for name in defined_by(node)
        if words[name] == 1 and not name.startswith("__")
    ]
    assert unused == ["store/arango/users.py: grant"]


def defined_by(node: ast.stmt) -> list[str]:
    """The names that a statement defines, but for what a decorator hands to somebody."""
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return [] if node.decorator_list else [node.name]
    targets = (
        node.targets
        if isinstance(node, ast.Assign)
        else [node.target]
        if isinstance(node, ast.AnnAssign)
        else []
    )
    return [target.id for target in targets if isinstance(target, ast.Name)]


@pytest.mark.parametrize("room", PLAIN)
def test_variables_are_named_after_what_they_are(room: str) -> None:
    path = PACKAGE / room
    named = [
        f"{file.name}:{node.lineno} {name}"
        for file in ([path] if path.is_file() else sorted(path.rglob("*.py")))
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if (name := bound(node)) in HOW_COME_BY
    ]
    assert named == []


def bound(node: ast.AST) -> str | None:
    """The name of the variable or parameter that `node` binds."""
    if isinstance(node, ast.arg):
        return node.arg
    return node.id if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) else None


def delegates_of(kind: type) -> dict[str, Delegate]:
    return {
        name: value
        for base in reversed(kind.__mro__)
        for name, value in vars(base).items()
        if isinstance(value, Delegate)
    }


@pytest.mark.parametrize("kind", [EmbeddedStore, ArangoStore])
def test_a_store_answers_all_of_the_protocol_by_its_parts(kind: type) -> None:
    methods = {name for part in Store.__mro__ for name in vars(part) if not name.startswith("_")}
    delegates = delegates_of(kind)
    assert methods - delegates.keys() == {
        "close", "is_current", "pinned_to", "place", "read_only", "scratch", "supports_pushdown", "timeout_s", "vault_id", "watch_s",
    }  # fmt: skip
    assert delegates.keys() <= methods
    assert all(getattr(kind, name).__doc__ for name in delegates)


def test_the_parts_of_a_store_take_what_the_protocol_says(store: Store) -> None:
    protocol = {name: value for part in Store.__mro__ for name, value in vars(part).items()}
    for name in delegates_of(type(store)):
        _, *promised = inspect.signature(protocol[name]).parameters.values()
        assert list(inspect.signature(getattr(store, name)).parameters.values()) == promised, name


def test_every_method_of_the_protocol_says_what_it_promises() -> None:
    for part in Store.__mro__[:-2]:
        for name, value in vars(part).items():
            if not name.startswith("_"):
                assert value.__doc__, f"{part.__name__}.{name}"


def test_no_room_has_the_name_of_a_public_call():
    """Importing the room would put the module in the place of the call."""
    rooms = {path.stem for path in PACKAGE.iterdir()}
    assert rooms.isdisjoint(tablevault_pd.__all__)
