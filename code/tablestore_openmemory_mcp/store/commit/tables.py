"""The four tables: their names, their making at first use, and the version of their layout."""

import time

import tablestore as sdk

from ...errors import StoreError
from ...single_flight import SharedAttempt
from ..client.failures import AlreadyExists, TableMissing
from ..client.requests import Cells, Get, Guard, Key, Put, Update
from ..client.sdk_client import PATIENCE, Gateway

LAYOUT = 1
_LAYOUT_KEY: Key = (("user_id", "/schema"), ("client_name", "/schema"))  # no scope's: names hold no '/'
_CREATE_SECONDS = 90.0  # a new table may take the service a minute


class Tables:
    """Names, and `ensure`: idempotent, safe from any number of threads and processes at once."""

    def __init__(self, gateway: Gateway, prefix: str, history_days: int = 0) -> None:
        """`history_days`: how long history is kept; 0 means forever."""
        self.memories = f"{prefix}_memories"
        self.index = f"{prefix}_memories_search"  # of version 2.0; see search_index.py
        self.heads = f"{prefix}_heads"
        self.history = f"{prefix}_history"
        self.sessions = f"{prefix}_sessions"
        self._gateway = gateway
        self._history_days = history_days
        self._attempt = SharedAttempt(self._make, "The memory tables are still being looked for, or made.")
        self._ready = False

    def ensure(self, deadline: float | None = None) -> None:
        """Create what is missing, once per process. Raises StoreError if a newer program wrote here.

        The layout's row is written last, so where it is, every table is, and one read is enough. All who come first
        share one attempt, which goes on when a caller's `deadline` has come.
        """
        if not self._ready:
            self._attempt.result(deadline)

    def check(self, deadline: float | None = None) -> None:
        """One row read: is everything there and readable? Raises StoreError."""
        _accepted(self._noted(deadline))

    def _make(self) -> None:
        deadline = time.monotonic() + PATIENCE
        noted = self._noted(deadline)
        if noted is None:
            deadline = max(deadline, time.monotonic() + _CREATE_SECONDS)
            for meta in self._layout():
                self._create(meta, deadline)
            row = Put(self.heads, _LAYOUT_KEY, {"seq": 0, "version": LAYOUT, "history_days": 0}, Guard("absent"))
            self._gateway.write(row, repeatable=True, deadline=deadline)
            noted = self._noted(deadline)
        if _accepted(noted)["history_days"] != self._history_days:
            self._keep_history(deadline)
        self._ready = True

    def _noted(self, deadline: float | None) -> Cells | None:
        try:
            return self._gateway.get(Get(self.heads, _LAYOUT_KEY, ("version", "history_days")), deadline=deadline)
        except TableMissing:
            return None

    def _keep_history(self, deadline: float) -> None:
        """The service itself removes rows that are older than a table's time to live."""
        seconds = self._history_days * 24 * 3600 if self._history_days else -1
        self._gateway.set_time_to_live(self.history, seconds, deadline=deadline)
        row = Update(self.heads, _LAYOUT_KEY, {"history_days": self._history_days}, guard=Guard("present"))
        self._gateway.write(row, repeatable=True, deadline=deadline)

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


def _accepted(noted: Cells | None) -> Cells:
    if noted is None:
        raise StoreError("The memory tables are gone.", setting="TABLESTORE_TABLE_NAME")
    if noted["version"] > LAYOUT:
        raise StoreError(
            f"The memory tables were written by a newer version of this program (layout {noted['version']}; this one "
            f"knows {LAYOUT}): upgrade it, or use other tables.",
            setting="TABLESTORE_TABLE_NAME",
        )
    return noted
