"""The ASGI application: which path leads where, and what every request passes first. Nothing else."""

import contextlib
from collections.abc import AsyncIterator, Callable

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import Receive, Scope, Send

from ..settings import Settings
from .auth.door import AnonymousGate, Door, Gate, LocalGate
from .auth.origin import Origins
from .calls import Calls
from .health import Health
from .http import HttpEndpoint
from .identity import URLS, Identified, RequestIds
from .logs import CallLog
from .sessions import Sessions
from .sse import SseMessages, SseStream
from .tools import Memory

MESSAGES = "/mcp/messages/"


class App:
    """The application and what a host needs to know of it. Calling it is ASGI.

    `memory` builds or returns the memory service, `ping` raises a ServiceError if the store cannot be reached; both
    block and are called on worker threads, at first need.
    """

    def __init__(
        self, settings: Settings, memory: Callable[[], Memory], ping: Callable[[], None], *, sse: bool = True
    ) -> None:
        self._settings = settings
        self.calls = Calls(settings, memory, CallLog())
        self.sessions = Sessions(settings)
        self.health = Health(ping)
        self._http = HttpEndpoint(self.calls.server(), settings.max_body_size)
        self._starlette = Starlette(
            routes=self._routes(sse=sse),
            middleware=self._middleware(),
            exception_handlers={404: _nothing_here},
            lifespan=self._lifespan,
        )
        self._starlette.router.redirect_slashes = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._starlette(scope, receive, send)

    def drain(self) -> None:
        """Begin to end: no new calls, streams close once their running calls are answered."""
        self.health.draining = True
        self.calls.refuse()
        self.sessions.drain()

    def _routes(self, *, sse: bool) -> list[BaseRoute]:
        routes: list[BaseRoute] = [
            Route("/healthz", self.health.healthz, methods=["GET"]),
            Route("/readyz", self.health.readyz, methods=["GET"]),
        ]
        if sse:
            stream = SseStream(self.sessions, self.calls.server(), MESSAGES, self._settings.session_idle_timeout)
            messages = SseMessages(self.sessions, self._settings.max_body_size)
            routes += _both("/mcp/messages", messages, "POST")
            routes += _both("/mcp/{client_name}/sse/{user_id}", Identified(stream), "GET")
        # POST only: stateless, the SDK would answer GET with a stream that stays open for nothing.
        routes += _both("/mcp/{client_name}/http/{user_id}", Identified(self._http), "POST")
        return routes

    def _middleware(self) -> list[Middleware]:
        settings = self._settings
        layers = [
            Middleware(RequestIds),
            Middleware(
                Door, gate=gate(settings), origins=Origins(settings.mcp_allowed_origins, settings.mcp_public_url)
            ),
        ]
        if settings.mcp_allowed_origins:
            cors = Middleware(
                CORSMiddleware,
                allow_origins=list(settings.mcp_allowed_origins),
                allow_methods=["GET", "POST"],
                allow_headers=["Authorization", "Content-Type", "MCP-Protocol-Version", "Mcp-Method", "Mcp-Name"],
            )
            layers.insert(0, cors)
        return layers

    @contextlib.asynccontextmanager
    async def _lifespan(self, _app: Starlette) -> AsyncIterator[None]:
        async with self._http.running():
            yield


def gate(settings: Settings) -> Gate:
    """Who decides at the door, by MCP_AUTH."""
    return AnonymousGate() if settings.mcp_auth == "anonymous" else LocalGate()


def _both(path: str, endpoint: object, method: str) -> list[BaseRoute]:
    """With and without a trailing slash; a redirect would lose a POST's body in some clients."""
    return [Route(p, endpoint, methods=[method]) for p in (path, path + "/")]  # type: ignore[arg-type]


async def _nothing_here(_request: Request, _error: Exception) -> Response:
    return PlainTextResponse(f"There is nothing at this path. {URLS}", 404)
