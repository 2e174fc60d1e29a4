"""Rows and the catalog in one SQLite file (or in memory), written in groups.

Everything that happens between two calls of `commit` is one transaction: the caller answers nobody before it has
returned, so whatever a client was told is on disk. Rows are kept as the service would send them (see plainbuffer), each
with a checksum: what was not written here is never handed out.
"""

import contextlib
import logging
import sqlite3
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from filelock import FileLock, Timeout

from .damage import check_database, entry_checksum, is_damage, read_log, row_checksum
from .files import DataFiles, StorageDamaged, StorageError, StorageInUse, sync
from .reserve import PART_BYTES, Reserve

__all__ = ["Storage", "StorageDamaged", "StorageError", "StorageInUse", "StoredRow", "check_format"]

FORMAT = 2  # of the file; kept in PRAGMA user_version. 1: without checksums
ABOVE_ALL = b"\xff" * 2  # no key sorts after it: the tags of keys.py end at FF, once
UNWRITABLE = {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN}
REWRITTEN_BYTES = 512 * 1024 * 1024  # a larger file is not rewritten whole
_log = logging.getLogger(__name__)

_SCHEMA = """
CREATE TABLE catalog (
  kind TEXT, name TEXT, value TEXT NOT NULL, crc INTEGER, PRIMARY KEY (kind, name)
) WITHOUT ROWID;
CREATE TABLE rows (
  id INTEGER PRIMARY KEY, t INTEGER NOT NULL, k BLOB NOT NULL, size INTEGER NOT NULL, data BLOB NOT NULL, crc INTEGER
);
CREATE UNIQUE INDEX rows_by_key ON rows (t, k);
"""
# Rows of format 1 have no checksum until they are written again: to give them one would rewrite the whole file.
_FROM_1 = "ALTER TABLE rows ADD COLUMN crc INTEGER; ALTER TABLE catalog ADD COLUMN crc INTEGER;"

# secure_delete: what is deleted is overwritten, not just forgotten.
_PRAGMAS = (
    "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA secure_delete = ON;"
    "PRAGMA cache_size = -32768; PRAGMA mmap_size = 268435456;"
)
_SCAN_FORWARD = "SELECT k, size, data, crc FROM rows WHERE t = ? AND k >= ? AND k < ? ORDER BY k"
_SCAN_BACKWARD = "SELECT k, size, data, crc FROM rows WHERE t = ? AND k > ? AND k <= ? ORDER BY k DESC"


class StoredRow(NamedTuple):
    """A row at rest. `size`: bytes of names and values, as Tablestore counts them; `data`: its wire form, no header."""

    key: bytes
    size: int
    data: bytes


