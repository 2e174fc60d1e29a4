"""What the search service needs from the rest of the emulator, and the settings that the faults turn."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from .values import Key, Row


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


@dataclass(frozen=True, slots=True)
class SearchSettings:
    """How the index misbehaves. Times in seconds.

    With several replicas, each lags by its own share of `lag` (the first by a `replicas`-th, the last by all of it)
    and every search asks one of them, drawn with the seed: so answers may go back in time.
    """

    lag: float = 0.0
    replicas: int = 1
    ready_after: float = 0.0  # after CreateSearchIndex; until then Search answers that the index is not ready
    seed: int = 0
