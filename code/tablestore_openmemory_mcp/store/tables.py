"""The four tables: their names, their making at first use, and the version of their layout."""

import threading
import time

import tablestore as sdk

from ..errors import StoreError
from .failures import AlreadyExists, TableMissing
from .gateway import PATIENCE, Gateway
from .requests import Get, Guard, Key, Put

SCHEMA_VERSION = 1
_SCHEMA_KEY: Key = (("user_id", "/schema"), ("client_name", "/schema"))  # no scope's: names hold no '/'
_CREATE_SECONDS = 90.0  # a new table may take the service a minute


class Tables:
    """Names, and `ensure`: idempotent, safe from any number of threads and processes at once."""

    def __init__(self, gateway: Gateway, prefix: str) -> None:
        self.memories = f"{prefix}_memories"
        self.index = f"{prefix}_memories_search"
        self.heads = f"{prefix}_heads"
        self.history = f"{prefix}_history"
        self.sessions = f"{prefix}_sessions"
        self._gateway = gateway
        self._lock = threading.Lock()
        self._ready = False

    def ensure(self, deadline: float | None = None) -> None:
        """Create what is missing, once per process. Raises StoreError if a newer program wrote here.

        The version's row is written last, so where it is, every table is, and one read is enough.
        """
        if self._ready:
            return
        with self._lock:
            if not self._ready:
                self._make(time.monotonic() + PATIENCE if deadline is None else deadline)
                self._ready = True

    def check(self, deadline: float | None = None) -> None:
        """One row read: is everything there and readable? Raises StoreError."""
        self._accept(self._version(deadline))

    def _make(self, deadline: float) -> None:
        version = self._version(deadline)
        if version is None:
            patient = max(deadline, time.monotonic() + _CREATE_SECONDS)
            for meta in self._layout():
                self._create(meta, patient)
            row = Put(self.heads, _SCHEMA_KEY, {"seq": 0, "version": SCHEMA_VERSION}, Guard("absent"))
            self._gateway.write(row, repeatable=True, deadline=patient)
            version = self._version(patient)
        self._accept(version)

    def _version(self, deadline: float | None) -> int | None:
        try:
            row = self._gateway.get(Get(self.heads, _SCHEMA_KEY, ("version",)), deadline=deadline)
        except TableMissing:
            return None
        return None if row is None else int(row["version"])

    def _accept(self, version: int | None) -> None:
        if version is None:
            raise StoreError("The memory tables are gone.", setting="TABLESTORE_TABLE_NAME")
        if version > SCHEMA_VERSION:
            raise StoreError(
                f"The memory tables were written by a newer version of this program (layout {version}; this one knows "
                f"{SCHEMA_VERSION}): upgrade it, or use other tables.",
                setting="TABLESTORE_TABLE_NAME",
            )

    def _layout(self) -> list[sdk.TableMeta]:
        scope = [("user_id", "STRING"), ("client_name", "STRING")]
        memory = [*scope, ("memory_id", "STRING")]
        return [
            sdk.TableMeta(self.memories, memory),
            sdk.TableMeta(self.history, [*memory, ("rev", "INTEGER")]),
            sdk.TableMeta(self.sessions, [("kind", "STRING"), ("id", "STRING"), ("n", "INTEGER")]),
            sdk.TableMeta(self.heads, scope),
        ]

    def _create(self, meta: sdk.TableMeta, deadline: float) -> None:
        try:
            self._gateway.create_table(meta, deadline=deadline)
        except AlreadyExists:
            return  # another instance is at it too
