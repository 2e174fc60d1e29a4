"""The one wrapper of the Tablestore SDK. Nothing else in this program calls it.

The policy that lives here, because every request must go through it:
- a call ends by its deadline, whatever goes wrong (20 s if the caller gives none);
- what was refused is repeated; what may have taken effect is repeated only if that is harmless (`repeatable`), else
  OutcomeUnknown tells the caller to find out;
- what never connected is tried again at once at a freshly asked-for address (the embedded store may have moved);
- connecting is one attempt for all who wait for it, and while nobody answers that is said at once (breaker.py);
- every exception leaves as one of errors.py; a ConditionFailed of a write is its answer, not an error.
"""

import logging
import random
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any

import tablestore as sdk
from tablestore.credentials import Credentials as SdkCredentials
from tablestore.credentials import CredentialsProvider
from tablestore.retry import NoRetryPolicy

from ...errors import StoreDenied, StoreError, StoreUnavailable
from ...single_flight import SharedAttempt
from .breaker import Breaker
from .connection import ConnectionInfo, Connector, Credentials
from .failures import ConditionFailed, Effect, Failure, OutcomeUnknown, explain, explain_row
from .requests import (
    MAX_GET_ROWS,
    Cells,
    Delete,
    Get,
    Key,
    Put,
    Range,
    StoredRow,
    Update,
    Write,
    cells,
    in_batches,
    to_sdk,
)
from .row_codec import install
from .transport import Transport

PATIENCE = 20.0  # seconds for one operation with all its repetitions
CONNECT_ATTEMPTS = 4
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 2.0

# The SDK writes an answer's body, so a memory's text, to its log at ERROR, and formats every request in full when its
# logger has no level of its own (6.4.8).
LOGGER = "tablestore_openmemory_mcp.store.sdk"
logging.getLogger(LOGGER).setLevel(logging.CRITICAL)

install()

_NAMES = {Put: "put_row", Update: "update_row", Delete: "delete_row"}
_ITEMS = {Put: sdk.PutRowItem, Update: sdk.UpdateRowItem, Delete: sdk.DeleteRowItem}


class _Provider(CredentialsProvider):  # type: ignore[misc]
    def __init__(self, credentials: Credentials) -> None:
        self.use(credentials)

    def use(self, credentials: Credentials) -> None:
        self._current = SdkCredentials(
            credentials.access_key_id, credentials.access_key_secret, credentials.sts_token or None
        )

    def get_credentials(self) -> SdkCredentials:
        return self._current


class _Connection:
    def __init__(self, info: ConnectionInfo) -> None:
        self.provider = _Provider(info.credentials)
        self.client = sdk.OTSClient(
            info.endpoint,
            instance_name=info.instance,
            credentials_provider=self.provider,
            logger_name=LOGGER,
            retry_policy=NoRetryPolicy(),
        )
        self.transport = self.client.connection = Transport(self.client.host, self.client.path)


