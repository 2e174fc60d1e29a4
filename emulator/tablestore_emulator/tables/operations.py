"""CreateTable, ListTable, DescribeTable, UpdateTable, DeleteTable, CreateIndex and DropIndex."""

import contextlib
from dataclasses import replace
from typing import Any

from tablestore.protobuf import table_store_pb2 as pb

from ..errors import OtsError, invalid, unsupported
from ..rows.limits import DEFINED_COLUMNS, KEY_COLUMNS, TABLES
from ..rows.row import current
from ..rows.schema import check_name
from ..storage.engine import Engine
from .catalog import DefinedColumn, IndexMeta, KeyColumn, Table
from .indexes import entries, index_table

# DescribeTableResponse.table_status = ACTIVE: required by other SDKs' protocol files, missing in the Python one's.
TABLE_STATUS_ACTIVE = b"\x20\x01"


class Tables:
    """The table APIs over one engine."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def list_table(self, _: Any) -> Any:
        return pb.ListTableResponse(table_names=self._engine.catalog.names())

    def create_table(self, request: Any) -> Any:
        _only_what_we_have(request)
        if request.sse_spec.enable:
            raise unsupported("Server-side encryption")
        catalog = self._engine.catalog
        table = self._described(request)
        table.indexes = [_index_meta(meta) for meta in request.index_metas]
        made = [table, *(index_table(table, index, 0, table.created_at) for index in table.indexes)]
        names = [new.name for new in made]
        if len(set(names)) < len(names) or any(catalog.find(name) for name in names):
            raise OtsError("OTSObjectAlreadyExist")
        if len(catalog.names()) >= TABLES:
            raise OtsError("OTSQuotaExhausted", "Number of tables exceeded the quota.")
        for new in made:
            new.id = catalog.next_id()
            catalog.save(new)
        return pb.CreateTableResponse()

    def _described(self, request: Any) -> Table:
        meta = request.table_meta
        check_name(meta.table_name, "table name")
        if not 1 <= len(meta.primary_key) <= KEY_COLUMNS:
            raise invalid(f"The number of primary key columns must be in range: [1, {KEY_COLUMNS}].")
        if len(meta.defined_column) > DEFINED_COLUMNS:
            raise invalid(f"The number of defined columns exceeds the limit: {DEFINED_COLUMNS}.")
        seen: set[str] = set()
        for column in (*meta.primary_key, *meta.defined_column):
            check_name(column.name, "column name")
            if column.name in seen:
                what = "primary key" if column in meta.primary_key else "defined column"
                raise invalid(f"Duplicated {what} name: '{column.name}'.")
            seen.add(column.name)
        table = Table(
            id=0,
            name=meta.table_name,
            primary_key=[_key_column(column) for column in meta.primary_key],
            defined_columns=[DefinedColumn(column.name, column.type) for column in meta.defined_column],
            read_capacity=request.reserved_throughput.capacity_unit.read,
            write_capacity=request.reserved_throughput.capacity_unit.write,
            created_at=self._engine.clock(),
        )
        if table.primary_key[0].auto_increment:
            raise invalid("The partition key cannot be an auto-increment column.")
        _set_options(table, request.table_options)
        return table

    def describe_table(self, request: Any) -> bytes:
        table = self._engine.catalog.get(request.table_name)
        response = pb.DescribeTableResponse()
        response.table_meta.table_name = table.name
        for column in table.primary_key:
            added = response.table_meta.primary_key.add(name=column.name, type=column.type)
            if column.auto_increment:
                added.option = pb.AUTO_INCREMENT
        for defined in table.defined_columns:
            response.table_meta.defined_column.add(name=defined.name, type=defined.type)
        _describe_throughput(table, response.reserved_throughput_details)
        _describe_options(table, response.table_options)
        response.stream_details.enable_stream = False
        response.sse_details.enable = False
        for index in table.indexes:
            response.index_metas.add(
                name=index.name,
                primary_key=index.primary_key,
                defined_column=index.defined_columns,
                index_update_mode=pb.IUM_SYNC_INDEX if index.local else pb.IUM_ASYNC_INDEX,
                index_type=pb.IT_LOCAL_INDEX if index.local else pb.IT_GLOBAL_INDEX,
            )
        return bytes(response.SerializeToString()) + TABLE_STATUS_ACTIVE

    def update_table(self, request: Any) -> Any:
        _only_what_we_have(request)
        table = replace(self._engine.catalog.get(request.table_name))  # a copy: a refused change must leave no trace
        if request.HasField("table_options"):
            _set_options(table, request.table_options)
            if table.indexes and table.max_versions != 1:
                raise invalid("The max_versions of a table with secondary indexes must be 1.")
        if request.HasField("reserved_throughput"):
            table.read_capacity = request.reserved_throughput.capacity_unit.read
            table.write_capacity = request.reserved_throughput.capacity_unit.write
        self._engine.catalog.save(table)
        for index in table.indexes:
            target = self._engine.catalog.get(index.name)
            target.time_to_live = table.time_to_live
            self._engine.catalog.save(target)
        response = pb.UpdateTableResponse()
        _describe_throughput(table, response.reserved_throughput_details)
        _describe_options(table, response.table_options)
        return response

    def delete_table(self, request: Any) -> Any:
        catalog = self._engine.catalog
        table = catalog.get(request.table_name)
        if table.base is not None:
            raise invalid(f"'{table.name}' is an index of table '{table.base}': drop it with DropIndex.")
        for index in table.indexes:
            catalog.drop(catalog.get(index.name))
        catalog.drop(table)
        return pb.DeleteTableResponse()

    def create_index(self, request: Any) -> Any:
        catalog = self._engine.catalog
        table = catalog.get(request.main_table_name)
        index = _index_meta(request.index_meta)
        if catalog.find(index.name) is not None:
            raise OtsError("OTSObjectAlreadyExist")
        made = index_table(table, index, 0, self._engine.clock())
        made.id = catalog.next_id()
        catalog.save(made)
        table.indexes.append(index)
        catalog.save(table)
        if index.local or request.include_base_data:
            self._fill(table, made)
        return pb.CreateIndexResponse()

    def _fill(self, table: Table, index: Table) -> None:
        storage, now = self._engine.storage, self._engine.now()
        for page in storage.pages(table.id):
            for stored in page:
                with contextlib.suppress(OtsError):  # a row that does not fit must not keep the others out
                    entry = entries(index, current(table, stored, now))
                    if entry is not None:
                        storage.put(index.id, entry)

    def drop_index(self, request: Any) -> Any:
        catalog = self._engine.catalog
        table = catalog.get(request.main_table_name)
        kept = [index for index in table.indexes if index.name != request.index_name]
        if len(kept) == len(table.indexes):
            raise OtsError("OTSObjectNotExist", "Requested index does not exist.")
        catalog.drop(catalog.get(request.index_name))
        table.indexes = kept
        catalog.save(table)
        return pb.DropIndexResponse()


def _only_what_we_have(request: Any) -> None:
    if request.stream_spec.enable_stream:
        raise unsupported("A stream")


def _key_column(column: Any) -> KeyColumn:
    if column.type not in (pb.INTEGER, pb.STRING, pb.BINARY):
        raise invalid(f"{pb.PrimaryKeyType.Name(column.type)} is an invalid type for the primary key.")
    auto = column.option == pb.AUTO_INCREMENT if column.HasField("option") else False
    if auto and column.type != pb.INTEGER:
        raise invalid(f"The auto-increment column '{column.name}' must be an INTEGER.")
    return KeyColumn(column.name, column.type, auto)


def _set_options(table: Table, options: Any) -> None:
    """Options that are not given keep their value."""
    if options.HasField("time_to_live"):
        if options.time_to_live != -1 and options.time_to_live < 86400:
            raise invalid("The time_to_live must be -1 or at least 86400 seconds.")
        table.time_to_live = options.time_to_live
    if options.HasField("max_versions"):
        if options.max_versions <= 0:
            raise invalid("The max_versions must be greater than 0.")
        table.max_versions = options.max_versions
        table.multi_version = table.multi_version or options.max_versions > 1
    if options.HasField("deviation_cell_version_in_sec"):
        if options.deviation_cell_version_in_sec <= 0:
            raise invalid("The deviation_cell_version_in_sec must be greater than 0.")
        table.deviation = options.deviation_cell_version_in_sec
    if options.HasField("allow_update"):
        table.allow_update = options.allow_update


def _describe_throughput(table: Table, details: Any) -> None:
    details.capacity_unit.read = table.read_capacity
    details.capacity_unit.write = table.write_capacity
    details.last_increase_time = int(table.created_at)


def _describe_options(table: Table, options: Any) -> None:
    options.time_to_live = table.time_to_live
    options.max_versions = table.max_versions
    options.deviation_cell_version_in_sec = table.deviation
    options.allow_update = table.allow_update


def _index_meta(meta: Any) -> IndexMeta:
    local = meta.index_type == pb.IT_LOCAL_INDEX
    return IndexMeta(meta.name, list(meta.primary_key), list(meta.defined_column), local)
