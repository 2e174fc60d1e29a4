"""Is what the files hold what was written? Looked at closely after every start that no orderly stop came before."""

import sqlite3
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

from .files import StorageDamaged

CORRUPT = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
_LOG_HEADER = struct.Struct(">8I")  # magic, version, page size, sequence, two salts, two checksums
_FRAME = struct.Struct(">4I")  # page, size of the database if a transaction ends here, two salts (and two checksums)
_FRAME_BYTES = 24


def row_checksum(table: int, key: bytes, size: int, data: bytes) -> int:
    """Of everything that a row is stored as."""
    return zlib.crc32(data, zlib.crc32(b"%d %d " % (table, size) + key))


def entry_checksum(kind: str, name: str, value: str) -> int:
    """The same for an entry of the catalog."""
    return zlib.crc32("\0".join((kind, name, value)).encode())


def is_damage(cause: BaseException) -> bool:
    """Whether an exception says that the file is not what SQLite wrote."""
    if isinstance(cause, sqlite3.OperationalError | sqlite3.DatabaseError):
        return getattr(cause, "sqlite_errorcode", 0) & 0xFF in CORRUPT
    return False


def check_database(db: sqlite3.Connection, name: str) -> None:
    """Read everything. Raises StorageDamaged."""
    try:
        (said,) = db.execute("PRAGMA integrity_check(1)").fetchone()
        if said != "ok":
            raise StorageDamaged(f"{name} is damaged.")
        db.create_function("row_checksum", 4, row_checksum, deterministic=True)
        db.create_function("entry_checksum", 3, entry_checksum, deterministic=True)
        wrong = "SELECT EXISTS (SELECT 1 FROM rows WHERE crc != row_checksum(t, k, size, data))"
        wrong_entry = "SELECT EXISTS (SELECT 1 FROM catalog WHERE crc != entry_checksum(kind, name, value))"
        if db.execute(wrong).fetchone()[0] or db.execute(wrong_entry).fetchone()[0]:
            raise StorageDamaged(f"{name} is damaged.")
    except (sqlite3.DatabaseError, UnicodeError) as e:
        if isinstance(e, UnicodeError) or is_damage(e) or "user-defined function" in str(e):
            raise StorageDamaged(f"{name} is damaged ({e}).") from None
        raise


@dataclass(frozen=True, slots=True)
class Log:
    """What the write-ahead log seemed to hold before SQLite looked: by frame, whether a transaction ended there (None:
    the frame is of an older use of the log)."""

    ends: tuple[bool | None, ...] = ()
    header_fits: bool = True

    def check(self, used: int | None, name: str) -> None:
        """`used`: frames that SQLite found good. Raises StorageDamaged if whole transactions come after them.

        A crash can tear the last transaction only: the one before was synced before it began.
        """
        rest = () if used is None else self.ends[used:]
        if not self.header_fits or any(rest[:-1]):
            raise StorageDamaged(f"{name} is damaged: what was written last cannot be read.")


def read_log(path: Path) -> Log:
    """Raises nothing: a log that is too short for anything holds nothing."""
    if not path.exists() or path.stat().st_size < _LOG_HEADER.size + _FRAME_BYTES:
        return Log()
    ends: list[bool | None] = []
    with path.open("rb") as file:
        header = _LOG_HEADER.unpack(file.read(_LOG_HEADER.size))
        page_size, salts = header[2], header[4:6]
        file.seek(_LOG_HEADER.size)
        first = _FRAME.unpack(file.read(_FRAME_BYTES)[: _FRAME.size])[2:]
        # The log is used again from its start, with the first salt one higher; the frames before are of no use then.
        used_again = (first[0] + 1) & 0xFFFFFFFF == salts[0]
        if page_size not in {1 << n for n in range(9, 17)} or not (first == salts or used_again):
            return Log(header_fits=False)
        size = path.stat().st_size
        for at in range(_LOG_HEADER.size, size - _FRAME_BYTES - page_size + 1, _FRAME_BYTES + page_size):
            file.seek(at)
            _, commit, *found = _FRAME.unpack(file.read(_FRAME_BYTES)[: _FRAME.size])
            ends.append(commit != 0 if tuple(found) == salts else None)
    while ends and ends[-1] is None:
        ends.pop()
    return Log(tuple(ends))
