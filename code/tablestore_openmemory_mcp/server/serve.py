"""The process behind the HTTP transports: serve, and on SIGTERM let running writes finish."""

import logging
import os
import signal
import socket
import sys
from types import FrameType

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.auto import AutoHTTPProtocol

from ..settings import Settings
from .app import App
from .auth.connection import remembering

logger = logging.getLogger(__name__)


def serve(app: App, sock: socket.socket, settings: Settings, host: ASGIApp | None = None) -> None:
    """Serve until SIGTERM or SIGINT. Returns when all is answered, or ends the process when the grace is over.

    `host`: what stands around `app` and passes requests on to it, such as fc.host.
    """
    config = uvicorn.Config(
        host or app,
        http=remembering(AutoHTTPProtocol),
        lifespan="on",
        ws="none",
        log_config=None,
        access_log=False,  # its lines hold session ids
        server_header=False,
        proxy_headers=False,  # or X-Forwarded-For would choose the peer's address, and with it who is local
        timeout_keep_alive=120,
        timeout_graceful_shutdown=max(1, round(settings.shutdown_grace)),
    )
    _Server(config, app).run(sockets=[sock])


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, app: App) -> None:
        super().__init__(config)
        self._app = app

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        # uvicorn's own raises the signal again at the end: the exit status would say "killed", not 0. (It is also
        # where sse-starlette hooks in, to cut all streams at once.)
        if self.should_exit and sig == signal.SIGINT:
            self.force_exit = True
        self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._app.drain()
        await super().shutdown(sockets)
        if self._app.calls.running:
            # Their threads cannot be stopped, and would hold the process. Commits are atomic: nothing is half-written.
            logger.error("%d calls did not end within SHUTDOWN_GRACE; leaving", self._app.calls.running)
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(0)
