"""Random experiments whose true causes are known because running them says so.

An experiment is a script, two modules of its project, an installed package, parameters and two lists that the script reads. Each of
its *slots* is a place where it may be edited: a constant, a function, a parameter, a cell, a package's version. What a slot
does to a row is told by running the program on plain frames, with any mix of the forms of two runs.
"""

from __future__ import annotations

import contextlib
import json
import random
import sys
import types
from dataclasses import dataclass
from textwrap import indent
from typing import TYPE_CHECKING, Any

import pandas as pd
from hypothesis import strategies as st

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

#: What an edit of each kind of slot changes: {t} is the text of its form, a number that nothing else has. {k} is its name.
FEATS = {
    "constant": "K{k} = {t}\ndef use{k}(x):\n    return x * K{k}",
    "function": "def use{k}(x):\n    return x + {t}",
    "deep": "def low{k}(x):\n    return x - {t}\ndef use{k}(x):\n    return low{k}(x) + 1",
    "method": (
        "class Box{k}:\n    rate = 2\n    def grow(self, x):\n        return x * self.rate + {t}\n"
        "    def idle(self):\n        return 0"
    ),
    "attribute": "class Box{k}:\n    rate = {t}\n    def grow(self, x):\n        return x * self.rate",
    "base class": (
        "class Low{k}:\n    def rate(self):\n        return {t}\n"
        "class Box{k}(Low{k}):\n    def grow(self, x):\n        return x * self.rate()"
    ),
    "default": "def use{k}(x, by={t}):\n    return x + by",
    "decorator": (
        "def more{k}(f):\n    def inner(x):\n        return f(x) + {t}\n    return inner\n"
        "@more{k}\ndef use{k}(x):\n    return x"
    ),
    "lambda": "use{k} = lambda x: x + {t}",
    "table": "TABLE{k} = {{'a': {t}, 'b': 7}}\ndef use{k}(x):\n    return x + TABLE{k}['a']",
    "branch": "def use{k}(x):\n    if x % 2:\n        return x + {t}\n    return x",
    "argument": "def use{k}(x, by):\n    return x + by",
    "changed": "LIST{k} = [1]\nLIST{k}.append({t})\ndef use{k}(x):\n    return x + LIST{k}[-1]",
    "global": "STATE{k} = 0\ndef start{k}():\n    global STATE{k}\n    STATE{k} = {t}\nstart{k}()\ndef use{k}(x):\n    return x + STATE{k}",
    "imported": "from util import low{k}\ndef use{k}(x):\n    return low{k}(x)",
    "unused function": "def idle{k}(x):\n    return x + {t}",
    "unused constant": "IDLE{k} = {t}",
    "unused class": "class Idle{k}:\n    rate = {t}",
    "comment": "def use{k}(x):\n    # {t}\n    return x + 1",
    "docstring": 'def use{k}(x):\n    """Add {t}."""\n    return x + 1',
}
UTIL = {"imported": "def low{k}(x):\n    return x + {t}"}
SCRIPT = {
    "local function": "def use{k}(x):\n    return x * {t}",
    "local constant": "PROMPT{k} = 'word' * ({t} % 9)\ndef use{k}(x):\n    return x + len(PROMPT{k})",
    "local list": "LIST{k} = [1]\nLIST{k}.append({t})\ndef use{k}(x):\n    return x + LIST{k}[-1]",
    "reassigned": "by{k} = 1\nby{k} = by{k} + {t}\ndef use{k}(x):\n    return x + by{k}",
    "unused local": "idle{k} = {t}",
    "unused local function": "def idle{k}(x):\n    return x + {t}",
    "local comment": "# {t}",
}
#: What a row's part is computed by; default: a function of the module.
EXPRESSIONS = {
    "method": "feats.Box{k}().grow(x)",
    "attribute": "feats.Box{k}().grow(x)",
    "base class": "feats.Box{k}().grow(x)",
    "argument": "feats.use{k}(x, {t})",
    "parameter": "x + params['p{k}']",
    "package": "x * theirs{k}.scale()",
    "seed": "x + random.randrange(1000)",
    "read": "x + int(train['w{k}'].sum())",
    "cell": "x",
}
KINDS = [*FEATS, *SCRIPT, "parameter", "package", "seed", "read", "cell"]
#: An edit of these changes no row, whatever the program is. The last one saves the items anew, as they were.
IDLE = [kind for kind in KINDS if kind.startswith("unused") or "comment" in kind or kind == "docstring"]
RESAVED = "resaved"
IDS = [1, 2, 3, 4]

