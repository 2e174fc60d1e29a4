"""From a request to its Caller: whose memory, by whose right."""

import secrets
from collections.abc import Callable
from urllib.parse import unquote_to_bytes

from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from .. import scope as names
from .caller import Caller, Principal, matches
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
    """Puts `scope["caller"]`; `find` tells whose memory the request is about. 400 if that cannot be made out, 403 if
    the principal may not use it."""

    def __init__(self, app: ASGIApp, find: "Find") -> None:
        self._app = app
        self._find = find

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        principal: Principal = scope["principal"]
        try:
            whose = self._find(scope, principal)
        except names.InvalidName as e:
            await PlainTextResponse(str(e), 400)(scope, receive, send)
            return
        unnamed = isinstance(whose, Unnamed)
        if not (matches(principal.clients, whose.client_name) if unnamed else principal.may_use(whose)):
            sentence = "This token is not for this user_id and client_name."
            await PlainTextResponse(sentence, 403)(scope, receive, send)
            return
        scope["caller"] = Caller(whose, principal, scope["request_id"], unnamed)
        await self._app(scope, receive, send)


class Unnamed(names.Scope):
    """Of a path that names no user: a placeholder for bounds and logs, in which no memory lives."""


Find = Callable[[Scope, Principal], names.Scope]


def from_path(scope: Scope, _principal: Principal) -> names.Scope:
    """From a path with {user_id} and {client_name}. Raises InvalidName."""
    # Servers decode the path with replacement characters: two different broken names would become one user.
    _decoded(scope.get("raw_path") or b"", "The path")
    params = scope["path_params"]
    return names.Scope(params["user_id"], params["client_name"])


def from_client_path(*, calls_name_users: bool) -> Find:
    """From a path with {client_name} alone: whose memory it is says the token, if it allows just one user, or else each
    call, if `calls_name_users`. The finder raises InvalidName."""

    def find(scope: Scope, principal: Principal) -> names.Scope:
        _decoded(scope.get("raw_path") or b"", "The path")
        client = scope["path_params"]["client_name"]
        if len(principal.users) == 1 and "*" not in principal.users[0]:
            return names.Scope(principal.users[0], client)
        if not calls_name_users:
            raise names.InvalidName(
                f"This path names no user. {URLS} With TOOL_USER_ID_ARGUMENT=true each call may name one instead."
            )
        return Unnamed("(named by each call)", client)

    return find


def from_headers(scope: Scope, principal: Principal) -> names.Scope:
    """From the headers X-User-Id and X-Client-Name, percent-encoded; each may be left out if the token allows just one.

    For hosts that route by one fixed path. Raises InvalidName.
    """
    headers = dict(scope["headers"])
    found = {}
    for what, header, allowed in (
        ("user_id", b"x-user-id", principal.users),
        ("client_name", b"x-client-name", principal.clients),
    ):
        if header in headers:
            found[what] = _decoded(headers[header], header.decode().title())
        elif len(allowed) == 1 and "*" not in allowed[0]:
            found[what] = allowed[0]
        else:
            raise names.InvalidName(f"Send the header {header.decode().title()}, or use another path. {URLS}")
    return names.Scope(**found)


def _decoded(quoted: bytes, what: str) -> str:
    try:
        return unquote_to_bytes(quoted).decode()
    except UnicodeDecodeError:
        raise names.InvalidName(f"{what} is not UTF-8; accepted names: {names.NAME_RULE}.") from None
