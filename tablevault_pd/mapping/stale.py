"""Which rows of a mapped list the next call of map would make again, and for which inputs it would make new ones."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from tablevault_pd.errors import InvalidInput
from tablevault_pd.keys.mapped import (
    CALL,
    CONTENT,
    FUNCTION,
    INPUT,
    call_of,
    is_mapped,
    notes,
    result_rows,
)
from tablevault_pd.lineage.stale import RowsOfMap
from tablevault_pd.mapping.function import function_number
from tablevault_pd.mapping.inputs import inputs_of
from tablevault_pd.mapping.refresh import function_of

if TYPE_CHECKING:
    from tablevault_pd.session import Recorder
    from tablevault_pd.store import Store, Version


@dataclass(frozen=True, slots=True)
class MapState:
    """What a process knows of mapped lists: the functions that it has. `run` is the current session."""

    store: Store
    run: Recorder | None

    def __call__(self, head: Version) -> RowsOfMap | None:
        """How the newest version of a list stands to the inputs that there are now; None if map did not make it of a whole list."""
        call = call_of(self.store, head.list) if is_mapped(self.store, head) else None
        if call is None or call["options"] is None:
            return None
        source = self.store.head(call["list"])
        if source is None or source.deleted:
            return None
        options = json.loads(call["options"])
        inputs = inputs_of(self.store, call["list"], options["columns"])
        number = self._function_number(head.list, call, options)
        function = call["number"] if number is None else number
        results = result_rows(self.store, head)
        made_of = pd.MultiIndex.from_frame(results[list(INPUT)])
        place = pd.MultiIndex.from_arrays(list(inputs.identity.T)).get_indexer(made_of)
        same = (
            (place >= 0) & (inputs.content[place] == results[CONTENT]) if len(inputs.content) else place >= 0
        )
        noted = notes(self.store, head.list)
        noted = noted[(noted[FUNCTION] == function) & (noted["outcome"] != CALL)]
        lacking = ~np.isin(np.arange(len(inputs.content)), place) & ~np.isin(inputs.content, noted[CONTENT])
        code = np.full(len(results), None, dtype=object)
        code[(results[FUNCTION] != function).to_numpy()] = call["function"]
        return RowsOfMap(
            inputs.version,
            np.where(same, inputs.positions[place] if len(inputs.content) else -1, -1),
            code,
            number is not None,
            inputs.positions[lacking],
        )

    def _function_number(self, name: str, call: dict[str, Any], options: dict[str, Any]) -> int | None:
        """The number that the function has now; None if this process cannot tell."""
        if options["version"] is not None:
            return int(call["number"])
        function = function_of(self.store, name, call)
        if function is None or self.run is None:
            return None
        try:
            return function_number(function, None, options["kwargs"], self.run)
        except InvalidInput:
            return None
