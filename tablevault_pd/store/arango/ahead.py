"""Edges found on the server, several steps of a walk in one statement.

A walk asks for the edges of some rows, learns from them which rows come next, and asks again: one answer a step. The
server can do that itself. It follows edges as far as they are ranges, and says which rows it answered for; what it could
not follow, the walk asks for with its next request. The server never decides what a row came from: it only answers
questions early, and :mod:`tablevault_pd.lineage` does the algebra on what it gets, as with any store.

What it takes for granted to come next, of one generation:

- of ranges and regular rows exactly the rows they lead to, as long as these are few runs;
- otherwise the run from the lowest to the highest row that they could lead to, if that is not much more than must be asked
  for anyway (see ``room`` and ``much`` below): packed positions cannot be read on the server;
- past a step to a whole list all that its version shows, or (down) all that was made of the generation.

One step's text is repeated, with other names for its variables; nothing else is put into it.
"""

from __future__ import annotations

from typing import Literal

from tablevault_pd.store.edges import LEVELS

# A row of `wanted` is [list, generation, first, end, whether to go on to whole lists]; what was found of a batch is
# {batch: [list, version, generation, start, edges], wanted: those rows of `wanted` that led to it}. For the numbers in an
# edge (e[…]) see plain() beside the batch documents.

# 3.12; nothing in it is newer than 3.8, and nothing is removed in 4.0: so for all statements here. Batches are found run
# by run, and their edges, which may be megabytes, are then looked at once for all runs that touch them.
_FOUND_UP = """
LET found_HERE = (
  FOR t IN (
    FOR w IN wanted_HERE
      LET lowest = FIRST(
        FOR f IN tv_batches
          FILTER f.list == w[0] AND f.generation == w[1] AND f.start <= w[2] AND f.rows > 0
          SORT f.start DESC LIMIT 1 RETURN f.start)
      FOR b IN tv_batches
        FILTER b.list == w[0] AND b.generation == w[1] AND b.start >= lowest AND b.start < w[3] AND b.rows > 0
        RETURN [b._key, w])
    COLLECT key = t[0] INTO wanted = t[1]
    FOR b IN tv_batches
      FILTER b._key == key
      LET low = MIN(wanted[*][2]) - b.start
      LET high = MAX(wanted[*][3]) - b.start
      LET touching = (FOR e IN NOT_NULL(b.edges, []) FILTER e[5] < high AND e[5] + e[6] > low RETURN e)
      FILTER LENGTH(touching) > 0
      RETURN {batch: [b.list, b.version, b.generation, b.start, touching], wanted})
"""
# An edge that has lost its place in the batch is null here; who reads it says so.
_FOUND_DOWN = """
LET found_HERE = (
  FOR t IN (
    FOR w IN wanted_HERE
      FOR z IN @sizes
        FOR m IN tv_edges
          FILTER m.parent_list == w[0] AND m.parent_generation == w[1] AND m.parent_level == z[0]
            AND m.parent_bin >= FLOOR(w[2] / z[1]) AND m.parent_bin <= FLOOR((w[3] - 1) / z[1])
          RETURN [m.batch, m.number, w])
    COLLECT key = t[0] INTO hits = [t[1], t[2]]
    FOR b IN tv_batches
      FILTER b._key == key AND b.list > 0
      LET touching = (FOR n IN UNIQUE(hits[*][0]) SORT n RETURN b.edges[n])
      RETURN {batch: [b.list, b.version, b.generation, b.start, touching], wanted: UNIQUE(hits[*][1])})
"""
# Where rows lead: [list, generation, first, end, whether those are all and no others, how many rows led there].
_STEPS_UP = """
LET steps_HERE = (
  FOR f IN found_HERE
    FOR e IN f.batch[4]
      FILTER e[4] > 0
      FOR w IN f.wanted
        LET first = MAX([w[2] - f.batch[3], e[5]])
        LET stop = MIN([w[3] - f.batch[3], e[5] + e[6]])
        FILTER w[4] == false AND first < stop
        LET origin = e[9] < 0 ? e[7] + e[8] - 1 : e[7]
        LET a = origin + (first - e[5]) * e[9]
        LET z = origin + (stop - 1 - e[5]) * e[9]
        LET low = e[4] == 2 ? MIN([a, z]) : e[7]
        LET high = e[4] == 2 ? MAX([a, z]) + 1 : e[7] + e[8]
        LET exact = e[4] == 1 OR (e[4] == 2 AND high - low <= stop - first)
        FILTER low < high
        RETURN DISTINCT [e[0], e[2], low, high, exact ? 1 : 0, stop - first])
"""
# Down, a regular edge of step s leads from parents to every child whose parent is one of them.
_STEPS_DOWN = """
LET steps_HERE = (
  FOR f IN found_HERE
    FOR e IN f.batch[4]
      FILTER e[4] > 0
      FOR w IN f.wanted
        LET first = MAX([w[2], e[7]])
        LET stop = MIN([w[3], e[7] + e[8]])
        FILTER w[4] == false AND w[0] == e[0] AND w[1] == e[2] AND first < stop
        LET near = e[9] < 0 ? e[7] + e[8] - stop : first - e[7]
        LET far = e[9] < 0 ? e[7] + e[8] - 1 - first : stop - 1 - e[7]
        LET regular = e[4] == 2 AND e[9] != 0
        LET low = regular ? CEIL(near / ABS(e[9])) : 0
        LET high = regular ? FLOOR(far / ABS(e[9])) + 1 : e[6]
        LET exact = e[4] == 1 OR e[4] == 2
        FILTER low < high
        LET origin = f.batch[3] + e[5]
        RETURN DISTINCT [f.batch[0], f.batch[2], origin + low, origin + high, exact ? 1 : 0, stop - first])
"""
# The versions that are read as whole lists, and how many rows they show.
_WHOLES_UP = """
LET wholes_HERE = (
  FOR v IN (
    FOR f IN found_HERE
      LET every = LENGTH(f.wanted[* FILTER CURRENT[4]]) > 0
      FOR e IN f.batch[4]
        FILTER every OR e[4] == 0
        RETURN DISTINCT [e[0], e[1], e[2]])
    FOR p IN tv_batches
      FILTER p.list == v[0] AND p.version == v[1]
      COLLECT list = v[0], generation = v[2] AGGREGATE total = MAX(p.total)
      FILTER total > 0
      RETURN [list, generation, 0, total, true])
"""
_WHOLES_DOWN = """
LET wholes_HERE = (
  FOR f IN found_HERE
    FILTER LENGTH(f.wanted[* FILTER CURRENT[4]]) > 0 OR LENGTH(f.batch[4][* FILTER CURRENT[4] == 0]) > 0
    RETURN DISTINCT [f.batch[0], f.batch[2], 0, @far, true])
"""
# Of each generation either the very runs, or one run over all: if they are many, if they overlap so much that one by one
# they would be more, or if some are only bounds. `room` is how many rows may lie in that, and `much` how many batches (or
# edges, down): some, or a few times as many as rows led there, or as many as must be asked for. A LIMIT must be a constant.
_NEXT = """
LET rows_HERE = (
  FOR s IN steps_HERE
    COLLECT list = s[0], generation = s[1] INTO runs = [s[2], s[3], s[4], s[5]]
    LET low = MIN(runs[*][0])
    LET high = MAX(runs[*][1])
    LET asked = SUM(runs[*][3])
    LET certain = MIN(runs[*][2]) == 1 ? SUM(runs[* RETURN CURRENT[1] - CURRENT[0]]) : 0
    LET exact = LENGTH(runs) <= @spans AND certain > 0 AND certain <= high - low
    LET room = MAX([@room, 4 * asked, certain])
    LET much = MAX([@few, 4 * asked, certain])
    FILTER exact OR high - low <= room
COUNT
    FILTER exact OR (held <= much AND held <= @many)
    FOR r IN (exact ? runs : [[low, high]])
      RETURN [list, generation, r[0], r[1], false])
LET wanted_NEXT = APPEND(rows_HERE, wholes_HERE)
"""
_HELD_UP = """
    LET held = LENGTH(
      FOR b IN tv_batches
        FILTER exact == false AND b.list == list AND b.generation == generation AND b.start > low AND b.start < high
        LIMIT @enough RETURN 1)
"""
_HELD_DOWN = """
    LET held = LENGTH(
      FOR z IN @sizes
        FOR m IN tv_edges
          FILTER exact == false AND m.parent_list == list AND m.parent_generation == generation AND m.parent_level == z[0]
            AND m.parent_bin >= FLOOR(low / z[1]) AND m.parent_bin <= FLOOR((high - 1) / z[1])
          LIMIT @enough RETURN 1)
"""
# First what was answered, then the batches, so that many of them can come in several parts.
_ANSWER = """
FOR answer IN FLATTEN([[{wanted: [WANTED]}], FOUND])
  RETURN answer
"""

