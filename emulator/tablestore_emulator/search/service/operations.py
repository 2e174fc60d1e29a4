"""The search APIs of the emulator: one method per API, protobuf in, protobuf out."""

import time
from collections.abc import Iterator
from typing import Any

from tablestore.protobuf import search_pb2 as pb

from ...errors import OtsError, invalid
from ...faults import Faults
from ...protocol.plainbuffer import encode_buffer, encode_cell, encode_row, to_variant
from ...protocol.protobufs import parse
from .. import limits
from ..query.queries import Request
from ..schema import IndexSpec
from ..search_index import Hit, SearchIndex
from ..values import Key, Row
from . import definition
from .loading import Loading, NotLoaded
from .ports import Definitions, RowStore
from .replicas import Clock, Replicas
from .wire import index_spec
from .wire import request as search_request

_PENDING, _RUNNING = 1, 3  # IndexStatusEnum, which the Python SDK's protocol file lacks


class _Index:
    """One index: its definition, and its content once somebody needed it."""

    def __init__(self, table: str, name: str, described: Any) -> None:
        self.table = table
        self.name = name
        self.described = described
        self.content: Replicas | None = None
        self.loading: Loading | None = None
        self.created_at: float | None = None  # on the monotonic clock; None: before this process


class SearchService:
    """All search indexes. Methods raise OtsError. One thread at a time, as the whole engine.

    The content of an index is built from the rows when a search first needs it, so that a start costs nothing; a little
    at a time, if whoever asks can wait (NotLoaded). While
    the index lags, the first write builds it: later it could not be told what was visible when.
    """

    def __init__(
        self,
        rows: RowStore,
        definitions: Definitions,
        faults: Faults,
        clock: Clock = time.time,
        monotonic: Clock = time.monotonic,
    ) -> None:
        """`clock`: the server's, which may be wrong on purpose; `monotonic` measures lags. Both in seconds."""
        self._rows = rows
        self._definitions = definitions
        self._faults = faults
        self._clock = clock
        self._monotonic = monotonic
        self._indexes: dict[tuple[str, str], _Index] = {}
        self.may_wait = False  # whether a search may raise NotLoaded, instead of reading all rows of its index at once
        self.reload()

    def reload(self) -> None:
        """Read the definitions anew and forget all content: after a start, and after a rollback of the storage."""
        for index in self._indexes.values():
            self._stop_loading(index)
        self._indexes = {
            (table, name): _Index(table, name, parse(pb.DescribeSearchIndexResponse, blob))
            for table, name, blob in self._definitions.load()
        }

    def on_row_written(self, table: str, key: Key, old: Row | None, new: Row | None) -> None:
        """A row has changed in the store; None: it was not there, or is gone."""
        for index in self._of(table):
            if index.content is None and self._lagging():
                self._stop_loading(index)
                index.content = self._build(index, {key: old})
            content = index.loading.content if index.loading else index.content
            if content is not None:
                content.write(key, new)

    def listens_to(self, table: str) -> bool:
        """Whether on_row_written would do anything (which spares its caller decoding the rows)."""
        return any(index.content or index.loading or self._lagging() for index in self._of(table))

    def check_unsearched(self, table: str) -> None:
        """Raise OTSParameterInvalid if `table` has a search index: it has to be deleted before the table."""
        for index in self._of(table):
            raise invalid(f"search index [{index.name}] of table [{table}] has to be deleted before the table")

    # -- definitions

    def create_search_index(self, request: Any) -> Any:
        names = self._key_names(request.table_name)
        if (request.table_name, request.index_name) in self._indexes:
            raise OtsError("OTSObjectAlreadyExist", f"search index [{request.index_name}] already exists")
        described = definition.complete(request, names, int(self._clock()))
        index = _Index(request.table_name, request.index_name, described)
        index.created_at = self._monotonic()
        self._save(index)
        return pb.CreateSearchIndexResponse()

    def list_search_index(self, request: Any) -> Any:
        """Of one table, or of all if the request names none."""
        if request.table_name:
            self._key_names(request.table_name)
        response = pb.ListSearchIndexResponse()
        for table, name in sorted(self._indexes):
            if not request.table_name or table == request.table_name:
                response.indices.add(table_name=table, index_name=name)
        return response

    def describe_search_index(self, request: Any) -> Any:
        index = self._get(request)
        response = pb.DescribeSearchIndexResponse()
        response.CopyFrom(index.described)
        ready = self._ready(index)
        behind = index.content.behind() if index.content else 0.0
        response.sync_stat.sync_phase = pb.INCR if ready else pb.FULL
        response.sync_stat.current_sync_timestamp = int((self._clock() - behind) * 1e9)
        # index_status (8) { status (1) }: read by the Node and Java SDKs, unknown to the Python SDK's protocol file.
        response.MergeFromString(bytes([8 << 3 | 2, 2, 1 << 3, _RUNNING if ready else _PENDING]))
        return response

    def update_search_index(self, request: Any) -> Any:
        """Only the time to live can change."""
        index = self._get(request)
        if request.HasField("time_to_live"):
            index.described.time_to_live = request.time_to_live
            self._save(index)
        return pb.UpdateSearchIndexResponse()

    def delete_search_index(self, request: Any) -> Any:
        index = self._get(request)
        self._stop_loading(index)
        del self._indexes[index.table, index.name]
        self._definitions.delete(index.table, index.name)
        return pb.DeleteSearchIndexResponse()

    # -- search

    def search(self, request: Any) -> Any:
        index = self._get(request)
        if not self._ready(index):
            raise OtsError("OTSTableNotReady", f"search index [{index.name}] is not ready")
        asked = parse(pb.SearchQuery, request.search_query)
        wanted = search_request(asked, index.described.schema.index_sort)
        reader = self._content(index).reader()
        columns = Returned(request.columns_to_get, reader)
        _check_page(wanted, columns)
        page = reader.search(wanted)
        rows = self._encode(index.table, page.hits, columns, reader)
        response = pb.SearchResponse(is_all_succeed=True)
        response.total_hits = page.total if asked.get_total_count else -1
        if page.next_token:
            response.next_token = page.next_token
        for hit, row in zip(page.hits, rows, strict=True):
            if row is not None:  # deleted in the table, and the index does not know yet
                response.rows.append(row)
                response.search_hits.add(score=float("nan") if hit.score is None else hit.score)
        return response

    def _encode(self, table: str, hits: list[Hit], columns: "Returned", reader: SearchIndex) -> list[bytes | None]:
        if not columns.from_index:
            return self._rows.encoded(table, [hit.key for hit in hits], columns.names)
        return [_encode_hit(hit, columns.of(hit)) for hit in hits]

    # -- helpers

    def _key_names(self, table: str) -> tuple[str, ...]:
        names = self._rows.key_names(table)
        if names is None:
            raise invalid(f"table [{table}] does not exist")
        return names

    def _get(self, request: Any) -> _Index:
        self._key_names(request.table_name)
        found = self._indexes.get((request.table_name, request.index_name))
        if found is None:
            raise OtsError("OTSMetaNotMatch", f"search index [{request.index_name}] does not exist")
        return found

    def _of(self, table: str) -> list[_Index]:
        return [index for index in self._indexes.values() if index.table == table]

    def _ready(self, index: _Index) -> bool:
        since = index.created_at
        return since is None or self._monotonic() >= since + self._faults.index_ready_after

    def _lagging(self) -> bool:
        return self._faults.index_lag > 0 or any(self._faults.replica_lags)

    def _content(self, index: _Index) -> Replicas:
        if index.content is None and self.may_wait and not self._lagging():
            if index.loading is None:
                content = Replicas(self._spec(index), (), self._faults, self._monotonic)
                index.loading = Loading(content, self._rows.scan(index.table))
            if not index.loading.over:
                raise NotLoaded(index.loading)
            if not index.loading.failed:
                index.content, index.loading = index.loading.content, None
        if index.content is None:
            self._stop_loading(index)
            index.content = self._build(index, {})
        return index.content

    def _stop_loading(self, index: _Index) -> None:
        if index.loading is not None:
            index.loading.over = True
            index.loading = None

    def _spec(self, index: _Index) -> IndexSpec:
        return index_spec(self._key_names(index.table), index.described.schema)

    def _build(self, index: _Index, instead: dict[Key, Row | None]) -> Replicas:
        """From the rows as they are, but for those of `instead`."""

        def rows() -> Iterator[tuple[Key, Row]]:
            yield from ((key, row) for key, row in self._rows.scan(index.table) if key not in instead)
            yield from ((key, row) for key, row in instead.items() if row is not None)

        return Replicas(self._spec(index), rows(), self._faults, self._monotonic)

    def _save(self, index: _Index) -> None:
        self._indexes[index.table, index.name] = index
        self._definitions.save(index.table, index.name, index.described.SerializeToString())


