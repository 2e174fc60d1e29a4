"""/healthz: the process serves. /readyz: the store can be reached too."""

import logging
import time
from collections.abc import Callable

import anyio
import anyio.to_thread
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from .. import __version__
from ..errors import ServiceError, StoreDamaged

logger = logging.getLogger(__name__)

FRESH = 5.0  # seconds a store's answer is believed, so that health checks cost next to nothing


class Health:
    def __init__(self, ping: Callable[[], None]) -> None:
        self._ping = ping
        self._lock = anyio.Lock()
        self._asked = float("-inf")
        self._ready = False
        self._trouble = ""
        self.draining = False

    async def healthz(self, _request: Request) -> Response:
        return JSONResponse({"status": "ok", "version": __version__})

    async def readyz(self, _request: Request) -> Response:
        """200, or 503 while shutting down or while the store cannot be reached (the log says why)."""
        if self.draining:
            return JSONResponse({"status": "draining"}, 503)
        if await self.ready():
            return JSONResponse({"status": "ready"})
        return JSONResponse({"status": self._trouble}, 503)

    async def ready(self) -> bool:
        """Whether the store could be reached, at most FRESH seconds ago."""
        async with self._lock:
            if time.monotonic() - self._asked > FRESH:
                self._ready = await self._reachable()
                self._asked = time.monotonic()
        return self._ready

    async def _reachable(self) -> bool:
        try:
            await anyio.to_thread.run_sync(self._ping)
        except ServiceError as e:
            logger.warning("not ready: %s", e)
            self._trouble = "store damaged" if isinstance(e, StoreDamaged) else "store unreachable"
            return False
        return True