AHEAD = 5  #: steps beyond the one asked for: a walk of five steps is one statement
MAX_SPANS = 512
FAR = 1 << 40  # no list has so many rows

#: What the statements take beside `wanted`.
LIMITS = {"spans": MAX_SPANS, "room": 1 << 16, "few": 64, "many": 50_000, "enough": 50_001}
#: The levels of bins, and how many positions a bin of each is wide (see edges.bin_of).
SIZES = [[level, 16**level] for level in range(LEVELS + 1)]

Side = Literal["child", "parent"]


def statement(side: Side, steps: int) -> str:
    """The text for so many steps at once."""
    found, next_of = (
        (_FOUND_UP, _STEPS_UP + _WHOLES_UP + _NEXT.replace("COUNT", _HELD_UP.strip("\n")))
        if side == "child"
        else (_FOUND_DOWN, _STEPS_DOWN + _WHOLES_DOWN + _NEXT.replace("COUNT", _HELD_DOWN.strip("\n")))
    )
    parts = ["LET wanted_0 = @wanted"]
    for step in range(steps):
        text = found if step == steps - 1 else found + next_of
        parts.append(text.replace("HERE", str(step)).replace("NEXT", str(step + 1)))
    wanted = ", ".join(f"wanted_{step}" for step in range(steps))
    batches = ", ".join(f"found_{step}[*].batch" for step in range(steps))
    return "".join(parts) + _ANSWER.replace("WANTED", wanted).replace("FOUND", batches)


#: By side and number of steps.
STATEMENTS: dict[tuple[Side, int], str] = {
    (side, steps): statement(side, steps) for side in ("child", "parent") for steps in range(1, AHEAD + 2)
}


def binds(side: Side, steps: int) -> dict[str, object]:
    """What a statement takes beside `wanted`: the server refuses what it has no use for."""
    taken: dict[str, object] = dict(LIMITS) if steps > 1 else {}
    if side == "parent":
        taken["sizes"] = SIZES
        if steps > 1:
            taken["far"] = FAR
    return taken