class Gateway:
    """Blocking; any thread may use it. Nothing is connected before the first call."""

    def __init__(self, connector: Connector) -> None:
        self._connector = connector
        self._connection: _Connection | None = None
        self._lock = threading.Lock()  # never held while waiting for anything
        self._breaker = Breaker()
        self._late = f"{connector.place} took too long."
        self._attempt = SharedAttempt(self._connect, self._late, connector.setting)

    def get(self, get: Get, *, deadline: float | None = None) -> Cells | None:
        """One row's columns; None if it is not there, or has none of `get.columns`."""
        key, columns = list(get.key), _listed(get.columns)
        _, row, _ = self._call("get_row", (get.table, key, columns, None, 1), deadline)
        return None if row is None else cells(row)

    def get_many(
        self, table: str, keys: Sequence[Key], columns: Sequence[str] | None = None, *, deadline: float | None = None
    ) -> list[StoredRow]:
        """The rows of `keys` that are there, in no promised order; one request per 100 keys."""
        found: list[StoredRow] = []
        for start in range(0, len(keys), MAX_GET_ROWS):
            found += self._get_batch(table, keys[start : start + MAX_GET_ROWS], columns, _by(deadline))
        return found

    def write(self, write: Write, *, repeatable: bool, deadline: float | None = None) -> bool:
        """Whether the guard held. `repeatable`: doing it twice is the same as once. Raises OutcomeUnknown."""
        try:
            self._call(_NAMES[type(write)], (write.table, *to_sdk(write)), deadline, repeatable=repeatable)
        except ConditionFailed:
            return False
        return True

    def write_many(self, writes: Sequence[Write], *, deadline: float | None = None) -> None:
        """Those whose guards hold. Every write must be repeatable. One request per 200 rows or 3.5 MB, in order; not
        atomic: an error may leave some written."""
        for batch in in_batches(writes):
            self._write_batch(batch, _by(deadline))

    def pages(self, range_: Range, *, deadline: float | None = None) -> Iterator[list[StoredRow]]:
        """The rows between two keys, as the service cuts them (5,000 rows or 4 MB)."""
        start: Key | None = range_.start
        while start:
            asked = (range_.table, "FORWARD", list(start), list(range_.end), _listed(range_.columns), None, None, 1)
            _, following, rows, _ = self._call("get_range", asked, deadline)
            if following == list(start):  # it would go on for ever
                raise StoreError(f"{self._connector.place} does not get past a row.", setting=self._connector.setting)
            start = following
            yield [StoredRow(tuple(row.primary_key), cells(row)) for row in rows]

    def create_table(self, meta: Any, *, deadline: float | None = None) -> None:
        """Raises AlreadyExists."""
        options, free = sdk.TableOptions(), sdk.ReservedThroughput(sdk.CapacityUnit(0, 0))
        self._call("create_table", (meta, options, free), deadline)

    def describe_table(self, table: str, *, deadline: float | None = None) -> list[tuple[str, str]]:
        """Its primary key: (name, type) in order. Raises TableMissing."""
        described = self._call("describe_table", (table,), deadline)
        return [(name, kind) for name, kind, *_ in described.table_meta.schema_of_primary_key]

    def set_time_to_live(self, table: str, seconds: int, *, deadline: float | None = None) -> None:
        """Rows older than that go away by themselves; -1: never."""
        self._call("update_table", (table, sdk.TableOptions(time_to_live=seconds)), deadline)

    def create_index(self, table: str, name: str, meta: Any, *, deadline: float | None = None) -> None:
        """Raises AlreadyExists."""
        self._call("create_search_index", (table, name, meta), deadline)

    def describe_index(self, table: str, name: str, *, deadline: float | None = None) -> tuple[Any, bool]:
        """(its SearchIndexMeta, whether it has taken in all rows there were when it was made). Raises TableMissing."""
        meta, sync = self._call("describe_search_index", (table, name), deadline)
        return meta, sync is not None and sync.sync_phase == sdk.SyncPhase.INCR

    def search(self, table: str, index: str, query: Any, *, deadline: float | None = None) -> Any:
        """The SDK's SearchResponse, with the keys of the rows only. Raises TableMissing."""
        return self._call("search", (table, index, query, sdk.ColumnsToGet()), deadline)

    def use_credentials(self, credentials: Credentials) -> None:
        """From the next request on. Nothing is reconnected."""
        self._connector.use_credentials(credentials)
        with self._lock:
            if self._connection:
                self._connection.provider.use(credentials)

    def close(self) -> None:
        with self._lock:
            connection, self._connection = self._connection, None
        if connection:
            connection.transport.pool.clear()
        self._connector.close()

    def _get_batch(
        self, table: str, keys: Sequence[Key], columns: Sequence[str] | None, deadline: float
    ) -> list[StoredRow]:
        found: list[StoredRow] = []
        pauses = _Pauses(deadline)
        while keys:
            request = sdk.BatchGetRowRequest()
            listed = [list(key) for key in keys]
            request.add(sdk.TableInBatchGetRowItem(table, listed, _listed(columns), max_version=1))
            items = self._call("batch_get_row", (request,), deadline).get_result_by_table(table)
            again = []
            for key, item in zip(keys, items, strict=True):
                if not item.is_ok:
                    self._pass_or_raise(item.error_code, item.error_message, pauses)
                    again.append(key)
                elif item.row is not None and item.row.primary_key:
                    found.append(StoredRow(tuple(item.row.primary_key), cells(item.row)))
            keys = again
            if keys:
                pauses.sleep()
        return found

    def _write_batch(self, writes: Sequence[Write], deadline: float) -> None:
        pauses = _Pauses(deadline)
        while writes:
            by_table: dict[str, list[Write]] = {}
            for write in writes:
                by_table.setdefault(write.table, []).append(write)
            request = sdk.BatchWriteRowRequest()
            for table, group in by_table.items():
                request.add(sdk.TableInBatchWriteRowItem(table, [_item(write) for write in group]))
            response = self._call("batch_write_row", (request,), deadline)
            again: list[Write] = []
            for table, group in by_table.items():
                for write, item in zip(group, _items(response, table), strict=True):
                    if not item.is_ok and item.error_code != "OTSConditionCheckFail":
                        self._pass_or_raise(item.error_code, item.error_message, pauses)
                        again.append(write)
            writes = again
            if writes:
                pauses.sleep()

    def _pass_or_raise(self, code: str, message: str, pauses: "_Pauses") -> None:
        failure = explain_row(code, message, self._connector.place, self._connector.setting)
        if not failure.transient or pauses.over:
            raise failure.error

    def _call(self, name: str, arguments: tuple[Any, ...], deadline: float | None, *, repeatable: bool = True) -> Any:
        looks = self._breaker.admit()
        try:
            return self._attempts(name, arguments, _by(deadline), repeatable, 1 if looks else CONNECT_ATTEMPTS)
        finally:
            if looks:
                self._breaker.looked()

    def _attempts(
        self, name: str, arguments: tuple[Any, ...], deadline: float, repeatable: bool, connect_attempts: int
    ) -> Any:
        pauses = _Pauses(deadline)
        unreachable = 0
        failure = Failure(StoreUnavailable(self._late, setting=self._connector.setting), transient=True)
        while True:
            if time.monotonic() >= deadline:
                raise failure.error
            connection = self._connected(deadline)
            began = time.monotonic()
            try:
                with connection.transport.until(deadline):
                    answer = getattr(connection.client, name)(*arguments)
            except Exception as e:
                explained = explain(e, self._connector.place, self._connector.setting)
                if explained is None:
                    raise
                failure = explained
                unreachable += failure.unreachable
                if failure.unreachable:
                    self._forget(connection)
                else:
                    self._breaker.answered()
                if _final(failure, repeatable) or pauses.over or unreachable == connect_attempts:
                    if failure.unreachable:
                        self._breaker.failed(failure.error, time.monotonic() - began)
                    raise _outcome(failure, repeatable) from e
            else:
                self._breaker.answered()
                return answer
            pauses.sleep()

    def _connected(self, deadline: float) -> _Connection:
        return self._connection or self._attempt.result(deadline)

    def _connect(self) -> _Connection:
        began = time.monotonic()
        try:
            connection = _Connection(self._connector.connect(began + PATIENCE))
        except StoreDenied:  # no keys yet: that may change at any moment, and to find out costs nothing
            raise
        except StoreError as e:
            self._breaker.failed(e, time.monotonic() - began)
            raise
        with self._lock:
            self._connection = connection
        return connection

    def _forget(self, connection: _Connection) -> None:
        with self._lock:
            if self._connection is connection:
                self._connection = None


