"""Pages in a browser. A page that a user merely visits must not read their memory, however it names this server.

The MCP specification requires the check of Origin. Programs send none; a browser sends one with every POST, and without
a POST no tool is called: so a rebound DNS name does not help a page either. With a GET that a page does not read (an
image, a frame, a link) browsers send no Origin. They do say in Sec-Fetch-Site (W3C Fetch Metadata) that another site's
page asks, so such a GET opens no stream: sixty-four of them would use up the user's own.
"""

from urllib.parse import urlsplit

from starlette.types import Scope

from .loopback import is_loopback_name
from .refusal import Refused

# Our own page, or the person: an address typed, a bookmark. "same-site" is a page of another port or host name.
_OWN_PAGE = frozenset({"same-origin", "none"})


class Origins:
    """Which Origin headers are fine: this machine's own pages, the public address, and those that are allowed."""

    def __init__(self, allowed: tuple[str, ...], public_url: str | None) -> None:
        self._allowed = {normal(o) for o in (*allowed, *([public_url] if public_url else []))}

    def check(self, scope: Scope) -> None:
        """Raises Refused."""
        origins, sites = [], []
        for name, value in scope["headers"]:  # in one go: every request passes here
            if name == b"origin":
                origins.append(value.decode("latin-1"))
            elif name == b"sec-fetch-site":
                sites.append(value.decode("latin-1").strip().lower())
        if not origins and not _OWN_PAGE.issuperset(sites):
            raise Refused(403, "Another site's page asks for this: open the address yourself, or use an MCP client.")
        for origin in origins:
            if normal(origin) in self._allowed:
                continue
            parts = urlsplit(origin)
            if parts.scheme not in ("http", "https") or not is_loopback_name(parts.netloc):
                raise Refused(403, "This page's origin is not allowed here; see MCP_ALLOWED_ORIGINS.")


def normal(origin: str) -> str:
    """`origin` as browsers write it."""
    return origin.strip().rstrip("/").lower()
