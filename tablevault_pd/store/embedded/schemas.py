"""Schemas, each kept once under the hash of its content, and never changed."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING

import pyarrow as pa

from tablevault_pd.errors import VaultCorrupt
from tablevault_pd.store.engine.payloads import seed_of

if TYPE_CHECKING:
    from collections.abc import Iterable
    from sqlite3 import Connection

    from tablevault_pd.store.embedded.catalog import SqliteCatalog

SCHEMA_ID = "SELECT id FROM schemas WHERE digest = ?"
SCHEMA = "SELECT data, digest FROM schemas WHERE id = ?"
INSERT_SCHEMA = "INSERT INTO schemas (digest, data) VALUES (?, ?)"


class Schemas:
    """The schemas of one vault folder."""

    def __init__(self, catalog: SqliteCatalog) -> None:
        self._catalog = catalog
        self._schemas: dict[int, pa.Schema] = {}
        self._seeds: dict[int, int] = {}
        self._ids: dict[bytes, int] = {}
        self._ids_of_objects: dict[int, int] = {}  # of those in `_schemas`, which stay there

    def schema(self, schema_id: int) -> pa.Schema:
        if schema_id not in self._schemas:
            data = self._data(schema_id)
            self._seeds[schema_id] = seed_of(data)
            try:
                schema = pa.ipc.read_schema(pa.py_buffer(data))
            except (pa.ArrowException, ValueError, OSError) as error:
                raise self._damaged(schema_id, f": {error}") from error
            # Another thread may have read it meanwhile: one object stays, as the id of a dropped one passes to others.
            self._ids_of_objects[id(self._schemas.setdefault(schema_id, schema))] = schema_id
        return self._schemas[schema_id]

    def schemas(self, ids: Iterable[int]) -> dict[int, pa.Schema]:
        return {schema_id: self.schema(schema_id) for schema_id in ids}

    def seed(self, schema_id: int) -> int:
        """Return the seed of the checksums of payloads with that schema."""
        self.schema(schema_id)
        return self._seeds[schema_id]

    def _data(self, schema_id: int) -> bytes:
        with self._catalog.reading() as db:
            row = db.execute(SCHEMA, (schema_id,)).fetchone()
        folder = self._catalog.path.parent
        if row is None:
            raise VaultCorrupt(
                f"The catalogue of {folder} lacks the schema {schema_id}. Restore it from a backup."
            )
        data, digest = row
        if not isinstance(data, bytes) or sha256(data).digest() != digest:
            raise self._damaged(schema_id)
        return data

    def _damaged(self, schema_id: int, why: str = "") -> VaultCorrupt:
        folder = self._catalog.path.parent
        return VaultCorrupt(f"The schema {schema_id} in {folder} is damaged{why}. Restore it from a backup.")

    def insert(self, db: Connection, schema: pa.Schema, new_ids: dict[bytes, int]) -> int:
        """Return the id of a schema, which is inserted if need be, inside an open transaction.

        An id that this process did not know goes into `new_ids`: the transaction may be rolled back. Once it is
        committed, pass `new_ids` to :meth:`remember`.
        """
        if id(schema) in self._ids_of_objects:
            return self._ids_of_objects[id(schema)]
        data = schema.serialize().to_pybytes()
        schema_id = self._ids.get(data, new_ids.get(data))
        if schema_id is None:
            digest = sha256(data).digest()
            row = db.execute(SCHEMA_ID, (digest,)).fetchone()
            if row is None:
                row = (db.execute(INSERT_SCHEMA, (digest, data)).lastrowid,)
            schema_id = new_ids[data] = int(row[0])
        return schema_id

    def remember(self, new_ids: dict[bytes, int]) -> None:
        """Keep ids that :meth:`insert` found, once its transaction is committed."""
        self._ids.update(new_ids)
