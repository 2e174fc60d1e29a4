"""What the operator reads after a deployment: in the log of every new instance, and from `s invoke`."""

import time
from argparse import ArgumentTypeError
from typing import Any, Literal

from .. import __version__
from ..composition import Composition
from ..errors import InvalidInput, ServiceError
from ..server.auth.command import lifetime, pattern
from ..server.banner import mode, place
from ..server.blocks import block, remote, shown
from ..settings import APP_NAME, Settings

# The platform tells a function no address of its own; MCP_PUBLIC_URL may.
ADDRESS = "https://ADDRESS-THAT-s-deploy-PRINTED"
KINDS: tuple[Literal["sse", "http"], ...] = ("sse", "http")
MINT = """s invoke -e '{"action": "token", "user": "alice", "client": "cline"}'"""


def welcome(settings: Settings) -> str:
    """The text for the log."""
    lines = [
        f"{APP_NAME} {__version__} on Function Compute, function {settings.fc_function_name}",
        f"memories   {place(settings)}",
        f"mode       {mode(settings)}",
        *(f"{kind:<10} {url}" for kind, url in _patterns(settings).items()),
        f"access     {_access(settings)}",
        "Paste into Cline, over SSE:",
        shown(_block(settings, "alice", "cline", "<token>")),
    ]
    return "\n".join(lines)


def status(composition: Composition) -> dict[str, Any]:
    """What `s invoke -e '{"action": "status"}'` answers. Blocks: it asks the store."""
    settings = composition.settings
    try:
        composition.ping()
        store = "reachable"
    except ServiceError as e:
        store = str(e)
    return {
        "version": __version__,
        "function": settings.fc_function_name,
        "memories": place(settings),
        "mode": mode(settings),
        "store": store,
        "urls": _patterns(settings),
        "access": _access(settings),
        "paste": _block(settings, "alice", "cline", "<token>"),
    }


def token(composition: Composition, event: dict[str, Any]) -> dict[str, Any]:
    """What `s invoke -e '{"action": "token", ...}'` answers: a new token for "user" (and "client", else any; "expires"
    as 30m, 12h, 90d or never), or "revoke" of an old one's id. Blocks. Raises InvalidInput or a StoreError."""
    if ident := event.get("revoke"):
        composition.tokens().revoke(str(ident))
        return {"revoked": ident}
    if not event.get("user"):
        raise InvalidInput('Say whose token it is: "user", and perhaps "client" and "expires".')
    try:
        user, client = pattern(str(event["user"])), pattern(str(event.get("client") or "*"))
        seconds = lifetime(str(event.get("expires") or "90d"))
    except ArgumentTypeError as e:
        raise InvalidInput(str(e)) from None
    minted = composition.tokens().mint([user], [client], seconds)
    ends = None if minted.expires is None else time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(minted.expires))
    paste = _block(composition.settings, user, client, minted.token)
    return {"token": minted.token, "id": minted.id, "expires": ends, "user": user, "client": client, "paste": paste}


def _access(settings: Settings) -> str:
    if settings.mcp_auth == "anonymous":
        return "ANYONE who knows the address, as anyone (MCP_AUTH=anonymous)"
    if settings.mcp_auth == "jwt":
        return f"by token of {settings.mcp_auth_issuer}"
    return f"by token; to make one: {MINT}"


def _patterns(settings: Settings) -> dict[str, str]:
    return {kind: _url(settings, kind, "{user_id}", "{client_name}") for kind in KINDS}


def _url(settings: Settings, kind: Literal["sse", "http"], user: str, client: str) -> str:
    public = settings if settings.mcp_public_url else settings.model_copy(update={"mcp_public_url": ADDRESS})
    url = remote(public, kind, "{user_id}" if "*" in user else user, "{client_name}" if "*" in client else client)
    return url.replace("%7B", "{").replace("%7D", "}")


def _block(settings: Settings, user: str, client: str, token: str) -> dict[str, Any]:
    url = _url(settings, "sse", user, client)
    return block("sse", url, None if settings.mcp_auth == "anonymous" else token)
