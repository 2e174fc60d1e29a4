"""One attempt at something slow for everybody who needs it; each waits no longer than it can."""

import copy
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Generic, TypeVar

from .errors import ServiceError, StoreUnavailable

T = TypeVar("T")


class SharedAttempt(Generic[T]):
    """Runs `work` on a thread of its own, never twice at a time. Its result is not kept: whoever asks keeps it.

    `work` must end by itself. What it raises is raised to everybody who waits for it.
    """

    def __init__(self, work: Callable[[], T], late: str, setting: str | None = None) -> None:
        """`late`: what those are told whose deadline comes first; `setting`: see ServiceError."""
        self._work = work
        self._late = late
        self._setting = setting
        self._lock = threading.Lock()
        self._running: Future[T] | None = None

    def result(self, deadline: float | None) -> T:
        """Of the attempt that is under way, or of a new one. `deadline`: time.monotonic(); None: as long as it takes.

        Raises StoreUnavailable at the deadline; the attempt goes on for those who come later.
        """
        with self._lock:
            running = self._running
            if running is None:
                running = Future()
                threading.Thread(target=self._run, args=(running,), daemon=True, name="attempt").start()
                self._running = running  # not before: where no thread can be had, nobody would ever end it
        try:
            return running.result(None if deadline is None else max(0.0, deadline - time.monotonic()))
        except TimeoutError:
            raise StoreUnavailable(self._late, setting=self._setting) from None
        except ServiceError as e:
            raise copy.copy(e) from e  # an exception collects the traceback of each thread that raises it

    def _run(self, mine: "Future[T]") -> None:
        try:
            result = self._work()
        except BaseException as e:
            self._over()
            mine.set_exception(e)
        else:
            self._over()
            mine.set_result(result)

    def _over(self) -> None:
        with self._lock:
            self._running = None
