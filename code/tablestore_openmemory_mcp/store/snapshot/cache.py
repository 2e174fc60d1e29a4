"""The newest snapshot of each scope that this process has seen, within a bound of bytes."""

import threading
import time
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from weakref import WeakValueDictionary

from ...errors import StoreUnavailable
from ...scope import Scope
from .snapshot import ScopeSnapshot


class ScopeLock:
    """A lock that the cache can forget once nobody holds it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()

    @contextmanager
    def held(self, deadline: float) -> Iterator[None]:
        """Raises StoreUnavailable at `deadline` (time.monotonic()): whoever holds it waits for the network."""
        if not self._lock.acquire(timeout=max(0.0, deadline - time.monotonic())):
            raise StoreUnavailable("Others are still reading this memory.")
        try:
            yield
        finally:
            self._lock.release()


class SnapshotCache:
    """Least recently used first out. Never holds a snapshot older than one it was given."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._held: OrderedDict[Scope, ScopeSnapshot] = OrderedDict()
        self._bytes = 0
        self._locks: WeakValueDictionary[Scope, ScopeLock] = WeakValueDictionary()
        self._lock = threading.Lock()
        self._incoming = 0
        self._arrived = threading.Condition()

    def get(self, scope: Scope) -> ScopeSnapshot | None:
        with self._lock:
            snapshot = self._held.get(scope)
            if snapshot:
                self._held.move_to_end(scope)
            return snapshot

    def put(self, snapshot: ScopeSnapshot) -> ScopeSnapshot:
        """Keep it unless a newer one is here; whichever is newer."""
        with self._lock:
            held = self._held.get(snapshot.scope)
            if held and held.seq > snapshot.seq:
                return held
            self._bytes += snapshot.nbytes - (held.nbytes if held else 0)
            self._held[snapshot.scope] = snapshot
            self._held.move_to_end(snapshot.scope)
            while self._bytes > self._max_bytes and len(self._held) > 1:
                _, evicted = self._held.popitem(last=False)
                self._bytes -= evicted.nbytes
            return snapshot

    def drop(self, snapshot: ScopeSnapshot) -> None:
        """Forget it, if it is still the one held."""
        with self._lock:
            if self._held.get(snapshot.scope) is snapshot:
                del self._held[snapshot.scope]
                self._bytes -= snapshot.nbytes

    def loading(self, scope: Scope) -> ScopeLock:
        """Whoever loads or refreshes a scope holds this, so that a crowd at a cold scope reads it once."""
        with self._lock:
            return self._locks.setdefault(scope, ScopeLock())

    @contextmanager
    def room(self, nbytes: int, deadline: float) -> Iterator[None]:
        """Whoever reads a whole scope of about `nbytes` does so in here, so that all that do hold no more than the
        cache does; one may always. Raises StoreUnavailable at `deadline` (time.monotonic())."""
        with self._arrived:
            waits = max(0.0, deadline - time.monotonic())
            if not self._arrived.wait_for(lambda: self._fits(nbytes), waits):
                raise StoreUnavailable("Too many large memories are being read at once.")
            self._incoming += nbytes
        try:
            yield
        finally:
            with self._arrived:
                self._incoming -= nbytes
                self._arrived.notify_all()

    def _fits(self, nbytes: int) -> bool:
        return self._incoming == 0 or self._incoming + nbytes <= self._max_bytes
