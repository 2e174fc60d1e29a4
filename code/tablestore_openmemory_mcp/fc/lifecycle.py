"""The two hooks that Function Compute calls on an instance. Both may come more than once, and before a mere freeze."""

import logging
import time
from collections.abc import Callable

import anyio
import anyio.to_thread

from ..errors import ServiceError
from ..server.app import App

logger = logging.getLogger(__name__)

WARM_SECONDS = 30.0  # of the 60 that s.yaml gives the hook: making tables in a new instance can take a minute
PRE_STOP_SECONDS = 20.0  # of 30
MAX_WAITING = 2  # the platform sends one /pre-stop; whoever sends more does not get to hold connections


class Lifecycle:
    """`warm` blocks and may raise a ServiceError; its argument is a deadline (time.monotonic())."""

    def __init__(self, app: App, warm: Callable[[float], None]) -> None:
        self._app = app
        self._warm = warm
        self._lock = anyio.Lock()
        self._tried = False
        self._waiting = 0

    async def initialize(self) -> None:
        """Load what the first call needs. Never fails: an instance whose store is away for a moment is still good, and
        a wrong configuration is told to whoever calls, in a sentence. Only the first call does anything, whether it
        works or not: then the calls themselves try again. So it costs nothing to be called by a stranger."""
        async with self._lock:
            if self._tried:
                return
            self._tried = True
            with anyio.move_on_after(WARM_SECONDS):
                await anyio.to_thread.run_sync(try_to_warm, self._warm, abandon_on_cancel=True)

    async def pre_stop(self) -> None:
        """Let the running calls end, for a while. Nothing is closed: after a freeze the instance goes on, and sockets
        that died in between are noticed and replaced where they are used. Nor is anything refused meanwhile: a stranger
        who gets through to here has stopped nobody."""
        if self._waiting >= MAX_WAITING:
            return
        self._waiting += 1
        try:
            with anyio.move_on_after(PRE_STOP_SECONDS):
                await self._app.calls.settled()
        finally:
            self._waiting -= 1


def try_to_warm(warm: Callable[[float], None]) -> bool:
    """Whether it worked; if not, the log says why, and the first call tries again."""
    try:
        warm(time.monotonic() + WARM_SECONDS)
    except ServiceError as e:
        logger.warning("not warm: %s", e)
        return False
    except Exception:
        logger.exception("not warm, for an unforeseen reason")
        return False
    return True
