"""Bounded threads for blocking work, so that the event loop never waits.

Two pools exist per process: adds mostly wait for an LLM, and must not keep a search waiting. Threads start on demand.
"""

import asyncio
import contextlib
import contextvars
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import anyio

from ...errors import Busy

T = TypeVar("T")


class Workers:
    """A pool of at most `size` threads; at most `queue` further calls wait for one, the next gets Busy.

    Not `anyio.to_thread`: handing a call to one of its threads and back takes the event loop three times as long.
    """

    def __init__(self, size: int, queue: int) -> None:
        self._threads = ThreadPoolExecutor(size, thread_name_prefix="worker")
        self._most = size + queue
        self._calls = 0  # that run or wait

    async def run(self, work: Callable[[], T]) -> tuple[T, float]:
        """`work()` on a thread: its result, and how many seconds it waited for one.

        A cancelled caller stops waiting for a thread, but once started the work is waited for, whatever happens to the
        caller. A write must not go on unknown to a server that shuts down; and a search that was abandoned would keep
        its thread while giving back its place, so that hanging up could start any number of threads.
        """
        if self._calls >= self._most:
            raise Busy("Too many calls wait for this server; nothing was done")
        asked = time.monotonic()

        def timed() -> tuple[T, float]:
            waited = time.monotonic() - asked
            return work(), waited

        self._calls += 1
        try:
            return await _outcome(self._threads.submit(contextvars.copy_context().run, timed))
        finally:
            self._calls -= 1


async def _outcome(job: "Future[T]") -> T:
    try:
        await _ended(job)
    except asyncio.CancelledError:
        if not job.cancel():  # a thread has it already
            with anyio.CancelScope(shield=True):
                await _ended(job)
        raise
    return job.result()


async def _ended(job: "Future[T]") -> None:
    """Wait until `job` is done. Being cancelled does not cancel it."""
    loop = asyncio.get_running_loop()
    ended = loop.create_future()

    def settle() -> None:
        if not ended.done():
            ended.set_result(None)

    def tell(_job: "Future[T]") -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: the process ends while this work goes on
            loop.call_soon_threadsafe(settle)

    job.add_done_callback(tell)
    await ended
