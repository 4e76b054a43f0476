"""How a batch becomes visible on a server.

The order of a commit: items first, under keys of their own and tagged with their batch; then one batch document, whose
unique (list, version) lets only one of several writers have the next place. That single insert is the commit, on one
server as in a cluster. Whoever lost looks again, and takes the place after. A batch document has a key of its own too,
so an insert whose answer was lost is recognised when it is tried again, and never doubled.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from tablevault_pd.errors import ClaimLost, Conflict
from tablevault_pd.store.arango.batches import HEAD, NAMED, SHAPE, document_of, layout_of, so_far, version_of
from tablevault_pd.store.arango.claims import FINISHED, finishing, raise_if_lost
from tablevault_pd.store.arango.code import CONFIRMED, confirmation_document
from tablevault_pd.store.arango.edges import carried
from tablevault_pd.store.arango.layout import BATCHES, DETAILS, EDGES
from tablevault_pd.store.arango.server_errors import UNIQUE, ExpectedError
from tablevault_pd.store.arango.sessions import (
    ADD_DESCRIPTIONS,
    RESUMED,
    attempt_of,
    continued_by,
    description_document,
    digest_of,
)
from tablevault_pd.store.arango.stage import Stage, new_batch_key
from tablevault_pd.store.arango.transport import to_json
from tablevault_pd.store.engine.commit_rules import AlreadyNewest, check_commit, placed_version
from tablevault_pd.store.engine.name_rules import check_not_renamed
from tablevault_pd.store.times import to_time

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tablevault_pd.store import Batch, Staging, Version
    from tablevault_pd.store.arango.client import Client
    from tablevault_pd.store.arango.edges import LineageEdges
    from tablevault_pd.store.arango.layout import Clock
    from tablevault_pd.store.arango.stage import SharedDocuments
    from tablevault_pd.store.pieces import Pieces

LARGE_BYTES = 1_900  # of a batch document: what grows with it is then in a document of its own
MOST_READS = 16  # versions that a session read, told by the commit after it; more are told before

# All statements: 3.12 now; nothing in them is newer than 3.8, and nothing is removed in 4.0. Names are looked up by
# their hash, because the server compares texts by the rules of a language.
LOOK = f"""
LET known = FIRST(
  FOR l IN tv_lists
    FILTER l.digest == @digest
    COLLECT list = l.id, erased = l.erased, revision = l._rev
    LET head = {HEAD}
    RETURN {{list, erased, revision, head}})
LET list = known.list
LET head = known.head
LET was = FIRST(
  FOR r IN tv_renames FILTER r.digest == @digest SORT r.time DESC LIMIT 1
    FOR l IN tv_lists FILTER l.id == r.list RETURN l
)
LET renamed = head == null ? was.name : null
LET committed = FIRST(FOR b IN tv_batches FILTER b.list IN [list, was.id] AND b.token == @token RETURN {NAMED})
LET target = FIRST(FOR b IN tv_batches FILTER @target > 0 AND b.list == list AND b.version == @target RETURN {SHAPE})
LET layouts = MERGE(FOR b IN tv_batches FILTER @content AND b.list == list AND b.version IN [head.layout, target.layout]
  RETURN {{[TO_STRING(b.version)]: b.pieces == null ? DOCUMENT("tv_details", b._key).pieces : b.pieces}})
LET resumed = FIRST(
  FOR s IN tv_sessions FILTER @openings != null AND s._key == @session AND s.openings != @openings RETURN [s.name, s.run, s.pid, s.host])
RETURN {{now: DATE_NOW(), resumed, list, revision: known.revision, head, renamed, committed, target, layouts,
  erased: @target == null ? null : known.erased}}
"""
NEW_LIST = """
FOR m IN tv_meta
  FILTER m._key == "lists"
  UPDATE m WITH {value: m.value + 1} IN tv_meta
  LET id = NEW.value
  INSERT {_key: TO_STRING(id), id: id, name: @name, digest: @digest} INTO tv_lists
  RETURN id
"""
# Nothing where another attempt of the session has begun since it was looked at: the next look tells so.
INSERT_OF_SESSION = (
    RESUMED
    + """
