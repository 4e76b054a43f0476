"""The graph of lists: a frame of edges that also goes to NetworkX, Mermaid and OpenLineage, and draws itself."""

from __future__ import annotations

import json
import uuid
from typing import TYPE_CHECKING, Any

import pandas as pd

from tablevault_pd.errors import MissingDependency
from tablevault_pd.imports import for_own_use
from tablevault_pd.lineage import drawing
from tablevault_pd.reading.reports import answer, labels_of
from tablevault_pd.store.edges import BASES, READ, EdgeSummary
from tablevault_pd.validate import is_missing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from matplotlib.axes import Axes

    from tablevault_pd.store import Store

COLUMNS = (
    "parent_list", "parent_version", "child_list", "child_version", "rows", "basis", "session", "cell",
)  # fmt: skip
MOST_DRAWN = 200  # lists in a picture that a notebook shows without being asked
PRODUCER = "https://pypi.org/project/tablevault-pd/"
SCHEMA_URL = "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent"
VERSION_URL = "https://openlineage.io/spec/facets/1-0-1/DatasetVersionDatasetFacet.json#/$defs/DatasetVersionDatasetFacet"


class LineageGraph(pd.DataFrame):
    """Edges between versions of lists, one a row. What pandas makes of it is a plain DataFrame.

    Pictures show with dashes what is known only from what a session had read (basis ``read``).

    Examples
    --------
    >>> words = vault.save("words", ["storm", "sun"])
    >>> sizes = vault.save("sizes", [{"size": 5}, {"size": 3}], inputs="words")
    >>> len(vault.graph())
    1
    """

    @property
    def _constructor(self) -> Callable[..., pd.DataFrame]:
        return pd.DataFrame

    def _names(self) -> list[str]:
        """The lists, each once, in the order in which they come up."""
        return list(dict.fromkeys(end for pair in self._pairs() for end in pair))

    def _pairs(self) -> list[tuple[str, str]]:
        """(parent, child) of lists, each pair once, in the order in which they were made."""
        return list(dict.fromkeys(zip(self["parent_list"], self["child_list"], strict=True)))

    def _dashed(self) -> set[tuple[str, str]]:
        """The pairs known only from what sessions read."""
        sure = self[self["basis"] != BASES[READ]]
        return set(self._pairs()) - set(zip(sure["parent_list"], sure["child_list"], strict=True))

    def to_networkx(self) -> Any:
        """The graph of versions for NetworkX.

        Returns
        -------
        networkx.MultiDiGraph
            Nodes are ``news@3``, with the attributes list (str) and version (int); edges have rows, basis and session.

        Raises
        ------
        MissingDependency
            If the extra ``plot`` is not installed.

        Examples
        --------
        >>> words = vault.save("words", ["storm", "sun"])
        >>> sizes = vault.save("sizes", [{"size": 5}, {"size": 3}], inputs="words")
        >>> list(vault.graph().to_networkx().edges())
        [('words@1', 'sizes@1')]
        """
        try:
            with for_own_use():
                import networkx
        except ImportError as error:
            raise MissingDependency.for_extra("networkx", "plot", "vault.graph().to_networkx()") from error
        graph = networkx.MultiDiGraph()
        row: Any
        for row in self.itertuples(index=False):
            ends = [(row.parent_list, row.parent_version), (row.child_list, row.child_version)]
            for name, version in ends:
                graph.add_node(f"{name}@{version}", list=name, version=int(version))
            (a, m), (b, n) = ends
            graph.add_edge(f"{a}@{m}", f"{b}@{n}", rows=int(row.rows), basis=row.basis, session=row.session)
        return graph

    def to_mermaid(self) -> str:
        """The graph of lists as Mermaid text, which many Markdown viewers draw.

        Returns
        -------
        str
            A flow chart; what is known only from reads has dotted arrows.

        Examples
        --------
        >>> words = vault.save("words", ["storm", "sun"])
        >>> sizes = vault.save("sizes", [{"size": 5}, {"size": 3}], inputs="words")
        >>> print(vault.graph().to_mermaid())
        graph LR
            n0["words"] --> n1["sizes"]
        """
        pairs, dashed = self._pairs(), self._dashed()
        numbers = {name: f"n{number}" for number, name in enumerate(self._names())}
        shown = {name: f'{number}["{_mermaid(name)}"]' for name, number in numbers.items()}
        return "\n".join(
            [
                "graph LR",
                *(
                    f"    {shown[parent]} {'-.->' if (parent, child) in dashed else '-->'} {shown[child]}"
                    for parent, child in pairs
                ),
            ]
        )

    def to_svg(self) -> str:
        """The graph of lists as an SVG picture, drawn with Matplotlib.

        Returns
        -------
        str
            An ``<svg>`` element.

        Raises
        ------
        MissingDependency
            If the packages of the extra ``plot`` are not installed.

        Examples
        --------
        >>> words = vault.save("words", ["storm", "sun"])
        >>> sizes = vault.save("sizes", [{"size": 5}, {"size": 3}], inputs="words")
        >>> vault.graph().to_svg()[:4]
        '<svg'
        """
        return drawing.svg(self._names(), self._pairs(), self._dashed())

    def draw(self, ax: Axes | None = None) -> Axes:
        """Draw the graph of lists with Matplotlib.

        Lists lie in layers, parents to the left; an arrow that leads past other lists goes around their boxes.

        Parameters
        ----------
        ax : Axes, optional
            Where to draw. Left out, a new figure is made, as large as the graph needs.

        Returns
        -------
        Axes
            With the picture.

        Raises
        ------
        MissingDependency
            If the packages of the extra ``plot`` are not installed.

        Examples
        --------
        >>> words = vault.save("words", ["storm", "sun"])
        >>> sizes = vault.save("sizes", [{"size": 5}, {"size": 3}], inputs="words")
        >>> axes = vault.graph().draw()
        """
        return drawing.draw(self._names(), self._pairs(), ax, self._dashed())

    def _repr_svg_(self) -> str | None:
        if len(self._names()) > MOST_DRAWN:
            return None
        try:
            return self.to_svg()
        except MissingDependency:
            return None

    def _repr_html_(self) -> str | None:
        picture = self._repr_svg_()
        if picture is None and len(self._names()) <= MOST_DRAWN:
            return None  # the Mermaid text is drawn, or the plain text shown
        table: Any = pd.DataFrame(self)
        return (picture or "") + (table._repr_html_() or "")

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        """Mermaid text beside the other forms: JupyterLab draws it."""
        return {"text/vnd.mermaid": self.to_mermaid()} if len(self._names()) <= MOST_DRAWN else {}

    def to_openlineage(self) -> str:
        """One OpenLineage run event for each batch, as a JSON array.

        Dataset names are list names in the namespace ``tablevault:<vault id>``; the version that was read or written is
        in the dataset's version facet.

        Returns
        -------
        str
            JSON, with list names as they are.

        Examples
        --------
        >>> words = vault.save("words", ["storm", "sun"])
        >>> sizes = vault.save("sizes", [{"size": 5}, {"size": 3}], inputs="words")
        >>> import json
        >>> (event,) = json.loads(vault.graph().to_openlineage())
        >>> event["inputs"][0]["name"], event["outputs"][0]["name"]
        ('words', 'sizes')
        """
        namespace = f"tablevault:{self.attrs['vault_id']}"
        events = []
        keys: Any  # (list, version)
        for keys, group in self.groupby(["child_list", "child_version"], sort=False):
            name, version = keys
            run = uuid.uuid5(uuid.NAMESPACE_URL, f"{namespace}/{version}/{name}")
            events.append(
                {
                    "eventType": "COMPLETE",
                    "eventTime": self.attrs["times"][f"{version} {name}"],
                    "run": {"runId": str(run)},
                    "job": {"namespace": namespace, "name": _job(group["session"].iloc[0], name)},
                    "inputs": [
                        _dataset(namespace, parent, number)
                        for parent, number in zip(group["parent_list"], group["parent_version"], strict=True)
                    ],
                    "outputs": [_dataset(namespace, name, version)],
                    "producer": PRODUCER,
                    "schemaURL": SCHEMA_URL,
                }
            )
        return json.dumps(events, ensure_ascii=False, indent=1)


