"""Progress of a running call: from its worker thread to the client that asked for it, and into the log."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable

import anyio
from mcp.server.session import ServerSession

from ..logs import CallRecord

FLUSH = 1.0  # seconds a client that does not read may hold back its own answer


@contextlib.asynccontextmanager
async def relayed(session: ServerSession | None, record: CallRecord) -> AsyncIterator[Callable[[str], None]]:
    """A function for the worker thread: called with a phrase, it returns at once. `session` None: nobody has asked to
    hear of it, and only the log does.

    A phrase's first word names the phase in the log ("comparing with 5 memories" → "comparing").
    """

    def log(phrase: str) -> None:
        record.phase(phrase.split(" ", 1)[0], time.monotonic())

    if session is None:
        yield log
        return
    loop = asyncio.get_running_loop()
    phrases: asyncio.Queue[str | None] = asyncio.Queue()

    async def forward() -> None:
        n = 0
        while (phrase := await phrases.get()) is not None:
            n += 1
            await session.report_progress(n, message=phrase)

    def tell(phrase: str) -> None:
        log(phrase)
        with contextlib.suppress(RuntimeError):  # the loop is closed: the process ends while this write goes on
            loop.call_soon_threadsafe(phrases.put_nowait, phrase)

    # A task, not a task group: that would wrap the call's own exception into a group.
    task = asyncio.create_task(forward())
    try:
        yield tell
        phrases.put_nowait(None)
        with anyio.move_on_after(FLUSH):
            await task
    finally:
        task.cancel()
