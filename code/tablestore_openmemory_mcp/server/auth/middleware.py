"""The middleware at the door. Every path of the application passes it; those in OPEN_PATHS need no principal."""

import logging

from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from .authenticators import Authenticator
from .origin import Origins
from .refusal import Refused

logger = logging.getLogger(__name__)

METADATA = "/.well-known/oauth-protected-resource"
OPEN_PATHS = frozenset({"/healthz", "/readyz", METADATA})  # they tell nothing about anyone


class AuthMiddleware:
    """Puts `scope["principal"]`, or answers for the application."""

    def __init__(self, app: ASGIApp, authenticator: Authenticator, origins: Origins) -> None:
        self._app = app
        self._authenticator = authenticator
        self._origins = origins

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            self._origins.check(scope)
            if scope["path"] not in OPEN_PATHS:
                scope["principal"] = await self._authenticator.admit(scope)
        except Refused as e:
            logger.info("refused with %d", e.status)
            await PlainTextResponse(e.sentence, e.status, e.headers)(scope, receive, send)
            return
        await self._app(scope, receive, send)
