"""A value that is read from elsewhere when it is needed, by one attempt for everybody, and kept for a while."""

import copy
import threading
import time
from collections.abc import Callable
from typing import Generic, NamedTuple, TypeVar

from ...single_flight import SharedAttempt

T = TypeVar("T")


class Held(NamedTuple, Generic[T]):
    """`at`: time.monotonic() when its reading began."""

    value: T
    at: float


class Refreshed(Generic[T]):
    """Blocking and thread-safe: nobody waits for another's turn, and each no longer than it says."""

    def __init__(self, read: Callable[[], T], late: str) -> None:
        """`read` must end by itself. `late`: what those are told who have waited long enough."""
        self._read = read
        self._lock = threading.Lock()
        self._held: Held[T] | None = None
        self._failed: tuple[Exception, float] | None = None  # and when
        self._era = 0
        self._attempt = SharedAttempt(self._once, late)

    @property
    def held(self) -> Held[T] | None:
        """What was read last."""
        return self._held

    def get(self, *, fresh: float, patience: float, rest: float) -> Held[T]:
        """At most `fresh` seconds old if that can be had within `patience` seconds, else what was read last.

        For `rest` seconds after a failure nothing is asked. Raises what the last attempt did, or StoreUnavailable after
        `patience`, if nothing was ever read.
        """
        with self._lock:
            held, failed, era = self._held, self._failed, self._era
        if held is not None and time.monotonic() - held.at <= fresh:
            return held
        try:
            if failed is None or time.monotonic() - failed[1] >= rest:
                return self._read_since(era, time.monotonic() + patience)
        except Exception:
            if self._held is None:
                raise
        if (held := self._held) is not None:
            return held
        assert failed is not None  # noqa: S101 - for the type checker
        raise copy.copy(failed[0])

    def _read_since(self, era: int, deadline: float) -> Held[T]:
        while True:
            of, found = self._attempt.result(deadline)
            if of >= era:  # else it began before `forget` was called
                return found

    def forget(self) -> None:
        """What is or is being read will not do any more."""
        with self._lock:
            self._held = self._failed = None
            self._era += 1

    def _once(self) -> tuple[int, Held[T]]:
        era, began = self._era, time.monotonic()
        try:
            found = Held(self._read(), began)
        except Exception as e:
            with self._lock:
                self._failed = e, time.monotonic()
            raise
        with self._lock:
            if era == self._era:
                self._held, self._failed = found, None
        return era, found
