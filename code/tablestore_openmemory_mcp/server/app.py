"""The ASGI application: which path leads where, and what every request passes first. Nothing else."""

import contextlib
from collections.abc import AsyncIterator

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import Receive, Scope, Send

from ..settings import Settings
from .auth.authenticators import authenticator
from .auth.middleware import METADATA, AuthMiddleware
from .auth.origin import Origins
from .auth.resource_metadata import ResourceMetadata
from .backend import Backend
from .health import Health
from .identity import URLS, Identified, RequestIds, from_client_path, from_headers, from_path
from .logs import CallLog
from .tools.calls import Calls
from .transports.cors import Cors
from .transports.http import HttpEndpoint
from .transports.sse.endpoint import SseMessages, SseStream
from .transports.sse.relay import Relay
from .transports.sse.sessions import Sessions

MESSAGES = "/mcp/messages/"


class App:
    """The application and what a host needs to know of it. Calling it is ASGI.

    With `sse` false there are no streams, and so nothing that outlives a request.
    """

    def __init__(self, settings: Settings, backend: Backend, *, sse: bool = True) -> None:
        self._settings = settings
        self._authenticator = authenticator(settings, backend.tokens)
        self.calls = Calls(settings, backend.memory, CallLog(next(iter(settings.auth_secrets), None)))
        self.sessions = Sessions(settings)
        self.health = Health(backend.ping)
        self._relay = Relay(backend.rows, self.sessions) if sse and settings.relays else None
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
        settings = self._settings
        routes: list[BaseRoute] = [
            Route("/healthz", self.health.healthz, methods=["GET"]),
            Route("/readyz", self.health.readyz, methods=["GET"]),
        ]
        if settings.mcp_auth == "jwt":
            routes.append(Route(METADATA, ResourceMetadata(settings), methods=["GET"]))
        if sse:
            stream = SseStream(
                self.sessions,
                self.calls.server(),
                self._relay,
                messages_path=MESSAGES,
                idle_timeout=settings.session_idle_timeout,
            )
            messages = SseMessages(self.sessions, self._relay, settings.max_body_size)
            routes += _both("/mcp/messages", messages, "POST")
            routes += _both("/mcp/{client_name}/sse/{user_id}", Identified(stream, from_path), "GET")
            whose = from_client_path(calls_name_users=settings.tool_user_id_argument)
            routes += _both("/mcp/{client_name}/sse", Identified(stream, whose), "GET")  # release 1.x has it
            routes += _both("/sse", Identified(stream, from_headers), "GET")
        # POST only: stateless, the SDK would answer GET with a stream that stays open for nothing.
        routes += _both("/mcp/{client_name}/http/{user_id}", Identified(self._http, from_path), "POST")
        routes += _both("/mcp", Identified(self._http, from_headers), "POST")
        return routes

    def _middleware(self) -> list[Middleware]:
        settings = self._settings
        layers = [
            Middleware(RequestIds),
            Middleware(
                AuthMiddleware,
                authenticator=self._authenticator,
                origins=Origins(settings.mcp_allowed_origins, settings.mcp_public_url),
            ),
        ]
        if settings.mcp_allowed_origins:
            layers.insert(0, Middleware(Cors, allowed=settings.mcp_allowed_origins))
        return layers

    @contextlib.asynccontextmanager
    async def _lifespan(self, _app: Starlette) -> AsyncIterator[None]:
        async with self._http.running(), self._relay.running() if self._relay else contextlib.nullcontext():
            yield


def _both(path: str, endpoint: object, method: str) -> list[BaseRoute]:
    """With and without a trailing slash; a redirect would lose a POST's body in some clients."""
    return [Route(p, endpoint, methods=[method]) for p in (path, path + "/")]  # type: ignore[arg-type]


async def _nothing_here(_request: Request, _error: Exception) -> Response:
    return PlainTextResponse(f"There is nothing at this path. {URLS}", 404)
