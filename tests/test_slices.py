"""Random programs, as scripts and as cells: executed alone, the statements of a slice make what the whole program made there."""

from __future__ import annotations

import ast
import itertools
import re
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_levels import only
from torture.harness import times

from tablevault_pd.code import Piece, Slice, Slicer, code_diff
from tablevault_pd.code.order import are_free, in_order_of

if TYPE_CHECKING:
    from collections.abc import Iterator

HEAD = """
import asyncio, contextlib, functools
a, b, c, d = [1], [2], [3], [4]
n = m = 1
D = {"k": [5]}
class K:
    rows = [6]
    def __init__(self, v=None): self.v = v
    def put(self, x): self.rows.append(x)
    def keep(self, x): self.v = x
    def own(self, x): self.v = [x]
o = K([7])
def add(v, x=8): v.append(x)
def same(v): return v
def new(v): return [*v]
@contextlib.contextmanager
def ctx(v): yield v
f = g = u = new
h = lambda v=[9]: v
it = iter([])
""".strip()

#: Statements; x and y stand for names of lists, 0 for a number that is there once.
LINES = """
x = [0]
x = y
x = z = y
x = [*y, 0]
x = y + [0]
x += [0]
x += y
x *= 2
x.append(0)
x.append(y)
x[:1] = [0]
x[0:] = y
del x[:1]
del x; x = [0]
x, *y = [0], 0, 0
*x, n = y or [0]
x, y = y, x
x, (y, n) = [0], (x, 0)
[x, y] = y, [0]
n = len(x) + 0
n += 0
n = m = 0
x = [n]
x = [i + 0 for i in range(2)]
x = [i for i in y if i != 0]
x = [m := 0, 0]
x = [m, n]
add(x := y)
add(x := [0])
add(v=(x := [0]))
add(*(x := [y]))
add((x := y), x=(m := 0))
x = same(y := [0])
x = [0, *(y := [0])]
any((x := y) for _ in range(1))
[(x := [i, 0]) for i in range(2)]
n = (m := 0) + (n := 0)
x = y if n % 2 else [0]
x = y or [0]
x = (y := [0]) and y
f"{(n := 0)}"
{"j": (x := y)}
D = {"k": x}
D["k"] = x
D["k"] = x = [0]
D["k"].append(0)
D["k"][:1] = [0]
D.setdefault("k", x).append(0)
D.setdefault("j", x); x = D["j"]
D.get("k", x).append(0)
x = D["k"]
x = D.get("k", y)
x, y = D.values(), [0]; x = [*x]
D |= {"k": x}
D = {**D, "j": x}
D.update(k=x)
D.pop("k", 0); D["k"] = [0]
for _ in (D := {"k": y}).values(): _.append(0)
K.rows = x
K.rows.append(0)
K.rows += [0]
x = K.rows
o = K(x)
o.v = x
o.v.append(0)
o.put(0)
o.keep(x)
o.own(0)
K().put(0)
(o := K(x)).put(0)
x = o.v
p = o.put; p(0)
o.v, x = [0], o.v
setattr(o, "v", x)
x = getattr(o, "v")
add(x)
add(x, 0)
add(x=0, v=x)
add(same(x), 0)
same(x).append(0)
x = same(y)
x = new(y)
n = add(x) or 0
n = x.append(0) or 0
n = 0 if x.append(0) else 0
repr(x.append(0))
list(map(x.append, [0]))
[x.append(i) for i in range(2)]
[add(v) for v in (x, y)]
x.sort(key=repr)
x = sorted(y, key=repr)
list.append(x, 0)
(lambda v: v.append(0))(x)
(lambda: x.append(0))()
(x if n % 2 else y).append(0)
(x or y).append(0)
[x, y][0].append(0)
{"i": x}["i"].append(0)
p = functools.partial(add, x); p()
p = functools.partial(x.append, 0); p()
p = x.append; p(0)
x = functools.reduce(lambda v, i: v + [i, 0], y, [0])
functools.reduce(lambda v, i: add(v) or v, [0], x)
f = lambda: x
f = lambda: x.append(0)
f = functools.partial(same, x)
h = lambda v=x: v
h = lambda v=[0]: v.append(0) or v
h().append(0)
x = h()
for v in (x, y): v.append(0)
for v in [x]: w = v; w.append(0)
for x[:1] in [[0]]: pass
for i, v in enumerate([x, y]): v.append(i + 0)
for v, w in zip([x], [y]): v.append(w)
for v in ctxs: v.append(0)
ctxs = [x, y]
it = iter([x, [0], [0]])
next(it, [0]).append(0)
x = next(it, [0])
x = list(it)
for v in it: v.append(0); break
v = next(it, None) or [0]
x = [v for v in it]
it = (v + [0] for v in [x, y])
it = map(new, [x, y])
x, y = new(it), [0]
assert x is not None
global n; n = 0
n: int = 0
x: list = y
with ctx(x) as v: v.append(0)
with contextlib.nullcontext(x) as v: v += [0]
with contextlib.ExitStack() as stack: stack.callback(x.append, 0)
with ctx(x) as v, ctx(y) as w: v.append(w)
with ctx([0]) as x: pass
x = asyncio.run(co())
asyncio.run(co())
u(x)
x = u(y)
x = u(y); x.append(0)
""".strip().splitlines()

