"""What a row can hold, asked before a commit is decided: one that stands but whose rows are refused would be in the way
of every later one."""

from collections.abc import Iterable

from ...errors import LimitExceeded
from .requests import Delete, Write

COLUMN_BYTES = 2 * 1024 * 1024
ROW_BYTES = 4_150_000  # of the 4 MB (4,194,304) that a row, or a BatchWriteRow with it alone, may have
KEY_BYTES = 1024
_NUMBERS = range(-(2**63), 2**63)


def check(writes: Iterable[Write]) -> None:
    """Raises LimitExceeded if the service would refuse one of `writes` for what it holds."""
    for write in writes:
        if any(isinstance(value, str) and len(value.encode()) > KEY_BYTES for _, value in write.key):
            raise LimitExceeded(f"An id can have {KEY_BYTES:,} bytes at most.")
        if isinstance(write, Delete):
            continue
        sizes = [_size(value) for value in write.columns.values()]
        if max(sizes) > COLUMN_BYTES or sum(sizes) > ROW_BYTES:
            raise LimitExceeded(
                f"This is too long for one memory: {max(sizes):,} bytes of {COLUMN_BYTES:,}.", setting="MAX_TEXT_LENGTH"
            )


def _size(value: object) -> int:
    if isinstance(value, int) and value not in _NUMBERS:
        raise LimitExceeded(f"{value} is too large a number to be stored.")
    return len(value.encode()) if isinstance(value, str) else len(value) if isinstance(value, bytes) else 8
