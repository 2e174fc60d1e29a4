"""From an API's name and bytes to its answer's bytes."""

from collections.abc import Callable
from typing import Any

from google.protobuf.message import DecodeError
from tablestore.protobuf import table_store_pb2 as pb

from .engine import Engine
from .errors import OtsError, invalid
from .reads import Reads
from .tables import Tables
from .writes import Writes

Handler = Callable[[Any], Any]


class Api:
    """All APIs by name. A handler takes the request's message and returns the answer's, or its bytes."""

    def __init__(self, engine: Engine) -> None:
        tables, reads, writes = Tables(engine), Reads(engine), Writes(engine)
        self._handlers: dict[str, tuple[Any, Handler]] = {
            "ListTable": (pb.ListTableRequest, tables.list_table),
            "CreateTable": (pb.CreateTableRequest, tables.create_table),
            "DescribeTable": (pb.DescribeTableRequest, tables.describe_table),
            "UpdateTable": (pb.UpdateTableRequest, tables.update_table),
            "DeleteTable": (pb.DeleteTableRequest, tables.delete_table),
            "CreateIndex": (pb.CreateIndexRequest, tables.create_index),
            "DropIndex": (pb.DropIndexRequest, tables.drop_index),
            "GetRow": (pb.GetRowRequest, reads.get_row),
            "BatchGetRow": (pb.BatchGetRowRequest, reads.batch_get_row),
            "GetRange": (pb.GetRangeRequest, reads.get_range),
            "PutRow": (pb.PutRowRequest, writes.put_row),
            "UpdateRow": (pb.UpdateRowRequest, writes.update_row),
            "DeleteRow": (pb.DeleteRowRequest, writes.delete_row),
            "BatchWriteRow": (pb.BatchWriteRowRequest, writes.batch_write_row),
        }

    def handle(self, name: str, body: bytes) -> bytes:
        """The answer's body. Raises OtsError."""
        found = self._handlers.get(name)
        if found is None:
            raise OtsError("OTSUnsupportOperation", f"Unsupported operation: '{name}'.")
        kind, handler = found
        request = kind()
        try:
            request.ParseFromString(body)
        except DecodeError:
            raise invalid("Failed to parse the request: invalid protocol buffer.") from None
        answer = handler(request)
        return answer if isinstance(answer, bytes) else bytes(answer.SerializeToString())