FOR b IN [@batch]
  FILTER LENGTH(resumed) == 0
  INSERT b INTO tv_batches OPTIONS {waitForSync: true}
  RETURN true
"""
)
# Nor where the list's document was written since. Documents that are there are changed.
INSERT_ALONE = (
    RESUMED
    + """
LET lists = (
  FOR l IN tv_lists FILTER l.id == @list AND l._rev == @revision AND LENGTH(resumed) == 0 UPDATE l WITH @changes IN tv_lists RETURN 1
)
LET details = (
  FOR d IN @details
    FILTER LENGTH(lists) > 0
    UPSERT {_key: d._key} INSERT d UPDATE UNSET(d, "_key") IN tv_details
)
LET vault = (
  FOR keys IN [@erasing]
    FILTER LENGTH(lists) > 0 AND LENGTH(keys) > 0
    FOR m IN tv_meta
      FILTER m._key == "vault"
      UPDATE m WITH {erasing: UNION_DISTINCT(NOT_NULL(m.erasing, []), keys)} IN tv_meta
)
FOR b IN @batches
  FILTER LENGTH(lists) > 0
  UPSERT {_key: b._key} INSERT b UPDATE UNSET(b, "_key") IN tv_batches OPTIONS {waitForSync: true}
  RETURN true
"""
)
# With claims that it finishes and a confirmation of rows that were there: all of it, or nothing where one of the claims is lost.
INSERT_WITH = (
    FINISHED
    + CONFIRMED
    + """
