"""Public names and their docstrings, taken apart as numpydoc has them. ``python tests/docstrings.py`` prints a table."""

from __future__ import annotations

import inspect
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pandas as pd

import tablevault_pd as tv
from tablevault_pd.accessor import FrameAccessor, SeriesAccessor
from tablevault_pd.analysis.plots import FramePlots
from tablevault_pd.lineage.graph import LineageGraph
from tablevault_pd.refs import Ref

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

#: Classes whose public methods a user calls, by what stands before the method's name.
OWNERS: dict[str, type] = {
    "Vault": tv.Vault,
    "List": tv.List,
    "Run": tv.Run,
    "RunInfo": tv.RunInfo,
    "df.vault": FrameAccessor,
    "series.vault": SeriesAccessor,
    "Comparison": tv.Comparison,
    "FramePlots": FramePlots,
    "LineageGraph": LineageGraph,
    "Ref": Ref,
}
SECTION = re.compile(r"^(\w[\w ]*)\n-{3,}\n", re.MULTILINE)
FORWARD = re.compile(r"See :(?:meth|func):`([\w.]+)`")


@dataclass(frozen=True)
class Documented:
    """A public name with its docstring."""

    label: str
    thing: Any
    text: str
    sections: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, label: str, thing: Any) -> Documented:
        text = inspect.getdoc(thing) or ""
        parts = SECTION.split(text)
        return cls(label, thing, text, dict(zip(parts[1::2], parts[2::2], strict=True)))

    @property
    def is_call(self) -> bool:
        """Whether it is a function or method."""
        return inspect.isfunction(self.thing)

    @property
    def forward(self) -> str | None:
        """The call whose docstring says the rest."""
        match = FORWARD.search(self.text)
        return None if match is None else match[1]

    @property
    def has_example(self) -> bool:
        return ">>> " in self.text

    def entries(self, section: str) -> list[str]:
        """The names that a section describes: each line that is not indented may have several, with commas between them."""
        lines = [line for line in self.sections.get(section, "").splitlines() if line[:1].strip()]
        return [
            name.strip() for line in lines for name in line.partition(" : ")[0].split(",") if name.strip()
        ]

    @property
    def parameters(self) -> list[str]:
        """The parameters as the signature has them, with their stars."""
        stars: dict[Any, str] = {inspect.Parameter.VAR_POSITIONAL: "*", inspect.Parameter.VAR_KEYWORD: "**"}
        found = inspect.signature(self.thing).parameters.values()
        return [stars.get(each.kind, "") + each.name for each in found if each.name != "self"]

    @property
    def raises(self) -> set[str]:
        """Return the names of the errors under Raises, those of the call that this one hands on to included."""
        names = set(self.entries("Raises"))
        return names | target(self.forward).raises if self.forward else names

    @property
    def returns(self) -> bool:
        """Whether it returns anything."""
        return inspect.signature(self.thing).return_annotation not in ("None", None, inspect.Signature.empty)


#: The methods of a session that a user calls. Its others are for the recording.
OF_A_RUN = {
    "name",
    "run",
    "id",
    "state",
    "params",
    "tags",
    "log",
    "log_table",
    "log_text",
    "log_figure",
    "log_model",
    "step",
    "checkpoint",
    "on_stop",
}


def target(name: str) -> Documented:
    """Return the call that a docstring points at: ``Vault.save``."""
    owner, _, method = name.rpartition(".")
    thing = getattr(OWNERS[owner] if owner else tv, method)
    return Documented.of(name, thing)


def public_names() -> Iterator[Documented]:
    """Yield what a user may call or look at."""
    for name in tv.__all__:
        yield Documented.of(f"tv.{name}", getattr(tv, name))
    for label, owner in OWNERS.items():
        inherited = set(dir(pd.DataFrame)) if issubclass(owner, pd.DataFrame) else set()
        for name in dir(owner):
            thing = inspect.getattr_static(owner, name)
            hidden = name.startswith("_") or name in inherited or (owner is tv.Run and name not in OF_A_RUN)
            if not hidden and (inspect.isfunction(thing) or isinstance(thing, property)):
                yield Documented.of(f"{label}.{name}", thing)


if __name__ == "__main__":
    calls = [each for each in public_names() if each.is_call]
    full = [each for each in calls if not each.forward]
    print(
        f"{len(list(public_names()))} public names, {len(calls)} of them calls, {len(calls) - len(full)} of those forward"
    )
    checks: dict[str, Callable[[Documented], bool]] = {
        "Parameters as the signature": lambda each: set(each.entries("Parameters")) == set(each.parameters),
        "Returns": lambda each: not each.returns or "Returns" in each.sections,
        "Raises": lambda each: "Raises" in each.sections,
        "an example": lambda each: each.has_example,
    }
    for title, having in checks.items():
        lacking = [each.label for each in full if not having(each)]
        print(f"{title}: {len(full) - len(lacking)} of {len(full)}; without: {', '.join(lacking) or 'none'}")
