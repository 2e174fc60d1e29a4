"""The store's door. `TablestoreStore.open` is cheap; the first call that needs the network connects."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from ..scope import Scope
from ..settings import Settings
from .client.connection import CloudConnector, Connector, Credentials
from .client.embedded import EmbeddedConnector

if TYPE_CHECKING:  # numpy and the SDK come with the first call
    from .assembly import StoreComponents
    from .commit.heads import Holding
    from .commit.sweeper import Step
    from .legacy.table import LegacyTable, RowCount
    from .model import ScopeStore
    from .session_rows import SessionRows

SNAPSHOT_BYTES = 128 * 1024 * 1024


class TablestoreStore:
    """All scopes of one deployment. Any thread may use it; one per process."""

    def __init__(
        self,
        settings: Settings,
        connector: Connector,
        *,
        step: Step | None = None,
        snapshot_bytes: int = SNAPSHOT_BYTES,
    ) -> None:
        """`step`: called with a name between the steps of a write; for tests that stop a writer there."""
        self._settings = settings
        self._connector = connector
        self._step = step or (lambda name: None)
        self._snapshot_bytes = snapshot_bytes
        self._lock = threading.Lock()
        self._components: StoreComponents | None = None

    @classmethod
    def open(cls, settings: Settings) -> TablestoreStore:
        """The store that `settings` name. Neither connects nor imports the SDK."""
        return cls(settings, CloudConnector(settings) if settings.cloud else EmbeddedConnector(settings.data_dir))

    def scope(self, scope: Scope) -> ScopeStore:
        """The store bound to `scope`."""
        return self._built().scope(scope)

    def clients(self, user_id: str) -> dict[str, Holding]:
        """What the user has, by client_name: of every client that ever wrote. Raises a StoreError."""
        from .commit.heads import clients_of

        world = self._built()
        world.tables.ensure()
        return clients_of(world.gateway, world.tables.heads, user_id)

    def legacy(self, table: str | None = None) -> LegacyTable:
        """The table of release 1.x: TABLESTORE_TABLE_NAME itself, or `table`. Asks nothing yet."""
        from .legacy.table import LegacyTable

        return LegacyTable(self._built().gateway, table or self._settings.tablestore_table_name)

    def legacy_waiting(self) -> RowCount | None:
        """What release 1.x left in its table and no `migrate` has taken over; None: nothing. Four requests at most, one
        where there is no such table."""
        from .legacy.record import finished

        table = self.legacy()
        found = table.count()
        return found if found and found.rows and not finished(self.sessions, table.name) else None

    @property
    def sessions(self) -> SessionRows:
        """Rows that belong to no scope: the relay's inboxes, named secrets."""
        return self._built().sessions

    def ensure_tables(self, deadline: float | None = None) -> None:
        """Create what is missing now, instead of at first use. `deadline`: time.monotonic()."""
        self._built().tables.ensure(deadline)

    def ping(self, deadline: float | None = None) -> None:
        """One row read. Raises a StoreError that says what is wrong."""
        world = self._built()
        world.tables.ensure(deadline)
        world.tables.check(deadline)

    def use_credentials(self, access_key_id: str, access_key_secret: str, sts_token: str | None = None) -> None:
        """From the next request on; sockets and calls under way are not disturbed."""
        credentials = Credentials(access_key_id, access_key_secret, sts_token)
        self._connector.use_credentials(credentials)
        if self._components:
            self._components.gateway.use_credentials(credentials)

    def close(self) -> None:
        """Let go of connections, and of the embedded store if this process runs it. It may be used again."""
        if self._components:
            self._components.gateway.close()
        self._connector.close()

    def _built(self) -> StoreComponents:
        with self._lock:
            if self._components is None:
                from .assembly import StoreComponents  # brings the SDK: 0.4 s, 50 MB

                self._components = StoreComponents(self._settings, self._connector, self._step, self._snapshot_bytes)
            return self._components