#: Blocks; S stands for statements.
BLOCKS = """
if n % 2:
    S
----
if (n := n + 1) % 2:
    S
else:
    S
----
if n > 0:
    S
elif (x := y):
    S
else:
    S
----
for i in range(2):
    S
----
for i in range(2):
    S
    if i: break
    S
else:
    S
----
for x in [[0], y]:
    S
----
n = 2
while (n := n - 1) > 0:
    S
----
while True:
    S
    break
----
try:
    S
    1 / (n % 2)
    S
except ZeroDivisionError as e:
    S
else:
    S
finally:
    S
----
try:
    S
    raise ValueError(x)
except (ValueError, KeyError) as e:
    e.args[0].append(0)
----
try:
    x.append(0)
finally:
    S
----
with contextlib.suppress(ZeroDivisionError):
    S
    1 / (n % 2)
    S
----
with ctx(x) as v:
    S
    v.append(0)
----
match x:
    case [p, *q] if (m := 0):
        q.append(p)
        y = q
    case [p]:
        S
    case v:
        v.append(0)
----
match {"i": x, "j": 0}:
    case {"i": v, **w}:
        v.append(0)
        y = [w]
----
match o:
    case K(v=v):
        x = v
        S
----
def f():
    return x
x = f()
----
def f():
    global x
    x = [0]
f()
----
def f():
    global x, n
    n += 1
    x += [0]
    return y
y = f()
----
def f(v=x, *w, k=y, **z):
    v.append(0)
    return k
f()
----
def f():
    z = x
    def inner():
        z.append(0)
    inner()
    return z
y = f()
----
def u(v=None):
    v = x
    v.append(0)
    return v
----
def make():
    z = [0]
    def up(v):
        nonlocal z
        z = [*z, 0, *v]
        return z
    return up
u = make()
----
def make(z):
    def up(v):
        z.append(0)
        return z
    return up
u = make(x)
----
def deco(fn):
    x.append(0)
    return fn
@deco
def g(v): return y
u = g
----
def deco(w):
    def inner(fn):
        @functools.wraps(fn)
        def called(v):
            w.append(0)
            return fn(v)
        return called
    return inner
@deco(x)
def u(v): return v
----
def gen():
    yield x
    x.append(0)
    yield [0]
it = gen()
----
def gen(v):
    v.append(0)
    yield from v
y = list(gen(x))
----
class K(K):
    rows = x
    more = [i for i in y]
    def own(self, v): x.append(v)
o = K(y)
----
class K:
    rows = [0]
    def __init__(self, v=None):
        self.v = v
        x.append(0)
    def put(self, v): y.append(v)
    def keep(self, v): v.append(0)
    own = keep
    @property
    def w(self): return self.v
    @classmethod
    def made(cls, v): return cls(v)
    def own(self, v): self.rows.append(v)
o = K.made(y)
y = o.w
----
async def co():
    x.append(0)
    await asyncio.sleep(False)
    return y
----
async def co(v=x):
    async def each():
        yield [*v]
    async for w in each():
        v.append(0)
    return [v async for v in each()]
y = asyncio.run(co())
----
def walk(v, k=2):
    if k:
        walk(v, k - 1)
    v.append(0)
walk(x)
----
def f():
    if (z := x):
        z.append(0)
    return [q := z, q]
y = f()
----
def f(*w):
    first, *rest = w
    first.append(0)
    return rest
y = f(x, y)
----
def f(**w):
    w["p"].append(0)
    w["q"] = [0]
    return w["q"]
y = f(p=x)
----
def f():
    for v in (x, y):
        v.append(0)
        if n % 2: return v
    return [0]
x = f()
----
def f():
    try:
        return x
    finally:
        x.append(0)
y = f()
----
def f():
    class Inner:
        w = x
    Inner.w.append(0)
    return [*Inner.w]
y = f()
----
def f():
    import functools as tools
    return tools.partial(x.append, 0)
f()()
""".strip().split("\n----\n")