LET inserted = (FOR b IN [@batch] FILTER may INSERT b INTO tv_batches OPTIONS {waitForSync: true})
RETURN {held: held[*]._key, resumed, made: may}
"""
)
IN_ITS_PLACE = f"""
LET by_key = FIRST(FOR b IN tv_batches FILTER b._key == @key RETURN true)
LET by_token = FIRST(FOR b IN tv_batches FILTER b.list == @list AND b.token == @token RETURN {NAMED})
RETURN {{by_key, by_token}}
"""


class Marks(NamedTuple):
    """What an erase changes with its commit."""

    erased: str | None = None  #: the stored rows of the list that are erased by now
    batches: Sequence[dict[str, Any]] = ()  #: of others of the list, by their keys
    details: Sequence[dict[str, Any]] = ()
    erasing: Sequence[str] = ()  #: the keys of batches whose rows are to be overwritten


class Committer:
    """Commits batches to the lists of a vault on a server."""

    def __init__(
        self,
        client: Client,
        clock: Clock,
        shared: SharedDocuments,
        lineage: LineageEdges,
        mirror: str,
    ) -> None:
        self._client, self._clock, self._shared, self._lineage = client, clock, shared, lineage
        self._mirror = mirror

    def stage(self) -> Stage:
        """A place to put rows before :meth:`commit`."""
        self._client.writable()
        return Stage(self._client, self._shared, new_batch_key(self._clock), self._mirror)

    def head(self, batch: Batch) -> Version:
        """The version that a batch without rows is to follow. Raises if it must not follow it."""
        return version_of(self._look(batch)["head"] | {"name": batch.list})

    def commit(self, batch: Batch, rows: Staging | None = None) -> Version:
        """Make the batch visible, or nothing of it."""
        return self.commit_with(batch, rows, Marks())

    def commit_with(self, batch: Batch, rows: Staging | None, marks: Marks) -> Version:
        """The same, with the marks of an erase."""
        assert rows is None or isinstance(rows, Stage)
        self._client.writable()
        if rows is not None:
            rows.finish()
        if len(batch.reads) > MOST_READS and batch.session_id is not None:
            attempt = None if batch.finishes else batch.attempt  # of claims ClaimLost says it
            self._lineage.note_reads(batch.session_id, batch.reads, attempt=attempt)
            batch = replace(batch, reads=())
        schema = None if batch.schema is None else self._shared.put_schema(batch.schema)
        key = rows.batch if rows is not None else new_batch_key(self._clock)
        lineage = carried(batch, self._clock)
        try:
            committed = self._client.until_made(
                lambda: self._try(key, batch, rows, schema, lineage, marks), _name_of(batch)
            )
        except AlreadyNewest as same:
            return same.head
        if rows is not None:
            rows.settled = rows.settled or committed["_key"] == rows.batch
        return version_of({"name": batch.list} | committed)

    def _try(
        self,
        key: str,
        batch: Batch,
        rows: Stage | None,
        schema: str | None,
        lineage: dict[str, Any],
        marks: Marks,
    ) -> dict[str, Any] | None:
        """Look, decide, insert: the batch document; None if another writer was faster."""
        state = self._look(batch)
        if state["committed"]:
            return dict(state["committed"])
        list_id = state["list"] or self._new_list(batch.list)
        if list_id is None:
            return None
        document, details = _documents(key, batch, state, list_id, rows, schema, lineage)
        if batch.operation in ("restore", "delete", "erase") and batch.original is None:
            return self._insert_alone(batch, document, details, state["revision"], marks)
        if details is not None:
            self._client.insert(DETAILS, details, mode="replace")
            if rows is not None:
                rows.also_in(DETAILS)
        self._describe_with(batch, document)
        if batch.edges:
            if rows is not None:
                rows.also_in(EDGES)
            self._lineage.put_edges(key, batch.edges)
        if rows is not None:
            rows.settled = True  # from here on the items may be committed, whatever we come to hear
        try:
            if batch.finishes or batch.confirms is not None:
                made = self._insert_with(batch, document, rows)
            elif batch.attempt is not None:
                made = self._insert_of_session(batch, document)
            else:
                self._client.insert(BATCHES, document, expect=(UNIQUE,), what=_name_of(batch))
                made = True
        except ExpectedError:
            made = False
        return document if made else self._after_conflict(batch, document, rows)

    def _insert_of_session(self, batch: Batch, document: dict[str, Any]) -> bool:
        """Insert the batch unless another attempt of its session has begun. Return whether it was."""
        return bool(
            self._client.query(
                INSERT_OF_SESSION,
                binds=attempt_of(batch.session_id, batch.attempt),
                batch=document,
                expect=(UNIQUE,),
                what=_name_of(batch),
            )
        )

    def _look(self, batch: Batch) -> dict[str, Any]:
        """The state of the list, as :data:`LOOK` reads it. Raises if the batch must not follow it."""
        content = batch.operation in ("restore", "upsert", "delete_rows", "erase") and batch.original is None
        digest = digest_of(batch.list)
        [state] = self._client.query(
            LOOK,
            digest=digest,
            token=batch.token,
            target=batch.target,
            content=content,
            binds=attempt_of(batch.session_id, batch.attempt),
        )
        if not state["committed"]:
            if state["resumed"] and not batch.finishes:  # of claims ClaimLost says it
                raise continued_by(state["resumed"])
            check_not_renamed(batch, state["renamed"])
            check_commit(batch, _version(batch, state["head"]))
        return dict(state)

    def _insert_alone(
        self,
        batch: Batch,
        document: dict[str, Any],
        details: dict[str, Any] | None,
        revision: str,
        marks: Marks,
    ) -> dict[str, Any] | None:
        """Vacuums, erases and restores of one list exclude each other, as they show or remove the same rows; a delete a rename.

        All write the list's document: of two at once, the later one looks again.
        """
        changes = {"touched": batch.token} | ({} if marks.erased is None else {"erased": marks.erased})
        try:
            inserted = self._client.query(
                INSERT_ALONE,
                list=document["list"],
                revision=revision,
                changes=changes,
                batches=[document, *marks.batches],
                details=[*marks.details, *(() if details is None else [details])],
                erasing=list(marks.erasing),
                binds=attempt_of(batch.session_id, batch.attempt),
                expect=(UNIQUE,),
                what=_name_of(batch),
            )
        except ExpectedError:
            return None
        return document if inserted else None

    def _insert_with(self, batch: Batch, document: dict[str, Any], rows: Stage | None) -> bool:
        """Insert the batch with what it finishes and confirms, or nothing. Return whether it was. Raises ClaimLost."""
        confirmations = [
            confirmation_document(replace(one, list_id=document["list"], version=document["version"]))
            for one in (batch.confirms,)
            if one is not None
        ]
        [answer] = self._client.query(
            INSERT_WITH,
            binds=finishing(batch.finishes) | attempt_of(batch.session_id, batch.attempt),
            batch=document,
            confirmations=confirmations,
            expect=(UNIQUE,),
            what=_name_of(batch),
        )
        try:
            raise_if_lost(batch.finishes, answer["held"])
        except ClaimLost:
            # A request whose answer was lost may have done it before: then the claims are done, by this batch.
            [present] = self._client.query(
                IN_ITS_PLACE, key=document["_key"], list=document["list"], token=batch.token
            )
            if not present["by_token"]:
                if rows is not None:
                    rows.settled = False
                raise
        if batch.finishes and answer["resumed"]:  # an answer that was lost would have lost the claims
            if rows is not None:
                rows.settled = False
            raise continued_by(answer["resumed"][0])
        return bool(answer["made"])

    def _after_conflict(
        self, batch: Batch, document: dict[str, Any], rows: Stage | None
    ) -> dict[str, Any] | None:
        """What there is in our place: our own batch, if an answer was lost; a tombstone; or another's batch."""
        [present] = self._client.query(
            IN_ITS_PLACE, key=document["_key"], list=document["list"], token=batch.token
        )
        if present["by_token"]:
            return dict(present["by_token"])
        if rows is not None:
            rows.settled = False
        if present["by_key"]:
            raise Conflict(
                f"Saving to {batch.list!r} took so long that its rows were swept as those of a dead writer. Nothing was "
                "written; save again."
            )
        return None

    def _new_list(self, name: str) -> int | None:
        """Claim an id for a new list; None if another writer was faster."""
        try:
            [made] = self._client.query(
                NEW_LIST,
                name=name,
                digest=digest_of(name),
                expect=(UNIQUE,),
                what=f"the number of the new list {name!r}",
            )
        except ExpectedError:
            return None
        return int(made)

    def _describe_with(self, batch: Batch, document: dict[str, Any]) -> None:
        """Descriptions are written before the batch, and count when the batch is there."""
        if batch.descriptions:
            made = [
                description_document(replace(one, list_id=document["list"]), number, document["_key"])
                for number, one in enumerate(batch.descriptions)
            ]
            self._client.query(ADD_DESCRIPTIONS, documents=made, count=len(made))


