"""Rows and the catalog in one SQLite file (or in memory), written in groups.

Everything that happens between two calls of `commit` is one transaction: the caller answers nobody before it has
returned, so whatever a client was told is on disk. Rows are kept as the service would send them (see plainbuffer).
"""

import sqlite3
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from filelock import FileLock, Timeout

FORMAT = 1  # of the file; kept in PRAGMA user_version
ABOVE_ALL = b"\xff" * 2  # no key sorts after it: the tags of keys.py end at FF, once

_SCHEMA = """
CREATE TABLE catalog (kind TEXT, name TEXT, value TEXT NOT NULL, PRIMARY KEY (kind, name)) WITHOUT ROWID;
CREATE TABLE rows (
  id INTEGER PRIMARY KEY, t INTEGER NOT NULL, k BLOB NOT NULL, size INTEGER NOT NULL, data BLOB NOT NULL
);
CREATE UNIQUE INDEX rows_by_key ON rows (t, k);
"""


_SCAN_FORWARD = "SELECT k, size, data FROM rows WHERE t = ? AND k >= ? AND k < ? ORDER BY k"
_SCAN_BACKWARD = "SELECT k, size, data FROM rows WHERE t = ? AND k > ? AND k <= ? ORDER BY k DESC"


class StorageError(Exception):
    """The data directory cannot be used; the text says why and what to do."""


class StorageInUse(StorageError):
    """Another process serves the data directory."""


class StoredRow(NamedTuple):
    """A row at rest. `size`: bytes of names and values, as Tablestore counts them; `data`: its wire form, no header."""

    key: bytes
    size: int
    data: bytes


class Storage:
    """One writer's view. Not safe between threads; a second process is kept out by a lock on the directory."""

    def __init__(self, directory: Path | None) -> None:
        self._lock: FileLock | None = None
        if directory is None:
            self._open(":memory:")
            return
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._lock = FileLock(directory / "lock")
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            raise StorageInUse(f"Another process is serving {directory}; stop it, or choose another --data.") from None
        try:
            self._open(str(directory / "tablestore.db"))
        except BaseException:
            self._lock.release()
            raise

    def _open(self, path: str) -> None:
        self._db = sqlite3.connect(path, isolation_level=None, cached_statements=64)
        try:
            check_format(self._db, path)
            self._db.executescript(
                "PRAGMA page_size = 8192; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;"
                "PRAGMA cache_size = -32768; PRAGMA mmap_size = 268435456;"
            )
            if self._version() == 0:
                self._db.executescript(f"BEGIN; {_SCHEMA} PRAGMA user_version = {FORMAT}; COMMIT;")
        except BaseException:
            self._db.close()
            raise

    def _version(self) -> int:
        return int(self._db.execute("PRAGMA user_version").fetchone()[0])

    @property
    def dirty(self) -> bool:
        """Whether something was written since the last commit."""
        return self._db.in_transaction

    def commit(self) -> None:
        """Make everything since the last commit durable."""
        if self._db.in_transaction:
            self._db.execute("COMMIT")

    def rollback(self) -> None:
        """Forget everything since the last commit."""
        if self._db.in_transaction:
            self._db.execute("ROLLBACK")

    def close(self) -> None:
        """Commit, fold the log into the file, and let the directory go."""
        self.commit()
        self._db.close()
        if self._lock is not None:
            self._lock.release()

    def _write(self, sql: str, arguments: tuple[object, ...]) -> None:
        if not self._db.in_transaction:
            self._db.execute("BEGIN IMMEDIATE")
        self._db.execute(sql, arguments)

    def get(self, table: int, key: bytes) -> StoredRow | None:
        """The row, or None."""
        found = self._db.execute("SELECT k, size, data FROM rows WHERE t = ? AND k = ?", (table, key)).fetchone()
        return StoredRow(*found) if found else None

    def put(self, table: int, row: StoredRow) -> None:
        """Insert or replace."""
        self._write(
            "INSERT INTO rows (t, k, size, data) VALUES (?, ?, ?, ?)"
            " ON CONFLICT (t, k) DO UPDATE SET size = excluded.size, data = excluded.data",
            (table, row.key, row.size, row.data),
        )

    def delete(self, table: int, key: bytes) -> None:
        """Remove, if it is there."""
        self._write("DELETE FROM rows WHERE t = ? AND k = ?", (table, key))

    def delete_table(self, table: int) -> None:
        """Remove all rows of a table."""
        self._write("DELETE FROM rows WHERE t = ?", (table,))

    def scan(self, table: int, low: bytes, high: bytes, *, backward: bool = False) -> Iterator[StoredRow]:
        """Rows with low <= key < high (backward: low < key <= high, largest first). Write nothing while it runs."""
        sql = _SCAN_BACKWARD if backward else _SCAN_FORWARD
        for found in self._db.execute(sql, (table, low, high)):
            yield StoredRow(*found)

    def pages(self, table: int, size: int = 256) -> Iterator[list[StoredRow]]:
        """All rows in key order, `size` at a time; rows may be written in between."""
        low = b""
        while page := list(islice(self.scan(table, low, ABOVE_ALL), size)):
            yield page
            low = page[-1].key + b"\x00"

    def catalog(self, kind: str) -> dict[str, str]:
        """All entries of a kind: name -> JSON."""
        return dict(self._db.execute("SELECT name, value FROM catalog WHERE kind = ?", (kind,)))

    def save(self, kind: str, name: str, value: str | None) -> None:
        """Write an entry of the catalog, or remove it (None)."""
        if value is None:
            self._write("DELETE FROM catalog WHERE kind = ? AND name = ?", (kind, name))
        else:
            self._write("INSERT OR REPLACE INTO catalog (kind, name, value) VALUES (?, ?, ?)", (kind, name, value))


def check_format(db: sqlite3.Connection, path: str) -> None:
    """Raise StorageError if the file is not ours, or newer than this program."""
    try:
        version = int(db.execute("PRAGMA user_version").fetchone()[0])
    except sqlite3.DatabaseError as e:
        raise StorageError(f"{path} cannot be read: {e}.") from None
    if version > FORMAT:
        raise StorageError(
            f"{path} was written by a newer tablestore-emulator (format {version}, this one knows {FORMAT}): "
            "upgrade it, or choose another --data."
        )