State = tuple[int, ...]  #: the form of each slot


@dataclass(frozen=True)
class Experiment:
    """A program with slots."""

    kinds: tuple[str, ...]
    style: str  #: "flat", "main", "session" or "module": where its statements stand
    gates: tuple[int, ...]  #: for which rows the part of each slot counts
    modulus: int
    keeps_total: bool

    @property
    def mattering(self) -> frozenset[int]:
        """The slots that may change a row."""
        return frozenset(number for number, kind in enumerate(self.kinds) if kind not in (*IDLE, RESAVED))

    def text_of(self, slot: int, form: int) -> str:
        """What stands for a form of a slot: a number that is nowhere else."""
        return str(100_000 + 100 * slot + form)

    def _filled(self, texts: Mapping[str, str], state: State) -> list[str]:
        return [
            texts[kind].format(k=number, t=self.text_of(number, state[number]))
            for number, kind in enumerate(self.kinds)
            if kind in texts
        ]

    def files(self, state: State) -> dict[str, str]:
        """The script and the modules."""
        imports = ["import json, random, sys", "import tablevault_pd as tv", "import feats"]
        if "package" in self.kinds:
            imports.append("sys.path.append('../site-packages')")
        imports += [f"import theirs{number}" for number, kind in enumerate(self.kinds) if kind == "package"]
        definitions = self._filled(SCRIPT, state)
        steps = ["items = vault.read('items')", "xs = items['x'].tolist()"]
        if "read" in self.kinds:
            steps.append("train = vault.read('train')")
        parts = []
        for number, kind in enumerate(self.kinds):
            if (kind in IDLE and kind not in ("comment", "docstring")) or kind == RESAVED:
                continue
            own = "use{k}(x)" if kind in SCRIPT else "feats.use{k}(x)"
            text = EXPRESSIONS.get(kind, own).format(k=number, t=self.text_of(number, state[number]))
            if kind == "seed":
                steps.append(f"random.seed({self.text_of(number, state[number])})")
            steps.append(
                f"c{number} = [{text} if n % 3 != {self.gates[number]} else 0 for n, x in enumerate(xs)]"
            )
            parts.append(f"c{number}")
        steps.append(f"total = [sum(part) % {self.modulus} for part in zip({', '.join(parts)}, xs)]")
        steps.append("rows = items[['gold']].assign(right=[t % 2 == 0 for t in total])")
        if self.keeps_total:
            steps.append("rows['total'] = total")
        steps.append("vault.save('preds', rows)")
        body = "\n".join(steps)
        head = ["params = json.loads(sys.argv[1])", "vault = tv.connect('v', session=False)"]
        run = "with vault.session('train', params=params):\n"
        other = {}
        if self.style == "flat":
            text = "\n".join([*imports, *definitions, *head, run + indent(body, "    ")])
        elif self.style == "main":
            main = f"def main(params):\n{indent(head[1], '    ')}\n    {run}{indent(body, '        ')}"
            text = "\n".join(
                [*imports, *definitions, main, head[0], "if __name__ == '__main__':\n    main(params)"]
            )
        elif self.style == "function":
            work = f"def evaluate(vault, params):\n{indent(body, '    ')}"
            text = "\n".join([*imports, *definitions, work, *head, run + "    evaluate(vault, params)"])
        else:
            work = f"def evaluate(vault, params):\n{indent(body, '    ')}"
            other["steps.py"] = "\n".join([*imports, *definitions, work]) + "\n"
            text = "\n".join(
                [imports[0], imports[1], "import steps", *head, run + "    steps.evaluate(vault, params)"]
            )
        feats = "\n".join(self._filled(FEATS, state))
        return {
            "train.py": text + "\n",
            "feats.py": feats + "\n",
            "util.py": "\n".join(self._filled(UTIL, state)) + "\n",
            **other,
        }

    def params(self, state: State) -> dict[str, Any]:
        """Its parameters."""
        return {f"p{number}": state[number] for number, kind in enumerate(self.kinds) if kind == "parameter"}

    def packages(self, state: State) -> dict[str, int]:
        """The version of each package."""
        return {
            f"theirs{number}": 1 + state[number]
            for number, kind in enumerate(self.kinds)
            if kind == "package"
        }

    def items(self, state: State) -> pd.DataFrame:
        """What the rows are made of."""
        xs = [3, 5, 8, 14]
        for number, kind in enumerate(self.kinds):
            if kind == "cell":
                xs[number % 4] += state[number]
        return pd.DataFrame({"x": xs, "gold": True}, index=pd.Index(IDS, name="id"))

    def train(self, state: State) -> pd.DataFrame:
        """What is only read."""
        columns = {
            f"w{number}": [1, state[number]] for number, kind in enumerate(self.kinds) if kind == "read"
        }
        return pd.DataFrame(columns or {"w": [1, 2]})

    # -- what running it says

    def rows(self, state: State) -> list[tuple[Any, ...]]:
        """The rows that it makes, found by running it on plain frames."""
        saved: list[pd.DataFrame] = []
        lists = {"items": self.items(state), "train": self.train(state)}
        vault = types.SimpleNamespace(
            read=lambda name: lists[name].copy(),
            save=lambda name, frame: saved.append(frame),
            session=lambda name, params: contextlib.nullcontext(),
        )
        modules = {"tablevault_pd": types.SimpleNamespace(connect=lambda place, session: vault)}
        for name, version in self.packages(state).items():
            modules[name] = types.SimpleNamespace(scale=lambda version=version: version)
        files, before = self.files(state), random.getstate()
        with _modules(modules):
            for name in ("util.py", "feats.py", "steps.py"):
                if name in files:
                    module = types.ModuleType(name[:-3])
                    sys.modules[name[:-3]] = module
                    exec(compile(files[name], name, "exec"), vars(module))
            sys.argv, argv = ["train.py", json.dumps(self.params(state))], sys.argv
            try:
                exec(compile(files["train.py"], "train.py", "exec"), {"__name__": "__main__"})
            finally:
                sys.argv = argv
                random.setstate(before)
        [frame] = saved
        return list(frame.itertuples(index=False, name=None))


