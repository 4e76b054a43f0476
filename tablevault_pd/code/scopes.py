"""A scope: the names that one namespace of a statement binds, looks up and changes, by Python's rules."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tablevault_pd.code.sharing import HOLDS, ITEM, RETURNED, SAME, SAME_NEW, Change, sources_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tablevault_pd.code.sharing import Share, Source


def _further(change: Change, source: str, how: str) -> Change | None:
    """The change of what another name shares with that of a change."""
    kind, key, changed_key = how[:1], how[1:], change.path.removeprefix(ITEM)
    if "." in source and change.name != RETURNED:
        return None  # of a module: it stands beside the name that it begins with
    if how in (SAME, SAME_NEW):
        return Change(source, change.path, change.grows, change.through)
    if kind == ITEM:
        return Change(source, how.replace(":", ""), change.grows, through=True)
    if kind == HOLDS and change.path and (not key or not changed_key or key == changed_key):
        return Change(source, SAME, change.grows)
    return None


class NameScope:
    """The names of one namespace: the module's, a class body's, a function's or a comprehension's."""

    __slots__ = (
        "bound", "certain", "changes", "declared", "kind", "later", "loads", "modules", "nonlocals", "outer", "parameters",
        "rebound", "shares",
    )  # fmt: skip

    def __init__(self, kind: str, outer: NameScope | None) -> None:
        self.kind = kind
        self.outer = outer
        self.bound: dict[str, None] = {}
        self.declared: set[str] = set()  # global here
        self.nonlocals: set[str] = set()
        self.certain: set[str] = set()  # bound by the statement itself before they are looked up
        self.loads: dict[str, None] = {}  # dotted names that are looked up here
        self.later: dict[str, None] = {}  # those that are looked up when something of it is called
        self.modules: dict[str, tuple[str, str | None]] = {}  # names bound by an import inside of a function
        self.parameters: list[str] = []
        self.changes: dict[Change, None] = {}
        self.shares: list[Share] = []
        self.rebound: set[str] = set()  # parameters that stand for other objects from here on

    @property
    def in_function(self) -> bool:
        """Whether what it does is done when a function is called."""
        return self.kind == "function" or (self.outer is not None and self.outer.in_function)

    def is_of_outer_function(self, name: str) -> bool:
        """Whether a name is a variable of a function around this one."""
        outer = self.outer
        while outer is not None:
            if outer.kind == "function" and name in outer.bound:
                return True
            outer = outer.outer
        return False

    def current(self, name: str) -> str:
        """What an object is called: a parameter that was bound anew has another name than the argument."""
        return f"{name}'" if name in self.rebound else name

    def current_sources(self, value: Any) -> list[Source]:
        """As :func:`sources_of`, by what the objects are called here."""
        return [(self.current(name), how) for name, how in sources_of(value)]

    def outside(self, name: str) -> list[str]:
        """A name; of one of a comprehension also those outside of it whose objects it may stand for."""
        names = [name]
        for one in names if self.kind == "comprehension" else ():
            names += [source for bound, source, _ in self.shares if bound == one and source not in names]
        return names

    def returned(self) -> tuple[Source, ...]:
        """The names of objects that this function may return, or return something of."""
        given = [(source, how) for name, source, how in self.shares if name == RETURNED]
        if not given:
            return ()
        changes = self.all_changes({Change(RETURNED): None})
        sources = [(change.name, change.path) for change in changes if change.name != RETURNED]
        for inside in [Change(source) for source, how in given if how[:1] == HOLDS]:
            sources += [(change.name, HOLDS) for change in self.all_changes({inside: None})]
        return tuple(dict.fromkeys(sources))

    def all_changes(self, changes: Mapping[Change, None] | None = None) -> dict[Change, None]:
        """The changes, and those of what its own names share with others."""
        changes = dict(self.changes if changes is None else changes)
        waiting = list(changes) if self.shares else []
        while waiting:
            change = waiting.pop()
            for name, source, how in self.shares if not change.adds else ():
                further = _further(change, source, how) if name == change.name else None
                if further is not None and further not in changes:
                    changes[further] = None
                    waiting.append(further)
        return changes

    def changed(self) -> dict[str, None]:
        """The names whose objects are changed."""
        return {change.name: None for change in self.all_changes() if change.grows or not change.through}

    def close(self, *, later: bool) -> None:
        """Hand on to the scope around it what this one looks up and changes, and does not bind."""
        outer = self.outer
        assert outer is not None
        loads = outer.later if later else outer.loads
        for chain in self.loads:
            base = chain.partition(".")[0]
            if (imported := self._of_module(chain)) is not None:
                loads[imported] = None
            elif base not in self.bound:
                # what is bound in the body of a class is out of sight of the comprehensions in it
                hidden = self.kind == "comprehension" and outer.kind == "class" and base in outer.bound
                (outer.later if hidden else loads)[chain] = None
        for chain in self.later:
            if (imported := self._of_module(chain)) is not None:
                outer.later[imported] = None
            elif self.kind == "class" or chain.partition(".")[0] not in self.bound:
                outer.later[chain] = None
        if later and outer.kind != "function":
            return
        for change in self.all_changes():
            if change.name not in self.bound and not (later and change.through and not change.grows):
                outer.changes[change] = None

    def _of_module(self, chain: str) -> str | None:
        """A name of a module that was imported here, as ``module:name``; None of others."""
        if ":" in chain:
            return chain
        if not self.modules:
            return None
        base, _, rest = chain.partition(".")
        module, attribute = self.modules.get(base, (None, None))
        return None if module is None or attribute is not None else f"{module}:{rest}"
