"""What the store is made of, put together at first need; importing this imports the SDK."""

from ..scope import Scope
from ..settings import Settings
from .client.connection import Connector
from .client.sdk_client import Gateway
from .commit.group_commit import WriteQueues
from .commit.head_reads import HeadReads
from .commit.sweeper import Step
from .commit.tables import Tables
from .index.candidates import VectorCache
from .index.resident_vectors import ResidentVectors
from .index.search_index import SearchIndex
from .scope_store import TablestoreScope
from .session_rows import SessionRows
from .snapshot.cache import SnapshotCache
from .snapshot.snapshot import VectorRule


class StoreComponents:
    """The objects of one process that all scopes share."""

    def __init__(self, settings: Settings, connector: Connector, step: Step, snapshot_bytes: int) -> None:
        self.gateway = Gateway(connector)
        self.tables = Tables(self.gateway, settings.tablestore_table_name, settings.history_retention_days)
        self.sessions = SessionRows(self.gateway, self.tables)
        self._cache = SnapshotCache(snapshot_bytes)
        self._index = SearchIndex(self.gateway, self.tables, settings.vector_dimension)
        self._vectors = VectorCache()
        self._resident = ResidentVectors()
        self._queues = WriteQueues()
        self._head_reads = HeadReads(self.gateway, self.tables.heads)
        self._settings = settings
        self._step = step
        self._most_bytes = snapshot_bytes  # so that the cache holds any scope
        vector_bytes = 2 * 4 * settings.vector_dimension  # as it came, and at length 1
        self._rule = VectorRule(settings.exact_search_limit, vector_bytes)

    def scope(self, scope: Scope) -> TablestoreScope:
        return TablestoreScope(
            self.gateway,
            self.tables,
            self._cache,
            self._index,
            self._vectors,
            self._resident,
            self._queues,
            self._head_reads,
            scope,
            rule=self._rule,
            max_memories=self._settings.max_memories,
            max_bytes=self._most_bytes,
            step=self._step,
        )
