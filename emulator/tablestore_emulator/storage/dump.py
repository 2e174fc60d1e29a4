"""Rows of a data directory as JSON lines, read beside a running emulator or without one."""

import base64
import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..protocol.plainbuffer import decode_row, from_variant
from .sqlite_storage import StorageError, check_format


def dump_tables(directory: Path) -> Iterator[str]:
    """One line per table or secondary index."""
    db = _open(directory)
    for name, value in db.execute("SELECT name, value FROM catalog WHERE kind = 'table' ORDER BY name"):
        rows = db.execute("SELECT count(*) FROM rows WHERE t = ?", (json.loads(value)["id"],)).fetchone()[0]
        yield _line({"table": name, "rows": rows, **json.loads(value)})


def dump_rows(directory: Path, table: str) -> Iterator[str]:
    """One line per row: {"primary_key": {...}, "columns": {name: value}}; binary values are {"base64": ...}."""
    db = _open(directory)
    found = db.execute("SELECT value FROM catalog WHERE kind = 'table' AND name = ?", (table,)).fetchone()
    if found is None:
        raise StorageError(f"There is no table {table} in {directory}.")
    for (data,) in db.execute("SELECT data FROM rows WHERE t = ? ORDER BY k", (json.loads(found[0])["id"],)):
        row, _ = decode_row(data)
        columns: dict[str, Any] = {}
        for cell in row.cells:  # newest version first
            columns.setdefault(cell.name, _plain(cell.variant))
        yield _line({"primary_key": {cell.name: _plain(cell.variant) for cell in row.primary_key}, "columns": columns})


def _open(directory: Path) -> sqlite3.Connection:
    path = directory / "tablestore.db"
    if not path.is_file():
        raise StorageError(f"{directory} holds no data of tablestore-emulator.")
    db = sqlite3.connect(path)
    check_format(db, str(path))
    return db


def _plain(variant: bytes | None) -> Any:
    value = from_variant(variant) if variant else None
    return {"base64": base64.b64encode(value).decode()} if isinstance(value, bytes) else value


def _line(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
