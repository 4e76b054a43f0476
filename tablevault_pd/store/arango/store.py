"""The ArangoDB store: how a batch becomes visible.

The order of a commit: items first, under keys of their own and tagged with their batch; then one batch document, whose
unique (list, version) lets only one of several writers have the next place. That single insert is the commit, on one
server as in a cluster. Whoever lost looks again, and takes the place after. A batch document has a key of its own too,
so an insert whose answer was lost is recognised when it is tried again, and never doubled.
"""

from __future__ import annotations

import random
import time as clocks
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from tablevault_pd.errors import Conflict, InvalidInput, VaultNotFound
from tablevault_pd.store.arango import address as addresses
from tablevault_pd.store.arango import care, layout
from tablevault_pd.store.arango.client import UNIQUE, Client, Said, all_of
from tablevault_pd.store.arango.control import Control
from tablevault_pd.store.arango.edges import Edges, carried
from tablevault_pd.store.arango.kept import KeptFiles
from tablevault_pd.store.arango.layout import BATCHES, EDGES, LISTS
from tablevault_pd.store.arango.people import ADD_DESCRIPTIONS, People, description_document, digest_of
from tablevault_pd.store.arango.placing import (
    document_of,
    runs,
    schema_key,
    version_of,
)
from tablevault_pd.store.arango.reading import Reader, removed
from tablevault_pd.store.arango.search import Search
from tablevault_pd.store.arango.stage import Shared, Stage, new_batch_key
from tablevault_pd.store.arango.text import TextSearch
from tablevault_pd.store.arango.versions import Versions
from tablevault_pd.store.engine.commit_rules import check_place, check_target, placed
from tablevault_pd.store.times import to_time

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    import pyarrow as pa

    from tablevault_pd.filters.predicate import Where
    from tablevault_pd.store import (
        Batch,
        Chunk,
        Compacted,
        Freed,
        Problem,
        Progress,
        Staging,
        Version,
    )

TIMEOUT_S = 30.0
STRAY_AGE_S = 24 * 3600.0  # items this old whose batch never came are taken for those of a dead writer

# All statements: 3.12 now; nothing in them is newer than 3.8, and nothing is removed in 4.0. Names are looked up by
# their hash, because the server compares texts by the rules of a language.
LOOK = """
LET list = FIRST(FOR l IN tv_lists FILTER l.digest == @digest RETURN l.id)
LET head = FIRST(FOR b IN tv_batches FILTER b.list == list SORT b.version DESC LIMIT 1 RETURN UNSET(b, "edges", "reads"))
LET known = FIRST(FOR b IN tv_batches FILTER b.list == list AND b.token == @token RETURN UNSET(b, "edges", "reads"))
LET target = FIRST(FOR b IN tv_batches FILTER b.list == list AND b.version == @target RETURN UNSET(b, "edges", "reads"))
LET root = FIRST(FOR b IN tv_batches FILTER b.list == list AND b.version == target.generation RETURN UNSET(b, "edges", "reads"))
RETURN {now: DATE_NOW(), list, head, known, target, target_base: root.base}
"""
NEW_LIST = """
FOR m IN tv_meta
  FILTER m._key == "lists"
  UPDATE m WITH {value: m.value + 1} IN tv_meta
  LET id = NEW.value
  INSERT {_key: TO_STRING(id), id: id, name: @name, digest: @digest} INTO tv_lists
  RETURN id
"""
TOUCH = "FOR l IN tv_lists FILTER l.digest == @digest UPDATE l WITH {touched: @token} IN tv_lists"
INSERT_BATCH = "INSERT @batch INTO tv_batches"


