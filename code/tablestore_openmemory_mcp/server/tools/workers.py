"""Bounded threads for blocking work, so that the event loop never waits.

Two pools exist per process: adds mostly wait for an LLM, and must not keep a search waiting. Threads start on demand.
"""

import time
from collections.abc import Callable
from typing import TypeVar

import anyio
import anyio.to_thread

from ...errors import Busy

T = TypeVar("T")


class Workers:
    """A pool of at most `size` threads; at most `queue` further calls wait for one, the next gets Busy."""

    def __init__(self, size: int, queue: int) -> None:
        self._limiter = anyio.CapacityLimiter(size)
        self._queue = queue

    async def run(self, work: Callable[[], T]) -> tuple[T, float]:
        """`work()` on a thread: its result, and how many seconds it waited for one.

        A cancelled caller stops waiting for a thread, but once started the work is waited for, whatever happens to the
        caller. A write must not go on unknown to a server that shuts down; and a search that was abandoned would keep
        its thread while giving back its place, so that hanging up could start any number of threads.
        """
        if self._limiter.statistics().tasks_waiting >= self._queue:
            raise Busy("Too many calls wait for this server; nothing was done")
        asked = time.monotonic()

        def timed() -> tuple[T, float]:
            waited = time.monotonic() - asked
            return work(), waited

        return await anyio.to_thread.run_sync(timed, limiter=self._limiter)
