"""Short words for the SDK's long ones, for tests of rows."""

from collections.abc import Iterator
from typing import Any

import pytest
import tablestore as ots
from tablestore.error import OTSServiceError

MIN, MAX = ots.INF_MIN, ots.INF_MAX


def create_table(
    client: Any,
    name: str,
    *columns: tuple[str, str],
    defined: list[tuple[str, str]] | None = None,
    indexes: list[ots.SecondaryIndexMeta] | None = None,
    **options: Any,
) -> None:
    """A table with primary key `columns` (default: a STRING `a`, an INTEGER `b`)."""
    meta = ots.TableMeta(name, list(columns) or [("a", "STRING"), ("b", "INTEGER")], defined or [])
    client.create_table(
        meta, ots.TableOptions(**options), ots.ReservedThroughput(ots.CapacityUnit(0, 0)), indexes or []
    )


def put(
    client: Any, table: str, key: list[tuple[str, Any]], columns: list[tuple[Any, ...]], condition: Any = None
) -> None:
    client.put_row(table, ots.Row(key, columns), condition or ots.Condition("IGNORE"))


def get(client: Any, table: str, key: list[tuple[str, Any]], **options: Any) -> dict[str, Any] | None:
    """The row's columns (newest versions); None if there is no row."""
    _, row, _ = client.get_row(table, key, **({"max_version": 1} | options))
    return None if row is None else {name: value for name, value, _ in reversed(row.attribute_columns)}


def scan(client: Any, table: str, start: list[Any], end: list[Any], **options: Any) -> Iterator[Any]:
    """All rows from start to end, page by page."""
    direction = options.pop("direction", "FORWARD")
    at: Any = start
    while at is not None:
        _, at, rows, _ = client.get_range(table, direction, at, end, **({"max_version": 1} | options))
        yield from rows


def refused(code: str, status: int, match: str | None = None) -> Any:
    """Expects an error of the service: `with refused("OTSConditionCheckFail", 403): ...`"""
    return pytest.raises(
        OTSServiceError, match=match, check=lambda e: (e.get_error_code(), e.get_http_status()) == (code, status)
    )
