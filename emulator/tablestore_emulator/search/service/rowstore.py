"""The ports of the search service, on the engine of the emulator."""

import base64
import json
from collections.abc import Iterable, Sequence

from ...protocol.plainbuffer import WireRow, encode_buffer, from_variant
from ...rows.row import View, current, read
from ...storage.engine import Engine
from ...tables.catalog import Table
from ..values import Key, Row
from .operations import SearchService

_CATALOG = "search_index"


class EngineRows:
    """The row store that the search service looks into."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def key_names(self, table: str) -> tuple[str, ...] | None:
        found = self._engine.catalog.find(table)
        return None if found is None or found.base is not None else tuple(found.key_names)

    def scan(self, table: str) -> Iterable[tuple[Key, Row]]:
        found = self._engine.catalog.get(table)
        now = self._engine.now()
        for page in self._engine.storage.pages(found.id):
            for stored in page:
                row = current(found, stored, now)
                if row is not None:
                    yield stored.key, index_row(row, now)

    def encoded(self, table: str, keys: Sequence[Key], columns: Sequence[str] | None) -> list[bytes | None]:
        found = self._engine.catalog.get(table)
        names = frozenset() if columns is None else frozenset([*columns, *found.key_names])
        view, now = View(columns=names, max_versions=1), self._engine.now()
        return [self._one(found, key, view, now) for key in keys]

    def _one(self, table: Table, key: Key, view: View, now: int) -> bytes | None:
        stored = self._engine.storage.get(table.id, key)
        row = read(table, stored, view, now).row if stored else None
        return encode_buffer([row]) if row else None


class CatalogDefinitions:
    """Index definitions in the engine's catalog."""

    def __init__(self, engine: Engine) -> None:
        self._storage = engine.storage

    def load(self) -> Iterable[tuple[str, str, bytes]]:
        for value in self._storage.catalog(_CATALOG).values():
            table, index, blob = json.loads(value)
            yield table, index, base64.b64decode(blob)

    def save(self, table: str, index: str, blob: bytes) -> None:
        self._storage.save(_CATALOG, f"{table}/{index}", json.dumps([table, index, base64.b64encode(blob).decode()]))

    def delete(self, table: str, index: str) -> None:
        self._storage.save(_CATALOG, f"{table}/{index}", None)


def search_service(engine: Engine) -> SearchService:
    """The search service of `engine`, told of every row that changes and of changes taken back."""
    service = SearchService(EngineRows(engine), CatalogDefinitions(engine), engine.faults, engine.clock)

    def changed(table: Table, key: bytes, old: WireRow | None, new: WireRow | None) -> None:
        if service.listens_to(table.name):
            now = engine.now()
            before, after = (None if row is None else index_row(row, now) for row in (old, new))
            service.on_row_written(table.name, key, before, after)

    engine.listeners.append(changed)
    engine.forgetters.append(service.reload)
    return service


def index_row(row: WireRow, now: int) -> Row:
    """What an index sees of a row. `now`: ms."""
    columns = {}
    for cell in [*row.primary_key, *row.cells]:
        if cell.variant is not None and cell.name not in columns:  # cells come newest first
            columns[cell.name] = from_variant(cell.variant)
    return Row(columns, tuple(cell.raw for cell in row.primary_key), now)
