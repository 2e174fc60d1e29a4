"""Secondary indexes: a row of the table becomes a row of the index if it has all of the index's key columns."""

from ..errors import invalid
from ..protocol.plainbuffer import BLOB, INTEGER, STRING, Cell, WireRow, encode_cell, variant_size
from ..rows.keys import encode_key
from ..rows.limits import KEY_COLUMN_BYTES
from ..rows.row import build
from ..rows.schema import check_name
from ..storage.sqlite_storage import StoredRow
from .catalog import DefinedColumn, IndexMeta, KeyColumn, Table

_KEY_TYPE_OF_DEFINED = {1: 1, 4: 2, 7: 3}  # DefinedColumnType -> PrimaryKeyType
_KIND_OF_KEY_TYPE = {1: INTEGER, 2: STRING, 3: BLOB}


def index_table(table: Table, index: IndexMeta, table_id: int, created_at: float) -> Table:
    """The index as a table: its key is the index's columns, then what is missing of the table's key."""
    check_name(index.name, "index name")
    if table.max_versions != 1:
        raise invalid("The max_versions of a table with secondary indexes must be 1.")
    if not index.primary_key:
        raise invalid("The primary key of the index is missing.")
    if index.local and index.primary_key[0] != table.primary_key[0].name:
        raise invalid("The first primary key column of a local index must be the first one of the table.")
    key_types = {column.name: column.type for column in table.primary_key}
    defined = {column.name: column for column in table.defined_columns}
    columns = [KeyColumn(name, _key_type(name, key_types, defined)) for name in index.primary_key]
    columns += [KeyColumn(c.name, c.type) for c in table.primary_key if c.name not in index.primary_key]
    missing = [name for name in index.defined_columns if name not in defined]
    if missing:
        raise invalid(f"Column '{missing[0]}' of the index is not a defined column of the table.")
    return Table(
        id=table_id,
        name=index.name,
        primary_key=columns,
        defined_columns=[defined[name] for name in index.defined_columns],
        time_to_live=table.time_to_live,
        created_at=created_at,
        base=table.name,
    )


def _key_type(name: str, key_types: dict[str, int], defined: dict[str, DefinedColumn]) -> int:
    if name in key_types:
        return key_types[name]
    column = defined.get(name)
    if column is None:
        raise invalid(f"Column '{name}' of the index is not a defined column of the table.")
    found = _KEY_TYPE_OF_DEFINED.get(column.type)
    if found is None:
        raise invalid(f"Column '{name}' cannot be a primary key column of an index: its type is not allowed.")
    return found


def entries(index: Table, row: WireRow | None) -> StoredRow | None:
    """The index's row for a row of its table, or None if it has none."""
    if row is None:
        return None
    values = {cell.name: cell for cell in (*row.cells, *row.primary_key)}
    key: list[Cell] = []
    for column in index.primary_key:
        cell = values.get(column.name)
        if cell is None or cell.variant is None or cell.variant[0] != _KIND_OF_KEY_TYPE[column.type]:
            return None
        if variant_size(cell.variant) > KEY_COLUMN_BYTES:
            raise invalid(f"Column '{cell.name}' is too long for the index '{index.name}'.")
        key.append(Cell(cell.name, cell.variant, None, None, encode_cell(cell.name, cell.variant)))
    kept = [values[column.name] for column in index.defined_columns if column.name in values]
    return build(encode_key(cell.variant for cell in key if cell.variant), key, kept)
