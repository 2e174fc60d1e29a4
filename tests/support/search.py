"""Short words for the SDK's long ones, for tests of search indexes."""

from collections.abc import Iterator
from typing import Any

import tablestore as ots
from tablestore import FieldSchema, FieldType

from support.tables import create_table

INDEX = "ix"
ALL = ots.ColumnsToGet(return_type=ots.ColumnReturnType.ALL)
FROM_INDEX = ots.ColumnsToGet(return_type=ots.ColumnReturnType.ALL_FROM_INDEX)
NO_COLUMNS = ots.ColumnsToGet(return_type=ots.ColumnReturnType.NONE)
BY_SCORE = ots.Sort([ots.ScoreSort(ots.SortOrder.DESC)])


def only(*names: str) -> ots.ColumnsToGet:
    return ots.ColumnsToGet(list(names), ots.ColumnReturnType.SPECIFIED)


def vector_field(name: str = "vector", dimension: int = 4, metric: Any = ots.VectorMetricType.VM_COSINE) -> FieldSchema:
    options = ots.VectorOptions(ots.VectorDataType.VD_FLOAT_32, dimension=dimension, metric_type=metric)
    return FieldSchema(name, FieldType.VECTOR, vector_options=options)


def memory_fields() -> list[FieldSchema]:
    """The usual case: a tenant, a text, its vector, a time."""
    return [
        FieldSchema("user", FieldType.KEYWORD, index=True),
        FieldSchema("text", FieldType.TEXT, index=True),
        FieldSchema("at", FieldType.LONG, index=True),
        vector_field(),
    ]


def create_index(client: Any, table: str, *fields: FieldSchema, name: str = INDEX, **options: Any) -> None:
    client.create_search_index(table, name, ots.SearchIndexMeta(list(fields) or memory_fields(), **options))


def indexed_table(client: Any, name: str, *fields: FieldSchema, **options: Any) -> str:
    """A table with primary key (user, id) and an index; its name."""
    create_table(client, name, ("user", "STRING"), ("id", "STRING"))
    create_index(client, name, *fields, **options)
    return name


def remember(client: Any, table: str, user: str, id: str, **columns: Any) -> None:
    """Write one row."""
    client.put_row(table, ots.Row([("user", user), ("id", id)], list(columns.items())), ots.Condition("IGNORE"))


def search(
    client: Any, table: str, query: Any, columns: Any = NO_COLUMNS, *, index: str = INDEX, **options: Any
) -> Any:
    """A SearchResponse; options as SearchQuery's."""
    return client.search(table, index, ots.SearchQuery(query, **({"limit": 100} | options)), columns)


def ids(response: Any) -> list[str]:
    """The second primary key column of each row."""
    return [row[0][1][1] for row in response.rows]


def attributes(response: Any) -> Iterator[dict[str, Any]]:
    """The columns of each row, without their versions."""
    for _, columns in response.rows:
        yield {name: value for name, value, *_ in columns}