class Returned:
    """Which columns a search returns, and whether the index has them all. `names`: None means every column."""

    def __init__(self, wanted: Any, reader: SearchIndex) -> None:
        kind = wanted.return_type if wanted.HasField("return_type") else pb.RETURN_NONE
        returnable = reader.spec.returnable()
        self._reader = reader
        self.names: list[str] | None = list(wanted.column_names)
        if kind == pb.RETURN_ALL:
            self.names = None
        elif kind == pb.RETURN_ALL_FROM_INDEX:
            self.names = returnable
        elif kind == pb.RETURN_NONE:
            self.names = []
        elif len(wanted.column_names) > limits.COLUMNS:
            raise invalid(f"the number of columns to get exceeds the limit [{limits.COLUMNS}]")
        has = {*returnable, *reader.spec.key_names}
        self.from_index = self.names is not None and has.issuperset(self.names)

    def of(self, hit: Hit) -> list[tuple[str, Any]]:
        """Sorted by name."""
        if not self.names:
            return []
        return sorted((n, v) for n, v in self._reader.columns(hit).items() if n in self.names)


def _check_page(request: Request, columns: Returned) -> None:
    most = limits.ROWS_FROM_INDEX if columns.from_index else limits.ROWS
    if not 0 <= request.limit <= most:
        raise invalid(f"the limit should be in [0, {most}], but it is [{request.limit}]")
    if request.offset < 0:
        raise invalid(f"the offset should not be negative, but it is [{request.offset}]")
    if request.offset + request.limit > limits.REACH:
        raise invalid(f"the sum of offset and limit should not exceed [{limits.REACH}]")
    if request.token and request.offset:
        raise invalid("the offset cannot be set together with the token")


def _encode_hit(hit: Hit, columns: list[tuple[str, Any]]) -> bytes:
    cells = [encode_cell(name, to_variant(value), hit.row.at) for name, value in columns]
    return encode_buffer([encode_row(hit.row.head, cells)])