@contextlib.contextmanager
def _modules(given: Mapping[str, Any]) -> Iterator[None]:
    """Modules of that name for a while, and none of the program's own afterwards."""
    names = [*given, "util", "feats", "steps"]
    before = {name: sys.modules[name] for name in names if name in sys.modules}
    sys.modules |= given
    path = list(sys.path)
    try:
        yield
    finally:
        sys.path[:] = path
        for name in names:
            sys.modules.pop(name, None)
        sys.modules |= before


@st.composite
def histories(draw: st.DrawFn) -> tuple[Experiment, list[State]]:
    """An experiment, and the state of each of its runs: one or two things change between two of them."""
    kinds = draw(st.lists(st.sampled_from(KINDS), min_size=2, max_size=5, unique=True))
    kinds = [*kinds, *draw(st.lists(st.sampled_from([*IDLE, RESAVED]), max_size=2, unique=True))]
    kinds = list(dict.fromkeys(kinds))
    if all(kind in IDLE or kind == RESAVED for kind in kinds):
        kinds.append("function")
    experiment = Experiment(
        tuple(kinds),
        draw(st.sampled_from(["flat", "main", "function", "module"])),
        tuple(draw(st.lists(st.integers(0, 3), min_size=len(kinds), max_size=len(kinds)))),
        draw(st.integers(3, 6)),
        draw(st.booleans()),
    )
    states: list[State] = [(0,) * len(kinds)]
    for _ in range(draw(st.integers(1, 5))):
        state = list(draw(st.sampled_from(states)))
        for slot in draw(st.lists(st.integers(0, len(kinds) - 1), min_size=1, max_size=2, unique=True)):
            state[slot] = draw(st.integers(0, 2))
        states.append(tuple(state))
    return experiment, states


# -- running it for real


def write(experiment: Experiment, state: State, folder: Path) -> None:
    """Put the program where it is run, and its package where pip would."""
    for name, text in experiment.files(state).items():
        (folder / name).write_text(text, encoding="utf-8")
    site = folder.parent / "site-packages"
    for name, version in experiment.packages(state).items():
        for old in site.glob(f"{name}-*"):
            for file in old.iterdir():
                file.unlink()
            old.rmdir()
        info = site / f"{name}-{version}.0.dist-info"
        info.mkdir(parents=True)
        (site / name).mkdir(exist_ok=True)
        (site / name / "__init__.py").write_text(f"def scale():\n    return {version}\n")
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}.0\n")
        (info / "top_level.txt").write_text(f"{name}\n")
