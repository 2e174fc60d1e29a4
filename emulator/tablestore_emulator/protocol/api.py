"""From an API's name and bytes to its answer's bytes."""

from collections import Counter
from collections.abc import Callable
from typing import Any

from tablestore.protobuf import search_pb2 as search_pb
from tablestore.protobuf import table_store_pb2 as pb

from ..errors import OtsError, invalid
from ..rows.batches import Batches
from ..rows.reads import Reads
from ..rows.writes import Writes
from ..search.service.rowstore import search_service
from ..storage.engine import Engine
from ..tables.operations import Tables
from .protobufs import parse

Handler = Callable[[Any], Any]


class Api:
    """All APIs by name. A handler takes the request's message and returns the answer's, or its bytes."""

    def __init__(self, engine: Engine) -> None:
        tables, reads, writes = Tables(engine), Reads(engine), Writes(engine)
        batches = Batches(engine, reads, writes)
        self._search = search = search_service(engine)
        self.units: Counter[str] = Counter(read=0, write=0)  # capacity units consumed by rows; searches not counted

        def delete_table(request: Any) -> Any:
            search.check_unsearched(request.table_name)
            return tables.delete_table(request)

        self._handlers: dict[str, tuple[Any, Handler]] = {
            "ListTable": (pb.ListTableRequest, tables.list_table),
            "CreateTable": (pb.CreateTableRequest, tables.create_table),
            "DescribeTable": (pb.DescribeTableRequest, tables.describe_table),
            "UpdateTable": (pb.UpdateTableRequest, tables.update_table),
            "DeleteTable": (pb.DeleteTableRequest, delete_table),
            "CreateIndex": (pb.CreateIndexRequest, tables.create_index),
            "DropIndex": (pb.DropIndexRequest, tables.drop_index),
            "GetRow": (pb.GetRowRequest, reads.get_row),
            "BatchGetRow": (pb.BatchGetRowRequest, batches.batch_get_row),
            "GetRange": (pb.GetRangeRequest, reads.get_range),
            "PutRow": (pb.PutRowRequest, writes.put_row),
            "UpdateRow": (pb.UpdateRowRequest, writes.update_row),
            "DeleteRow": (pb.DeleteRowRequest, writes.delete_row),
            "BatchWriteRow": (pb.BatchWriteRowRequest, batches.batch_write_row),
            "ListSearchIndex": (search_pb.ListSearchIndexRequest, search.list_search_index),
            "CreateSearchIndex": (search_pb.CreateSearchIndexRequest, search.create_search_index),
            "DescribeSearchIndex": (search_pb.DescribeSearchIndexRequest, search.describe_search_index),
            "UpdateSearchIndex": (search_pb.UpdateSearchIndexRequest, search.update_search_index),
            "DeleteSearchIndex": (search_pb.DeleteSearchIndexRequest, search.delete_search_index),
            "Search": (search_pb.SearchRequest, search.search),
        }

    def __contains__(self, name: str) -> bool:
        return name in self._handlers

    def handle(self, name: str, body: bytes, *, may_wait: bool = False) -> bytes:
        """The answer's body. Raises OtsError; and NotLoaded, if the caller `may_wait` for an index to be read."""
        self._search.may_wait = may_wait
        found = self._handlers.get(name)
        if found is None:
            raise OtsError("OTSUnsupportOperation", f"Unsupported operation: '{name}'.")
        kind, handler = found
        request = parse(kind, body)
        if getattr(request, "transaction_id", ""):  # StartLocalTransaction is not offered, so nobody can hold one
            raise invalid("TransactionID is invalid.")
        answer = handler(request)
        if isinstance(answer, bytes):
            return answer
        if name.startswith("Batch"):
            for each in (row for table in answer.tables for row in table.rows):
                self._count(each)
        else:
            self._count(answer)
        return bytes(answer.SerializeToString())

    def _count(self, answer: Any) -> None:
        if "consumed" in answer.DESCRIPTOR.fields_by_name:
            self.units["read"] += answer.consumed.capacity_unit.read
            self.units["write"] += answer.consumed.capacity_unit.write
