"""Pages in a browser. A page that a user merely visits must not read their memory, however it names this server.

The MCP specification requires the check. Programs send no Origin; a browser sends one with every POST, and without a
POST no tool is called: so a rebound DNS name does not help a page either.
"""

from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import Scope

from .local import is_loopback_name
from .refusal import Refused


class Origins:
    """Which Origin headers are fine: this machine's own pages, the public address, and those that are allowed."""

    def __init__(self, allowed: tuple[str, ...], public_url: str | None) -> None:
        self._allowed = {normal(o) for o in (*allowed, *([public_url] if public_url else []))}

    def check(self, scope: Scope) -> None:
        """Raises Refused."""
        for origin in Headers(scope=scope).getlist("origin"):
            if normal(origin) in self._allowed:
                continue
            parts = urlsplit(origin)
            if parts.scheme not in ("http", "https") or not is_loopback_name(parts.netloc):
                raise Refused(403, "This page's origin is not allowed here; see MCP_ALLOWED_ORIGINS.")


def normal(origin: str) -> str:
    """`origin` as browsers write it."""
    return origin.strip().rstrip("/").lower()
