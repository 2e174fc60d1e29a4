"""The middleware at the door: every path of the application passes it, but for those in OPEN_PATHS."""

from typing import Protocol

from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from ..caller import Principal
from .local import is_local
from .origin import Origins
from .refusal import Refused

OPEN_PATHS = frozenset({"/healthz", "/readyz"})  # tell nothing about anyone

ANONYMOUS = Principal("anonymous")
LOCAL = Principal("local")


class Gate(Protocol):
    """Decides one request."""

    async def admit(self, scope: Scope) -> Principal:
        """Who it is. Raises Refused."""
        ...


class AnonymousGate:
    """MCP_AUTH=anonymous: the operator has decided that the network in front of this server is the lock."""

    async def admit(self, scope: Scope) -> Principal:
        return ANONYMOUS


class LocalGate:
    """Only this machine's own user; everyone else is told how to come in."""

    async def admit(self, scope: Scope) -> Principal:
        if is_local(scope):
            return LOCAL
        raise Refused(
            401,
            "Without a token this server answers only programs on its own machine that call it as localhost and not "
            "through a proxy. To serve anyone on a network that you trust, start it with MCP_AUTH=anonymous.",
            {"WWW-Authenticate": "Bearer"},
        )


class Door:
    """Puts `scope["principal"]`, or answers for the application."""

    def __init__(self, app: ASGIApp, gate: Gate, origins: Origins) -> None:
        self._app = app
        self._gate = gate
        self._origins = origins

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in OPEN_PATHS:
            await self._app(scope, receive, send)
            return
        try:
            self._origins.check(scope)
            scope["principal"] = await self._gate.admit(scope)
        except Refused as e:
            await PlainTextResponse(e.sentence, e.status, e.headers)(scope, receive, send)
            return
        await self._app(scope, receive, send)
