"""The ArangoDB store: a vault in a database on a server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tablevault_pd.errors import InvalidInput, VaultNotFound
from tablevault_pd.store.arango import address as addresses
from tablevault_pd.store.arango import layout
from tablevault_pd.store.arango.blobs import BlobStore
from tablevault_pd.store.arango.claims import ClaimBook
from tablevault_pd.store.arango.client import Client
from tablevault_pd.store.arango.code import SliceStore
from tablevault_pd.store.arango.code_search import CodeSearch
from tablevault_pd.store.arango.commit import Committer
from tablevault_pd.store.arango.control import SessionControl
from tablevault_pd.store.arango.edges import LineageEdges
from tablevault_pd.store.arango.erase import Eraser
from tablevault_pd.store.arango.keys import KeyIndexes
from tablevault_pd.store.arango.maintenance import MaintenanceTasks
from tablevault_pd.store.arango.mirror import MIRRORS
from tablevault_pd.store.arango.names import NameCatalog
from tablevault_pd.store.arango.parts import VaultParts
from tablevault_pd.store.arango.reader import Reader
from tablevault_pd.store.arango.scan import Scanner
from tablevault_pd.store.arango.sessions import Descriptions, SessionRecords
from tablevault_pd.store.arango.stage import SharedDocuments
from tablevault_pd.store.arango.text import TextSearch
from tablevault_pd.store.arango.vector_search import VectorSearch
from tablevault_pd.store.arango.versions import Versions
from tablevault_pd.store.engine.delegate import Delegate, PartedStore

if TYPE_CHECKING:
    from collections.abc import Callable

TIMEOUT_S = 30.0
STRAY_AGE_S = 24 * 3600.0  # items this old whose batch never came are taken for those of a dead writer


class ArangoStore(PartedStore):
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
    create : bool, "oneshard" or "sharded"
        Make the database if it is not there and the user may do so. In a cluster it is kept on one DB-Server, with its
        copies on others, unless it is to be ``"sharded"``.
    replication_factor, write_concern : int, optional
        Of a database that is made in a cluster: how many copies there are, and how many must be in sync for a write.
    verify_tls : bool or str
        Whether certificates are verified, or the file of the authorities to verify them with.
    mirror : {"all", "search"}
        Which JSON documents are written beside the rows: one for each row, or only those that searches need.
    stray_age_s : float
        From what age on rows that were never committed are taken for those of a dead writer, and may be swept.
    """

    watch_s = 1.0  # a look for requests is a request to the server
    supports_pushdown = True  # rows that are left out need not travel

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
        replication_factor: int | None = None,
        write_concern: int | None = None,
        verify_tls: bool | str = True,
        mirror: str = "all",
        stray_age_s: float = STRAY_AGE_S,
    ) -> None:
        if durability not in ("full", "fast"):
            raise InvalidInput(f"durability is 'full' or 'fast', not {durability!r}.")
        if mirror not in MIRRORS:
            raise InvalidInput(f"mirror is 'all' or 'search', not {mirror!r}.")
        self._mirror = mirror
        address, in_url = addresses.parse(url)
        self.read_only = read_only
        self.timeout_s = timeout_s
        self.scratch = None
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
            "mirror": mirror, "stray_age_s": stray_age_s,
        }  # fmt: skip
        try:
            opened = layout.open_vault(self.client)
        except VaultNotFound:
            if not create or read_only:
                raise
            layout.create_database(
                self.client,
                one_shard=create != "sharded",
                replication_factor=replication_factor,
                write_concern=write_concern,
            )
            opened = layout.open_vault(self.client)
        self.vault_id, self.clock = opened.vault_id, opened.clock
        self._make_parts(stray_age_s, has_triples=opened.complete)
        if opened.erasing and not read_only:
            self._eraser.finish_interrupted()

    def _make_parts(self, stray_age_s: float, *, has_triples: bool) -> None:
        client, clock = self.client, self.clock
        reader = Reader(client)
        self._versions = Versions(client, reader)
        self._names = NameCatalog(client)
        self._rows = Scanner(client, reader)
        self._sessions = SessionRecords(client)
        self._descriptions = Descriptions(client)
        self._control = SessionControl(client)
        self._blobs = BlobStore(client, clock)
        self._lineage = LineageEdges(client, clock)
        self._text = TextSearch(client, self._rows, reader)
        self._keys = KeyIndexes()
        self._code = CodeSearch(client, has_triples=has_triples)
        self._slices = SliceStore(client, self._code)
        self._claims = ClaimBook(client)
        self.vectors = VectorSearch(client, reader, self._rows)
        self._committer = Committer(client, clock, SharedDocuments(client), self._lineage, self._mirror)
        parts = VaultParts(client, self._versions, self._rows, self._blobs, self._lineage, stray_age_s)
        self._maintenance = MaintenanceTasks(parts)
        self._eraser = Eraser(parts, self._committer)

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
        self.vectors.close()
        self.client.close()

    # -- what parts of these names answer here: the others are in PartedStore
    erased = Delegate("_eraser", Eraser.erased)
    pieces = Delegate("_rows", Scanner.pieces)
    schema = Delegate("_rows", Scanner.schema)
    schemas = Delegate("_rows", Scanner.schemas)
    scan = Delegate("_rows", Scanner.scan)
    scan_many = Delegate("_rows", Scanner.scan_many)
    load_key_index = Delegate("_keys", KeyIndexes.load_key_index)
    keep_key_index = Delegate("_keys", KeyIndexes.keep_key_index)
    search_descriptions = Delegate("_text", TextSearch.search_descriptions)
    search_text = Delegate("_text", TextSearch.search_text)
    search_code = Delegate("_code", CodeSearch.search_code)
    spans_written = Delegate("_rows", Scanner.spans_written)
    indexes = Delegate("vectors", VectorSearch.indexes)


def _reopened(place: str, options: dict[str, Any]) -> ArangoStore:
    return ArangoStore(place, **options)
