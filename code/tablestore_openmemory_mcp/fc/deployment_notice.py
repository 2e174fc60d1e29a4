"""What the operator reads after a deployment: in the log of every new instance, and from `s invoke`."""

from typing import Any, Literal

from .. import __version__
from ..composition import Composition
from ..errors import ServiceError
from ..server.startup.banner import mode, place
from ..server.startup.client_config import block, remote, shown
from ..settings import APP_NAME, Settings

# The platform tells a function no address of its own; MCP_PUBLIC_URL may.
ADDRESS = "https://ADDRESS-THAT-s-deploy-PRINTED"
KINDS: tuple[Literal["sse", "http"], ...] = ("sse", "http")
MINT = "python3 scripts/mint.py --user alice --client cline"


def welcome(settings: Settings) -> str:
    """The text for the log."""
    lines = [
        f"{APP_NAME} {__version__} on Function Compute, function {settings.fc_function_name}",
        f"memories   {place(settings)}",
        f"mode       {mode(settings)}",
        *(f"{kind:<10} {url}" for kind, url in _patterns(settings).items()),
        f"access     {_access(settings)}",
        "Paste into Cline, over SSE:",
        shown(pasted(settings, "alice", "cline", "<token>")),
    ]
    return "\n".join(lines)


def status(composition: Composition) -> dict[str, Any]:
    """What `s invoke -e '{"action": "status", "key": ...}'` answers the operator. Blocks: it asks the store."""
    settings = composition.settings
    try:
        composition.ping()
        store = "reachable"
    except ServiceError as e:
        store = str(e)
    mine = {"function": settings.fc_function_name, "memories": place(settings), "mode": mode(settings)}
    return public_status(settings) | mine | {"store": store}


def public_status(settings: Settings, *, reachable: bool = False) -> dict[str, Any]:
    """What anyone may know, since the platform alone says that it was not anyone who asked."""
    return {
        "version": __version__,
        "store": "reachable" if reachable else "unreachable; the function's log says why",
        "urls": _patterns(settings),
        "access": _access(settings),
        "paste": pasted(settings, "alice", "cline", "<token>"),
    }


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


def pasted(settings: Settings, user: str, client: str, token: str) -> dict[str, Any]:
    url = _url(settings, "sse", user, client)
    return block(settings, "sse", url, None if settings.mcp_auth == "anonymous" else token)
