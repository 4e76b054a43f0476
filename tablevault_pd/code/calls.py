"""What a call says by its looks: which of its arguments it changes, and which names it hands on."""

from __future__ import annotations

import ast
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

#: A function that is called, and the names it gets: each with its position or keyword.
Call = tuple[str, tuple[tuple[int | str, str], ...]]
ANY_PLACE = "*"  #: of an argument of which it is not known

#: Methods that show or copy and change nothing, although nobody keeps what they return.
SHOWING = frozenset(
    [
        "head",
        "tail",
        "info",
        "describe",
        "plot",
        "show",
        "hist",
        "boxplot",
        "sample",
        "items",
        "keys",
        "values",
        "copy",
        "savefig",
        "to_csv",
        "to_parquet",
        "to_json",
        "to_excel",
        "to_pickle",
        "to_html",
        "save",
        "append_to",
        "log",
        "print",
        "summary",
        "display",
    ]
)
#: Methods that change their object even where what they return is kept.
CHANGING = frozenset(
    [
        "append",
        "extend",
        "insert",
        "pop",
        "popitem",
        "remove",
        "clear",
        "sort",
        "reverse",
        "add",
        "discard",
        "update",
        "setdefault",
        "fit",
        "partial_fit",
        "fit_transform",
        "load_state_dict",
        "intersection_update",
        "difference_update",
        "appendleft",
        "popleft",
        "write",
        "writelines",
        "writerow",
        "writerows",
        "readline",
        "readlines",
        "fetchone",
        "fetchmany",
    ]
)
#: Context managers after which a program goes on where a statement of their block raises an error.
GOING_ON = frozenset(["suppress", "raises"])
#: Functions that change their first argument: of modules, and those that stand alone.
CHANGING_FIRST = frozenset(
    [
        "shuffle",
        "heappush",
        "heappop",
        "heapify",
        "heapreplace",
        "heappushpop",
        "insort",
        "insort_left",
        "insort_right",
        "copyto",
        "putmask",
        "fill_diagonal",
        "redirect_stdout",
        "redirect_stderr",
    ]
)
_CHANGING_FIRST_ALONE = frozenset(["next", "anext", "setattr", "delattr"])
_TYPES = frozenset(["list", "dict", "set", "bytearray"])
#: What the random numbers of a process depend on: functions that seed set it, and those that draw use it. No name stands for it.
RANDOM = "random state"
SEEDING = frozenset(
    [
        "seed",
        "manual_seed",
        "manual_seed_all",
        "set_seed",
        "set_random_seed",
        "seed_everything",
        "setstate",
        "set_state",
    ]
)
DRAWING = frozenset(
    [
        "bernoulli", "binomial", "choice", "choices", "cross_val_score", "expovariate", "exponential",
        "fit", "fit_predict", "fit_transform", "gauss", "multinomial", "normal", "normalvariate",
        "permutation", "poisson", "rand", "randbytes", "randint", "randn", "random", "random_sample",
        "randperm", "randrange", "sample", "shuffle", "standard_normal", "train_test_split", "triangular",
        "uniform",
    ]
)  # fmt: skip
OWN_STATE = frozenset(["random_state", "rng", "seed", "generator"])  #: arguments that say what to draw from

#: Arguments of this library's calls that tell people what a write or a session is about, and change no row.
_LABELS = frozenset(["message", "tags", "description", "reason"])
_LABELLED = frozenset(["save", "append", "upsert", "delete_rows", "restore", "session"])
#: Functions of libraries that change what these compute from then on.
SETTING = frozenset(["set_option", "seterr", "set_default_dtype", "set_default_device"])
#: Options of that name only say how something is shown.
_OF_DISPLAY = "display."

#: Functions that run a text, and the names that stand for what an unknown one uses.
RUNNING_TEXT = {"eval": "eval(…)", "exec": "exec(…)"}

#: Functions that call their first argument with elements of the others.
APPLYING = frozenset(["map", "filter"])

