"""What tables there are: their schema and options, kept in the storage's catalog as JSON."""

import json
from dataclasses import asdict, dataclass, field

from ..errors import OtsError
from ..storage.sqlite_storage import Storage

PRIMARY_KEY_TYPES = {1: "VT_INTEGER", 2: "VT_STRING", 3: "VT_BLOB"}


@dataclass(slots=True)
class KeyColumn:
    """`type`: PrimaryKeyType of the protocol (1 integer, 2 string, 3 binary)."""

    name: str
    type: int
    auto_increment: bool = False


@dataclass(slots=True)
class DefinedColumn:
    """`type`: DefinedColumnType of the protocol."""

    name: str
    type: int


@dataclass(slots=True)
class IndexMeta:
    """A secondary index as its creator described it; `local` ones share the base table's partition key."""

    name: str
    primary_key: list[str]
    defined_columns: list[str]
    local: bool


@dataclass(slots=True)
class Table:
    """A table, or a secondary index (`base` names its table then). Times in seconds since the epoch."""

    id: int
    name: str
    primary_key: list[KeyColumn]
    defined_columns: list[DefinedColumn] = field(default_factory=list)
    time_to_live: int = -1
    max_versions: int = 1
    deviation: int = 86400
    allow_update: bool = True
    read_capacity: int = 0
    write_capacity: int = 0
    created_at: float = 0.0
    multi_version: bool = False  # whether rows may hold more than one version of a column
    indexes: list[IndexMeta] = field(default_factory=list)
    base: str | None = None

    @property
    def key_names(self) -> list[str]:
        return [column.name for column in self.primary_key]


class Catalog:
    """All tables and indexes by name, in memory and in the storage."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._tables: dict[str, Table] = {}
        self.reload()

    def reload(self) -> None:
        """Read everything anew: after a start, and after a rollback."""
        self._tables = {name: _load(value) for name, value in self._storage.catalog("table").items()}

    def names(self) -> list[str]:
        """Tables, without secondary indexes, sorted."""
        return sorted(name for name, table in self._tables.items() if table.base is None)

    def find(self, name: str) -> Table | None:
        """A table or secondary index, or None."""
        return self._tables.get(name)

    def get(self, name: str) -> Table:
        """A table or secondary index; raises OTSObjectNotExist."""
        table = self._tables.get(name)
        if table is None:
            raise OtsError("OTSObjectNotExist")
        return table

    def next_id(self) -> int:
        """An id that no table ever had: ids are not reused, so that rows of a dropped table cannot come back."""
        last = int(self._storage.catalog("meta").get("last_table_id", "0")) + 1
        self._storage.save("meta", "last_table_id", str(last))
        return last

    def save(self, table: Table) -> None:
        """Insert or replace."""
        self._tables[table.name] = table
        self._storage.save("table", table.name, json.dumps(asdict(table)))

    def drop(self, table: Table) -> None:
        """Remove the entry and the rows."""
        del self._tables[table.name]
        self._storage.save("table", table.name, None)
        self._storage.delete_table(table.id)


def _load(value: str) -> Table:
    raw = json.loads(value)
    raw["primary_key"] = [KeyColumn(**column) for column in raw["primary_key"]]
    raw["defined_columns"] = [DefinedColumn(**column) for column in raw["defined_columns"]]
    raw["indexes"] = [IndexMeta(**index) for index in raw["indexes"]]
    return Table(**raw)