class Storage:
    """One writer's view. Not safe between threads; a second process is kept out by a lock on the directory."""

    def __init__(self, directory: Path | None) -> None:
        self._lock: FileLock | None = None
        self._files: DataFiles | None = None
        self._damage: StorageDamaged | None = None
        self._erased = False  # something was deleted since the file was last rewritten
        self.reserve = Reserve(directory)
        if directory is None:
            self._name = "The data"
            self._db = sqlite3.connect(":memory:", isolation_level=None, cached_statements=64)
            self._db.executescript(f"{_SCHEMA} PRAGMA user_version = {FORMAT};")
            return
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._lock = FileLock(directory / "lock")
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            raise StorageInUse(f"Another process is serving {directory}; stop it, or choose another --data.") from None
        try:
            self._files = DataFiles(directory)
            self._name = self._files.database.name
            self._open_directory(self._files)
        except BaseException:
            self._lock.release()
            raise

    def _open_directory(self, files: DataFiles) -> None:
        if files.is_new():
            _make(files)
        sealed = files.is_as_sealed()
        log = read_log(files.log)
        exclusive = False
        while True:
            try:
                self._db = _connected(files.database, exclusive=exclusive)
                break
            except sqlite3.OperationalError as e:
                if e.sqlite_errorcode & 0xFF not in UNWRITABLE:
                    raise StorageDamaged(f"{files.database} cannot be read ({e}).") from None
                if not self.reserve.release():  # the disk is full; without the log's index in a file, it can be read
                    if exclusive:
                        raise StorageError(f"{files.database} cannot be opened: {e}.") from None
                    exclusive = True
            except sqlite3.DatabaseError as e:
                raise StorageDamaged(f"{files.database} is damaged ({e}).") from None
        try:
            if not exclusive:
                log.check(files.good_frames(), str(files.log))
            if not sealed:
                check_database(self._db, str(files.database))
            self._erased = "erased" in self.catalog("meta")
            files.mark()
            files.settle()
        except BaseException:
            self._db.close()
            raise

    @property
    def dirty(self) -> bool:
        """Whether something was written since the last commit."""
        return self._db.in_transaction

    @property
    def damage(self) -> StorageDamaged | None:
        """Why nothing can be read or written any more."""
        return self._damage

    def is_damage(self, cause: BaseException) -> bool:
        """Whether `cause` says that the data is damaged or gone; then it stays so until the next start."""
        if self._damage is None and isinstance(cause, StorageDamaged):
            self._damage = cause
        elif self._damage is None and is_damage(cause):
            self._damage = StorageDamaged(f"{self._name} is damaged ({cause}).")
        return self._damage is not None

    def look(self) -> None:
        """Raise StorageDamaged if the files are no longer in place."""
        if self._files and not self._db.in_transaction:
            self._files.check()

    def commit(self) -> None:
        """Make everything since the last commit durable. Raises StorageDamaged if the file is no longer in place."""
        if not self._db.in_transaction:
            return
        if self._files:
            self._files.check()
        try:
            self._db.execute("COMMIT")
        finally:
            if self._files:
                self._files.settle()
        if self.reserve.low:
            with contextlib.suppress(sqlite3.Error):  # what was committed is in the log
                self.fold()

    def rollback(self) -> None:
        """Forget everything since the last commit."""
        if self._db.in_transaction:
            self._db.execute("ROLLBACK")
        if self._damage is None:
            self._erased = "erased" in self.catalog("meta")

    def growth_allowed(self) -> int | None:
        """Bytes that one row may grow by while the disk is full; None: as it likes."""
        if self.reserve.low and not self.reserve.restore():
            free_pages = int(self._db.execute("PRAGMA freelist_count").fetchone()[0])
            if free_pages * int(self._db.execute("PRAGMA page_size").fetchone()[0]) < PART_BYTES:
                return self.reserve.growth
        return None

    @property
    def erased(self) -> bool:
        """Whether remains of deleted rows may still be in the file."""
        return self._erased

    def fold(self) -> bool:
        """Write the log into the file and empty it: old versions of rows are in it. False while somebody reads."""
        if self._files is None:
            return True
        self._files.check()
        try:
            busy = self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
        finally:
            self._files.settle()
        return not busy

    def purge(self) -> None:
        """Remove what is left of deleted rows: SQLite overwrites them where they were, but not the copies that moving
        rows between pages left behind. Rewrites the file; raises sqlite3.Error if there is no room for that."""
        if self._files is None or not self._erased:
            return
        if self._files.database.stat().st_size > REWRITTEN_BYTES:
            _log.warning("%s is too large to be rewritten: parts of deleted rows may stay in it.", self._name)
            self._erased = False
            return
        self.commit()
        try:
            self._db.execute("VACUUM")
        finally:
            self._files.settle()
        self.save("meta", "erased", None)
        self.commit()
        self._erased = False
        self.fold()

    def close(self) -> None:
        """Commit, fold the log into the file, and let the directory go."""
        try:
            if self._damage is None:
                self._finish()
        except (StorageDamaged, sqlite3.Error) as e:
            self.is_damage(e)
            _log.error("%s could not be closed in order: %s", self._name, e)
        finally:
            self._db.close()
            if self._files and self._damage is None:
                self._files.seal()
            if self._lock is not None:
                self._lock.release()

    def _finish(self) -> None:
        self.commit()
        try:
            self.purge()
        except sqlite3.Error as e:
            _log.warning("Parts of deleted rows may still be in %s until the next start: %s.", self._name, e)
        self.fold()

    def _write(self, sql: str, arguments: tuple[object, ...]) -> None:
        if not self._db.in_transaction:
            self._db.execute("BEGIN IMMEDIATE")
        self._db.execute(sql, arguments)

    def _checked(self, table: int, found: tuple[bytes, int, bytes, int | None]) -> "StoredRow":
        key, size, data, crc = found
        if crc is not None and crc != row_checksum(table, key, size, data):
            raise StorageDamaged(f"{self._name} is damaged: a row is not as it was written.")
        return StoredRow(key, size, data)

    def get(self, table: int, key: bytes) -> StoredRow | None:
        """The row, or None."""
        found = self._db.execute("SELECT k, size, data, crc FROM rows WHERE t = ? AND k = ?", (table, key)).fetchone()
        return self._checked(table, found) if found else None

    def put(self, table: int, row: StoredRow) -> None:
        """Insert or replace."""
        self._write(
            "INSERT INTO rows (t, k, size, data, crc) VALUES (?, ?, ?, ?, ?)"
            " ON CONFLICT (t, k) DO UPDATE SET size = excluded.size, data = excluded.data, crc = excluded.crc",
            (table, row.key, row.size, row.data, row_checksum(table, *row)),
        )

    def delete(self, table: int, key: bytes) -> None:
        """Remove, if it is there."""
        self._write("DELETE FROM rows WHERE t = ? AND k = ?", (table, key))
        self._note_erasing()

    def delete_table(self, table: int) -> None:
        """Remove all rows of a table."""
        self._write("DELETE FROM rows WHERE t = ?", (table,))
        self._note_erasing()

    def _note_erasing(self) -> None:
        if not self._erased:  # durable with the deletion itself: a crash may come before the purge
            self._erased = True
            self.save("meta", "erased", "1")

    def scan(self, table: int, low: bytes, high: bytes, *, backward: bool = False) -> Iterator[StoredRow]:
        """Rows with low <= key < high (backward: low < key <= high, largest first). Write nothing while it runs."""
        sql = _SCAN_BACKWARD if backward else _SCAN_FORWARD
        for found in self._db.execute(sql, (table, low, high)):
            yield self._checked(table, found)

    def pages(self, table: int, size: int = 256) -> Iterator[list[StoredRow]]:
        """All rows in key order, `size` at a time; rows may be written in between."""
        low = b""
        while page := list(islice(self.scan(table, low, ABOVE_ALL), size)):
            yield page
            low = page[-1].key + b"\x00"

    def catalog(self, kind: str) -> dict[str, str]:
        """All entries of a kind: name -> JSON."""
        found = self._db.execute("SELECT name, value, crc FROM catalog WHERE kind = ?", (kind,)).fetchall()
        if any(crc is not None and crc != entry_checksum(kind, name, value) for name, value, crc in found):
            raise StorageDamaged(f"{self._name} is damaged: its catalog is not as it was written.")
        return {name: value for name, value, _ in found}

    def save(self, kind: str, name: str, value: str | None) -> None:
        """Write an entry of the catalog, or remove it (None)."""
        if value is None:
            self._write("DELETE FROM catalog WHERE kind = ? AND name = ?", (kind, name))
        else:
            self._write(
                "INSERT OR REPLACE INTO catalog (kind, name, value, crc) VALUES (?, ?, ?, ?)",
                (kind, name, value, entry_checksum(kind, name, value)),
            )


