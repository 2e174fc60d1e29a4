"""What a store does while nobody waits for it: forgets for good what was deleted, and keeps space for bad times."""

import logging
import sqlite3
import time

from .sqlite_storage import Storage, StorageDamaged

_log = logging.getLogger(__name__)

_IDLE = 1.0  # seconds without a write; then old versions of rows leave the log
_BUSY = 15.0  # the same under steady load
_REST = 50  # times as long as the file's last rewriting took, until it is rewritten again
_AGAIN = 60.0  # seconds until a rewriting that failed is tried again


class Upkeep:
    """Call `tick` every PERIOD seconds between transactions. Times are time.monotonic() values."""

    PERIOD = 0.5

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._wrote = float("-inf")
        self._folded = float("-inf")  # since when the log is not empty
        self._unfolded = False
        self._rewrite_from = float("-inf")

    def wrote(self, now: float) -> None:
        """Something was committed."""
        if not self._unfolded:
            self._folded = now
        self._unfolded = True
        self._wrote = now

    def tick(self, now: float) -> None:
        """Do what is due. Raises nothing: what cannot be done now is due again later."""
        storage = self._storage
        if storage.damage:
            return
        try:
            storage.look()
            idle = now - self._wrote >= _IDLE
            if self._unfolded and (idle or now - self._folded >= _BUSY):
                self._unfolded = not storage.fold()
                self._folded = now
            if storage.erased and idle and now >= self._rewrite_from:
                self._rewrite(now)
            storage.reserve.restore()
        except (sqlite3.Error, StorageDamaged) as e:
            if storage.is_damage(e):
                _log.error("%s", storage.damage)
            else:
                _log.warning("The log could not be written into the file: %s.", e)

    def _rewrite(self, now: float) -> None:
        self._rewrite_from = now + _AGAIN
        try:
            self._storage.purge()
        except sqlite3.Error as e:
            if self._storage.is_damage(e):
                raise
            _log.warning("Parts of deleted rows may still be in the file; it is rewritten when there is room: %s.", e)
        else:
            self._rewrite_from = now + _REST * (time.monotonic() - now)
