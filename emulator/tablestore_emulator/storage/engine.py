"""The state behind the APIs: storage, catalog, clock, and who must hear of a changed row."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from ..errors import OtsError
from ..faults import Faults
from ..protocol.plainbuffer import WireRow, decode_row
from ..tables.catalog import Catalog, Table
from ..tables.indexes import entries
from .sqlite_storage import Storage, StoredRow

UNWRITABLE = "The data directory cannot be written"

RowListener = Callable[[Table, bytes, WireRow | None, WireRow | None], None]


@dataclass(slots=True)
class Engine:
    """What every API works on.

    `listeners` hear of each row change: table, key, old row or None, new row or None. `forgetters` hear of a rollback.
    """

    storage: Storage
    catalog: Catalog
    listeners: list[RowListener] = field(default_factory=list)
    forgetters: list[Callable[[], None]] = field(default_factory=list)
    faults: Faults = field(default_factory=Faults)
    _last_number: int = 0

    def clock(self) -> float:
        """The server's clock: seconds since the epoch."""
        return time.time() + self.faults.clock_skew

    def now(self) -> int:
        """Milliseconds since the epoch."""
        return int(self.clock() * 1000)

    def table(self, name: str) -> Table:
        """A table whose rows can be used. Raises OTSObjectNotExist or OTSTableNotReady."""
        table = self.catalog.get(name)
        if self.faults.table_ready_after and self.clock() < table.created_at + self.faults.table_ready_after:
            raise OtsError("OTSTableNotReady")
        return table

    def forget(self) -> None:
        """Go back to the last commit."""
        self.storage.rollback()
        self.catalog.reload()
        for forgetter in self.forgetters:
            forgetter()

    def next_number(self) -> int:
        """For auto-increment columns: growing, with gaps; microseconds, so that it keeps growing after a restart."""
        self._last_number = max(int(self.clock() * 1_000_000), self._last_number + 1)
        return self._last_number

    def replace(self, table: Table, key: bytes, before: StoredRow | None, after: StoredRow | None) -> None:
        """Put `after` where `before` was, or delete; keep the secondary indexes and listeners with it."""
        old = decode_row(before.data)[0] if before else None
        new = decode_row(after.data)[0] if after else None
        self._check_room(before, after)
        changes = [(target.id, entries(target, old), entries(target, new)) for target in self._indexes(table)]
        self._store(table.id, before, after)
        for target, entry_before, entry_after in changes:
            self._store(target, entry_before, entry_after)
        for listener in self.listeners:
            listener(table, key, old, new)

    def _store(self, table_id: int, before: StoredRow | None, after: StoredRow | None) -> None:
        if before is not None and (after is None or after.key != before.key):
            self.storage.delete(table_id, before.key)
        if after is not None and after != before:
            self.storage.put(table_id, after)

    def _check_room(self, before: StoredRow | None, after: StoredRow | None) -> None:
        growth = (len(after.data) if after else 0) - (len(before.data) if before else 0)
        if growth > 0 and self.storage.reserve.low:
            allowed = self.storage.growth_allowed()
            if allowed is not None and growth > allowed:
                raise OtsError("OTSQuotaExhausted", f"{UNWRITABLE}: the disk is full. Deleting works.")

    def _indexes(self, table: Table) -> list[Table]:
        return [self.catalog.get(index.name) for index in table.indexes]
