"""The process behind the HTTP transports: serve, and on SIGTERM let running writes finish."""

import asyncio
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable
from types import FrameType

import uvicorn
from starlette.types import ASGIApp

from ...settings import Settings
from ..app import App
from ..logs import ending
from .connections import Limits
from .protocol import Config
from .sockets import QUEUE

logger = logging.getLogger(__name__)


def serve(
    app: App,
    sockets: list[socket.socket],
    settings: Settings,
    host: ASGIApp | None = None,
    *,
    started: Callable[[], None] = lambda: None,
) -> None:
    """Serve until SIGTERM or SIGINT. Returns when all is answered, or ends the process when the grace is over.

    `host`: what stands around `app` and passes requests on to it, such as fc.host. `started`: called on the event loop
    once clients are served.
    """
    config = Config(host or app, Limits.of(settings), grace=settings.shutdown_grace)
    server = _Server(config, app, started)
    hangup = getattr(signal, "SIGHUP", None)  # its terminal is closed; ignored under nohup
    if hangup is not None and signal.getsignal(hangup) is signal.SIG_DFL:
        signal.signal(hangup, server.handle_exit)
    try:
        server.run(sockets=sockets)
    except SystemExit:
        ending("the application did not start")
        raise


class BoundedServer(uvicorn.Server):
    """uvicorn's server, which looks after its connections."""

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self._peers = config.peers

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        for sock in sockets or []:
            sock.listen(QUEUE)  # asyncio has made it as short as its batches

    async def on_tick(self, counter: int) -> bool:
        if counter % 10 == 0:  # once a second
            self._peers.sweep(asyncio.get_running_loop().time())
        return await super().on_tick(counter)


class _Server(BoundedServer):
    def __init__(self, config: Config, app: App, started: Callable[[], None]) -> None:
        super().__init__(config)
        self._app = app
        self._started = started
        self._why = ""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._started()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        # uvicorn's own raises the signal again at the end: the exit status would say "killed", not 0. (It is also
        # where sse-starlette hooks in, to cut all streams at once.)
        if self.should_exit and sig == signal.SIGINT:
            self.force_exit = True
        self.should_exit = True
        self._why = self._why or signal.Signals(sig).name

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        running = self._app.calls.running
        self._app.drain()
        await super().shutdown(sockets)
        cut = self._app.calls.running
        if cut:
            logger.error("%d calls did not end within SHUTDOWN_GRACE; leaving", cut)
        ending(self._why or "asked to", finished=running - cut, cut=cut)
        if cut:
            # Their threads cannot be stopped, and would hold the process. Commits are atomic: nothing is half-written.
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(0)
