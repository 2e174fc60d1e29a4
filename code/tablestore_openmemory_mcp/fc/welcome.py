"""What the operator reads after a deployment, in the log of the first instance and from `s invoke`."""

import json
from typing import Any
from urllib.parse import quote

from .. import __version__
from ..composition import Composition
from ..errors import ServiceError
from ..server.banner import mode, place
from ..settings import APP_NAME, Settings

ADDRESS = "https://<the address that `s deploy` printed>"  # the platform tells a function no address of its own
MINT = """s invoke -e '{"action": "token", "user": "alice", "client": "cline"}'"""


def welcome(settings: Settings) -> str:
    """The text for the log."""
    lines = [
        f"{APP_NAME} {__version__} on Function Compute, function {settings.fc_function_name}",
        f"memories   {place(settings)}",
        f"mode       {mode(settings)}",
        *(f"{name:<10} {url}" for name, url in urls(settings).items()),
        f"access     {access(settings)}",
        "Paste into Cline:",
        json.dumps(block(settings, "alice", "cline"), indent=2),
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
        "urls": urls(settings),
        "access": access(settings),
        "paste": block(settings, "alice", "cline"),
    }


def urls(settings: Settings) -> dict[str, str]:
    base = (settings.mcp_public_url or ADDRESS).rstrip("/")
    return {
        "sse": f"{base}/mcp/{{client_name}}/sse/{{user_id}}",
        "http": f"{base}/mcp/{{client_name}}/http/{{user_id}}",
    }


def access(settings: Settings) -> str:
    if settings.mcp_auth == "anonymous":
        return "ANYONE who knows the address, as anyone (MCP_AUTH=anonymous)"
    return f"by token; to make one: {MINT}"


def block(settings: Settings, user: str, client: str, token: str = "<token>") -> dict[str, Any]:  # noqa: S107
    """What a client's configuration needs, for one user."""
    url = urls(settings)["sse"].format(client_name=quote(client, safe=""), user_id=quote(user, safe=""))
    entry: dict[str, Any] = {"type": "sse", "url": url, "timeout": 60, "disabled": False}
    if settings.mcp_auth != "anonymous":
        entry["headers"] = {"Authorization": f"Bearer {token}"}
    return {"mcpServers": {"tablestore-openmemory": entry}}
