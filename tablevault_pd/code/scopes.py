"""A scope: the names that one namespace of a statement binds, looks up and changes, by Python's rules."""

from __future__ import annotations


class NameScope:
    """The names of one namespace: the module's, a class body's, a function's or a comprehension's."""

    __slots__ = (
        "bound", "certain", "changed", "declared", "kind", "loads", "modules", "nonlocals", "outer", "parameters",
    )  # fmt: skip

    def __init__(self, kind: str, outer: NameScope | None) -> None:
        self.kind = kind
        self.outer = outer
        self.bound: dict[str, None] = {}
        self.declared: set[str] = set()  # global here
        self.nonlocals: set[str] = set()
        self.certain: set[str] = set()  # bound by the statement itself before they are looked up
        self.loads: dict[
            tuple[str, bool], None
        ] = {}  # (dotted name, whether it is looked up when something is called)
        self.modules: dict[str, tuple[str, str | None]] = {}  # names bound by an import inside of a function
        self.parameters: list[str] = []
        self.changed: dict[str, None] = {}  # whose values are changed

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

    def close(self, *, later: bool) -> None:
        """Hand on to the scope around it what this one looks up and changes, and does not bind."""
        outer = self.outer
        assert outer is not None
        for chain, already in self.loads:
            base, _, rest = chain.partition(".")
            if ":" in chain:
                outer.loads[chain, already or later] = None
            elif base in self.modules and self.modules[base][1] is None:
                module = self.modules[base][0]
                outer.loads[f"{module}:{rest}", already or later] = None
            elif base not in self.bound or (self.kind == "class" and already):
                # what is bound in the body of a class is out of sight of the comprehensions in it
                hidden = self.kind == "comprehension" and outer.kind == "class" and base in outer.bound
                outer.loads[chain, already or later or hidden] = None
        for name in self.changed:
            if name not in self.bound and (not later or outer.kind == "function"):
                outer.changed[name] = None
