"""From a request to its Caller: whose memory, by whose right."""

import secrets
from urllib.parse import unquote_to_bytes

from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from .. import scope as names
from .caller import Caller
from .logs import REQUEST_ID

URLS = (
    "Use /mcp/{client_name}/sse/{user_id} (SSE) or /mcp/{client_name}/http/{user_id} (Streamable HTTP), for example "
    "/mcp/cline/sse/alice. A user_id or client_name has " + names.NAME_RULE + ", percent-encoded."
)


class RequestIds:
    """Gives every request an id for the logs, unless the host has (Function Compute does)."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            REQUEST_ID.set(scope.setdefault("request_id", secrets.token_hex(8)))
        await self._app(scope, receive, send)


class Identified:
    """Puts `scope["caller"]` from the path's client_name and user_id; 400 if they cannot be names, 403 if the
    principal may not use them."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        params = scope["path_params"]
        principal = scope["principal"]
        try:
            _check_utf8(scope)
            whose = names.Scope(params["user_id"], params["client_name"])
        except names.InvalidName as e:
            await PlainTextResponse(str(e), 400)(scope, receive, send)
            return
        if not principal.may_use(whose):
            sentence = "This token is not for this user_id and client_name."
            await PlainTextResponse(sentence, 403)(scope, receive, send)
            return
        scope["caller"] = Caller(whose, principal, scope["request_id"])
        await self._app(scope, receive, send)


def _check_utf8(scope: Scope) -> None:
    # Servers decode the path with replacement characters: two different broken names would become one user.
    raw = scope.get("raw_path")
    if raw is None:
        return
    try:
        unquote_to_bytes(raw).decode()
    except UnicodeDecodeError:
        raise names.InvalidName(f"The path is not UTF-8; accepted names: {names.NAME_RULE}.") from None
