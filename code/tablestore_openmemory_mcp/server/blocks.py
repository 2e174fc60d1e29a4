"""The JSON that a person pastes into a client's settings."""

import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

from ..settings import APP_NAME, Settings

# Deleting everything is left for the person to confirm.
AUTO_APPROVE = ["search_memories", "list_memories", "add_memories"]

SECRETS = {
    "TABLESTORE_ACCESS_KEY_ID": "<your_tablestore_access_key_id>",
    "TABLESTORE_ACCESS_KEY_SECRET": "<your_tablestore_access_key_secret>",
    "OPENAI_API_KEY": "<your_api_key>",
}
PLAIN = ("TABLESTORE_INSTANCE_NAME", "TABLESTORE_ENDPOINT", "TABLESTORE_TABLE_NAME", "OPENAI_BASE_URL", "LLM_MODEL")


def remote(settings: Settings, kind: Literal["sse", "http"], user: str, client: str, port: int | None = None) -> str:
    """The address of one user and client: the public one, or `port` of this machine."""
    base = settings.mcp_public_url or f"http://localhost:{port or settings.server_port or 8765}"
    return f"{base.rstrip('/')}/mcp/{quote(client, safe='')}/{kind}/{quote(user, safe='')}"


def block(kind: Literal["sse", "http"], url: str, token: str | None) -> dict[str, Any]:
    """For a client that connects to a running server."""
    entry = {
        "type": "sse" if kind == "sse" else "streamableHttp",
        "url": url,
        **({"headers": {"Authorization": f"Bearer {token}"}} if token else {}),
        "timeout": 60,
        "disabled": False,
        "autoApprove": AUTO_APPROVE,
    }
    return {"mcpServers": {f"tablestore-openmemory-{kind}": entry}}


def child(settings: Settings) -> dict[str, Any]:
    """For a client that starts the server itself, with the same memories."""
    entry = {
        "type": "stdio",
        **_command(),
        "env": _environment(settings),
        "timeout": 60,
        "disabled": False,
        "autoApprove": AUTO_APPROVE,
    }
    return {"mcpServers": {"tablestore-openmemory-stdio": entry}}


def _command() -> dict[str, Any]:
    """How to start this very installation: its script's full path, or Python with the module."""
    script = Path(sys.argv[0]).absolute()
    if script.name == APP_NAME and os.access(script, os.X_OK):
        return {"command": str(script), "args": ["--transport=stdio"]}
    if found := shutil.which(APP_NAME):
        return {"command": found, "args": ["--transport=stdio"]}
    return {"command": sys.executable, "args": ["-m", "tablestore_openmemory_mcp", "--transport=stdio"]}


def _environment(settings: Settings) -> dict[str, str]:
    """What the child needs to know to share these memories. Secrets are left for the person to fill in."""
    env = {
        "MCP_STDIO_USER_ID": settings.mcp_stdio_user_id,
        "MCP_STDIO_CLIENT_NAME": settings.mcp_stdio_client_name,
    }
    if not settings.cloud:
        env |= {"STORE": "embedded", "DATA_DIR": str(settings.data_dir)}
    for name in PLAIN:
        value = getattr(settings, name.lower())
        if value and name.lower() in settings.model_fields_set:
            env[name] = str(value)
    for name, placeholder in SECRETS.items():
        if getattr(settings, name.lower()):
            env[name] = placeholder
    return env


def shown(block: dict[str, Any]) -> str:
    """As text to copy."""
    return json.dumps(block, indent=2, ensure_ascii=False)