class _Pauses:
    """Growing, jittered pauses that end by a deadline."""

    def __init__(self, deadline: float) -> None:
        self._deadline = deadline
        self._next = _FIRST_PAUSE

    @property
    def over(self) -> bool:
        return time.monotonic() + self._next >= self._deadline

    def sleep(self) -> None:
        time.sleep(self._next * random.uniform(0.5, 1))  # noqa: S311 - only to spread the callers
        self._next = min(2 * self._next, _LONGEST_PAUSE)


def _item(write: Write) -> Any:
    """`write` as a member of a BatchWriteRow."""
    return _ITEMS[type(write)](*to_sdk(write))


def _items(response: Any, table: str) -> list[Any]:
    """The answers for a table in the order of the request; the SDK hands them out sorted by kind."""
    kinds = (response.table_of_put, response.table_of_update, response.table_of_delete)
    return sorted((item for kind in kinds for item in kind[table]), key=lambda item: item.index)


def _by(deadline: float | None) -> float:
    return time.monotonic() + PATIENCE if deadline is None else deadline


def _listed(columns: Sequence[str] | None) -> list[str] | None:
    return None if columns is None else list(columns)


def _final(failure: Failure, repeatable: bool) -> bool:
    return not failure.transient or (failure.effect is Effect.UNKNOWN and not repeatable)


def _outcome(failure: Failure, repeatable: bool) -> Exception:
    if failure.effect is Effect.UNKNOWN and not repeatable:
        return OutcomeUnknown(str(failure.error))
    return failure.error