NAMES = ["a", "b", "c", "d", "D", "K.rows", "o.v", "[n, m]", "h()", "u([0])", "list(it)"]


def statements(draw: Any, numbers: Iterator[int], depth: int = 0) -> str:
    """A statement, perhaps a block of others."""
    several = BLOCKS if depth < 2 and draw(st.integers(0, 3)) == 0 else LINES
    text = draw(st.sampled_from(several))
    names = {"x": draw(st.sampled_from("abcd")), "y": draw(st.sampled_from("abcd"))}
    text = re.sub(r"\b[xy]\b(?!=)(?! *= *8)", lambda found: names[found[0]], text)
    text = re.sub(r"\b0\b", lambda _: str(next(numbers)), text)
    if not text.startswith(("for ", "with ")):
        text = text.replace("; ", "\n")
    lines = []
    for line in text.splitlines():
        indent = line[: len(line) - len(line.lstrip())]
        if line.strip() != "S":
            lines.append(line)
            continue
        for _ in range(draw(st.integers(1, 2))):
            lines += [f"{indent}{inner}" for inner in statements(draw, numbers, depth + 1).splitlines()]
    return "\n".join(lines)


@st.composite
def programs(draw: Any) -> list[str]:
    """Top-level statements; a call of ``out`` at the end."""
    numbers = itertools.count(10)
    body = [statements(draw, numbers) for _ in range(draw(st.integers(2, 9)))]
    return [*body, f"out({draw(st.sampled_from(NAMES))})"]


def made(text: str) -> list[str] | None:
    """What a program gives to ``out``; None if it fails."""
    found: list[str] = []
    namespace: dict[str, Any] = {"out": lambda value: found.append(repr(value)), "__name__": "__main__"}
    try:
        exec(compile(text, "<program>", "exec", dont_inherit=True), namespace)  # the oracle is Python itself
    except Exception:  # noqa: BLE001
        return None
    return found


def is_fit(body: list[str]) -> bool:
    try:
        ast.parse("\n".join([HEAD, *body]))
    except SyntaxError:
        return False
    return True


@settings(max_examples=times(2000, ordinary=300), deadline=None)
@given(programs())
def test_a_slice_that_runs_alone_makes_what_the_script_made(body):
    text = "\n".join([HEAD, *body])
    expected = made(text) if is_fit(body) else None
    if expected is None or any("0x" in value for value in expected):
        return
    parts = Slicer([Piece(text, "train.py", 1, 0)]).of_place(text.count("\n") + 1).parts
    alone = only(text, parts, "train.py")
    assert made(alone) == expected, f"{text}\n-------\n" + "\n".join(
        line for line in alone.splitlines() if line
    )
    # What may stand anywhere stands first, in the other order.
    free = are_free(parts)
    first = [part for part, is_free in zip(parts, free, strict=True) if is_free][::-1]
    others = only(text, [part for part, is_free in zip(parts, free, strict=True) if not is_free], "train.py")
    moved = "\n".join([*(part.text for part in first), others])
    assert made(moved) == expected, moved


SETTINGS = [
    # (what sets an option of a library, whether it may change a value)
    ("pd.set_option('display.width', 100)", False),
    ("pd.options.display.max_rows = 5", False),
    ("pd.set_option('mode.sim_interactive', True)", True),
    ("pd.set_option(name, 5)", True),
    ("pd.options.mode.chained_assignment = None", True),
    ("np.seterr(all='raise')", True),
]


