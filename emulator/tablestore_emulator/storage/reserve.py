"""Disk space kept for deleting: when the disk is full, these files are given back, one after the other.

Without the first part only small changes are taken, such as deleting single memories, which leaves a line of history,
or finishing what was begun when the disk became full; without the second only what makes rows smaller or removes them.
So deleting works on a disk that was filled by others, and what it frees cannot be used up by those who filled it.
"""

import contextlib
import os
import time
from pathlib import Path

PARTS = 2
PART_BYTES = 8 * 1024 * 1024  # a batch of deletions and the log that it goes through take a few MB
_GROWTH = (512, 64 * 1024)  # bytes that one row may grow by, by the number of parts that are left
_PAUSE = 1.0  # seconds between attempts to get it back
_BLOCK = 1 << 20


class Reserve:
    """Of one data directory; `directory` None: of one in memory, which needs none."""

    def __init__(self, directory: Path | None) -> None:
        names = [] if directory is None else [directory / f"reserve-{n}" for n in range(PARTS)]
        self._paths = names
        self._held = [path for path in names if path.exists() and path.stat().st_size >= PART_BYTES]
        self._tried = float("-inf")
        self._released = False

    @property
    def low(self) -> bool:
        """Whether some of it had to be given back since the start."""
        return self._released

    @property
    def growth(self) -> int | None:
        """Bytes that one row may grow by; None: as it likes."""
        return _GROWTH[len(self._held)] if self._released else None

    def release(self) -> bool:
        """Give one part back to the disk. False: there is none left."""
        self._released = bool(self._paths)
        if not self._held:
            return False
        with contextlib.suppress(OSError):
            self._held.pop().unlink(missing_ok=True)
        return True

    def restore(self) -> bool:
        """Take it (back), if there is room; not more often than once a second. Whether it is whole."""
        if len(self._held) == len(self._paths):
            self._released = False
            return True
        if time.monotonic() < self._tried + _PAUSE:
            return False
        self._tried = time.monotonic()
        for path in self._paths:
            if path not in self._held:
                if not _filled(path):
                    return False
                self._held.append(path)
        self._released = False
        return True


def _filled(path: Path) -> bool:
    try:
        with path.open("wb") as file:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, PART_BYTES)
            else:
                for _ in range(PART_BYTES // _BLOCK):
                    file.write(bytes(_BLOCK))
    except OSError:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)
        return False
    return True
