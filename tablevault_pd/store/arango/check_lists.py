"""What is damaged in the versions of lists on a server: their numbers, their running totals, and what they show."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tablevault_pd.errors import VaultCorrupt, VersionNotFound, short_repr
from tablevault_pd.store import Problem
from tablevault_pd.store.arango.batches import layout_of, list_name, own_totals, version_of
from tablevault_pd.store.arango.records import reads
from tablevault_pd.store.arango.sessions import digest_of
from tablevault_pd.store.arango.windows import unpack_numbers
from tablevault_pd.store.engine.content_rules import wrong_erased, wrong_numbers, wrong_total
from tablevault_pd.store.pieces import EMPTY

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tablevault_pd.store import Progress, Version
    from tablevault_pd.store.arango.parts import VaultParts

# All statements: 3.12; nothing in them is newer than 3.8.
LISTS = "FOR l IN tv_lists FILTER l.id > 0 SORT l.id RETURN l"
# What a list has lost, by its document and by its versions: read in one moment.
LOST_OF = """
LET lost = FIRST(FOR l IN tv_lists FILTER l.id == @list RETURN l.lost)
LET so_far = FIRST(FOR b IN tv_batches FILTER b.list == @list SORT b.version DESC LIMIT 1 RETURN b.so_far)
FOR b IN tv_batches
  FILTER b.list == @list
  COLLECT AGGREGATE bytes = SUM(b.emptied ? 0 : b.bytes), batches = SUM(b.text_items > 0 ? 1 : 0),
    items = SUM(b.text_items), words = SUM(b.text_items > 0 ? b.text_words : 0)
  RETURN [lost, so_far, [bytes, batches, items, words]]
"""
# Of lists of which rows were erased, and their batches among @keys.
ERASED_OF = """
FOR l IN tv_lists
  FILTER l.id IN @lists AND l.erased != null
  LET batches = (
    FOR b IN tv_batches
      FILTER b._key IN @keys AND b.list == l.id
      RETURN [b._key, b.erased, b.holds_erased ? DOCUMENT("tv_details", b._key).erased_rows : null])
  RETURN [l.erased, batches]
"""
# Renames of lists that are not there.
LOST_RENAMES = """
FOR r IN tv_renames
  FILTER r.list > 0 AND LENGTH(FOR l IN tv_lists FILTER l.id == r.list RETURN 1) == 0
  SORT r._key
  RETURN [r._id, r.old, r.list]
"""
WHAT = ("bytes", "batches with texts", "texts", "words", "edges")  # is added up
Document = dict[str, Any]


@reads("tv_lists")
def readable_list(document: Document) -> None:
    """What is looked at of a list's document is of its type, and the list is found by its name."""
    name, lost, erased = document["name"], document.get("lost"), document.get("erased")
    list_name(name, document["id"])
    if document["digest"] != digest_of(name):
        raise ValueError(f"its digest is not that of its name {short_repr(name)}, by which no call finds it")
    if document["_key"] != str(document["id"]):
        raise ValueError(f"its key is not its id {document['id']}")
    if lost is not None and [type(number) for number in lost] != [int] * (len(WHAT) - 1):
        raise TypeError(f"what it lost is {short_repr(lost)}")
    if erased is not None:
        layout_of(erased, "What was erased of the list")


