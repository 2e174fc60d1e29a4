"""What the search service needs from the rest of the emulator."""

from collections.abc import Iterable, Sequence
from typing import Protocol

from ..values import Key, Row


class RowStore(Protocol):
    """The row store, as far as the search index looks into it."""

    def key_names(self, table: str) -> tuple[str, ...] | None:
        """The primary key columns in order; None if there is no such table."""
        ...

    def scan(self, table: str) -> Iterable[tuple[Key, Row]]:
        """Every row, in primary key order."""
        ...

    def encoded(self, table: str, keys: Sequence[Key], columns: Sequence[str] | None) -> list[bytes | None]:
        """The rows as PlainBuffers (header and row) with `columns`, None meaning all; None where no row is."""
        ...


class Definitions(Protocol):
    """Where index definitions outlive the process. The blob is opaque."""

    def load(self) -> Iterable[tuple[str, str, bytes]]:
        """(table, index, blob) of every index."""
        ...

    def save(self, table: str, index: str, blob: bytes) -> None: ...

    def delete(self, table: str, index: str) -> None: ...