class ArangoStore(Versions, People, Control, Edges, KeptFiles, Search, TextSearch):
    """A vault in an ArangoDB database. See :class:`tablevault_pd.store.Store` for the contract of each method.

    Parameters
    ----------
    url : str
        ``arangodb://user@host:8529/database``; ``arangodbs://`` or ``?tls=true`` for TLS. A password in it is used,
        and shown nowhere.
    read_only : bool
        Write nothing: read rights on the database are then enough.
    timeout_s : float
        How long an operation is tried again after failures that may pass.
    durability : {"full", "fast"}
        ``"full"`` has the server sync every write to its disk before it answers.
    password : str or callable, optional
        Else that in `url`, else the environment's ``TABLEVAULT_PASSWORD``. A callable is asked at every request.
    token : str or callable, optional
        A JSON web token instead of user and password.
    create : bool or "oneshard"
        Make the database if it is not there and the user may do so. ``"oneshard"`` keeps it on one DB-Server of a
        cluster.
    verify_tls : bool or str
        Whether certificates are verified, or the file of the authorities to verify them with.
    stray_age_s : float
        From what age on rows that were never committed are taken for those of a dead writer, and may be swept.
    """

    judges = True  # rows that are left out need not travel

    def __init__(
        self,
        url: str,
        *,
        read_only: bool = False,
        timeout_s: float = TIMEOUT_S,
        durability: str = "full",
        password: str | Callable[[], str] | None = None,
        token: str | Callable[[], str] | None = None,
        create: bool | str = False,
        verify_tls: bool | str = True,
        stray_age_s: float = STRAY_AGE_S,
    ) -> None:
        if durability not in ("full", "fast"):
            raise InvalidInput(f"durability is 'full' or 'fast', not {durability!r}.")
        address, in_url = addresses.parse(url)
        self.read_only = read_only
        self.timeout_s = timeout_s
        self.scratch = None
        self.stray_age_s = stray_age_s
        self.client = Client(
            address,
            addresses.password_of(password, in_url),
            None if token is None else addresses.Secret(token),
            read_only=read_only,
            timeout_s=timeout_s,
            sync=durability == "full",
            verify_tls=verify_tls,
        )
        self._options = {
            "read_only": read_only, "timeout_s": timeout_s, "durability": durability, "verify_tls": verify_tls,
            "stray_age_s": stray_age_s,
        }  # fmt: skip
        self.vault_id, self.clock = self._open(bool(create) and not read_only, one_shard=create == "oneshard")
        self.reader = Reader(self.client)
        self._shared = Shared(self.client)
        self._open_search()

    def _open(self, create: bool, *, one_shard: bool) -> tuple[str, layout.Clock]:
        try:
            return layout.open_vault(self.client)
        except VaultNotFound:
            if not create:
                raise
        layout.create_database(self.client, one_shard=one_shard)
        return layout.open_vault(self.client)

    def is_current(self) -> bool:
        """Whether the database still holds the vault that was opened."""
        return layout.vault_id(self.client) == self.vault_id

    def __repr__(self) -> str:
        return f"<ArangoStore {self.place}>"

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled without its secret: the process that unpickles it needs TABLEVAULT_PASSWORD."""
        return _reopened, (self.place, self._options)

    @property
    def place(self) -> str:
        """The address, without the password."""
        return str(self.client.address)

    def close(self) -> None:
        """Close the connections."""
        self._close_search()
        self.client.close()

    # -- writing

    def stage(self) -> Stage:
        """A place to put rows before :meth:`commit`."""
        self.client.writable()
        return Stage(self.client, self._shared, new_batch_key(self.clock))

    def commit(self, batch: Batch, rows: Staging | None = None) -> Version:
        """Make the batch visible, or nothing of it."""
        assert rows is None or isinstance(rows, Stage)
        self.client.writable()
        if rows is not None:
            rows.finish()
        schema = None if batch.schema is None else self._shared.put_schema(batch.schema)
        key = rows.batch if rows is not None else new_batch_key(self.clock)
        lineage = carried(batch, self.clock)
        deadline = clocks.monotonic() + self.timeout_s
        pause = 0.005
        while True:
            committed = self._try(key, batch, rows, schema, lineage)
            if committed is not None:
                if rows is not None:
                    rows.settled = rows.settled or committed["_key"] == rows.batch
                return version_of(committed)
            if clocks.monotonic() > deadline:
                raise Conflict(
                    f"Other writers of the list {batch.list!r} were faster for {self.timeout_s:.0f} s. Nothing was "
                    "written; try again."
                )
            clocks.sleep(pause * random.random())  # noqa: S311  # jitter, no secret
            pause = min(2 * pause, 0.5)

    def _try(
        self, key: str, batch: Batch, rows: Stage | None, schema: str | None, lineage: dict[str, Any]
    ) -> dict[str, Any] | None:
        """Look, decide, insert: the batch document; None if another writer was faster."""
        if batch.operation == "restore":
            return self._try_restore(key, batch, schema, lineage)
        [seen] = self.client.query(LOOK, **_looking(batch))
        if seen["known"]:
            return dict(seen["known"])
        check_place(batch, _version(seen["head"]))
        list_id = seen["list"]
        if list_id is None:
            list_id = self._new_list(batch.list)
            if list_id is None:
                return None
        place = _placed(batch, seen, list_id, rows.rows if rows is not None else 0, schema)
        held = rows.document() if rows is not None else _NO_ITEMS
        document = {"_key": key, **place, **held, **lineage}
        self._describe_with(batch, document)
        if batch.edges:
            if rows is not None:
                rows.also_in(EDGES)
            self.put_mirror(key, batch.edges)
        if rows is not None:
            rows.settled = True  # from here on the items may be committed, whatever we come to hear
        try:
            self.client.insert(BATCHES, document, expect=(UNIQUE,))
        except Said:
            return self._after_conflict(batch, document, rows)
        return document

    def _after_conflict(
        self, batch: Batch, document: dict[str, Any], rows: Stage | None
    ) -> dict[str, Any] | None:
        """What there is in our place: our own batch, if an answer was lost; a tombstone; or another's batch."""
        [found] = self.client.query(
            care.IN_ITS_PLACE, key=document["_key"], list=document["list"], token=batch.token
        )
        if found["by_token"]:
            return dict(found["by_token"])
        if rows is not None:
            rows.settled = False
        if found["by_key"]:
            raise Conflict(
                f"Saving to {batch.list!r} took so long that its rows were swept as those of a dead writer. Nothing was "
                "written; save again."
            )
        return None

    def _try_restore(
        self, key: str, batch: Batch, schema: str | None, lineage: dict[str, Any]
    ) -> dict[str, Any] | None:
        """A restore excludes a vacuum of the same list, which might remove what is brought back.

        Both write the list's document first, inside a transaction: of two at once, one fails and starts again.
        """
        looking = _looking(batch)

        def work(handle: Any) -> dict[str, Any] | None:
            all_of(handle, TOUCH, {"digest": looking["digest"], "token": batch.token})
            [seen] = all_of(handle, LOOK, looking)
            if seen["known"]:
                return dict(seen["known"])
            check_place(batch, _version(seen["head"]))
            place = _placed(batch, seen, seen["list"], 0, schema)
            document = {"_key": key, **place, **_NO_ITEMS, **lineage}
            self._describe_with(batch, document)
            all_of(handle, INSERT_BATCH, {"batch": document})
            return document

        try:
            return self.client.transact((LISTS, BATCHES), work, expect=(UNIQUE,))
        except Said:
            return None

    def _new_list(self, name: str) -> int | None:
        """Claim an id for a new list; None if another writer was faster."""
        try:
            [made] = self.client.query(NEW_LIST, name=name, digest=digest_of(name), expect=(UNIQUE,))
        except Said:
            return None
        return int(made)

    def _describe_with(self, batch: Batch, document: dict[str, Any]) -> None:
        """Descriptions are written before the batch, and count when the batch is there."""
        if batch.descriptions:
            made = [
                description_document(replace(one, list_id=document["list"]), number, document["_key"])
                for number, one in enumerate(batch.descriptions)
            ]
            self.client.query(ADD_DESCRIPTIONS, documents=made, count=len(made))

    # -- schemas

    def schema(self, schema_id: int) -> pa.Schema:
        """A schema as committed."""
        return self.reader.schema(schema_key(schema_id))

    def schemas(self, ids: Iterable[int]) -> dict[int, pa.Schema]:
        """Schemas by id. One request for all that are not known yet."""
        keys = {key: schema_key(key) for key in ids}
        self.reader.learn(keys.values())
        return {key: self.reader.schema(each) for key, each in keys.items()}

    # -- reading

    def scan(
        self,
        version: Version,
        *,
        start: int = 0,
        stop: int | None = None,
        columns: Sequence[str] | None = None,
        where: Where | None = None,
    ) -> Iterator[Chunk]:
        """Rows of a version in position order. The server judges `where` on plain columns."""
        if version.gone:
            raise removed(version)
        stop = version.total if stop is None else min(stop, version.total)
        if version.total == 0:
            empty = self.reader.empty(version, columns)
            if empty is not None:
                yield empty
        if start < stop:
            yield from self.reader.scan(version, start, stop, columns, where)

    # -- care

    def check(self, *, fix: bool = False, progress: Progress | None = None) -> list[Problem]:
        """Verify everything."""
        if fix:
            self.client.writable()
        return care.check(self, fix=fix, progress=progress)

    def compact(self, name: str | None = None, *, progress: Progress | None = None) -> list[Compacted]:
        """Nothing to do: every row is a document of its own, and the server compacts its files by itself."""
        self.client.writable()
        return []

    def vacuum(self, *, keep: int = 1, deleted: bool = False, dry_run: bool = True) -> list[Freed]:
        """Remove what no kept version shows."""
        if not dry_run:
            self.client.writable()
        return care.vacuum(self, keep=keep, deleted=deleted, dry_run=dry_run)


_NO_ITEMS: dict[str, Any] = {"parts": [], "items": {}, "item_bytes": {}, "bytes": 0}


def _version(document: dict[str, Any] | None) -> Version | None:
    return None if document is None else version_of(document)


def _placed(
    batch: Batch, seen: dict[str, Any], list_id: int, rows: int, schema: str | None
) -> dict[str, Any]:
    """What the batch document says of its place, given what the server was `seen` to hold."""
    target = check_target(batch, _version(seen["target"])) if batch.operation == "restore" else None
    version = placed(
        batch,
        _version(seen["head"]),
        list_id=list_id,
        rows=rows,
        schema_id=None if schema is None else int(schema, 16),
        now=to_time(seen["now"] * 1000),
        target=target,
    )
    base = None if target is None else runs(seen["target"], seen["target_base"])
    return document_of(version, batch.token, base)


def _looking(batch: Batch) -> dict[str, Any]:
    return {"digest": digest_of(batch.list), "token": batch.token, "target": batch.target}


def _reopened(place: str, options: dict[str, Any]) -> ArangoStore:
    return ArangoStore(place, **options)