@dataclass(slots=True)
class ListChecks:
    """The versions of one list, as they follow each other."""

    list_id: int | None = None
    lost: Sequence[int] | None = None  #: what its document says that it lost of its totals
    version: int = 0
    ends: dict[int, int] = field(default_factory=dict)  #: of the rows of each generation
    newest: dict[int, Version] = field(default_factory=dict)  #: of each generation
    damaged: set[int] = field(default_factory=set)  #: generations that lack rows
    so_far: list[int] = field(default_factory=lambda: [0] * len(WHAT))
    there: list[int] = field(default_factory=lambda: [0] * len(WHAT))  #: what is left of it
    last: Document | None = None
    summed: bool = True  #: whether all totals follow from those before them

    def follow(self, batch: Document) -> Iterator[Problem]:
        """Versions count up from 1, the rows of a generation follow each other, and totals add up."""
        follows = batch["version"] == self.version + 1
        if not follows:
            yield damage(batch, "missing version", f"version {batch['version']} follows {self.version}")
        self.version, generation = batch["version"], batch["generation"]
        end = batch["start"] + batch["rows"]
        if self.ends.get(generation, 0) != batch["start"] or batch["end"] != end:
            yield damage(
                batch, "missing rows", f"rows from {batch['start']} on do not follow what is before them"
            )
        self.ends[generation] = end
        if not batch["gone"] and batch["operation"] != "delete":
            self.newest[generation] = version_of(batch)
        yield from self._totals(batch, follows=follows)

    def _totals(self, batch: Document, *, follows: bool) -> Iterator[Problem]:
        """What a vacuum or an erase took of a batch is still in its total: nobody can tell how much that was."""
        own, so_far = own_totals(batch), batch["so_far"] or [0] * len(WHAT)
        added = [one - before for one, before in zip(so_far, self.so_far, strict=True)]
        untouched = not batch["emptied"] and not batch.get("holds_erased")
        exact = [True, untouched, untouched, untouched, True]
        if follows and any(
            more != one if is_exact else more < one
            for one, more, is_exact in zip(own, added, exact, strict=True)
        ):
            self.summed = False
            yield damage(
                batch,
                "damaged totals",
                f"so_far counts {_told(added)} for this version, which has {_told(own)}",
            )
        self.summed, self.last, self.so_far = self.summed and follows, batch, so_far
        left = [0 if batch["emptied"] else own[0], *own[1:]]
        self.there = [one + more for one, more in zip(self.there, left, strict=True)]

    def ended(self, vault: VaultParts, progress: Progress | None) -> Iterator[Problem]:
        """What the list lost must be what its document says; every generation can be read to its end."""
        if self.last is not None and self.summed and self._differs(self.lost, self.so_far, self.there):
            # unless something was removed meanwhile
            [present] = vault.client.query(LOST_OF, list=self.list_id)
            if self._differs(*present):
                lost, so_far, there = present
                gone = [one - left for one, left in zip(so_far, there, strict=False)]
                detail = f"{_told(lost or [0] * 4)} are said to be removed, and {_told(gone)} were"
                yield Problem(
                    "damage",
                    "damaged totals",
                    self.last["name"],
                    path=f"tv_lists/{self.list_id}",
                    detail=detail,
                )
        yield from self._decoded(vault, progress)

    @staticmethod
    def _differs(lost: Sequence[int] | None, so_far: Sequence[int], there: Sequence[int]) -> bool:
        pairs = zip(lost or [0] * 4, so_far, there, strict=False)
        return any(had - gone != left for gone, had, left in pairs)

    def _decoded(self, vault: VaultParts, progress: Progress | None) -> Iterator[Problem]:
        for generation, version in self.newest.items():
            if generation in self.damaged:
                continue
            stop = version.start + version.rows
            try:
                for chunk in vault.rows.rows_of_generation(version, generation, 0, stop, None):
                    chunk.table.validate(full=True)
                    if progress:
                        progress(1)
            except VersionNotFound:
                continue  # a vacuum took them meanwhile
            except (VaultCorrupt, ValueError) as error:
                yield Problem("damage", "damaged rows", version.list, version.version, detail=str(error))


def wrong_contents(vault: VaultParts, batches: Sequence[Document]) -> dict[str, str]:
    """Batches whose version shows other rows than it is said to, or that count or mark erased rows wrongly."""
    with suppress(VaultCorrupt):  # one request for all layouts; what cannot be read is told below
        vault.rows.pieces([version_of(batch) for batch in batches if not batch["gone"]])
    lists, keys = sorted({batch["list"] for batch in batches}), [batch["_key"] for batch in batches]
    erasures = {
        key: (rows, count, numbers)
        for rows, marked in vault.client.query(ERASED_OF, lists=lists, keys=keys)
        for key, count, numbers in marked
    }
    wrong = {}
    for batch in batches:
        erasure = erasures.get(batch["_key"], (None, batch.get("erased"), None))
        try:
            detail = _wrong_content(vault, batch, *erasure)
        except VaultCorrupt as error:
            detail = str(error)
        if detail:
            wrong[batch["_key"]] = detail
    return wrong


def _wrong_content(
    vault: VaultParts, batch: Document, packed: str | None, count: int | None, marked: str | None
) -> str | None:
    """What is wrong with a batch, given what was erased of its list, how many of its version's rows, and which of its own."""
    erased = EMPTY if packed is None else layout_of(packed, "What was erased of the list")
    detail = None
    if not batch["gone"]:
        version = version_of({**batch, "erased": count or 0})
        [content] = vault.rows.pieces([version])
        detail = wrong_total(version, content.total) or wrong_erased(version, content, erased)
    if detail is None and not batch["emptied"]:
        run = batch["generation"], batch["start"], batch["start"] + batch["rows"]
        detail = wrong_numbers(run, None if marked is None else unpack_numbers(marked), erased)
    return detail


def damage(batch: Document, what: str, detail: str) -> Problem:
    """Something of one commit."""
    return Problem("damage", what, batch["name"], batch["version"], f"tv_batches/{batch['_key']}", detail)


def _told(totals: Sequence[int]) -> str:
    return ", ".join(f"{number:,} {what}" for number, what in zip(totals, WHAT, strict=False))
