"""A transaction that is taken back (a full disk, a bug) must not leave its rows in the search index."""

from typing import Any

from tablestore.protobuf import search_pb2, table_store_pb2

from tablestore_emulator.protocol.api import Api
from tablestore_emulator.protocol.plainbuffer import encode_buffer, encode_cell, encode_row, to_variant
from tablestore_emulator.storage.engine import Engine
from tablestore_emulator.storage.sqlite_storage import Storage
from tablestore_emulator.tables.catalog import Catalog


class Direct:
    """The APIs without the wire, so that the test decides when a transaction ends."""

    def __init__(self) -> None:
        storage = Storage(None)
        self.engine = Engine(storage, Catalog(storage))
        self._api = Api(self.engine)

    def call(self, api: str, request: Any) -> bytes:
        return self._api.handle(api, request.SerializeToString())

    def create_table(self) -> None:
        request = table_store_pb2.CreateTableRequest()
        request.table_meta.table_name = "t"
        request.table_meta.primary_key.add(name="id", type=table_store_pb2.STRING)
        request.reserved_throughput.capacity_unit.read = request.reserved_throughput.capacity_unit.write = 0
        request.table_options.time_to_live, request.table_options.max_versions = -1, 1
        self.call("CreateTable", request)

    def create_index(self, name: str) -> None:
        request = search_pb2.CreateSearchIndexRequest(table_name="t", index_name=name)
        request.schema.field_schemas.add(field_name="k", field_type=search_pb2.KEYWORD)
        self.call("CreateSearchIndex", request)

    def put(self, id: str) -> None:
        key, column = encode_cell("id", to_variant(id)), encode_cell("k", to_variant("x"))
        request = table_store_pb2.PutRowRequest(table_name="t", row=encode_buffer([encode_row([key], [column])]))
        request.condition.row_existence = table_store_pb2.IGNORE
        self.call("PutRow", request)

    def count(self) -> int:
        request = search_pb2.SearchRequest(table_name="t", index_name="ix")
        request.search_query = search_pb2.SearchQuery(get_total_count=True).SerializeToString()
        return int(search_pb2.SearchResponse.FromString(self.call("Search", request)).total_hits)

    def indexes(self) -> list[str]:
        answer = self.call("ListSearchIndex", search_pb2.ListSearchIndexRequest(table_name="t"))
        return [index.index_name for index in search_pb2.ListSearchIndexResponse.FromString(answer).indices]


def test_rows_and_indexes_that_are_taken_back_are_not_found() -> None:
    direct = Direct()
    direct.create_table()
    direct.create_index("ix")
    direct.put("kept")
    assert direct.count() == 1
    direct.engine.storage.commit()
    direct.put("taken back")
    direct.create_index("other")
    assert (direct.count(), direct.indexes()) == (2, ["ix", "other"])
    direct.engine.forget()
    assert (direct.count(), direct.indexes()) == (1, ["ix"])