def check_format(db: sqlite3.Connection, path: str) -> None:
    """Raise StorageError if the file is not ours, or newer than this program."""
    try:
        version = int(db.execute("PRAGMA user_version").fetchone()[0])
    except sqlite3.OperationalError as e:
        if e.sqlite_errorcode & 0xFF in UNWRITABLE:
            raise
        raise StorageDamaged(f"{path} cannot be read ({e}).") from None
    except sqlite3.DatabaseError as e:
        raise StorageDamaged(f"{path} is damaged ({e}).") from None
    if version > FORMAT:
        raise StorageError(
            f"{path} was written by a newer tablestore-emulator (format {version}, this one knows {FORMAT}): "
            "upgrade it, or choose another --data."
        )
    if version == 0:
        raise StorageDamaged(f"{path} holds none of the tables that it was made with.")


def _make(files: DataFiles) -> None:
    """A new database, whole or not at all: one without its tables is taken for a damaged one."""
    files.draft.unlink(missing_ok=True)
    db = sqlite3.connect(files.draft, isolation_level=None)
    try:
        db.executescript(
            f"PRAGMA page_size = 8192; BEGIN; {_SCHEMA} PRAGMA user_version = {FORMAT}; COMMIT;"
            "PRAGMA journal_mode = WAL;"
        )
    finally:
        db.close()
    sync(files.draft)
    files.draft.replace(files.database)
    sync(files.directory)


def _connected(path: Path, *, exclusive: bool) -> sqlite3.Connection:
    db = sqlite3.connect(path, isolation_level=None, cached_statements=64)
    try:
        if exclusive:
            db.execute("PRAGMA locking_mode = EXCLUSIVE")
        check_format(db, str(path))
        db.executescript(_PRAGMAS)
        if db.execute("PRAGMA user_version").fetchone()[0] == 1:
            db.executescript(f"BEGIN; {_FROM_1} PRAGMA user_version = {FORMAT}; COMMIT;")
    except BaseException:
        db.close()
        raise
    return db