def _name_of(batch: Batch) -> str:
    """What a commit may have to wait for, as an error names it."""
    return f"the list {batch.list!r}"


def _documents(
    key: str,
    batch: Batch,
    state: dict[str, Any],
    list_id: int,
    rows: Stage | None,
    schema: str | None,
    lineage: dict[str, Any],
) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """The batch document in its place, and the document of what makes it large, if it is."""
    version, layout = placed_version(
        batch,
        _version(batch, state["head"]),
        _version(batch, state["target"]),
        list_id=list_id,
        rows=0 if rows is None else rows.rows,
        schema_id=None if schema is None else int(schema, 16),
        now=to_time(state["now"] * 1000),
        content_of=lambda version: _content(version, state),
        erased=lambda: layout_of(state["erased"], "What was erased of the list"),
    )
    held = _NO_ITEMS if rows is None else rows.document()
    document = {"_key": key, **document_of(version, batch.token, layout), **held, **lineage}
    document["so_far"] = so_far(document, state["head"])
    if "text_items" in held:
        document["text_changed"] = state["now"]
    if len(to_json(document)) <= LARGE_BYTES:
        return document, None
    large = {name: document[name] for name in ("parts", "pieces")}
    return {**document, **dict.fromkeys(large)}, {"_key": key, "batch": key, **large}


_NO_ITEMS: dict[str, Any] = {"parts": [], "items": {}, "bytes": 0}


def _version(batch: Batch, document: dict[str, Any] | None) -> Version | None:
    return None if document is None else version_of(document | {"name": batch.list})


def _content(version: Version, state: dict[str, Any]) -> Pieces:
    """What a version shows, whose layout is in the `state` of its list."""
    if version.layout is None:
        return version.tail
    where = f"The content of version {version.layout} of {version.list!r}"
    return layout_of(state["layouts"].get(str(version.layout)), where) + version.tail
