"""The files of a data directory: which there must be, whether they are still ours, and what they held at the last stop.

`tablestore.db` and its log `tablestore.db-wal` (SQLite's) hold the data. `tablestore.seal` says that data was kept
here, so that a store that lost its file never starts as an empty one; and it has the file's checksum of the last
orderly stop.
"""

import contextlib
import json
import os
import sys
import zlib
from pathlib import Path

NAME = "tablestore.db"


class StorageError(Exception):
    """The data directory cannot be used; the text says why and what to do."""


class StorageInUse(StorageError):
    """Another process serves the data directory."""


class StorageDamaged(StorageError):
    """What is in the files is not what was written; or the files are no longer there."""

    def __init__(self, what: str) -> None:
        super().__init__(
            f"{what} Nothing more is read or written. Stop the program, keep a copy of the whole folder as it is, and "
            "put an undamaged copy in its place."
        )


class DataFiles:
    """Of one directory, whose lock is held."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.database = directory / NAME
        self.log = directory / f"{NAME}-wal"
        self.draft = directory / f"{NAME}.new"  # a database that is being made, until it is whole
        self._seal = directory / "tablestore.seal"
        self._known: dict[Path, os.stat_result] = {}

    def is_new(self) -> bool:
        """Whether nothing was ever kept here. Raises StorageDamaged if something was and is not there any more."""
        if self.database.exists():
            if self.database.stat().st_size == 0:
                raise StorageDamaged(f"{self.database} is empty: what was kept in it is lost.")
            return False
        if self._seal.exists() or (self.log.exists() and self.log.stat().st_size > 0):
            raise StorageDamaged(f"{self.database} is missing, though data was kept in it.")
        return True

    def seal(self) -> None:
        """Note what the database holds, which nobody writes to any more. Best effort: without, a start looks closer."""
        with contextlib.suppress(OSError):
            draft = self._seal.with_suffix(".seal-new")
            draft.write_text(json.dumps({"size": self.database.stat().st_size, "crc32": _checksum(self.database)}))
            draft.replace(self._seal)

    def mark(self) -> None:
        """Note that data is kept here, if that was not noted yet."""
        with contextlib.suppress(OSError):
            if not self._seal.exists():
                self._seal.write_text("{}")

    def is_as_sealed(self) -> bool:
        """Whether every byte of the database is as it was at the last orderly stop."""
        try:
            noted = json.loads(self._seal.read_text())
            untouched = not self.log.exists() or self.log.stat().st_size == 0
            size = self.database.stat().st_size
            return bool(untouched and noted["size"] == size and noted["crc32"] == _checksum(self.database))
        except (OSError, ValueError, KeyError, TypeError):
            return False

    def settle(self) -> None:
        """Whatever changed since the last look was our own doing. Raises StorageDamaged if a file went away."""
        for path in (self.database, self.log):
            found = _stat(path)
            known = self._known.get(path)
            if known is not None and (found is None or not _same(found, known)):
                raise StorageDamaged(f"{path.name} was removed or replaced while it was in use.")
            if found is not None:
                self._known[path] = found

    def check(self) -> None:
        """Raise StorageDamaged if somebody else removed, replaced, cut or wrote to a file since `settle`."""
        for path, known in self._known.items():
            found = _stat(path)
            if found is None or not _same(found, known):
                raise StorageDamaged(f"{path.name} was removed or replaced while it was in use.")
            if found.st_size < known.st_size:
                raise StorageDamaged(f"{path.name} was cut short while it was in use.")
            if path == self.database and found.st_mtime_ns != known.st_mtime_ns:  # the log may grow before a commit
                raise StorageDamaged(f"{path.name} was written to by another program while it was in use.")

    def good_frames(self) -> int | None:
        """How many frames of the log SQLite found good, once a connection has read something; None: not to be told.

        From the header of the log's index (https://sqlite.org/walformat.html, 2.1), as asking SQLite means to write
        them into the database, for which there may be no room.
        """
        try:
            with self.database.with_name(f"{NAME}-shm").open("rb") as file:
                header = file.read(20)
            return int.from_bytes(header[16:20], sys.byteorder) if len(header) == 20 else None
        except OSError:
            return None


def _stat(path: Path) -> os.stat_result | None:
    try:
        return os.stat(path)  # noqa: PTH116 - four of them per commit; half the time of Path.stat
    except OSError:
        return None


def _same(one: os.stat_result, other: os.stat_result) -> bool:
    return (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino)


def _checksum(path: Path) -> int:
    crc = 0
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            crc = zlib.crc32(block, crc)
    return crc


def sync(path: Path) -> None:
    """Make a file, or the names in a directory, durable."""
    flags = os.O_RDONLY | getattr(os, "O_BINARY", 0)
    with contextlib.suppress(OSError):  # Windows opens no directories
        descriptor = os.open(path, flags)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
