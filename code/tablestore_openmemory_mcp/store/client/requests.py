"""The store's requests as plain values, and their shape in the SDK."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import tablestore as sdk

Key = Sequence[tuple[str, Any]]  # (name, value) in the table's order
Cells = Mapping[str, Any]  # attribute columns; blobs are bytes

MAX_GET_ROWS = 100
MAX_WRITE_ROWS = 200
MAX_WRITE_BYTES = 3_500_000  # of the 4 MB that a BatchWriteRow may have, keys and framing not counted

LOWEST, HIGHEST = sdk.INF_MIN, sdk.INF_MAX


@dataclass(frozen=True, slots=True)
class Guard:
    """What must hold for a write to happen: the row's existence, and a comparison with one column.

    `if_missing`: whether a row without the column passes.
    """

    row: Literal["any", "present", "absent"] = "any"
    column: str | None = None
    operator: Literal["=", "<"] = "="
    value: Any = None
    if_missing: bool = False


ALWAYS = Guard()


@dataclass(frozen=True, slots=True)
class Put:
    """Replaces the whole row. A column of None is left out."""

    table: str
    key: Key
    columns: Cells
    guard: Guard = ALWAYS


@dataclass(frozen=True, slots=True)
class Update:
    """Sets some columns, takes `remove` away, leaves the others."""

    table: str
    key: Key
    columns: Cells
    remove: Sequence[str] = ()
    guard: Guard = ALWAYS


@dataclass(frozen=True, slots=True)
class Delete:
    """Removes the row."""

    table: str
    key: Key
    guard: Guard = ALWAYS


Write = Put | Update | Delete


@dataclass(frozen=True, slots=True)
class Get:
    """One row; `columns` None means all. A row that has none of the columns counts as absent."""

    table: str
    key: Key
    columns: Sequence[str] | None = None


@dataclass(frozen=True, slots=True)
class Range:
    """Rows from `start` (in) to `end` (out)."""

    table: str
    start: Key
    end: Key
    columns: Sequence[str] | None = None


@dataclass(frozen=True, slots=True)
class StoredRow:
    """What a read brought back."""

    key: Key
    cells: Cells = field(repr=False)

    def __getitem__(self, name: str) -> Any:
        """A key column's value."""
        return next(value for column, value, *_ in self.key if column == name)


def cells(row: Any) -> Cells:
    """The SDK row's attribute columns."""
    return {
        name: bytes(value) if isinstance(value, bytearray) else value for name, value, *_ in row.attribute_columns or ()
    }


def to_sdk(write: Write) -> tuple[Any, Any]:
    """The SDK's row and condition."""
    match write:
        case Put():
            columns: Any = _columns(write.columns)
        case Update():
            columns = {"put": _columns(write.columns)} if write.columns else {}
            if write.remove:
                columns["delete_all"] = list(write.remove)
        case _:
            columns = None
    return sdk.Row(list(write.key), columns), _condition(write.guard)


def in_batches(writes: Sequence[Write]) -> Iterator[list[Write]]:
    """Cut where a BatchWriteRow must end, in order."""
    batch: list[Write] = []
    size = 0
    for write in writes:
        more = _size(write)
        if batch and (len(batch) == MAX_WRITE_ROWS or size + more > MAX_WRITE_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(write)
        size += more
    if batch:
        yield batch


_EXISTENCE = {"any": "IGNORE", "present": "EXPECT_EXIST", "absent": "EXPECT_NOT_EXIST"}
_COMPARATOR = {
    "=": sdk.ComparatorType.EQUAL,
    "<": sdk.ComparatorType.LESS_THAN,
}


def _condition(guard: Guard) -> Any:
    if guard.column is None:
        return sdk.Condition(_EXISTENCE[guard.row])
    column = sdk.SingleColumnCondition(guard.column, guard.value, _COMPARATOR[guard.operator], guard.if_missing)
    return sdk.Condition(_EXISTENCE[guard.row], column)


def _columns(given: Cells) -> list[tuple[str, Any]]:
    # The SDK writes `bytes` as a string, `bytearray` as a blob.
    return [(k, bytearray(v) if isinstance(v, bytes) else v) for k, v in given.items() if v is not None]


def _size(write: Write) -> int:
    if isinstance(write, Delete):
        return 0
    return sum(
        len(k) + (len(v.encode()) if isinstance(v, str) else len(v) if isinstance(v, bytes) else 8)
        for k, v in write.columns.items()
    )
