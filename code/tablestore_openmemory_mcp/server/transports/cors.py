"""What browsers ask before a page of MCP_ALLOWED_ORIGINS may call us. Other pages are told nothing."""

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Send

from ..auth.origin import normal


class Cors(CORSMiddleware):
    """Pages that the operator named may send any header: MCP adds some with every version (Mcp-Method, Mcp-Name,
    Mcp-Param-*), and none of them opens a door."""

    def __init__(self, app: ASGIApp, allowed: tuple[str, ...]) -> None:
        super().__init__(
            app,
            allow_origins=[normal(origin) for origin in allowed],  # as browsers write them
            allow_methods=["GET", "POST", "DELETE"],  # DELETE: clients end a session with it, and take a 405
            allow_headers=["*"],
            expose_headers=["Mcp-Session-Id", "Mcp-Protocol-Version", "WWW-Authenticate", "Retry-After"],
            allow_private_network=True,  # a page of the internet that calls localhost
        )

    def preflight_response(self, request_headers: Headers) -> Response:
        if not self.is_allowed_origin(request_headers["origin"]):
            return PlainTextResponse(
                "This page's origin is not allowed here; see MCP_ALLOWED_ORIGINS.", 403, {"Vary": "Origin"}
            )
        return super().preflight_response(request_headers)

    async def send(self, message: Message, send: Send, request_headers: Headers) -> None:
        if self.is_allowed_origin(request_headers.get("origin", "")):
            await super().send(message, send, request_headers)
            return
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message.get("headers", ()), (b"vary", b"Origin")]}
        await send(message)