def _job(session: Any, name: str) -> str:
    return name if is_missing(session) else f"{str(session).rpartition('#')[0]}/{name}"


def _dataset(namespace: str, name: str, version: int) -> dict[str, Any]:
    facet = {"_producer": PRODUCER, "_schemaURL": VERSION_URL, "datasetVersion": str(version)}
    return {"namespace": namespace, "name": name, "facets": {"version": facet}}


def _mermaid(name: str) -> str:
    return "".join(f"#{ord(letter)};" if letter in '"#&<>[]`\\' else letter for letter in name)


def graph(store: Store, name: str | None) -> LineageGraph:
    """Every edge between versions, or those that lead to and from one list."""
    summaries = store.edge_summaries()
    ends = sorted({end for summary in summaries for end in (summary.parent_list, summary.list)})
    names = {list_id: history.name for list_id, history in store.describe_lists(ends).lists.items()}
    if name is not None:
        list_id = next((number for number, label in names.items() if label == name), None)
        summaries = _around(summaries, list_id)
    sessions = labels_of(store, [summary.session_id for summary in summaries])
    rows = [
        (
            names[summary.parent_list], summary.parent_version, names[summary.list], summary.version, summary.rows,
            BASES[summary.basis], sessions.get(summary.session_id), summary.cell,
        )
        for summary in summaries
    ]  # fmt: skip
    drawn = LineageGraph(answer(COLUMNS, rows).astype({"parent_version": "Int64", "child_version": "Int64"}))
    drawn.attrs = {
        "vault_id": store.vault_id,
        "times": {f"{summary.version} {names[summary.list]}": summary.time for summary in summaries},
    }
    return drawn


def _around(summaries: Iterable[EdgeSummary], list_id: int | None) -> list[EdgeSummary]:
    """The edges on any path to or from a list."""
    listed = list(summaries)
    above = _reach(list_id, [(edge.list, edge.parent_list) for edge in listed])
    below = _reach(list_id, [(edge.parent_list, edge.list) for edge in listed])
    return [edge for edge in listed if edge.list in above or edge.parent_list in below]


def _reach(start: int | None, steps: Iterable[tuple[int, int]]) -> set[int]:
    next_of: dict[int, set[int]] = {}
    for source, target in steps:
        next_of.setdefault(source, set()).add(target)
    reached: set[int] = set()
    waiting = [] if start is None else [start]
    while waiting:
        here = waiting.pop()
        if here not in reached:
            reached.add(here)
            waiting += next_of.get(here, ())
    return reached