#: Functions that return the module they name.
IMPORTING = frozenset(["importlib.import_module", "import_module"])
#: Arguments that hold a filter, which reads the caller's names after an @.
FILTERS = frozenset(["expr", "filters", "measure"])
#: Methods whose first argument is one.
FILTERING = frozenset(["query", "eval"])
_LINKS: frozenset[Any] = frozenset([ast.Attribute, ast.Subscript, ast.Starred])
_NAME_OF_CALLER = re.compile(r"(?<![\w`])@([^\W\d]\w*)")


def dotted(node: Any) -> str | None:
    """``a.b.c`` of a chain of attributes that begins with a name."""
    chain = ""
    while node.__class__ is ast.Attribute:
        chain = f".{node.attr}{chain}"
        node = node.value
    return node.id + chain if node.__class__ is ast.Name else None


def dotted_part(node: Any) -> str | None:
    """``a.b`` of ``a.b["c"].d``: the attributes that a chain begins with, as far as no subscript stands between them."""
    while (chain := dotted(node)) is None and node.__class__ in _LINKS:
        node = node.value
    return chain


def goes_on(node: ast.stmt) -> bool:
    """Whether the program goes on behind a block where a statement in it raises an error: ``with suppress(KeyError):``."""
    made = [item.context_expr for item in node.items] if isinstance(node, (ast.With, ast.AsyncWith)) else []
    chains = [dotted(call.func) or "" for call in made if isinstance(call, ast.Call)]
    return any(chain.rpartition(".")[2] in GOING_ON for chain in chains)


def root(node: Any) -> str | None:
    """The name that a chain of attributes and subscripts begins with."""
    while node.__class__ in _LINKS:
        node = node.value
    if node.__class__ is ast.NamedExpr:
        node = node.target
    return node.id if node.__class__ is ast.Name else None


def is_of_accessor(function: Any) -> bool:
    """Whether a function is a method of the accessor, as ``df.vault.append`` is."""
    return function.__class__ is ast.Attribute and getattr(function.value, "attr", None) == "vault"


def without_labels(node: ast.Call) -> list[ast.keyword]:
    """The keywords of a call that may count for rows: of ``vault.save("runs", rows, message="again")`` none."""
    function, keywords = node.func, node.keywords
    if not (isinstance(function, ast.Attribute) and function.attr in _LABELLED and _is_vault(function.value)):
        return keywords
    return [keyword for keyword in keywords if keyword.arg not in _LABELS or _binds(keyword.value)]


def _is_vault(node: ast.expr) -> bool:
    """Whether something is called a vault, or an item of one: ``self.vault``, ``df.vault``, ``vault["runs"]``."""
    if isinstance(node, ast.Subscript):
        node = node.value
    if isinstance(node, ast.Call):
        node = node.func  # ``tv.current_vault()``
    name = node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")
    return isinstance(name, str) and name.endswith("vault")


def _binds(node: ast.expr) -> bool:
    return any(isinstance(inner, ast.NamedExpr) for inner in ast.walk(node))


def changes_first(name: str | None, method: str | None) -> bool:
    """Whether a function is known to change its first argument: ``random.shuffle(rows)``, ``next(rows)``."""
    if name is None:
        return False
    of_a_type = method in CHANGING and name.partition(".")[0] in _TYPES  # ``list.append(rows, 1)``
    return of_a_type or method in CHANGING_FIRST or name in _CHANGING_FIRST_ALONE


def is_of_display(node: Any) -> bool:
    """Whether a call, or what is assigned to, is an option of pandas that says how frames are shown."""
    if isinstance(node, ast.Call):
        name = getattr(node.args[0], "value", None) if node.args else None
        return isinstance(name, str) and name.startswith(_OF_DISPLAY)
    return f".options.{_OF_DISPLAY}" in (dotted(node) or "")


def names_of_caller(node: ast.Call) -> Iterator[str]:
    """The caller's names in the filters of a call: ``df.query("score > @least")``, ``vault.read("runs", filters=…)``."""
    given = [keyword.value for keyword in node.keywords if keyword.arg in FILTERS]
    if isinstance(node.func, ast.Attribute) and node.func.attr in FILTERING:
        given += node.args[:1]
    for argument in given:
        for part in ast.walk(argument):
            if isinstance(part, ast.Constant) and isinstance(part.value, str):
                yield from _NAME_OF_CALLER.findall(part.value)