@pytest.mark.parametrize(("line", "counts"), SETTINGS)
def test_options_of_a_library_count_unless_they_only_say_how_something_is_shown(line, counts):
    text = f"import pandas as pd\nimport numpy as np\nname = 'x'\n{line}\ndf = pd.DataFrame({{'a': np.ones(3)}})\nsave(df)"
    parts = Slicer([Piece(text, "train.py", 1, 0)]).of_place(6).parts
    assert (line in [part.text for part in parts]) == counts
    assert "import pandas as pd" in [part.text for part in parts]


HANDED_ON = [
    "t = Thread(target=add, args=(a,))\nt.start()\nt.join()\nout(a)",
    "t = Thread(target=lambda: a.append(1))\nt.start()\nt.join()\nout(a)",
    "x = sorted(rows, key=lambda row: row.pop())\nout(a)",
    "with ThreadPoolExecutor() as pool:\n    jobs = [pool.submit(add, rows) for rows in (a, b)]\nout(b)",
    "with ThreadPoolExecutor() as pool:\n    pool.submit(b.append, 1)\nout(b)",
    "d = {'x': a}\nadd(d['x'])\nout(a)",
    "class Box:\n    def __init__(self, rows): self.rows = rows\n    def fill(self): self.rows.append(5)\nbox = Box(a)\nbox.fill()\nout(a)",
]


@pytest.mark.parametrize("text", HANDED_ON)
def test_what_is_changed_by_functions_and_objects_that_it_was_handed_to_is_in_the_slice(text):
    head = "from threading import Thread\nfrom concurrent.futures import ThreadPoolExecutor\na, b = [1, 2], [3]\nrows = [a, b]\n"
    text = f"{head}def add(rows): rows.append(4)\nunused = 1\n{text}"
    parts = Slicer([Piece(text, "train.py", 1, 0)]).of_place(text.count("\n") + 1).parts
    alone = only(text, parts, "train.py")
    assert made(alone) == made(text)
    assert "unused" not in alone


ORDERS = [
    # (statements, whether all but the last may stand in the other order)
    ("K = 1\nJ = [2]\nsave(K, J)", True),
    ("def f(x, by=2):\n    return x + J\nJ = 2\nsave(f(1))", True),
    ("import math\nfrom json import dumps\nsave(dumps(math.pi))", True),
    ("class A:\n    rate = 2\n    def get(self): return K\nK = 1\nsave(A().get())", True),
    ("f = lambda: K\nK = 1\nsave(f())", True),
    ("a = next(it)\nb = next(it)\nsave(a, b)", False),
    ("x = [1]\nx.append(2)\nx.append(3)\nsave(x)", False),
    ("import conf\nconf.rate = 2\nfrom conf import rate\nsave(rate)", False),
    ("def f(by=next(it)): return by\nb = next(it)\nsave(f(), b)", False),
    ("K = 1\nK = 2\nsave(K)", False),
    ("@register\ndef f(): return 1\n@register\ndef g(): return 2\nsave(f, g)", False),
    ("class A(Base): pass\nclass B(Base): pass\nsave(A, B)", False),
]


@pytest.mark.parametrize(("text", "equal"), ORDERS)
def test_slices_are_equal_where_only_definitions_that_need_nothing_stand_elsewhere(text, equal):
    parts = Slicer([Piece(text, None, 1, 0)]).of_everything().parts
    slices = [Slice(parts), Slice((*parts[-2::-1], parts[-1]))]
    assert (slices[0] == slices[1]) == equal
    assert (code_diff(*slices, name_a="a", name_b="b") == "") == equal
    assert set(in_order_of(slices[1].parts, parts)) == set(parts)


def test_a_diff_leaves_a_definition_where_it_was_though_a_function_that_mentions_it_stands_before():
    """As in a notebook: functions in a cell, then the prompt that they look up, edited and run again."""
    text = "def ask(x): return P + x\ndef evaluate():\n    return ask('b')\nP = 'one'\nsave(evaluate())"
    a, b = (
        Slice(Slicer([Piece(t, None, 1, 0)]).of_everything().parts)
        for t in (text, text.replace("one", "two"))
    )
    first, second, prompt, last = b.parts
    for parts in (b.parts, (prompt, first, second, last), (first, prompt, second, last)):
        assert list(in_order_of(parts, a.parts)) == list(b.parts)
        lines = code_diff(a, Slice(parts), name_a="a", name_b="b").splitlines()
        assert [line for line in lines[2:] if line[0] in "+-"] == ["-P = 'one'", "+P = 'two'"]
