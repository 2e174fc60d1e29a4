"""BatchGetRow and BatchWriteRow: each row on its own, so that one that fails leaves the others alone.

The rows of one BatchWriteRow are committed together nevertheless, which the service does not promise. To see a batch
half done, use a fault with `per_row`.
"""

from collections.abc import Callable
from typing import Any

from tablestore.protobuf import table_store_pb2 as pb

from ..errors import OtsError, invalid
from ..storage.engine import Engine
from .limits import BATCH_GET_ROWS, BATCH_WRITE_BYTES, BATCH_WRITE_ROWS
from .reads import Reads
from .row import View
from .writes import Writes


class Batches:
    """The batch APIs over one engine."""

    def __init__(self, engine: Engine, reads: Reads, writes: Writes) -> None:
        self._engine = engine
        self._reads = reads
        self._writes = {pb.PUT: writes.put, pb.UPDATE: writes.update, pb.DELETE: writes.delete}

    def batch_get_row(self, request: Any) -> Any:
        if not request.tables:
            raise invalid("No row specified in the request of BatchGetRow.")
        if sum(len(table.primary_key) for table in request.tables) > BATCH_GET_ROWS:
            raise invalid(f"Rows count exceeds the upper limit: {BATCH_GET_ROWS}.")
        response = pb.BatchGetRowResponse()
        for wanted in request.tables:
            view = View.of(wanted)
            answers = response.tables.add(table_name=wanted.table_name)
            for key in wanted.primary_key:
                self._row("BatchGetRow", answers.rows.add(), self._getter(wanted.table_name, key, view))
        return response

    def _getter(self, table_name: str, key: bytes, view: View) -> Callable[[Any], None]:
        def get(answer: Any) -> None:
            row, units = self._reads.one(self._engine.table(table_name), key, view)
            answer.row = row
            answer.consumed.capacity_unit.read, answer.consumed.capacity_unit.write = units, 0

        return get

    def batch_write_row(self, request: Any) -> Any:
        if not request.tables:
            raise invalid("No row is specified in BatchWriteRow.")
        for table in request.tables:
            if not table.rows:
                raise invalid(f"No operation is specified for table: '{table.table_name}'.")
        if sum(len(table.rows) for table in request.tables) > BATCH_WRITE_ROWS:
            raise invalid(f"Rows count exceeds the upper limit: {BATCH_WRITE_ROWS}.")
        if sum(len(row.row_change) for table in request.tables for row in table.rows) > BATCH_WRITE_BYTES:
            raise invalid(
                f"The total data size of BatchWriteRow request exceeds the limit, limit size: {BATCH_WRITE_BYTES}."
            )
        response = pb.BatchWriteRowResponse()
        for changed in request.tables:
            answers = response.tables.add(table_name=changed.table_name)
            for item in changed.rows:
                self._row("BatchWriteRow", answers.rows.add(), self._writer(changed.table_name, item))
        return response

    def _writer(self, table_name: str, item: Any) -> Callable[[Any], None]:
        def write(answer: Any) -> None:
            table = self._engine.table(table_name)
            outcome = self._writes[item.type](table, item.row_change, item.condition, item.return_content)
            outcome.fill(answer)

        return write

    def _row(self, api: str, answer: Any, do: Callable[[Any], None]) -> None:
        rule = self._engine.faults.pick_row(api)
        try:
            if rule is not None and rule.error:
                raise OtsError(rule.error, rule.message)  # noqa: TRY301 - answered like any other error, just below
            do(answer)
        except OtsError as e:
            answer.is_ok = False
            answer.error.code, answer.error.message = e.code, e.message
        else:
            answer.is_ok = True
