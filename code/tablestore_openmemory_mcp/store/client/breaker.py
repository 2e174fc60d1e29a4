"""A store that is away is said to be away at once, for a short while, instead of being waited for by every call."""

import copy
import threading
import time

from ...errors import StoreError

LONGEST = 2.0  # seconds that a recovery may stay unnoticed, and no longer than the last attempt took to fail


class Breaker:
    """A circuit breaker for "nobody answers"; what an answer says never opens it. Any thread may use it.

    Open, it lets one call at a time through to look, and that one tries once. A store that refuses connections fails
    such a look in no time, so that its return is seen by the next call; one that swallows them is looked at now and
    then.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._error: StoreError | None = None
        self._closed_until = float("-inf")
        self._looking = False

    def admit(self) -> bool:
        """Whether the caller is the one that looks (then it must call `looked` in the end). Raises what the last
        attempt ended with."""
        with self._lock:
            if self._error is None:
                return False
            if self._looking or time.monotonic() < self._closed_until:
                raise copy.copy(self._error)
            self._looking = True
            return True

    def looked(self) -> None:
        """The look is over."""
        with self._lock:
            self._looking = False

    def failed(self, error: StoreError, took: float) -> None:
        """Nobody answered; the last attempt took so many seconds to find out."""
        with self._lock:
            self._error = error
            self._closed_until = time.monotonic() + min(took, LONGEST)

    def answered(self) -> None:
        """Somebody did, whatever it said."""
        if self._error is not None:
            with self._lock:
                self._error = None
