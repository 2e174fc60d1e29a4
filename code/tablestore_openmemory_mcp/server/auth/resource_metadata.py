"""Where a client learns whose tokens we take (RFC 9728)."""

from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send

from ...settings import Settings


class ResourceMetadata:
    """GET /.well-known/oauth-protected-resource, for MCP_AUTH=jwt."""

    def __init__(self, settings: Settings) -> None:
        self._document = {
            "resource": (settings.mcp_public_url or "").rstrip("/"),
            "authorization_servers": [settings.mcp_auth_issuer],
            "bearer_methods_supported": ["header"],
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await JSONResponse(self._document)(scope, receive, send)
